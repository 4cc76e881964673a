//! Files as a table: CSV, JSON lines and Parquet, once or following new files.
//!
//! Splits: a CSV file or a compressed file is one; a JSON file is cut into byte ranges; a Parquet file into its row
//! groups. A split's id is the file's name and the place in it, so it is the same in every enumeration. Files never
//! change once they are seen.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};

use crate::error::{Error, ErrorKind, Result};
use crate::options::Options;
use crate::source::{Read, Source, Split, SplitPosition, SplitReader};

mod csv;
mod files;
mod json;
mod parquet;

use self::csv::CsvFormat;
use self::files::FileSet;
use self::json::JsonFormat;
use self::parquet::ParquetFormat;

/// Rows that a reader decodes at most in one go.
const BATCH_ROWS: usize = 16 * 1024;
/// Bytes of text after which a reader ends a batch early, so that long rows do not make huge batches.
const BATCH_BYTES: usize = 8 << 20;

#[derive(Debug)]
enum Format {
    Csv(CsvFormat),
    Json(JsonFormat),
    Parquet(ParquetFormat),
}

/// A table whose rows are in files.
#[derive(Debug)]
pub struct Filesystem {
    schema: SchemaRef,
    files: FileSet,
    format: Format,
    monitor_interval: Option<Duration>,
    ignore_errors: bool,
}

impl Filesystem {
    /// Checks options, columns and, if the table is bounded, that its files are there and (Parquet) have its columns.
    pub fn create(options: &Options<'_>, schema: SchemaRef, base_dir: &Path) -> Result<Self> {
        let files = FileSet::new(base_dir, options.required("path")?)?;
        let format_name = options.required("format")?.to_ascii_lowercase();
        refuse_other_formats_options(options, &format_name)?;
        let format = match format_name.as_str() {
            "csv" => Format::Csv(CsvFormat::create(options, &schema)?),
            "json" => Format::Json(JsonFormat::create(options, &schema)?),
            _ => Format::Parquet(ParquetFormat::default()),
        };
        let monitor_interval = options.duration("source.monitor-interval");
        let ignore_errors = ignores_errors(options);
        let table = Self { schema, files, format, monitor_interval, ignore_errors };
        if table.bounded() {
            table.check_files()?;
        }
        Ok(table)
    }

    /// Opens the first file, so that an unreadable or wrong one is reported when the table is made.
    fn check_files(&self) -> Result<()> {
        let Some(first) = self.files.list(true)?.into_iter().next() else { return Ok(()) };
        let path = self.files.path(&first.name);
        files::open_at(&path, 0)?;
        match &self.format {
            Format::Csv(format) => format.check(&self.handle(&first.name, &[])),
            Format::Json(_) => Ok(()),
            Format::Parquet(format) => format.row_groups(&self.handle(&first.name, &[])).map(|_| ()),
        }
    }

    fn handle(&self, name: &str, projection: &[usize]) -> FileHandle {
        FileHandle {
            path: self.files.path(name),
            name: name.to_string(),
            projection: projection.to_vec(),
            schema: self.schema.clone(),
            ignore_errors: self.ignore_errors,
        }
    }

    fn unknown_split(&self, split: &Split) -> Error {
        Error::new(ErrorKind::Internal, "no such split").with("split", &split.id).with("path", self.files.pattern())
    }
}

/// An option of one format means nothing for another: more likely a mistake than a wish.
fn refuse_other_formats_options(options: &Options<'_>, format: &str) -> Result<()> {
    for name in options.names() {
        let of = match name {
            "source.split-size" => "json",
            "format.ignore-parse-errors" if format == "parquet" => "csv or json",
            name if name.starts_with("csv.") => "csv",
            name if name.starts_with("json.") => "json",
            _ => continue,
        };
        if of != format {
            return Err(Error::new(
                ErrorKind::Option,
                format!("the option '{name}' is for the format {of}, but 'format' is '{format}'"),
            ));
        }
    }
    Ok(())
}

