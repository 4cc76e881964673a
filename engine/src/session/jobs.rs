//! Which jobs this process runs: takes their leases, plans them, groups them into pipelines, starts and stops these.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use catalog::{Action, Job, JobStatus, Lease, Object, ObjectId, Snapshot};

use crate::error::{Error, ErrorKind, Result};
use crate::hash::mix_bytes;
use crate::plan::explain::explain;
use crate::plan::guard::{Failures, OnError, guard};
use crate::runtime::checkpoint::{Payload, Positions};
use crate::runtime::commit::transact;
use crate::runtime::dataflow::{Dataflow, OpenInput, Opened, Part, PlannedJob};
use crate::runtime::pipeline::{LEASE_TTL_MS, Pipeline, Setup};
use crate::session::{Inner, owner};
use crate::sql::context::{Mode, Planner, rename};
use crate::sql::statement::Statement;

/// The setting that says what happens to rows that an expression fails on.
pub const ON_ERROR: &str = "job.on-error";

/// The lease that allows to run a job.
pub fn lease_name(job: ObjectId) -> String {
    format!("job/{job}")
}

impl Inner {
    /// Starts jobs in this process, together with those of its running jobs that share objects with them, and waits
    /// until every new one has read its history. Jobs that have ended or are paused stay as they are.
    pub async fn start_jobs(&self, jobs: &[ObjectId]) -> Result<()> {
        let mut pipelines = self.pipelines.lock().await;
        let snapshot = self.warehouse.catalog().snapshot(None).await?;
        let status = |id: &ObjectId| snapshot.jobs.get(id).map(|job| job.status);
        let starts = |id: &&ObjectId| matches!(status(id), Some(JobStatus::Running | JobStatus::Failed));
        let mut wanted: BTreeSet<ObjectId> = jobs.iter().filter(starts).copied().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        // A running pipeline that shares an object with a new job is taken apart and started again with it.
        let mut stopped = Vec::new();
        loop {
            let objects: BTreeSet<_> =
                wanted.iter().filter_map(|id| snapshot.jobs.get(id)).flat_map(|j| touched(j)).collect();
            let shares = |pipeline: &Arc<Pipeline>| {
                pipeline.jobs().iter().any(|id| {
                    wanted.contains(id)
                        || snapshot.jobs.get(id).is_some_and(|j| touched(j).any(|object| objects.contains(&object)))
                })
            };
            let Some(place) = pipelines.iter().position(shares) else { break };
            let pipeline = pipelines.remove(place);
            // One that has failed stays so until somebody asks for it.
            let goes_on = |id: &&ObjectId| status(id) == Some(JobStatus::Running);
            wanted.extend(pipeline.jobs().iter().filter(goes_on));
            stopped.push(pipeline);
        }
        for pipeline in stopped {
            if !pipeline.phase().is_over() {
                pipeline.stop().await?;
            }
        }
        let leases = self.take_leases(&wanted, &snapshot).await?;
        let started = self.start_pipelines(&wanted, &leases, &mut pipelines).await;
        if started.is_err() {
            let leases: Vec<_> = leases.into_values().collect();
            let held: BTreeSet<_> = pipelines.iter().flat_map(|p| p.jobs().iter().copied()).map(lease_name).collect();
            let unused: Vec<_> = leases.into_iter().filter(|lease| !held.contains(&lease.name)).collect();
            self.warehouse.catalog().release_leases(&unused).await?;
        }
        let new = started?;
        drop(pipelines);
        for pipeline in new {
            // The first checkpoint makes a new view visible: it comes with the end of its history, not a commit interval later.
            pipeline.request_checkpoint();
            pipeline.ready().await?;
        }
        Ok(())
    }

    async fn start_pipelines(
        &self,
        wanted: &BTreeSet<ObjectId>,
        leases: &BTreeMap<ObjectId, Lease>,
        pipelines: &mut Vec<Arc<Pipeline>>,
    ) -> Result<Vec<Arc<Pipeline>>> {
        let snapshot = self.runnable(wanted, leases).await?;
        let jobs: Vec<_> = wanted.iter().filter_map(|id| snapshot.jobs.get(id)).cloned().collect();
        let jobs = jobs.into_iter().filter(|job| job.status == JobStatus::Running);
        let mut new = Vec::new();
        for group in groups(jobs.collect()) {
            let pipeline = Arc::new(self.start_pipeline(&snapshot, group, leases).await?);
            pipelines.push(pipeline.clone());
            self.observed.add(pipeline.clone());
            tokio::spawn(go_on_without(pipeline.clone(), self.this.clone()));
            new.push(pipeline);
        }
        Ok(new)
    }

    /// Marks failed jobs as running again, and reads the catalog after all leases are held.
    async fn runnable(&self, wanted: &BTreeSet<ObjectId>, leases: &BTreeMap<ObjectId, Lease>) -> Result<Arc<Snapshot>> {
        let snapshot = self.warehouse.catalog().snapshot(None).await?;
        let failed = wanted.iter().filter_map(|id| snapshot.jobs.get(id)).filter(|j| j.status == JobStatus::Failed);
        let actions: Vec<_> =
            failed.map(|job| Action::SetJobStatus { job: job.id, status: JobStatus::Running, error: None }).collect();
        if actions.is_empty() {
            return Ok(snapshot);
        }
        let fences =
            leases.values().map(|l| catalog::Requirement::Fence { lease: l.name.clone(), token: l.token }).collect();
        transact(&self.warehouse, fences, actions).await?;
        Ok(self.warehouse.catalog().snapshot(None).await?)
    }

