//! FLUSH: waits until every running view reflects all that was committed before, whichever process runs it; and the windows
//! that close by it, and the rows that come and go with the time at which FLUSH was said.

use std::collections::BTreeMap;
use std::time::Duration;

use catalog::{Job, JobStatus, ObjectId, ObjectKind, Snapshot, Version};

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::checkpoint::{Payload, TablePosition};
use crate::session::{Inner, jobs};

/// How often the catalog is asked how far the jobs are.
const POLL: Duration = Duration::from_millis(5);
/// How long a job may be run by nobody: when one job of a pipeline fails the others stop with it, and start again.
const BETWEEN_RUNS: Duration = Duration::from_secs(2);

impl Inner {
    /// See the module.
    pub async fn flush(&self) -> Result<()> {
        let target = self.snapshot().await?;
        // The version at which each job was seen to reflect everything it has to.
        let mut reached: BTreeMap<ObjectId, Version> = BTreeMap::new();
        // The epoch by which each job's watermarks will have had their effects.
        let mut settled: BTreeMap<ObjectId, u64> = BTreeMap::new();
        let now_ms = self.options.clock.now_ms();
        let mut last = None;
        let mut unrun = None;
        loop {
            let snapshot = self.snapshot().await?;
            if last != Some(snapshot.version) {
                last = Some(snapshot.version);
                self.advance(&target, &snapshot, &mut reached, &mut |job| {
                    time_is_reflected(job, now_ms, &mut settled)
                })?;
            }
            let missing: Vec<_> = running(&target).filter(|job| !reached.contains_key(&job.id)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            match self.push_on(&missing).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    let now = self.options.clock.monotonic();
                    if now.saturating_sub(*unrun.get_or_insert(now)) >= BETWEEN_RUNS {
                        return Err(error);
                    }
                    self.resume_orphans().await?;
                }
                other => {
                    other?;
                    unrun = None;
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Notes the jobs that reflect all of their inputs; a view's readers have to reflect what the view then held.
    fn advance(
        &self,
        target: &Snapshot,
        now: &Snapshot,
        reached: &mut BTreeMap<ObjectId, Version>,
        in_time: &mut dyn FnMut(&Job) -> Result<bool>,
    ) -> Result<()> {
        loop {
            let before = reached.len();
            for job in running(target) {
                if reached.contains_key(&job.id) {
                    continue;
                }
                let Some(job) = now.jobs.get(&job.id) else {
                    reached.insert(job.id, now.version);
                    continue;
                };
                if job.status == JobStatus::Failed {
                    let why = job.error.clone().unwrap_or_default();
                    return Err(Error::new(ErrorKind::Unavailable, format!("the job {} has failed: {why}", job.name)));
                }
                if reflects(job, target, now, reached)? && in_time(job)? {
                    reached.insert(job.id, now.version);
                }
            }
            if reached.len() == before {
                return Ok(());
            }
        }
    }

    /// Asks local jobs for a checkpoint; fails if a job that is waited for is run by nobody.
    async fn push_on(&self, missing: &[&std::sync::Arc<Job>]) -> Result<()> {
        let local = self.local_jobs().await;
        for pipeline in self.pipelines.lock().await.iter() {
            if pipeline.jobs().iter().any(|id| missing.iter().any(|job| job.id == *id)) {
                pipeline.request_checkpoint();
            }
        }
        for job in missing.iter().filter(|job| !local.contains(&job.id)) {
            if !self.is_run(job.id).await? {
                let state = self.snapshot().await?;
                let error = state.jobs.get(&job.id).and_then(|job| job.error.clone()).unwrap_or_default();
                return Err(Error::new(ErrorKind::Unavailable, format!("the job {} does not run: {error}", job.name))
                    .hint("run its file again, or DROP it"));
            }
        }
        Ok(())
    }

    /// Whether this process or another one that is alive runs a job.
    async fn is_run(&self, job: ObjectId) -> Result<bool> {
        if self.local_jobs().await.contains(&job) {
            return Ok(true);
        }
        let lease = self.warehouse.catalog().lease(&jobs::lease_name(job), self.options.clock.now_ms()).await?;
        Ok(lease.is_some_and(|lease| lease.owner != self.owner && !self.is_gone(&lease.owner)))
    }
}

fn running(snapshot: &Snapshot) -> impl Iterator<Item = &std::sync::Arc<Job>> {
    snapshot.jobs.values().filter(|job| job.status == JobStatus::Running)
}

/// Whether a job's checkpoint covers all stored inputs.
fn reflects(job: &Job, target: &Snapshot, now: &Snapshot, reached: &BTreeMap<ObjectId, Version>) -> Result<bool> {
    let Some(checkpoint) = &job.checkpoint else { return Ok(false) };
    // Live inputs are of the same pipeline and commit: they are reflected as soon as their own job reflects its inputs.
    let payload: Payload = Payload::read(job, checkpoint)?;
    for (table, position) in &payload.positions.tables {
        let TablePosition::Version(position) = position else { continue };
        let view = now.objects.get(table).is_some_and(|object| object.kind == ObjectKind::MaterializedView);
        let upstream_runs = target.jobs.get(table).is_some_and(|job| job.status == JobStatus::Running);
        let needed = match (view && upstream_runs, reached.get(table)) {
            (true, None) => return Ok(false),
            (true, Some(_)) => now.tables.get(table).map_or(0, |state| state.changed),
            (false, _) => target.tables.get(table).map_or(0, |state| state.changed),
        };
        if *position < needed {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a job, whose inputs are reflected, has done all that time asks of it: what watermarks owe for these inputs, and
/// the moments before FLUSH.
fn time_is_reflected(job: &Job, now_ms: i64, settled: &mut BTreeMap<ObjectId, u64>) -> Result<bool> {
    let Some(checkpoint) = &job.checkpoint else { return Ok(false) };
    let payload = Payload::read(job, checkpoint)?;
    // New input moves watermarks again and again; those of the first checkpoint that reflects everything are enough.
    let until = *settled.entry(job.id).or_insert(checkpoint.epoch + payload.settling);
    Ok(checkpoint.epoch >= until && payload.moment.is_none_or(|moment| moment > now_ms))
}
