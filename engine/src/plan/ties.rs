//! Which of several rows comes first when a query leaves it open, decided once for both ways to run it.
//!
//! `ROW_NUMBER() OVER (ORDER BY a)`, `LAG`, frames of ROWS, `DISTINCT ON` and `ORDER BY ... LIMIT` choose among rows with equal
//! order keys, and SQL does not say how. A batch engine takes what its threads give first, and a view could only by luck agree with
//! that. So the logical plan is made to say it: all other columns of the input, from left to right, ascending and NULL last, are
//! added as last order keys wherever that cannot change what the query means. It is not done where peers have to stay peers:
//! `RANK`, frames of RANGE and GROUPS; nor where a key of the input is among the order keys, for then there are no ties.
//!
//! | construct | becomes |
//! | --- | --- |
//! | `row_number`, `ntile`, `lag`, `lead`, frames of ROWS | the same with more order keys |
//! | `first_value`, `last_value` over RANGE or GROUPS that begin or end with the partition | the same over ROWS |
//! | `last_value` up to the current row's peers, `first_value` from them on | over the peers as a partition |
//! | `lag(x, n)`, `lead(x, n)` with IGNORE NULLS | `nth_value` over the rows before or behind |
//! | `min` over a frame whose start moves | the same, and NULL if the frame's values are all NULL |
//! | `ORDER BY x` of a list or struct, NULLS LAST | `x IS NULL, x NULLS FIRST` |
//! | RANGE by a struct | GROUPS, which has the same peers |
//! | `DISTINCT ON (k) ... ORDER BY k, o` | the rows whose `row_number() OVER (PARTITION BY k ORDER BY o)` is 1 |
//! | `ORDER BY ... LIMIT`, `OFFSET` | the same with more order keys |

mod frames;
mod nested;

pub(crate) use nested::place_nulls;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result as PlanResult, ScalarValue, plan_err};
use datafusion::functions_window::nth_value::nth_value_udwf;
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::logical_plan::SubqueryAlias;
use datafusion::logical_expr::{
    Distinct, DistinctOn, Expr, Filter, Limit, LogicalPlan, Projection, Sort, SortExpr, TableScan, Window, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, lit, when,
};

use crate::error::Result;

/// The column that numbers the rows of a DISTINCT ON.
const NUMBER: &str = "__number_in_distinct";

/// The names of a scanned table's key columns, if it has a key that holds.
pub type KeyOf<'a> = &'a dyn Fn(&TableScan) -> Option<Vec<String>>;

/// Makes a plan say which rows come first where that matters.
///
/// # Errors
/// `Sql` for IGNORE NULLS with an offset that is no positive literal.
pub fn break_ties(plan: LogicalPlan, key_of: KeyOf<'_>) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::Window(window) => window_plan(window, key_of)?,
            LogicalPlan::Limit(limit) => match ordered(&limit.input, key_of)? {
                Some(input) => Transformed::yes(LogicalPlan::Limit(Limit { input: Arc::new(input), ..limit })),
                None => Transformed::no(LogicalPlan::Limit(limit)),
            },
            LogicalPlan::Distinct(Distinct::On(distinct)) => Transformed::yes(distinct_on(distinct, key_of)?),
            other => Transformed::no(other),
        })
    })?;
    Ok(plan.data)
}

/// All columns that are not among these expressions, as order keys; none if the expressions tell all rows apart.
fn ties(input: &LogicalPlan, known: &[&Expr], key_of: KeyOf<'_>) -> Vec<SortExpr> {
    let columns = known.iter().filter_map(|expr| expr.try_as_col().cloned()).collect::<Vec<_>>();
    if unique(input, &columns, key_of) {
        return vec![];
    }
    let alike = alike_for_peers(input);
    let keys = input.schema().iter().filter(|(_, field)| can_be_ordered(field.data_type()));
    let keys = keys.filter(|(qualifier, field)| qualifier.is_some() || !alike.contains(field.name()));
    let keys = keys.map(|(qualifier, field)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        // In nested values NULL comes first, and so it does as a whole.
        column.sort(true, field.data_type().is_nested())
    });
    keys.filter(|key| !known.contains(&&key.expr)).collect()
}

