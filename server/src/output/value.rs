//! How single values look as text, the same in every text format.

use std::fmt;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, DurationFormat, FormatOptions};

use super::arrow_to_io;

/// The columns of a batch, ready to be written value by value.
pub struct Values<'a> {
    columns: Vec<(&'a dyn Array, ArrayFormatter<'a>)>,
}

impl<'a> Values<'a> {
    /// Prepares a batch. Fails for types that have no text form.
    pub fn new(batch: &'a RecordBatch) -> std::io::Result<Self> {
        let options = FormatOptions::new()
            .with_null("NULL")
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
            .with_datetime_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_duration_format(DurationFormat::Pretty);
        let columns = batch.columns().iter().map(|column| {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(arrow_to_io)?;
            Ok((column.as_ref(), formatter))
        });
        Ok(Self { columns: columns.collect::<std::io::Result<_>>()? })
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// A value, or `None` for NULL.
    pub fn get(&self, column: usize, row: usize) -> Option<impl fmt::Display + '_> {
        let (array, formatter) = &self.columns[column];
        array.is_valid(row).then(|| formatter.value(row))
    }
}