/// Whether malformed rows are skipped, by any of the names for it.
fn ignores_errors(options: &Options<'_>) -> bool {
    ["format.ignore-parse-errors", "csv.ignore-parse-errors", "json.ignore-parse-errors"]
        .iter()
        .any(|name| options.boolean(name))
}

impl Source for Filesystem {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn bounded(&self) -> bool {
        self.monitor_interval.is_none()
    }

    fn splits(&self) -> Result<Vec<Split>> {
        let mut splits = Vec::new();
        for file in self.files.list(self.bounded())? {
            match &self.format {
                Format::Csv(_) => splits.push(Split { id: file.name }),
                Format::Json(format) => {
                    let begins = format.begins(&file);
                    splits.extend(begins.map(|begin| Split { id: format!("{}@{begin}", file.name) }));
                }
                Format::Parquet(format) => {
                    let groups = 0..format.row_groups(&self.handle(&file.name, &[]))?;
                    splits.extend(groups.map(|group| Split { id: format!("{}#{group}", file.name) }));
                }
            }
        }
        Ok(splits)
    }

    fn monitor_interval(&self) -> Option<Duration> {
        self.monitor_interval
    }

    fn open(&self, split: &Split, from: SplitPosition, projection: &[usize]) -> Result<Box<dyn SplitReader>> {
        if from.ended {
            return Ok(Box::new(Ended(from)));
        }
        let place = |separator| {
            let (name, place) = split.id.rsplit_once(separator)?;
            Some((self.handle(name, projection), place.parse::<u64>().ok()?))
        };
        let reader = match &self.format {
            Format::Csv(format) => format.open(self.handle(&split.id, projection), from)?,
            Format::Json(format) => {
                let (file, begin) = place('@').ok_or_else(|| self.unknown_split(split))?;
                format.open(file, begin, from)?
            }
            Format::Parquet(format) => {
                let (file, group) = place('#').ok_or_else(|| self.unknown_split(split))?;
                format.open(file, group as usize, from)?
            }
        };
        Ok(reader)
    }

    fn repeatable(&self) -> bool {
        true
    }

    fn estimated_rows(&self) -> Option<u64> {
        let Format::Parquet(format) = &self.format else { return None };
        let files = self.files.list(false).ok()?;
        files.iter().map(|file| format.rows(&self.handle(&file.name, &[])).ok()).sum()
    }
}

/// One file, as a reader needs to know it.
#[derive(Debug, Clone)]
struct FileHandle {
    path: std::path::PathBuf,
    name: String,
    /// The columns wanted, as indices into `schema`.
    projection: Vec<usize>,
    /// All declared columns.
    schema: SchemaRef,
    ignore_errors: bool,
}

impl FileHandle {
    /// The columns wanted.
    fn projected(&self) -> Result<SchemaRef> {
        Ok(Arc::new(self.schema.project(&self.projection)?))
    }

    /// The error for a row that is not as declared; `offset` is where its line begins.
    fn bad_row(&self, offset: u64, bad: &BadRow) -> Error {
        let mut error = Error::data(bad.message.clone()).with("file", self.path.display());
        if let Ok(line) = files::line_at(&self.path, offset) {
            error = error.with("line", line);
        }
        if let Some(column) = &bad.column {
            error = error.with("column", column);
        }
        if let Some(value) = &bad.value {
            error = error.with("value", shortened(value));
        }
        error.hint(
            "correct the row or the table's columns, or skip malformed rows with 'format.ignore-parse-errors' = 'true'",
        )
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BadRow {
    message: String,
    column: Option<String>,
    value: Option<String>,
}

/// Values in error messages are cut to a readable length.
fn shortened(value: &str) -> String {
    match value.char_indices().nth(200) {
        Some((end, _)) => format!("`{}`...", &value[..end]),
        None => format!("`{value}`"),
    }
}

/// Whether values of the type are text.
fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// A split that was read to its end before.
struct Ended(SplitPosition);

impl SplitReader for Ended {
    fn read(&mut self, _max_rows: usize) -> Result<Read> {
        Ok(Read::End)
    }

    fn position(&self) -> SplitPosition {
        self.0
    }

    fn skipped(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests;