/// Results of window functions below that are the same for rows that are equal in everything else, and so decide nothing. What counts
/// single rows tells even such rows apart: it has to decide, lest the results of two windows go together by chance.
fn alike_for_peers(mut input: &LogicalPlan) -> Vec<String> {
    let mut names = Vec::new();
    while let LogicalPlan::Window(window) = input {
        for (name, function) in window.window_expr.iter().filter_map(|expr| named(expr).ok()) {
            let by_peers = match &function.fun {
                WindowFunctionDefinition::WindowUDF(udf) => {
                    matches!(udf.name(), "rank" | "dense_rank" | "percent_rank" | "cume_dist")
                }
                WindowFunctionDefinition::AggregateUDF(_) => {
                    function.params.window_frame.units != WindowFrameUnits::Rows
                }
            };
            if by_peers {
                names.push(name);
            }
        }
        input = &window.input;
    }
    names
}

/// Whether no two rows of a plan agree in all these columns, as far as can be seen easily.
fn unique(plan: &LogicalPlan, columns: &[Column], key_of: KeyOf<'_>) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => {
            key_of(scan).is_some_and(|key| key.iter().all(|name| columns.iter().any(|column| column.name == *name)))
        }
        LogicalPlan::Filter(filter) => unique(&filter.input, columns, key_of),
        LogicalPlan::Sort(sort) => unique(&sort.input, columns, key_of),
        LogicalPlan::Limit(limit) => unique(&limit.input, columns, key_of),
        LogicalPlan::SubqueryAlias(alias) => {
            let names = alias.schema.columns().into_iter().zip(alias.input.schema().columns());
            let below = names.filter(|(name, _)| columns.contains(name)).map(|(_, below)| below).collect::<Vec<_>>();
            unique(&alias.input, &below, key_of)
        }
        LogicalPlan::Projection(projection) => {
            let names = projection.schema.columns().into_iter().zip(&projection.expr);
            let chosen = names.filter(|(name, _)| columns.contains(name)).map(|(_, expr)| expr);
            let below = chosen.filter_map(|expr| moved_column(expr).cloned()).collect::<Vec<_>>();
            unique(&projection.input, &below, key_of)
        }
        LogicalPlan::Window(window) => unique(&window.input, columns, key_of),
        LogicalPlan::Aggregate(aggregate) => {
            let plain = !aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_)));
            let groups = aggregate.schema.columns().into_iter().take(aggregate.group_expr.len());
            plain && groups.into_iter().all(|group| columns.contains(&group))
        }
        _ => false,
    }
}

/// The column that an expression passes on, perhaps under another name.
fn moved_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => moved_column(&alias.expr),
        _ => None,
    }
}

fn can_be_ordered(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) | DataType::Union(..) => false,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            can_be_ordered(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| can_be_ordered(field.data_type())),
        _ => true,
    }
}

/// The plan of a LIMIT's input with the sort below it made total, if there is one.
fn ordered(plan: &LogicalPlan, key_of: KeyOf<'_>) -> PlanResult<Option<LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::Sort(sort) => {
            let known = sort.expr.iter().map(|key| &key.expr).collect::<Vec<_>>();
            let ties = ties(&sort.input, &known, key_of);
            let mut expr = sort.expr.clone();
            place_nulls(&mut expr, sort.input.schema())?;
            expr.extend(ties);
            Some(LogicalPlan::Sort(Sort { expr, ..sort.clone() }))
        }
        LogicalPlan::Projection(projection) => match ordered(&projection.input, key_of)? {
            Some(input) => {
                let Projection { expr, schema, .. } = projection;
                let moved = Projection::try_new_with_schema(expr.clone(), Arc::new(input), schema.clone())?;
                Some(LogicalPlan::Projection(moved))
            }
            None => None,
        },
        LogicalPlan::SubqueryAlias(alias) => match ordered(&alias.input, key_of)? {
            Some(input) => {
                Some(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?))
            }
            None => None,
        },
        _ => None,
    })
}

/// The first row of each group, by its number.
fn distinct_on(distinct: DistinctOn, key_of: KeyOf<'_>) -> PlanResult<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, .. } = distinct;
    let sort = sort_expr.unwrap_or_default();
    let mut order = sort.get(on_expr.len()..).unwrap_or_default().to_vec();
    let known = on_expr.iter().chain(order.iter().map(|key| &key.expr)).collect::<Vec<_>>();
    let ties = ties(&input, &known, key_of);
    place_nulls(&mut order, input.schema())?;
    order.extend(ties);
    let mut number = WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number_udwf()), vec![]);
    number.params.partition_by = on_expr;
    number.params.window_frame = WindowFrame::new(Some(true));
    number.params.order_by = order;
    let number = Expr::from(number).alias(NUMBER);
    let numbered = Window::try_new(vec![number], input)?;
    let first = Expr::Column(Column::new_unqualified(NUMBER)).eq(lit(1_u64));
    let mut plan = LogicalPlan::Filter(Filter::try_new(first, Arc::new(LogicalPlan::Window(numbered)))?);
    if !sort.is_empty() {
        plan = LogicalPlan::Sort(Sort { expr: sort, input: Arc::new(plan), fetch: None });
    }
    Ok(LogicalPlan::Projection(Projection::try_new(select_expr, Arc::new(plan))?))
}

