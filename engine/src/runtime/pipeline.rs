//! Runs one pipeline: the shell around the coordinator that owns hosts, channels, timers and commits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use catalog::{JobStatus, Lease, ObjectId, Snapshot, Version};
use storage::Warehouse;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::error::{Error, ErrorKind, Result};
use crate::operator::{Epoch, OperatorInfo};
use crate::runtime::checkpoint::TablePosition;
use crate::runtime::commit::{Checkpoint, Committed, Committer, Written};
use crate::runtime::coordinator::{Command, Coordinator, Event, Settings, TimeReached};
use crate::runtime::dataflow::{Dataflow, NodeId, PlannedJob, Role};
use crate::runtime::feed::{self, Feed, Stage, Staged};
use crate::runtime::host::{Deployment, FromHost, Host, HostCheckpoint, Site};
use crate::runtime::instance::Instance;
use crate::runtime::metrics::{CheckpointRecord, Metrics};
use crate::runtime::slot::{Assignment, Start};
use crate::runtime::timing::Timing;
use crate::runtime::touched::Touched;
use crate::source::Split;

/// Epochs that may be open at once.
const MAX_IN_FLIGHT: u64 = 2;
/// How long a lease lasts unless it is renewed; it is renewed three times as often.
pub const LEASE_TTL_MS: i64 = 10_000;

/// What a pipeline is started with.
pub struct Setup {
    /// Where everything is.
    pub warehouse: Arc<Warehouse>,
    /// The jobs and their operators.
    pub flow: Arc<Dataflow>,
    /// The right to run each job.
    pub leases: Vec<Lease>,
    /// The catalog as it was after the leases were taken.
    pub snapshot: Arc<Snapshot>,
    /// Where relative paths of connector tables start, if not where that was noted at their creation.
    pub base_dirs: Arc<BTreeMap<ObjectId, PathBuf>>,
    /// Where its slots are to run.
    pub sites: Vec<Arc<dyn Site>>,
    /// By slot, the index of its site; every site has one.
    pub places: Vec<usize>,
    /// How often changes are committed.
    pub commit_interval: Duration,
    /// The newest version, as it grows.
    pub versions: watch::Receiver<Version>,
    /// Told of every table that a commit changed.
    pub touched: Arc<Touched>,
}

/// Where a pipeline is in its life.
#[derive(Debug, Clone)]
pub enum Phase {
    /// Not all jobs have a checkpoint yet.
    Starting,
    /// All jobs have a checkpoint.
    Running,
    /// All inputs are read to their end and committed.
    Ended,
    /// Stopped after a last checkpoint.
    Stopped,
    /// Stopped by an error; nothing since the last checkpoint is visible.
    Failed(Arc<Error>),
    /// Slots were lost through no fault of the jobs, which can go on elsewhere from the last checkpoint.
    Interrupted(Interruption),
}

/// The loss of slots.
#[derive(Debug, Clone)]
pub struct Interruption {
    /// When it was noticed, by the monotonic clock.
    pub at: Duration,
    /// What happened to them.
    pub error: Arc<Error>,
}

impl Phase {
    /// Whether nothing will happen any more.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Ended | Self::Stopped | Self::Failed(_) | Self::Interrupted(_))
    }
}

/// A running pipeline.
pub struct Pipeline {
    flow: Arc<Dataflow>,
    jobs: Vec<ObjectId>,
    addresses: Vec<String>,
    events: mpsc::UnboundedSender<Event>,
    phase: watch::Receiver<Phase>,
    metrics: Arc<Metrics>,
}

impl Pipeline {
    /// Restores the jobs' state and starts their tasks.
    pub async fn start(setup: Setup) -> Result<Self> {
        let flow = setup.flow.clone();
        let jobs = flow.jobs.iter().map(|planned| planned.job.id).collect();
        let metrics = Arc::new(Metrics::new(setup.places.len(), flow.nodes.len(), flow.jobs.len()));
        let addresses = setup.places.iter().map(|place| setup.sites[*place].address()).collect();
        let (events, inbox) = mpsc::unbounded_channel();
        let (phase, phases) = watch::channel(Phase::Starting);
        let driver = Driver::new(setup, metrics.clone(), events.clone(), phase).await?;
        tokio::spawn(driver.run(inbox));
        Ok(Self { flow, jobs, addresses, events, phase: phases, metrics })
    }

    /// The graph of its nodes.
    pub fn flow(&self) -> &Arc<Dataflow> {
        &self.flow
    }

