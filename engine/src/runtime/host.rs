//! The slots of one pipeline that one process hosts: restores their state, starts their threads, gives them their epochs, and writes
//! the files of their checkpoints.
//!
//! A pipeline's driver knows its hosts only as [`Host`] and hears of them by [`FromHost`], wherever they are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use catalog::{NewSegment, ObjectId, Snapshot};
use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};
use storage::Warehouse;
use storage::segment::write_segment;
use storage::state::{StateFile, write_state};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::change::Changes;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::coordinator::EpochDone;
use crate::runtime::dataflow::{Dataflow, NodeId, PlannedJob};
use crate::runtime::exchange::{Link, Peer};
use crate::runtime::metrics::Metrics;
use crate::runtime::slot::{self, FromSlot, SlotCheckpoint, SlotParts, Start, ToSlot};
use crate::runtime::state::{self, to_section};
use crate::source::SplitPosition;

/// What hosts of a pipeline are told before it starts.
pub struct Deployment {
    /// Names this attempt to run them; never used again.
    pub id: Uuid,
    /// The pipeline's jobs and their operators.
    pub flow: Arc<Dataflow>,
    /// The catalog as it was after the jobs' leases were taken.
    pub snapshot: Arc<Snapshot>,
    /// Counters, which hosts keep up to date.
    pub metrics: Arc<Metrics>,
    /// Where the slots are: by slot, the index of its host.
    pub places: Vec<usize>,
    /// How hosts reach each other; see [`Site::address`].
    pub addresses: Vec<String>,
    /// Where relative paths of connector tables start, if not where that was noted at their creation.
    pub base_dirs: Arc<BTreeMap<ObjectId, PathBuf>>,
}

impl Deployment {
    /// The slots of a host.
    pub fn slots_of(&self, host: usize) -> Vec<usize> {
        self.places.iter().enumerate().filter(|(_, place)| **place == host).map(|(slot, _)| slot).collect()
    }
}

/// Somewhere slots can run.
#[async_trait]
pub trait Site: Send + Sync {
    /// How many slots it has for a pipeline.
    fn slots(&self) -> usize;

    /// Where it takes rows from other sites, as host and port; empty if there are none.
    fn address(&self) -> String;

    /// Makes the slots of host number `host` ready to take epochs. What happens to them afterwards is sent to `reports`.
    async fn deploy(
        &self,
        deployment: &Arc<Deployment>,
        host: usize,
        reports: mpsc::UnboundedSender<FromHost>,
    ) -> Result<Box<dyn Host>>;
}

/// Slots that run somewhere. They end when this is dropped.
pub trait Host: Send + Sync {
    /// Opens an epoch: what each slot has to do, by its number.
    fn start(&self, starts: Vec<(usize, Start)>);
}

/// What one host has written of an epoch's checkpoint: all files are durable, and nobody refers to them yet.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HostCheckpoint {
    /// Changes of stored tables since the last checkpoint.
    pub segments: Vec<(ObjectId, NewSegment)>,
    /// Changed state, by job.
    pub state: Vec<(usize, StateFile)>,
    /// How far splits are read: (source node, split, position).
    pub positions: Vec<(NodeId, String, SplitPosition)>,
    /// Malformed rows skipped since the start of the host, by source node.
    pub skipped: Vec<(NodeId, u64)>,
    /// Rows left out behind the watermark since the start of the host, by source or feed node.
    pub late: Vec<(NodeId, u64)>,
    /// Values that could not be computed since the start of the host, by job.
    pub failed: Vec<u64>,
}

/// A message from a host.
#[derive(Debug)]
pub enum FromHost {
    /// One of its slots has closed an epoch.
    EpochDone(EpochDone),
    /// Its part of an epoch's checkpoint is written.
    Written {
        /// The epoch.
        epoch: u64,
        /// What was written.
        part: HostCheckpoint,
    },
    /// It cannot go on.
    Failed {
        /// The job whose node failed, as an index into the dataflow.
        job: Option<usize>,
        /// Why.
        error: Error,
    },
    /// It is gone, and its slots with it.
    Lost(Error),
}

/// This process as a place for slots.
pub struct Here {
    /// Where files are.
    pub warehouse: Arc<Warehouse>,
    /// How many slots every pipeline gets.
    pub slots: usize,
}

#[async_trait]
impl Site for Here {
    fn slots(&self) -> usize {
        self.slots
    }

    fn address(&self) -> String {
        String::new()
    }

    async fn deploy(
        &self,
        deployment: &Arc<Deployment>,
        host: usize,
        reports: mpsc::UnboundedSender<FromHost>,
    ) -> Result<Box<dyn Host>> {
        Ok(Box::new(LocalHost::start(&self.warehouse, deployment, host, |_| None, reports).await?))
    }
}

/// The slots of one pipeline in this process.
pub struct LocalHost {
    slots: Slots,
}

