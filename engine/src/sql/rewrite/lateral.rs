//! LATERAL: a relation in FROM whose rows depend on the row to its left.
//!
//! Unnested the way of Neumann and Kemper ("Unnesting Arbitrary Queries", BTW 2015). The columns that the right side takes
//! from the left, its *outer columns*, are collected without duplicates into a *domain*. The right side is then computed
//! for all of the domain at once, with the outer columns carried through every operator: aggregates group by them, window
//! functions partition by them, LIMIT becomes a row number per value of them. At the end it is joined to the left side by
//! the outer columns. DataFusion's own rule does this only for inner joins of filters and aggregates.
//!
//! Two shapes get by without a domain: a filter that sets an expression equal to every outer column gives the columns
//! itself (the usual top-N per group), and a right side that reads no table (UNNEST, generate_series) is computed next to
//! the left row.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinConstraint, JoinType, NullEquality, Result, plan_err};
use datafusion::logical_expr::{Distinct, EmptyRelation, Expr, Join, LogicalPlan, Projection, SubqueryAlias, lit};

use pull::{Dependent, Pulled};

mod combine;
mod pull;
pub(super) mod rebuild;

/// Rewrites a join if its right side is lateral. `number` makes the names that are introduced unique.
pub(super) fn rewrite(plan: LogicalPlan, number: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let join = match plan {
        LogicalPlan::Join(join) => join,
        LogicalPlan::SubqueryAlias(alias) => return independent(alias),
        other => return Ok(Transformed::no(other)),
    };
    if !is_lateral(&join.right) || outer_columns(&join.right, join.left.schema()).is_empty() {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) || !join.on.is_empty() {
        return plan_err!("LATERAL is only possible on the right side of an inner or left join with ON");
    }
    let filter = join.filter.filter(|filter| *filter != lit(true));
    Ok(Transformed::yes(dependent_join(join.left, &join.right, join.join_type, filter, number)?))
}

/// A relation that is LATERAL and takes nothing from the left is an ordinary one. DataFusion sees that only if nothing within it was
/// lateral either.
fn independent(alias: SubqueryAlias) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Subquery(lateral) = alias.input.as_ref()
        && lateral.subquery.all_out_ref_exprs().is_empty()
    {
        let plain = SubqueryAlias::try_new(Arc::clone(&lateral.subquery), alias.alias.clone())?;
        return Ok(Transformed::yes(LogicalPlan::SubqueryAlias(plain)));
    }
    Ok(Transformed::no(LogicalPlan::SubqueryAlias(alias)))
}

fn is_lateral(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Subquery(_) => true,
        LogicalPlan::SubqueryAlias(alias) => is_lateral(&alias.input),
        _ => false,
    }
}

/// The columns of `left` that `plan` takes.
pub(super) fn outer_columns(plan: &LogicalPlan, left: &DFSchema) -> Vec<Column> {
    let mut columns = Vec::new();
    for expr in plan.all_out_ref_exprs() {
        if let Expr::OuterReferenceColumn(_, column) = expr
            && left.has_column(&column)
            && !columns.contains(&column)
        {
            columns.push(column);
        }
    }
    columns
}

/// Every row of `left` with every row that `right` gives for it, as a join of that type: left columns, then right columns.
pub(super) fn dependent_join(
    left: Arc<LogicalPlan>,
    right: &LogicalPlan,
    kind: JoinType,
    filter: Option<Expr>,
    number: &mut usize,
) -> Result<LogicalPlan> {
    *number += 1;
    if filter.is_none() && reads_nothing(right) && (kind == JoinType::Inner || can_pad(right)) {
        return beside(&left, right, kind, *number);
    }
    let mut dependent = Dependent::new(&left, outer_columns(right, left.schema()), *number);
    let pulled = dependent.pull(right)?;
    joined(&left, right, kind, filter, dependent, pulled)
}

