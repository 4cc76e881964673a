//! Rows as COPY reads them, in pieces of any size.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::source::TextColumn;
use engine::sql::statement::{CopyFormat, CopyOptions};
use pgwire::api::Type;
use pgwire::error::{PgWireError, PgWireResult};

use super::columns::column;
use super::encode::BINARY_HEAD;
use super::split::{Found, Syntax, csv_row, text_row};
use crate::pg::error::{of_engine, plain};
use crate::pg::parameters;
use crate::pg::types::pg_type;
use crate::sqlstate::{INVALID_TEXT, NOT_SUPPORTED};

/// Rows of a batch.
const BATCH: usize = 8 * 1024;

/// What is malformed beyond a single value.
const BAD_FORMAT: &str = "22P04";

/// Reads rows.
pub struct Decoder {
    table: String,
    schema: SchemaRef,
    options: CopyOptions,
    columns: Vec<Box<dyn TextColumn>>,
    types: Vec<Type>,
    /// Bytes that are no whole row yet.
    rest: Vec<u8>,
    /// Rows in `columns`.
    rows: usize,
    /// Number of the line (of the row, in the binary format) that comes next.
    line: u64,
    /// The first line with the columns' names, or the head of the binary format, is still to come.
    head: bool,
    /// The mark that ends the rows has come.
    ended: bool,
}

impl Decoder {
    /// A decoder of rows with these columns.
    ///
    /// # Errors
    /// If a column is of a type that COPY does not know.
    pub fn new(table: &str, schema: SchemaRef, options: CopyOptions) -> PgWireResult<Self> {
        let known = |field: &arrow::datatypes::FieldRef| {
            let unknown = || {
                plain(
                    NOT_SUPPORTED,
                    format!("COPY cannot read the column {} of type {}", field.name(), field.data_type()),
                )
            };
            column(field.data_type()).ok_or_else(unknown)
        };
        let columns = schema.fields().iter().map(known).collect::<PgWireResult<Vec<_>>>()?;
        let types = schema.fields().iter().map(|field| pg_type(field.data_type())).collect();
        let head = options.header || options.format == CopyFormat::Binary;
        Ok(Self {
            table: table.to_owned(),
            schema,
            options,
            columns,
            types,
            rest: Vec::new(),
            rows: 0,
            line: 1,
            head,
            ended: false,
        })
    }

    /// Takes bytes; gives the batches that are full.
    pub fn push(&mut self, bytes: &[u8]) -> PgWireResult<Vec<RecordBatch>> {
        self.rest.extend_from_slice(bytes);
        let mut full = Vec::new();
        self.read(false, &mut full)?;
        Ok(full)
    }

