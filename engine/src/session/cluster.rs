//! Jobs on the slots of workers: where they run, and how they go on when workers come and go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use catalog::{Job, ObjectId};
use futures::future::BoxFuture;
use storage::Warehouse;
use tokio::sync::watch;

use crate::cluster::autoscale::{Autoscaler, Policy, Recommendation, Sample};
use crate::cluster::leader::Candidate;
use crate::cluster::{WorkerInfo, Workers, WorkersOptions, listen};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::mix_bytes;
use crate::runtime::host::{Here, Site};
use crate::runtime::pipeline::{Interruption, Phase, Pipeline};
use crate::runtime::placement::{Bounds, spread};
use crate::session::{Engine, EngineOptions, Inner, owner, settings};

/// Several workers that come or go within this time are one change.
const TOGETHER: Duration = Duration::from_millis(30);
/// How long to wait after a start that failed; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often the load of the workers is measured.
const SAMPLE: Duration = Duration::from_secs(1);
/// How many commit intervals a row may wait before its job counts as behind.
const BEHIND: u32 = 4;
/// How often a job that is being recovered is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Where the slots of a pipeline go.
pub(super) struct Placement {
    /// The sites that get any.
    pub sites: Vec<Arc<dyn Site>>,
    /// By slot, the index of its site.
    pub places: Vec<usize>,
    /// All sites that there are: address and number of slots.
    offers: Vec<(String, usize)>,
}

impl Placement {
    /// Whether as many slots are on the sites of these addresses, all of which can still be had.
    fn is_no_better_than(&self, addresses: &[String]) -> bool {
        let still = |address: &String| self.offers.iter().any(|(offer, _)| offer == address);
        addresses.len() == self.places.len() && addresses.iter().all(still)
    }
}

/// How an engine takes workers in.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Where they join. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How often a worker has to be heard of.
    pub heartbeat: Duration,
    /// After how much silence it is lost.
    pub timeout: Duration,
    /// What a worker must know to join, if anything.
    pub secret: Option<String>,
    /// How many workers there should be.
    pub policy: Policy,
}

/// Takes workers in, if the options say so.
pub(super) async fn workers(options: &EngineOptions, warehouse: &Warehouse) -> Result<Option<Arc<Workers>>> {
    let Some(cluster) = &options.cluster else { return Ok(None) };
    let (listener, address) = listen(cluster.listen).await?;
    tracing::info!("workers join at {address}");
    let options_of_workers = WorkersOptions {
        warehouse: warehouse.root().to_string(),
        heartbeat: cluster.heartbeat,
        timeout: cluster.timeout,
        secret: cluster.secret.clone(),
        address,
    };
    Ok(Some(Workers::start(listener, options_of_workers, options.clock.clone())))
}

/// What the slots of all pipelines have done up to a moment.
#[derive(Default)]
struct Load {
    at: Duration,
    workers: usize,
    /// By pipeline and slot: where it runs, and for how long it has worked since the pipeline started.
    busy: BTreeMap<(usize, usize), (String, Duration)>,
    /// How long the oldest row waits to be committed.
    lag: Duration,
}

impl Load {
    /// What happened since an earlier moment.
    fn since(&self, before: &Self, commit_interval: Duration) -> Sample {
        let mut of_workers: BTreeMap<&str, (Duration, usize)> = BTreeMap::new();
        for (slot, (address, busy)) in &self.busy {
            let earlier = before.busy.get(slot).map(|(_, busy)| *busy).unwrap_or_default();
            let (sum, slots) = of_workers.entry(address).or_default();
            *sum += busy.saturating_sub(earlier);
            *slots += 1;
        }
        let passed = self.at.saturating_sub(before.at).as_secs_f64().max(f64::EPSILON);
        let share = |(busy, slots): &(Duration, usize)| busy.as_secs_f64() / (*slots as f64 * passed);
        let busy = of_workers.values().map(share).fold(0.0, f64::max).min(1.0);
        Sample { at: self.at, workers: self.workers, busy, behind: self.lag > commit_interval * BEHIND }
    }
}

/// How jobs came back after they lost slots.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovery {
    /// When slots were lost, in ms since the Unix epoch.
    pub at_ms: i64,
    /// What happened to them.
    pub reason: String,
    /// On how many slots the jobs started again, from their last checkpoint.
    pub slots: usize,
    /// From the loss until what was left had ended, and the commit that was under way with it.
    pub stopped: Duration,
    /// From then until the new slots had their state and were ready.
    pub started: Duration,
    /// From then until the first commit, if there was one yet.
    pub committed: Option<Duration>,
}

