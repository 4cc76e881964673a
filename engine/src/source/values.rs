//! Constant rows (`VALUES`, `SELECT 1`) as a bounded source with one split, so that they too are read exactly once.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{Read, Source, Split, SplitPosition, SplitReader};
use crate::error::Result;

/// A source of constant rows.
#[derive(Debug)]
pub struct ValuesSource {
    rows: RecordBatch,
}

impl ValuesSource {
    /// A source of these rows.
    pub fn new(rows: RecordBatch) -> Self {
        Self { rows }
    }
}

impl Source for ValuesSource {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn bounded(&self) -> bool {
        true
    }

    fn splits(&self) -> Result<Vec<Split>> {
        Ok(vec![Split { id: "values".into() }])
    }

    fn monitor_interval(&self) -> Option<std::time::Duration> {
        None
    }

    fn open(&self, _: &Split, from: SplitPosition, projection: &[usize]) -> Result<Box<dyn SplitReader>> {
        Ok(Box::new(ValuesReader { rows: self.rows.project(projection)?, position: from }))
    }

    fn repeatable(&self) -> bool {
        true
    }

    fn estimated_rows(&self) -> Option<u64> {
        Some(self.rows.num_rows() as u64)
    }
}

struct ValuesReader {
    rows: RecordBatch,
    position: SplitPosition,
}

impl SplitReader for ValuesReader {
    fn read(&mut self, max_rows: usize) -> Result<Read> {
        let from = self.position.rows as usize;
        let rows = self.rows.num_rows().saturating_sub(from).min(max_rows);
        if rows == 0 {
            self.position.ended = true;
            return Ok(Read::End);
        }
        self.position.rows += rows as u64;
        Ok(Read::Rows(self.rows.slice(from, rows)))
    }

    fn position(&self) -> SplitPosition {
        self.position
    }

    fn skipped(&self) -> u64 {
        0
    }
}
