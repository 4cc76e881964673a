//! `/health`: the process lives. `/ready`: its jobs are resumed and statements are answered.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Context;
use super::routes::Routes;

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default().get("/health", health).get("/ready", ready)
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
