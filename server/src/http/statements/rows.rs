//! Rows as JSON: every value is text as PostgreSQL writes it, or null, so that nothing is lost to JSON's numbers.

use ::arrow::array::RecordBatch;
use ::arrow::datatypes::Schema;
use ::arrow::error::ArrowError;
use datafusion::execution::SendableRecordBatchStream;
use engine::sql::types::sql_name;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::http::error::Failed;
use crate::pg::values;

/// The first `limit` rows of a query; the query ends when they are there.
pub async fn collect(mut rows: SendableRecordBatchStream, limit: usize) -> Result<Value, Failed> {
    let columns = columns(&rows.schema());
    let mut collected: Vec<Value> = Vec::new();
    let mut truncated = false;
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(engine::Error::from)?;
        let room = limit - collected.len();
        truncated = batch.num_rows() > room;
        let batch = batch.slice(0, batch.num_rows().min(room));
        append(&batch, &mut collected).map_err(engine::Error::from)?;
        if truncated {
            break;
        }
    }
    let tag = format!("SELECT {}", collected.len());
    Ok(json!({"tag": tag, "columns": columns, "rows": collected, "truncated": truncated, "notice": null}))
}

fn columns(schema: &Schema) -> Vec<Value> {
    let column =
        |field: &::arrow::datatypes::FieldRef| json!({"name": field.name(), "type": sql_name(field.data_type())});
    schema.fields().iter().map(column).collect()
}

/// Adds the rows of a batch, each an array.
pub fn append(batch: &RecordBatch, rows: &mut Vec<Value>) -> Result<(), ArrowError> {
    let columns = batch.columns().iter().map(values::plain).collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        let cells = columns.iter().map(|column| {
            if values::is_null(column.as_ref(), row) {
                return Ok(Value::Null);
            }
            let mut text = String::new();
            values::write_text(column.as_ref(), row, &mut text)?;
            Ok(Value::String(text))
        });
        rows.push(Value::Array(cells.collect::<Result<Vec<_>, ArrowError>>()?));
    }
    Ok(())
}
