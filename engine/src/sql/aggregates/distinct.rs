//! DISTINCT in aggregates over windows: each value counts once, for as long as it is in the frame.

use std::collections::HashMap;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::filter;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::scalar::ScalarValue;

use super::{Exact, direct};
use crate::operator::aggregate::canonical;

pub(super) fn accumulator(exact: &Exact, args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
    let types = args.expr_fields.iter().map(|field| SortField::new(field.data_type().clone()));
    let values = RowConverter::new(types.collect())?;
    Ok(Box::new(Distinct { values, counts: HashMap::new(), inner: direct::single(exact, args)? }))
}

/// The values that there are, and an accumulator that has been given each of them once.
#[derive(Debug)]
struct Distinct {
    values: RowConverter,
    counts: HashMap<OwnedRow, usize>,
    inner: Box<dyn Accumulator>,
}

impl Distinct {
    /// The rows whose values `changes` says to be new or gone.
    fn those(
        &mut self,
        columns: &[ArrayRef],
        mut changes: impl FnMut(&mut HashMap<OwnedRow, usize>, OwnedRow) -> bool,
    ) -> Result<Vec<ArrayRef>> {
        let columns: Vec<ArrayRef> = columns.iter().map(canonical).collect();
        let rows = self.values.convert_columns(&columns)?;
        let counts = &mut self.counts;
        let those: BooleanArray = rows.iter().map(|row| Some(changes(counts, row.owned()))).collect();
        Ok(columns.iter().map(|column| filter(column, &those)).collect::<Result<_, _>>()?)
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let new = self.those(values, |counts, value| {
            let count = counts.entry(value).or_default();
            *count += 1;
            *count == 1
        })?;
        self.inner.update_batch(&new)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = self.those(values, |counts, value| match counts.get_mut(&value) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => counts.remove(&value).is_some(),
        })?;
        self.inner.retract_batch(&gone)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("a window's aggregate with DISTINCT is computed in one piece")
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("a window's aggregate with DISTINCT is computed in one piece")
    }

    fn size(&self) -> usize {
        let value = |value: &OwnedRow| size_of::<(OwnedRow, usize)>() + value.as_ref().len();
        size_of_val(self) + self.inner.size() + self.counts.keys().map(value).sum::<usize>()
    }
}
