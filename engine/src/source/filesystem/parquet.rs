//! Parquet files: one split per row group, columns matched by name and decoded only if wanted.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::files::unreadable;
use super::{BATCH_ROWS, FileHandle, is_text};
use crate::error::{Error, ErrorKind, Result};
use crate::source::value::sql_name;
use crate::source::{Read, SplitPosition, SplitReader};

/// What is known of the files: footers are read once, since files do not change.
#[derive(Debug, Default)]
pub(super) struct ParquetFormat {
    footers: Mutex<HashMap<String, ArrowReaderMetadata>>,
}

impl ParquetFormat {
    pub(super) fn create(_schema: &SchemaRef) -> Result<Self> {
        Ok(Self::default())
    }

    /// Number of row groups. Checks the file's columns against those declared.
    pub(super) fn row_groups(&self, file: &FileHandle) -> Result<usize> {
        Ok(self.footer(file)?.metadata().num_row_groups())
    }

    /// Number of rows.
    pub(super) fn rows(&self, file: &FileHandle) -> Result<u64> {
        Ok(self.footer(file)?.metadata().file_metadata().num_rows().max(0) as u64)
    }

    fn footer(&self, file: &FileHandle) -> Result<ArrowReaderMetadata> {
        let mut footers = self.footers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(footer) = footers.get(&file.name) {
            return Ok(footer.clone());
        }
        let footer = load(&file.path, &file.schema)?;
        footers.insert(file.name.clone(), footer.clone());
        Ok(footer)
    }

    pub(super) fn open(&self, file: FileHandle, group: usize, from: SplitPosition) -> Result<Box<dyn SplitReader>> {
        let footer = self.footer(&file)?;
        if group >= footer.metadata().num_row_groups() {
            return Err(Error::data("a Parquet file has fewer row groups than before")
                .with("file", file.path.display())
                .hint("files must not change once they are seen"));
        }
        let schema = file.projected()?;
        let rows = footer.metadata().row_group(group).num_rows().max(0) as u64;
        Ok(Box::new(ParquetReader { file, footer, group, rows, schema, position: from, batches: None, rest: None }))
    }
}

/// Reads a footer and checks that every declared column is there with a type that can become the declared one.
fn load(path: &Path, declared: &SchemaRef) -> Result<ArrowReaderMetadata> {
    let file = File::open(path).map_err(|e| unreadable(path, e))?;
    let bad = |error| Error::data("not a readable Parquet file").with("file", path.display()).because(error);
    let footer = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(bad)?;
    for field in declared.fields() {
        let found = footer.schema().field_with_name(field.name()).map_err(|_| {
            let names = footer.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>();
            Error::data("a Parquet file does not have a declared column")
                .with("file", path.display())
                .with("column", field.name())
                .hint(format!("the file has {}", names.join(", ")))
        })?;
        if !compatible(found.data_type(), field.data_type()) {
            return Err(Error::data(format!(
                "a column of a Parquet file is {}, declared is {}",
                sql_name(found.data_type()),
                sql_name(field.data_type())
            ))
            .with("file", path.display())
            .with("column", field.name()));
        }
    }
    let views = Arc::new(with_declared_views(footer.schema(), declared));
    let options = ArrowReaderOptions::new().with_schema(views);
    ArrowReaderMetadata::try_new(footer.metadata().clone(), options).map_err(bad)
}

