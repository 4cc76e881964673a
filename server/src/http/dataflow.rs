//! `/api/v1/jobs/{name}/dataflow`: what a job's operators do, and what they counted. `/api/v1/jobs/{name}/checkpoints`: its
//! checkpoints.

use axum::Json;
use axum::extract::State;
use engine::session::observe::{CheckpointRecord, GraphEdge, GraphNode, JobGraph};
use serde_json::{Value, json};

use super::Context;
use super::error::Failed;
use super::input::Name;
use super::jobs::no_job;
use super::routes::Routes;

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default().get("/api/v1/jobs/{name}/dataflow", dataflow).get("/api/v1/jobs/{name}/checkpoints", checkpoints)
}

async fn dataflow(State(context): State<Context>, Name(name): Name) -> Result<Json<Value>, Failed> {
    let found = context.engine.dataflow(&name).await?;
    found.map(|graph| Json(shape(&name, graph))).ok_or_else(|| no_job(&name))
}

async fn checkpoints(State(context): State<Context>, Name(name): Name) -> Result<Json<Value>, Failed> {
    let found = context.engine.checkpoints(&name).await?;
    let checkpoints = found.ok_or_else(|| no_job(&name))?;
    Ok(Json(json!({"checkpoints": checkpoints.iter().map(checkpoint).collect::<Vec<_>>()})))
}

fn shape(job: &str, graph: JobGraph) -> Value {
    json!({
        "job": job,
        "pipeline_jobs": graph.jobs,
        "at_ms": graph.at_ms,
        "nodes": graph.nodes.iter().enumerate().map(node).collect::<Vec<_>>(),
        "edges": graph.edges.iter().map(edge).collect::<Vec<_>>(),
    })
}

fn node((id, node): (usize, &GraphNode)) -> Value {
    let totals = &node.totals;
    json!({
        "id": id,
        "kind": node.kind,
        "label": node.label,
        "detail": node.detail,
        "jobs": node.jobs,
        "object": node.object,
        "parallelism": node.parallelism,
        "rows_in": totals.rows_in,
        "rows_out": totals.rows_out,
        "busy_ms": totals.busy.as_millis() as u64,
        "backpressure_ms": totals.backpressure.as_millis() as u64,
        "state_rows": totals.state_rows,
        "state_bytes": totals.state_bytes,
        "watermark_ms": totals.watermark_ms,
        "late_rows": totals.late,
    })
}

fn edge(edge: &GraphEdge) -> Value {
    json!({"from": edge.from, "to": edge.to, "exchange": edge.exchange})
}

fn checkpoint(record: &CheckpointRecord) -> Value {
    json!({
        "epoch": record.epoch,
        "version": record.version,
        "committed_ms": record.committed_ms,
        "duration_ms": record.duration.as_millis() as u64,
        "bytes": record.bytes,
        "files": record.files,
    })
}