/// Functions of one window node, sorted alike.
struct Group {
    partition_by: Vec<Expr>,
    order_by: Vec<SortExpr>,
    functions: Vec<Expr>,
}

fn window_plan(window: Window, key_of: KeyOf<'_>) -> PlanResult<Transformed<LogicalPlan>> {
    // A plan comes here again where a view is read; the planner itself gives functions without a name.
    if window.window_expr.iter().all(|expr| matches!(expr, Expr::Alias(_))) {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let mut groups: Vec<Group> = Vec::new();
    // Columns that are not what a function gives, and what they are.
    let mut computed: Vec<(Column, Expr)> = Vec::new();
    let mut changed = false;
    for expr in &window.window_expr {
        let (name, function) = named(expr)?;
        let mut function = function.clone();
        frames::measurable(&function, window.input.schema())?;
        let grouped = frames::by_groups(&mut function, window.input.schema())?
            | place_nulls(&mut function.params.order_by, window.input.schema())?;
        let default = without_nulls(&mut function)?;
        let counted = frames::count_of(&function)?;
        let ordered = settle(&mut function, &window.input, key_of);
        changed |= grouped || ordered || default.is_some() || counted.is_some();
        let column = add(&mut groups, function, name.clone());
        let mut value = Expr::Column(column.clone());
        if let Some(default) = default.flatten() {
            value = when(value.clone().is_null(), default).otherwise(value)?;
        }
        if let Some(mut counted) = counted {
            settle(&mut counted, &window.input, key_of);
            let count = Expr::Column(add(&mut groups, counted, format!("__count_for_{name}")));
            value = when(count.gt(lit(0_i64)), value).end()?;
        }
        let own = Column::new_unqualified(name);
        if value != Expr::Column(own.clone()) {
            computed.push((own, value));
        }
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let apart = groups.len() > 1 || !computed.is_empty();
    let mut plan = window.input.clone();
    for group in groups {
        plan = Arc::new(LogicalPlan::Window(Window::try_new(group.functions, plan)?));
    }
    if apart {
        let column = |column: Column| match computed.iter().find(|(name, _)| *name == column) {
            Some((name, value)) => value.clone().alias(&name.name),
            None => Expr::Column(column),
        };
        let columns = window.schema.columns().into_iter().map(column).collect();
        plan = Arc::new(LogicalPlan::Projection(Projection::try_new(columns, plan)?));
    }
    Ok(Transformed::yes(Arc::unwrap_or_clone(plan)))
}

/// Adds a function to those that are sorted like it, unless it is there; gives its column.
fn add(groups: &mut Vec<Group>, function: WindowFunction, name: String) -> Column {
    let (partition_by, order_by) = (function.params.partition_by.clone(), function.params.order_by.clone());
    let column = Column::new_unqualified(&name);
    let function = Expr::from(function);
    let same = |group: &&mut Group| group.partition_by == partition_by && group.order_by == order_by;
    let Some(group) = groups.iter_mut().find(same) else {
        groups.push(Group { partition_by, order_by, functions: vec![function.alias(name)] });
        return column;
    };
    for known in &group.functions {
        if let Expr::Alias(alias) = known
            && *alias.expr == function
        {
            return Column::new_unqualified(&alias.name);
        }
    }
    group.functions.push(function.alias(name));
    column
}

/// A window function and the name of its column.
fn named(expr: &Expr) -> PlanResult<(String, &WindowFunction)> {
    match expr {
        Expr::WindowFunction(function) => Ok((expr.schema_name().to_string(), function)),
        Expr::Alias(alias) => Ok((alias.name.clone(), named(&alias.expr)?.1)),
        other => plan_err!("`{other}` is not a window function"),
    }
}

/// Turns `lag` and `lead` with IGNORE NULLS into `nth_value`; gives the value in place of a missing row, if one is named.
/// DataFusion 53 has two implementations of them, which disagree for rows whose own value is NULL.
fn without_nulls(function: &mut WindowFunction) -> PlanResult<Option<Option<Expr>>> {
    let name = function.fun.name().to_owned();
    let params = &mut function.params;
    if params.null_treatment != Some(NullTreatment::IgnoreNulls) || !matches!(name.as_str(), "lag" | "lead") {
        return Ok(None);
    }
    let offset = match params.args.get(1) {
        None => Some(1),
        Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(offset) => offset.filter(|offset| *offset > 0),
            _ => None,
        },
        Some(_) => None,
    };
    let (Some(offset), false) = (offset, params.args.is_empty()) else {
        return plan_err!("{name} with IGNORE NULLS takes a positive whole number of rows as its second argument");
    };
    let default = params.args.get(2).filter(|default| !matches!(default, Expr::Literal(value, _) if value.is_null()));
    let default = default.cloned();
    params.args.truncate(1);
    let one = ScalarValue::UInt64(Some(1));
    let unbounded = ScalarValue::UInt64(None);
    let (position, start, end) = if name == "lag" {
        (-offset, WindowFrameBound::Preceding(unbounded), WindowFrameBound::Preceding(one))
    } else {
        (offset, WindowFrameBound::Following(one), WindowFrameBound::Following(unbounded))
    };
    params.args.push(lit(position));
    params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Rows, start, end);
    function.fun = WindowFunctionDefinition::WindowUDF(nth_value_udwf());
    Ok(Some(default))
}