impl std::fmt::Display for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reason, slots, stopped, started, .. } = self;
        let (stopped, started) = (stopped.as_millis(), started.as_millis());
        write!(f, "restarted on {slots} slots ({reason}): stopped in {stopped} ms, ready in {started} ms")?;
        match self.committed {
            Some(committed) => write!(f, ", committed in {} ms", committed.as_millis()),
            None => Ok(()),
        }
    }
}

/// The recoveries of jobs, each job's last one.
pub(super) type Recoveries = Mutex<BTreeMap<ObjectId, Recovery>>;

impl Engine {
    /// The workers of the cluster; `None` if this process runs its jobs itself.
    pub fn workers(&self) -> Option<Vec<WorkerInfo>> {
        self.inner.workers.as_ref().map(|workers| workers.list())
    }

    /// How many workers there should be; `None` if this process runs its jobs itself.
    pub fn recommended_workers(&self) -> Option<watch::Receiver<Recommendation>> {
        self.inner.workers.is_some().then(|| self.inner.recommended.subscribe())
    }

    /// Where workers join, if this process takes any in.
    pub fn cluster_address(&self) -> Option<SocketAddr> {
        self.inner.workers.as_ref().map(|workers| workers.address())
    }
}

impl Engine {
    /// Waits until this process leads among the coordinators of its warehouse; until then it answers no statements. Whoever
    /// takes no workers in leads nobody, and need not wait.
    ///
    /// # Errors
    /// If the catalog cannot be used.
    pub async fn lead(&self) -> Result<()> {
        let (Some(workers), Some(candidate)) = (&self.inner.workers, self.inner.candidate()) else { return Ok(()) };
        let leadership = candidate.lead(owner::is_dead).await?;
        tracing::info!("this coordinator leads");
        let _ = self.inner.leadership.set(leadership);
        workers.open();
        Ok(())
    }

    /// Keeps the right to lead; resolves when it is lost, with the reason. From then on another process runs the jobs.
    pub async fn deposed(&self) -> Error {
        match (self.inner.candidate(), self.inner.leadership.get()) {
            (Some(candidate), Some(leadership)) => candidate.keep(&leadership.lease).await,
            _ => std::future::pending().await,
        }
    }
}

impl Inner {
    fn candidate(&self) -> Option<Candidate> {
        let cluster = self.options.cluster.as_ref()?;
        Some(Candidate {
            catalog: self.warehouse.catalog().clone(),
            clock: self.options.clock.clone(),
            owner: self.owner.clone(),
            ttl: cluster.timeout,
        })
    }

