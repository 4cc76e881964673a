//! Relations that DataFusion's logical plan has no operator for, as extension nodes of it.
//!
//! DataFusion's optimiser passes them by; `build` turns them into incremental operators, and `batch` runs the very same
//! operators over one epoch that holds everything.

use std::sync::Arc;

use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode};

pub use asof::AsOfJoin;
pub use repeat::Repeat;

mod asof;
mod repeat;

/// A node as a logical plan.
pub fn extension(node: impl UserDefinedLogicalNode + 'static) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// The column that an expression of a node is: rewrites put nothing else there.
fn column(expr: Option<Expr>) -> Result<Column> {
    match expr {
        Some(Expr::Column(column)) => Ok(column),
        other => plan_err!("a column was expected, found {other:?}"),
    }
}