/// Whether results depend on the order of the rows of a frame, and not only on which rows are in it.
pub(crate) fn depends_on_order(function: &WindowFunction) -> bool {
    match &function.fun {
        WindowFunctionDefinition::WindowUDF(udf) => matches!(udf.name(), "first_value" | "last_value" | "nth_value"),
        WindowFunctionDefinition::AggregateUDF(udf) => {
            matches!(udf.name(), "array_agg" | "string_agg" | "first_value" | "last_value" | "nth_value")
                || udf.name().starts_with("approx_") && udf.name() != "approx_distinct"
        }
    }
}

/// Adds order keys to a function, or brings it into a form to which they can be added; says whether it did.
fn settle(function: &mut WindowFunction, input: &LogicalPlan, key_of: KeyOf<'_>) -> bool {
    let sensitive = depends_on_order(function);
    let name = function.fun.name().to_owned();
    let aggregate = matches!(function.fun, WindowFunctionDefinition::AggregateUDF(_));
    let params = &mut function.params;
    let frame = &params.window_frame;
    let whole = frame.start_bound.is_unbounded() && frame.end_bound.is_unbounded();
    let framed = aggregate || sensitive;
    let rows = |start, end| WindowFrame::new_bounds(WindowFrameUnits::Rows, start, end);
    let unbounded = || ScalarValue::UInt64(None);
    if !framed {
        if !matches!(name.as_str(), "row_number" | "ntile" | "lag" | "lead") {
            return false;
        }
    } else if frame.units == WindowFrameUnits::Rows {
        if whole && !sensitive {
            return false;
        }
    } else if !sensitive {
        return false;
    } else if whole {
        params.window_frame = rows(frame.start_bound.clone(), frame.end_bound.clone());
    } else {
        let takes_nulls = params.null_treatment != Some(NullTreatment::IgnoreNulls);
        let from_here = !matches!(frame.start_bound, WindowFrameBound::Following(_));
        let to_here = !matches!(frame.end_bound, WindowFrameBound::Preceding(_));
        let here = WindowFrameBound::CurrentRow;
        match name.as_str() {
            "first_value" if takes_nulls && frame.start_bound.is_unbounded() && to_here => {
                params.window_frame = rows(WindowFrameBound::Preceding(unbounded()), here);
            }
            "last_value" if takes_nulls && frame.end_bound.is_unbounded() && from_here => {
                params.window_frame = rows(here, WindowFrameBound::Following(unbounded()));
            }
            "last_value" if takes_nulls && frame.end_bound == here && from_here => over_peers(function),
            "first_value" if takes_nulls && frame.start_bound == here && to_here => over_peers(function),
            _ => return false,
        }
    }
    let params = &mut function.params;
    let known = params.partition_by.iter().chain(params.order_by.iter().map(|key| &key.expr)).collect::<Vec<_>>();
    let ties = ties(input, &known, key_of);
    params.order_by.extend(ties);
    true
}

/// Makes the rows that are equal by the order keys a partition of their own. The order keys stay, though they order nothing there:
/// DataFusion 53 takes two functions for one if only the line between partition and order is drawn elsewhere.
fn over_peers(function: &mut WindowFunction) {
    let params = &mut function.params;
    let keys = params.order_by.iter().map(|key| key.expr.clone());
    let keys = keys.filter(|key| !matches!(key, Expr::Literal(..))).collect::<Vec<_>>();
    for key in keys {
        if !params.partition_by.contains(&key) {
            params.partition_by.push(key);
        }
    }
    params.window_frame = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
        WindowFrameBound::Following(ScalarValue::UInt64(None)),
    );
}