    /// Only the coordinator that leads answers.
    pub(super) fn refuse_while_standing_by(&self) -> Result<()> {
        match self.workers.is_some() && self.leadership.get().is_none() {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Unavailable, "this coordinator stands by: another one leads")
                .hint("connect to the one that is /ready")),
        }
    }

    /// Lets another coordinator lead.
    pub(super) async fn resign(&self) -> Result<()> {
        let Some(leadership) = self.leadership.get() else { return Ok(()) };
        Ok(self.warehouse.catalog().release_leases(std::slice::from_ref(&leadership.lease)).await?)
    }

    /// Whether the holder of a lease is known not to use it any more.
    pub(super) fn is_gone(&self, holder: &str) -> bool {
        let deposed = self.leadership.get().and_then(|leadership| leadership.deposed.as_deref());
        owner::is_dead(holder) || deposed == Some(holder)
    }

    /// Fails if there is nowhere to run a job.
    ///
    /// # Errors
    /// `Unavailable` if there is no worker.
    pub(super) fn refuse_without_workers(&self) -> Result<()> {
        match &self.workers {
            Some(workers) if workers.sites().is_empty() => {
                Err(Error::new(ErrorKind::Unavailable, "no worker has joined, so no job can run")
                    .hint(format!("start one: frazil worker --coordinator {}", workers.address())))
            }
            _ => Ok(()),
        }
    }

    /// Where the slots of a pipeline of these jobs are to run now.
    ///
    /// # Errors
    /// `Unavailable` if there are fewer slots than it needs.
    pub(super) fn place<'a>(&self, jobs: impl Iterator<Item = &'a Job>) -> Result<Placement> {
        self.refuse_without_workers()?;
        let (mut bounds, mut pipeline) = (Bounds::default(), 0);
        for job in jobs {
            bounds = bounds.and(settings::parallelism(&job.settings));
            pipeline = mix_bytes(pipeline, &job.id.0.to_le_bytes());
        }
        let sites =
            match &self.workers {
                None => vec![Arc::new(Here { warehouse: self.warehouse.clone(), slots: self.options.parallelism })
                    as Arc<dyn Site>],
                Some(workers) => workers.sites(),
            };
        let offers: Vec<_> = sites.iter().map(|site| (site.address(), site.slots())).collect();
        // One process offers as many threads as are wanted.
        let places = match &self.workers {
            None => vec![0; self.options.parallelism.clamp(bounds.min, bounds.max)],
            Some(_) => spread(&offers, pipeline, bounds).ok_or_else(|| {
                let slots: usize = offers.iter().map(|(_, slots)| slots).sum();
                let error = format!("the workers have {slots} slots, and the job needs {}", bounds.min);
                Error::new(ErrorKind::Unavailable, error).hint("start more workers, or lower parallelism.min")
            })?,
        };
        // Sites without slots take no part.
        let used: Vec<usize> = (0..sites.len()).filter(|site| places.contains(site)).collect();
        let places = places.iter().filter_map(|place| used.iter().position(|site| site == place)).collect();
        Ok(Placement { sites: used.into_iter().map(|site| sites[site].clone()).collect(), places, offers })
    }

    /// Moves jobs whenever workers come or go.
    pub(super) fn follow_workers(&self) {
        let Some(workers) = &self.workers else { return };
        let mut changes = workers.changes();
        let this = self.this.clone();
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                tokio::time::sleep(TOGETHER).await;
                changes.mark_unchanged();
                let Some(inner) = this.upgrade() else { return };
                inner.rebalance().await;
            }
        });
    }

    /// Measures how busy the workers are, and concludes how many there should be.
    pub(super) fn watch_load(&self) {
        let (Some(workers), Some(cluster)) = (self.workers.clone(), &self.options.cluster) else { return };
        let (this, clock) = (self.this.clone(), self.options.clock.clone());
        let mut scaler = Autoscaler::new(cluster.policy);
        tokio::spawn(async move {
            let mut before = Load::default();
            loop {
                tokio::time::sleep(SAMPLE).await;
                let Some(inner) = this.upgrade() else { return };
                let now = inner.load(clock.monotonic(), &workers).await;
                let sample = now.since(&before, inner.options.commit_interval);
                let recommended = scaler.on(sample).clone();
                inner
                    .recommended
                    .send_if_modified(|known| std::mem::replace(known, recommended.clone()) != recommended);
                before = now;
            }
        });
    }

    /// What the workers have done so far.
    async fn load(&self, at: Duration, workers: &Workers) -> Load {
        let mut load = Load { at, workers: workers.sites().len(), ..Load::default() };
        let now = self.options.clock.now_ms();
        for pipeline in self.pipelines.lock().await.iter().filter(|pipeline| !pipeline.phase().is_over()) {
            let metrics = pipeline.metrics();
            for (slot, address) in pipeline.addresses().iter().enumerate() {
                let busy: Duration = metrics.slot(slot).iter().map(|node| node.totals().busy).sum();
                load.busy.insert((Arc::as_ptr(pipeline) as usize, slot), (address.clone(), busy));
            }
            let since = metrics.uncommitted_since_ms.load(Ordering::Relaxed);
            if since > 0 {
                let waits = Duration::from_millis(u64::try_from(now - since).unwrap_or(0));
                load.lag = load.lag.max(waits);
            }
        }
        load
    }

    /// Gives every pipeline the slots that there are now: one that runs on others stops after a checkpoint and goes on there.
    async fn rebalance(&self) {
        let Some(workers) = &self.workers else { return };
        let Ok(snapshot) = self.snapshot().await else { return };
        let pipelines = self.pipelines.lock().await.clone();
        for pipeline in pipelines {
            let jobs = pipeline.jobs().to_vec();
            let known = jobs.iter().filter_map(|job| snapshot.jobs.get(job));
            // With too few slots it goes on where it is, or waits.
            let Ok(placement) = self.place(known.map(Arc::as_ref)) else { continue };
            // One that has lost slots is on its way back already, and none moves without need.
            if pipeline.phase().is_over() || placement.is_no_better_than(pipeline.addresses()) {
                continue;
            }
            tracing::info!(slots = placement.places.len(), "moving jobs to the workers that there are now");
            if let Err(error) = self.to_the_end(|inner| async move { inner.launch_jobs(&jobs).await }).await {
                tracing::warn!(%error, "jobs could not be moved");
                self.recover(pipeline.jobs().to_vec(), None).await;
            }
        }
        if self.refuse_without_workers().is_ok()
            && let Err(error) = self.resume_orphans().await
        {
            tracing::warn!(%error, "jobs that waited for a worker could not be resumed");
        }
        workers.dismiss_drained();
    }

    /// Starts jobs again that have lost slots, until that succeeds or there is nobody to run them: then the next worker that joins
    /// brings them back.
    pub(super) async fn recover(&self, jobs: Vec<ObjectId>, lost: Option<Interruption>) {
        let running = self.local_jobs().await;
        if jobs.iter().all(|job| running.contains(job)) {
            return;
        }
        let clock = &self.options.clock;
        let (stopped_at, stopped_ms) = (clock.monotonic(), clock.now_ms());
        let pipelines = match self.launch_patiently(&jobs, None).await {
            Ok(pipelines) => pipelines,
            Err(error) => return tracing::warn!(%error, "jobs wait to be recovered"),
        };
        let Some(Interruption { at, error }) = lost else { return };
        let stopped = stopped_at.saturating_sub(at);
        for pipeline in pipelines {
            let recovery = Recovery {
                at_ms: stopped_ms - stopped.as_millis() as i64,
                reason: error.message(),
                slots: pipeline.addresses().len(),
                stopped,
                started: clock.monotonic().saturating_sub(stopped_at),
                committed: None,
            };
            tokio::spawn(note_recovery(self.this.clone(), pipeline, recovery));
        }
    }

    /// Starts jobs, and starts again if workers are lost in the middle of it: as often as `attempts` says, or without end.
    pub(super) async fn launch_patiently(
        &self,
        jobs: &[ObjectId],
        attempts: Option<u32>,
    ) -> Result<Vec<Arc<Pipeline>>> {
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        loop {
            let these = jobs.to_vec();
            let error = match self.to_the_end(|inner| async move { inner.launch_jobs(&these).await }).await {
                Ok(pipelines) => {
                    // Jobs of other pipelines may have been stopped by an attempt that failed.
                    if attempt > 1 {
                        self.resume_others().await?;
                    }
                    return Ok(pipelines);
                }
                Err(error) => error,
            };
            let passing = self.workers.is_some() && error.kind() == ErrorKind::Unavailable;
            let ending = self.closing.load(Ordering::Acquire);
            if !passing || ending || attempts == Some(attempt) || self.refuse_without_workers().is_err() {
                return Err(error);
            }
            tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "jobs could not be started yet");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            attempt += 1;
        }
    }

    /// [`Inner::resume_orphans`], with a type that does not contain itself.
    fn resume_others(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.resume_orphans())
    }

    /// Waits until a pipeline has read its history, or the one that goes on for it if slots are lost meanwhile.
    pub(super) async fn ready(&self, mut pipeline: Arc<Pipeline>) -> Result<()> {
        loop {
            let ready = pipeline.ready().await;
            if ready.is_ok() || !matches!(pipeline.phase(), Phase::Interrupted(_)) {
                return ready;
            }
            let jobs = pipeline.jobs().to_vec();
            pipeline = loop {
                tokio::time::sleep(POLL).await;
                let running = self.pipelines.lock().await.clone();
                let goes_on = |other: &Arc<Pipeline>| {
                    !Arc::ptr_eq(other, &pipeline) && jobs.iter().any(|job| other.jobs().contains(job))
                };
                if let Some(next) = running.into_iter().find(goes_on) {
                    break next;
                }
                self.refuse_without_workers()?;
            };
        }
    }
}

/// Notes how jobs came back, and when they committed for the first time.
async fn note_recovery(inner: Weak<Inner>, pipeline: Arc<Pipeline>, mut recovery: Recovery) {
    let Some(clock) = inner.upgrade().map(|inner| inner.options.clock.clone()) else { return };
    let ready = clock.monotonic();
    loop {
        let committed = pipeline.metrics().checkpoints.load(Ordering::Relaxed) > 0;
        recovery.committed = committed.then(|| clock.monotonic().saturating_sub(ready));
        let Some(inner) = inner.upgrade() else { return };
        {
            let mut known = inner.recoveries.lock().unwrap_or_else(PoisonError::into_inner);
            known.extend(pipeline.jobs().iter().map(|job| (*job, recovery.clone())));
        }
        drop(inner);
        if committed || pipeline.phase().is_over() {
            return tracing::info!("{recovery}");
        }
        tokio::time::sleep(POLL).await;
    }
}
