//! A wrapper that holds any operator to its contract while it runs; for debug builds and tests.
//!
//! A breach becomes an `Internal` error that names the operator and the clause, instead of wrong results far downstream.

use std::collections::HashSet;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use storage::types::RowEncoder;

use crate::change::Changes;
use crate::error::{Error, Result};
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta};
use crate::watermark::{self, Bound};

/// Outputs with more rows than this are not checked for consolidation.
const LARGE: usize = 100_000;

/// What the operator did last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Restoring,
    Open,
    Closed,
}

/// An operator under observation.
pub struct Checked<O> {
    operator: O,
    info: OperatorInfo,
    inputs: Vec<SchemaRef>,
    phase: Phase,
    last: Option<Epoch>,
    /// The watermarks of every input.
    bounds: Vec<Vec<Bound>>,
}

impl<O: Operator> Checked<O> {
    /// Wraps `operator`, whose inputs have the schemas `inputs`.
    pub fn new(operator: O, inputs: Vec<SchemaRef>) -> Self {
        let info = operator.info();
        let bounds = vec![vec![]; inputs.len()];
        Self { operator, info, inputs, phase: Phase::Restoring, last: None, bounds }
    }

    fn breach(&self, what: impl Into<String>) -> Error {
        let error = Error::internal(format!("the contract of operators is broken: {}", what.into()));
        error.with("operator", self.info.name).hint("this is a defect of the program; please report it")
    }

    fn require(&self, holds: bool, what: &str) -> Result<()> {
        if holds { Ok(()) } else { Err(self.breach(what)) }
    }

    fn stateful(&self) -> bool {
        !self.info.state.is_empty()
    }

    fn check_output(&self, out: &[Changes]) -> Result<()> {
        for changes in out {
            if types(&changes.schema()) != types(&self.info.schema) {
                let what = format!("it emitted {:?} instead of {:?}", changes.schema(), self.info.schema);
                return Err(self.breach(what));
            }
            self.require((0..changes.len()).all(|row| changes.weight(row) != 0), "it emitted a weight of 0")?;
        }
        Ok(())
    }

    /// No row twice in what one `close_epoch` emitted, unless every weight is 1.
    fn check_consolidated(&self, out: &[Changes]) -> Result<()> {
        let rows = out.iter().map(Changes::len).sum::<usize>();
        if rows > LARGE || out.iter().all(|changes| (0..changes.len()).all(|row| changes.weight(row) == 1)) {
            return Ok(());
        }
        let types = self.info.schema.fields().iter().map(|field| field.data_type());
        let Ok(encoder) = RowEncoder::new(types) else { return Ok(()) };
        let mut seen = HashSet::with_capacity(rows);
        for changes in out {
            if changes.rows().num_columns() == 0 {
                self.require(rows <= 1, "it emitted the row without columns twice in one epoch")?;
                continue;
            }
            let encoded = encoder.encode(changes.rows().columns())?;
            for (index, row) in encoded.iter().enumerate() {
                if !seen.insert(row.owned()) {
                    let row = changes.rows().slice(index, 1);
                    return Err(self.breach(format!("it emitted a row twice in one epoch: {:?}", row.columns())));
                }
            }
        }
        Ok(())
    }

    fn check_delta(&self, delta: &StateDelta) -> Result<()> {
        let Some(table) = self.info.state.get(delta.table) else {
            return Err(self.breach(format!("it has no state table {}", delta.table)));
        };
        if types(&delta.rows.schema()) != types(&table.schema) {
            return Err(self.breach(format!("rows of state table {} have another schema", table.name)));
        }
        let rows = delta.rows.num_rows();
        self.require(
            delta.vnodes.len() == rows && delta.deleted.len() == rows,
            "a state delta's parts differ in length",
        )
    }
}

fn types(schema: &Schema) -> Vec<(&str, &DataType)> {
    schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect()
}

