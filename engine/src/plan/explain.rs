//! Prints an incremental plan as a tree: each operator with its key, whether it retracts, its watermark and its state.

use std::collections::BTreeSet;
use std::fmt::Write;

use arrow::compute::SortOptions;
use arrow::datatypes::Schema;

use super::{IncrementalPlan, Kind, Node, Route, watermark};
use crate::operator::aggregate::AggregateFunction;
use crate::operator::join::intervals;
use crate::operator::over::Ages;
use crate::operator::temporal::{End, Midnight, TemporalBound};
use crate::operator::top_n::Rank;

/// The plan as indented text, root first, warnings last.
pub fn explain(plan: &IncrementalPlan) -> String {
    let mut text = String::new();
    let timed = watermark::columns(plan);
    if let Some(root) = plan.nodes.len().checked_sub(1) {
        print(plan, &timed, root, &Route::Local, 0, &mut BTreeSet::new(), &mut text);
    }
    let growing = (0..plan.nodes.len()).filter_map(|place| grows(plan, &timed, place));
    for warning in plan.warnings.iter().cloned().chain(growing) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// Every node as it stands in [`explain`], by its place in the plan: what it does, and what is known about it.
pub fn lines(plan: &IncrementalPlan) -> Vec<String> {
    let timed = watermark::columns(plan);
    (0..plan.nodes.len()).map(|place| line(plan, &timed, place, &Route::Local)).collect()
}

/// What a node does, in one line.
pub fn label(plan: &IncrementalPlan, place: usize) -> Option<String> {
    plan.nodes.get(place).map(|node| describe(plan, node))
}

/// A node with several consumers is printed whole once, and by name where it comes again.
fn print(
    plan: &IncrementalPlan,
    timed: &[BTreeSet<usize>],
    place: usize,
    route: &Route,
    depth: usize,
    seen: &mut BTreeSet<usize>,
    text: &mut String,
) {
    let node = &plan.nodes[place];
    let again = !seen.insert(place) && !node.inputs.is_empty();
    let above = if again { "  (shared, see above)" } else { "" };
    let _ = writeln!(text, "{:indent$}{}{above}", "", line(plan, timed, place, route), indent = depth * 2);
    for (input, route) in node.inputs.iter().filter(|_| !again) {
        print(plan, timed, *input, route, depth + 1, seen, text);
    }
}

fn line(plan: &IncrementalPlan, timed: &[BTreeSet<usize>], place: usize, route: &Route) -> String {
    let node = &plan.nodes[place];
    let mut line = format!("#{place} {}", describe(plan, node));
    let properties = &node.properties;
    let _ = write!(line, "  [{}", if properties.insert_only { "insert-only" } else { "retracting" });
    if let Some(key) = &properties.key {
        let _ = write!(line, ", key ({})", names(&node.schema, key));
    }
    if !timed[place].is_empty() {
        let _ =
            write!(line, ", watermark ({})", names(&node.schema, &timed[place].iter().copied().collect::<Vec<_>>()));
    }
    if let Some(state) = state(plan, node) {
        let freed = freed_by(plan, timed, node);
        let kept = freed.as_ref().map_or(state.as_str(), |_| state.split(", freed").next().unwrap_or_default());
        let _ = write!(line, ", state: {kept}");
        if let Some(freed) = freed {
            let _ = write!(line, ", freed by the watermark of {freed}");
        }
    }
    line.push(']');
    match route {
        Route::Local => {}
        Route::Hash(columns) => {
            let _ = write!(line, " -> hash ({})", names(&node.schema, columns));
        }
        Route::Single => line.push_str(" -> single task"),
        Route::Broadcast => line.push_str(" -> every task"),
    }
    line
}

fn describe(plan: &IncrementalPlan, node: &Node) -> String {
    let input = |n: usize| &plan.nodes[node.inputs[n].0].schema;
    match &node.kind {
        Kind::Scan { object, .. } => {
            let columns = node.schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
            format!("Scan {} ({columns})", object.name)
        }
        Kind::Values(rows) => format!("Values ({} rows)", rows.num_rows()),
        Kind::Map { predicate, expressions } => {
            let mut text = String::from("Map");
            if let Some(predicate) = predicate {
                let _ = write!(text, " where {predicate}");
            }
            if let Some(expressions) = expressions {
                let list = expressions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let _ = write!(text, " ({list})");
            }
            text
        }
        Kind::Union => "Union".into(),
        Kind::Aggregate(spec) => {
            let calls = spec
                .calls
                .iter()
                .map(|call| {
                    let arguments =
                        if call.arguments.is_empty() { "*".into() } else { names(input(0), &call.arguments) };
                    let distinct = if call.distinct { "distinct " } else { "" };
                    let filter = call.filter.map_or(String::new(), |c| format!(" filter {}", names(input(0), &[c])));
                    format!("{}({distinct}{arguments}){filter}", call.function.name())
                })
                .collect::<Vec<_>>()
                .join(", ");
            match spec.calls.is_empty() {
                true => format!("Distinct ({})", names(input(0), &spec.group)),
                false => format!("Aggregate by ({}): {calls}", names(input(0), &spec.group)),
            }
        }
        Kind::Join(spec) => {
            let on = spec
                .on
                .iter()
                .map(|(l, r)| format!("{} = {}", names(input(0), &[*l]), names(input(1), &[*r])))
                .collect::<Vec<_>>()
                .join(" and ");
            let residual = spec.residual.as_ref().map_or(String::new(), |r| format!(" where {r}"));
            format!("Join {:?} on ({on}){residual}", spec.kind)
        }
        Kind::TopN(spec) => {
            let order = sorted(input(0), &spec.order);
            let limit = spec.limit.map_or("all".into(), |l| l.to_string());
            let after = if spec.offset == 0 { String::new() } else { format!(" after {}", spec.offset) };
            let what = match spec.rank {
                Rank::None | Rank::RowNumber => "",
                Rank::Rank => "ranks ",
                Rank::DenseRank => "dense ranks ",
            };
            format!("TopN {what}{limit}{after} per ({}) order by ({order})", names(input(0), &spec.partition))
        }
        Kind::Over(spec) => {
            let calls = spec.calls.iter().map(|call| call.function.name().to_owned()).collect::<Vec<_>>().join(", ");
            format!(
                "Over by ({}) order by ({}): {calls}",
                names(input(0), &spec.partition),
                sorted(input(0), &spec.order)
            )
        }
        Kind::Unnest(spec) => {
            let columns = spec.lists.iter().map(|list| list.column).chain(spec.structs.iter().copied());
            format!("Unnest {}", names(input(0), &columns.collect::<Vec<_>>()))
        }
        Kind::AsOf(spec) => {
            let equal =
                |(l, r): &(usize, usize)| format!(" and {} = {}", names(input(0), &[*l]), names(input(1), &[*r]));
            let (left, right) = (names(input(0), &[spec.time.0]), names(input(1), &[spec.time.1]));
            let on = spec.on.iter().map(equal).collect::<String>();
            let kind = if spec.outer { "Left" } else { "Inner" };
            format!("AsOfJoin {kind} on ({left} {} {right}{on})", spec.nearest.comparison())
        }
        Kind::Repeat { number } => format!("Repeat {} times", names(input(0), &[*number])),
        Kind::Temporal(spec) => format!(
            "TemporalFilter by ({})",
            spec.bounds.iter().map(|bound| temporal(input(0), bound)).collect::<Vec<_>>().join(" and ")
        ),
        Kind::Stamp(_) => "Stamp with now()".into(),
        Kind::EmitOnClose(spec) => format!("EmitOnClose by {}", names(input(0), &[spec.time])),
    }
}

/// The columns whose watermarks free the state of an operator.
fn freed_by(plan: &IncrementalPlan, timed: &[BTreeSet<usize>], node: &Node) -> Option<String> {
    let schema = |input: usize| &plan.nodes[node.inputs[input].0].schema;
    let has = |input: usize, column: &usize| timed[node.inputs[input].0].contains(column);
    let column = |input: usize, column: usize| names(schema(input), &[column]);
    match &node.kind {
        Kind::Aggregate(spec) => spec.group.iter().find(|c| has(0, c)).map(|c| column(0, *c)),
        Kind::TopN(spec) => spec.partition.iter().find(|c| has(0, c)).map(|c| column(0, *c)),
        Kind::Over(spec) => {
            let partition = spec.partition.iter().find(|c| has(0, c)).map(|c| column(0, *c));
            let by_order = || {
                let ages = Ages::of(spec).filter(|ages| has(0, &ages.column()))?;
                let stays = ages.stays().map_or(String::new(), |stays| format!(" but for {stays}"));
                Some(format!("{}{stays}", column(0, ages.column())))
            };
            partition.or_else(by_order)
        }
        Kind::AsOf(spec) => (has(0, &spec.time.0) && has(1, &spec.time.1)).then(|| {
            let stays = match spec.nearest.looks_back() {
                true => "the last right row of a key",
                false => "left rows without a right one",
            };
            format!("{} and {} but for {stays}", column(0, spec.time.0), column(1, spec.time.1))
        }),
        Kind::Join(spec) => {
            let intervals = intervals(spec);
            let left = intervals.iter().find(|i| i.least.is_some() && has(1, &i.right)).map(|i| column(1, i.right));
            let right = intervals.iter().find(|i| i.greatest.is_some() && has(0, &i.left)).map(|i| column(0, i.left));
            match (left, right) {
                (Some(other), Some(one)) => Some(format!("{one} and {other}")),
                (Some(other), None) => Some(format!("{other} (left side only)")),
                (None, Some(one)) => Some(format!("{one} (right side only)")),
                (None, None) => None,
            }
        }
        _ => None,
    }
}

/// A warning where an operator keeps every row that ever came.
fn grows(plan: &IncrementalPlan, timed: &[BTreeSet<usize>], place: usize) -> Option<String> {
    let node = &plan.nodes[place];
    let never_retracts = node.inputs.iter().all(|(from, _)| plan.nodes[*from].properties.insert_only);
    let keeps_all = match &node.kind {
        Kind::Join(_) | Kind::Over(_) | Kind::AsOf(_) => true,
        Kind::TopN(spec) => spec.limit.is_none(),
        _ => false,
    };
    (keeps_all && never_retracts && freed_by(plan, timed, node).is_none()).then(|| {
        format!(
            "#{place} keeps every row that ever comes: bound it by columns with a watermark, or by a filter such as ts > now() - INTERVAL '1' DAY"
        )
    })
}

/// What state the operator keeps, and when it is freed.
fn state(plan: &IncrementalPlan, node: &Node) -> Option<String> {
    let insert_only = |n: usize| plan.nodes[node.inputs[n].0].properties.insert_only;
    match &node.kind {
        Kind::Aggregate(spec) => {
            use AggregateFunction::{First, Last, Max, Min, Whole};
            let values = spec.calls.iter().any(|call| match call.function {
                Min | Max | First | Last => !insert_only(0),
                Whole(_) => true,
                _ => call.distinct,
            });
            let what = if values { "one row per group, one per distinct value" } else { "one row per group" };
            Some(format!("{what}, freed when the group's last row is retracted"))
        }
        Kind::Join(spec) if spec.broadcast.is_some() => {
            Some("every row of both sides, one side in every task, freed when retracted".into())
        }
        Kind::Join(_) | Kind::AsOf(_) => Some("every row of both sides, freed when retracted".into()),
        Kind::TopN(spec) => Some(match (spec.limit, insert_only(0)) {
            (Some(limit), true) => match spec.rank {
                Rank::None | Rank::RowNumber => format!("{} rows per partition", limit + spec.offset),
                Rank::Rank | Rank::DenseRank => format!("rows of {} ranks per partition", limit + spec.offset),
            },
            _ => "every row, freed when retracted".into(),
        }),
        Kind::Over(spec) => {
            let whole = spec.calls.iter().filter(|call| call.is_whole()).count();
            let cost = match whole {
                0 => "",
                _ => "; a touched partition is computed whole",
            };
            Some(format!("every row and its results, freed when retracted{cost}"))
        }
        Kind::Temporal(_) => Some("the rows that time will bring or take, freed then".into()),
        Kind::EmitOnClose(_) => Some("the rows that are not final, freed when they are".into()),
        Kind::Scan { .. }
        | Kind::Values(_)
        | Kind::Map { .. }
        | Kind::Union
        | Kind::Stamp(_)
        | Kind::Unnest(_)
        | Kind::Repeat { .. } => None,
    }
}

fn sorted(schema: &Schema, order: &[(usize, SortOptions)]) -> String {
    let key = |(column, options): &(usize, SortOptions)| {
        format!("{}{}", names(schema, &[*column]), if options.descending { " desc" } else { "" })
    };
    order.iter().map(key).collect::<Vec<_>>().join(", ")
}

/// `now >= ts + 3600 s`, with midnights left out.
fn temporal(input: &Schema, bound: &TemporalBound) -> String {
    let op = if bound.end == End::From { ">=" } else { "<" };
    let column = names(input, &[bound.column]);
    let plus = bound.plus.saturating_add(bound.then);
    match (bound.midnight, plus) {
        (Midnight::None, 0) => format!("now {op} {column}"),
        (Midnight::None, plus) => format!("now {op} {column} + {} s", plus as f64 / 1e6),
        (_, plus) => format!("now {op} midnight of {column} + {} d", plus / 86_400_000_000),
    }
}

fn names(schema: &Schema, columns: &[usize]) -> String {
    columns.iter().map(|c| schema.field(*c).name().as_str()).collect::<Vec<_>>().join(", ")
}
