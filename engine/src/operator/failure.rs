//! What becomes of a value that cannot be computed, such as a number that overflows: it stops the job, or is NULL and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{Error, ErrorKind, Result};

/// Columns of a failing row that are shown.
const SHOWN_COLUMNS: usize = 8;
/// Characters of each that are shown.
const SHOWN_CHARACTERS: usize = 60;

/// What a row does for which an expression cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnError {
    /// It stops the job.
    #[default]
    Stop,
    /// The expression is NULL.
    Null,
}

impl OnError {
    /// The value of the setting `job.on-error`.
    pub fn from_setting(value: &str) -> Option<Self> {
        match value.to_ascii_lowercase().as_str() {
            "stop" | "fail" => Some(Self::Stop),
            "null" => Some(Self::Null),
            _ => None,
        }
    }
}

/// How many values became NULL because they could not be computed, since the plan was made. All clones count together.
#[derive(Debug, Clone, Default)]
pub struct Failures(Arc<AtomicU64>);

impl Failures {
    /// The count. A value that is computed again, because it is retracted or after a restart, counts again.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// So many values more.
    pub fn add(&self, values: u64) {
        self.0.fetch_add(values, Ordering::Relaxed);
    }
}

/// What an operator does with results that cannot be computed.
#[derive(Debug, Clone, Default)]
pub struct Failing {
    /// What they do.
    pub on_error: OnError,
    /// Where they are counted.
    pub failures: Failures,
}

impl Failing {
    /// The results for some items, one each. Where they cannot be computed together they are computed in halves, until those
    /// that fail stand alone: these are NULL, or stop everything with the error that `explain` makes of the item's.
    ///
    /// # Errors
    /// If a result cannot be computed and that is to stop the job, or for another reason than the data.
    pub fn results<T>(
        &self,
        items: &[T],
        data_type: &DataType,
        compute: &mut dyn FnMut(&[T]) -> Result<ArrayRef>,
        explain: &dyn Fn(&T, Error) -> Error,
    ) -> Result<ArrayRef> {
        match compute(items) {
            // Anything else is a defect, and no row is to blame.
            Err(error) if error.kind() == ErrorKind::Data => {
                let mut parts = Vec::new();
                self.by_halves(items, data_type, compute, explain, error, &mut parts)?;
                Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
            }
            done => done,
        }
    }

    fn by_halves<T>(
        &self,
        items: &[T],
        data_type: &DataType,
        compute: &mut dyn FnMut(&[T]) -> Result<ArrayRef>,
        explain: &dyn Fn(&T, Error) -> Error,
        error: Error,
        parts: &mut Vec<ArrayRef>,
    ) -> Result<()> {
        if let [item] = items {
            if self.on_error == OnError::Stop {
                return Err(explain(item, error));
            }
            self.failures.add(1);
            parts.push(new_null_array(data_type, 1));
            return Ok(());
        }
        let (first, second) = items.split_at(items.len() / 2);
        for half in [first, second].into_iter().filter(|half| !half.is_empty()) {
            match compute(half) {
                Ok(results) => parts.push(results),
                Err(error) if error.kind() == ErrorKind::Data => {
                    self.by_halves(half, data_type, compute, explain, error, parts)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Some columns of a batch's first row: `a = 1, b = 0`.
pub fn row_text(batch: &RecordBatch, mut columns: Vec<usize>) -> String {
    columns.sort_unstable();
    columns.dedup();
    let left_out = columns.len().saturating_sub(SHOWN_COLUMNS);
    columns.truncate(SHOWN_COLUMNS);
    let options = FormatOptions::new().with_null("NULL");
    let shown = columns.iter().filter_map(|index| {
        let (column, schema) = (batch.columns().get(*index)?, batch.schema());
        let text = ArrayFormatter::try_new(column.as_ref(), &options).ok()?.value(0).to_string();
        let short: String = text.chars().take(SHOWN_CHARACTERS).collect();
        let dots = if short.len() < text.len() { "..." } else { "" };
        Some(format!("{} = {short}{dots}", schema.field(*index).name()))
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if left_out > 0 {
        text.push_str(&format!(" and {left_out} more columns"));
    }
    text
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Int64Array};

    use super::*;

    /// Odd numbers cannot be computed.
    fn halves(items: &[i64]) -> Result<ArrayRef> {
        match items.iter().find(|item| **item % 2 != 0) {
            Some(odd) => Err(Error::data(format!("{odd} is odd"))),
            None => Ok(Arc::new(Int64Array::from_iter_values(items.iter().map(|item| item / 2)))),
        }
    }

    #[test]
    fn those_that_fail_stand_alone() {
        let explain = |item: &i64, error: Error| error.with("item", item);
        let null = Failing { on_error: OnError::Null, ..Failing::default() };
        let results = null.results(&[2, 3, 4, 5, 7], &DataType::Int64, &mut halves, &explain).unwrap();
        let wanted: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2), None, None]));
        assert_eq!((&results, null.failures.count()), (&wanted, 3));
        assert_eq!(null.results(&[], &DataType::Int64, &mut halves, &explain).unwrap().len(), 0);
        let stop = Failing::default();
        let error = stop.results(&[2, 4, 9], &DataType::Int64, &mut halves, &explain).unwrap_err().to_string();
        assert!(error.contains("9 is odd") && error.contains("item"), "{error}");
    }
}
