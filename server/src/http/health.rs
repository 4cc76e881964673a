//! `/health`: the process lives. `/ready`: its jobs are resumed and statements are answered.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Context;

/// The routes of this module.
pub fn routes() -> Router<Context> {
    Router::new().route("/health", get(health)).route("/ready", get(ready))
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn ready(State(context): State<Context>) -> (StatusCode, Json<Value>) {
    let answers = context.ready.load(Ordering::Acquire) && context.engine.version().await.is_ok();
    match answers {
        true => (StatusCode::OK, Json(json!({"status": "ready"}))),
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "starting"}))),
    }
}
