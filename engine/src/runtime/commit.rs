//! Makes checkpoints visible: names the files that the hosts of a pipeline's slots have written, and all positions, in one
//! catalog commit. Folds state files in the background.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Action, Commit, JobStatus, Lease, NewSegment, ObjectId, Requirement, Version};
use storage::Warehouse;
use storage::state::{StateFile, fold_state};
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};
use crate::operator::{Epoch, OperatorInfo};
use crate::runtime::checkpoint::{Payload, Positions, TablePosition, fold_due};
use crate::runtime::coordinator::TimeReached;
use crate::runtime::dataflow::{Dataflow, NodeId, Role};
use crate::runtime::host::HostCheckpoint;
use crate::source::SplitPosition;

/// How often a commit whose outcome is unknown is asked for, or one that met a busy catalog is tried again.
const ATTEMPTS: usize = 5;

/// One epoch's checkpoint as the hosts have written it.
#[derive(Debug)]
pub struct Checkpoint {
    /// The epoch.
    pub epoch: Epoch,
    /// One part per host.
    pub parts: Vec<HostCheckpoint>,
    /// The version up to which stored tables are read.
    pub through: Version,
    /// How far time is.
    pub time: TimeReached,
}

/// What a checkpoint wrote of one job: state, and changes of its tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// How many files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
}

impl Written {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// A checkpoint that is durable and visible.
#[derive(Debug)]
pub struct Committed {
    /// The version that it made.
    pub version: Version,
    /// The tables that changed.
    pub tables: Vec<ObjectId>,
    /// What was written, by job.
    pub written: Vec<Written>,
}

/// A fold that runs beside the commits.
struct Fold {
    /// How many of the job's files it replaces.
    files: usize,
    task: JoinHandle<Result<StateFile>>,
}

/// What is committed of one job so far.
struct JobFiles {
    state: Vec<StateFile>,
    skipped: u64,
    failed: u64,
    late: u64,
    fold: Option<Fold>,
    key_lengths: BTreeMap<(u32, u32), usize>,
}

/// What the hosts of a pipeline have counted since they started.
struct Counts {
    /// Malformed rows skipped, by source node.
    skipped: BTreeMap<NodeId, u64>,
    /// Rows left out behind the watermark, by source or feed node.
    late: BTreeMap<NodeId, u64>,
    /// Values that could not be computed, by job.
    failed: Vec<u64>,
}

impl Counts {
    fn new(jobs: usize) -> Self {
        Self { skipped: BTreeMap::new(), late: BTreeMap::new(), failed: vec![0; jobs] }
    }

    fn add(&mut self, skipped: Vec<(NodeId, u64)>, late: Vec<(NodeId, u64)>, failed: &[u64]) {
        for (node, rows) in skipped {
            *self.skipped.entry(node).or_default() += rows;
        }
        for (node, rows) in late {
            *self.late.entry(node).or_default() += rows;
        }
        for (sum, more) in self.failed.iter_mut().zip(failed) {
            *sum += more;
        }
    }
}

/// Commits the checkpoints of one pipeline, one after the other.
pub struct Committer {
    warehouse: Arc<Warehouse>,
    flow: Arc<Dataflow>,
    leases: Vec<Lease>,
    jobs: Vec<JobFiles>,
    /// Positions of every split seen, by source node.
    splits: BTreeMap<NodeId, BTreeMap<String, SplitPosition>>,
}

impl Committer {
    /// A committer that goes on from each job's payload. `infos`: state tables of every node, for folding.
    pub fn new(
        warehouse: Arc<Warehouse>,
        flow: Arc<Dataflow>,
        leases: Vec<Lease>,
        payloads: &[Option<Payload>],
        infos: &BTreeMap<(usize, u32), OperatorInfo>,
    ) -> Self {
        let jobs = payloads
            .iter()
            .enumerate()
            .map(|(job, payload)| JobFiles {
                state: payload.as_ref().map(|p| p.state.clone()).unwrap_or_default(),
                skipped: payload.as_ref().map_or(0, |p| p.skipped),
                failed: payload.as_ref().map_or(0, |p| p.failed),
                late: payload.as_ref().map_or(0, |p| p.late),
                fold: None,
                key_lengths: infos
                    .iter()
                    .filter(|((j, _), _)| *j == job)
                    .flat_map(|((_, operator), info)| {
                        info.state.iter().enumerate().map(|(t, table)| ((*operator, t as u32), table.key_len))
                    })
                    .collect(),
            })
            .collect();
        let mut splits: BTreeMap<NodeId, BTreeMap<String, SplitPosition>> = BTreeMap::new();
        for (node, flow_node) in flow.nodes.iter().enumerate() {
            if let Role::Source { key, jobs, .. } = &flow_node.role {
                let known = jobs.first().and_then(|job| flow.jobs[*job].positions.sources.get(key));
                splits.insert(node, known.cloned().unwrap_or_default());
            }
        }
        Self { warehouse, flow, leases, jobs, splits }
    }

