//! All numbers of an engine at once: of jobs, operators, connectors and tables.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use catalog::{Job, JobStatus, ObjectId, Snapshot, TableState, Version};
use storage::iceberg::LoadedTable;

use super::sums::{JobSums, Sums};
use crate::error::Result;
use crate::runtime::metrics::{CheckpointRecord, Distribution, NodeTotals};
use crate::session::{Inner, Progress};

/// See the module. Counters count since the start of the process.
#[derive(Debug, Clone)]
pub struct Measures {
    /// When this was read, in ms since the Unix epoch.
    pub at_ms: i64,
    /// The newest version of the catalog.
    pub version: Version,
    /// Jobs.
    pub jobs: Vec<JobMeasures>,
    /// Operators of the jobs that this process runs or ran.
    pub operators: Vec<OperatorMeasures>,
    /// Connectors that this process reads or read.
    pub sources: Vec<SourceMeasures>,
    /// Stored tables and views.
    pub tables: Vec<TableMeasures>,
}

/// Numbers of one job.
#[derive(Debug, Clone)]
pub struct JobMeasures {
    /// Its name.
    pub name: String,
    /// Whether it should run.
    pub status: JobStatus,
    /// What it reads.
    pub inputs: Vec<InputMeasures>,
    /// What it writes.
    pub outputs: Vec<OutputMeasures>,
    /// Values that became NULL because they could not be computed.
    pub failed_values: u64,
    /// How long its epochs took.
    pub epochs: Distribution,
    /// How long its checkpoints took.
    pub checkpoints: Distribution,
    /// From the reading of rows to the commit of what became of them.
    pub commit_lags: Distribution,
    /// Its last checkpoint in this process.
    pub last_checkpoint: Option<CheckpointRecord>,
    /// How it stands, if this process runs it.
    pub running: Option<Running>,
}

/// How a job stands that this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its newest closed epoch.
    pub epoch: u64,
    /// For how long the oldest row waits that is read and not committed, in ms; `None` if all is committed.
    pub uncommitted_ms: Option<u64>,
    /// Age of its newest checkpoint in this process, in ms.
    pub checkpoint_age_ms: Option<u64>,
    /// In how many tasks it runs.
    pub parallelism: usize,
}

/// What a job has read of one table, view or connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputMeasures {
    /// The object's name.
    pub table: String,
    /// What was counted: rows in `rows_in`, late and skipped rows, watermark and event time.
    pub totals: NodeTotals,
}

/// What a job has written to one table, view or connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputMeasures {
    /// The object's name.
    pub table: String,
    /// Rows of changes.
    pub rows: u64,
}

/// Numbers of one operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorMeasures {
    /// Its job's name.
    pub job: String,
    /// Its number within the job, the same as long as the job lives.
    pub operator: u32,
    /// What it does.
    pub kind: &'static str,
    /// What it counted.
    pub totals: NodeTotals,
}

/// Numbers of one connector that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceMeasures {
    /// Its name.
    pub table: String,
    /// What was counted.
    pub totals: NodeTotals,
}

/// Numbers of one stored table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMeasures {
    /// Its name.
    pub table: String,
    /// Its Iceberg snapshot; `None` if that cannot be read now.
    pub iceberg: Option<IcebergMeasures>,
    /// Segments that are not in the Iceberg snapshot yet, and their bytes.
    pub hot_segments: (u64, u64),
    /// Segments that are kept for readers of changes only, and their bytes.
    pub retained_segments: (u64, u64),
}

/// Numbers of a table's Iceberg snapshot. Zeros if there is none yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IcebergMeasures {
    /// Files with rows, and their bytes.
    pub data_files: (u64, u64),
    /// Files with positions of deleted rows, and their bytes.
    pub delete_files: (u64, u64),
    /// Rows.
    pub rows: u64,
    /// Its age in ms; `None` if there is none yet.
    pub age_ms: Option<u64>,
}

impl Inner {
    pub(super) async fn measures(&self) -> Result<Measures> {
        let snapshot = self.snapshot().await?;
        self.observed.retain(|id| snapshot.jobs.contains_key(&id) || snapshot.objects.contains_key(&id));
        let sums = self.observed.sums();
        let now = self.options.clock.now_ms();
        let mut tables = Vec::new();
        for (id, state) in &snapshot.tables {
            tables.push(self.table_measures(name(&snapshot, *id), state, now).await);
        }
        Ok(Measures {
            at_ms: now,
            version: snapshot.version,
            operators: operators(&snapshot, &sums),
            sources: sources(&snapshot, &sums),
            jobs: self.job_measures(&snapshot, sums),
            tables,
        })
    }

    /// Numbers of all jobs, by their names.
    fn job_measures(&self, snapshot: &Snapshot, mut sums: Sums) -> Vec<JobMeasures> {
        let running = self.running();
        let mut jobs: Vec<_> = snapshot.jobs.values().collect();
        jobs.sort_by(|a, b| a.name.cmp(&b.name));
        let measures = |job: &Job| {
            let counted = sums.jobs.remove(&job.id).unwrap_or_default();
            of_job(snapshot, job, counted, running.get(&job.id).copied())
        };
        jobs.into_iter().map(|job| job.as_ref()).map(measures).collect()
    }