/// As a left join, where a right side that ends in an aggregate without GROUP BY gives no row for what it finds nothing for.
pub(super) fn left_join_of_found(
    left: &Arc<LogicalPlan>,
    right: &LogicalPlan,
    number: &mut usize,
) -> Result<LogicalPlan> {
    *number += 1;
    let mut dependent = Dependent::of_found(left, outer_columns(right, left.schema()), *number);
    let pulled = dependent.pull(right)?;
    joined(left, right, JoinType::Left, None, dependent, pulled)
}

fn joined(
    left: &Arc<LogicalPlan>,
    right: &LogicalPlan,
    kind: JoinType,
    filter: Option<Expr>,
    dependent: Dependent<'_>,
    pulled: Pulled,
) -> Result<LogicalPlan> {
    let outer = dependent.outer();
    let on = outer.iter().zip(&pulled.keys);
    let on = on.map(|(outer, key)| (Expr::Column(outer.clone()), Expr::Column(key.clone()))).collect();
    let schema = left.schema().join(right.schema())?;
    let null_equality =
        if dependent.has_null_keys() { NullEquality::NullEqualsNull } else { NullEquality::NullEqualsNothing };
    let right = Arc::new(pulled.plan);
    let join = Join::try_new(Arc::clone(left), right, on, filter, kind, JoinConstraint::On, null_equality, false)?;
    project(LogicalPlan::Join(join), schema.columns().into_iter().map(Expr::Column).collect())
}

/// Whether a plan only computes from constants and outer columns, row by row.
fn reads_nothing(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row, .. }) => *produce_one_row,
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Filter(_) => plan.inputs().into_iter().all(reads_nothing),
        _ => false,
    }
}

/// Whether a left join can pad by unnesting a list of one NULL: one UNNEST, and above it columns are only moved.
fn can_pad(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(Projection { expr, input, .. }) => {
            expr.iter().all(|e| matches!(e.clone().unalias_nested().data, Expr::Column(_))) && can_pad(input)
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => can_pad(input),
        LogicalPlan::Subquery(subquery) => can_pad(&subquery.subquery),
        LogicalPlan::Unnest(unnest) => {
            let deep = unnest.list_type_columns.iter().any(|(_, list)| list.depth != 1);
            !deep && !unnest.list_type_columns.is_empty() && without_unnest(&unnest.input)
        }
        _ => false,
    }
}

fn without_unnest(plan: &LogicalPlan) -> bool {
    !matches!(plan, LogicalPlan::Unnest(_) | LogicalPlan::Filter(_)) && plan.inputs().into_iter().all(without_unnest)
}

/// Computes a right side that reads nothing next to each left row: no join is needed.
fn beside(left: &Arc<LogicalPlan>, right: &LogicalPlan, kind: JoinType, number: usize) -> Result<LogicalPlan> {
    let columns = left.schema().columns();
    let mut dependent = Dependent::beside(left, columns, number, kind == JoinType::Left);
    let pulled = dependent.pull(right)?;
    let lefts = pulled.keys.iter().map(|key| Expr::Column(key.clone())).collect();
    let mut exprs = rebuild::named_like(left.schema(), lefts);
    exprs.extend(right.schema().columns().into_iter().map(Expr::Column));
    project(pulled.plan, exprs)
}

/// A projection that takes the expressions as they are.
pub(super) fn project(input: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
}

/// Without duplicates.
pub(super) fn distinct(input: LogicalPlan) -> LogicalPlan {
    LogicalPlan::Distinct(Distinct::All(Arc::new(input)))
}

/// Whether any expression of a plan holds a subquery that takes one of the columns: correlation over two levels.
fn skips_a_level(plan: &LogicalPlan, outer: &[Column]) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            let (Expr::ScalarSubquery(subquery)
            | Expr::Exists(datafusion::logical_expr::expr::Exists { subquery, .. })
            | Expr::InSubquery(datafusion::logical_expr::expr::InSubquery { subquery, .. })) = expr
            else {
                return Ok(TreeNodeRecursion::Continue);
            };
            let refers = |e: &Expr| matches!(e, Expr::OuterReferenceColumn(_, column) if outer.contains(column));
            found |= subquery.subquery.all_out_ref_exprs().iter().any(refers);
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}
