//! Rows as COPY writes them. Each row is a message of its own, as PostgreSQL sends them.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::{BufMut, Bytes, BytesMut};
use engine::sql::statement::{CopyFormat, CopyOptions};
use pgwire::api::portal::Format;

use crate::pg::types::fields;
use crate::pg::values::{self, write_text};

/// Begins a file in the binary format: signature, flags, length of an extension (PostgreSQL 16, COPY, "Binary Format").
pub const BINARY_HEAD: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Writes rows.
pub struct Encoder {
    schema: SchemaRef,
    options: CopyOptions,
}

impl Encoder {
    /// An encoder of rows with these columns.
    pub fn new(schema: SchemaRef, options: CopyOptions) -> Self {
        Self { schema, options }
    }

    /// What comes before the rows.
    pub fn head(&self) -> Option<Bytes> {
        if self.options.format == CopyFormat::Binary {
            return Some(Bytes::from_static(BINARY_HEAD));
        }
        self.options.header.then(|| {
            let mut line = String::new();
            for (place, field) in self.schema.fields().iter().enumerate() {
                self.separate(place, &mut line);
                self.write(field.name(), &mut line);
            }
            line.push('\n');
            line.into_bytes().into()
        })
    }

    /// What comes after them.
    pub fn tail(&self) -> Option<Bytes> {
        (self.options.format == CopyFormat::Binary).then(|| Bytes::from_static(&[0xff, 0xff]))
    }

    /// The rows of a batch.
    pub fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<Bytes>, ArrowError> {
        if self.options.format == CopyFormat::Binary {
            let fields = fields(&self.schema, &Format::UnifiedBinary);
            let rows = values::rows(batch, &fields)?.into_iter().map(|row| {
                let mut line = BytesMut::with_capacity(2 + row.data.len());
                line.put_i16(row.field_count);
                line.extend_from_slice(&row.data);
                line.freeze()
            });
            return Ok(rows.collect());
        }
        let columns = batch.columns().iter().map(values::plain).collect::<Result<Vec<_>, _>>()?;
        let mut lines = Vec::with_capacity(batch.num_rows());
        let mut value = String::new();
        for row in 0..batch.num_rows() {
            let mut line = String::new();
            for (place, column) in columns.iter().enumerate() {
                self.separate(place, &mut line);
                if values::is_null(column.as_ref(), row) {
                    line.push_str(&self.options.null);
                    continue;
                }
                value.clear();
                write_text(column.as_ref(), row, &mut value)?;
                self.write(&value, &mut line);
            }
            line.push('\n');
            lines.push(line.into_bytes().into());
        }
        Ok(lines)
    }

    fn separate(&self, place: usize, line: &mut String) {
        if place > 0 {
            line.push(char::from(self.options.delimiter));
        }
    }

    fn write(&self, value: &str, line: &mut String) {
        match self.options.format {
            CopyFormat::Csv => self.write_csv(value, line),
            _ => self.write_escaped(value, line),
        }
    }

    fn write_escaped(&self, value: &str, line: &mut String) {
        for c in value.chars() {
            match c {
                '\\' => line.push_str("\\\\"),
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                '\t' => line.push_str("\\t"),
                '\u{8}' => line.push_str("\\b"),
                '\u{c}' => line.push_str("\\f"),
                '\u{b}' => line.push_str("\\v"),
                c if c == char::from(self.options.delimiter) => line.extend(['\\', c]),
                c => line.push(c),
            }
        }
    }

    fn write_csv(&self, value: &str, line: &mut String) {
        let (quote, escape) = (char::from(self.options.quote), char::from(self.options.escape));
        let special = |c: char| c == char::from(self.options.delimiter) || c == quote || matches!(c, '\n' | '\r');
        // A line that is nothing but `\.` would end the rows.
        if value != self.options.null && !value.contains(special) && value != "\\." {
            line.push_str(value);
            return;
        }
        line.push(quote);
        for c in value.chars() {
            if c == quote || c == escape {
                line.push(escape);
            }
            line.push(c);
        }
        line.push(quote);
    }
}
