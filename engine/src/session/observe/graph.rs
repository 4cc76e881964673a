//! A pipeline's dataflow as a graph that can be shown: what each node is called, which jobs it serves, what it reads or writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use catalog::Object;

use crate::plan::explain::{label, lines};
use crate::plan::{IncrementalPlan, Kind, Route};
use crate::runtime::dataflow::{Dataflow, FlowNode, NodeId, Origin, Role};

/// The name of what a node does, the same in the graph and in the metrics.
pub fn kind(node: &FlowNode) -> &'static str {
    match &node.role {
        Role::Source { .. } if matches!(node.origin, Origin::Plan { .. }) => "values",
        Role::Source { .. } => "source",
        Role::Feed { .. } if node.inputs.is_empty() => "table",
        Role::Feed { .. } => "scan",
        Role::Operator(kind) => operator(kind),
        Role::Upsert { .. } => "upsert",
        Role::TableOutput { .. } => "output",
        Role::LateOutput { .. } => "late-output",
        Role::SinkOutput(_) => "sink",
    }
}

fn operator(kind: &Kind) -> &'static str {
    match kind {
        Kind::Scan { .. } => "scan",
        Kind::Values(_) => "values",
        Kind::Map { .. } => "map",
        Kind::Union => "union",
        Kind::Aggregate(spec) if spec.calls.is_empty() => "distinct",
        Kind::Aggregate(_) => "aggregate",
        Kind::Join(_) => "join",
        Kind::TopN(_) => "top-n",
        Kind::Temporal(_) => "temporal-filter",
        Kind::Stamp(_) => "stamp",
        Kind::EmitOnClose(_) => "emit-on-close",
        Kind::Over(_) => "over",
        Kind::Unnest(_) => "unnest",
        Kind::AsOf(_) => "as-of-join",
        Kind::Repeat { .. } => "repeat",
    }
}

/// How changes get from one node to the next.
pub fn exchange(route: &Route) -> &'static str {
    match route {
        Route::Local => "forward",
        Route::Hash(_) => "hash",
        Route::Single => "single",
        Route::Broadcast => "broadcast",
    }
}

/// The object that a node reads from outside of its query, or writes.
pub fn object(flow: &Dataflow, node: &FlowNode) -> Option<Arc<Object>> {
    match (&node.role, &node.origin) {
        (Role::Upsert { table, .. } | Role::TableOutput { table, .. } | Role::LateOutput { table }, _) => {
            Some(table.clone())
        }
        (_, Origin::Input(object)) => Some(object.clone()),
        (_, Origin::Plan { part, place }) => match &plan(flow, node, *part)?.nodes.get(*place)?.kind {
            Kind::Scan { object, .. } => Some(object.clone()),
            _ => None,
        },
        (_, Origin::Output { part }) => Some(flow.jobs[node.job].parts.get(*part)?.target.object().clone()),
    }
}

fn plan<'a>(flow: &'a Dataflow, node: &FlowNode, part: usize) -> Option<&'a IncrementalPlan> {
    Some(&flow.jobs[node.job].parts.get(part)?.plan)
}

/// What a node does, in one line.
pub fn title(flow: &Dataflow, node: &FlowNode) -> String {
    if let Origin::Plan { part, place } = &node.origin
        && let Some(label) = plan(flow, node, *part).and_then(|plan| label(plan, *place))
    {
        return label;
    }
    let name = object(flow, node).map(|object| object.name.clone()).unwrap_or_default();
    match &node.role {
        Role::Upsert { .. } => format!("Upsert by key into {name}"),
        Role::TableOutput { .. } => format!("Output {name}"),
        Role::LateOutput { .. } => format!("Late rows into {name}"),
        Role::SinkOutput(_) => format!("Sink {name}"),
        Role::Source { .. } | Role::Feed { .. } | Role::Operator(_) => format!("Source {name}"),
    }
}

/// What EXPLAIN INCREMENTAL says of every node, where it says anything.
pub fn details(flow: &Dataflow) -> Vec<Option<String>> {
    let of_job = |parts: &[crate::runtime::dataflow::Part]| -> Vec<Vec<String>> {
        parts.iter().map(|part| lines(&part.plan)).collect()
    };
    let explained: Vec<_> = flow.jobs.iter().map(|job| of_job(&job.parts)).collect();
    let detail = |node: &FlowNode| match &node.origin {
        Origin::Plan { part, place } => explained[node.job].get(*part)?.get(*place).cloned(),
        Origin::Input(_) | Origin::Output { .. } => None,
    };
    flow.nodes.iter().map(detail).collect()
}

/// The jobs that every node serves, as indices: first the one that it belongs to, then those that read what becomes of its rows.
pub fn served(flow: &Dataflow) -> Vec<Vec<usize>> {
    let mut served: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); flow.nodes.len()];
    for (place, node) in flow.nodes.iter().enumerate().rev() {
        let mut jobs: BTreeSet<usize> = node.outputs.iter().flat_map(|edge| served[edge.to].iter().copied()).collect();
        jobs.insert(node.job);
        if let Role::Source { jobs: readers, .. } = &node.role {
            jobs.extend(readers);
        }
        served[place] = jobs;
    }
    let own_first = |(node, jobs): (&FlowNode, BTreeSet<usize>)| {
        let others = jobs.into_iter().filter(|job| *job != node.job);
        std::iter::once(node.job).chain(others).collect()
    };
    flow.nodes.iter().zip(served).map(own_first).collect()
}

/// All connections: from, to, and how changes get there.
pub fn edges(flow: &Dataflow) -> Vec<(NodeId, NodeId, &'static str)> {
    let outputs = |(from, node): (NodeId, &FlowNode)| -> Vec<_> {
        node.outputs.iter().map(|edge| (from, edge.to, exchange(&edge.route))).collect()
    };
    // Late rows leave a source beside the graph, within the slot.
    let late = flow.timed.iter().filter_map(|timed| Some((timed.node, timed.late?, exchange(&Route::Local))));
    flow.nodes.iter().enumerate().flat_map(outputs).chain(late).collect()
}