impl LocalHost {
    /// Restores the state of the slots of host number `host` and starts their threads. `link`: the way to the slots of another host,
    /// by its number.
    pub async fn start(
        warehouse: &Arc<Warehouse>,
        deployment: &Arc<Deployment>,
        host: usize,
        link: impl Fn(usize) -> Option<Arc<dyn Link>> + Send,
        reports: mpsc::UnboundedSender<FromHost>,
    ) -> Result<Self> {
        let Deployment { flow, snapshot, metrics, places, .. } = deployment.as_ref();
        let own = deployment.slots_of(host);
        let payload = |planned: &PlannedJob| Ok(planned.payload()?.map(|payload| payload.state).unwrap_or_default());
        let files = flow.jobs.iter().map(payload).collect::<Result<Vec<_>>>()?;
        let division = state::Division { slots: places.len(), own: &own };
        let mut restored = state::restore(warehouse, flow, &files, division).await?;
        state::read_upserted(warehouse, flow, snapshot, division, &mut restored).await?;

        let (senders, inboxes): (Vec<_>, Vec<_>) = own.iter().map(|_| crossbeam_channel::unbounded()).unzip();
        let slots = Slots(own.iter().copied().zip(senders).collect());
        let peers = places
            .iter()
            .enumerate()
            .map(|(slot, place)| match slots.0.get(&slot) {
                Some(inbox) => Ok(Peer::Here(inbox.clone())),
                None => link(*place)
                    .map(Peer::There)
                    .ok_or_else(|| Error::internal("a slot without a way to it").with("slot", slot)),
            })
            .collect::<Result<Vec<_>>>()?;
        let (report, from_slots) = mpsc::unbounded_channel();
        for ((index, inbox), restored) in own.iter().zip(inboxes).zip(restored) {
            let parts = SlotParts {
                index: *index,
                flow: flow.clone(),
                inbox,
                peers: peers.clone(),
                reports: report.clone(),
                clock: warehouse.clock().clone(),
                metrics: metrics.clone(),
                restored,
            };
            std::thread::Builder::new()
                .name(format!("slot-{index}"))
                .spawn(move || slot::run(parts))
                .map_err(|e| Error::new(ErrorKind::Unavailable, "a thread cannot be started").because(e))?;
        }
        let writer = Writer { warehouse: warehouse.clone(), flow: flow.clone(), slots: own.len() };
        tokio::spawn(writer.pass_on(from_slots, reports));
        Ok(Self { slots })
    }

    /// Where messages to a slot of this host go.
    pub fn inbox(&self, slot: usize) -> Option<&Sender<ToSlot>> {
        self.slots.0.get(&slot)
    }
}

impl Host for LocalHost {
    fn start(&self, starts: Vec<(usize, Start)>) {
        for (slot, start) in starts {
            if let Some(inbox) = self.slots.0.get(&slot) {
                let _ = inbox.send(ToSlot::Start(Box::new(start)));
            }
        }
    }
}

/// The inboxes of the threads that work. They end with this: each holds the inboxes of the others, so none would find its own
/// abandoned, whatever became of the driver.
struct Slots(BTreeMap<usize, Sender<ToSlot>>);

impl Drop for Slots {
    fn drop(&mut self) {
        for slot in self.0.values() {
            let _ = slot.send(ToSlot::Stop);
        }
    }
}

/// Passes on what the slots report, and writes the files of their checkpoints.
struct Writer {
    warehouse: Arc<Warehouse>,
    flow: Arc<Dataflow>,
    slots: usize,
}

impl Writer {
    async fn pass_on(self, mut slots: mpsc::UnboundedReceiver<FromSlot>, reports: mpsc::UnboundedSender<FromHost>) {
        let this = Arc::new(self);
        let mut collecting: BTreeMap<u64, Vec<SlotCheckpoint>> = BTreeMap::new();
        while let Some(report) = slots.recv().await {
            match report {
                FromSlot::Failed { job, error } => {
                    let _ = reports.send(FromHost::Failed { job: Some(job), error });
                }
                FromSlot::EpochDone { done, checkpoint } => {
                    let epoch = done.epoch;
                    let _ = reports.send(FromHost::EpochDone(done));
                    let Some(part) = checkpoint else { continue };
                    let parts = collecting.entry(epoch).or_default();
                    parts.push(part);
                    if parts.len() == this.slots {
                        let parts = collecting.remove(&epoch).unwrap_or_default();
                        let (this, reports) = (this.clone(), reports.clone());
                        // Epochs go on meanwhile. There is one checkpoint on its way at a time.
                        tokio::spawn(async move {
                            let _ = reports.send(match this.write(parts).await {
                                Ok(part) => FromHost::Written { epoch, part },
                                Err(error) => FromHost::Failed { job: None, error },
                            });
                        });
                    }
                }
            }
        }
    }

    async fn write(&self, parts: Vec<SlotCheckpoint>) -> Result<HostCheckpoint> {
        let mut written = HostCheckpoint::default();
        let mut outputs: BTreeMap<ObjectId, Vec<Changes>> = BTreeMap::new();
        let mut sections = self.flow.jobs.iter().map(|_| Vec::new()).collect::<Vec<_>>();
        for part in parts {
            for (table, changes) in part.outputs {
                outputs.entry(table).or_default().extend(changes);
            }
            for (job, operator, delta) in part.state {
                sections[job].push(to_section(operator, delta)?);
            }
            written.positions.extend(part.positions);
            written.skipped.extend(part.skipped);
            written.late.extend(part.late);
        }
        written.failed = self.flow.jobs.iter().map(|planned| planned.failures.count()).collect();
        for (_, object) in self.flow.written_tables() {
            if let Some(changes) = outputs.get(&object.id) {
                let segment = write_segment(&self.warehouse, object, changes, false).await?;
                written.segments.push((object.id, segment));
            }
        }
        for (job, sections) in sections.into_iter().enumerate().filter(|(_, sections)| !sections.is_empty()) {
            written.state.push((job, write_state(&self.warehouse, self.flow.jobs[job].job.id, sections).await?));
        }
        Ok(written)
    }
}
