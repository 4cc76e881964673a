//! JSON lines: files are cut into byte ranges, each line belongs to the range in which it begins.
//!
//! A batch of lines goes through Arrow's decoder as one piece. Only if that fails is it halved until the malformed lines
//! stand alone; so good data never pays for the search.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::reader::{Decoder, ReaderBuilder};

use super::files::{FileEntry, is_gzip};
use super::{BATCH_ROWS, BadRow, FileHandle};
use crate::error::{Error, Result};
use crate::options::{Options, bad_value};
use crate::source::value::{sql_name, timestamps};
use crate::source::{Read, SplitPosition, SplitReader};

mod lines;

use lines::{Line, Lines};

/// How the files are cut.
#[derive(Debug, Clone)]
pub(super) struct JsonFormat {
    split_bytes: u64,
}

impl JsonFormat {
    pub(super) fn create(options: &Options<'_>, schema: &SchemaRef) -> Result<Self> {
        let split_bytes = options.size("source.split-size").unwrap_or(16 << 20);
        if split_bytes == 0 {
            return Err(bad_value("source.split-size", "0", "a size greater than 0"));
        }
        if let Err(error) = ReaderBuilder::new(text_schema(schema)).build_decoder() {
            return Err(Error::sql("JSON files cannot hold a declared column").because(error));
        }
        Ok(Self { split_bytes })
    }

    /// Where the splits of a file begin.
    pub(super) fn begins(&self, file: &FileEntry) -> impl Iterator<Item = u64> + use<> {
        let end = if is_gzip(&file.name) { file.bytes.min(1) } else { file.bytes };
        let step = self.split_bytes;
        (0..end.div_ceil(step)).map(move |i| i * step)
    }

    pub(super) fn open(&self, file: FileHandle, begin: u64, from: SplitPosition) -> Result<Box<dyn SplitReader>> {
        let end = if is_gzip(&file.name) { u64::MAX } else { begin.saturating_add(self.split_bytes) };
        let lines = Lines::open(&file.path, begin, end, from.bytes)?;
        let schema = file.projected()?;
        let decoder = LineDecoder::new(schema)?;
        Ok(Box::new(JsonReader { file, lines, decoder, position: from, skipped: 0 }))
    }
}

/// Timestamps are decoded as text first: a bare number has no unit and is refused instead of guessed at.
fn text_schema(schema: &Schema) -> SchemaRef {
    let text = |field: &Arc<Field>| match field.data_type() {
        DataType::Timestamp(..) => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => field.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(text).collect::<Vec<_>>()))
}

/// Decodes whole lines, one object each.
struct LineDecoder {
    schema: SchemaRef,
    text_schema: SchemaRef,
    decoder: Decoder,
}

impl LineDecoder {
    fn new(schema: SchemaRef) -> Result<Self> {
        let text_schema = text_schema(&schema);
        let decoder = build(&text_schema)?;
        Ok(Self { schema, text_schema, decoder })
    }

    /// The rows of `lines`, or `None` if not every line is an object that fits the columns.
    fn decode(&mut self, text: &[u8], rows: usize) -> Result<Option<RecordBatch>> {
        let batch = match self.raw(text, rows) {
            Some(batch) => batch,
            None => {
                // After an error the decoder holds half a row.
                self.decoder = build(&self.text_schema)?;
                return Ok(None);
            }
        };
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (column, field) in batch.columns().iter().zip(self.schema.fields()) {
            columns.push(match field.data_type() {
                DataType::Timestamp(unit, zone) => {
                    let Some(micros) = timestamps(column.as_string_view()) else { return Ok(None) };
                    if (unit, zone) == (&TimeUnit::Microsecond, &None) {
                        micros
                    } else {
                        arrow::compute::cast(&micros, field.data_type())?
                    }
                }
                _ => column.clone(),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(Some(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?))
    }

    fn raw(&mut self, text: &[u8], rows: usize) -> Option<RecordBatch> {
        let taken = self.decoder.decode(text).ok()?;
        if taken != text.len() || self.decoder.has_partial_record() || self.decoder.len() != rows {
            return None;
        }
        self.decoder.flush().ok()?
    }
}

fn build(schema: &SchemaRef) -> Result<Decoder> {
    let builder = ReaderBuilder::new(schema.clone()).with_batch_size(BATCH_ROWS).with_coerce_primitive(true);
    Ok(builder.build_decoder()?)
}

/// Says what is wrong with a line that does not decode.
fn explain(schema: &SchemaRef, text: &[u8]) -> Result<BadRow> {
    let plain = |message: String| BadRow { message, column: None, value: None };
    let line = || String::from_utf8_lossy(text.trim_ascii()).into_owned();
    let object = match serde_json::from_slice::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(object)) => object,
        Ok(_) => return Ok(BadRow { value: Some(line()), ..plain("a line is not a JSON object".into()) }),
        Err(error) => {
            let message = format!("a line is not one JSON object (at character {}: {error})", error.column());
            return Ok(BadRow { value: Some(line()), ..plain(message) });
        }
    };
    for field in schema.fields() {
        let value = object.get(field.name()).filter(|value| !value.is_null());
        let mut alone = LineDecoder::new(Arc::new(Schema::new(vec![field.clone()])))?;
        if alone.decode(text, 1)?.is_some() {
            continue;
        }
        let message = match value {
            None => "NULL in a column that is NOT NULL".to_string(),
            Some(_) => format!("a value is not of the type {}", sql_name(field.data_type())),
        };
        let value = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string));
        return Ok(BadRow { message, column: Some(field.name().clone()), value });
    }
    Ok(BadRow { value: Some(line()), ..plain("a line cannot be decoded".into()) })
}

struct JsonReader {
    file: FileHandle,
    lines: Lines,
    decoder: LineDecoder,
    position: SplitPosition,
    skipped: u64,
}

impl JsonReader {
    /// Decodes lines, halving them where they do not decode; malformed ones are skipped or become the error.
    fn decode(&mut self, lines: &[Line], batches: &mut Vec<RecordBatch>) -> Result<()> {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(()) };
        let text = &self.lines.text()[first.start..last.end];
        if let Some(batch) = self.decoder.decode(text, lines.len())? {
            batches.push(batch);
            return Ok(());
        }
        if lines.len() > 1 {
            let (left, right) = lines.split_at(lines.len() / 2);
            self.decode(left, batches)?;
            return self.decode(right, batches);
        }
        if self.file.ignore_errors {
            self.skipped += 1;
            return Ok(());
        }
        let bad = explain(&self.decoder.schema, text)?;
        Err(self.file.bad_row(self.lines.offset_of(first), &bad))
    }
}

impl SplitReader for JsonReader {
    fn read(&mut self, max_rows: usize) -> Result<Read> {
        if !self.lines.next(max_rows.clamp(1, BATCH_ROWS))? {
            self.position.ended = true;
            return Ok(Read::End);
        }
        let mut batches = Vec::new();
        let lines = self.lines.take();
        let decoded = self.decode(&lines, &mut batches);
        self.position.rows += lines.len() as u64;
        self.position.bytes = self.lines.offset();
        self.lines.give_back(lines);
        decoded?;
        if batches.len() == 1 {
            return Ok(Read::Rows(batches.remove(0)));
        }
        Ok(Read::Rows(concat_batches(&self.decoder.schema, &batches)?))
    }

    fn position(&self) -> SplitPosition {
        self.position
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }
}
