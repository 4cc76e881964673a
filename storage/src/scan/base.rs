//! Scans of the Iceberg snapshot's data files with DataFusion's own Parquet source.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetAccessPlan, RowGroupAccess,
};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use iceberg::spec::{Datum, PrimitiveLiteral};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use super::remove::without_null_counts;
use crate::error::Result;
use crate::iceberg::{BaseFile, LoadedTable};
use crate::warehouse::Warehouse;

/// What the scans of one table have in common.
pub struct BaseScan<'a> {
    pub warehouse: &'a Warehouse,
    pub session: &'a dyn Session,
    pub table: &'a LoadedTable,
    pub schema: &'a SchemaRef,
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    pub limit: Option<usize>,
}

impl BaseScan<'_> {
    /// A scan of files in which nothing is deleted. Filters and limits reach it through the optimiser.
    pub async fn plain(&self, files: &[&BaseFile], columns: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
        self.scan(files, columns, None, self.limit).await
    }

    /// A scan to be put under an operator that filters and limits do not pass: it uses the filters to skip row groups
    /// and pages, and reads no limit. (A limit must not reach rows that are skipped by position: the Parquet
    /// source would count them.)
    pub async fn sealed(&self, files: &[&BaseFile], columns: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
        self.scan(files, columns, self.predicate.clone(), None).await
    }

    async fn scan(
        &self,
        files: &[&BaseFile],
        columns: &[usize],
        predicate: Option<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut partitioned = Vec::with_capacity(files.len());
        for file in files {
            partitioned.push(self.partitioned_file(file).await?);
        }
        let options = self.session.config_options();
        let parquet =
            TableParquetOptions { global: options.execution.parquet.clone(), ..TableParquetOptions::default() };
        let cache = self.session.runtime_env().cache_manager.get_file_metadata_cache();
        let readers = CachedParquetFileReaderFactory::new(self.warehouse.store().clone(), cache);
        let mut source = ParquetSource::new(self.schema.clone())
            .with_table_parquet_options(parquet)
            .with_parquet_file_reader_factory(Arc::new(readers));
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        let target = self.session.config().target_partitions().max(1);
        let statistics = total(partitioned.iter().filter_map(|file| file.statistics.as_deref()), self.schema);
        let config = FileScanConfigBuilder::new(self.warehouse.store_url().clone(), Arc::new(source))
            .with_file_groups(groups(partitioned, target))
            .with_statistics(statistics)
            .with_projection_indices(Some(columns.to_vec()))?
            .with_limit(limit)
            .build();
        let plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        // The optimiser splits files only where it sees a reason; under a union it does not look.
        Ok(plan.repartitioned(target, options)?.unwrap_or(plan))
    }

    async fn partitioned_file(&self, file: &BaseFile) -> Result<PartitionedFile> {
        let statistics = Arc::new(file_statistics(file, self.schema));
        let plain = PartitionedFile::new(file.path.clone(), file.file.file_size_in_bytes()).with_statistics(statistics);
        if file.deleted.is_empty() {
            return Ok(plain);
        }
        let footer = self.table.footer(self.warehouse, file).await?;
        let groups = footer.row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0));
        Ok(plain.with_extensions(Arc::new(access_plan(groups, &file.deleted))))
    }
}

/// Files dealt out to partitions so that each has about the same bytes.
fn groups(mut files: Vec<PartitionedFile>, partitions: usize) -> Vec<FileGroup> {
    let count = partitions.min(files.len()).max(1);
    let mut groups = vec![(0_u64, Vec::new()); count];
    files.sort_by_key(|file| std::cmp::Reverse(file.object_meta.size));
    for file in files {
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.object_meta.size;
            group.push(file);
        }
    }
    groups.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
}

/// Which rows of a file are read, given the rows in each row group and the positions that are deleted (ascending).
fn access_plan(groups: impl Iterator<Item = u64>, deleted: &[u64]) -> ParquetAccessPlan {
    let mut start = 0;
    let mut rest = deleted;
    let access = groups.map(|rows| {
        let end = start + rows;
        let (here, later) = rest.split_at(rest.partition_point(|position| *position < end));
        let access = match here.len() as u64 {
            0 => RowGroupAccess::Scan,
            all if all == rows => RowGroupAccess::Skip,
            _ => RowGroupAccess::Selection(selection(here.iter().map(|position| position - start), rows)),
        };
        (start, rest) = (end, later);
        access
    });
    ParquetAccessPlan::new(access.collect())
}

fn selection(deleted: impl Iterator<Item = u64>, rows: u64) -> RowSelection {
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next = 0;
    for position in deleted {
        if position > next {
            selectors.push(RowSelector::select((position - next) as usize));
        }
        match selectors.last_mut() {
            Some(last) if last.skip => last.row_count += 1,
            _ => selectors.push(RowSelector::skip(1)),
        }
        next = position + 1;
    }
    if next < rows {
        selectors.push(RowSelector::select((rows - next) as usize));
    }
    RowSelection::from(selectors)
}