    async fn take_leases(&self, jobs: &BTreeSet<ObjectId>, snapshot: &Snapshot) -> Result<BTreeMap<ObjectId, Lease>> {
        let mut leases = BTreeMap::new();
        for job in jobs {
            match self.take_lease(*job).await {
                Ok(lease) => {
                    leases.insert(*job, lease);
                }
                Err(error) => {
                    let taken: Vec<_> = leases.into_values().collect();
                    self.warehouse.catalog().release_leases(&taken).await?;
                    let name = snapshot.jobs.get(job).map_or_else(|| job.to_string(), |j| j.name.clone());
                    return Err(error.with("job", name));
                }
            }
        }
        Ok(leases)
    }

    async fn take_lease(&self, job: ObjectId) -> Result<Lease> {
        let (catalog, clock) = (self.warehouse.catalog(), self.warehouse.clock());
        let name = lease_name(job);
        let now = clock.now_ms();
        let dead = catalog.lease(&name, now).await?.map(|lease| lease.owner).filter(|o| owner::is_dead(o));
        let taken = catalog.acquire_lease(&name, &self.owner, dead.as_deref(), now, LEASE_TTL_MS).await;
        taken.map_err(|error| match error.kind() {
            catalog::ErrorKind::Fenced => {
                Error::new(ErrorKind::Fenced, "the job is run by another process").because(error).hint(
                    "a job runs in one process at a time: stop that one, or wait until its lease lapses if it is dead",
                )
            }
            _ => error.into(),
        })
    }

    async fn start_pipeline(
        &self,
        snapshot: &Arc<Snapshot>,
        jobs: Vec<Arc<Job>>,
        leases: &BTreeMap<ObjectId, Lease>,
    ) -> Result<Pipeline> {
        let planner = self.planner(snapshot.clone());
        let leases: Vec<_> = jobs.iter().filter_map(|job| leases.get(&job.id)).cloned().collect();
        let commit_interval = jobs.iter().filter_map(|job| interval(job)).min().unwrap_or(self.options.commit_interval);
        let mut planned = Vec::new();
        for job in jobs {
            planned.push(self.plan_job(&planner, &job).await.map_err(|e| e.with("job", &job.name))?);
        }
        let flow = Dataflow::build(planned, &planner)?;
        Pipeline::start(Setup {
            warehouse: self.warehouse.clone(),
            flow: Arc::new(flow),
            leases,
            snapshot: snapshot.clone(),
            parallelism: self.options.parallelism,
            commit_interval,
            versions: self.versions.clone(),
            touched: self.touched.clone(),
        })
        .await
    }

    pub(super) async fn plan_job(&self, planner: &Planner, job: &Arc<Job>) -> Result<PlannedJob> {
        let statement = crate::sql::parse::parse(&job.sql)?.into_iter().next().map(|parsed| parsed.statement);
        let mut parts = match statement {
            Some(Statement::CreateView(view)) => {
                let object = planner.object(&view.name, None)?;
                let mut planned = planner.query(&view.query, Mode::Continuous).await?;
                planned.logical = rename(planned.logical, &view.columns)?;
                planned.emission.on_window_close = view.on_window_close;
                let schema = storage::types::arrow_schema(&object)?;
                let plan = planner.incremental(&planned, &schema)?;
                vec![Part { plan, target: self.target(planner, &object)? }]
            }
            Some(Statement::Insert(insert)) => vec![self.plan_insert(planner, &insert).await?],
            Some(Statement::StatementSet(inserts)) => {
                let mut parts = Vec::new();
                for insert in &inserts {
                    parts.push(self.plan_insert(planner, insert).await?);
                }
                parts
            }
            _ => return Err(Error::new(ErrorKind::Corrupt, "the catalog holds no statement for a job")),
        };
        let positions = match &job.checkpoint {
            Some(checkpoint) => Payload::read(job, checkpoint)?.positions,
            None => Positions::default(),
        };
        let fingerprint = parts.iter().fold(0, |hash, part| mix_bytes(hash, explain(&part.plan).as_bytes()));
        let failures = Failures::default();
        let on_error = job.settings.get(ON_ERROR).and_then(|value| OnError::from_setting(value)).unwrap_or_default();
        parts.iter_mut().for_each(|part| guard(&mut part.plan, on_error, &failures));
        let fingerprint = format!("{fingerprint:016x}");
        Ok(PlannedJob { job: job.clone(), parts, positions, fingerprint, failures })
    }