impl<O: Operator> Operator for Checked<O> {
    fn info(&self) -> OperatorInfo {
        self.info.clone()
    }

    fn on_changes(&mut self, input: usize, changes: Changes, out: &mut Vec<Changes>) -> Result<()> {
        let schema = self.inputs.get(input).ok_or_else(|| self.breach(format!("it has no input {input}")))?;
        let same =
            schema.fields().iter().map(|f| f.data_type()).eq(changes.schema().fields().iter().map(|f| f.data_type()));
        if !same {
            return Err(self.breach(format!("input {input} got {:?} instead of {schema:?}", changes.schema())));
        }
        self.require((0..changes.len()).all(|row| changes.weight(row) != 0), "it was given a weight of 0")?;
        for bound in &self.bounds[input] {
            let least = watermark::least(changes.rows().column(bound.column));
            let keeps = least.is_none_or(|least| least >= bound.watermark);
            self.require(keeps, &format!("input {input} brought {least:?} behind its watermark {bound:?}"))?;
        }
        self.phase = Phase::Open;
        let before = out.len();
        self.operator.on_changes(input, changes, out)?;
        let emitted = out.get(before..).ok_or_else(|| self.breach("it took away what others had emitted"))?;
        self.require(!self.stateful() || emitted.is_empty(), "it keeps state but emitted before the epoch closed")?;
        self.check_output(emitted)
    }

    fn on_watermark(&mut self, input: usize, bounds: &[Bound]) -> Result<()> {
        let before = self.bounds.get(input).ok_or_else(|| self.breach(format!("it has no input {input}")))?;
        let back = bounds.iter().find(|b| watermark::of(before, b.column).is_some_and(|w| w > b.watermark));
        self.require(back.is_none(), &format!("a watermark of input {input} goes back: {bounds:?} after {before:?}"))?;
        self.bounds[input] = bounds.to_vec();
        self.operator.on_watermark(input, bounds)
    }

    fn next_moment(&self) -> Option<i64> {
        self.operator.next_moment()
    }

    fn close_epoch(&mut self, epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        if let Some(last) = self.last {
            let follows = epoch.number == last.number + 1 && epoch.timestamp_ms >= last.timestamp_ms;
            self.require(follows, &format!("{epoch:?} does not follow {last:?}"))?;
        }
        let arrived = self.phase == Phase::Open;
        (self.last, self.phase) = (Some(epoch), Phase::Closed);
        let before = out.len();
        self.operator.close_epoch(epoch, out)?;
        let emitted = out.get(before..).ok_or_else(|| self.breach("it took away what others had emitted"))?;
        let owed = self.stateful() || arrived;
        self.require(owed || emitted.is_empty(), "it keeps no state but emitted when nothing had come")?;
        self.check_output(emitted)?;
        self.check_consolidated(emitted)
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        self.require(self.phase != Phase::Open, "it was saved in the middle of an epoch")?;
        let deltas = self.operator.checkpoint()?;
        deltas.iter().try_for_each(|delta| self.check_delta(delta))?;
        Ok(deltas)
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        self.require(self.phase == Phase::Restoring, "it was restored after it had started")?;
        self.check_delta(&delta)?;
        self.operator.restore(delta)
    }

    fn state_rows(&self) -> usize {
        self.operator.state_rows()
    }

    fn state_bytes(&self) -> usize {
        self.operator.state_bytes()
    }
}

impl<O: Operator + ?Sized> Operator for Box<O> {
    fn info(&self) -> OperatorInfo {
        (**self).info()
    }

    fn on_watermark(&mut self, input: usize, bounds: &[Bound]) -> Result<()> {
        (**self).on_watermark(input, bounds)
    }

    fn next_moment(&self) -> Option<i64> {
        (**self).next_moment()
    }

    fn on_changes(&mut self, input: usize, changes: Changes, out: &mut Vec<Changes>) -> Result<()> {
        (**self).on_changes(input, changes, out)
    }

