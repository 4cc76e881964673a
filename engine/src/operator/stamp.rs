//! Processing time: rows get the time of the epoch in which they came, as `now()` in what an INSERT writes.
//!
//! Rows wait until their epoch closes, for only then its time is known. The input must never take a row back: its time would be
//! another one by then.

use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use arrow::datatypes::SchemaRef;

use crate::change::{Changes, Weights, consolidate};
use crate::error::{Error, Result};
use crate::operator::{Epoch, Operator, OperatorInfo, columns};

/// What a [`Stamp`] does.
#[derive(Debug, Clone)]
pub struct StampSpec {
    /// The input's columns, and behind them the time: TIMESTAMP in microseconds, UTC.
    pub output: SchemaRef,
}

/// Adds the time of the epoch. What waits is of the open epoch, so nothing has to be saved.
#[derive(Debug)]
pub struct Stamp {
    output: SchemaRef,
    waiting: Vec<Changes>,
}

impl Stamp {
    /// An instance.
    pub fn new(spec: &StampSpec) -> Self {
        Self { output: spec.output.clone(), waiting: Vec::new() }
    }
}

impl Operator for Stamp {
    fn info(&self) -> OperatorInfo {
        OperatorInfo { name: "Stamp", schema: self.output.clone(), state: vec![] }
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, _out: &mut Vec<Changes>) -> Result<()> {
        if !changes.is_insert_only() {
            return Err(Error::internal("a row was taken back that has got its time"));
        }
        self.waiting.push(changes);
        Ok(())
    }

    fn close_epoch(&mut self, epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        let time = epoch.timestamp_ms.saturating_mul(1000);
        let mut waiting = std::mem::take(&mut self.waiting);
        if waiting.len() > 1 && waiting.iter().any(|changes| matches!(changes.weights(), Weights::Each(_))) {
            // A row may be in several batches, and comes out once.
            waiting = vec![consolidate(&waiting[0].schema(), &waiting)?];
        }
        for changes in waiting {
            let (rows, weights) = changes.into_parts();
            let count = rows.num_rows();
            let mut arrays = rows.columns().to_vec();
            arrays.push(Arc::new(TimestampMicrosecondArray::from_value(time, count)));
            out.push(Changes::new(columns::batch(&self.output, arrays, count)?, weights));
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.waiting.iter().map(|changes| changes.rows().num_rows()).sum()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};

    use super::*;

    fn rows(values: &[i64]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap()
    }

    #[test]
    fn rows_get_the_time_of_their_epoch_once() {
        let time = Field::new("now()", DataType::Timestamp(TimeUnit::Microsecond, None), true);
        let output = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true), time]));
        let mut stamp = Stamp::new(&StampSpec { output });
        let mut out = Vec::new();
        stamp.on_changes(0, Changes::inserts(rows(&[1, 2])), &mut out).unwrap();
        stamp.on_changes(0, Changes::inserts(rows(&[3])), &mut out).unwrap();
        assert!(out.is_empty() && stamp.state_rows() == 3);
        stamp.close_epoch(Epoch { number: 1, timestamp_ms: 5 }, &mut out).unwrap();
        stamp.close_epoch(Epoch { number: 2, timestamp_ms: 6 }, &mut out).unwrap();
        let times: Vec<i64> = out
            .iter()
            .flat_map(|changes| changes.rows().column(1).as_primitive::<TimestampMicrosecondType>().values().to_vec())
            .collect();
        assert_eq!((times, stamp.state_rows()), (vec![5000; 3], 0));
        assert!(stamp.on_changes(0, Changes::inserts(rows(&[1])).negated(), &mut out).is_err());
    }
}
