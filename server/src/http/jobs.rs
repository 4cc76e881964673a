//! `/api/v1/jobs`: what runs, and PAUSE, RESUME, RESTART and STOP.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use catalog::JobStatus;
use engine::ErrorKind;
use engine::session::{Engine, JobInfo};
use engine::sql::statement::JobControl;
use serde_json::{Value, json};

use super::Context;
use super::auth::Caller;
use super::error::Failed;
use super::input::Name;
use super::routes::Routes;

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/jobs", jobs)
        .get("/api/v1/jobs/{name}", job)
        .post("/api/v1/jobs/{name}/pause", |caller, name| control(caller, name, JobControl::Pause))
        .post("/api/v1/jobs/{name}/resume", |caller, name| control(caller, name, JobControl::Resume))
        .post("/api/v1/jobs/{name}/restart", |caller, name| control(caller, name, JobControl::Restart))
        .post("/api/v1/jobs/{name}/stop", |caller, name| control(caller, name, JobControl::Stop))
}

/// What the API calls a status.
pub fn status(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Running => "running",
        JobStatus::Paused => "paused",
        JobStatus::Finished => "finished",
        JobStatus::Failed => "failed",
    }
}

async fn jobs(State(context): State<Context>) -> Result<Json<Value>, Failed> {
    let jobs: Vec<_> = context.engine.jobs().await?.iter().map(shown).collect();
    Ok(Json(json!({ "jobs": jobs })))
}

async fn job(State(context): State<Context>, Name(name): Name) -> Result<Json<Value>, Failed> {
    Ok(Json(shown(&find(&context.engine, &name).await?)))
}

async fn control(caller: Caller, Name(name): Name, control: JobControl) -> Result<Json<Value>, Failed> {
    let engine = caller.engine();
    find(&engine, &name).await?;
    engine.control(control, &name).await.map_err(|error| match error.kind() {
        // The job is there: it is its state that does not allow this.
        ErrorKind::Sql => Failed::from(error).with_status(StatusCode::CONFLICT),
        _ => error.into(),
    })?;
    match control {
        JobControl::Stop => Ok(Json(json!({ "stopped": name }))),
        _ => Ok(Json(shown(&find(&engine, &name).await?))),
    }
}

async fn find(engine: &Engine, name: &str) -> Result<JobInfo, Failed> {
    engine.job(name).await?.ok_or_else(|| no_job(name))
}

/// The answer about a job that is not there.
pub fn no_job(name: &str) -> Failed {
    Failed::not_found(format!("there is no job named {name}"))
}

fn shown(job: &JobInfo) -> Value {
    let counters = job.counters.unwrap_or_default();
    json!({
        "name": job.name,
        "kind": job.kind,
        "status": status(job.status),
        "runner": job.runner.as_ref().map(ToString::to_string),
        "epoch": job.epoch,
        "version": job.version,
        "error": job.error,
        "skipped_rows": job.skipped_rows,
        "failed_values": job.failed_values,
        "late_rows": job.late_rows,
        "inputs": job.inputs,
        "targets": job.targets,
        "sql": job.sql,
        "settings": job.settings,
        "rows_in": counters.rows_in,
        "rows_out": counters.rows_out,
        "lag_ms": counters.lag_ms,
        "checkpoint_age_ms": counters.checkpoint_age_ms,
        "recovery": job.recovery.as_ref().map(|recovery| json!({
            "at_ms": recovery.at_ms,
            "reason": recovery.reason,
            "slots": recovery.slots,
            "stopped_ms": recovery.stopped.as_millis() as u64,
            "started_ms": recovery.started.as_millis() as u64,
            "committed_ms": recovery.committed.map(|time| time.as_millis() as u64),
        })),
    })
}