    /// Takes up jobs that should run and that nobody runs.
    pub async fn resume_orphans(&self) -> Result<()> {
        let snapshot = self.warehouse.catalog().snapshot(None).await?;
        let pipelines = self.pipelines.lock().await.clone();
        let alive = pipelines.iter().filter(|pipeline| !pipeline.phase().is_over());
        let local: BTreeSet<_> = alive.flat_map(|pipeline| pipeline.jobs().to_vec()).collect();
        let now = self.warehouse.clock().now_ms();
        let mut orphans = Vec::new();
        for job in snapshot.jobs.values() {
            if job.status != JobStatus::Running || local.contains(&job.id) {
                continue;
            }
            let lease = self.warehouse.catalog().lease(&lease_name(job.id), now).await?;
            if lease.is_none_or(|lease| owner::is_dead(&lease.owner)) {
                orphans.push(job.id);
            }
        }
        if orphans.is_empty() {
            return Ok(());
        }
        match self.to_the_end(|inner| async move { inner.start_jobs(&orphans).await }).await {
            Ok(()) => Ok(()),
            // Somebody else was faster.
            Err(error) if error.kind() == ErrorKind::Fenced => Ok(()),
            // That an old job cannot run is no reason to refuse a new statement.
            Err(error) => {
                tracing::warn!(%error, "jobs that nobody runs could not be resumed");
                Ok(())
            }
        }
    }

    /// Stops the local pipelines that run any of these jobs, and returns the other jobs that they ran.
    pub async fn stop_jobs(&self, jobs: &[ObjectId]) -> Result<Vec<ObjectId>> {
        let mut pipelines = self.pipelines.lock().await;
        let mut others = Vec::new();
        let (hit, rest): (Vec<_>, Vec<_>) =
            pipelines.drain(..).partition(|p| p.jobs().iter().any(|job| jobs.contains(job)));
        *pipelines = rest;
        for pipeline in hit {
            if !pipeline.phase().is_over() {
                pipeline.stop().await?;
                others.extend(pipeline.jobs().iter().filter(|job| !jobs.contains(job)));
            }
        }
        Ok(others)
    }

    /// Fails if a job is run by another process.
    pub async fn refuse_remote(&self, jobs: &[ObjectId]) -> Result<()> {
        let now = self.warehouse.clock().now_ms();
        for job in jobs {
            let lease = self.warehouse.catalog().lease(&lease_name(*job), now).await?;
            if let Some(lease) = lease.filter(|lease| lease.owner != self.owner && !owner::is_dead(&lease.owner)) {
                return Err(Error::new(ErrorKind::Fenced, "the job is run by another process")
                    .with("owner", lease.owner)
                    .hint("stop that process first"));
            }
        }
        Ok(())
    }
}

/// When one job of a pipeline fails all of them stop; the others are started again without it.
fn go_on_without(pipeline: Arc<Pipeline>, inner: Weak<Inner>) -> futures::future::BoxFuture<'static, ()> {
    Box::pin(async move {
        if pipeline.over().await.is_ok() || pipeline.jobs().len() == 1 {
            return;
        }
        drop(pipeline);
        if let Some(inner) = inner.upgrade()
            && let Err(error) = inner.resume_orphans().await
        {
            tracing::warn!(%error, "the other jobs of a failed pipeline could not be resumed");
        }
    })
}

impl OpenInput for Planner {
    fn open(&self, object: &Object) -> Result<Opened> {
        let source = self.connector(object)?.readable(&object.name)?;
        Ok(Opened { source, delay: self.delay(object)?, late: self.late_table(object)? })
    }

    fn delay(&self, object: &Object) -> Result<Option<i64>> {
        Planner::delay(self, object)
    }
}

/// Objects that a job reads or writes.
fn touched(job: &Job) -> impl Iterator<Item = ObjectId> + '_ {
    job.inputs.iter().chain(&job.targets).copied()
}

fn interval(job: &Job) -> Option<Duration> {
    job.settings.get("commit_interval").and_then(|value| crate::options::parse_duration(value))
}

/// Jobs that share objects, in groups; within a group a job comes after those whose tables it reads.
fn groups(jobs: Vec<Arc<Job>>) -> Vec<Vec<Arc<Job>>> {
    let mut groups: Vec<Vec<Arc<Job>>> = Vec::new();
    for job in jobs {
        let shares =
            |group: &Vec<Arc<Job>>| group.iter().any(|other| touched(other).any(|o| touched(&job).any(|p| o == p)));
        let (mut joined, rest): (Vec<_>, Vec<_>) = groups.into_iter().partition(shares);
        let mut group: Vec<_> = joined.drain(..).flatten().collect();
        group.push(job);
        groups = rest;
        groups.push(group);
    }
    groups.into_iter().map(ordered).collect()
}

fn ordered(jobs: Vec<Arc<Job>>) -> Vec<Arc<Job>> {
    let mut left = jobs;
    let mut done: Vec<Arc<Job>> = Vec::new();
    while !left.is_empty() {
        let ready = left.iter().position(|job| {
            !left.iter().any(|other| other.id != job.id && other.targets.iter().any(|t| job.inputs.contains(t)))
        });
        // Tables may be written and read in a circle; views cannot, and only views are live inputs.
        done.push(left.remove(ready.unwrap_or(0)));
    }
    done
}