    /// Where readers of a source node start.
    pub fn positions(&self, node: NodeId) -> BTreeMap<String, SplitPosition> {
        self.splits.get(&node).cloned().unwrap_or_default()
    }

    /// Makes one checkpoint durable and visible.
    pub async fn commit(&mut self, checkpoint: Checkpoint) -> Result<Committed> {
        let Checkpoint { epoch, parts, through, time } = checkpoint;
        let mut segments: BTreeMap<ObjectId, Vec<NewSegment>> = BTreeMap::new();
        let mut files: Vec<Vec<StateFile>> = vec![Vec::new(); self.jobs.len()];
        let mut counts = Counts::new(self.jobs.len());
        for part in parts {
            for (table, segment) in part.segments {
                segments.entry(table).or_default().push(segment);
            }
            for (job, file) in part.state {
                files[job].push(file);
            }
            for (node, split, position) in part.positions {
                self.splits.entry(node).or_default().insert(split, position);
            }
            counts.add(part.skipped, part.late, &part.failed);
        }
        let mut written = vec![Written::default(); self.jobs.len()];
        let mut actions = Vec::new();
        for (job, object) in self.flow.written_tables() {
            if let Some(segments) = segments.get(&object.id) {
                segments.iter().for_each(|segment| written[job].add(segment.bytes));
                actions.push(Action::AddSegments { table: object.id, segments: segments.clone() });
            }
        }
        let mut superseded = Vec::new();
        let mut next = Vec::new();
        for (job, new) in files.into_iter().enumerate() {
            let (mut state, old) = self.after_fold(job).await?;
            superseded.extend(old);
            new.iter().for_each(|file| written[job].add(file.bytes));
            state.extend(new);
            let mut payload = self.payload(job, epoch, through, &state, &counts);
            self.note_time(job, &time, &counts.late, &mut payload);
            let files = state.iter().map(|file| file.path.clone()).collect();
            let (job, payload) = (self.flow.jobs[job].job.id, payload.to_json()?);
            actions.push(Action::Checkpoint { job, epoch: epoch.number, payload, files });
            next.push(state);
        }
        let version = self.transact(actions).await?;
        for (job, state) in next.into_iter().enumerate() {
            self.jobs[job].state = state;
            self.start_fold(job);
        }
        for file in superseded {
            // What cannot be deleted now is garbage for the sweep.
            let _ = self.warehouse.delete(&file.path).await;
        }
        Ok(Committed { version, tables: segments.into_keys().collect(), written })
    }

    /// A job's state files with a finished fold taken in, and the files that it replaced.
    async fn after_fold(&mut self, job: usize) -> Result<(Vec<StateFile>, Vec<StateFile>)> {
        let files = &mut self.jobs[job];
        let mut state = files.state.clone();
        let mut old = Vec::new();
        if files.fold.as_ref().is_some_and(|fold| fold.task.is_finished())
            && let Some(fold) = files.fold.take()
        {
            let folded = fold.task.await.map_err(|e| Error::internal("folding of state was cut off").because(e))??;
            old = state.splice(..fold.files, [folded]).collect();
        }
        Ok((state, old))
    }

