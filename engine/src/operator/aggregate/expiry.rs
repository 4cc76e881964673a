//! Forgets groups that a watermark has passed: no row of theirs comes any more, and what they showed stays.

use super::Aggregate;
use crate::error::Result;
use crate::operator::expiry::Expiry;
use crate::watermark::{Bound, NONE, of, ordinals};

/// The groups by the value of one group column that has a watermark.
pub(super) struct GroupExpiry {
    /// Which of the group columns.
    column: usize,
    watermark: i64,
    groups: Expiry,
}

impl Aggregate {
    /// Takes note of the watermarks of the input; from the first on, groups are kept by their time.
    pub(super) fn advance(&mut self, bounds: &[Bound]) -> Result<()> {
        let timed = self.spec.group.iter().position(|column| of(bounds, *column).is_some());
        let Some(column) = self.expiry.as_ref().map(|expiry| expiry.column).or(timed) else { return Ok(()) };
        if self.expiry.is_none() {
            self.start()?;
            self.expiry = Some(GroupExpiry { column, watermark: NONE, groups: Expiry::default() });
            self.calls.multisets.iter_mut().for_each(|(multiset, _)| multiset.chain_all());
            self.expire_later(&self.groups.all())?;
        }
        if let (Some(expiry), Some(watermark)) = (&mut self.expiry, of(bounds, self.spec.group[column])) {
            expiry.watermark = watermark;
        }
        Ok(())
    }

    /// Groups are new.
    pub(super) fn expire_later(&mut self, groups: &[u32]) -> Result<()> {
        let Some(expiry) = &mut self.expiry else { return Ok(()) };
        let times = ordinals(&self.groups.key(expiry.column, groups)?)?;
        for (group, time) in groups.iter().zip(&times) {
            // A group without time is outside of the watermark's promise.
            if let Some(time) = time {
                expiry.groups.add(time, *group);
            }
        }
        Ok(())
    }

    /// Forgets the groups behind the watermark; their state goes with the next checkpoint.
    pub(super) fn expire(&mut self) -> Result<()> {
        let Some(expiry) = &mut self.expiry else { return Ok(()) };
        let (column, watermark) = (expiry.column, expiry.watermark);
        let mut groups = expiry.groups.take(watermark);
        groups.retain(|group| self.groups.is_held(*group));
        if groups.is_empty() {
            return Ok(());
        }
        let times = ordinals(&self.groups.key(column, &groups)?)?;
        for (group, time) in groups.iter().zip(&times) {
            if time.is_none_or(|time| time >= watermark) {
                continue;
            }
            // Values that were taken back before they came are still to come: then the promise is not kept, and nothing is lost.
            if self.calls.multisets.iter_mut().all(|(multiset, _)| multiset.can_drop(*group)) {
                self.calls.multisets.iter_mut().for_each(|(multiset, _)| multiset.drop_values(*group));
                if self.groups.release(*group) {
                    self.clear(*group);
                }
            }
        }
        self.calls.multisets.iter_mut().for_each(|(multiset, _)| multiset.settle());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

    use super::*;
    use crate::operator::Operator;
    use crate::operator::aggregate::{AggregateCall, AggregateFunction, AggregateSpec};
    use crate::operator::failure::Failing;
    use crate::operator::law::{Input, Law, Value, sql_oracle};

    fn input() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("k", DataType::Utf8View, true),
            Field::new("x", DataType::Int64, true),
        ]))
    }

    /// Counts, sums, extremums and distinct values by time and key. `insert_only`: whether the operator knows that its
    /// input is, which decides what it keeps.
    fn law(insert_only: bool) -> Law {
        let call = |function, distinct| AggregateCall { distinct, ..AggregateCall::new(function, vec![2]) };
        let calls = vec![
            call(AggregateFunction::Count, false),
            call(AggregateFunction::Sum, true),
            call(AggregateFunction::Min, false),
            call(AggregateFunction::Max, false),
        ];
        let mut output: Vec<Field> = [0, 1].iter().map(|column| input().field(*column).clone()).collect();
        output.extend(["n", "d", "lo", "hi"].map(|name| Field::new(name, DataType::Int64, true)));
        let output = Arc::new(Schema::new(output));
        let sql = "SELECT ts, k, count(x) AS n, sum(DISTINCT x) AS d, min(x) AS lo, max(x) AS hi FROM t GROUP BY ts, k";
        let make = move || -> Box<dyn Operator> {
            let (calls, output) = (calls.clone(), output.clone());
            let spec = AggregateSpec {
                input: input(),
                group: vec![0, 1],
                calls,
                output,
                insert_only,
                routed_by: None,
                failing: Failing::default(),
            };
            let aggregate = Aggregate::new(spec, true).unwrap();
            Box::new(aggregate)
        };
        Law::new(vec![Input::new(input(), &[0, 1]).insert_only()], make, sql_oracle(&[("t", input())], sql))
    }

    #[test]
    fn forgetting_obeys_the_law() {
        law(true).timed(0, 0, 2).check(30);
        law(false).timed(0, 0, 5).check(30);
    }

    #[test]
    fn state_stays_bounded() {
        let row = |time, key: &str, x| (0, vec![Value::Int(time), Value::Text(key.into()), Value::Int(x)]);
        let rows = [row(0, "a", 1), row(0, "b", 2), row(1, "a", 3), row(1, "a", 4), row(2, "c", 1)];
        // Two epochs' groups and values at most are not behind the watermark.
        law(true).timed(0, 0, 2).stays_within(25, 200, &rows);
        law(false).timed(0, 0, 2).stays_within(40, 200, &rows);
    }
}
