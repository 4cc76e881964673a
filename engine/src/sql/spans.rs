//! Differences of times compared with intervals: `a - b < INTERVAL '1' DAY` becomes `a < b + INTERVAL '1' DAY`, in batch and in
//! continuous queries.
//!
//! DataFusion 53 compares intervals field by field, months before days before nanoseconds, and the difference of two times
//! has nanoseconds only: so every difference would be less than any interval of a day. The other form says what is meant,
//! and is the one in which joins and filters can be kept with bounded state. Intervals with months have no fixed length and
//! are left as they are.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, binary_expr};

use crate::error::Result;
use crate::operator::join::micros;

/// The plan with such comparisons rewritten.
pub fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr =
                expr.transform_up(|e| Ok(moved(&e, &schema).map_or_else(|| Transformed::no(e), Transformed::yes)))?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(rewritten.data)
}

/// The other form of a comparison of a difference with an interval.
fn moved(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    if !matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq | Operator::Eq | Operator::NotEq) {
        return None;
    }
    let (difference, op, span) = match (is_span(left), is_span(right)) {
        (false, true) => (left, *op, right),
        (true, false) => (right, op.swap()?, left),
        _ => return None,
    };
    let Expr::BinaryExpr(BinaryExpr { left: a, op: Operator::Minus, right: b }) = difference.as_ref() else {
        return None;
    };
    let is_time = |e: &Expr| matches!(e.get_type(schema), Ok(DataType::Timestamp(..)));
    (is_time(a) && is_time(b)).then(|| {
        let until = binary_expr(b.as_ref().clone(), Operator::Plus, span.as_ref().clone());
        binary_expr(a.as_ref().clone(), op, until)
    })
}

/// Whether an expression is an interval of fixed length.
fn is_span(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => micros(value).is_some(),
        Expr::Negative(inner) => is_span(inner),
        _ => false,
    }
}
