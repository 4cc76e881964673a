//! The sink for eyes: one line per appearing or disappearing row.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::change::Changes;
use crate::error::{Error, ErrorKind, Result};
use crate::operator::Epoch;
use crate::sink::{Sink, SinkFactory};

/// Writes `+I(...)` and `-D(...)` lines. A row of weight 2 gives two lines.
///
/// Within an epoch the lines of disappearing rows come before those of appearing ones, so that whoever replays the
/// lines by key never removes a row's successor.
pub struct Print<W> {
    out: W,
    prefix: String,
}

impl<W: Write + Send> Print<W> {
    /// Writes to `out`; with an identifier, each line begins with it and `> `.
    pub fn new(out: W, identifier: Option<&str>) -> Self {
        Self { out, prefix: identifier.map_or_else(String::new, |i| format!("{i}> ")) }
    }

    fn lines(&self, changes: &[Changes], appearing: bool, text: &mut Vec<u8>) -> Result<()> {
        let format = FormatOptions::new()
            .with_null("NULL")
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_display_error(true);
        for changes in changes {
            let columns = formatters(changes.rows(), &format)?;
            for row in (0..changes.len()).filter(|row| (changes.weight(*row) > 0) == appearing) {
                let start = text.len();
                text.extend_from_slice(self.prefix.as_bytes());
                text.extend_from_slice(if appearing { b"+I(" } else { b"-D(" });
                for (i, column) in columns.iter().enumerate() {
                    let separator = if i == 0 { "" } else { ", " };
                    write!(text, "{separator}{}", column.value(row)).map_err(write_error)?;
                }
                text.extend_from_slice(b")\n");
                let line = start..text.len();
                for _ in 1..changes.weight(row).unsigned_abs() {
                    text.extend_from_within(line.clone());
                }
            }
        }
        Ok(())
    }
}

fn formatters<'a>(rows: &'a RecordBatch, format: &FormatOptions<'a>) -> Result<Vec<ArrayFormatter<'a>>> {
    Ok(rows.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), format)).collect::<Result<Vec<_>, _>>()?)
}

fn write_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "cannot write to the output of a print table").because(error)
}

impl<W: Write + Send> Sink for Print<W> {
    fn write(&mut self, _epoch: Epoch, changes: &[Changes]) -> Result<()> {
        let mut text = Vec::new();
        self.lines(changes, false, &mut text)?;
        self.lines(changes, true, &mut text)?;
        self.out.write_all(&text).and_then(|()| self.out.flush()).map_err(write_error)
    }
}

/// Opens printers on standard output.
#[derive(Debug)]
pub struct PrintFactory {
    identifier: Option<String>,
}

impl PrintFactory {
    /// See [`Print::new`].
    pub fn new(identifier: Option<String>) -> Self {
        Self { identifier }
    }
}

impl SinkFactory for PrintFactory {
    fn open(&self, _task: usize) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Print::new(std::io::stdout(), self.identifier.as_deref())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;

    #[test]
    fn lines_of_an_epoch() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8View, true),
            Field::new("c", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        ]));
        let rows = RecordBatch::try_new(
            schema,
            vec![
                Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
                Arc::new(StringViewArray::from(vec!["x", "y", "z"])),
                Arc::new(TimestampMicrosecondArray::from(vec![Some(0), Some(1_500_000), None])),
            ],
        )
        .unwrap();
        let changes = Changes::weighted(rows, vec![1, -1, 2]);
        let mut out = Vec::new();
        let epoch = Epoch { number: 1, timestamp_ms: 0 };
        Print::new(&mut out, Some("id")).write(epoch, &[changes]).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "id> -D(NULL, y, 1970-01-01 00:00:01.500)\nid> +I(1, x, 1970-01-01 00:00:00)\nid> +I(3, z, NULL)\nid> +I(3, z, NULL)\n"
        );
    }
}
