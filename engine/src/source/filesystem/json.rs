//! JSON lines: files are cut into byte ranges, each line belongs to the range in which it begins.
//!
//! Tables of plain columns have a decoder of their own ([`flat`]), which is faster than Arrow's, reads only what is
//! wanted, and refuses what Arrow lets pass (`1.5` as a BIGINT). Nested columns go through Arrow's: a block of lines as
//! one piece, and only if that fails is it halved until the malformed lines stand alone.

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

mod flat;
mod lines;

use flat::{Fault, FlatDecoder};
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
        let decoder = match FlatDecoder::new(&schema) {
            Some(flat) => Decoding::Flat(flat),
            None => Decoding::Nested(LineDecoder::new(schema.clone())?),
        };
        Ok(Box::new(JsonReader { file, schema, lines, decoder, position: from, skipped: 0 }))
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

fn plain(message: impl Into<String>) -> BadRow {
    BadRow { message: message.into(), column: None, value: None }
}

/// What is wrong with a line that is not one JSON object, if that is what is wrong.
fn explain_syntax(text: &[u8]) -> Option<BadRow> {
    let message = match serde_json::from_slice::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(_)) => return None,
        Ok(_) => "a line is not a JSON object".to_string(),
        Err(error) => format!("a line is not one JSON object (at character {}: {error})", error.column()),
    };
    let line = String::from_utf8_lossy(text.trim_ascii()).into_owned();
    Some(BadRow { value: Some(line), ..plain(message) })
}

fn explain_fault(schema: &Schema, text: &[u8], fault: Fault) -> BadRow {
    let column = |i: usize| Some(schema.field(i).name().clone());
    match fault {
        Fault::Syntax => explain_syntax(text).unwrap_or_else(|| plain("a line is not one JSON object")),
        Fault::Repeated(i) => BadRow { column: column(i), ..plain("a key stands twice in an object") },
        Fault::Null(i) => BadRow { column: column(i), ..plain("NULL in a column that is NOT NULL") },
        Fault::Type(i, value) => {
            let message = format!("a value is not of the type {}", sql_name(schema.field(i).data_type()));
            BadRow { column: column(i), value: Some(value), ..plain(message) }
        }
    }
}

/// Says what is wrong with a line that Arrow does not decode.
fn explain_nested(schema: &SchemaRef, text: &[u8]) -> Result<BadRow> {
    if let Some(bad) = explain_syntax(text) {
        return Ok(bad);
    }
    let object: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    for field in schema.fields() {
        let mut alone = LineDecoder::new(Arc::new(Schema::new(vec![field.clone()])))?;
        if alone.decode(text, 1)?.is_some() {
            continue;
        }
        let value = object.get(field.name()).filter(|value| !value.is_null());
        let message = match value {
            None => "NULL in a column that is NOT NULL".to_string(),
            Some(_) => format!("a value is not of the type {}", sql_name(field.data_type())),
        };
        let value = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string));
        return Ok(BadRow { column: Some(field.name().clone()), value, ..plain(message) });
    }
    Ok(plain("a line cannot be decoded"))
}

enum Decoding {
    Flat(FlatDecoder),
    Nested(LineDecoder),
}

struct JsonReader {
    file: FileHandle,
    schema: SchemaRef,
    lines: Lines,
    decoder: Decoding,
    position: SplitPosition,
    skipped: u64,
}

impl JsonReader {
    fn decode(&mut self, lines: &[Line]) -> Result<RecordBatch> {
        let Decoding::Flat(decoder) = &mut self.decoder else {
            let mut batches = Vec::new();
            self.decode_nested(lines, &mut batches)?;
            return match batches.as_slice() {
                [one] => Ok(one.clone()),
                many => Ok(concat_batches(&self.schema, many)?),
            };
        };
        for line in lines {
            let text = &self.lines.text()[line.start..line.end];
            let Err(fault) = decoder.append(text) else { continue };
            if !self.file.ignore_errors {
                let bad = explain_fault(&self.schema, text, fault);
                return Err(self.file.bad_row(self.lines.offset_of(line), &bad));
            }
            self.skipped += 1;
        }
        decoder.batch()
    }

    /// Decodes lines, halving them where they do not decode; malformed ones are skipped or become the error.
    fn decode_nested(&mut self, lines: &[Line], batches: &mut Vec<RecordBatch>) -> Result<()> {
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(()) };
        let Decoding::Nested(decoder) = &mut self.decoder else { return Ok(()) };
        let text = &self.lines.text()[first.start..last.end];
        if let Some(batch) = decoder.decode(text, lines.len())? {
            batches.push(batch);
            return Ok(());
        }
        if lines.len() > 1 {
            let (left, right) = lines.split_at(lines.len() / 2);
            self.decode_nested(left, batches)?;
            return self.decode_nested(right, batches);
        }
        if self.file.ignore_errors {
            self.skipped += 1;
            return Ok(());
        }
        let bad = explain_nested(&self.schema, text)?;
        Err(self.file.bad_row(self.lines.offset_of(first), &bad))
    }
}

impl SplitReader for JsonReader {
    fn read(&mut self, max_rows: usize) -> Result<Read> {
        if !self.lines.next(max_rows.clamp(1, BATCH_ROWS))? {
            self.position.ended = true;
            return Ok(Read::End);
        }
        let lines = self.lines.take();
        let batch = self.decode(&lines);
        self.position.rows += lines.len() as u64;
        self.position.bytes = self.lines.offset();
        self.lines.give_back(lines);
        batch.map(Read::Rows)
    }

    fn position(&self) -> SplitPosition {
        self.position
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }
}
