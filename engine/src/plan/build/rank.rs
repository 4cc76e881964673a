//! Finds the top-N in a filter over ROW_NUMBER: which window is meant, and how many rows of a partition can pass.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlan, Operator as SqlOperator, Window, WindowFunctionDefinition,
};

/// The numbering of rows that a filter above a window limits.
pub(super) struct RankLimit {
    pub(super) limit: Option<usize>,
    pub(super) rest: Option<Expr>,
}

pub(super) fn is_row_number(function: &WindowFunction) -> bool {
    matches!(&function.fun, WindowFunctionDefinition::WindowUDF(udf) if udf.name() == "row_number")
        && function.params.filter.is_none()
}

pub(super) fn window_field(window: &Window) -> Field {
    let fields = window.schema.as_arrow().fields();
    fields[fields.len() - 1].as_ref().clone().with_nullable(true)
}

/// The window under a filter, through aliases and projections that only move columns, and the filter in terms of its columns.
pub(super) fn window_below<'a>(plan: &'a LogicalPlan, predicate: &Expr) -> Option<(&'a Window, Expr)> {
    match plan {
        LogicalPlan::Window(window) => Some((window, predicate.clone())),
        LogicalPlan::SubqueryAlias(alias) => {
            let names = alias.schema.columns().into_iter().zip(alias.input.schema().columns());
            let moved = names.map(|(from, to)| (from, Expr::Column(to))).collect();
            window_below(&alias.input, &replace_columns(predicate, &moved)?)
        }
        LogicalPlan::Projection(projection) => {
            let moved = projection
                .schema
                .columns()
                .into_iter()
                .zip(&projection.expr)
                .map(|(from, to)| (from, to.clone().unalias_nested().data))
                .collect();
            window_below(&projection.input, &replace_columns(predicate, &moved)?)
        }
        _ => None,
    }
}

pub(super) fn replace_columns(expr: &Expr, columns: &HashMap<datafusion::common::Column, Expr>) -> Option<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let replaced = expr.clone().transform(|e| {
        Ok(match &e {
            Expr::Column(c) => match columns.get(c) {
                Some(to) => Transformed::yes(to.clone()),
                None => return Err(datafusion::error::DataFusionError::Plan("unknown column".into())),
            },
            _ => Transformed::no(e),
        })
    });
    replaced.ok().map(|t| t.data)
}

/// The column that holds the row number of a window that computes nothing else.
pub(super) fn rank_column(window: &Window) -> Option<datafusion::common::Column> {
    match window.window_expr.as_slice() {
        [expr] => match expr.clone().unalias_nested().data {
            Expr::WindowFunction(function) if is_row_number(&function) => window.schema.columns().last().cloned(),
            _ => None,
        },
        _ => None,
    }
}

/// Splits a filter into the upper bound of the row number and the rest.
pub(super) fn rank_limit(predicate: Expr, rank: &datafusion::common::Column) -> RankLimit {
    let mut limit: Option<usize> = None;
    let mut rest = Vec::new();
    for part in split_conjunction_owned(predicate) {
        match upper_bound(&part, rank) {
            // An equality with 1 is an upper bound and nothing else; other equalities also need the filter itself.
            Some((bound, exact)) => {
                limit = Some(limit.map_or(bound, |l| l.min(bound)));
                if exact && bound != 1 {
                    rest.push(part);
                }
            }
            None => rest.push(part),
        }
    }
    RankLimit { limit, rest: conjunction(rest) }
}

/// `rank <= n` as (n, false), `rank = n` as (n, true).
pub(super) fn upper_bound(expr: &Expr, rank: &datafusion::common::Column) -> Option<(usize, bool)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(c), Expr::Literal(value, _)) if c == rank => (*op, value),
        (Expr::Literal(value, _), Expr::Column(c)) if c == rank => (op.swap()?, value),
        _ => return None,
    };
    let ScalarValue::UInt64(Some(value)) = value.cast_to(&DataType::UInt64).ok()? else { return None };
    let value = usize::try_from(value).ok()?;
    match op {
        SqlOperator::LtEq => Some((value, false)),
        SqlOperator::Lt => Some((value.saturating_sub(1), false)),
        SqlOperator::Eq => Some((value, true)),
        _ => None,
    }
}
