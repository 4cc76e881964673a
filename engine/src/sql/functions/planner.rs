//! Operators and names that become function calls while SQL is planned.
//!
//! | operator | meaning |
//! | --- | --- |
//! | `json -> key`, `json -> index` | the part as JSON, as in PostgreSQL |
//! | `json ->> key`, `json ->> index` | the part as text |
//! | `json #> '{a,0}'`, `json #>> '{a,0}'` | the same by a path of keys and indexes |
//! | `json ? key` | whether the key exists |
//! | `interval * number`, `interval / number` | the interval so many times |
//! | `date + integer`, `date - integer` | so many days later or earlier |
//! | `map[key]` | the value of the key, NULL if there is none |

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::functions_nested::extract::array_element_udf;
use datafusion::functions_nested::map_extract::map_extract_udf;
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, ScalarUDF, cast, lit, when};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;
use datafusion_functions_json::udfs;

use crate::sql::types::sql_name;

/// Plans the operators of this module.
#[derive(Debug)]
pub struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if let Some(planned) = of_times(&expr, schema)? {
            return Ok(PlannerResult::Planned(planned));
        }
        let (function, path) = match &expr.op {
            BinaryOperator::Arrow => (udfs::json_get_json_udf(), false),
            BinaryOperator::LongArrow => (udfs::json_as_text_udf(), false),
            BinaryOperator::HashArrow => (udfs::json_get_json_udf(), true),
            BinaryOperator::HashLongArrow => (udfs::json_as_text_udf(), true),
            BinaryOperator::Question => (udfs::json_contains_udf(), false),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let left = expr.left.get_type(schema)?;
        if !left.is_string() && !left.is_null() {
            return plan_err!("{} takes JSON on its left, that is VARCHAR, not {}", expr.op, sql_name(&left));
        }
        let name = format!("{} {} {}", text(&expr.left), expr.op, text(&expr.right));
        let mut args = vec![expr.left];
        if path {
            args.extend(path_of(&expr.right)?)
        } else {
            args.push(expr.right)
        }
        let null = args[0].clone().is_null();
        let planned = match expr.op {
            // Of NULL it is not known whether it has the key; the function says that it has not.
            BinaryOperator::Question => when(null, lit(ScalarValue::Boolean(None))).otherwise(call(function, args))?,
            _ => call(function, args),
        };
        Ok(PlannerResult::Planned(planned.alias(name)))
    }

    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let key_type = match expr.expr.get_type(schema)? {
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) if pair.len() == 2 => pair[0].data_type().clone(),
                _ => return Ok(PlannerResult::Original(expr)),
            },
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let key = match expr.field_access {
            GetFieldAccess::NamedStructField { name } => lit(name),
            GetFieldAccess::ListIndex { key } => *key,
            GetFieldAccess::ListRange { .. } => return plan_err!("a map has no slices: write map[key]"),
        };
        let name = format!("{}[{}]", text(&expr.expr), text(&key));
        let values = call(map_extract_udf(), vec![expr.expr, cast(key, key_type)]);
        Ok(PlannerResult::Planned(call(array_element_udf(), vec![values, lit(1_i64)]).alias(name)))
    }
}

/// Products of intervals and numbers, and dates that move by whole days.
fn of_times(expr: &RawBinaryExpr, schema: &DFSchema) -> Result<Option<Expr>> {
    let arithmetic = matches!(
        expr.op,
        BinaryOperator::Multiply | BinaryOperator::Divide | BinaryOperator::Plus | BinaryOperator::Minus
    );
    if !arithmetic {
        return Ok(None);
    }
    let (Ok(left), Ok(right)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else { return Ok(None) };
    let interval = |data_type: &DataType| matches!(data_type, DataType::Interval(_));
    let date = |data_type: &DataType| *data_type == DataType::Date32;
    let (l, r) = (expr.left.clone(), expr.right.clone());
    let (function, args) = match expr.op {
        BinaryOperator::Multiply if interval(&left) && right.is_numeric() => ("interval_times", vec![l, r]),
        BinaryOperator::Multiply if left.is_numeric() && interval(&right) => ("interval_times", vec![r, l]),
        BinaryOperator::Divide if interval(&left) && right.is_numeric() => ("interval_divided", vec![l, r]),
        BinaryOperator::Plus if date(&left) && right.is_integer() => ("date_plus_days", vec![l, r]),
        BinaryOperator::Plus if left.is_integer() && date(&right) => ("date_plus_days", vec![r, l]),
        BinaryOperator::Minus if date(&left) && right.is_integer() => ("date_minus_days", vec![l, r]),
        _ => return Ok(None),
    };
    let name = format!("{} {} {}", text(&expr.left), expr.op, text(&expr.right));
    let found = super::functions().into_iter().find(|known| known.name() == function);
    Ok(found.map(|function| call(function, args).alias(name)))
}

fn call(function: Arc<ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function, args))
}

/// How an operand is shown in a column's name.
fn text(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::Alias(alias) => alias.name.clone(),
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => format!("'{text}'"),
        Expr::Literal(value, _) => value.to_string(),
        other => other.schema_name().to_string(),
    }
}

/// The steps of PostgreSQL's path `{a,0,b}`.
fn path_of(path: &Expr) -> Result<Vec<Expr>> {
    if let Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) = path
        && let Some(inside) = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'))
    {
        let step = |step: &str| match step.trim().parse::<i64>() {
            Ok(index) => lit(index),
            Err(_) => lit(step.trim().trim_matches('"').to_owned()),
        };
        return Ok(inside.split(',').map(step).collect());
    }
    plan_err!("the path of #> must be a literal such as '{{a,0,b}}'; write json -> 'a' -> 0 otherwise")
}

/// Counts are BIGINT, as everywhere in SQL; DataFusion makes some of them unsigned, and then decimals of what is computed from them.
#[derive(Debug)]
pub struct SignedCounts;

const UNSIGNED: [&str; 5] = ["array_length", "cardinality", "array_ndims", "array_position", "json_length"];

impl FunctionRewrite for SignedCounts {
    fn name(&self) -> &str {
        "signed_counts"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let unsigned = match &expr {
            Expr::ScalarFunction(call) if UNSIGNED.contains(&call.func.name()) => {
                matches!(expr.get_type(schema), Ok(DataType::UInt64))
            }
            _ => false,
        };
        if !unsigned {
            return Ok(Transformed::no(expr));
        }
        Ok(Transformed::yes(Expr::Cast(Cast::new(Box::new(expr), DataType::Int64))))
    }
}
