//! The difference of two results as multisets.

use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, col, lit};

use crate::error::{Error, Result};

/// How often more a row stands in the first result than in the second.
pub const WEIGHT: &str = "__weight";
/// How often a row stands in the first result.
pub const COUNT: &str = "__count";

/// Every row of either result once: its columns as `column_name(0)`, ... and then [`WEIGHT`] and [`COUNT`], both BIGINT. Columns are
/// compared by place, in the types of `one`.
pub fn difference(one: LogicalPlan, other: LogicalPlan) -> Result<LogicalPlan> {
    let types: Vec<_> = one.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    if other.schema().fields().len() != types.len() {
        return Err(Error::internal("two results with different columns cannot be compared"));
    }
    let side = |plan: LogicalPlan, weight: i64, count: i64| {
        let columns = plan.schema().columns().into_iter().zip(&types).enumerate();
        let named = columns.map(|(place, (column, data_type))| {
            cast(Expr::Column(column), data_type.clone()).alias(column_name(place))
        });
        let numbers = [lit(weight).alias(WEIGHT), lit(count).alias(COUNT)];
        let named: Vec<Expr> = named.chain(numbers).collect();
        LogicalPlanBuilder::from(plan).project(named)?.build()
    };
    let both = LogicalPlanBuilder::from(side(one, 1, 1)?).union(side(other, -1, 0)?)?;
    let columns: Vec<Expr> = (0..types.len()).map(|place| col(column_name(place))).collect();
    let sums = [sum(col(WEIGHT)).alias(WEIGHT), sum(col(COUNT)).alias(COUNT)];
    Ok(both.aggregate(columns, sums)?.build()?)
}

/// Name of a column of [`difference`].
pub fn column_name(place: usize) -> String {
    format!("__column_{place}")
}
