//! EMIT ON WINDOW CLOSE: holds every row until the watermark has passed its time, and gives it once.
//!
//! Behind the watermark nothing changes any more, so what comes out is final and never taken back. Rows without time come
//! out when the input ends.

use arrow::datatypes::SchemaRef;

use crate::change::Changes;
use crate::error::Result;
use crate::operator::columns::{self, compact};
use crate::operator::expiry::Expiry;
use crate::operator::held::HeldRows;
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta};
use crate::watermark::{Bound, END, NONE, of, ordinals};

/// Rows that are gathered at once.
const CHUNK: usize = 8192;

/// What an [`EmitOnClose`] does.
#[derive(Debug, Clone)]
pub struct EmitOnCloseSpec {
    /// Columns of input and output.
    pub schema: SchemaRef,
    /// The column whose watermark counts.
    pub time: usize,
    /// The columns by whose hash rows are routed; none: all rows are in one task.
    pub route: Vec<usize>,
}

/// Emits rows when they are final. Stateful.
#[derive(Debug)]
pub struct EmitOnClose {
    spec: EmitOnCloseSpec,
    rows: HeldRows,
    by_time: Expiry,
    watermark: i64,
    /// Restored rows are not in `by_time` yet.
    unsorted: bool,
}

impl EmitOnClose {
    /// An instance.
    ///
    /// # Errors
    /// `Sql` if a column's type cannot be kept.
    pub fn new(spec: &EmitOnCloseSpec) -> Result<Self> {
        let rows = HeldRows::new(&spec.schema, &spec.route)?;
        Ok(Self { spec: spec.clone(), rows, by_time: Expiry::default(), watermark: NONE, unsorted: false })
    }

    fn sort(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.unsorted) {
            return Ok(());
        }
        let slots = self.rows.all();
        let times = ordinals(&self.rows.column(self.spec.time, &slots)?)?;
        times.iter().zip(slots).for_each(|(time, slot)| self.by_time.add(moment(time), slot));
        Ok(())
    }
}

/// The number of a row's time; rows without are last.
fn moment(time: Option<i64>) -> i64 {
    time.unwrap_or(END - 1)
}

impl Operator for EmitOnClose {
    // State table: `rows`, keyed by a row number.
    fn info(&self) -> OperatorInfo {
        OperatorInfo { name: "EmitOnClose", schema: self.spec.schema.clone(), state: vec![self.rows.table()] }
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, _out: &mut Vec<Changes>) -> Result<()> {
        self.sort()?;
        let times = ordinals(changes.rows().column(self.spec.time))?;
        for (row, slot) in self.rows.apply(&changes)? {
            let time = arrow::array::Array::is_valid(&times, row).then(|| times.value(row));
            self.by_time.add(moment(time), slot);
        }
        Ok(())
    }

    fn on_watermark(&mut self, _input: usize, bounds: &[Bound]) -> Result<()> {
        self.watermark = of(bounds, self.spec.time).unwrap_or(self.watermark);
        Ok(())
    }

    fn close_epoch(&mut self, _epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        self.sort()?;
        for slot in self.rows.take_touched() {
            match self.rows.get(slot).weight {
                0 => self.rows.remove(slot),
                _ => self.rows.keep(slot, 0),
            }
        }
        let mut closed = self.by_time.take(self.watermark);
        closed.retain(|slot| self.rows.is_held(*slot));
        let times = ordinals(&self.rows.column(self.spec.time, &closed)?)?;
        let closed: Vec<u32> =
            closed.into_iter().zip(&times).filter(|(_, time)| moment(*time) < self.watermark).map(|(s, _)| s).collect();
        for slots in closed.chunks(CHUNK) {
            let rows = columns::batch(&self.spec.schema, encoded(&self.rows, slots, &self.spec.schema)?, slots.len())?;
            let weights = slots.iter().map(|slot| self.rows.get(*slot).weight).collect();
            out.push(Changes::new(rows, compact(weights)));
            slots.iter().for_each(|slot| self.rows.remove(*slot));
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        self.rows.checkpoint()
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        self.unsorted = true;
        self.rows.restore(delta)
    }

    fn state_rows(&self) -> usize {
        self.rows.len()
    }

    fn state_bytes(&self) -> usize {
        // By time every row is named once.
        self.rows.bytes() + self.rows.len() * size_of::<u32>()
    }
}

/// The columns of held rows in the encoding of the schema.
pub(super) fn encoded(rows: &HeldRows, slots: &[u32], schema: &SchemaRef) -> Result<Vec<arrow::array::ArrayRef>> {
    let columns = rows.gather(slots)?.into_iter().zip(schema.fields());
    columns.map(|(array, field)| columns::encoded_as(array, field.data_type())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::operator::law::{Input, Law, Seen, Value, ZSet};

    const DELAY: i64 = 2;

    fn law() -> Law {
        let micros = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
        let schema = Schema::new(vec![Field::new("ts", micros, true), Field::new("k", DataType::Utf8, true)]);
        let schema = Arc::new(schema);
        let input = Input::new(schema.clone(), &[1]).insert_only();
        let make = move || -> Box<dyn Operator> {
            let spec = EmitOnCloseSpec { schema: schema.clone(), time: 0, route: vec![1] };
            let operator = EmitOnClose::new(&spec).unwrap();
            Box::new(operator)
        };
        // The rows behind the watermark that the epoch started with.
        let oracle = |seen: &Seen<'_>| -> ZSet {
            let before = seen.epochs[..seen.epochs.len() - 1].iter().flat_map(|epoch| epoch[0].keys());
            let latest = before.filter_map(|row| row[0].int()).max();
            let closed = |time: i64| latest.is_some_and(|latest| time < latest - DELAY);
            let rows = seen.totals[0].iter().filter(|(row, _)| row[0].int().is_some_and(closed));
            rows.map(|(row, weight)| (row.clone(), *weight)).collect()
        };
        Law::new(vec![input], make, oracle).timed(0, 0, DELAY)
    }

    #[test]
    fn rows_come_once_and_when_they_are_final() {
        law().check(60);
    }

    #[test]
    fn state_stays_bounded() {
        let row = |time, key: &str| (0, vec![Value::Int(time), Value::Text(key.into())]);
        law().stays_within(8, 100, &[row(0, "a"), row(0, "b"), row(1, "a")]);
    }
}