/// The file's schema, but with text and binary read right into the declared kind of array.
fn with_declared_views(file: &Schema, declared: &Schema) -> Schema {
    let adapt = |field: &Arc<Field>| {
        let wanted = declared.field_with_name(field.name()).ok().map(Field::data_type);
        let plain = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let binary = |t: &DataType| matches!(t, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
        match wanted {
            Some(wanted)
                if plain(field.data_type()) && plain(wanted) || binary(field.data_type()) && binary(wanted) =>
            {
                Arc::new(field.as_ref().clone().with_data_type(wanted.clone()))
            }
            _ => field.clone(),
        }
    };
    let fields = file.fields().iter().map(adapt).collect::<Vec<_>>();
    Schema::new_with_metadata(fields, file.metadata().clone())
}

/// Whether every value of the file's type that fits the declared type means the same there.
fn compatible(file: &DataType, declared: &DataType) -> bool {
    use DataType as T;
    if let T::Dictionary(_, values) = file {
        return compatible(values, declared);
    }
    let decimal =
        |t: &DataType| matches!(t, T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..));
    let binary = |t: &DataType| matches!(t, T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_));
    file == declared
        || is_text(file) && is_text(declared)
        || binary(file) && binary(declared)
        || file.is_integer() && (declared.is_integer() || declared.is_floating() || decimal(declared))
        || file.is_floating() && declared.is_floating()
        || decimal(file) && decimal(declared)
        || matches!((file, declared), (T::Timestamp(..), T::Timestamp(..)))
        || matches!((file, declared), (T::Date32 | T::Date64, T::Date32 | T::Date64))
        || matches!((file, declared), (T::Time32(_) | T::Time64(_), T::Time32(_) | T::Time64(_)))
        || file.is_nested() && file.equals_datatype(declared)
}

struct ParquetReader {
    file: FileHandle,
    footer: ArrowReaderMetadata,
    group: usize,
    /// Rows of the row group.
    rows: u64,
    schema: SchemaRef,
    position: SplitPosition,
    batches: Option<ParquetRecordBatchReader>,
    /// Rows decoded but not yet asked for.
    rest: Option<RecordBatch>,
}

impl ParquetReader {
    /// Starts to decode at the position.
    fn start(&self, batch_rows: usize) -> Result<ParquetRecordBatchReader> {
        let path = &self.file.path;
        let file = File::open(path).map_err(|e| unreadable(path, e))?;
        let roots = self.schema.fields().iter().filter_map(|f| self.footer.schema().index_of(f.name()).ok());
        let mask = ProjectionMask::roots(self.footer.parquet_schema(), roots);
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.footer.clone())
            .with_row_groups(vec![self.group])
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .with_offset(self.position.rows as usize)
            .build()
            .map_err(|e| self.unreadable().because(e))
    }

    fn unreadable(&self) -> Error {
        Error::new(ErrorKind::Data, "cannot decode a Parquet file").with("file", self.file.path.display())
    }

    /// Columns in the declared order and of the declared types.
    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let conform = |field: &Arc<Field>| -> Result<ArrayRef> {
            let column =
                batch.column_by_name(field.name()).ok_or_else(|| self.unreadable().with("column", field.name()))?;
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(column, field.data_type(), &options).map_err(|e| {
                let name = sql_name(field.data_type());
                Error::data(format!("a value in a Parquet file does not fit the declared type {name}"))
                    .with("file", self.file.path.display())
                    .with("column", field.name())
                    .because(e)
            })
        };
        let columns = self.schema.fields().iter().map(conform).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| self.unreadable().because(e).hint("is a column declared NOT NULL that has NULLs?"))
    }

    fn next(&mut self, max_rows: usize) -> Result<Option<RecordBatch>> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        if self.position.rows >= self.rows {
            return Ok(None);
        }
        let mut batches = match self.batches.take() {
            Some(batches) => batches,
            None => self.start(max_rows)?,
        };
        let batch = batches.next().transpose().map_err(|e| self.unreadable().because(e))?;
        self.batches = Some(batches);
        batch.map(|batch| self.conform(&batch)).transpose()
    }
}

impl SplitReader for ParquetReader {
    fn read(&mut self, max_rows: usize) -> Result<Read> {
        let max_rows = max_rows.clamp(1, BATCH_ROWS);
        let Some(mut batch) = self.next(max_rows)? else {
            self.position.ended = true;
            return Ok(Read::End);
        };
        if batch.num_rows() > max_rows {
            self.rest = Some(batch.slice(max_rows, batch.num_rows() - max_rows));
            batch = batch.slice(0, max_rows);
        }
        self.position.rows += batch.num_rows() as u64;
        Ok(Read::Rows(batch))
    }

    fn position(&self) -> SplitPosition {
        self.position
    }

    fn skipped(&self) -> u64 {
        0
    }
}
