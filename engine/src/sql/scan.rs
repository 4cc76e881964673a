//! Leaves of plans that no SQL text names.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use catalog::Object;
use datafusion::datasource::{MemTable, TableProvider, provider_as_source};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

use crate::error::Result;
use crate::sql::context::{Mode, Planner};

/// Rows held in memory, as a table.
pub fn memory_table(schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(schema, vec![rows])?))
}

/// A scan of a table.
pub fn scan_of(name: &str, table: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    Ok(LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.build()?)
}

impl Planner {
    /// A scan of a stored object, and the state to run it with.
    pub async fn scan(&self, object: &Arc<Object>) -> Result<(LogicalPlan, SessionState)> {
        let provider = self.provider(object, Mode::Batch).await?;
        // As a bare name, whatever it is made of.
        let name = datafusion::common::TableReference::bare(object.name.as_str());
        let plan = LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?.build()?;
        Ok((plan, self.state(Mode::Batch)?))
    }
}
