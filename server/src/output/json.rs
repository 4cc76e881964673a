//! JSON, one object per line, so that a reader can begin before the result is complete. NULL is `null`, never left out.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use engine::sql::functions::cast::cast_array;

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
        writer.write(&with_text_keys(batch)?).and_then(|()| writer.finish()).map_err(arrow_to_io)
    }

    fn end(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Maps by numbers or dates as maps by text, because names in JSON are text.
fn with_text_keys(batch: &RecordBatch) -> io::Result<RecordBatch> {
    let schema = batch.schema();
    let wanted: Vec<DataType> = schema.fields().iter().map(|field| text_keys(field.data_type())).collect();
    if wanted.iter().zip(schema.fields()).all(|(wanted, field)| wanted == field.data_type()) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().zip(&wanted).map(|(column, wanted)| cast_array(column, wanted, false));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    let fields = schema.fields().iter().zip(wanted).map(|(field, t)| Field::new(field.name(), t, true));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).map_err(arrow_to_io)
}

fn text_keys(data_type: &DataType) -> DataType {
    let field =
        |field: &FieldRef| Arc::new(Field::new(field.name(), text_keys(field.data_type()), field.is_nullable()));
    match data_type {
        DataType::List(item) => DataType::List(field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let key = match pair[0].data_type().is_string() {
                    true => pair[0].clone(),
                    false => Arc::new(Field::new(pair[0].name(), DataType::Utf8, false)),
                };
                let pair = DataType::Struct(vec![key, field(&pair[1])].into());
                DataType::Map(Arc::new(Field::new(entries.name(), pair, false)), *sorted)
            }
            _ => data_type.clone(),
        },
        other => other.clone(),
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
