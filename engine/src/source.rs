//! What connectors implement to bring rows in: a source has splits, each split is read from a position that can be stored.
//!
//! Readers are called on the streaming threads and may block on local input for the time of one batch, not longer.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::error::Result;

pub mod batch;
pub mod datagen;
pub mod filesystem;
pub mod nexmark;
mod pace;
mod value;
pub mod values;

pub use value::{TextColumn, text_column};

/// A part of a source that one reader reads: a file, a range of a file, a share of a generator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Split {
    /// Unique within the source and the same in every enumeration, whatever the parallelism.
    pub id: String,
}

/// How far a split is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitPosition {
    /// Records taken so far (malformed and skipped ones included); what most readers resume from.
    pub rows: u64,
    /// Bytes taken so far, for formats in which a reader can seek; 0 where it means nothing.
    pub bytes: u64,
    /// The split is read to its end and will never give rows again.
    pub ended: bool,
}

/// What a read gave.
#[derive(Debug)]
pub enum Read {
    /// Some rows, at most as many as asked for, in the source's (projected) schema.
    Rows(RecordBatch),
    /// Nothing now. Ask again after this time.
    Idle(Duration),
    /// The end: nothing now and never again.
    End,
}

/// A connector table that can be read.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The declared columns.
    fn schema(&self) -> SchemaRef;

    /// Whether the input ends.
    fn bounded(&self) -> bool;

    /// The splits that exist now, in a fixed order. Splits found earlier are found again.
    fn splits(&self) -> Result<Vec<Split>>;

    /// For an unbounded source whose splits can grow in number: how often to ask for new ones.
    fn monitor_interval(&self) -> Option<Duration>;

    /// A reader of one split from a position on. `projection`: the columns wanted, in this order; readers should not decode others.
    fn open(&self, split: &Split, from: SplitPosition, projection: &[usize]) -> Result<Box<dyn SplitReader>>;

    /// Whether a split that is read again gives the same rows, as long as nobody changes what it reads.
    fn repeatable(&self) -> bool;

    /// The same rows without the rate at which they are given, if there is one: what is read again need not take as long again.
    fn unpaced(&self) -> Option<std::sync::Arc<dyn Source>> {
        None
    }

    /// An upper bound or estimate of the number of rows, where it is cheap to know.
    fn estimated_rows(&self) -> Option<u64>;
}

/// Reads one split.
pub trait SplitReader: Send {
    /// The next rows, at most `max_rows`.
    fn read(&mut self, max_rows: usize) -> Result<Read>;

    /// Where a reader would have to start to go on after the rows read so far.
    fn position(&self) -> SplitPosition;

    /// Malformed rows skipped by this reader so far (only with `format.ignore-parse-errors`).
    fn skipped(&self) -> u64;
}