    /// The jobs that it runs.
    pub fn jobs(&self) -> &[ObjectId] {
        &self.jobs
    }

    /// Where its slots run: by slot, the address of its site.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Its counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Asks for a checkpoint without waiting for the commit interval.
    pub fn request_checkpoint(&self) {
        let _ = self.events.send(Event::CheckpointRequested);
    }

    /// Waits until every job has a checkpoint: its history is read and visible.
    pub async fn ready(&self) -> Result<()> {
        self.wait(|phase| !matches!(phase, Phase::Starting)).await
    }

    /// Waits until all inputs are at their end (or until somebody stops it).
    pub async fn over(&self) -> Result<()> {
        self.wait(Phase::is_over).await
    }

    /// Takes a last checkpoint and ends the tasks.
    pub async fn stop(&self) -> Result<()> {
        let _ = self.events.send(Event::StopRequested);
        self.over().await
    }

    async fn wait(&self, until: impl Fn(&Phase) -> bool) -> Result<()> {
        let mut phase = self.phase.clone();
        let reached = phase.wait_for(|phase| until(phase)).await;
        match reached.as_deref() {
            Ok(Phase::Failed(error) | Phase::Interrupted(Interruption { error, .. })) => {
                Err(Error::new(error.kind(), error.to_string()))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(Error::internal("a pipeline ended without saying why")),
        }
    }
}

/// A checkpoint that hosts are still writing.
struct Collecting {
    through: Version,
    parts: Vec<HostCheckpoint>,
    /// Its epoch is closed at all slots.
    closed: Option<(Epoch, TimeReached)>,
}

struct Driver {
    warehouse: Arc<Warehouse>,
    flow: Arc<Dataflow>,
    leases: Vec<Lease>,
    coordinator: Coordinator,
    /// By slot, the index of its host.
    places: Vec<usize>,
    hosts: Vec<Box<dyn Host>>,
    reports: mpsc::UnboundedReceiver<FromHost>,
    stage: Arc<Stage>,
    new_splits: mpsc::UnboundedReceiver<(NodeId, Vec<Split>)>,
    splits: Vec<Assignment>,
    assigned: BTreeMap<NodeId, usize>,
    collecting: BTreeMap<u64, Collecting>,
    committer: Option<Committer>,
    committing: JoinSet<Commitment>,
    /// Feeds, split watchers, lease renewal: ended with the driver; an error of one fails the pipeline.
    helpers: JoinSet<Result<()>>,
    metrics: Arc<Metrics>,
    phase: watch::Sender<Phase>,
    touched: Arc<Touched>,
    wake_at: Option<i64>,
    timing: Timing,
}

/// A commit that has ended: the committer, ready for the next, and what came of it.
type Commitment = (Committer, Epoch, Result<Committed>);

/// Why a pipeline cannot go on.
enum Broken {
    /// A job, if it is known which, or the pipeline itself has failed.
    Failed(Option<usize>, Error),
    /// Slots are gone.
    Lost(Error),
}

enum Step {
    Go,
    Finish { ended: bool },
}

impl Driver {
    async fn new(
        setup: Setup,
        metrics: Arc<Metrics>,
        events: mpsc::UnboundedSender<Event>,
        phase: watch::Sender<Phase>,
    ) -> Result<Self> {
        let Setup { warehouse, flow, leases, snapshot, base_dirs, sites, places, commit_interval, versions, touched } =
            setup;
        let payloads = flow.jobs.iter().map(PlannedJob::payload).collect::<Result<Vec<_>>>()?;
        let infos = infos(&flow)?;
        let committer = Committer::new(warehouse.clone(), flow.clone(), leases.clone(), &payloads, &infos);
        let feeds = feeds(&flow);

        let coordinator = Coordinator::new(Settings {
            slots: places.len(),
            max_in_flight: MAX_IN_FLIGHT,
            commit_interval_ms: commit_interval.as_millis() as i64,
            restored_epoch: flow
                .jobs
                .iter()
                .filter_map(|j| j.job.checkpoint.as_ref())
                .map(|c| c.epoch)
                .max()
                .unwrap_or(0),
            restored_timestamp_ms: payloads.iter().flatten().map(|p| p.timestamp_ms).max().unwrap_or(0),
            fresh: payloads.iter().any(Option::is_none),
            backfilling: !feeds.is_empty(),
            timed: flow.timed.iter().map(|timed| timed.input.clone()).collect(),
            watermark_epochs: flow.late_passes() as u64,
        });
        if payloads.iter().all(Option::is_some) {
            phase.send_replace(Phase::Running);
        }
        let (report, reports) = mpsc::unbounded_channel();
        let deployment = Arc::new(Deployment {
            flow: flow.clone(),
            snapshot: snapshot.clone(),
            metrics: metrics.clone(),
            places: places.clone(),
            addresses: sites.iter().map(|site| site.address()).collect(),
            base_dirs,
            id: warehouse.clock().uuid(),
        });
        let deploy = |(host, site): (usize, Arc<dyn Site>)| {
            let (deployment, report) = (deployment.clone(), report.clone());
            async move { site.deploy(&deployment, host, report).await }
        };
        let hosts = futures::future::try_join_all(sites.into_iter().enumerate().map(deploy)).await?;
        let (split_sender, new_splits) = mpsc::unbounded_channel();
        let mut driver = Self {
            places,
            hosts,
            stage: Arc::new(Stage::new(warehouse.clock().clone())),
            timing: Timing::new(warehouse.clock().clone(), metrics.clone()),
            warehouse,
            flow,
            leases,
            coordinator,
            reports,
            new_splits,
            splits: vec![],
            assigned: BTreeMap::new(),
            collecting: BTreeMap::new(),
            committer: Some(committer),
            committing: JoinSet::new(),
            helpers: JoinSet::new(),
            metrics,
            phase,
            touched,
            wake_at: None,
        };
        driver.assign_first_splits().await?;
        driver.start_helpers(feeds, snapshot, events, versions, split_sender);
        Ok(driver)
    }