    /// No more bytes come.
    pub fn finish(&mut self) -> PgWireResult<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        self.read(true, &mut batches)?;
        if !self.rest.is_empty() && !self.ended {
            return Err(self.malformed("the data ends within a row"));
        }
        if self.rows > 0 {
            batches.push(self.batch()?);
        }
        Ok(batches)
    }

    fn read(&mut self, last: bool, full: &mut Vec<RecordBatch>) -> PgWireResult<()> {
        let rest = std::mem::take(&mut self.rest);
        let mut at = 0;
        while !self.ended {
            let taken = match self.options.format {
                CopyFormat::Binary => self.binary(&rest[at..])?,
                _ => self.lines(&rest[at..], last)?,
            };
            if taken == 0 {
                break;
            }
            at += taken;
            if self.rows == BATCH {
                full.push(self.batch()?);
            }
        }
        if !self.ended {
            self.rest = rest[at..].to_vec();
        }
        Ok(())
    }

    /// Takes a row of text or CSV. Returns the number of its bytes, 0 if it is not whole.
    fn lines(&mut self, bytes: &[u8], last: bool) -> PgWireResult<usize> {
        let options = &self.options;
        let syntax = Syntax {
            delimiter: options.delimiter,
            null: options.null.as_bytes(),
            quote: options.quote,
            escape: options.escape,
        };
        let found = match options.format {
            CopyFormat::Csv => csv_row(bytes, &syntax, last),
            _ => text_row(bytes, &syntax, last),
        };
        let row = match found {
            Found::Row(row) => row,
            Found::End => {
                self.ended = true;
                return Ok(0);
            }
            Found::Partial => return Ok(0),
        };
        if !std::mem::take(&mut self.head) {
            if row.values.len() != self.columns.len() {
                let (given, wanted) = (row.values.len(), self.columns.len());
                let what = if given < wanted { "missing data for" } else { "extra data after" };
                return Err(
                    self.malformed(&format!("{what} the last expected column: {given} values for {wanted} columns"))
                );
            }
            for (place, value) in row.values.iter().enumerate() {
                self.append(place, value.as_deref())?;
            }
            self.rows += 1;
        }
        self.line += row.lines;
        Ok(row.taken)
    }

    /// Takes the head or a row of the binary format.
    fn binary(&mut self, bytes: &[u8]) -> PgWireResult<usize> {
        let mut reader = Bytes { bytes, at: 0 };
        if self.head {
            let Some(head) = reader.take(BINARY_HEAD.len()) else { return Ok(0) };
            if head[..11] != BINARY_HEAD[..11] {
                return Err(self.malformed("COPY file signature not recognized"));
            }
            let extension = u32::from_be_bytes([head[15], head[16], head[17], head[18]]) as usize;
            let Some(_) = reader.take(extension) else { return Ok(0) };
            self.head = false;
            return Ok(reader.at);
        }
        let Some(count) = reader.take(2) else { return Ok(0) };
        let count = i16::from_be_bytes([count[0], count[1]]);
        if count == -1 {
            self.ended = true;
            return Ok(0);
        }
        if usize::try_from(count) != Ok(self.columns.len()) {
            return Err(self.malformed(&format!("row field count is {count}, expected {}", self.columns.len())));
        }
        let mut values = Vec::with_capacity(self.columns.len());
        for _ in 0..count {
            let Some(length) = reader.take(4) else { return Ok(0) };
            let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            match usize::try_from(length) {
                Err(_) if length == -1 => values.push(None),
                Err(_) => return Err(self.malformed("invalid field size")),
                Ok(length) => match reader.take(length) {
                    Some(bytes) => values.push(Some(bytes)),
                    None => return Ok(0),
                },
            }
        }
        for (place, value) in values.into_iter().enumerate() {
            let text = match value {
                None => None,
                Some(bytes) => match parameters::binary(&self.types[place], bytes) {
                    Some(text) => Some(text),
                    None => return Err(self.bad_value(place, "its bytes are not of that type")),
                },
            };
            self.append(place, text.as_ref().map(String::as_bytes))?;
        }
        self.rows += 1;
        self.line += 1;
        Ok(reader.at)
    }

    fn append(&mut self, place: usize, value: Option<&[u8]>) -> PgWireResult<()> {
        if self.columns[place].append(value) {
            return Ok(());
        }
        let shown: String = String::from_utf8_lossy(value.unwrap_or_default()).chars().take(100).collect();
        Err(self.bad_value(place, &format!("{shown:?}")))
    }

    fn bad_value(&self, place: usize, what: &str) -> PgWireError {
        let column = self.schema.field(place).name();
        let message = format!("invalid input for type {}: {what}", self.types[place].name());
        self.at(plain(INVALID_TEXT, message), &format!(", column {column}"))
    }

    fn malformed(&self, message: &str) -> PgWireError {
        self.at(plain(BAD_FORMAT, message), "")
    }

    /// Says where, as PostgreSQL does.
    fn at(&self, error: PgWireError, place: &str) -> PgWireError {
        match error {
            PgWireError::UserError(mut info) => {
                info.where_context = Some(format!("COPY {}, line {}{place}", self.table, self.line));
                PgWireError::UserError(info)
            }
            other => other,
        }
    }

    fn batch(&mut self) -> PgWireResult<RecordBatch> {
        self.rows = 0;
        let columns = self.columns.iter_mut().map(|column| column.finish()).collect::<engine::Result<Vec<_>>>();
        let batch = columns.and_then(|columns| Ok(RecordBatch::try_new(self.schema.clone(), columns)?));
        batch.map_err(|error| of_engine(&error, ""))
    }
}

/// Bytes that are taken from the front.
struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }
}
