//! What a manifest says about a data file, from the file's Parquet footer.

use std::collections::HashMap;

use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use crate::error::{Error, Result};

#[derive(Default)]
struct Columns {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
    /// Columns with a row group that has values but no bounds: then the file has none either.
    unbounded: Vec<i32>,
}

/// Describes a Parquet file that was just written.
pub fn describe(
    content: DataContentType,
    location: &str,
    bytes: u64,
    footer: &ParquetMetaData,
    schema: &Schema,
) -> Result<DataFile> {
    let mut columns = Columns::default();
    for group in footer.row_groups() {
        group.columns().iter().for_each(|column| columns.add(column, schema));
    }
    for id in std::mem::take(&mut columns.unbounded) {
        columns.lower.remove(&id);
        columns.upper.remove(&id);
    }
    let offsets = footer.row_groups().iter().filter_map(|group| group.file_offset()).collect::<Vec<_>>();
    DataFileBuilder::default()
        .content(content)
        .file_path(location.to_string())
        .file_format(DataFileFormat::Parquet)
        .record_count(u64::try_from(footer.file_metadata().num_rows()).unwrap_or(0))
        .file_size_in_bytes(bytes)
        .column_sizes(columns.sizes)
        .value_counts(columns.values)
        .null_value_counts(columns.nulls)
        .lower_bounds(columns.lower)
        .upper_bounds(columns.upper)
        .split_offsets(Some(offsets).filter(|_| content == DataContentType::Data))
        .build()
        .map_err(|error| Error::internal("a data file lacks a property").because(error))
}

impl Columns {
    fn add(&mut self, column: &ColumnChunkMetaData, schema: &Schema) {
        let info = column.column_descr().self_type().get_basic_info();
        if !info.has_id() {
            return;
        }
        let id = info.id();
        *self.sizes.entry(id).or_default() += u64::try_from(column.compressed_size()).unwrap_or(0);
        if column.column_descr().max_rep_level() > 0 {
            return;
        }
        let values = u64::try_from(column.num_values()).unwrap_or(0);
        *self.values.entry(id).or_default() += values;
        let Some(statistics) = column.statistics() else {
            self.unbounded.push(id);
            return;
        };
        let nulls = statistics.null_count_opt().unwrap_or(0);
        *self.nulls.entry(id).or_default() += nulls;
        let Some(primitive) = schema.field_by_id(id).and_then(|field| field.field_type.as_primitive_type()) else {
            return;
        };
        match bounds(statistics, primitive) {
            Some((lower, upper)) => self.widen(id, lower, upper),
            None if nulls < values => self.unbounded.push(id),
            None => {}
        }
    }

    fn widen(&mut self, id: i32, lower: Datum, upper: Datum) {
        if self.lower.get(&id).is_none_or(|old| lower < *old) {
            self.lower.insert(id, lower);
        }
        if self.upper.get(&id).is_none_or(|old| upper > *old) {
            self.upper.insert(id, upper);
        }
    }
}

fn bounds(statistics: &Statistics, primitive: &PrimitiveType) -> Option<(Datum, Datum)> {
    let datum = |bytes: &[u8]| {
        let decimal = matches!(primitive, PrimitiveType::Decimal { .. });
        // Iceberg writes decimals big-endian; Parquet writes those that fit into a number little-endian.
        let swapped = decimal && matches!(statistics, Statistics::Int32(_) | Statistics::Int64(_));
        let bytes = if swapped { bytes.iter().rev().copied().collect() } else { bytes.to_vec() };
        Datum::try_from_bytes(&bytes, primitive.clone()).ok()
    };
    Some((datum(statistics.min_bytes_opt()?)?, datum(statistics.max_bytes_opt()?)?))
}
