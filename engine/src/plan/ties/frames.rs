//! Frames that DataFusion 53 computes wrongly or not at all: refused, or brought into a form that it can compute.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result as PlanResult, plan_err};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    ExprSchemable, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};

/// The number of values in the frame of a minimum, whose accumulator forgets, once all values have left it, that there are
/// none: DataFusion 53 then gives the last one.
pub(super) fn count_of(function: &WindowFunction) -> PlanResult<Option<WindowFunction>> {
    let WindowFunctionDefinition::AggregateUDF(udf) = &function.fun else { return Ok(None) };
    let params = &function.params;
    let frame = &params.window_frame;
    let ahead = matches!(&frame.start_bound, WindowFrameBound::Following(_)) && !frame.end_bound.is_unbounded();
    let behind = matches!(&frame.end_bound, WindowFrameBound::Preceding(_)) && !frame.start_bound.is_unbounded();
    if frame.units == WindowFrameUnits::Range && (ahead || behind) {
        // DataFusion 53 keeps what was in the last frame before an empty one.
        return plan_err!(
            "{}(...) OVER ({frame}): a frame of RANGE that leaves out the current row is not supported for aggregates: join the \
             table with itself",
            udf.name()
        );
    }
    if params.window_frame.start_bound.is_unbounded() || udf.name() != "min" {
        return Ok(None);
    }
    let mut counted = function.clone();
    counted.fun = WindowFunctionDefinition::AggregateUDF(count_udaf());
    counted.params.distinct = false;
    Ok(Some(counted))
}

/// Refuses distances between numbers whose difference has another type: DataFusion 53 cannot compare the two.
pub(super) fn measurable(function: &WindowFunction, input: &DFSchema) -> PlanResult<()> {
    let params = &function.params;
    let frame = &params.window_frame;
    if frame.units != WindowFrameUnits::Range || !measures(frame) {
        return Ok(());
    }
    for key in &params.order_by {
        let data_type = key.expr.get_type(input)?;
        if data_type.is_decimal() {
            return plan_err!(
                "{}(...) OVER (ORDER BY {} {frame}): a RANGE of distances over {data_type} is not supported: order by \
                 CAST({} AS DOUBLE)",
                function.fun.name(),
                key.expr,
                key.expr
            );
        }
    }
    Ok(())
}

/// Makes GROUPS of a frame of RANGE that is ordered by a struct first and has no distances: it holds the same rows, and DataFusion
/// has no RANGE over structs. Says whether it did.
pub(super) fn by_groups(function: &mut WindowFunction, input: &DFSchema) -> PlanResult<bool> {
    let params = &mut function.params;
    let frame = &params.window_frame;
    let Some(first) = params.order_by.first() else { return Ok(false) };
    if frame.units != WindowFrameUnits::Range || measures(frame) {
        return Ok(false);
    }
    let by_struct = matches!(first.expr.get_type(input)?, DataType::Struct(_));
    if by_struct {
        let (start, end) = (frame.start_bound.clone(), frame.end_bound.clone());
        params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Groups, start, end);
    }
    Ok(by_struct)
}

/// Whether an end of a frame is a distance away.
fn measures(frame: &WindowFrame) -> bool {
    let distance = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => !distance.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    distance(&frame.start_bound) || distance(&frame.end_bound)
}
