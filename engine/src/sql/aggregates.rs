//! Aggregates that give one answer: the same in every mode, whatever the order, partitioning and history of their input.
//!
//! DataFusion's own aggregates leave some answers to chance: sums of floats depend on the order of rows, `array_agg` without
//! ORDER BY too, ties under ORDER BY are decided by arrival, percentiles of sketches by how they were merged; a sum of BIGINT wraps around. A
//! view could not be kept equal to such an answer. One analyzer rule, in batch and in continuous plans, puts other
//! implementations under the same names:
//!
//! | calls | implementation in batch queries |
//! | --- | --- |
//! | `sum`, `avg`, `min`, `max` of floats, `sum` of integers and decimals, `first_value`, `last_value`, `var*`, `stddev*`, `covar*`, `corr`, `regr_*` | the incremental operator's accumulators (`direct`) |
//! | `min`, `max` of lists and structs | `first_value`, `last_value` in the order of the argument (`end_of_order`) |
//! | `array_agg`, `string_agg`, `nth_value`, `approx_percentile_cont*`, `approx_median`, `median` and `percentile_cont` of floats; of the above those with DISTINCT; `count(DISTINCT a, b)` | DataFusion's accumulator, given the whole group in one order (`collected`) |
//! | all others | DataFusion's own, whose answers depend on nothing but the group's rows |
//!
//! Over windows `sum` of whole numbers is another too (`window_sum`), and so is what can be taken back from a frame (`sliding`), in
//! both modes: DataFusion's floats depend on the rows that were in a frame before, and keep NaN for ever.
//!
//! Continuous plans see through them ([`original`]): `plan::build` decides by the function's name.
//!
//! The rule also mends grouping sets in batch queries: the empty set gives its row over empty input too, and a set that is
//! named twice gives its rows twice. What gives a row over no input is kept from DataFusion's optimiser ([`respected`]).

mod collected;
mod direct;
mod distinct;
mod row_of_nothing;
mod sets;
mod window_sum;

pub use row_of_nothing::respected;
use window_sum::WindowSum;

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Diagnostic, Result};
use datafusion::config::ConfigOptions;
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::logical_expr::expr::{
    AggregateFunction as Call, AggregateFunctionParams, NullTreatment, WindowFunction,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, Aggregate, AggregateUDF, AggregateUDFImpl, Documentation, Expr, ExprSchemable, GroupsAccumulator,
    LogicalPlan, Signature, Window, WindowFunctionDefinition,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::scalar::ScalarValue;

use crate::operator::aggregate::{AggregateFunction, has_own_form, takes_back};

/// The rule. It has to run after types are coerced.
#[derive(Debug)]
pub struct ExactAggregates {
    /// Whether plans are executed by DataFusion.
    pub batch: bool,
}

impl AnalyzerRule for ExactAggregates {
    fn name(&self) -> &str {
        "exact_aggregates"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let exact = |node| match node {
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate).map(Transformed::yes),
            LogicalPlan::Window(window) => exact_window(window),
            other => Ok(Transformed::no(other)),
        };
        plan.transform_up_with_subqueries(exact).data()
    }
}

impl ExactAggregates {
    fn aggregate(&self, aggregate: Aggregate) -> Result<LogicalPlan> {
        let Aggregate { input, group_expr, aggr_expr, schema, .. } = aggregate;
        let calls = aggr_expr.into_iter().map(|expr| exact(expr, input.schema())).collect::<Result<Vec<_>>>()?;
        let aggregate = Aggregate::try_new_with_schema(input, group_expr, calls, schema)?;
        if self.batch { sets::mended(aggregate) } else { Ok(LogicalPlan::Aggregate(aggregate)) }
    }
}

