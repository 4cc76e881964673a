//! Brings the result of a change query into the table's types and adds the computed columns of the new rows.

use datafusion::common::Column;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};

use crate::error::Result;
use crate::sql::change::Layout;
use crate::sql::context::Planner;
use crate::sql::table::{TableColumns, castable};

/// The same rows with all columns of the new ones, in the order of [`crate::sql::change`].
pub fn finish(
    planner: &Planner,
    state: &SessionState,
    plan: LogicalPlan,
    columns: &TableColumns,
    layout: Layout,
) -> Result<LogicalPlan> {
    if !layout.new {
        return Ok(plan);
    }
    let present = plan.schema().columns();
    let old = if layout.old { columns.all.len() } else { 0 };
    let given = columns.given().count();
    let keep = |column: &Column| Expr::Column(column.clone());
    let mut cast_columns: Vec<Expr> = present[..old].iter().map(keep).collect();
    for (place, column) in columns.given().enumerate() {
        castable(plan.schema().field(old + place).data_type(), column)?;
        let value = keep(&present[old + place]);
        cast_columns.push(cast(value, column.data_type.clone()).alias(new_name(&column.name)));
    }
    let rest = &present[old + given..];
    cast_columns.extend(rest.iter().map(keep));
    let plan = LogicalPlanBuilder::from(plan).project(cast_columns)?.build()?;
    if !columns.any_computed() {
        return Ok(plan);
    }
    let mut all: Vec<Expr> = present[..old].iter().map(keep).collect();
    let completed = planner.completed(state, columns, |name| Column::new_unqualified(new_name(&name)))?;
    // The names of both rows must differ.
    all.extend(
        completed.into_iter().enumerate().map(|(place, expr)| expr.unalias().alias(format!("__complete_{place}"))),
    );
    all.extend(rest.iter().map(keep));
    Ok(LogicalPlanBuilder::from(plan).project(all)?.build()?)
}

fn new_name(column: &str) -> String {
    format!("__given_{column}")
}
