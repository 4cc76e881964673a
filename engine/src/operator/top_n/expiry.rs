//! Forgets partitions that a watermark has passed: no row of theirs changes any more, and what they show stays.

use super::TopN;
use crate::error::Result;
use crate::operator::expiry::Expiry;
use crate::watermark::{Bound, NONE, of, ordinals};

/// The partitions by the value of one partition column that has a watermark.
#[derive(Debug)]
pub(super) struct PartitionExpiry {
    /// Which of the partition columns.
    column: usize,
    watermark: i64,
    partitions: Expiry,
}

impl TopN {
    /// Takes note of the watermarks of the input; from the first on, partitions are kept by their time.
    pub(super) fn advance(&mut self, bounds: &[Bound]) -> Result<()> {
        let timed = self.spec.partition.iter().position(|column| of(bounds, *column).is_some());
        let Some(column) = self.expiry.as_ref().map(|expiry| expiry.column).or(timed) else { return Ok(()) };
        if self.expiry.is_none() {
            self.sort();
            self.expiry = Some(PartitionExpiry { column, watermark: NONE, partitions: Expiry::default() });
            self.new_partitions = self.keys.iter().collect();
        }
        if let (Some(expiry), Some(watermark)) = (&mut self.expiry, of(bounds, self.spec.partition[column])) {
            expiry.watermark = watermark;
        }
        Ok(())
    }

    /// Keeps the partitions that the epoch brought by their time, and forgets those that are behind the watermark.
    pub(super) fn expire(&mut self) -> Result<()> {
        let new = std::mem::take(&mut self.new_partitions);
        let Some(expiry) = &mut self.expiry else { return Ok(()) };
        let (column, watermark) = (expiry.column, expiry.watermark);
        let new: Vec<u32> = new.into_iter().filter(|key| !self.partitions[*key as usize].is_empty()).collect();
        let times = ordinals(&self.keys.keys().gather_column(column, &new)?)?;
        for (key, time) in new.iter().zip(&times) {
            if let Some(time) = time {
                expiry.partitions.add(time, *key);
            }
        }
        let mut passed = expiry.partitions.take(watermark);
        passed.retain(|key| !self.partitions[*key as usize].is_empty());
        let times = ordinals(&self.keys.keys().gather_column(column, &passed)?)?;
        let mut rows = Vec::new();
        for (key, time) in passed.iter().zip(&times) {
            // The place of a partition that is gone may be that of another one now.
            if time.is_some_and(|time| time < watermark) {
                rows.extend(self.partitions[*key as usize].take());
            }
        }
        self.forget(&rows);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::compute::SortOptions;
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

    use super::*;
    use crate::operator::Operator;
    use crate::operator::law::{Input, Law, Row, Value, sql_oracle};
    use crate::operator::top_n::{Rank, TopNSpec};

    fn input() -> SchemaRef {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        Arc::new(Schema::new(vec![Field::new("ts", micros, true), Field::new("v", DataType::Int64, true)]))
    }

    fn law(limit: Option<usize>) -> Law {
        let rank = Field::new("rn", DataType::UInt64, false);
        let fields = input().fields().iter().cloned().chain([Arc::new(rank)]).collect::<Vec<_>>();
        let output = Arc::new(Schema::new(fields));
        let make = move || -> Box<dyn Operator> {
            let spec = TopNSpec {
                input: input(),
                partition: vec![0],
                order: vec![(1, SortOptions { descending: true, nulls_first: false })],
                offset: 0,
                limit,
                rank: Rank::RowNumber,
                insert_only: true,
                output: output.clone(),
            };
            let top = TopN::new(&spec).unwrap();
            Box::new(top)
        };
        let limit = limit.map_or(String::new(), |limit| format!("WHERE rn <= {limit}"));
        let sql = format!(
            "SELECT * FROM (SELECT ts, v, row_number() OVER (PARTITION BY ts ORDER BY v DESC NULLS LAST) AS rn FROM t) {limit}"
        );
        Law::new(vec![Input::new(input(), &[0]).insert_only()], make, sql_oracle(&[("t", input())], &sql))
    }

    #[test]
    fn forgetting_obeys_the_law() {
        law(Some(2)).timed(0, 0, 2).check(20);
        law(None).timed(0, 0, 4).check(20);
    }

    #[test]
    fn state_stays_bounded() {
        let row = |time, v| -> (usize, Row) { (0, vec![Value::Int(time), Value::Int(v)]) };
        law(None).timed(0, 0, 2).stays_within(20, 100, &[row(0, 1), row(0, 2), row(1, 1), row(2, 4)]);
    }
}
