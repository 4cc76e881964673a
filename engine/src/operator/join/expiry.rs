//! Forgets rows that match nothing which is still to come: the other side's watermark has passed all that they could match.
//!
//! A row that can still be retracted must be known if rows of the other side count their partners: whether the last one went
//! cannot be told from the retraction alone. Such rows stay until the watermark of their own side has passed them too.

use super::interval::{Interval, intervals};
use super::output::{Layout, Source};
use super::side::Side;
use super::{Join, JoinSpec};
use crate::error::Result;
use crate::operator::expiry::Expiry;
use crate::rows::{KeyIndex, NO_SLOT};
use crate::watermark::{Bound, NONE, of, ordinals};

/// What bounds the rows of both sides.
#[derive(Debug)]
pub(super) struct JoinExpiry {
    intervals: Vec<(Interval, [Source; 2])>,
    sides: [SideExpiry; 2],
}

/// The rows of a side by the time that one interval bounds, once the other side has a watermark.
#[derive(Debug, Default)]
struct SideExpiry {
    /// Which of the intervals.
    interval: Option<usize>,
    /// Rows before this match nothing that is still to come.
    unmatched: Option<i64>,
    /// Rows that can be retracted must be known.
    known_until_final: bool,
    /// The side's own watermarks.
    own: Vec<Bound>,
    rows: Expiry,
}

impl JoinExpiry {
    pub(super) fn new(spec: &JoinSpec, layout: &Layout) -> Self {
        let width = spec.left.fields().len();
        let kept = |interval: Interval| {
            let sources = [layout.source(interval.left).ok()?, layout.source(interval.right + width).ok()?];
            Some((interval, sources))
        };
        let intervals = intervals(spec).into_iter().filter_map(kept).collect();
        let insert_only = [spec.left_insert_only, spec.right_insert_only];
        let side = |side: usize| {
            let known_until_final = !insert_only[side] && spec.kind.counts(1 - side);
            SideExpiry { known_until_final, ..SideExpiry::default() }
        };
        Self { intervals, sides: [side(0), side(1)] }
    }

    /// Takes note of the watermarks of an input, which bound the rows of the other. True if rows are bounded for the first
    /// time.
    fn advance(&mut self, input: usize, bounds: &[Bound]) -> bool {
        let side = 1 - input;
        let bound = |interval: &Interval| of(bounds, if input == 0 { interval.left } else { interval.right });
        self.sides[input].own = bounds.to_vec();
        let passed = |interval: &Interval| interval.passed(side, bound(interval)?);
        let known = self.sides[side].interval;
        let chosen = known.or_else(|| self.intervals.iter().position(|(interval, _)| passed(interval).is_some()));
        let Some(chosen) = chosen else { return false };
        let passed = passed(&self.intervals[chosen].0);
        let expiry = &mut self.sides[side];
        expiry.interval = Some(chosen);
        expiry.unmatched = passed.max(expiry.unmatched);
        known.is_none()
    }

    /// Rows of a side are new.
    fn add(&mut self, side: usize, slots: &[u32], rows: &Side, keys: &KeyIndex) -> Result<()> {
        let Some(interval) = self.sides[side].interval else { return Ok(()) };
        let times = times(self.intervals[interval].1[side], slots, rows, keys)?;
        for (slot, time) in slots.iter().zip(&times) {
            if let Some(time) = time {
                self.sides[side].rows.add(time, *slot);
            }
        }
        Ok(())
    }

    /// The interval by which the rows of a side are kept, and the time before which they can be forgotten.
    fn watermark(&self, side: usize) -> Option<(usize, i64)> {
        let expiry = &self.sides[side];
        let (interval, unmatched) = (expiry.interval?, expiry.unmatched?);
        if !expiry.known_until_final {
            return Some((interval, unmatched));
        }
        let Interval { left, right, .. } = self.intervals[interval].0;
        let last = of(&expiry.own, if side == 0 { left } else { right })?;
        Some((interval, last.min(unmatched)))
    }

