//! Writing rows as Parquet data files of a good size.

use std::sync::Arc;

use arrow::array::{ArrayData, ArrayRef, RecordBatch, make_array};
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use catalog::Object;
use iceberg::spec::{DataContentType, DataFile, Schema as IcebergSchema};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde::{Deserialize, Serialize};

use super::statistics;
use crate::error::{Error, Result};
use crate::types;
use crate::warehouse::Warehouse;

/// How large data files and their parts become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileSizes {
    /// Size at which a data file is closed and the next one begins, in bytes.
    pub file_bytes: usize,
    /// Rows per row group: what one task of a parallel scan reads at least.
    pub row_group_rows: usize,
}

impl Default for FileSizes {
    fn default() -> Self {
        Self { file_bytes: 128 << 20, row_group_rows: 1 << 20 }
    }
}

/// Writes rows of one table into as many data files as it takes. A file is in memory until it is full.
pub struct DataFileWriter<'a> {
    warehouse: &'a Warehouse,
    directory: String,
    schema: SchemaRef,
    noted: SchemaRef,
    iceberg: IcebergSchema,
    sizes: FileSizes,
    open: Option<ArrowWriter<Vec<u8>>>,
    done: Vec<DataFile>,
}

impl std::fmt::Debug for DataFileWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataFileWriter({}, {} files done)", self.directory, self.done.len())
    }
}

/// `truncate`: bytes after which the bounds of strings are cut.
pub(super) fn properties(
    statistics: EnabledStatistics,
    truncate: Option<usize>,
    row_group_rows: usize,
) -> WriterProperties {
    WriterProperties::builder()
        .set_statistics_truncate_length(truncate)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(row_group_rows.max(1)))
        .set_statistics_enabled(statistics)
        .set_created_by(format!("frazil {}", env!("CARGO_PKG_VERSION")))
        .build()
}

impl<'a> DataFileWriter<'a> {
    /// A writer for a table.
    pub fn new(warehouse: &'a Warehouse, object: &Object, sizes: FileSizes) -> Result<Self> {
        let schema = types::arrow_schema(object)?;
        let iceberg = types::iceberg_schema(&schema, &types::key_columns(object)?)?;
        let noted = types::with_field_ids(&schema, &iceberg)?;
        let directory = format!("{}/data", Warehouse::table_directory(object));
        Ok(Self { warehouse, directory, schema, noted, iceberg, sizes, open: None, done: Vec::new() })
    }

    /// Adds rows with the table's columns.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = types::conform(rows, &self.schema)?;
        let rows = retype(rows, &self.noted)?;
        let writer = match &mut self.open {
            Some(open) => open,
            closed => {
                let mut properties = properties(EnabledStatistics::Page, Some(64), self.sizes.row_group_rows);
                add_encoded_arrow_schema_to_metadata(&without_views(&self.noted), &mut properties);
                let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
                let writer = ArrowWriter::try_new_with_options(Vec::new(), self.noted.clone(), options);
                closed.insert(writer.map_err(|error| failed(&self.directory, error))?)
            }
        };
        writer.write(&rows).map_err(|error| failed(&self.directory, error))?;
        if writer.bytes_written() + writer.in_progress_size() >= self.sizes.file_bytes {
            self.close_file().await?;
        }
        Ok(())
    }

    async fn close_file(&mut self) -> Result<()> {
        let Some(mut writer) = self.open.take() else {
            return Ok(());
        };
        let footer = writer.finish().map_err(|error| failed(&self.directory, error))?;
        let bytes = std::mem::take(writer.inner_mut());
        let path = format!("{}/{}.parquet", self.directory, self.warehouse.clock().uuid());
        let location = self.warehouse.location(&path);
        let file = statistics::describe(DataContentType::Data, &location, bytes.len() as u64, &footer, &self.iceberg)?;
        self.warehouse.put(&path, bytes.into()).await?;
        self.done.push(file);
        Ok(())
    }

    /// Closes the last file and returns all of them. They are durable.
    pub async fn finish(mut self) -> Result<Vec<DataFile>> {
        self.close_file().await?;
        Ok(self.done)
    }
}

/// The schema that the file notes for readers that use Arrow: strings in their usual form. Others of them read views,
/// but cannot filter them.
fn without_views(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().map(field_without_views).collect::<Fields>())
}

fn field_without_views(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(element) => DataType::List(field_without_views(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field_without_views).collect()),
        DataType::Map(entries, sorted) => DataType::Map(field_without_views(entries), *sorted),
        _ => return field.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The same columns under a schema that differs only in metadata, at any level.
fn retype(rows: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |(column, field): (&ArrayRef, &FieldRef)| {
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        let retyped = retype_data(column.to_data(), field.data_type())?;
        Ok::<_, Error>(make_array(retyped))
    };
    let columns = rows.columns().iter().zip(schema.fields()).map(column).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn retype_data(data: ArrayData, data_type: &DataType) -> Result<ArrayData> {
    let types = match data_type {
        DataType::List(element) => vec![element.data_type()],
        DataType::Map(entries, _) => vec![entries.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        _ => Vec::new(),
    };
    let children = data.child_data().iter().zip(types).map(|(child, data_type)| retype_data(child.clone(), data_type));
    let children = children.collect::<Result<Vec<_>>>()?;
    Ok(data.into_builder().data_type(data_type.clone()).child_data(children).build()?)
}

fn failed(directory: &str, error: parquet::errors::ParquetError) -> Error {
    Error::internal("rows cannot be written as Parquet").with("path", directory).because(error)
}
