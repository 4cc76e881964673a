//! Position delete files: which rows of which data files are gone.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use catalog::Object;
use futures::future::try_join_all;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, NestedField, PrimitiveType, Schema as IcebergSchema, Type,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::file::properties::EnabledStatistics;

use super::{data_files, statistics};
use crate::error::{Error, ErrorKind, Result};
use crate::warehouse::Warehouse;

/// Field ids that the specification reserves for the two columns.
const PATH_ID: i32 = 2_147_483_546;
const POSITION_ID: i32 = 2_147_483_545;

/// Positions by data file location, each list with the sequence number of the delete file that it came from.
#[derive(Debug, Default)]
pub struct Deleted {
    positions: HashMap<String, Vec<(i64, Vec<u64>)>>,
}

impl Deleted {
    /// Positions deleted in a data file: a delete applies to files that are not newer than itself.
    pub fn of(&mut self, location: &str, sequence_number: i64) -> Arc<[u64]> {
        let Some(lists) = self.positions.remove(location) else {
            return Arc::from([]);
        };
        let applicable = lists.into_iter().filter(|(sequence, _)| *sequence >= sequence_number);
        let mut positions = applicable.flat_map(|(_, positions)| positions).collect::<Vec<_>>();
        positions.sort_unstable();
        positions.dedup();
        positions.into()
    }
}

/// Reads delete files, given with their sequence numbers.
pub async fn read(warehouse: &Warehouse, files: &[(DataFile, i64)]) -> Result<Deleted> {
    let read = |(file, sequence): &(DataFile, i64)| {
        let (file, sequence) = (file.clone(), *sequence);
        async move {
            if file.content_type() != DataContentType::PositionDeletes || file.file_format() != DataFileFormat::Parquet
            {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "another program wrote equality deletes or deletion vectors; rewrite the table's data files with it",
                )
                .with("path", file.file_path()));
            }
            let path = warehouse.path(file.file_path())?;
            let bytes = warehouse.get(path).await?;
            Ok((sequence, decode(path, bytes)?))
        }
    };
    let mut deleted = Deleted::default();
    for (sequence, positions) in try_join_all(files.iter().map(read)).await? {
        for (location, positions) in positions {
            deleted.positions.entry(location).or_default().push((sequence, positions));
        }
    }
    Ok(deleted)
}

fn decode(path: &str, bytes: bytes::Bytes) -> Result<HashMap<String, Vec<u64>>> {
    let damaged =
        |error: parquet::errors::ParquetError| Error::corrupt(path, "not a position delete file").because(error);
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build()).map_err(damaged)?;
    let mut positions: HashMap<String, Vec<u64>> = HashMap::new();
    for batch in reader {
        let batch = batch.map_err(|error| Error::corrupt(path, error))?;
        let column = |name: &str, data_type| {
            let column = batch.column_by_name(name).ok_or_else(|| Error::corrupt(path, format!("no column {name}")))?;
            Ok::<_, Error>(cast(column, data_type)?)
        };
        let (files, rows) = (column("file_path", &DataType::Utf8)?, column("pos", &DataType::Int64)?);
        let (files, rows) = (files.as_string::<i32>(), rows.as_primitive::<Int64Type>());
        let mut row = 0;
        while row < files.len() {
            let location = files.value(row);
            let end = (row..files.len()).find(|next| files.value(*next) != location).unwrap_or(files.len());
            let list = positions.entry(location.to_string()).or_default();
            list.extend(rows.values()[row..end].iter().filter_map(|position| u64::try_from(*position).ok()));
            row = end;
        }
    }
    Ok(positions)
}

/// Writes one delete file, durably. `positions`: data file locations with the rows that are gone. `None` if there are none.
pub async fn write_position_deletes(
    warehouse: &Warehouse,
    object: &Object,
    mut positions: Vec<(String, Vec<u64>)>,
) -> Result<Option<DataFile>> {
    positions.retain(|(_, rows)| !rows.is_empty());
    if positions.is_empty() {
        return Ok(None);
    }
    positions.sort_unstable();
    let schema = arrow_schema();
    let failed = |error| Error::internal("deletes cannot be written as Parquet").because(error);
    let properties = data_files::properties(EnabledStatistics::Chunk, None, 1 << 20);
    let mut writer: ArrowWriter<Vec<u8>> =
        ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).map_err(failed)?;
    for (location, rows) in &mut positions {
        rows.sort_unstable();
        rows.dedup();
        for rows in rows.chunks(1 << 16) {
            let files: ArrayRef = Arc::new(StringArray::from(vec![location.as_str(); rows.len()]));
            let rows: ArrayRef = Arc::new(rows.iter().map(|row| *row as i64).collect::<Int64Array>());
            writer.write(&RecordBatch::try_new(schema.clone(), vec![files, rows])?).map_err(failed)?;
        }
    }
    let footer = writer.finish().map_err(failed)?;
    let bytes = std::mem::take(writer.inner_mut());
    let path = format!("{}/data/{}-deletes.parquet", Warehouse::table_directory(object), warehouse.clock().uuid());
    let location = warehouse.location(&path);
    let content = DataContentType::PositionDeletes;
    let file = statistics::describe(content, &location, bytes.len() as u64, &footer, &iceberg_schema()?)?;
    warehouse.put(&path, bytes.into()).await?;
    Ok(Some(file))
}

fn arrow_schema() -> SchemaRef {
    let field = |name: &str, data_type, id: i32| {
        let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string())]);
        Field::new(name, data_type, false).with_metadata(id)
    };
    Arc::new(Schema::new(vec![field("file_path", DataType::Utf8, PATH_ID), field("pos", DataType::Int64, POSITION_ID)]))
}

fn iceberg_schema() -> Result<IcebergSchema> {
    let field = |id, name: &str, primitive| Arc::new(NestedField::required(id, name, Type::Primitive(primitive)));
    IcebergSchema::builder()
        .with_fields([
            field(PATH_ID, "file_path", PrimitiveType::String),
            field(POSITION_ID, "pos", PrimitiveType::Long),
        ])
        .build()
        .map_err(|error| Error::internal("the schema of position deletes").because(error))
}
