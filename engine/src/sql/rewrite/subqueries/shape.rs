//! What the form of a subquery's plan says about it.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result, plan_err};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, LogicalPlan, Operator, lit};

use crate::sql::rewrite::lateral::rebuild;

/// Whether a plan takes columns of the query around it.
pub(super) fn takes_outer(plan: &LogicalPlan) -> bool {
    !plan.all_out_ref_exprs().is_empty()
}

/// Whether DataFusion's rule for EXISTS and IN does the right thing: nothing but what passes rows on stands above filters
/// on outer columns.
pub(super) fn is_plain(plan: &LogicalPlan) -> bool {
    if !takes_outer(plan) {
        return true;
    }
    let filters_only = matches!(plan, LogicalPlan::Filter(_)) || !plan.contains_outer_reference();
    filters_only
        && match plan {
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Distinct(Distinct::All(_)) => plan.inputs().into_iter().all(is_plain),
            LogicalPlan::Join(join) => match join.join_type {
                JoinType::Inner => is_plain(&join.left) && is_plain(&join.right),
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                    is_plain(&join.left) && !takes_outer(&join.right)
                }
                JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                    !takes_outer(&join.left) && is_plain(&join.right)
                }
                JoinType::Full => false,
            },
            _ => false,
        }
}

/// Whether a subquery is an aggregate over filters that set columns equal to outer ones: then it can be left-joined, and what
/// it gives for nothing is put in afterwards.
pub(super) fn is_plain_scalar(plan: &LogicalPlan) -> bool {
    if !takes_outer(plan) {
        return true;
    }
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            !plan.contains_outer_reference() && plan.inputs().into_iter().all(is_plain_scalar)
        }
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty()
                && !plan.contains_outer_reference()
                && is_plain(&aggregate.input)
                && by_equality(&aggregate.input)
        }
        _ => false,
    }
}

/// A column of a plan as [`is_plain_scalar`] describes it, where there is nothing to aggregate.
pub(super) fn value_of_nothing(plan: &LogicalPlan, place: usize) -> Result<Expr> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => value_of_nothing(&alias.input, place),
        LogicalPlan::Aggregate(aggregate) => {
            let data_type = plan.schema().field(place).data_type();
            Ok(lit(rebuild::value_for_nothing(&aggregate.aggr_expr[place], data_type)?))
        }
        LogicalPlan::Projection(projection) => {
            let schema = projection.input.schema();
            let value = projection.expr[place].clone().unalias_nested().data.transform(|e| match &e {
                Expr::Column(column) => {
                    let below = value_of_nothing(&projection.input, schema.index_of_column(column)?)?;
                    Ok(Transformed::yes(below))
                }
                _ => Ok(Transformed::no(e)),
            });
            value.data()
        }
        other => plan_err!("{} is not possible in this subquery", other.display()),
    }
}

/// Whether all conditions on outer columns set a column equal to them.
fn by_equality(plan: &LogicalPlan) -> bool {
    let own = match plan {
        LogicalPlan::Filter(filter) => split_conjunction_owned(filter.predicate.clone()).iter().all(|condition| {
            let equality =
                |inner: &Expr, outer: &Expr| matches!(inner, Expr::Column(_)) && outer.column_refs().is_empty();
            !condition.contains_outer()
                || matches!(condition, Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
                    if equality(left, right) || equality(right, left))
        }),
        _ => true,
    };
    own && plan.inputs().into_iter().all(by_equality)
}

/// Whether the form of a plan says that it gives at most one row.
pub(super) fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => plan.inputs().into_iter().all(gives_one_row),
        LogicalPlan::Limit(limit) => {
            gives_one_row(&limit.input)
                || rebuild::constant(limit.fetch.as_deref()).is_ok_and(|fetch| fetch.is_some_and(|fetch| fetch <= 1))
        }
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Values(values) => values.values.len() <= 1,
        _ => false,
    }
}