    /// The rows of a side that match nothing any more.
    fn passed(&mut self, side: usize, rows: &Side, keys: &KeyIndex) -> Result<Vec<u32>> {
        let Some((interval, watermark)) = self.watermark(side) else { return Ok(vec![]) };
        let expiry = &mut self.sides[side];
        let mut slots = expiry.rows.take(watermark);
        slots.retain(|slot| rows.slot(*slot).key != NO_SLOT);
        if slots.is_empty() {
            return Ok(slots);
        }
        let times = times(self.intervals[interval].1[side], &slots, rows, keys)?;
        let is_passed = |time: Option<i64>| time.is_some_and(|time| time < watermark);
        Ok(slots.into_iter().zip(&times).filter(|(_, time)| is_passed(*time)).map(|(slot, _)| slot).collect())
    }
}

/// The times of rows.
fn times(source: Source, slots: &[u32], rows: &Side, keys: &KeyIndex) -> Result<arrow::array::Int64Array> {
    ordinals(&match source {
        Source::Key { column, .. } => keys.keys().gather_column(column, &rows.keys_of(slots))?,
        Source::Rest { column, .. } => rows.gather(column, slots)?,
        Source::Mark => return Ok(arrow::array::Int64Array::from(vec![NONE; slots.len()])),
    })
}

impl Join {
    /// Takes note of the watermarks of an input; from the first on, the rows of the other side are kept by their time.
    pub(super) fn advance(&mut self, input: usize, bounds: &[Bound]) -> Result<()> {
        if input < 2 && self.expiry.advance(input, bounds) {
            let side = 1 - input;
            let held: Vec<u32> = self.sides[side].all();
            self.expiry.add(side, &held, &self.sides[side], &self.keys)?;
        }
        Ok(())
    }

    /// Keeps the rows that the epoch brought by their time. Before the epoch's touched rows are forgotten.
    pub(super) fn expire_later(&mut self) -> Result<()> {
        for side in [0, 1] {
            let rows = &self.sides[side];
            if self.expiry.sides[side].interval.is_some() {
                let new = rows.touched().filter(|(_, before, now)| before.weight == 0 && now.weight != 0);
                let new: Vec<u32> = new.map(|(slot, ..)| slot).collect();
                self.expiry.add(side, &new, rows, &self.keys)?;
            }
        }
        Ok(())
    }

