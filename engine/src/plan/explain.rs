//! Prints an incremental plan as a tree: each operator with its key, whether it retracts, its watermark and its state.

use std::collections::BTreeSet;
use std::fmt::Write;

use arrow::compute::SortOptions;
use arrow::datatypes::Schema;

use super::{IncrementalPlan, Kind, Node, Route};
use crate::operator::top_n::Rank;

/// The plan as indented text, root first, warnings last.
pub fn explain(plan: &IncrementalPlan) -> String {
    let mut text = String::new();
    if let Some(root) = plan.nodes.len().checked_sub(1) {
        print(plan, root, &Route::Local, 0, &mut BTreeSet::new(), &mut text);
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// A node with several consumers is printed whole once, and by name where it comes again.
fn print(
    plan: &IncrementalPlan,
    place: usize,
    route: &Route,
    depth: usize,
    seen: &mut BTreeSet<usize>,
    text: &mut String,
) {
    let node = &plan.nodes[place];
    let again = !seen.insert(place) && !node.inputs.is_empty();
    let above = if again { "  (shared, see above)" } else { "" };
    let _ = writeln!(text, "{:indent$}{}{above}", "", line(plan, place, route), indent = depth * 2);
    for (input, route) in node.inputs.iter().filter(|_| !again) {
        print(plan, *input, route, depth + 1, seen, text);
    }
}

fn line(plan: &IncrementalPlan, place: usize, route: &Route) -> String {
    let node = &plan.nodes[place];
    let mut line = format!("#{place} {}", describe(plan, node));
    let properties = &node.properties;
    let _ = write!(line, "  [{}", if properties.insert_only { "insert-only" } else { "retracting" });
    if let Some(key) = &properties.key {
        let _ = write!(line, ", key ({})", names(&node.schema, key));
    }
    if !properties.watermark.is_empty() {
        let _ = write!(line, ", watermark ({})", names(&node.schema, &properties.watermark));
    }
    if let Some(state) = state(plan, node) {
        let _ = write!(line, ", state: {state}");
    }
    line.push(']');
    match route {
        Route::Local => {}
        Route::Hash(columns) => {
            let _ = write!(line, " -> hash ({})", names(&node.schema, columns));
        }
        Route::Single => line.push_str(" -> single task"),
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
                    let argument = call.argument.map_or("*".into(), |c| names(input(0), &[c]));
                    let distinct = if call.distinct { "DISTINCT " } else { "" };
                    let filter = call.filter.map_or(String::new(), |c| format!(" FILTER {}", names(input(0), &[c])));
                    format!("{:?}({distinct}{argument}){filter}", call.function).to_lowercase()
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
        Kind::Unnest { column, .. } => format!("Unnest {}", names(input(0), &[*column])),
    }
}

/// What state the operator keeps, and when it is freed.
fn state(plan: &IncrementalPlan, node: &Node) -> Option<String> {
    let insert_only = |n: usize| plan.nodes[node.inputs[n].0].properties.insert_only;
    match &node.kind {
        Kind::Aggregate(spec) => {
            let values = spec
                .calls
                .iter()
                .any(|call| call.distinct || (!insert_only(0) && format!("{:?}", call.function).starts_with('M')));
            let what = if values { "one row per group, one per distinct value" } else { "one row per group" };
            Some(format!("{what}, freed when the group's last row is retracted"))
        }
        Kind::Join(_) => Some("every row of both sides, freed when retracted".into()),
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
        Kind::Scan { .. } | Kind::Values(_) | Kind::Map { .. } | Kind::Union | Kind::Unnest { .. } => None,
    }
}

fn sorted(schema: &Schema, order: &[(usize, SortOptions)]) -> String {
    let key = |(column, options): &(usize, SortOptions)| {
        format!("{}{}", names(schema, &[*column]), if options.descending { " desc" } else { "" })
    };
    order.iter().map(key).collect::<Vec<_>>().join(", ")
}

fn names(schema: &Schema, columns: &[usize]) -> String {
    columns.iter().map(|c| schema.field(*c).name().as_str()).collect::<Vec<_>>().join(", ")
}
