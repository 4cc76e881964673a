//! Prints the rows of a query, in the format that the user chose.
//!
//! Csv and json are written batch by batch while the query runs; a table has to know its widths and is collected first,
//! unless the reader prefers to see its beginning early.

mod csv;
mod json;
mod table;
mod value;
mod vertical;

use std::io::{self, BufWriter, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use crate::cli::Format;
use crate::failure::Failure;

pub use value::Values;

/// Prints results.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
}

/// Writes one result: its schema once, then its batches, then its end.
pub trait RowWriter {
    /// What stands before the rows.
    fn begin(&mut self, out: &mut dyn Write, schema: &SchemaRef) -> io::Result<()>;
    /// Some rows; they may be held back.
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()>;
    /// Writes what is held back.
    fn flush(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
    /// What is held back, and what stands behind the rows.
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// A writer for people who watch the result come: it holds back a limited number of rows.
pub fn interactive(format: Format, vertical: bool) -> Box<dyn RowWriter + Send> {
    match format {
        Format::Table if vertical => Box::new(vertical::VerticalWriter::default()),
        Format::Table => Box::new(table::TableWriter::streaming()),
        Format::Csv => Box::new(csv::CsvWriter),
        Format::Json => Box::new(json::JsonWriter),
    }
}

impl Output {
    /// Prints in this format.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints all rows and returns their number.
    pub async fn print(&self, mut rows: SendableRecordBatchStream) -> Result<usize, Failure> {
        let mut writer: Box<dyn RowWriter + Send> = match self.format {
            Format::Table => Box::new(table::TableWriter::default()),
            Format::Csv => Box::new(csv::CsvWriter),
            Format::Json => Box::new(json::JsonWriter),
        };
        let mut count = 0;
        to_stdout(|out| writer.begin(out, &rows.schema()))?;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(engine::Error::from)?;
            count += batch.num_rows();
            to_stdout(|out| writer.batch(out, &batch))?;
        }
        to_stdout(|out| writer.end(out))?;
        Ok(count)
    }
}

/// Writes and flushes, holding standard output only meanwhile: never across an await.
fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).map_err(Failure::output)
}

/// An Arrow error while writing, as the I/O error that it mostly is.
fn arrow_to_io(error: arrow::error::ArrowError) -> io::Error {
    match error {
        arrow::error::ArrowError::IoError(_, source) => source,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray};

    use super::*;

    /// Rows with every trap: NULLs, empty strings, quotes, line breaks, wide characters, fractions of a second.
    pub(super) fn sample() -> RecordBatch {
        let name = StringViewArray::from(vec![Some("plain"), Some(""), None, Some("a \"b\", c\nd"), Some("冰")]);
        let number = Int64Array::from(vec![Some(1), Some(-20), None, Some(300), Some(4)]);
        let real = Float64Array::from(vec![Some(1.0), Some(0.5), None, Some(f64::NAN), Some(-2e-7)]);
        let flag = BooleanArray::from(vec![Some(true), None, Some(false), None, None]);
        let time = TimestampMicrosecondArray::from(vec![Some(0), Some(1_500_000), None, None, Some(86_400_000_000)]);
        RecordBatch::try_from_iter([
            ("name", Arc::new(name) as ArrayRef),
            ("number", Arc::new(number)),
            ("real", Arc::new(real)),
            ("flag", Arc::new(flag)),
            ("time", Arc::new(time)),
        ])
        .unwrap()
    }

    pub(super) fn written(writer: &mut dyn RowWriter, batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        writer.begin(&mut out, &batches[0].schema()).unwrap();
        for batch in batches {
            writer.batch(&mut out, batch).unwrap();
        }
        writer.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
}
