//! JSON, one object per line, so that a reader can begin before the result is complete. NULL is `null`, never left out.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;

use super::{RowWriter, arrow_to_io};

/// Writes JSON lines.
#[derive(Debug)]
pub struct JsonWriter;

impl RowWriter for JsonWriter {
    fn begin(&mut self, _out: &mut dyn Write, _schema: &SchemaRef) -> io::Result<()> {
        Ok(())
    }

    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> io::Result<()> {
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
        writer.write(batch).and_then(|()| writer.finish()).map_err(arrow_to_io)
    }

    fn end(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample, written};
    use super::*;

    #[test]
    fn every_line_is_an_object_with_every_column() {
        let text = written(&mut JsonWriter, &[sample(), sample().slice(0, 1)]);
        let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 6);
        assert_eq!(rows[1]["name"], "");
        assert_eq!(rows[1]["number"], -20);
        assert_eq!(rows[2]["name"], serde_json::Value::Null);
        assert_eq!(rows[3]["name"], "a \"b\", c\nd");
        assert!(rows.iter().all(|row| row.as_object().is_some_and(|row| row.len() == 5)));
        assert_eq!(rows[5], rows[0]);
    }
}