    /// Lists every source's splits and hands them to the slots, with the positions of the checkpoint.
    async fn assign_first_splits(&mut self) -> Result<()> {
        for (node, flow_node) in self.flow.clone().nodes.iter().enumerate() {
            if let Role::Source { source, .. } = &flow_node.role {
                let source = source.clone();
                let splits = tokio::task::spawn_blocking(move || source.splits()).await;
                let splits = splits.map_err(|e| Error::internal("listing of splits was cut off").because(e))??;
                self.assign(node, splits);
            }
        }
        Ok(())
    }

    fn assign(&mut self, node: NodeId, splits: Vec<Split>) {
        let known = self.committer.as_ref().map(|c| c.positions(node)).unwrap_or_default();
        for split in splits {
            let from = known.get(&split.id).copied().unwrap_or_default();
            self.splits.push(Assignment { node, split, from });
        }
    }

    fn start_helpers(
        &mut self,
        feeds: Vec<Feed>,
        snapshot: Arc<Snapshot>,
        events: mpsc::UnboundedSender<Event>,
        versions: watch::Receiver<Version>,
        splits: mpsc::UnboundedSender<(NodeId, Vec<Split>)>,
    ) {
        if feeds.is_empty() {
            let _ = events.send(Event::StagedEnded);
        } else {
            let (warehouse, stage) = (self.warehouse.clone(), self.stage.clone());
            self.helpers.spawn(feed::run(warehouse, feeds, snapshot, stage, events.clone(), versions));
        }
        for (node, flow_node) in self.flow.nodes.iter().enumerate() {
            let Role::Source { source, .. } = &flow_node.role else { continue };
            let Some(interval) = source.monitor_interval() else { continue };
            let (source, splits, events) = (source.clone(), splits.clone(), events.clone());
            let mut known: std::collections::HashSet<String> =
                self.splits.iter().filter(|a| a.node == node).map(|a| a.split.id.clone()).collect();
            self.helpers.spawn(async move {
                loop {
                    tokio::time::sleep(interval).await;
                    let source = source.clone();
                    let found = tokio::task::spawn_blocking(move || source.splits()).await;
                    let found = found.map_err(|e| Error::internal("listing of splits was cut off").because(e))??;
                    let new: Vec<_> = found.into_iter().filter(|split| known.insert(split.id.clone())).collect();
                    if !new.is_empty() {
                        let _ = splits.send((node, new));
                        let _ = events.send(Event::InputReady);
                    }
                }
            });
        }
        let (warehouse, leases) = (self.warehouse.clone(), self.leases.clone());
        self.helpers.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(LEASE_TTL_MS as u64 / 3)).await;
                match warehouse.catalog().renew_leases(&leases, warehouse.clock().now_ms(), LEASE_TTL_MS).await {
                    Err(error) if error.kind() == catalog::ErrorKind::Fenced => return Err(error.into()),
                    // A catalog that is busy now may answer next time; a lost lease is found out at the next commit.
                    _ => {}
                }
            }
        });
    }

    async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        let outcome = self.drive(&mut events).await;
        self.hosts.clear();
        self.helpers.shutdown().await;
        let phase = match outcome {
            Ok(ended) => match self.end(ended).await {
                Ok(()) if ended => Phase::Ended,
                Ok(()) => Phase::Stopped,
                Err(error) => Phase::Failed(Arc::new(error)),
            },
            Err(Broken::Failed(job, error)) => {
                self.fail(job, &error).await;
                Phase::Failed(Arc::new(error))
            }
            Err(Broken::Lost(error)) => {
                tracing::warn!(%error, "slots of a pipeline are lost");
                let at = self.warehouse.clock().monotonic();
                self.finish_commit().await;
                Phase::Interrupted(Interruption { at, error: Arc::new(error) })
            }
        };
        let _ = self.warehouse.catalog().release_leases(&self.leases).await;
        self.phase.send_replace(phase);
    }

    async fn drive(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) -> Result<bool, Broken> {
        let mut event = Some(Event::Started);
        loop {
            if let Some(event) = event.take()
                && let Step::Finish { ended } = self.on(event)
            {
                return Ok(ended);
            }
            let now = self.warehouse.clock().now_ms();
            let sleep = self.wake_at.map(|at| Duration::from_millis((at - now).max(0) as u64));
            tokio::select! {
                Some(report) = self.reports.recv() => event = self.on_report(report)?,
                Some(user) = events.recv() => event = Some(user),
                Some((node, splits)) = self.new_splits.recv() => {
                    self.assign(node, splits);
                    event = Some(Event::InputReady);
                }
                Some(done) = self.committing.join_next() => event = Some(self.committed(done).map_err(|e| Broken::Failed(None, e))?),
                Some(helper) = self.helpers.join_next() => match helper {
                    Ok(Err(error)) => return Err(Broken::Failed(None, error)),
                    Err(error) if error.is_panic() => {
                        let error = Error::internal("a background task panicked").because(error);
                        return Err(Broken::Failed(None, error));
                    }
                    _ => {}
                },
                () = tokio::time::sleep(sleep.unwrap_or(Duration::MAX)), if sleep.is_some() => {
                    self.wake_at = None;
                    event = Some(Event::Tick);
                }
            }
        }
    }

    fn on_report(&mut self, report: FromHost) -> Result<Option<Event>, Broken> {
        match report {
            FromHost::Failed { job: Some(job), error } => {
                let name = &self.flow.jobs[job].job.name;
                Err(Broken::Failed(Some(job), error.with("job", name)))
            }
            FromHost::Failed { job: None, error } => Err(Broken::Failed(None, error)),
            FromHost::Lost(error) => Err(Broken::Lost(error)),
            FromHost::EpochDone(done) => {
                if done.rows_in > 0 {
                    self.timing.has_read(done.epoch);
                }
                Ok(Some(Event::EpochDone(done)))
            }
            FromHost::Written { epoch, part } => {
                if let Some(collecting) = self.collecting.get_mut(&epoch) {
                    collecting.parts.push(part);
                }
                self.commit_if_whole(epoch);
                Ok(None)
            }
        }
    }

    fn on(&mut self, event: Event) -> Step {
        let now = self.warehouse.clock().now_ms();
        for command in self.coordinator.on(now, event) {
            match command {
                Command::Start { epoch, checkpoint, watermarks, backfilling } => {
                    let (staged, splits, waited) = (vec![], vec![], Duration::ZERO);
                    self.start_epoch(Start { epoch, checkpoint, watermarks, backfilling, staged, splits, waited });
                }
                Command::Commit { epoch, time } => {
                    if let Some(collecting) = self.collecting.get_mut(&epoch.number) {
                        collecting.closed = Some((epoch, time));
                    }
                    self.commit_if_whole(epoch.number);
                }
                Command::WakeAt(at) => self.wake_at = Some(at),
                Command::Finish { ended } => return Step::Finish { ended },
            }
        }
        self.timing.closed(self.coordinator.closed_epoch());
        Step::Go
    }

    fn start_epoch(&mut self, mut start: Start) {
        let (epoch, checkpoint) = (start.epoch, start.checkpoint);
        let (Staged { changes, through, .. }, waited) = self.stage.take();
        start.waited = waited;
        self.timing.opened(epoch);
        if !changes.is_empty() {
            self.timing.has_read(epoch.number);
        }
        let slots = self.places.len();
        let mut starts = vec![start; slots];
        for (i, (nodes, changes)) in changes.into_iter().enumerate() {
            starts[i % slots].staged.extend(nodes.into_iter().map(|node| (node, changes.clone())));
        }
        for assignment in self.splits.drain(..) {
            let next = self.assigned.entry(assignment.node).or_default();
            starts[*next % slots].splits.push(assignment);
            *next += 1;
        }
        if checkpoint {
            self.collecting.insert(epoch.number, Collecting { through, parts: vec![], closed: None });
        }
        let mut by_host: Vec<Vec<(usize, Start)>> = self.hosts.iter().map(|_| vec![]).collect();
        for (slot, start) in starts.into_iter().enumerate() {
            by_host[self.places[slot]].push((slot, start));
        }
        for (host, starts) in self.hosts.iter().zip(by_host) {
            host.start(starts);
        }
    }

    /// Commits a checkpoint whose epoch is closed and whose files are written.
    fn commit_if_whole(&mut self, epoch: u64) {
        let whole = |collecting: &Collecting| collecting.closed.is_some() && collecting.parts.len() == self.hosts.len();
        if !self.collecting.get(&epoch).is_some_and(whole) {
            return;
        }
        let Some(Collecting { through, parts, closed: Some((epoch, time)) }) = self.collecting.remove(&epoch) else {
            return;
        };
        let Some(mut committer) = self.committer.take() else { return };
        self.committing.spawn(async move {
            let result = committer.commit(Checkpoint { epoch, parts, through, time }).await;
            (committer, epoch, result)
        });
    }

    fn committed(&mut self, done: Result<Commitment, tokio::task::JoinError>) -> Result<Event> {
        let (committer, epoch, result) = done.map_err(|e| Error::internal("a commit was cut off").because(e))?;
        self.committer = Some(committer);
        let Committed { version, tables, written } = result?;
        for table in tables {
            self.touched.add(table);
        }
        let (duration, committed_ms) = self.timing.committed(epoch.number);
        for (job, written) in written.into_iter().enumerate() {
            let Written { files, bytes } = written;
            let record = CheckpointRecord { epoch: epoch.number, version, committed_ms, duration, bytes, files };
            self.metrics.remember(job, record);
        }
        if matches!(*self.phase.borrow(), Phase::Starting) {
            self.phase.send_replace(Phase::Running);
        }
        Ok(Event::Committed { epoch: epoch.number })
    }

    async fn end(&mut self, ended: bool) -> Result<()> {
        match &self.committer {
            Some(committer) if ended => committer.set_status(JobStatus::Finished, None, None).await,
            _ => Ok(()),
        }
    }

    /// Waits for the commit that is on its way, if there is one.
    async fn finish_commit(&mut self) {
        while let Some(done) = self.committing.join_next().await {
            if let Ok((committer, _, _)) = done {
                self.committer = Some(committer);
            }
        }
    }

    /// Tells the catalog why a job failed, unless somebody else has taken the job over.
    async fn fail(&mut self, job: Option<usize>, error: &Error) {
        tracing::error!(%error, "pipeline failed");
        self.finish_commit().await;
        if error.kind() == ErrorKind::Fenced {
            return;
        }
        if let (Some(committer), Some(job)) = (&self.committer, job) {
            let told = committer.set_status(JobStatus::Failed, Some(job), Some(error.to_string())).await;
            if let Err(error) = told {
                tracing::warn!(%error, "the failure could not be noted in the catalog");
            }
        }
    }
}

/// The facts about every stateful operator, from an instance that is thrown away.
fn infos(flow: &Dataflow) -> Result<BTreeMap<(usize, u32), OperatorInfo>> {
    let mut infos = BTreeMap::new();
    for node in &flow.nodes {
        if let Some(info) = Instance::info(node, flow)? {
            infos.insert((node.job, node.operator), info);
        }
    }
    Ok(infos)
}

fn feeds(flow: &Dataflow) -> Vec<Feed> {
    let from = |feed: &crate::runtime::dataflow::FeedInput| {
        flow.jobs[feed.job].positions.tables.get(&feed.table).and_then(|position| match position {
            TablePosition::Version(version) => Some(*version),
            TablePosition::Live => None,
        })
    };
    flow.feeds
        .iter()
        .map(|feed| Feed { node: feed.node, table: feed.table, from: from(feed), live: feed.live })
        .collect()
}
