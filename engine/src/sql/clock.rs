//! `now()` and its relatives: one time per statement in batch, the time of the epoch in continuous queries.
//!
//! In batch they are computed when the statement is optimised, from the time at which it was planned. In continuous
//! queries they become the placeholders of `plan::clock` right after planning, and `plan::build` makes temporal filters of
//! them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::registry::FunctionRegistry;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    Between, ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, binary_expr,
};
use datafusion::scalar::ScalarValue;

use crate::error::{Error, Result};
use crate::plan::clock::{NOW, TODAY, clock};

/// A function that stands in a query until it is replaced.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Now {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

impl ScalarUDFImpl for Now {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(micros())
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> DataFusionResult<ExprSimplifyResult> {
        Ok(match context.query_execution_start_time() {
            Some(now) => {
                let value = ScalarValue::TimestampMicrosecond(Some(now.timestamp_micros()), None);
                ExprSimplifyResult::Simplified(Expr::Literal(value, None))
            }
            None => ExprSimplifyResult::Original(args),
        })
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        datafusion::common::internal_err!("{} is called", self.name)
    }
}

fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// Registers `now()`, `current_timestamp`, `localtimestamp` and `proctime()`, which are one and the same: TIMESTAMP in UTC.
///
/// # Errors
/// A registry that takes no functions.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let aliases = ["current_timestamp", "localtimestamp", "proctime", "current_row_timestamp", "transaction_timestamp"];
    let aliases = aliases.map(str::to_owned).to_vec();
    let signature = Signature::nullary(Volatility::Stable);
    registry.register_udf(Arc::new(ScalarUDF::new_from_impl(Now { name: "now", aliases, signature })))?;
    Ok(())
}

/// The plan with placeholders for the functions.
pub fn to_placeholders(plan: LogicalPlan) -> Result<LogicalPlan> {
    // Each is another one, or the optimiser would compute what it takes for one expression once, in a projection.
    let mut number = 0;
    let plan = replace(plan, &mut |expr| match expr {
        Expr::Between(Between { expr, negated: false, low, high })
            if expr.exists(|e| Ok(called(e).is_some())).ok()? =>
        {
            let bound = |op, bound: &Expr| binary_expr(expr.as_ref().clone(), op, bound.clone());
            Some(bound(Operator::GtEq, low).and(bound(Operator::LtEq, high)))
        }
        _ => None,
    })?;
    replace(plan, &mut |expr| {
        let Expr::ScalarFunction(call) = expr else { return None };
        let (id, data_type) = called(expr)?;
        let field = Arc::new(Field::new(call.func.name(), data_type, false));
        number += 1;
        Some(Expr::Placeholder(Placeholder::new_with_field(format!("{id}{number}"), Some(field))))
    })
}

/// The plan of a view with placeholders that are none of the query's that reads it.
pub fn of_view(plan: LogicalPlan, view: &str) -> Result<LogicalPlan> {
    replace(plan, &mut |expr| {
        clock(expr)?;
        let Expr::Placeholder(Placeholder { id, field }) = expr else { return None };
        Some(Expr::Placeholder(Placeholder::new_with_field(format!("{id}_{view}"), field.clone())))
    })
}

/// A statement's time as DataFusion wants it.
///
/// # Errors
/// `Internal` for a time that no calendar has.
pub fn instant(now_ms: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_millis(now_ms).ok_or_else(|| Error::internal("the clock shows no time"))
}

/// The placeholder and the type for a call of one of the functions.
fn called(expr: &Expr) -> Option<(&'static str, DataType)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    match call.func.name() {
        "now" => Some((NOW, micros())),
        "current_date" => Some((TODAY, DataType::Date32)),
        _ => None,
    }
}

fn replace(plan: LogicalPlan, with: &mut dyn FnMut(&Expr) -> Option<Expr>) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|e| Ok(with(&e).map_or_else(|| Transformed::no(e), Transformed::yes)))?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?
        .map_data(|node| node.recompute_schema())
    })?;
    Ok(replaced.data)
}
