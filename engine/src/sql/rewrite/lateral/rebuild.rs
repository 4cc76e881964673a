//! Small parts of plans that unnesting puts together.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue, plan_err};
use datafusion::functions_nested::expr_fn::array_length;
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, SortExpr, Unnest, Window, lit, when};

use crate::plan::ties::place_nulls;

/// Expressions under the names of a schema's columns.
pub(in crate::sql::rewrite) fn named_like(schema: &DFSchema, exprs: Vec<Expr>) -> Vec<Expr> {
    let named = exprs.into_iter().zip(schema.iter()).map(|(expr, (qualifier, field))| match &expr {
        Expr::Column(column) if column.relation.as_ref() == qualifier && column.name == *field.name() => expr,
        _ => expr.alias_qualified(qualifier.cloned(), field.name()),
    });
    named.collect()
}

/// The column at a place of a plan's output.
pub(in crate::sql::rewrite) fn column_at(plan: &LogicalPlan, place: usize) -> Column {
    Column::from(plan.schema().qualified_field(place))
}

/// The rows of a plan, filtered.
pub(in crate::sql::rewrite) fn filter(plan: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan> {
    match conjunction(conditions) {
        Some(condition) => Ok(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?)),
        None => Ok(plan),
    }
}

/// The first rows per value of `partition`: a row number and a filter. Ties are broken by all columns, so that it is
/// certain which rows these are. The row number is left as the last column.
pub(in crate::sql::rewrite) fn first_rows(
    plan: LogicalPlan,
    partition: Vec<Expr>,
    mut order: Vec<SortExpr>,
    (skip, fetch): (u64, Option<u64>),
    name: &str,
) -> Result<LogicalPlan> {
    place_nulls(&mut order, plan.schema())?;
    for (qualifier, field) in plan.schema().iter() {
        let column = Expr::Column(Column::from((qualifier, field)));
        let orderable = !matches!(field.data_type(), DataType::Map(..) | DataType::Union(..));
        if orderable && !partition.contains(&column) && !order.iter().any(|sort| sort.expr == column) {
            order.push(column.sort(true, field.data_type().is_nested()));
        }
    }
    let mut function = WindowFunction::new(row_number_udwf(), vec![]);
    function.params.partition_by = partition;
    function.params.window_frame = datafusion::logical_expr::WindowFrame::new(Some(true));
    function.params.order_by = order;
    let number = Expr::WindowFunction(Box::new(function)).alias(name);
    let window = LogicalPlan::Window(Window::try_new(vec![number], Arc::new(plan))?);
    let number = || Expr::Column(Column::from_name(name));
    let mut conditions = Vec::new();
    if skip > 0 {
        conditions.push(number().gt(lit(skip)));
    }
    if let Some(fetch) = fetch {
        conditions.push(number().lt_eq(lit(skip.saturating_add(fetch))));
    }
    filter(window, conditions)
}

/// A number of LIMIT or OFFSET.
pub(in crate::sql::rewrite) fn constant(expr: Option<&Expr>) -> Result<Option<u64>> {
    match expr {
        None => Ok(None),
        Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::UInt64)? {
            ScalarValue::UInt64(value) => Ok(value),
            _ => plan_err!("LIMIT and OFFSET must be whole numbers"),
        },
        Some(other) => {
            plan_err!("LIMIT or OFFSET by the expression `{other}` in a correlated subquery is not supported")
        }
    }
}

/// What an aggregate without GROUP BY gives for no rows.
pub(in crate::sql::rewrite) fn value_for_nothing(expr: &Expr, data_type: &DataType) -> Result<ScalarValue> {
    match expr.clone().unalias_nested().data {
        Expr::AggregateFunction(AggregateFunction { func, .. }) => func.default_value(data_type),
        other => plan_err!("the aggregate expression `{other}` in a correlated subquery is not supported"),
    }
}

/// The lists of an UNNEST, each as a list of one NULL where all of them are NULL or empty.
pub(in crate::sql::rewrite) fn padded_lists(unnest: &Unnest) -> Result<Vec<(Column, Expr)>> {
    let schema = unnest.input.schema();
    let columns = unnest.list_type_columns.iter().map(|(place, _)| Column::from(schema.qualified_field(*place)));
    let columns = columns.collect::<Vec<_>>();
    let empty = |column: &Column| {
        let list = Expr::Column(column.clone());
        let length = array_length(list);
        length.clone().is_null().or(length.eq(lit(0_u64)))
    };
    let Some(nothing) = columns.iter().map(empty).reduce(Expr::and) else { return Ok(vec![]) };
    let padded = columns.into_iter().map(|column| {
        let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
            schema.field_from_column(&column)?.data_type().clone()
        else {
            return plan_err!("only a list can be unnested");
        };
        let null = ScalarValue::try_new_null(item.data_type())?;
        let one = ScalarValue::List(ScalarValue::new_list_nullable(&[null], item.data_type()));
        let list = Expr::Column(column.clone());
        Ok((column, when(nothing.clone(), lit(one)).otherwise(list)?))
    });
    padded.collect()
}
