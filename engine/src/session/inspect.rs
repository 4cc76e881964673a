//! What there is and how it fares, as plain data for whoever shows it: overview, jobs, tables, lineage.
//!
//! All of it is computed from one catalog snapshot, from Iceberg metadata, and from the counters of the jobs that this
//! process runs; nothing is kept.

mod jobs;
mod lineage;
mod tables;

use catalog::{JobStatus, ObjectKind, Snapshot, Version};

use crate::error::Result;
use crate::session::{Engine, Inner, Progress};

pub(super) use jobs::kind_name as job_kind_name;
pub use jobs::{JobCounters, JobInfo, Runner};
pub use lineage::{Lineage, LineageEdge, LineageNode};
pub(super) use tables::kind_name as object_kind_name;
pub use tables::{FileInfo, FileKind, IcebergTable, SegmentInfo, TableDetails, TableSummary};

/// A warehouse at a glance.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Where the warehouse is.
    pub warehouse: String,
    /// When this process opened it, in ms since the Unix epoch.
    pub started_ms: i64,
    /// Now, by the same clock.
    pub now_ms: i64,
    /// The newest version.
    pub version: Version,
    /// Number of jobs by what they should do.
    pub jobs: JobCounts,
    /// Number of tables, those behind connectors included.
    pub tables: usize,
    /// Number of views, materialized or not.
    pub views: usize,
    /// How far the jobs of this process are.
    pub progress: Progress,
    /// Tasks per job.
    pub parallelism: usize,
}

/// Number of jobs by their status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Those that run, or should.
    pub running: usize,
    /// Those that an error has stopped.
    pub failed: usize,
    /// Those that a user has stopped for a while.
    pub paused: usize,
    /// Those that have read their inputs to the end.
    pub finished: usize,
}

impl JobCounts {
    fn of(snapshot: &Snapshot) -> Self {
        let mut counts = Self::default();
        for job in snapshot.jobs.values() {
            match job.status {
                JobStatus::Running => counts.running += 1,
                JobStatus::Failed => counts.failed += 1,
                JobStatus::Paused => counts.paused += 1,
                JobStatus::Finished => counts.finished += 1,
            }
        }
        counts
    }
}

impl Engine {
    /// The warehouse at a glance.
    pub async fn overview(&self) -> Result<Overview> {
        self.inner.overview().await
    }

    /// The clock that the engine was opened with.
    pub fn clock(&self) -> &std::sync::Arc<dyn catalog::Clock> {
        &self.inner.options.clock
    }
}

impl Inner {
    async fn overview(&self) -> Result<Overview> {
        let snapshot = self.snapshot().await?;
        let count = |wanted: fn(ObjectKind) -> bool| snapshot.objects.values().filter(|o| wanted(o.kind)).count();
        Ok(Overview {
            warehouse: self.options.warehouse.clone(),
            started_ms: self.started_ms,
            now_ms: self.options.clock.now_ms(),
            version: snapshot.version,
            jobs: JobCounts::of(&snapshot),
            tables: count(|kind| matches!(kind, ObjectKind::Table | ObjectKind::Connector)),
            views: count(|kind| matches!(kind, ObjectKind::View | ObjectKind::MaterializedView)),
            progress: self.progress(),
            parallelism: self.options.parallelism,
        })
    }
}
