//! Background work of an engine: follows the catalog's version, tiers tables that grew, sweeps garbage.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::{ObjectId, Version};
use storage::Warehouse;
use storage::sweep::sweep;
use storage::tiering::tier;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::error::Result;

/// How often the catalog is asked for its version. One indexed read; it bounds the latency of changes by other processes.
const POLL: Duration = Duration::from_millis(20);
/// Tables are looked at for tiering at most this often.
const TIERING_PAUSE: Duration = Duration::from_millis(500);
/// How often garbage is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Files younger than this may belong to a commit that is under way.
const SWEEP_GRACE: Duration = Duration::from_secs(300);

/// Follows the newest version of the catalog for as long as somebody listens.
pub async fn watch_versions(warehouse: &Arc<Warehouse>) -> Result<watch::Receiver<Version>> {
    let (sender, receiver) = watch::channel(warehouse.catalog().version().await?);
    let warehouse = warehouse.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            // A catalog that does not answer now is asked again; whoever needs it meanwhile gets the error.
            if let Ok(version) = warehouse.catalog().version().await {
                sender.send_if_modified(|known| std::mem::replace(known, version) != version);
            }
        }
    });
    Ok(receiver)
}

/// The task that tiers and sweeps.
pub struct Maintenance {
    warehouse: Arc<Warehouse>,
    /// Tables that changed and may hold hot segments.
    touched: Arc<Mutex<BTreeSet<ObjectId>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Maintenance {
    /// Starts the task; `tables` tells it which tables changed.
    pub fn start(warehouse: Arc<Warehouse>, mut tables: mpsc::UnboundedReceiver<ObjectId>) -> Self {
        let touched: Arc<Mutex<BTreeSet<ObjectId>>> = Arc::default();
        let all = touched.clone();
        let store = warehouse.clone();
        let task = tokio::spawn(async move {
            let mut sweep_timer = tokio::time::interval(SWEEP_INTERVAL);
            sweep_timer.tick().await;
            loop {
                tokio::select! {
                    table = tables.recv() => {
                        let Some(table) = table else { return };
                        let mut changed = BTreeSet::from([table]);
                        tokio::time::sleep(TIERING_PAUSE).await;
                        while let Ok(table) = tables.try_recv() {
                            changed.insert(table);
                        }
                        all.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(&changed);
                        for table in changed {
                            if let Err(error) = tier(&store, table, false).await {
                                tracing::warn!(%table, %error, "tiering failed; it is tried again after the next change");
                            }
                        }
                    }
                    _ = sweep_timer.tick() => {
                        if let Err(error) = sweep(&store, SWEEP_GRACE).await {
                            tracing::warn!(%error, "the sweep for garbage failed; it is tried again later");
                        }
                    }
                }
            }
        });
        Self { warehouse, touched, task: Mutex::new(Some(task)) }
    }

    /// Ends the task and tiers whatever this process has changed, so that other engines see all of it.
    pub async fn finish(&self, targets: &[ObjectId]) -> Result<()> {
        let task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
        let mut touched =
            std::mem::take(&mut *self.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        touched.extend(targets);
        let snapshot = self.warehouse.catalog().snapshot(None).await?;
        for table in touched.into_iter().filter(|table| snapshot.tables.contains_key(table)) {
            tier(&self.warehouse, table, true).await?;
        }
        Ok(())
    }
}
