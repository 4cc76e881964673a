//! INSERT OVERWRITE: the rows of a query take the place of all rows of a table. Rows that stay are no change.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter;
use arrow::datatypes::{Int64Type, SchemaRef};
use catalog::Object;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use futures::StreamExt;
use storage::types::arrow_schema;

use super::Computed;
use super::apply::refuse_nulls;
use super::spool::Spool;
use crate::change::{Changes, batch};
use crate::error::{Error, Result};
use crate::plan::build::internal_schema;
use crate::session::Inner;
use crate::sql::context::Planner;
use crate::sql::difference::difference;

impl Inner {
    /// Computes the change. `rows` gives all columns of the table, every key once.
    pub(super) async fn overwrite(
        &self,
        planner: &Planner,
        table: Arc<Object>,
        rows: LogicalPlan,
        state: SessionState,
    ) -> Result<Computed> {
        let (present, _) = planner.scan(&table).await?;
        let schema = internal_schema(arrow_schema(&table)?.as_ref());
        let mut spool = Spool::new(table.clone());
        let mut inserted = 0;
        let mut batches = self.adhoc.run(state, difference(rows, present)?).await?;
        while let Some(rows) = batches.next().await {
            let (going, coming, count) = apart(&table, &schema, &rows?)?;
            spool.take_away(&self.warehouse, going).await?;
            spool.add(&self.warehouse, coming).await?;
            inserted += count;
        }
        Ok(Computed { table, spool, rows: inserted, depends_on_table: true })
    }
}

/// What goes and what comes by a batch of the difference, and how many rows the query gave.
fn apart(table: &Object, schema: &SchemaRef, rows: &RecordBatch) -> Result<(Changes, Changes, u64)> {
    let (columns, numbers) = rows.columns().split_at(schema.fields().len());
    let number = |place: usize| {
        let column = numbers.get(place).and_then(|column| column.as_primitive_opt::<Int64Type>());
        column.ok_or_else(|| Error::internal("a difference without weights"))
    };
    let (weights, counts) = (number(0)?, number(1)?);
    let part = |sign: i64| {
        let chosen: BooleanArray = weights.values().iter().map(|weight| Some(weight.signum() == sign)).collect();
        let columns = columns.iter().map(|column| filter(column, &chosen)).collect::<Result<Vec<_>, _>>()?;
        let chosen = weights.values().iter().copied().filter(|weight| weight.signum() == sign).collect::<Vec<_>>();
        if sign > 0 {
            refuse_nulls(table, &columns)?;
        }
        Ok::<_, Error>(Changes::weighted(batch(schema, columns, chosen.len())?, chosen))
    };
    let count = (0..counts.len()).map(|row| counts.value(row).unsigned_abs()).sum();
    Ok((part(-1)?, part(1)?, count))
}
