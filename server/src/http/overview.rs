//! `/api/v1/overview`: the warehouse and the process at a glance.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Context;
use super::error::Failed;
use super::routes::Routes;
use crate::process;

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default().get("/api/v1/overview", overview)
}

async fn overview(State(context): State<Context>) -> Result<Json<Value>, Failed> {
    let overview = context.engine.overview().await?;
    let usage = process::usage();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "warehouse": overview.warehouse,
        "started_ms": overview.started_ms,
        "now_ms": overview.now_ms,
        "catalog_version": overview.version,
        "jobs": {
            "running": overview.jobs.running,
            "failed": overview.jobs.failed,
            "paused": overview.jobs.paused,
            "finished": overview.jobs.finished,
        },
        "tables": overview.tables,
        "views": overview.views,
        "rows_in": overview.progress.rows_in,
        "rows_out": overview.progress.rows_out,
        "lag_ms": overview.progress.lag_ms,
        "checkpoint_age_ms": overview.progress.checkpoint_age_ms,
        "memory_bytes": usage.memory_bytes,
        "cpu_seconds": usage.cpu_seconds,
        "parallelism": overview.parallelism,
    })))
}
