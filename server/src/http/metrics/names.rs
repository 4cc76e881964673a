//! Every metric that the program exports: its name, type, unit, labels and meaning. docs/metrics.md holds the same table.

use prometheus_client::registry::Unit;

/// What a metric's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, as long as the process lives.
    Counter,
    /// They are as of now.
    Gauge,
    /// They are distributions of what was counted since the start of the process.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name without unit and `_total`.
    stem: &'static str,
    /// Its unit.
    unit: Quantity,
    /// What its values are.
    pub kind: Kind,
    /// The labels of each of its values, in this order.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Seconds,
    Bytes,
    /// A number of what the name says.
    Number,
}

impl Metric {
    const fn counter(stem: &'static str, unit: Quantity, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { stem, unit, kind: Kind::Counter, labels, help }
    }

    const fn gauge(stem: &'static str, unit: Quantity, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { stem, unit, kind: Kind::Gauge, labels, help }
    }

    const fn histogram(stem: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { stem, unit: Quantity::Seconds, kind: Kind::Histogram, labels, help }
    }

    /// The name as the encoder wants it, which adds the unit and `_total`.
    pub fn stem(&self) -> &'static str {
        self.stem
    }

    /// The unit as the encoder wants it.
    pub fn unit(&self) -> Option<Unit> {
        match self.unit {
            Quantity::Seconds => Some(Unit::Seconds),
            Quantity::Bytes => Some(Unit::Bytes),
            Quantity::Number => None,
        }
    }

    /// Its name in OpenMetrics: without `_total`.
    pub fn family(&self) -> String {
        match self.unit() {
            Some(unit) => format!("{}_{}", self.stem, unit.as_str()),
            None => self.stem.to_owned(),
        }
    }

    /// Its name as one asks for it.
    #[cfg(test)]
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.family()),
            Kind::Gauge | Kind::Histogram => self.family(),
        }
    }
}

use Quantity::{Bytes, Number, Seconds};

const NONE: &[&str] = &[];
// Not `job`: that is what Prometheus calls a group of scraped processes.
const JOB: &[&str] = &["job_name"];
const JOB_TABLE: &[&str] = &["job_name", "table"];
const OPERATOR: &[&str] = &["job_name", "operator", "kind"];
const TABLE: &[&str] = &["table"];

pub const BUILD_INFO: Metric =
    Metric::gauge("frazil_build_info", Number, &["version"], "1; the label says which program runs.");
pub const CATALOG_VERSION: Metric =
    Metric::gauge("frazil_catalog_version", Number, NONE, "Newest version of the warehouse: grows with every commit.");
pub const WORKERS: Metric = Metric::gauge(
    "frazil_workers",
    Number,
    &["state"],
    "Workers of a coordinator, by what they do: active, or leaving.",
);
pub const WORKER_SLOTS: Metric =
    Metric::gauge("frazil_worker_slots", Number, NONE, "Slots of all workers of a coordinator.");
pub const RECOMMENDED_WORKERS: Metric = Metric::gauge(
    "frazil_recommended_workers",
    Number,
    NONE,
    "How many workers a coordinator should have by the load of the last seconds.",
);
pub const JOBS: Metric = Metric::gauge("frazil_jobs", Number, &["status"], "Jobs of the warehouse by status.");

pub const JOB_STATUS: Metric = Metric::gauge(
    "frazil_job_status",
    Number,
    &["job_name", "status"],
    "1 for the status that the job has, 0 for the others.",
);
pub const JOB_LOCAL: Metric = Metric::gauge("frazil_job_local", Number, JOB, "1 if this process runs the job, else 0.");
pub const JOB_PARALLELISM: Metric =
    Metric::gauge("frazil_job_parallelism", Number, JOB, "Tasks of every operator of the job.");
pub const JOB_INPUT_ROWS: Metric = Metric::counter(
    "frazil_job_input_rows",
    Number,
    JOB_TABLE,
    "Rows that the job has read of a table, view or connector.",
);
pub const JOB_OUTPUT_ROWS: Metric = Metric::counter(
    "frazil_job_output_rows",
    Number,
    JOB_TABLE,
    "Rows of changes that the job has written to a table, view or connector.",
);
pub const JOB_LATE_ROWS: Metric = Metric::counter(
    "frazil_job_late_rows",
    Number,
    JOB_TABLE,
    "Rows of an input that the job left out because they came behind its watermark.",
);
pub const JOB_SKIPPED_ROWS: Metric =
    Metric::counter("frazil_job_skipped_rows", Number, JOB_TABLE, "Malformed rows of an input that were dropped.");
