//! The ways in which a call with OVER can be made smaller.

use datafusion::sql::sqlparser::ast::{
    Function, FunctionArguments, WindowFrame, WindowFrameBound, WindowSpec, WindowType,
};

/// Leaves out a part of a call if it is its `turn`.
pub(super) fn edit(function: &mut Function, turn: &mut impl FnMut() -> bool) {
    if let Some(WindowType::WindowSpec(spec)) = &mut function.over {
        if function.null_treatment.is_some() && turn() {
            function.null_treatment = None;
        }
        // The offset of LAG, and what stands in for rows that are not there.
        if let FunctionArguments::List(list) = &mut function.args
            && list.args.len() > 1
            && turn()
        {
            list.args.pop();
        }
        window(spec, turn);
    }
}

fn window(spec: &mut WindowSpec, turn: &mut impl FnMut() -> bool) {
    for place in 0..spec.partition_by.len() {
        if turn() {
            spec.partition_by.remove(place);
            return;
        }
    }
    for place in 0..spec.order_by.len() {
        if turn() {
            spec.order_by.remove(place);
            return;
        }
    }
    for key in &mut spec.order_by {
        if (key.options.asc.is_some() || key.options.nulls_first.is_some()) && turn() {
            key.options.asc = None;
            key.options.nulls_first = None;
        }
    }
    if spec.window_frame.is_some() && turn() {
        spec.window_frame = None;
    }
    if let Some(frame) = &mut spec.window_frame {
        bounds(frame, turn);
    }
}

/// Unbounded ends and those at the current row say less than those at a distance.
fn bounds(frame: &mut WindowFrame, turn: &mut impl FnMut() -> bool) {
    let distant = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(Some(_)) => Some(WindowFrameBound::Preceding(None)),
        WindowFrameBound::Following(Some(_)) => Some(WindowFrameBound::Following(None)),
        _ => None,
    };
    if let Some(unbounded) = distant(&frame.start_bound) {
        for simpler in [WindowFrameBound::CurrentRow, unbounded] {
            if turn() {
                frame.start_bound = simpler;
                return;
            }
        }
    }
    if let Some(unbounded) = frame.end_bound.as_ref().and_then(distant) {
        for simpler in [WindowFrameBound::CurrentRow, unbounded] {
            if turn() {
                frame.end_bound = Some(simpler);
                return;
            }
        }
    }
}