    /// How far the jobs of this process are.
    pub(in crate::session) fn progress(&self) -> Progress {
        let sums = self.observed.sums();
        let running = self.running();
        Progress {
            rows_in: sums.rows_in,
            rows_out: sums.rows_out,
            skipped: sums.skipped,
            checkpoints: sums.checkpoints,
            epoch: sums.epoch,
            checkpoint_age_ms: running.values().filter_map(|job| job.checkpoint_age_ms).max(),
            lag_ms: running.values().filter_map(|job| job.uncommitted_ms).max(),
            running_jobs: running.len(),
        }
    }

    /// How the jobs stand that this process runs now.
    pub(in crate::session) fn running(&self) -> BTreeMap<ObjectId, Running> {
        let now = self.options.clock.now_ms();
        let age = |at: i64| (at > 0).then(|| (now - at).max(0).unsigned_abs());
        let mut running = BTreeMap::new();
        for pipeline in self.observed.pipelines().iter().filter(|pipeline| !pipeline.phase().is_over()) {
            let metrics = pipeline.metrics();
            let of_pipeline = Running {
                epoch: metrics.epoch.load(Ordering::Relaxed),
                uncommitted_ms: age(metrics.uncommitted_since_ms.load(Ordering::Relaxed)),
                checkpoint_age_ms: age(metrics.last_checkpoint_ms.load(Ordering::Relaxed)),
                parallelism: metrics.slots(),
            };
            running.extend(pipeline.jobs().iter().map(|job| (*job, of_pipeline)));
        }
        running
    }

    async fn table_measures(&self, table: String, state: &TableState, now_ms: i64) -> TableMeasures {
        let iceberg = match self.iceberg_measures(state, now_ms).await {
            Ok(measures) => Some(measures),
            // One table must not hide the numbers of all others.
            Err(error) => {
                tracing::warn!(%table, %error, "a table's files cannot be counted");
                None
            }
        };
        let hot_segments = count(state.hot.iter().map(|segment| segment.file.bytes));
        let retained_segments = count(state.retained.iter().map(|segment| segment.file.bytes));
        TableMeasures { table, iceberg, hot_segments, retained_segments }
    }

    async fn iceberg_measures(&self, state: &TableState, now_ms: i64) -> Result<IcebergMeasures> {
        let Some(location) = &state.metadata_location else { return Ok(IcebergMeasures::default()) };
        let table = LoadedTable::load(&self.warehouse, location).await?;
        let snapshot = table.metadata.current_snapshot();
        Ok(IcebergMeasures {
            data_files: count(table.files.iter().map(|file| file.file.file_size_in_bytes())),
            delete_files: count(table.delete_files.iter().map(|file| file.file_size_in_bytes())),
            rows: table.live_rows(),
            age_ms: snapshot.map(|snapshot| (now_ms - snapshot.timestamp_ms()).max(0).unsigned_abs()),
        })
    }
}

/// How many sizes there are, and their sum.
fn count(bytes: impl Iterator<Item = u64>) -> (u64, u64) {
    bytes.fold((0, 0), |(files, sum), bytes| (files + 1, sum + bytes))
}

fn of_job(snapshot: &Snapshot, job: &Job, counted: JobSums, running: Option<Running>) -> JobMeasures {
    let inputs = counted.inputs.into_iter();
    let outputs = counted.outputs.into_iter();
    JobMeasures {
        name: job.name.clone(),
        status: job.status,
        inputs: inputs.map(|(id, totals)| InputMeasures { table: name(snapshot, id), totals }).collect(),
        outputs: outputs.map(|(id, rows)| OutputMeasures { table: name(snapshot, id), rows }).collect(),
        failed_values: counted.failed_values,
        epochs: counted.epochs,
        checkpoints: counted.checkpoints,
        commit_lags: counted.commit_lags,
        last_checkpoint: counted.history.first().copied(),
        running,
    }
}

fn operators(snapshot: &Snapshot, sums: &Sums) -> Vec<OperatorMeasures> {
    let known = |((job, operator), sums): (&(ObjectId, u32), &super::sums::OperatorSums)| {
        let job = snapshot.jobs.get(job)?.name.clone();
        Some(OperatorMeasures { job, operator: *operator, kind: sums.kind, totals: sums.totals })
    };
    sums.operators.iter().filter_map(known).collect()
}

fn sources(snapshot: &Snapshot, sums: &Sums) -> Vec<SourceMeasures> {
    let known = |(object, totals): (&ObjectId, &NodeTotals)| {
        let table = snapshot.objects.get(object)?.name.clone();
        Some(SourceMeasures { table, totals: *totals })
    };
    sums.sources.iter().filter_map(known).collect()
}

/// The name of an object; its id, should it be gone.
fn name(snapshot: &Snapshot, object: ObjectId) -> String {
    snapshot.objects.get(&object).map_or_else(|| object.to_string(), |object| object.name.clone())
}