pub const JOB_FAILED_VALUES: Metric = Metric::counter(
    "frazil_job_failed_values",
    Number,
    JOB,
    "Values that became NULL because their expression could not be computed (job.on-error = 'null').",
);
pub const JOB_EVENT_TIME_LAG: Metric = Metric::gauge(
    "frazil_job_event_time_lag",
    Seconds,
    JOB_TABLE,
    "Now minus the newest event time that the job has read of an input with a WATERMARK clause.",
);
pub const JOB_WATERMARK_LAG: Metric = Metric::gauge(
    "frazil_job_watermark_lag",
    Seconds,
    JOB_TABLE,
    "Now minus the watermark of an input with a WATERMARK clause.",
);
pub const JOB_EPOCH: Metric = Metric::gauge("frazil_job_epoch", Number, JOB, "Newest epoch that the job has closed.");
pub const JOB_EPOCH_DURATION: Metric =
    Metric::histogram("frazil_job_epoch_duration", JOB, "From the opening of an epoch until all tasks have closed it.");
pub const JOB_CHECKPOINT_DURATION: Metric = Metric::histogram(
    "frazil_job_checkpoint_duration",
    JOB,
    "From the opening of a checkpoint's epoch to the end of its commit.",
);
pub const JOB_COMMIT_LAG: Metric = Metric::histogram(
    "frazil_job_commit_lag",
    JOB,
    "From source to committed: from the opening of the epoch that reads a row until what became of it is visible, for the oldest row of each commit.",
);
pub const JOB_UNCOMMITTED_AGE: Metric = Metric::gauge(
    "frazil_job_uncommitted_age",
    Seconds,
    JOB,
    "For how long the oldest row has waited that is read and not committed; 0 if there is none.",
);
pub const JOB_CHECKPOINT_AGE: Metric = Metric::gauge(
    "frazil_job_checkpoint_age",
    Seconds,
    JOB,
    "Time since the last checkpoint. An idle job takes none, so look at frazil_job_uncommitted_age_seconds for alerts.",
);
pub const JOB_CHECKPOINT_BYTES: Metric = Metric::gauge(
    "frazil_job_checkpoint_size",
    Bytes,
    JOB,
    "Size of the files that the last checkpoint wrote: changed state and changes of tables.",
);
pub const JOB_CHECKPOINT_FILES: Metric =
    Metric::gauge("frazil_job_checkpoint_files", Number, JOB, "How many files the last checkpoint wrote.");

pub const OPERATOR_ROWS_IN: Metric =
    Metric::counter("frazil_operator_rows_in", Number, OPERATOR, "Rows that the operator has received.");
pub const OPERATOR_ROWS_OUT: Metric = Metric::counter(
    "frazil_operator_rows_out",
    Number,
    OPERATOR,
    "Rows that the operator has emitted, each once however many consumers there are.",
);
pub const OPERATOR_BUSY: Metric =
    Metric::counter("frazil_operator_busy", Seconds, OPERATOR, "Time that the operator worked, sum over its tasks.");
pub const OPERATOR_BACKPRESSURE: Metric = Metric::counter(
    "frazil_operator_backpressure",
    Seconds,
    OPERATOR,
    "Time in which rows of the operator waited because a receiver was busy, sum over tasks. For one that reads a table: in which rows waited to be read.",
);
pub const OPERATOR_STATE_ROWS: Metric =
    Metric::gauge("frazil_operator_state_rows", Number, OPERATOR, "Rows of state that the operator holds.");
pub const OPERATOR_STATE_BYTES: Metric =
    Metric::gauge("frazil_operator_state", Bytes, OPERATOR, "Estimate of the memory that the operator's state takes.");

pub const SOURCE_ROWS: Metric = Metric::counter(
    "frazil_source_rows",
    Number,
    TABLE,
    "Rows read of a connector, once for all jobs that share the reading.",
);
pub const SOURCE_BUSY: Metric =
    Metric::counter("frazil_source_busy", Seconds, TABLE, "Time spent reading a connector, sum over tasks.");
pub const SOURCE_BACKPRESSURE: Metric = Metric::counter(
    "frazil_source_backpressure",
    Seconds,
    TABLE,
    "Time between two reads of a connector that both gave rows, sum over tasks: rows waited, since the task was busy or enough epochs were open.",
);

