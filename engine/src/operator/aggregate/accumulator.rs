//! What a call keeps per group, behind one small trait; and how a batch is fed to it.
//!
//! State is dense vectors indexed by group slot, updated for a whole batch at a time: the group of every row is looked
//! up once per batch and shared by all calls.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type};

use crate::change::Weights;
use crate::error::{Error, Result};

/// Which rows of a batch a call sees, and how often.
pub(crate) enum Feed<'a> {
    /// The rows that the mask lets through (all without one), with the batch's weights.
    Batch { mask: Option<&'a BooleanBuffer>, weights: &'a Weights },
    /// The rows whose value entered (+1) or left (-1) its group's set of distinct values.
    Distinct { rows: &'a [u32], deltas: &'a [i64] },
}

impl Feed<'_> {
    /// Calls `each(row, weight)` for every row seen, of a batch of `rows` rows.
    #[inline(always)]
    pub(super) fn each(&self, rows: usize, mut each: impl FnMut(usize, i64)) {
        match self {
            Self::Batch { mask: None, weights: Weights::Ones } => (0..rows).for_each(|row| each(row, 1)),
            Self::Batch { mask: None, weights: Weights::Each(weights) } => {
                weights.iter().enumerate().for_each(|(row, weight)| each(row, *weight));
            }
            Self::Batch { mask: Some(mask), weights: Weights::Ones } => mask.set_indices().for_each(|row| each(row, 1)),
            Self::Batch { mask: Some(mask), weights: Weights::Each(weights) } => {
                mask.set_indices().for_each(|row| each(row, weights[row]));
            }
            Self::Distinct { rows, deltas } => {
                rows.iter().zip(*deltas).for_each(|(row, delta)| each(*row as usize, *delta));
            }
        }
    }
}

/// The state of one call over all groups.
///
/// # Contract
/// - `resize` is called before slots up to its argument are used; a new slot is as a cleared one.
/// - `evaluate` and `state` are called between epochs' updates only, after `settle` of all groups updated.
pub(crate) trait Accumulator: Send + Sync {
    /// Makes room for group slots below `groups`.
    fn resize(&mut self, groups: usize);

    /// Adds the rows of a batch: row `r` belongs to group `groups[r]`; `arguments` have no NULL where the feed looks,
    /// unless the call is one that sees NULLs.
    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], feed: &Feed<'_>) -> Result<()>;

    /// All changes of the epoch to these groups are in.
    fn settle(&mut self, _groups: &[u32]) {}

    /// Forgets a group.
    fn clear(&mut self, group: u32);

    /// The results of the given groups.
    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef>;

    /// The columns in which the state of a group is kept.
    fn fields(&self) -> Vec<Field>;

    /// The state of the given groups, as `fields` says.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Puts back the state of the given groups.
    fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()>;

    /// Adds states that were made elsewhere, over other rows, to those of the given groups, which may repeat.
    fn merge(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()>;

    /// Estimate of the memory held, in bytes.
    fn bytes(&self) -> usize;
}

/// `count(x)`: how many rows are seen.
#[derive(Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl Accumulator for Count {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.counts, groups);
    }

    fn update(&mut self, groups: &[u32], _arguments: &[ArrayRef], feed: &Feed<'_>) -> Result<()> {
        feed.each(groups.len(), |row, weight| self.counts[groups[row] as usize] += weight);
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        self.counts[group as usize] = 0;
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(gather_i64(groups, |group| self.counts[group]))
    }

    fn fields(&self) -> Vec<Field> {
        vec![Field::new("count", DataType::Int64, true)]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let counts = state_column(columns, 0)?.as_primitive::<Int64Type>();
        groups.iter().zip(counts.values()).for_each(|(group, count)| self.counts[*group as usize] = *count);
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let counts = state_column(columns, 0)?.as_primitive::<Int64Type>();
        groups.iter().zip(counts.values()).for_each(|(group, count)| self.counts[*group as usize] += *count);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * 8
    }
}

/// The only argument of a call.
pub(super) fn only(arguments: &[ArrayRef]) -> Result<&ArrayRef> {
    match arguments {
        [argument] => Ok(argument),
        _ => Err(Error::internal(format!("an aggregate of one argument got {}", arguments.len()))),
    }
}

/// Extends a vector of per-group states to `groups` of them; never shrinks.
pub(super) fn grow<T: Default + Clone>(states: &mut Vec<T>, groups: usize) {
    if groups > states.len() {
        states.resize(groups, T::default());
    }
}

/// An array of one number per group.
pub(super) fn gather_i64(groups: &[u32], value: impl Fn(usize) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(groups.iter().map(|group| value(*group as usize))))
}

/// A column of restored state.
pub(super) fn state_column(columns: &[ArrayRef], at: usize) -> Result<&ArrayRef> {
    columns.get(at).ok_or_else(|| Error::internal("a column of aggregate state is missing"))
}

/// The array with one form of zero and one of NaN, so that what is shown does not depend on which form came first.
pub(crate) fn canonical(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float16 => arrow::compute::cast(array, &DataType::Float32)
            .ok()
            .and_then(|wide| arrow::compute::cast(&canonical(&wide), array.data_type()).ok())
            .unwrap_or_else(|| array.clone()),
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            Arc::new(array.unary::<_, Float32Type>(|value| if value.is_nan() { f32::NAN.abs() } else { value + 0.0 }))
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            Arc::new(array.unary::<_, Float64Type>(|value| if value.is_nan() { f64::NAN.abs() } else { value + 0.0 }))
        }
        _ => array.clone(),
    }
}
