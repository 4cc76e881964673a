//! `/api/v1/tables/{name}/changes`: SUBSCRIBE as server-sent events (WHATWG HTML, "Server-sent events").
//!
//! Rows come as events `insert` and `delete` with `{"version": n, "row": {...}}`, values as text or null. Behind the changes of a
//! version comes an event `progress` with `{"version": n}`, and that alone has an id: the version. So a client that was cut off
//! and sends the last id it has seen (`EventSource` does so by itself) gets everything after that version, and takes every change
//! once if it drops what it got after its last `progress`.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use datafusion::execution::SendableRecordBatchStream;
use engine::error::Position;
use engine::session::Answer;
use engine::sql::statement::{ParsedStatement, Statement, Subscribe};
use futures::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::error::Failed;
use super::routes::Routes;
use super::statements::rows::append;
use crate::sqlstate::{NO_TABLE, sqlstate};

/// What clients send of the last event that they have seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// The routes of this module.
pub fn routes() -> Routes {
    Routes::default().get("/api/v1/tables/{name}/changes", changes)
}

/// Where a subscription begins.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    /// With the rows that are there.
    #[serde(default)]
    snapshot: bool,
    /// After this version; else after the newest.
    version: Option<u64>,
}

async fn changes(
    caller: Caller,
    Path(relation): Path<String>,
    start: Result<Query<Start>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failed> {
    let Query(start) = start.map_err(|rejection| Failed::bad_request(rejection.body_text()))?;
    let start = match headers.get(LAST_EVENT_ID).map(|id| id.to_str().ok().and_then(|id| id.parse().ok())) {
        None => start,
        Some(Some(version)) => Start { snapshot: false, version: Some(version) },
        Some(None) => return Err(Failed::bad_request("last-event-id is not the id of an event that was sent here")),
    };
    let Start { snapshot, version } = start;
    let subscribe = Subscribe { relation, snapshot, version, position: None };
    let position = Position { line: 1, column: 1 };
    let statement = ParsedStatement { statement: Statement::Subscribe(subscribe), text: "SUBSCRIBE".into(), position };
    let answer = caller.engine().execute(&statement).await.map_err(|error| match sqlstate(&error) {
        NO_TABLE => Failed::from(error).with_status(StatusCode::NOT_FOUND),
        _ => error.into(),
    })?;
    match answer {
        Answer::Rows(rows) => Ok(Sse::new(events(rows))),
        Answer::Done(_) | Answer::Noticed { .. } => Err(engine::Error::internal("a subscription gave no rows").into()),
    }
}

/// An event for each row. An error is the last event.
fn events(rows: SendableRecordBatchStream) -> impl Stream<Item = Result<Event, Infallible>> {
    let names: Vec<String> = rows.schema().fields().iter().skip(2).map(|field| field.name().clone()).collect();
    let state = (Some(rows), VecDeque::new());
    let names = std::sync::Arc::new(names);
    futures::stream::unfold(state, move |(mut rows, mut ready)| {
        let names = names.clone();
        async move {
            loop {
                if let Some(row) = ready.pop_front() {
                    return Some((Ok(event(row, &names)), (rows, ready)));
                }
                let next = rows.as_mut()?.next().await?;
                let mut taken = Vec::new();
                let appended = next.map_err(engine::Error::from).and_then(|batch| Ok(append(&batch, &mut taken)?));
                match appended {
                    Ok(()) => ready.extend(taken),
                    Err(error) => {
                        let failed = Event::default().event("error").data(Failed::from(error).body().to_string());
                        return Some((Ok(failed), (None, ready)));
                    }
                }
            }
        }
    })
}

/// A row of a subscription: what happened, the version, the columns.
fn event(row: Value, names: &[String]) -> Event {
    let Value::Array(cells) = row else { return Event::default() };
    let mut cells = cells.into_iter();
    let op = cells.next().and_then(|op| op.as_str().map(str::to_owned)).unwrap_or_default();
    let version = cells.next().and_then(|version| version.as_str().map(str::to_owned)).unwrap_or_default();
    let number: Value = version.parse::<u64>().map_or(Value::Null, Value::from);
    if op == "progress" {
        return Event::default().event(op).id(version).data(json!({"version": number}).to_string());
    }
    let row: Map<String, Value> = names.iter().cloned().zip(cells).collect();
    Event::default().event(op).data(json!({"version": number, "row": row}).to_string())
}