/// A window with aggregates that are exact, and that take back what leaves a frame.
fn exact_window(window: Window) -> Result<Transformed<LogicalPlan>> {
    let exact = |expr: &Expr| {
        expr.clone().transform_up(|expr| {
            let Expr::WindowFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
            let WindowFunctionDefinition::AggregateUDF(function) = &call.fun else {
                return Ok(Transformed::no(Expr::WindowFunction(call)));
            };
            let types = call.params.args.iter().map(|argument| argument.get_type(window.input.schema()));
            let types = types.collect::<Result<Vec<_>>>()?;
            let sum = types.first().filter(|_| !call.params.distinct);
            let sum = sum.and_then(|argument| WindowSum::of(function, argument));
            match sum.or_else(|| sliding(function, &types, &call)) {
                Some(exact) => {
                    call.fun = WindowFunctionDefinition::AggregateUDF(Arc::new(exact));
                    Ok(Transformed::yes(Expr::WindowFunction(call)))
                }
                None => Ok(Transformed::no(Expr::WindowFunction(call))),
            }
        })
    };
    let exprs = window.window_expr.iter().map(exact).collect::<Result<Vec<_>>>()?;
    if exprs.iter().all(|expr| !expr.transformed) {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let exprs = exprs.into_iter().map(|expr| expr.data).collect();
    let Window { input, schema, .. } = window;
    Ok(Transformed::yes(LogicalPlan::Window(Window::try_new_with_schema(exprs, input, schema)?)))
}

/// The incremental operator's accumulator in place of an aggregate over a window, where it can take rows back.
fn sliding(function: &Arc<AggregateUDF>, types: &[DataType], call: &WindowFunction) -> Option<AggregateUDF> {
    if function.inner().as_any().is::<Exact>() {
        return None;
    }
    let own = AggregateFunction::named(function.name())?;
    let result = function.return_type(types).ok()?;
    if !takes_back(&own, types, &result) {
        return None;
    }
    let way = if call.params.distinct { Way::DistinctInFrame } else { Way::Direct };
    let is_value = |(at, argument): (usize, &Expr)| (at == 0 || !matches!(argument, Expr::Literal(..))).then_some(at);
    let values = call.params.args.iter().enumerate().filter_map(is_value).collect();
    Some(AggregateUDF::new_from_impl(Exact { inner: function.clone(), way, values }))
}

/// An aggregate expression with exact implementations.
fn exact(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let name = NamePreserver::new_for_projection().save(&expr);
    let replaced = expr.transform_up(|expr| {
        let Expr::AggregateFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
        ordered_by_arguments(&call)?;
        if let Some(end) = end_of_order(&call, schema)? {
            call = end;
        }
        let Some(way) = way(&call, schema)? else { return Ok(Transformed::yes(Expr::AggregateFunction(call))) };
        let is_value =
            |(at, argument): (usize, &Expr)| (at == 0 || !matches!(argument, Expr::Literal(..))).then_some(at);
        let values = call.params.args.iter().enumerate().filter_map(is_value).collect();
        call.func = Arc::new(AggregateUDF::new_from_impl(Exact { inner: call.func.clone(), way, values }));
        Ok(Transformed::yes(Expr::AggregateFunction(call)))
    });
    let replaced = replaced.data()?;
    Ok(name.restore(replaced))
}

/// `min` and `max` of lists and structs as the first and the last value of their order: DataFusion compares what is NULL within them
/// otherwise in groups than in batches.
fn end_of_order(call: &Call, schema: &DFSchema) -> Result<Option<Call>> {
    let (Some(argument), "min" | "max") = (call.params.args.first(), call.func.name()) else { return Ok(None) };
    if !argument.get_type(schema)?.is_nested() {
        return Ok(None);
    }
    let func = if call.func.name() == "min" { first_value_udaf() } else { last_value_udaf() };
    let params = AggregateFunctionParams {
        distinct: false,
        order_by: vec![argument.clone().sort(true, true)],
        null_treatment: Some(NullTreatment::IgnoreNulls),
        ..call.params.clone()
    };
    Ok(Some(Call { func, params }))
}

/// With DISTINCT, a key that is no argument could have several values for one.
fn ordered_by_arguments(call: &Call) -> Result<()> {
    let AggregateFunctionParams { args, distinct, order_by, .. } = &call.params;
    let Some(key) = order_by.iter().find(|key| *distinct && !args.contains(&key.expr)) else { return Ok(()) };
    let message =
        format!("{} with DISTINCT can only be ordered by its arguments, not by {}", call.func.name(), key.expr);
    let span = key.expr.spans().and_then(|spans| spans.first());
    let error = DataFusionError::Plan(message.clone());
    Err(error.with_diagnostic(Diagnostic::new_error(message, span)))
}

/// How a call is computed in batch queries, if not by DataFusion's own implementation.
fn way(call: &Call, schema: &DFSchema) -> Result<Option<Way>> {
    if call.func.inner().as_any().is::<Exact>() {
        return Ok(None);
    }
    let types = call.params.args.iter().map(|argument| argument.get_type(schema)).collect::<Result<Vec<_>>>()?;
    let Some(first) = types.first() else { return Ok(None) };
    let distinct = call.params.distinct;
    let direct = || {
        let function = AggregateFunction::named(call.func.name())?;
        let result = call.func.return_type(&types).ok().or_else(|| Some(first.clone()))?;
        has_own_form(&function, &types, &result).then_some(())
    };
    let own = |distinct: bool| direct().map(|()| if distinct { Way::CollectedDirect } else { Way::Direct });
    Ok(match call.func.name() {
        "array_agg" | "string_agg" | "nth_value" => Some(Way::Collected),
        "approx_percentile_cont" | "approx_percentile_cont_with_weight" | "approx_median" => Some(Way::Collected),
        "median" | "percentile_cont" if first.is_floating() => Some(Way::Collected),
        "count" if distinct && types.len() > 1 => Some(Way::Collected),
        "min" | "max" if first.is_floating() => own(false),
        "first_value" | "last_value" => own(false),
        "avg" if first.is_floating() => own(distinct),
        "avg" | "min" | "max" | "count" => None,
        "bool_and" | "bool_or" | "bit_and" | "bit_or" => None,
        // DataFusion 53 forgets about DISTINCT here where there are groups.
        "bit_xor" if !distinct => None,
        _ => own(distinct),
    })
}

/// The function under the name that a plan shows: DataFusion's.
pub fn original(function: &Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    match function.inner().as_any().downcast_ref::<Exact>() {
        Some(exact) => exact.inner.clone(),
        None => function.clone(),
    }
}

/// How batch queries compute a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    /// By the incremental operator's accumulator.
    Direct,
    /// By DataFusion's accumulator, given the whole group in order, each row once if it says DISTINCT.
    Collected,
    /// By the incremental operator's accumulator, given each row of the group once.
    CollectedDirect,
    /// By the incremental operator's accumulator, given each row of a window's frame once.
    DistinctInFrame,
}

/// A function of DataFusion with another implementation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Exact {
    inner: Arc<AggregateUDF>,
    way: Way,
    /// Places of the arguments that are no constants.
    values: Vec<usize>,
}

impl AggregateUDFImpl for Exact {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.inner.schema_name(params)
    }

    fn human_display(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.inner.human_display(params)
    }

    fn display_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.inner.display_name(params)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(fields)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.supports_within_group_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    /// The keys of ORDER BY come behind the arguments, the rows in any order.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(self: Arc<Self>, _: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match self.way {
            Way::Direct | Way::DistinctInFrame => direct::state_fields(self, &args),
            Way::Collected | Way::CollectedDirect => Ok(collected::state_fields(self, &args)),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match self.way {
            Way::Direct => direct::single(self, &args),
            Way::DistinctInFrame => distinct::accumulator(self, &args),
            Way::Collected | Way::CollectedDirect => collected::accumulator(self, &args),
        }
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        self.way == Way::Direct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        direct::grouped(self, &args)
    }
}

/// The engine's error in DataFusion's terms: wrong data, as a rule an overflow.
fn execution(error: crate::Error) -> DataFusionError {
    DataFusionError::Execution(error.to_string())
}

#[cfg(test)]
mod tests;
