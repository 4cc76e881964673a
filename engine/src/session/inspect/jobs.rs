//! Jobs: what they do, who runs them, how far they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use catalog::{Job, JobKind, JobStatus, ObjectId, Snapshot, Version};

use crate::error::Result;
use crate::runtime::checkpoint::Payload;
use crate::session::observe::{JobSums, Running};
use crate::session::{Engine, Inner, Recovery, jobs};

/// A job as others may want to show it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobInfo {
    /// Its name.
    pub name: String,
    /// What kind of statement it stands for.
    pub kind: &'static str,
    /// Whether it should run.
    pub status: JobStatus,
    /// Who runs it; `None` unless it should run.
    pub runner: Option<Runner>,
    /// The epoch of its newest checkpoint.
    pub epoch: Option<u64>,
    /// The version of its newest checkpoint.
    pub version: Option<Version>,
    /// Why it failed.
    pub error: Option<String>,
    /// Malformed rows skipped since its creation.
    pub skipped_rows: u64,
    /// Values that became NULL because they could not be computed, since its creation.
    pub failed_values: u64,
    /// Rows left out because they came behind the watermark, since its creation.
    pub late_rows: u64,
    /// Names of what it reads.
    pub inputs: Vec<String>,
    /// Names of what it writes.
    pub targets: Vec<String>,
    /// Its statement.
    pub sql: String,
    /// What was set when it was created.
    pub settings: BTreeMap<String, String>,
    /// How far it is, if this process runs it.
    pub counters: Option<JobCounters>,
    /// How it came back when it last lost slots, as far as this process saw it.
    pub recovery: Option<Recovery>,
}

/// Who runs a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// The process that is asked.
    ThisProcess,
    /// Workers of the process that is asked.
    Workers {
        /// On how many slots it runs.
        slots: usize,
        /// On how many workers these are.
        workers: usize,
    },
    /// Another process, by the name that it gave itself.
    Other(String),
    /// Nobody, though it should run.
    Nobody,
}

impl std::fmt::Display for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ThisProcess => f.write_str("this process"),
            Self::Workers { slots, workers } => write!(f, "{slots} slots on {workers} workers"),
            Self::Other(owner) => f.write_str(owner),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// How far a job of this process is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounters {
    /// Rows that it read, of tables and of other jobs' views, since the start of the process.
    pub rows_in: u64,
    /// Rows of changes that it wrote since the start of the process.
    pub rows_out: u64,
    /// For how long the oldest row that is read and not committed has waited, in ms.
    pub lag_ms: Option<u64>,
    /// Age of its newest checkpoint in ms, if it took one since it was started here.
    pub checkpoint_age_ms: Option<u64>,
}

/// What SHOW JOBS calls a kind of job.
pub fn kind_name(kind: JobKind) -> &'static str {
    match kind {
        JobKind::MaterializedView => "materialized view",
        JobKind::Insert => "insert",
        JobKind::StatementSet => "statement set",
    }
}

impl Engine {
    /// All jobs by name.
    pub async fn jobs(&self) -> Result<Vec<JobInfo>> {
        self.inner.job_infos().await
    }

    /// One job; `None` if there is none of that name.
    pub async fn job(&self, name: &str) -> Result<Option<JobInfo>> {
        let snapshot = self.inner.snapshot().await?;
        match snapshot.job(name) {
            Some(job) => self.inner.job_info(&snapshot, job, &self.inner.job_counters()).await.map(Some),
            None => Ok(None),
        }
    }
}

impl Inner {
    /// All jobs by name.
    pub async fn job_infos(&self) -> Result<Vec<JobInfo>> {
        let snapshot = self.snapshot().await?;
        let counters = self.job_counters();
        let mut infos = Vec::with_capacity(snapshot.jobs.len());
        for job in snapshot.jobs.values() {
            infos.push(self.job_info(&snapshot, job, &counters).await?);
        }
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    async fn job_info(
        &self,
        snapshot: &Snapshot,
        job: &Job,
        counters: &BTreeMap<ObjectId, JobCounters>,
    ) -> Result<JobInfo> {
        let payload = job.checkpoint.as_ref().map(|checkpoint| Payload::read(job, checkpoint)).transpose()?;
        let names = |ids: &[ObjectId]| {
            ids.iter().filter_map(|id| snapshot.objects.get(id)).map(|object| object.name.clone()).collect()
        };
        Ok(JobInfo {
            name: job.name.clone(),
            kind: kind_name(job.kind),
            status: job.status,
            runner: self.runner(job).await?,
            epoch: job.checkpoint.as_ref().map(|checkpoint| checkpoint.epoch),
            version: job.checkpoint.as_ref().map(|checkpoint| checkpoint.version),
            error: job.error.clone(),
            skipped_rows: payload.as_ref().map_or(0, |payload| payload.skipped),
            failed_values: payload.as_ref().map_or(0, |payload| payload.failed),
            late_rows: payload.as_ref().map_or(0, |payload| payload.late),
            inputs: names(&job.inputs),
            targets: names(&job.targets),
            sql: job.sql.clone(),
            settings: job.settings.clone(),
            counters: counters.get(&job.id).copied(),
            recovery: self.recoveries.lock().unwrap_or_else(PoisonError::into_inner).get(&job.id).cloned(),
        })
    }

    async fn runner(&self, job: &Job) -> Result<Option<Runner>> {
        if job.status != JobStatus::Running {
            return Ok(None);
        }
        let now = self.options.clock.now_ms();
        let lease = self.warehouse.catalog().lease(&jobs::lease_name(job.id), now).await?;
        Ok(Some(match lease.filter(|lease| !self.is_gone(&lease.owner)) {
            None => Runner::Nobody,
            Some(lease) if lease.owner == self.owner => match self.observed.pipeline_of(job.id) {
                Some(pipeline) if self.workers.is_some() => {
                    let workers: BTreeSet<&String> = pipeline.addresses().iter().collect();
                    Runner::Workers { slots: pipeline.addresses().len(), workers: workers.len() }
                }
                _ => Runner::ThisProcess,
            },
            Some(lease) => Runner::Other(lease.owner),
        }))
    }

    /// Counters of the jobs that this process runs now.
    fn job_counters(&self) -> BTreeMap<ObjectId, JobCounters> {
        let sums = self.observed.sums();
        let of_job = |(id, running): (ObjectId, Running)| {
            let counted = sums.jobs.get(&id);
            let counters = JobCounters {
                rows_in: counted.map_or(0, JobSums::rows_in),
                rows_out: counted.map_or(0, JobSums::rows_out),
                lag_ms: running.uncommitted_ms,
                checkpoint_age_ms: running.checkpoint_age_ms,
            };
            (id, counters)
        };
        self.running().into_iter().map(of_job).collect()
    }
}
