//! What may be compared, and how: maps may not be keys, and there is one zero and one NaN. Where floats are compared, -0.0 is 0.0 and every NaN is the same, greater than all numbers.
//!
//! DataFusion compares floats by their bits in total order, so that -0.0 is less than 0.0 and the NaN that a division makes less
//! than everything. Operators of continuous queries compare as PostgreSQL does. Here both are made to: what is compared, grouped,
//! joined or sorted is passed through [`OneZero`] first. A comparison with a number other than zero needs it only for NaN and keeps
//! its form, so that files can still be skipped by their statistics.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, exec_err, plan_err};
use datafusion::logical_expr::expr::{AggregateFunction, ScalarFunction, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, ColumnarValue, Distinct, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use storage::types::one_zero;

/// A float with one zero and one NaN.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OneZero {
    /// It is an argument or a key of an aggregate or window function.
    within_call: bool,
    signature: Signature,
}

impl ScalarUDFImpl for OneZero {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "one_zero"
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(ToString::to_string).collect())
    }

    /// Within a call the operand's own name, so that the call keeps its name; alone a name of its own, because the planner puts such
    /// keys beside the columns that they are made of.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let operand: String = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(if self.within_call { operand } else { format!("one_zero({operand})") })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [float] => Ok(float.clone()),
            _ => exec_err!("one_zero has one operand"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(one_zero(array))),
            [ColumnarValue::Scalar(scalar)] => {
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&one_zero(&scalar.to_array()?), 0)?))
            }
            _ => exec_err!("one_zero has one operand"),
        }
    }
}

fn is_float(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Float32 | DataType::Float64))
}

/// Whether its value has one zero and one NaN already.
fn is_settled(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => call.func.name() == "one_zero",
        Expr::Alias(alias) => is_settled(&alias.expr),
        Expr::Literal(..) => true,
        _ => false,
    }
}

fn settled(expr: Expr, within_call: bool) -> Expr {
    let signature = Signature::user_defined(Volatility::Immutable);
    let function = Arc::new(ScalarUDF::new_from_impl(OneZero { within_call, signature }));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![expr]))
}

/// Settles the expressions that are floats; whether there were any.
fn settle_all(exprs: &mut [Expr], schema: &DFSchema, within_call: bool) -> bool {
    let mut any = false;
    for expr in exprs {
        if is_float(expr, schema) && !is_settled(expr) {
            *expr = settled(std::mem::take(expr), within_call);
            any = true;
        }
    }
    any
}

/// Whether a literal is neither zero nor NaN, so that bits compare as numbers do.
fn is_plain_number(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => *value != 0.0 && !value.is_nan(),
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => *value != 0.0 && !value.is_nan(),
        Expr::Literal(value, _) => value.is_null(),
        _ => false,
    }
}

/// Comparisons, and the keys of aggregates and window functions within an expression.
pub(super) fn expression(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
            let mut sides = [*left, *right];
            let settles = sides.iter().any(|side| is_float(side, schema)) && !sides.iter().any(is_plain_number);
            let any = settles && settle_all(&mut sides, schema, false);
            let [left, right] = sides;
            let compared = Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) });
            Transformed::new_transformed(compared, any)
        }
        Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
            let any = params.distinct && settle_all(&mut params.args, schema, true);
            Transformed::new_transformed(Expr::AggregateFunction(AggregateFunction { func, params }), any)
        }
        Expr::WindowFunction(mut window) => {
            let WindowFunction { params, .. } = window.as_mut();
            let mut any = settle_all(&mut params.partition_by, schema, true);
            any |= params.distinct && settle_all(&mut params.args, schema, true);
            for sort in &mut params.order_by {
                any |= settle_all(std::slice::from_mut(&mut sort.expr), schema, true);
            }
            Transformed::new_transformed(Expr::WindowFunction(window), any)
        }
        other => Transformed::no(other),
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Maps are not compared: their entries have no order.
fn refuse_maps(clause: &str, keys: &[Expr], schema: &DFSchema) -> Result<()> {
    match keys.iter().find(|key| key.get_type(schema).is_ok_and(|data_type| has_map(&data_type))) {
        Some(key) => {
            plan_err!("the map {key} cannot be a key of {clause}: write map_entries({key}), or name what of it counts")
        }
        None => Ok(()),
    }
}

fn has_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_map(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        _ => false,
    }
}

/// Keys that belong to a node of the plan: of GROUP BY, DISTINCT, joins and ORDER BY.
pub(super) fn of_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            refuse_maps("GROUP BY", &aggregate.group_expr, aggregate.input.schema())?;
            let names = NamePreserver::new_for_projection();
            let schema = aggregate.input.schema();
            let mut any = false;
            let mut group_expr = aggregate.group_expr.clone();
            for expr in &mut group_expr {
                if is_float(expr, schema) && !is_settled(expr) {
                    let name = names.save(expr);
                    *expr = name.restore(settled(std::mem::take(expr), false));
                    any = true;
                }
            }
            if !any {
                return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
            }
            let settled = Aggregate::try_new(aggregate.input, group_expr, aggregate.aggr_expr)?;
            Ok(Transformed::yes(LogicalPlan::Aggregate(settled)))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let schema = input.schema().clone();
            let all: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
            refuse_maps("DISTINCT", &all, &schema)?;
            let float = |field: &DataType| matches!(field, DataType::Float32 | DataType::Float64);
            if !schema.fields().iter().any(|field| float(field.data_type())) {
                return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
            }
            let columns = schema.columns().into_iter().zip(schema.fields()).map(|(column, field)| {
                let (relation, name) = (column.relation.clone(), column.name.clone());
                match float(field.data_type()) {
                    true => settled(Expr::Column(column), false).alias_qualified(relation, name),
                    false => Expr::Column(column),
                }
            });
            let columns: Vec<Expr> = columns.collect();
            let input = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input)).project(columns)?.build()?;
            Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(Arc::new(input)))))
        }
        LogicalPlan::Join(mut join) => {
            let mut any = false;
            for (left, _) in &join.on {
                refuse_maps("a join", std::slice::from_ref(left), join.left.schema())?;
            }
            for (left, right) in &mut join.on {
                any |= settle_all(std::slice::from_mut(left), join.left.schema(), false);
                any |= settle_all(std::slice::from_mut(right), join.right.schema(), false);
            }
            Ok(Transformed::new_transformed(LogicalPlan::Join(join), any))
        }
        LogicalPlan::Sort(mut sort) => {
            let mut any = false;
            for key in &mut sort.expr {
                any |= settle_all(std::slice::from_mut(&mut key.expr), sort.input.schema(), false);
            }
            Ok(Transformed::new_transformed(LogicalPlan::Sort(sort), any))
        }
        other => Ok(Transformed::no(other)),
    }
}
