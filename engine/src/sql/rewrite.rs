//! Rewrites that both modes share: constructs that DataFusion does not plan, or plans with another meaning than SQL's.
//!
//! | file | what |
//! | --- | --- |
//! | `asof` | ASOF joins, `FOR SYSTEM_TIME AS OF` in joins |
//! | `casts` | a column and casts of it in one SELECT |
//! | `lateral` | LATERAL, and correlated subqueries that DataFusion does not unnest |
//! | `named_windows` | `WINDOW w AS (...)`, `OVER (w ...)` |
//! | `order_by` | columns and arguments of aggregates in ORDER BY that have the names of aliases |
//! | `set_operations` | INTERSECT ALL, EXCEPT ALL |
//! | `subqueries` | NOT IN with NULLs, subqueries in SELECT lists, scalar subqueries of more than one row |
//! | `table_functions` | UNNEST ... WITH ORDINALITY, generate_series over columns (when a text is parsed) |
//!
//! First the syntax is rewritten, then the logical plan before it is optimised.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion};
use datafusion::execution::registry::FunctionRegistry;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;

use crate::error::Result;

mod asof;
mod casts;
mod lateral;
mod named_windows;
mod one_row;
mod order_by;
mod set_operations;
mod subqueries;
pub(in crate::sql) mod table_functions;

pub use asof::TimeColumn;
pub use order_by::IsAggregate;

/// Registers the functions that stand for constructs until they are planned.
///
/// # Errors
/// A registry that takes no functions.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    asof::register(registry)?;
    casts::register(registry)
}

/// Rewrites a query before it is planned. `time_column` gives the time attribute of a table, `is_aggregate` knows the names
/// of aggregates.
///
/// # Errors
/// Forms of these constructs that are not supported, with position.
pub fn syntax(query: &mut ast::Query, time_column: TimeColumn<'_>, is_aggregate: IsAggregate<'_>) -> Result<()> {
    named_windows::rewrite(query)?;
    order_by::rewrite(query, is_aggregate)?;
    casts::rewrite(query);
    asof::rewrite_syntax(query, time_column)
}

/// A name as it is compared.
fn folded(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// Rewrites a logical plan before it is optimised. Subqueries are rewritten before what holds them.
///
/// # Errors
/// As DataFusion plans: what cannot be done, by name.
pub fn plan(plan: LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
    let mut number = 0;
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let plan = set_operations::rewrite(plan)?;
        let plan = plan.transform_data(|plan| lateral::rewrite(plan, &mut number))?;
        let plan = plan.transform_data(asof::rewrite)?;
        let plan = plan.transform_data(|plan| subqueries::rewrite(plan, &mut number))?;
        Ok(Transformed { tnr: TreeNodeRecursion::Continue, ..plan })
    });
    rewritten.data()
}