    fn close_epoch(&mut self, epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        (**self).close_epoch(epoch, out)
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        (**self).checkpoint()
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        (**self).restore(delta)
    }

    fn state_rows(&self) -> usize {
        (**self).state_rows()
    }

    fn state_bytes(&self) -> usize {
        (**self).state_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::Field;

    use super::*;
    use crate::operator::StateTable;

    /// Emits the given weights of one row, as stateful or stateless operators should or should not.
    struct Emits {
        info: OperatorInfo,
        early: Vec<i64>,
        late: Vec<i64>,
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]))
    }

    fn changes(weights: &[i64]) -> Vec<Changes> {
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![1; weights.len()]))]).unwrap();
        if weights.is_empty() { vec![] } else { vec![Changes::weighted(rows, weights.to_vec())] }
    }

    impl Operator for Emits {
        fn info(&self) -> OperatorInfo {
            self.info.clone()
        }
        fn on_changes(&mut self, _: usize, _: Changes, out: &mut Vec<Changes>) -> Result<()> {
            out.extend(changes(&self.early));
            Ok(())
        }
        fn close_epoch(&mut self, _: Epoch, out: &mut Vec<Changes>) -> Result<()> {
            out.extend(changes(&self.late));
            Ok(())
        }
        fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
            Ok(vec![])
        }
        fn restore(&mut self, _: StateDelta) -> Result<()> {
            Ok(())
        }
        fn state_rows(&self) -> usize {
            0
        }
    }

    fn checked(stateful: bool, early: &[i64], late: &[i64]) -> Checked<Box<dyn Operator>> {
        let table = StateTable { name: "t", schema: schema(), key_len: 1 };
        let state = if stateful { vec![table] } else { vec![] };
        let info = OperatorInfo { name: "Emits", schema: schema(), state };
        Checked::new(Box::new(Emits { info, early: early.to_vec(), late: late.to_vec() }), vec![schema()])
    }

    fn epoch(number: u64) -> Epoch {
        Epoch { number, timestamp_ms: 0 }
    }

    fn run(mut operator: Checked<Box<dyn Operator>>) -> Result<()> {
        let mut out = Vec::new();
        operator.on_changes(0, changes(&[1]).remove(0), &mut out)?;
        operator.close_epoch(epoch(1), &mut out)
    }

    #[test]
    fn finds_breaches() {
        let says = |outcome: Result<()>, text: &str| {
            let message = outcome.unwrap_err().to_string();
            assert!(message.contains(text) && message.contains("Emits"), "{message}");
        };
        run(checked(true, &[], &[-1])).unwrap();
        run(checked(true, &[], &[1, 1])).unwrap();
        run(checked(false, &[1, -1], &[])).unwrap();
        says(run(checked(true, &[], &[1, -1])), "twice");
        says(run(checked(true, &[], &[2, 2])), "twice");
        says(run(checked(true, &[], &[0])), "weight of 0");
        says(run(checked(true, &[1], &[])), "before the epoch closed");
        run(checked(false, &[], &[1])).unwrap();
        says(checked(false, &[], &[1]).close_epoch(epoch(1), &mut vec![]), "keeps no state");
        let mut operator = checked(false, &[], &[]);
        operator.close_epoch(epoch(4), &mut vec![]).unwrap();
        says(operator.close_epoch(epoch(6), &mut vec![]), "does not follow");
        says(
            operator.restore(StateDelta {
                table: 0,
                vnodes: vec![],
                deleted: vec![],
                rows: RecordBatch::new_empty(schema()),
            }),
            "started",
        );
        operator.on_changes(0, changes(&[1]).remove(0), &mut vec![]).unwrap();
        says(operator.checkpoint().map(|_| ()), "middle");
        says(operator.on_changes(1, changes(&[1]).remove(0), &mut vec![]), "no input 1");
    }
}
