//! What arithmetic and casts mean, in batch and in continuous queries alike: one rewrite of every logical plan.
//!
//! DataFusion wraps integers that overflow, tells -0.0 from 0.0, matches the fields of structs by name only, finds values in the fields
//! of structs that are NULL, and truncates fractions where PostgreSQL
//! rounds. After its types are settled, such expressions become calls of [`super::functions::arithmetic`] and
//! [`super::functions::cast`], under the names that the expressions had.

mod keys;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::functions::arithmetic::Checked;
use super::functions::cast::{ExactCast, needs_exact_cast};
use super::functions::field::StructField;

/// See the module.
#[derive(Debug)]
pub struct ExactExpressions;

impl AnalyzerRule for ExactExpressions {
    fn name(&self) -> &str {
        "exact_expressions"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(rewrite).data()
    }
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let rewritten = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|expr| {
            let exact = exact(expr, &schema)?;
            exact.transform_data(|expr| Ok(keys::expression(expr, &schema)))
        });
        Ok(rewritten?.update_data(|expr| name.restore(expr)))
    })?;
    let rewritten = rewritten.transform_data(keys::of_node)?;
    // Only the names and the types of what changed are those of before; whether a column may be NULL can differ.
    if rewritten.transformed { rewritten.map_data(LogicalPlan::recompute_schema) } else { Ok(rewritten) }
}

fn exact(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let checked = match (left.get_type(schema), right.get_type(schema)) {
                (Ok(l), Ok(r)) => Checked::binary(op, &l, &r),
                // A column that only an outer query has: it is rewritten there.
                _ => None,
            };
            Ok(match checked {
                Some(checked) => Transformed::yes(call(ScalarUDF::new_from_impl(checked), vec![*left, *right])),
                None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            })
        }
        Expr::Negative(operand) => {
            let integer = operand.get_type(schema).is_ok_and(|data_type| data_type.is_signed_integer());
            // A negative literal is one already; its own sign cannot overflow.
            Ok(match integer && !matches!(*operand, Expr::Literal(..)) {
                true => Transformed::yes(call(ScalarUDF::new_from_impl(Checked::negation()), vec![*operand])),
                false => Transformed::no(Expr::Negative(operand)),
            })
        }
        Expr::Cast(Cast { expr, data_type }) => Ok(match exact_cast(&expr, &data_type, false, schema)? {
            Some(cast) => Transformed::yes(call(cast, vec![*expr])),
            None => Transformed::no(Expr::Cast(Cast { expr, data_type })),
        }),
        Expr::TryCast(TryCast { expr, data_type }) => Ok(match exact_cast(&expr, &data_type, true, schema)? {
            Some(cast) => Transformed::yes(call(cast, vec![*expr])),
            None => Transformed::no(Expr::TryCast(TryCast { expr, data_type })),
        }),
        Expr::ScalarFunction(field) if field.func.name() == "get_field" && !StructField::is(&field.func) => {
            let own = StructField::new(field.func);
            Ok(Transformed::yes(call(ScalarUDF::new_from_impl(own), field.args)))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn exact_cast(expr: &Expr, to: &DataType, safe: bool, schema: &DFSchema) -> Result<Option<ScalarUDF>> {
    match expr.get_type(schema) {
        Ok(from) if needs_exact_cast(&from, to) => Ok(Some(ScalarUDF::new_from_impl(ExactCast::new(&from, to, safe)?))),
        _ => Ok(None),
    }
}

fn call(function: ScalarUDF, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), args))
}
