//! One statement, one plan: DataFusion merges lists of literals through hash sets, so `a IN (1, 2)` may come out as
//! `a IN (2, 1)` or `a = 2 OR a = 1` the next time. State is only restored into the plan that wrote it: they are sorted.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{disjunction, split_binary_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

/// The plan with its lists of literals in an order that depends on nothing but what is in them.
pub fn stable(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|plan| plan.map_expressions(|expr| expr.transform_up(sorted))).data()
}

fn sorted(expr: Expr) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::InList(mut list) if list.list.iter().all(is_literal) => {
            list.list.sort_by_cached_key(ToString::to_string);
            Transformed::yes(Expr::InList(list))
        }
        Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => {
            let mut arms = split_binary_owned(expr, Operator::Or);
            // Others may rely on what stands before them: `a = 0 OR 1 / a > 2`.
            if arms.iter().all(is_choice) {
                arms.sort_by_cached_key(ToString::to_string);
            }
            disjunction(arms).map_or_else(|| Transformed::no(Expr::default()), Transformed::yes)
        }
        other => Transformed::no(other),
    })
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

/// `column = literal`.
fn is_choice(expr: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = expr else { return false };
    matches!(left.as_ref(), Expr::Column(_)) && is_literal(right)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit, or};

    use super::*;

    fn filter(condition: Expr) -> String {
        let rows = LogicalPlanBuilder::values(vec![vec![lit(1)]]).unwrap();
        stable(rows.filter(condition).unwrap().build().unwrap()).unwrap().display_indent().to_string()
    }

    #[test]
    fn the_order_of_literals_makes_no_difference() {
        let is = |value: i32| col("column1").eq(lit(value));
        assert_eq!(filter(or(or(is(2), is(1)), is(3))), filter(or(is(3), or(is(2), is(1)))));
        let list = |values: [i32; 3]| col("column1").in_list(values.map(lit).to_vec(), false);
        assert_eq!(filter(list([1, 2, 3])), filter(list([3, 1, 2])));
    }

    #[test]
    fn conditions_that_may_fail_stay_where_they_are() {
        let guarded = or(col("column1").eq(lit(0)), (lit(1) / col("column1")).gt(lit(2)));
        assert!(filter(guarded.clone()).contains(&guarded.to_string()));
    }
}
