//! The current time in a logical plan: placeholders, which no rule of the optimiser computes and every rule moves as it moves
//! constants. So a filter on the time comes to stand as far down as any other filter.

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Placeholder;

/// The placeholders of the current time, TIMESTAMPs; a number follows.
pub const NOW: &str = "$frazil_now_";
/// The placeholders of the current date; a number follows.
pub const TODAY: &str = "$frazil_today_";

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The current time in UTC, TIMESTAMP.
    Now,
    /// The current date in UTC.
    Today,
}

/// What a placeholder of this module stands for.
pub fn clock(expr: &Expr) -> Option<Clock> {
    match expr {
        Expr::Placeholder(Placeholder { id, .. }) if id.starts_with(NOW) => Some(Clock::Now),
        Expr::Placeholder(Placeholder { id, .. }) if id.starts_with(TODAY) => Some(Clock::Today),
        _ => None,
    }
}

/// Whether the time is read anywhere in an expression.
pub fn reads_clock(expr: &Expr) -> bool {
    expr.exists(|e| Ok(clock(e).is_some())).unwrap_or(false)
}

/// An expression as the user wrote it.
pub fn as_written(expr: &Expr) -> String {
    let named = expr.clone().transform_up(|e| {
        Ok(match clock(&e) {
            Some(Clock::Now) => Transformed::yes(Expr::Column(Column::new_unqualified("now()"))),
            Some(Clock::Today) => Transformed::yes(Expr::Column(Column::new_unqualified("current_date"))),
            None => Transformed::no(e),
        })
    });
    named.map_or_else(|_| expr.to_string(), |named| named.data.to_string())
}
