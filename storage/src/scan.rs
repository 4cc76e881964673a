//! Union read: a table at one version as a DataFusion table, out of the Iceberg snapshot and the segments after it.
//!
//! ```text
//! insert-only, or nothing hot:   union( Parquet , hot rows )
//! keyed:                         union( Parquet \ keys that the hot tier touched , last hot row per key )
//! no key, with retractions:      union( Parquet \ copies of rows that the hot tier retracted , hot rows )
//! ```
//! Data files that cannot hold a touched key are read as plain Parquet. Rows deleted by position are left out by the
//! Parquet reader itself.

mod base;
mod changelog;
mod hot;
mod remove;

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::{Object, TableState};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{PhysicalExpr, conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::SessionConfig;

use crate::error::{Error, Result};
use crate::iceberg::{BaseFile, LoadedTable};
use crate::types;
use crate::warehouse::Warehouse;

pub use self::changelog::{Changelog, changes_since};
pub(crate) use self::hot::{FoldedHot, HotRows, fold as fold_hot, load as load_hot};

use self::base::BaseScan;
use self::remove::RemoveExec;

/// A stored table at one version, to be registered with or read by a DataFusion session.
#[derive(Debug, Clone)]
pub struct DynamicTable {
    warehouse: Arc<Warehouse>,
    object: Arc<Object>,
    state: Arc<TableState>,
    schema: SchemaRef,
    /// Paths of the only data files to read, for compaction.
    files: Option<Arc<HashSet<String>>>,
}

impl DynamicTable {
    /// The table that `object` defines, holding what `state` says.
    pub fn new(warehouse: Arc<Warehouse>, object: Arc<Object>, state: Arc<TableState>) -> Result<Self> {
        let schema = types::arrow_schema(&object)?;
        Ok(Self { warehouse, object, state, schema, files: None })
    }

    /// The same table, as if it had only these data files.
    pub(crate) fn restricted_to(mut self, paths: HashSet<String>) -> Self {
        self.files = Some(Arc::new(paths));
        self
    }

    /// The definition.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// The state that is read.
    pub fn state(&self) -> &Arc<TableState> {
        &self.state
    }

    /// The plan of a scan. See [`TableProvider::scan`]; the filters are used only to read less.
    async fn plan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.warehouse.register(session.runtime_env());
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let base = match &self.state.metadata_location {
            Some(location) => Some(LoadedTable::load(&self.warehouse, location).await?),
            None => None,
        };
        let hot = hot::load(&self.warehouse, &self.object, &self.state.hot).await?;
        let mut parts = Vec::new();
        if let Some(base) = &base {
            let scan = BaseScan {
                warehouse: &self.warehouse,
                session,
                table: base,
                schema: &self.schema,
                predicate: self.predicate(session, filters)?,
                limit,
            };
            parts.extend(self.base_parts(&scan, &hot, &columns).await?);
        }
        if !hot.live.is_empty() {
            let partitions = spread(&hot.live, session.config().target_partitions());
            let rows = MemorySourceConfig::try_new_exec(&partitions, self.schema.clone(), Some(columns.clone()))?;
            parts.push(RemoveExec::barrier(rows));
        }
        match parts.len() {
            0 => Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&columns)?)))),
            1 => parts.pop().ok_or_else(|| Error::internal("a scan without parts")),
            _ => Ok(UnionExec::try_new(parts)?),
        }
    }

    fn predicate(&self, session: &dyn Session, filters: &[Expr]) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        if filters.is_empty() {
            return Ok(None);
        }
        let schema = DFSchema::try_from(self.schema.clone())?;
        // The filters only help to read less: one that cannot be evaluated here is left to the operator above.
        let expressions =
            filters.iter().filter_map(|filter| session.create_physical_expr(filter.clone(), &schema).ok());
        Ok(Some(conjunction(expressions)))
    }

    /// Plans over the data files: those that need nothing more, those with deleted positions, and those out of which
    /// the hot tier may remove rows.
    async fn base_parts(
        &self,
        scan: &BaseScan<'_>,
        hot: &Arc<HotRows>,
        columns: &[usize],
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let wanted = |file: &&BaseFile| {
            file.live_rows() > 0 && self.files.as_ref().is_none_or(|files| files.contains(&file.path))
        };
        let (touched, rest): (Vec<&BaseFile>, Vec<&BaseFile>) =
            scan.table.files.iter().filter(wanted).partition(|file| hot.may_touch(file));
        let (whole, holed): (Vec<&BaseFile>, Vec<&BaseFile>) =
            rest.into_iter().partition(|file| file.deleted.is_empty());
        let mut parts = Vec::new();
        if !whole.is_empty() {
            parts.push(scan.plain(&whole, columns).await?);
        }
        if !holed.is_empty() {
            let input = scan.sealed(&holed, columns).await?;
            parts.push(RemoveExec::barrier(input));
        }
        if !touched.is_empty() {
            let mut wide = columns.to_vec();
            wide.extend(hot.columns().iter().filter(|column| !columns.contains(column)));
            let input = scan.sealed(&touched, &wide).await?;
            parts.push(RemoveExec::removing(input, hot.clone(), &wide, columns.len())?);
        }
        Ok(parts)
    }
}

/// Batches dealt out to at most `partitions` partitions.
fn spread(batches: &[RecordBatch], partitions: usize) -> Vec<Vec<RecordBatch>> {
    let mut spread = vec![Vec::new(); partitions.clamp(1, batches.len().max(1))];
    let count = spread.len();
    for (i, batch) in batches.iter().enumerate() {
        spread[i % count].push(batch.clone());
    }
    spread
}

#[async_trait]
impl TableProvider for DynamicTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let plan = self.plan(state, projection, filters, limit).await;
        plan.map_err(|error| error.with("table", &self.object.name).into())
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// All rows of a table at a version. For tests and small tables.
pub async fn read_all(
    warehouse: &Arc<Warehouse>,
    object: &Arc<Object>,
    state: &Arc<TableState>,
) -> Result<Vec<RecordBatch>> {
    let table = DynamicTable::new(warehouse.clone(), object.clone(), state.clone())?;
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    Ok(session.read_table(Arc::new(table))?.collect().await?)
}
