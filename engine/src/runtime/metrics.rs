//! Counters of a pipeline, written by its slots and read by whoever shows progress.

use std::sync::atomic::{AtomicI64, AtomicU64};

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Rows read from sources and tables.
    pub rows_in: AtomicU64,
    /// Rows of changes that left the pipeline, into tables and sinks.
    pub rows_out: AtomicU64,
    /// Malformed rows skipped.
    pub skipped: AtomicU64,
    /// Rows left out because they came behind the watermark.
    pub late: AtomicU64,
    /// Newest epoch that is closed.
    pub epoch: AtomicU64,
    /// Checkpoints committed.
    pub checkpoints: AtomicU64,
    /// When the last checkpoint was committed, in ms since the Unix epoch; 0 before the first.
    pub last_checkpoint_ms: AtomicI64,
    /// When the oldest epoch that is not yet committed was opened, in ms since the Unix epoch; 0 if all is committed.
    pub uncommitted_since_ms: AtomicI64,
}
