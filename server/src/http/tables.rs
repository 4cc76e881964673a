//! `/api/v1/tables`: tables and views, their columns, files and versions; `/api/v1/lineage`: what is computed from what.

use axum::Json;
use axum::extract::State;
use catalog::{TableVersion, TableVersionChange};
use engine::session::{FileInfo, FileKind, LineageNode, SegmentInfo, TableDetails, TableSummary};
use engine::sql::types::sql_name;
use serde_json::{Value, json};

use super::Context;
use super::error::Failed;
use super::input::Name;
use super::jobs::status;
use super::routes::Routes;

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/tables", tables)
        .get("/api/v1/tables/{name}", table)
        .get("/api/v1/tables/{name}/versions", versions)
        .get("/api/v1/lineage", lineage)
}

async fn tables(State(context): State<Context>) -> Result<Json<Value>, Failed> {
    let tables: Vec<_> = context.engine.tables().await?.iter().map(summary).collect();
    Ok(Json(json!({ "tables": tables })))
}

async fn table(State(context): State<Context>, Name(name): Name) -> Result<Json<Value>, Failed> {
    let found = context.engine.table(&name).await?;
    Ok(Json(details(&found.ok_or_else(|| no_table(&name))?)))
}

async fn versions(State(context): State<Context>, Name(name): Name) -> Result<Json<Value>, Failed> {
    let found = context.engine.table_versions(&name).await?;
    let versions: Vec<_> = found.ok_or_else(|| no_table(&name))?.iter().map(version).collect();
    Ok(Json(json!({ "versions": versions })))
}

async fn lineage(State(context): State<Context>) -> Result<Json<Value>, Failed> {
    let lineage = context.engine.lineage().await?;
    let node = |node: &LineageNode| json!({"name": node.name, "kind": node.kind, "status": node.status.map(status), "layer": node.layer});
    let nodes: Vec<_> = lineage.nodes.iter().map(node).collect();
    let edges: Vec<_> = lineage.edges.iter().map(|edge| json!({"from": edge.from, "to": edge.to})).collect();
    Ok(Json(json!({ "nodes": nodes, "edges": edges })))
}

fn no_table(name: &str) -> Failed {
    Failed::not_found(format!("there is no table or view named {name}"))
}

fn summary(table: &TableSummary) -> Value {
    json!({
        "name": table.name,
        "kind": table.kind,
        "key": table.key,
        "insert_only": table.insert_only,
        "rows": table.rows,
        "bytes": table.bytes,
        "changed_version": table.changed_version,
        "job": table.job,
    })
}

fn details(table: &TableDetails) -> Value {
    let column = |field: &arrow::datatypes::FieldRef| {
        json!({
            "name": field.name(),
            "type": sql_name(field.data_type()),
            "nullable": field.is_nullable(),
            "key": table.summary.key.contains(field.name()),
        })
    };
    let mut shown = summary(&table.summary);
    shown["columns"] = table.columns.fields().iter().map(column).collect();
    shown["sql"] = json!(table.sql);
    shown["depends_on"] = json!(table.depends_on);
    shown["dependents"] = json!(table.dependents);
    shown["metadata_location"] = json!(table.metadata_location);
    shown["files"] = table.files.iter().map(file).collect();
    shown["segments"] = table.segments.iter().map(segment).collect();
    shown["changelog_from"] = json!(table.changelog_from);
    shown
}

fn file(file: &FileInfo) -> Value {
    let kind = match file.kind {
        FileKind::Data => "data",
        FileKind::Deletes => "deletes",
    };
    json!({"path": file.path, "rows": file.rows, "bytes": file.bytes, "kind": kind})
}

fn segment(segment: &SegmentInfo) -> Value {
    json!({"path": segment.path, "rows": segment.rows, "bytes": segment.bytes, "version": segment.version})
}

fn version(version: &TableVersion) -> Value {
    let (kind, rows) = match version.change {
        TableVersionChange::Segments { rows } => ("segment", Some(rows)),
        TableVersionChange::Metadata { .. } => ("snapshot", None),
    };
    json!({"version": version.version, "committed_ms": version.committed_ms, "rows_changed": rows, "kind": kind})
}