    fn start_fold(&mut self, job: usize) {
        let files = &mut self.jobs[job];
        if files.fold.is_some() || !fold_due(&files.state) {
            return;
        }
        let (warehouse, id) = (self.warehouse.clone(), self.flow.jobs[job].job.id);
        let (state, key_lengths) = (files.state.clone(), files.key_lengths.clone());
        let count = state.len();
        let task = tokio::spawn(async move { Ok(fold_state(&warehouse, id, &state, &key_lengths).await?) });
        files.fold = Some(Fold { files: count, task });
    }

    fn payload(&self, job: usize, epoch: Epoch, through: Version, state: &[StateFile], counts: &Counts) -> Payload {
        let planned = &self.flow.jobs[job];
        let mut positions = Positions::default();
        let mut rows = self.jobs[job].skipped;
        for feed in self.flow.feeds.iter().filter(|feed| feed.job == job) {
            let position = if feed.live { TablePosition::Live } else { TablePosition::Version(through) };
            positions.tables.insert(feed.table, position);
        }
        for (node, flow_node) in self.flow.nodes.iter().enumerate() {
            if let Role::Source { key, jobs, .. } = &flow_node.role
                && jobs.contains(&job)
            {
                positions.sources.insert(key.clone(), self.splits.get(&node).cloned().unwrap_or_default());
                rows += counts.skipped.get(&node).copied().unwrap_or(0);
            }
        }
        let mut payload =
            Payload::new(planned.fingerprint.clone(), epoch.timestamp_ms, positions, state.to_vec(), rows);
        payload.failed = self.jobs[job].failed + counts.failed[job];
        payload
    }

    /// Adds watermarks, late rows and what time still owes.
    fn note_time(&self, job: usize, time: &TimeReached, late: &BTreeMap<NodeId, u64>, payload: &mut Payload) {
        payload.late = self.jobs[job].late;
        payload.settling = time.settling;
        payload.moment = time.moment;
        let inputs = self.flow.timed.iter().zip(time.watermarks.iter());
        for (input, watermark) in inputs.filter(|(input, _)| input.jobs.contains(&job)) {
            payload.late += late.get(&input.node).copied().unwrap_or(0);
            let known = payload.positions.watermarks.entry(input.key.clone()).or_insert(*watermark);
            *known = (*known).min(*watermark);
        }
    }

    /// Says in the catalog that the jobs have ended, or that one has failed.
    pub async fn set_status(&self, status: JobStatus, only: Option<usize>, error: Option<String>) -> Result<()> {
        let jobs = self.flow.jobs.iter().enumerate().filter(|(i, _)| only.is_none_or(|only| only == *i));
        let actions = jobs
            .map(|(_, planned)| Action::SetJobStatus { job: planned.job.id, status, error: error.clone() })
            .collect();
        self.transact(actions).await.map(|_| ())
    }

    async fn transact(&self, actions: Vec<Action>) -> Result<Version> {
        let fences = self.leases.iter().map(|l| Requirement::Fence { lease: l.name.clone(), token: l.token });
        transact(&self.warehouse, fences.collect(), actions).await
    }
}

/// Commits, settles unknown outcomes, and tries again while the catalog is busy.
pub async fn transact(warehouse: &Warehouse, requires: Vec<Requirement>, actions: Vec<Action>) -> Result<Version> {
    let (catalog, clock) = (warehouse.catalog(), warehouse.clock());
    let mut commit = Commit { id: clock.uuid(), now_ms: clock.now_ms(), requires, actions };
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let error = match catalog.commit(commit.clone()).await {
            Ok(version) => return Ok(version),
            Err(error) => error,
        };
        match error.kind() {
            catalog::ErrorKind::Unavailable => {}
            catalog::ErrorKind::Indeterminate => {
                if let Some(version) = catalog.settle(commit.id).await? {
                    return Ok(version);
                }
                // The old id is burnt: the same transaction under a new one.
                commit.id = clock.uuid();
            }
            _ => return Err(error.into()),
        }
        last = Some(error);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(last.map_or_else(|| Error::new(ErrorKind::Unavailable, "the catalog does not answer"), Error::from))
}
