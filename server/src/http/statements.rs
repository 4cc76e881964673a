//! `POST /api/v1/statements`: executes SQL and answers in JSON, or with an Arrow stream. `POST /api/v1/submissions`: runs
//! the jobs of a file.
//!
//! The server keeps no session: what SET says holds for the rest of its request, and a client that wants it to last sends it
//! along with every request. When the client goes away, the statement is dropped with its request, and so ends.

pub mod arrow;
pub(super) mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use engine::session::{Answer, Engine};
use engine::sql::statement::ParsedStatement;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::Failed;
use super::input::Body;
use super::routes::Routes;

/// Rows per statement unless the request says otherwise.
const DEFAULT_ROWS: usize = 1_000;
/// The most rows per statement that JSON is made of: they are collected before they are sent.
const MAX_ROWS: usize = 100_000;

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default().post("/api/v1/statements", statements).post("/api/v1/submissions", submissions)
}

/// What is to be executed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statements {
    sql: String,
    max_rows: Option<usize>,
    /// Where relative paths start.
    base_dir: Option<PathBuf>,
    /// As if each were SET before.
    #[serde(default)]
    settings: BTreeMap<String, String>,
}

async fn statements(caller: Caller, headers: HeaderMap, Body(request): Body<Statements>) -> Result<Response, Failed> {
    let engine = caller.session(request.base_dir)?;
    for (name, value) in &request.settings {
        engine.set(name, value)?;
    }
    let parsed = engine.parse(&request.sql)?;
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.contains(arrow::MEDIA_TYPE) {
        let [statement] = parsed.as_slice() else {
            let count = parsed.len();
            return Err(Failed::bad_request(format!("an Arrow stream answers exactly one statement, not {count}")));
        };
        return arrow::answer(&engine, statement).await;
    }
    let limit = request.max_rows.unwrap_or(DEFAULT_ROWS);
    if limit > MAX_ROWS {
        return Err(Failed::bad_request(format!(
            "max_rows is at most {MAX_ROWS}; ask for more rows with accept: {}",
            arrow::MEDIA_TYPE
        )));
    }
    Ok(play(&engine, &parsed, limit).await)
}

/// Executes statements in turn until one fails.
async fn play(engine: &Engine, statements: &[ParsedStatement], limit: usize) -> Response {
    let mut results = Vec::with_capacity(statements.len());
    for statement in statements {
        match execute(engine, statement, limit).await {
            Ok(result) => results.push(result),
            Err(failed) => {
                let mut body = failed.body().clone();
                body["results"] = results.into();
                return (failed.status(), Json(body)).into_response();
            }
        }
    }
    Json(json!({ "results": results })).into_response()
}

async fn execute(engine: &Engine, statement: &ParsedStatement, limit: usize) -> Result<Value, Failed> {
    let start = engine.clock().monotonic();
    let answer = engine.execute(statement).await?;
    let mut result = match answer {
        Answer::Rows(rows) => rows::collect(rows, limit).await?,
        Answer::Done(tag) => done(&tag, None),
        Answer::Noticed { tag, notice } => done(&tag, Some(&notice)),
    };
    let elapsed = engine.clock().monotonic().saturating_sub(start);
    result["elapsed_ms"] = milliseconds(elapsed);
    Ok(result)
}

fn done(tag: &str, notice: Option<&str>) -> Value {
    json!({"tag": tag, "columns": null, "rows": null, "truncated": false, "notice": notice})
}

/// To a thousandth, which is as much as anybody wants to read.
fn milliseconds(elapsed: Duration) -> Value {
    json!((elapsed.as_secs_f64() * 1e6).round() / 1e3)
}

/// A file that is to be run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submission {
    sql: String,
    /// Where its relative paths start.
    base_dir: Option<PathBuf>,
}

async fn submissions(caller: Caller, Body(request): Body<Submission>) -> Result<Json<Value>, Failed> {
    let jobs = caller.session(request.base_dir)?.submit(&request.sql).await?;
    Ok(Json(json!({ "jobs": jobs })))
}