fn file_statistics(file: &BaseFile, schema: &SchemaRef) -> Statistics {
    let columns = schema.fields().iter().enumerate().map(|(i, field)| {
        // Columns are numbered from 1 in the order of the table: see `types::iceberg_schema`.
        let id = i as i32 + 1;
        let nulls = file.file.null_value_counts().get(&id).map(|nulls| *nulls as usize);
        let bound = |bounds: &HashMap<i32, Datum>| bounds.get(&id).and_then(|datum| scalar(datum, field.data_type()));
        let column = ColumnStatistics {
            null_count: nulls.map_or(Precision::Absent, Precision::Exact),
            min_value: bound(file.file.lower_bounds()).unwrap_or_default(),
            max_value: bound(file.file.upper_bounds()).unwrap_or_default(),
            ..ColumnStatistics::new_unknown()
        };
        if file.deleted.is_empty() { column } else { column.to_inexact() }
    });
    Statistics {
        num_rows: Precision::Exact(file.live_rows() as usize),
        total_byte_size: Precision::Inexact(file.file.file_size_in_bytes() as usize),
        column_statistics: columns.collect(),
    }
}

/// A bound as DataFusion's value. Bounds of strings may be cut, those of floats leave NaN out: they are inexact.
fn scalar(datum: &Datum, data_type: &DataType) -> Option<Precision<ScalarValue>> {
    let exact = |value| Some(Precision::Exact(value));
    match (datum.literal(), data_type) {
        (PrimitiveLiteral::Boolean(value), DataType::Boolean) => exact(ScalarValue::Boolean(Some(*value))),
        (PrimitiveLiteral::Int(value), DataType::Int32) => exact(ScalarValue::Int32(Some(*value))),
        (PrimitiveLiteral::Int(value), DataType::Date32) => exact(ScalarValue::Date32(Some(*value))),
        (PrimitiveLiteral::Long(value), DataType::Int64) => exact(ScalarValue::Int64(Some(*value))),
        (PrimitiveLiteral::Long(value), DataType::Time64(_)) => exact(ScalarValue::Time64Microsecond(Some(*value))),
        (PrimitiveLiteral::Long(value), DataType::Timestamp(_, zone)) => {
            exact(ScalarValue::TimestampMicrosecond(Some(*value), zone.clone()))
        }
        (PrimitiveLiteral::Int128(value), DataType::Decimal128(precision, scale)) => {
            exact(ScalarValue::Decimal128(Some(*value), *precision, *scale))
        }
        (PrimitiveLiteral::Float(value), DataType::Float32) => {
            Some(Precision::Inexact(ScalarValue::Float32(Some(value.0))))
        }
        (PrimitiveLiteral::Double(value), DataType::Float64) => {
            Some(Precision::Inexact(ScalarValue::Float64(Some(value.0))))
        }
        (PrimitiveLiteral::String(value), DataType::Utf8View) => {
            Some(Precision::Inexact(ScalarValue::Utf8View(Some(value.clone()))))
        }
        _ => None,
    }
}

fn total<'a>(files: impl Iterator<Item = &'a Statistics>, schema: &SchemaRef) -> Statistics {
    let sum = |sum: Option<Statistics>, file: &Statistics| {
        let Some(mut sum) = sum else { return Some(file.clone()) };
        sum.num_rows = sum.num_rows.add(&file.num_rows);
        sum.total_byte_size = sum.total_byte_size.add(&file.total_byte_size);
        for (column, other) in sum.column_statistics.iter_mut().zip(&file.column_statistics) {
            column.null_count = column.null_count.add(&other.null_count);
            column.min_value = column.min_value.min(&other.min_value);
            column.max_value = column.max_value.max(&other.max_value);
        }
        Some(sum)
    };
    files.fold(None, sum).map_or_else(|| Statistics::new_unknown(schema), without_null_counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_positions_become_selections_per_row_group() {
        let plan = access_plan([3, 3, 3, 3].into_iter(), &[0, 2, 3, 4, 5, 11]);
        let selected = |selectors: Vec<RowSelector>| RowGroupAccess::Selection(RowSelection::from(selectors));
        let expected = ParquetAccessPlan::new(vec![
            selected(vec![RowSelector::skip(1), RowSelector::select(1), RowSelector::skip(1)]),
            RowGroupAccess::Skip,
            RowGroupAccess::Scan,
            selected(vec![RowSelector::select(2), RowSelector::skip(1)]),
        ]);
        assert_eq!(plan, expected);
    }
}
