//! INTERSECT ALL and EXCEPT ALL as operations on multisets.
//!
//! DataFusion plans them as semi and anti joins, which keep every copy of a left row or none: with 3 copies on the left and
//! 1 on the right, EXCEPT ALL must leave 2. Here both sides are counted together by value,
//!
//! ```text
//! Repeat: number                                      -- each row so often
//!   Projection: columns, least(l, r) or l - r AS number
//!     Aggregate: group by columns, sum(l) AS l, sum(r) AS r
//!       Union
//!         Projection: left columns, 1 AS l, 0 AS r
//!         Projection: right columns, 0 AS l, 1 AS r
//! ```
//!
//! which costs one group per distinct row, and one change of a group per changed row. The forms without ALL stay joins of a
//! DISTINCT left side, which are right.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    Distinct, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, cast, col, ident, lit, when,
};

use crate::plan::logical::{Repeat, extension};

const LEFT: &str = "__left";
const RIGHT: &str = "__right";
const NUMBER: &str = "__number";

/// Rewrites a plan node if it is such an operation.
pub(super) fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Join(join) if is_all(&join) => Ok(Transformed::yes(counted(&join)?)),
        plan => Ok(Transformed::no(plan)),
    }
}

/// Nothing else makes semi and anti joins of all columns in which NULL equals NULL.
fn is_all(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && join.on.len() == join.left.schema().fields().len()
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)))
}

fn counted(join: &Join) -> Result<LogicalPlan> {
    let names: Vec<String> = (0..join.on.len()).map(|column| format!("__column_{column}")).collect();
    let mut sides = [Vec::new(), Vec::new()];
    for ((left, right), name) in join.on.iter().zip(&names) {
        let (left_type, right_type) = (left.get_type(join.left.schema())?, right.get_type(join.right.schema())?);
        let common = comparison_coercion(&left_type, &right_type).unwrap_or(left_type);
        sides[0].push(cast(left.clone(), common.clone()).alias(name));
        sides[1].push(cast(right.clone(), common).alias(name));
    }
    let [mut left, mut right] = sides;
    left.extend([lit(1_i64).alias(LEFT), lit(0_i64).alias(RIGHT)]);
    right.extend([lit(0_i64).alias(LEFT), lit(1_i64).alias(RIGHT)]);
    let left = LogicalPlanBuilder::from(join.left.clone()).project(left)?.build()?;
    let right = LogicalPlanBuilder::from(join.right.clone()).project(right)?.build()?;
    let number = match join.join_type {
        JoinType::LeftSemi => when(ident(LEFT).lt(ident(RIGHT)), ident(LEFT)).otherwise(ident(RIGHT))?,
        _ => ident(LEFT) - ident(RIGHT),
    };
    let columns = || names.iter().map(ident);
    let plan = LogicalPlanBuilder::from(left)
        .union(right)?
        .aggregate(columns(), [sum(col(LEFT)).alias(LEFT), sum(col(RIGHT)).alias(RIGHT)])?
        .project(columns().chain([number.alias(NUMBER)]))?
        .filter(ident(NUMBER).gt(lit(0_i64)))?
        .build()?;
    let repeated = extension(Repeat::try_new(plan, Column::from_name(NUMBER))?);
    let output = join.left.schema().iter().zip(columns()).map(|((qualifier, field), value): (_, Expr)| {
        cast(value, field.data_type().clone()).alias_qualified(qualifier.cloned(), field.name())
    });
    let plan = LogicalPlanBuilder::from(repeated).project(output)?.build()?;
    Ok(plan)
}