    /// Forgets the rows that match nothing any more; their keys go to `loose`.
    pub(super) fn expire(&mut self, loose: &mut Vec<u32>) -> Result<()> {
        for side in [0, 1] {
            let passed = self.expiry.passed(side, &self.sides[side], &self.keys)?;
            loose.extend(passed.into_iter().map(|slot| self.sides[side].remove(slot)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, SchemaRef, TimeUnit};
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_plan::PhysicalExpr;
    use datafusion::physical_plan::expressions::{Column, binary, lit};

    use super::*;
    use crate::operator::Operator;
    use crate::operator::join::JoinKind;
    use crate::operator::law::{Input, Law, Row, Value, sql_oracle};

    const KINDS: [JoinKind; 5] = [JoinKind::Inner, JoinKind::Left, JoinKind::Full, JoinKind::Semi, JoinKind::Anti];

    fn side(prefix: &str) -> SchemaRef {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let field = |name, data_type| Field::new(format!("{prefix}{name}"), data_type, true);
        Arc::new(Schema::new(vec![field("k", DataType::Int64), field("ts", micros), field("v", DataType::Utf8View)]))
    }

    /// `lts BETWEEN rts - least AND rts + greatest`, in microseconds.
    fn between(least: i64, greatest: i64) -> Arc<dyn PhysicalExpr> {
        let both = Schema::new([side("l").fields().to_vec(), side("r").fields().to_vec()].concat());
        let column = |name, index| Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>;
        let span =
            |micros: i64| lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, micros * 1000))));
        let from = binary(column("rts", 4), Op::Minus, span(least), &both).unwrap();
        let until = binary(column("rts", 4), Op::Plus, span(greatest), &both).unwrap();
        let after = binary(column("lts", 1), Op::GtEq, from, &both).unwrap();
        let before = binary(column("lts", 1), Op::LtEq, until, &both).unwrap();
        binary(after, Op::And, before, &both).unwrap()
    }

    fn law(kind: JoinKind, on: &'static [(usize, usize)], residual: Option<(i64, i64)>) -> Law {
        let alone = matches!(kind, JoinKind::Semi | JoinKind::Anti);
        let fields = if alone {
            side("l").fields().to_vec()
        } else {
            [side("l").fields().to_vec(), side("r").fields().to_vec()].concat()
        };
        let output_schema = Arc::new(Schema::new(fields.clone()));
        let make = move || -> Box<dyn Operator> {
            let spec = JoinSpec {
                left: side("l"),
                right: side("r"),
                on: on.to_vec(),
                kind,
                null_equals_null: false,
                residual: residual.map(|(least, greatest)| between(least, greatest)),
                output: (0..fields.len()).collect(),
                output_schema: output_schema.clone(),
                left_insert_only: true,
                right_insert_only: true,
                left_unique: false,
                right_unique: false,
                broadcast: None,
            };
            let join = Join::new(&spec).unwrap();
            Box::new(join)
        };
        let names = ["k", "ts", "v"];
        let mut conditions: Vec<String> = on.iter().map(|(l, r)| format!("l{} = r{}", names[*l], names[*r])).collect();
        if let Some((least, greatest)) = residual {
            conditions.push(format!(
                "lts >= rts - INTERVAL '{least} microseconds' AND lts <= rts + INTERVAL '{greatest} microseconds'"
            ));
        }
        let join = match kind {
            JoinKind::Inner => "JOIN",
            JoinKind::Left => "LEFT JOIN",
            JoinKind::Full => "FULL JOIN",
            JoinKind::Semi => "LEFT SEMI JOIN",
            _ => "LEFT ANTI JOIN",
        };
        let sql = format!("SELECT * FROM l {join} r ON {}", conditions.join(" AND "));
        let input = |prefix, side: usize| {
            let route: Vec<usize> = on.iter().map(|pair| if side == 0 { pair.0 } else { pair.1 }).collect();
            Input::new(self::side(prefix), &route).insert_only()
        };
        let oracle = sql_oracle(&[("l", side("l")), ("r", side("r"))], &sql);
        Law::new(vec![input("l", 0), input("r", 1)], make, oracle)
    }

    #[test]
    fn interval_joins_that_forget_obey_the_law() {
        for kind in KINDS {
            law(kind, &[(0, 0)], Some((2, 3))).timed(0, 1, 2).timed(1, 1, 4).check(12);
        }
    }

    #[test]
    fn joins_by_a_time_that_forget_obey_the_law() {
        for kind in KINDS {
            law(kind, &[(0, 0), (1, 1)], None).timed(0, 1, 3).timed(1, 1, 1).check(12);
            // With a watermark of one side the rows of the other can be forgotten.
            law(kind, &[(1, 1)], None).timed(1, 1, 1).check(8);
        }
    }

    #[test]
    fn state_stays_bounded() {
        let row = |input, key, time| -> (usize, Row) {
            (input, vec![Value::Int(key), Value::Int(time), Value::Text(format!("{key}"))])
        };
        let rows = [row(0, 1, 0), row(0, 2, 1), row(1, 1, 0), row(1, 3, 2)];
        for kind in KINDS {
            law(kind, &[(0, 0)], Some((2, 3))).timed(0, 1, 2).timed(1, 1, 2).stays_within(40, 100, &rows);
            law(kind, &[(0, 0), (1, 1)], None).timed(0, 1, 2).timed(1, 1, 2).stays_within(25, 100, &rows);
        }
    }
}