pub const TABLE_FILES: Metric = Metric::gauge(
    "frazil_table_files",
    Number,
    &["table", "content"],
    "Files of the table's Iceberg snapshot, by what they hold: data or deletes.",
);
pub const TABLE_FILE_BYTES: Metric =
    Metric::gauge("frazil_table_files_size", Bytes, &["table", "content"], "Size of these files.");
pub const TABLE_SEGMENTS: Metric = Metric::gauge(
    "frazil_table_segments",
    Number,
    &["table", "tier"],
    "Segments of the table: hot ones are not in the Iceberg snapshot yet, retained ones are kept for readers of changes.",
);
pub const TABLE_SEGMENT_BYTES: Metric =
    Metric::gauge("frazil_table_segments_size", Bytes, &["table", "tier"], "Size of these segments.");
pub const TABLE_SNAPSHOT_ROWS: Metric =
    Metric::gauge("frazil_table_snapshot_rows", Number, TABLE, "Rows of the table's Iceberg snapshot.");
pub const TABLE_SNAPSHOT_AGE: Metric = Metric::gauge(
    "frazil_table_snapshot_age",
    Seconds,
    TABLE,
    "Time since the table's Iceberg snapshot was made. Only changes make new ones.",
);

pub const PROCESS_MEMORY: Metric =
    Metric::gauge("process_resident_memory", Bytes, NONE, "Memory of the process that is resident.");
pub const PROCESS_CPU: Metric =
    Metric::counter("process_cpu", Seconds, NONE, "CPU time of all threads of the process.");
pub const PROCESS_START: Metric =
    Metric::gauge("process_start_time", Seconds, NONE, "When the process began, in seconds since the Unix epoch.");

/// All of them, in the order in which they are exported.
pub const ALL: &[Metric] = &[
    BUILD_INFO,
    CATALOG_VERSION,
    WORKERS,
    WORKER_SLOTS,
    RECOMMENDED_WORKERS,
    JOBS,
    JOB_STATUS,
    JOB_LOCAL,
    JOB_PARALLELISM,
    JOB_INPUT_ROWS,
    JOB_OUTPUT_ROWS,
    JOB_LATE_ROWS,
    JOB_SKIPPED_ROWS,
    JOB_FAILED_VALUES,
    JOB_EVENT_TIME_LAG,
    JOB_WATERMARK_LAG,
    JOB_EPOCH,
    JOB_EPOCH_DURATION,
    JOB_CHECKPOINT_DURATION,
    JOB_COMMIT_LAG,
    JOB_UNCOMMITTED_AGE,
    JOB_CHECKPOINT_AGE,
    JOB_CHECKPOINT_BYTES,
    JOB_CHECKPOINT_FILES,
    OPERATOR_ROWS_IN,
    OPERATOR_ROWS_OUT,
    OPERATOR_BUSY,
    OPERATOR_BACKPRESSURE,
    OPERATOR_STATE_ROWS,
    OPERATOR_STATE_BYTES,
    SOURCE_ROWS,
    SOURCE_BUSY,
    SOURCE_BACKPRESSURE,
    TABLE_FILES,
    TABLE_FILE_BYTES,
    TABLE_SEGMENTS,
    TABLE_SEGMENT_BYTES,
    TABLE_SNAPSHOT_ROWS,
    TABLE_SNAPSHOT_AGE,
    PROCESS_MEMORY,
    PROCESS_CPU,
    PROCESS_START,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The rows of the tables of docs/metrics.md.
    fn documented() -> Vec<String> {
        let text = include_str!("../../../../docs/metrics.md");
        text.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect()
    }

    #[test]
    fn the_document_says_what_is_exported() {
        let row = |metric: &Metric| {
            let kind = format!("{:?}", metric.kind).to_lowercase();
            format!("| `{}` | {kind} | {} | {} |", metric.name(), metric.labels.join(", "), metric.help)
        };
        assert_eq!(documented(), ALL.iter().map(row).collect::<Vec<_>>());
    }

    #[test]
    fn names_follow_the_conventions() {
        let names: BTreeSet<String> = ALL.iter().map(Metric::name).collect();
        assert_eq!(names.len(), ALL.len());
        for name in &names {
            assert!(name.starts_with("frazil_") || name.starts_with("process_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        }
    }
}
