//! CSV files: one split per file, read record by record into typed columns, only those that are wanted.

use std::io::Read as _;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter;
use arrow::datatypes::SchemaRef;
use csv::{ByteRecord, Reader, ReaderBuilder};

use super::files::{open_at, unreadable};
use super::{BATCH_BYTES, BATCH_ROWS, BadRow, FileHandle};
use crate::error::{Error, Result};
use crate::options::{Options, bad_value};
use crate::source::value::{TextColumn, sql_name, text_column};
use crate::source::{Read, SplitPosition, SplitReader};

type Input = Box<dyn std::io::Read + Send>;

/// How the files are written.
#[derive(Debug, Clone)]
pub(super) struct CsvFormat {
    header: bool,
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    comment: Option<u8>,
    null_literal: Option<Vec<u8>>,
}

impl CsvFormat {
    pub(super) fn create(options: &Options<'_>, schema: &SchemaRef) -> Result<Self> {
        for field in schema.fields() {
            if text_column(field.data_type()).is_none() {
                return Err(Error::sql(format!("CSV files cannot hold the type {}", sql_name(field.data_type())))
                    .with("column", field.name())
                    .hint("declare the column as VARCHAR, or use the format json or parquet"));
            }
        }
        let format = Self {
            header: options.boolean("csv.header"),
            delimiter: options.character("csv.field-delimiter").unwrap_or(b','),
            quote: options.character("csv.quote-character"),
            escape: options.character("csv.escape-character"),
            comment: options.character("csv.comment-character"),
            null_literal: options.text("csv.null-literal").map(|text| text.as_bytes().to_vec()),
        };
        if format.quote == Some(format.delimiter) {
            let quote = (format.delimiter as char).to_string();
            return Err(bad_value("csv.quote-character", &quote, "a character other than the field delimiter"));
        }
        Ok(format)
    }

    /// Whether the file can be opened and, if it names its columns, has those declared.
    pub(super) fn check(&self, file: &FileHandle) -> Result<()> {
        if !self.header {
            return Ok(());
        }
        let every = FileHandle { projection: (0..file.schema.fields().len()).collect(), ..file.clone() };
        let mut reader = self.reader(open_at(&file.path, 0)?);
        self.fields(&every, &mut reader).map(|_| ())
    }

    pub(super) fn open(&self, file: FileHandle, from: SplitPosition) -> Result<Box<dyn SplitReader>> {
        let mut reader = self.reader(open_at(&file.path, 0)?);
        let (fields, width) = self.fields(&file, &mut reader)?;
        if from.bytes > 0 {
            reader = self.reader(open_at(&file.path, from.bytes)?);
        }
        let schema = file.projected()?;
        let columns = schema.fields().iter().filter_map(|f| text_column(f.data_type())).collect();
        Ok(Box::new(CsvReader {
            format: self.clone(),
            base: from.bytes,
            position: from,
            file,
            reader,
            record: ByteRecord::new(),
            fields,
            width,
            schema,
            columns,
            skipped: 0,
        }))
    }

    fn reader(&self, input: Input) -> Reader<Input> {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).buffer_capacity(1 << 18).delimiter(self.delimiter);
        builder.escape(self.escape).comment(self.comment).quoting(self.quote.is_some());
        if let Some(quote) = self.quote {
            builder.quote(quote);
        }
        builder.from_reader(input)
    }

    /// For each wanted column the index of its field in a record, and the number of fields of a record.
    fn fields(&self, file: &FileHandle, reader: &mut Reader<Input>) -> Result<(Vec<usize>, usize)> {
        if !self.header {
            return Ok((file.projection.clone(), file.schema.fields().len()));
        }
        let mut record = ByteRecord::new();
        if !reader.read_byte_record(&mut record).map_err(|e| csv_error(file, e))? {
            return Ok((file.projection.clone(), 0));
        }
        let header: Vec<String> = record.iter().map(|name| String::from_utf8_lossy(name).trim().to_string()).collect();
        let find = |column: &usize| {
            let name = file.schema.field(*column).name();
            let exact = header.iter().position(|h| h == name);
            exact.or_else(|| header.iter().position(|h| h.eq_ignore_ascii_case(name))).ok_or_else(|| {
                Error::data("the header of a CSV file does not name a declared column")
                    .with("file", file.path.display())
                    .with("column", name)
                    .hint(format!("the header names {}", header.join(", ")))
            })
        };
        Ok((file.projection.iter().map(find).collect::<Result<_>>()?, header.len()))
    }
}

