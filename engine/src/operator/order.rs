//! The total order of the rows of a partition: by the columns asked for, then by all others, so that ties are broken the same
//! way whenever and wherever rows arrive.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::SortOptions;
use arrow::compute::kernels::cmp;
use arrow::datatypes::{DataType, SchemaRef};

use crate::error::{Error, Result};
use crate::rows::{NO_SLOT, RowStore};

/// Orders stored rows by some columns, then by all others.
#[derive(Debug)]
pub(super) struct RowOrder {
    by: Vec<(usize, SortOptions)>,
    /// Number of leading entries that were asked for.
    asked: usize,
    /// Values of the first column order by Arrow's kernels as they do in the store.
    comparable: bool,
}

impl RowOrder {
    pub(super) fn new(schema: &SchemaRef, order: &[(usize, SortOptions)]) -> Result<Self> {
        let width = schema.fields().len();
        if let Some((column, _)) = order.iter().find(|(column, _)| *column >= width) {
            return Err(Error::internal("an operator orders by a column that is not there").with("column", column));
        }
        let others = (0..width).filter(|column| order.iter().all(|(ordered, _)| ordered != column));
        let ascending = SortOptions { descending: false, nulls_first: false };
        let by = order.iter().copied().chain(others.map(|column| (column, ascending))).collect();
        let first = order.first().map(|(column, _)| schema.field(*column).data_type());
        let comparable = first.is_some_and(kernels_agree);
        Ok(Self { by, asked: order.len(), comparable })
    }

    /// Which of two rows comes first; equal only if all their columns are.
    pub(super) fn compare(&self, rows: &RowStore, left: u32, right: u32) -> Ordering {
        compare_by(&self.by, rows, left, right)
    }

    /// The order by the columns asked for alone: rows that it leaves equal are peers.
    pub(super) fn compare_peers(&self, rows: &RowStore, left: u32, right: u32) -> Ordering {
        compare_by(&self.by[..self.asked], rows, left, right)
    }

    /// The first column asked for.
    pub(super) fn first(&self) -> Option<(usize, SortOptions)> {
        self.by.first().copied().filter(|_| self.asked > 0)
    }

    /// For each row of a batch whether it surely comes after the stored row given for it, judged by the first column
    /// alone; `NO_SLOT` where there is none. `None` if nothing can be said.
    pub(super) fn surely_after(&self, rows: &RowStore, batch: &RecordBatch, than: &[u32]) -> Result<Option<Vec<bool>>> {
        let Some((column, options)) = self.by.first().filter(|_| self.asked > 0 && self.comparable) else {
            return Ok(None);
        };
        if than.iter().all(|slot| *slot == NO_SLOT) {
            return Ok(None);
        }
        // In place of a missing row any will do: what it says is ignored.
        let any = than.iter().copied().find(|slot| *slot != NO_SLOT).unwrap_or(0);
        let slots = than.iter().map(|slot| if *slot == NO_SLOT { any } else { *slot }).collect::<Vec<_>>();
        let cutoffs: ArrayRef = rows.gather_column(*column, &slots)?;
        let values = batch.column(*column);
        let cutoffs = crate::operator::columns::encoded_as(cutoffs, values.data_type())?;
        let after: BooleanArray =
            if options.descending { cmp::lt(values, &cutoffs)? } else { cmp::gt(values, &cutoffs)? };
        // NULL in either is left to the full comparison.
        let surely = |row: usize| than[row] != NO_SLOT && after.is_valid(row) && after.value(row);
        Ok(Some((0..values.len()).map(surely).collect()))
    }
}

fn compare_by(by: &[(usize, SortOptions)], rows: &RowStore, left: u32, right: u32) -> Ordering {
    for (column, options) in by {
        let ordering = match (rows.is_null(*column, left), rows.is_null(*column, right)) {
            (true, true) => continue,
            (true, false) if options.nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if options.nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if options.descending => rows.cmp(*column, right, left),
            (false, false) => rows.cmp(*column, left, right),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    Ordering::Equal
}

/// Whether Arrow's comparison kernels order values of a type as the row store does. Floats they order by their bits
/// (-0.0 before 0.0), and nested values not at all.
fn kernels_agree(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) | DataType::Dictionary(..) => false,
        DataType::Boolean | DataType::Decimal128(..) => true,
        other => other.is_integer() || other.is_temporal() || other.is_string() || other.is_binary(),
    }
}
