//! Background work of an engine: follows the catalog's version, tiers tables that grew, forgets and sweeps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalog::{ObjectId, Version};
use storage::Warehouse;
use storage::sweep::sweep;
use storage::tiering::{RetentionPolicy, TieringPolicy, retain, tier};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::Result;
use crate::runtime::checkpoint::{Payload, TablePosition};
use crate::runtime::touched::Touched;

/// How often the catalog is asked for its version. One indexed read; it bounds the latency of changes by other processes.
const POLL: Duration = Duration::from_millis(20);
/// Tables are looked at for tiering at most this often.
const TIERING_PAUSE: Duration = Duration::from_millis(500);
/// How often old versions and changelogs are forgotten.
const RETAIN_INTERVAL: Duration = Duration::from_secs(20);
/// How far back tables can be read, which is also how long a query may run, and how long changelogs are kept beyond what
/// jobs have still to read. With one segment per table and commit both together bound the number of files: a commit a
/// second leaves some 400 per table.
const RETENTION: RetentionPolicy =
    RetentionPolicy { changelog_age_ms: 60_000, changelog_segments: 1_024, version_age_ms: 300_000 };
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

/// The task that tiers, forgets and sweeps.
pub struct Maintenance {
    warehouse: Arc<Warehouse>,
    policy: TieringPolicy,
    touched: Arc<Touched>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Maintenance {
    /// Starts the task; `touched` tells it which tables changed.
    pub fn start(warehouse: Arc<Warehouse>, touched: Arc<Touched>) -> Self {
        let policy = TieringPolicy::default();
        let task = tokio::spawn(work(warehouse.clone(), policy.clone(), touched.clone()));
        Self { warehouse, policy, touched, task: Mutex::new(Some(task)) }
    }

    /// Ends the task and tiers whatever this process has changed, so that other engines see all of it.
    pub async fn finish(&self, targets: &[ObjectId]) -> Result<()> {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
        let mut touched = self.touched.all();
        touched.extend(targets);
        let snapshot = self.warehouse.catalog().snapshot(None).await?;
        for table in touched.into_iter().filter(|table| snapshot.tables.contains_key(table)) {
            tier(&self.warehouse, table, &self.policy, true).await?;
        }
        Ok(())
    }
}

async fn work(warehouse: Arc<Warehouse>, policy: TieringPolicy, touched: Arc<Touched>) {
    let mut retain_timer = tokio::time::interval(RETAIN_INTERVAL);
    let mut sweep_timer = tokio::time::interval(SWEEP_INTERVAL);
    // The first tick of an interval is immediate: a short visit should not start with a sweep.
    retain_timer.tick().await;
    sweep_timer.tick().await;
    loop {
        tokio::select! {
            () = touched.changed() => {
                tokio::time::sleep(TIERING_PAUSE).await;
                for table in touched.take() {
                    if let Err(error) = tier_until_done(&warehouse, table, &policy).await {
                        tracing::warn!(%table, %error, "tiering failed; it is tried again after the next change");
                    }
                }
            }
            _ = retain_timer.tick() => {
                if let Err(error) = forget(&warehouse).await {
                    tracing::warn!(%error, "old versions could not be forgotten; it is tried again later");
                }
            }
            _ = sweep_timer.tick() => {
                if let Err(error) = sweep(&warehouse, SWEEP_GRACE).await {
                    tracing::warn!(%error, "the sweep for garbage failed; it is tried again later");
                }
            }
        }
    }
}

async fn tier_until_done(warehouse: &Arc<Warehouse>, table: ObjectId, policy: &TieringPolicy) -> Result<()> {
    while tier(warehouse, table, policy, false).await?.is_some() {}
    Ok(())
}

/// Forgets versions and changelogs that nobody may still ask for.
async fn forget(warehouse: &Warehouse) -> Result<()> {
    let snapshot = warehouse.catalog().snapshot(None).await?;
    let mut needed: BTreeMap<ObjectId, Version> = BTreeMap::new();
    for job in snapshot.jobs.values() {
        let Some(checkpoint) = &job.checkpoint else { continue };
        for (table, position) in Payload::read(job, checkpoint)?.positions.tables {
            if let TablePosition::Version(version) = position {
                needed.entry(table).and_modify(|oldest| *oldest = version.min(*oldest)).or_insert(version);
            }
        }
    }
    retain(warehouse, &RETENTION, &needed).await?;
    Ok(())
}