fn csv_error(file: &FileHandle, error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => unreadable(&file.path, error),
        other => Error::data(format!("cannot read the CSV file: {other:?}")).with("file", file.path.display()),
    }
}

struct CsvReader {
    format: CsvFormat,
    file: FileHandle,
    reader: Reader<Input>,
    /// Where `reader` began, in bytes of the (decompressed) file.
    base: u64,
    position: SplitPosition,
    record: ByteRecord,
    fields: Vec<usize>,
    width: usize,
    schema: SchemaRef,
    columns: Vec<Box<dyn TextColumn>>,
    skipped: u64,
}

impl CsvReader {
    /// Adds the record to the columns. If it is malformed, every column still grew by one, and the row must be dropped.
    fn append(&mut self) -> Result<(), BadRow> {
        let mut bad = None;
        if self.record.len() != self.width {
            let message = format!("a record has {} fields where {} are expected", self.record.len(), self.width);
            bad = Some(BadRow { message, column: None, value: None });
        }
        for (i, column) in self.columns.iter_mut().enumerate() {
            let text = if bad.is_none() { self.record.get(self.fields[i]) } else { None };
            let text = text.filter(|text| {
                let empty = text.is_empty() && !column.takes_empty();
                !empty && self.format.null_literal.as_deref() != Some(*text)
            });
            let fits = column.append(text);
            let field = self.schema.field(i);
            let message = match text {
                _ if bad.is_some() => continue,
                Some(_) if !fits => format!("a value is not of the type {}", sql_name(field.data_type())),
                None if !field.is_nullable() => "NULL in a column that is NOT NULL".to_string(),
                _ => continue,
            };
            let value = text.map(|text| String::from_utf8_lossy(text).into_owned());
            bad = Some(BadRow { message, column: Some(field.name().clone()), value });
        }
        bad.map_or(Ok(()), Err)
    }

    /// The offset of the record's first line: blank lines and comments may precede it.
    fn record_offset(&self) -> Result<u64> {
        let mut offset = self.position.bytes;
        let mut bytes = std::io::BufReader::new(open_at(&self.file.path, offset)?);
        let mut line_start = true;
        let mut comment = false;
        let mut byte = [0];
        while bytes.read(&mut byte).map_err(|e| unreadable(&self.file.path, e))? == 1 {
            let end_of_line = matches!(byte[0], b'\n' | b'\r');
            comment = !end_of_line && (comment || line_start && self.format.comment == Some(byte[0]));
            if !end_of_line && !comment {
                break;
            }
            line_start = end_of_line;
            offset += 1;
        }
        Ok(offset)
    }

    fn batch(&mut self, keep: Vec<bool>) -> Result<RecordBatch> {
        let mut columns = self.columns.iter_mut().map(|c| c.finish()).collect::<Result<Vec<ArrayRef>>>()?;
        let rows = keep.iter().filter(|k| **k).count();
        if rows < keep.len() {
            let keep = BooleanArray::from(keep);
            columns = columns.iter().map(|c| filter(c, &keep)).collect::<Result<_, _>>()?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

impl SplitReader for CsvReader {
    fn read(&mut self, max_rows: usize) -> Result<Read> {
        let max_rows = max_rows.clamp(1, BATCH_ROWS);
        let begin = self.position.bytes;
        let mut keep = Vec::with_capacity(max_rows);
        let mut kept = 0;
        while kept < max_rows && keep.len() < BATCH_ROWS && (self.position.bytes - begin) < BATCH_BYTES as u64 {
            if !self.reader.read_byte_record(&mut self.record).map_err(|e| csv_error(&self.file, e))? {
                self.position.ended = kept == 0;
                break;
            }
            let good = self.append();
            if let Err(bad) = &good {
                if !self.file.ignore_errors {
                    return Err(self.file.bad_row(self.record_offset()?, bad));
                }
                self.skipped += 1;
            }
            keep.push(good.is_ok());
            kept += usize::from(good.is_ok());
            self.position.rows += 1;
            self.position.bytes = self.base + self.reader.position().byte();
        }
        if kept > 0 {
            return Ok(Read::Rows(self.batch(keep)?));
        }
        if self.position.ended {
            return Ok(Read::End);
        }
        // Everything was malformed: drop it and let others have their turn.
        self.batch(keep).map(Read::Rows)
    }

    fn position(&self) -> SplitPosition {
        self.position
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }
}
