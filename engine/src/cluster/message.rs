//! What coordinator and worker tell each other, as plain data.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Access, Job, Object, ObjectId, Snapshot, TableState, Version};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Told;
use crate::operator::Epoch;
use crate::runtime::coordinator::EpochDone;
use crate::runtime::dataflow::{Dataflow, NodeId};
use crate::runtime::host::{Deployment, HostCheckpoint};
use crate::runtime::metrics::NodeTotals;
use crate::runtime::slot::{Assignment, Start};

/// Number of a worker, as the coordinator counts those that have joined it.
pub type WorkerId = u64;

/// From the coordinator to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// The worker has joined.
    Welcome {
        /// Its number.
        worker: WorkerId,
        /// URL of the warehouse's root.
        warehouse: String,
        /// How often it has to be heard of.
        heartbeat: Duration,
        /// After how much silence one side counts the other as lost.
        timeout: Duration,
    },
    /// The coordinator lives.
    Beat,
    /// Make slots of a pipeline ready.
    Deploy(Box<Order>),
    /// Rows of a table that the next epoch takes; they come with the message.
    Rows {
        /// Of which deployment.
        deployment: Uuid,
        /// For which slot.
        slot: usize,
        /// For which node.
        node: NodeId,
    },
    /// Open an epoch.
    Start {
        /// Of which deployment.
        deployment: Uuid,
        /// What each slot has to do.
        starts: Vec<SlotStart>,
    },
    /// End the slots of a deployment.
    Release {
        /// Which.
        deployment: Uuid,
    },
    /// Answer at once.
    Probe,
    /// None of your slots is needed any more: you may go.
    Dismissed,
    /// You cannot join.
    Refused(Told),
}

/// From a worker to the coordinator.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// The first message.
    Join {
        /// The worker's version of the program; must be the coordinator's.
        version: String,
        /// What the cluster's members know and others do not.
        secret: Option<String>,
        /// How many slots it has for every pipeline.
        slots: usize,
        /// Where it takes rows from other workers, as host and port.
        address: String,
    },
    /// It lives.
    Beat,
    /// It would like to go: give its slots to others.
    Drain,
    /// The slots of a deployment wait for their first epoch.
    Deployed {
        /// Which.
        deployment: Uuid,
    },
    /// A deployment cannot be made ready.
    Refused {
        /// Which.
        deployment: Uuid,
        /// Why.
        error: Told,
    },
    /// A slot has closed an epoch.
    EpochDone {
        /// Of which deployment.
        deployment: Uuid,
        /// What to know of it.
        done: EpochDone,
    },
    /// The host's part of a checkpoint is written.
    Written {
        /// Of which deployment.
        deployment: Uuid,
        /// The epoch.
        epoch: u64,
        /// What was written.
        part: HostCheckpoint,
    },
    /// A deployment cannot go on.
    Failed {
        /// Which.
        deployment: Uuid,
        /// The job whose node failed.
        job: Option<usize>,
        /// Why.
        error: Told,
    },
    /// The link to another host is broken.
    Unlinked {
        /// Of which deployment.
        deployment: Uuid,
        /// The number of that host.
        host: usize,
        /// What was seen of it.
        error: Told,
    },
    /// What its slots have counted since their start: by slot, of every node.
    Counted {
        /// Of which deployment.
        deployment: Uuid,
        /// The numbers.
        slots: Vec<(usize, Vec<NodeTotals>)>,
    },
}

/// A deployment, as a worker is told of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Names this attempt; never used again.
    pub id: Uuid,
    /// Which of the hosts the worker is.
    pub host: usize,
    /// Where hosts take rows, by their numbers.
    pub addresses: Vec<String>,
    /// By slot, the number of its host.
    pub places: Vec<usize>,
    /// What the jobs are planned from.
    pub definitions: Definitions,
    /// The jobs, in the order in which they are connected.
    pub jobs: Vec<ObjectId>,
    /// What their plans must be.
    pub fingerprints: Vec<String>,
    /// Where relative paths of connector tables start.
    pub base_dirs: Vec<(ObjectId, PathBuf)>,
}

impl Order {
    /// What host number `host` has to know of a deployment.
    pub fn new(deployment: &Deployment, host: usize) -> Self {
        let flow = &deployment.flow;
        Self {
            id: deployment.id,
            host,
            addresses: deployment.addresses.clone(),
            places: deployment.places.clone(),
            definitions: Definitions::of(&deployment.snapshot, flow),
            jobs: flow.jobs.iter().map(|planned| planned.job.id).collect(),
            fingerprints: flow.jobs.iter().map(|planned| planned.fingerprint.clone()).collect(),
            base_dirs: deployment.base_dirs.iter().map(|(object, path)| (*object, path.clone())).collect(),
        }
    }
}

/// The part of a catalog snapshot that jobs are planned from.
#[derive(Debug, Serialize, Deserialize)]
pub struct Definitions {
    version: Version,
    committed_ms: i64,
    objects: Vec<Object>,
    /// Of the tables that jobs write: upserts read what they hold.
    tables: Vec<(ObjectId, TableState)>,
    jobs: Vec<Job>,
}

impl Definitions {
    fn of(snapshot: &Snapshot, flow: &Dataflow) -> Self {
        let written = flow.written_tables().filter_map(|(_, object)| snapshot.tables.get_key_value(&object.id));
        Self {
            version: snapshot.version,
            committed_ms: snapshot.committed_ms,
            objects: snapshot.objects.values().map(|object| object.as_ref().clone()).collect(),
            tables: written.map(|(id, state)| (*id, state.as_ref().clone())).collect(),
            jobs: flow.jobs.iter().map(|planned| planned.job.as_ref().clone()).collect(),
        }
    }

    /// A snapshot of which only this part is known.
    pub fn into_snapshot(self) -> Snapshot {
        Snapshot {
            version: self.version,
            committed_ms: self.committed_ms,
            objects: self.objects.into_iter().map(|object| (object.id, Arc::new(object))).collect(),
            tables: self.tables.into_iter().map(|(id, state)| (id, Arc::new(state))).collect::<BTreeMap<_, _>>(),
            jobs: self.jobs.into_iter().map(|job| (job.id, Arc::new(job))).collect(),
            access: Arc::new(Access::default()),
        }
    }
}

/// What a slot has to do in an epoch, without the rows that come before it.
#[derive(Debug, Serialize, Deserialize)]
pub struct SlotStart {
    slot: usize,
    epoch: Epoch,
    checkpoint: bool,
    waited: Duration,
    splits: Vec<Assignment>,
    watermarks: Vec<i64>,
    backfilling: bool,
}

impl SlotStart {
    /// All but the rows.
    pub fn of(slot: usize, start: &Start) -> Self {
        Self {
            slot,
            epoch: start.epoch,
            checkpoint: start.checkpoint,
            waited: start.waited,
            splits: start.splits.clone(),
            watermarks: start.watermarks.to_vec(),
            backfilling: start.backfilling,
        }
    }

    /// Together with the rows that came for the slot.
    pub fn with(self, staged: Vec<(NodeId, crate::change::Changes)>) -> Start {
        Start {
            epoch: self.epoch,
            checkpoint: self.checkpoint,
            staged,
            waited: self.waited,
            splits: self.splits,
            watermarks: self.watermarks.into(),
            backfilling: self.backfilling,
        }
    }

    /// The slot.
    pub fn slot(&self) -> usize {
        self.slot
    }
}
