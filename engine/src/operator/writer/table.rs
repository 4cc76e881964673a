//! Collects a table's changes between two checkpoints.

use arrow::datatypes::SchemaRef;

use crate::change::{Changes, consolidate};
use crate::error::{Error, Result};
use crate::operator::Epoch;

/// Batches below this size are joined with their neighbours.
const SMALL: usize = 8192;

/// Takes the changes of closed epochs until a checkpoint asks for them. Not an operator: nothing follows it.
///
/// Insert-only changes go through as they are, small batches joined into larger ones. Others are consolidated by full
/// row over all epochs of the checkpoint, so that what came and went between two checkpoints is never written.
#[derive(Debug)]
pub struct TableWriter {
    schema: SchemaRef,
    insert_only: bool,
    /// Of the epoch that is open.
    open: Vec<Changes>,
    /// Of closed epochs since the last checkpoint.
    closed: Vec<Changes>,
    closed_rows: usize,
    /// At so many rows it pays to consolidate before the checkpoint.
    consolidate_at: usize,
}

impl TableWriter {
    /// A writer of rows of the table's schema. `insert_only`: the plan never retracts.
    pub fn new(schema: SchemaRef, insert_only: bool) -> Self {
        Self { schema, insert_only, open: vec![], closed: vec![], closed_rows: 0, consolidate_at: FIRST_CONSOLIDATION }
    }

    /// Takes changes of the open epoch.
    ///
    /// # Errors
    /// `Internal` if the columns are not those of the table, or an insert-only plan retracts.
    pub fn on_changes(&mut self, changes: Changes) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let (got, want) = (changes.schema(), &self.schema);
        let same = got.fields().iter().map(|f| f.data_type()).eq(want.fields().iter().map(|f| f.data_type()));
        if !same {
            return Err(Error::internal("rows for a table have other columns than the table").with("rows", got));
        }
        if self.insert_only && !changes.is_insert_only() {
            return Err(Error::internal("a plan that was said to be insert-only retracts a row"));
        }
        // Names and metadata as in the table, whatever the plan called its columns.
        let columns = changes.rows().columns().to_vec();
        let rows = crate::change::batch(&self.schema, columns, changes.len())?;
        self.open.push(changes.with_rows(rows));
        Ok(())
    }

    /// The epoch is complete.
    pub fn close_epoch(&mut self, _epoch: Epoch) -> Result<()> {
        for changes in self.open.drain(..) {
            self.closed_rows += changes.len();
            self.closed.push(changes);
        }
        if !self.insert_only && self.closed_rows >= self.consolidate_at {
            let sum = consolidate(&self.schema, &self.closed)?;
            self.closed_rows = sum.len();
            // Twice as much must come before the next time, so that the cost stays a constant share.
            self.consolidate_at = (2 * sum.len()).max(FIRST_CONSOLIDATION);
            self.closed = vec![sum];
        }
        Ok(())
    }

    /// The changes of all closed epochs since the last call, for the checkpoint's commit; empty if nothing changed.
    pub fn take(&mut self) -> Result<Vec<Changes>> {
        let closed = std::mem::take(&mut self.closed);
        (self.closed_rows, self.consolidate_at) = (0, FIRST_CONSOLIDATION);
        if self.insert_only {
            return joined(&self.schema, closed);
        }
        let sum = consolidate(&self.schema, &closed)?;
        Ok(if sum.is_empty() { vec![] } else { vec![sum] })
    }

    /// Rows waiting for the next checkpoint.
    pub fn rows(&self) -> usize {
        self.closed_rows + self.open.iter().map(Changes::len).sum::<usize>()
    }
}

const FIRST_CONSOLIDATION: usize = 1 << 16;

/// The same changes in fewer batches.
fn joined(schema: &SchemaRef, parts: Vec<Changes>) -> Result<Vec<Changes>> {
    let mut out = Vec::new();
    let mut small: Vec<Changes> = Vec::new();
    for part in parts {
        if part.len() < SMALL {
            small.push(part);
            if small.iter().map(Changes::len).sum::<usize>() < SMALL {
                continue;
            }
            out.push(Changes::concat(schema, &std::mem::take(&mut small))?);
        } else {
            out.push(part);
        }
    }
    if !small.is_empty() {
        out.push(Changes::concat(schema, &small)?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    use super::*;
    use crate::operator::law::{Row, Value, ZSet, add, batch_of, rows_of};

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]))
    }

    fn changes(events: &[(i64, i64)]) -> Changes {
        let rows = events.iter().map(|(a, _)| vec![Value::Int(*a)]).collect::<Vec<Row>>();
        Changes::weighted(batch_of(&schema(), &rows), events.iter().map(|(_, weight)| *weight).collect())
    }

    fn epoch(number: u64) -> Epoch {
        Epoch { number, timestamp_ms: 0 }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn gives_the_sum_of_closed_epochs(epochs in prop::collection::vec(
            (prop::collection::vec((0..5_i64, prop_oneof![Just(1_i64), Just(-1)]), 0..6), any::<bool>()), 1..12)) {
            let mut writer = TableWriter::new(schema(), false);
            let mut expected = ZSet::new();
            for (number, (events, checkpoint)) in epochs.iter().enumerate() {
                events.chunks(2).for_each(|events| writer.on_changes(changes(events)).unwrap());
                events.iter().for_each(|(a, weight)| add(&mut expected, vec![Value::Int(*a)], *weight));
                writer.close_epoch(epoch(number as u64)).unwrap();
                if *checkpoint {
                    let mut got = ZSet::new();
                    for part in writer.take().unwrap() {
                        for (row, values) in rows_of(part.rows()).into_iter().enumerate() {
                            prop_assert!(part.weight(row) != 0 && !got.contains_key(&values));
                            add(&mut got, values, part.weight(row));
                        }
                    }
                    prop_assert_eq!(got, std::mem::take(&mut expected));
                    prop_assert_eq!(writer.rows(), 0);
                }
            }
        }
    }

    #[test]
    fn an_open_epoch_waits() {
        let mut writer = TableWriter::new(schema(), false);
        writer.on_changes(changes(&[(1, 1)])).unwrap();
        assert!(writer.take().unwrap().is_empty());
        writer.close_epoch(epoch(1)).unwrap();
        assert_eq!(writer.take().unwrap()[0].len(), 1);
    }

    #[test]
    fn an_insert_only_plan_passes_batches_through_and_may_not_retract() {
        let mut writer = TableWriter::new(schema(), true);
        let many = (0..10_000).map(|a| (a, 1)).collect::<Vec<_>>();
        for events in [&many[..1], &many[..1], &many, &many[..3]] {
            writer.on_changes(changes(events)).unwrap();
        }
        writer.close_epoch(epoch(1)).unwrap();
        let sizes = writer.take().unwrap().iter().map(Changes::len).collect::<Vec<_>>();
        assert_eq!(sizes, [10_000, 5]);
        assert!(writer.on_changes(changes(&[(1, -1)])).unwrap_err().to_string().contains("insert-only"));
    }
}
