//! Finds the top-N in a filter over ROW_NUMBER, RANK or DENSE_RANK: which window is meant, and which positions can pass.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlan, Operator as SqlOperator, Window, WindowFunctionDefinition,
};

use super::over::window_function;
use crate::operator::top_n::Rank;

/// The positions that a filter above a window lets pass.
#[derive(Default)]
pub(super) struct RankLimit {
    /// So many first positions do not.
    pub(super) offset: usize,
    /// At most so many behind these do.
    pub(super) limit: Option<usize>,
    /// What else the filter asks for.
    pub(super) rest: Option<Expr>,
}

/// How a window function numbers rows, if that is what it does.
pub(super) fn numbering(function: &WindowFunction) -> Option<Rank> {
    match &function.fun {
        WindowFunctionDefinition::WindowUDF(udf) => match udf.name() {
            "row_number" => Some(Rank::RowNumber),
            "rank" => Some(Rank::Rank),
            "dense_rank" => Some(Rank::DenseRank),
            _ => None,
        },
        WindowFunctionDefinition::AggregateUDF(_) => None,
    }
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

/// The column that holds the number of a row, in a window that computes nothing else.
pub(super) fn rank_column(window: &Window) -> Option<(datafusion::common::Column, Rank)> {
    match window.window_expr.as_slice() {
        [expr] => window.schema.columns().last().cloned().zip(numbering(window_function(expr).ok()?)),
        _ => None,
    }
}

/// Splits a filter into the bounds of the number and the rest.
pub(super) fn rank_limit(predicate: Expr, rank: &datafusion::common::Column) -> RankLimit {
    let (mut above, mut up_to) = (0, None::<usize>);
    let mut rest = Vec::new();
    for part in split_conjunction_owned(predicate) {
        match bounds(&part, rank) {
            Some((low, high)) => {
                above = above.max(low);
                up_to = up_to.into_iter().chain(high).min();
            }
            None => rest.push(part),
        }
    }
    RankLimit { offset: above, limit: up_to.map(|up_to| up_to.saturating_sub(above)), rest: conjunction(rest) }
}

/// The numbers that pass a comparison with a literal: those above the first and up to the second.
fn bounds(expr: &Expr, rank: &datafusion::common::Column) -> Option<(usize, Option<usize>)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(c), Expr::Literal(value, _)) if c == rank => (*op, value),
        (Expr::Literal(value, _), Expr::Column(c)) if c == rank => (op.swap()?, value),
        _ => return None,
    };
    // A fraction or a negative number is left to the filter.
    let ScalarValue::UInt64(Some(number)) = value.cast_to(&DataType::UInt64).ok()? else { return None };
    if !value.data_type().is_integer() {
        return None;
    }
    let value = usize::try_from(number).ok()?;
    match op {
        SqlOperator::LtEq => Some((0, Some(value))),
        SqlOperator::Lt => Some((0, Some(value.saturating_sub(1)))),
        SqlOperator::Eq if value == 0 => Some((0, Some(0))),
        SqlOperator::Eq => Some((value - 1, Some(value))),
        SqlOperator::Gt => Some((value, None)),
        SqlOperator::GtEq => Some((value.saturating_sub(1), None)),
        _ => None,
    }
}
