//! HTTP: the program's own API under `/api/v1`, an Iceberg REST catalog under `/iceberg`, health and readiness.
//!
//! Routes are grouped by what they serve, one module each; every error is JSON with the SQLSTATE that the PostgreSQL protocol
//! would give (`error`).

mod dataflow;
mod error;
mod health;
mod iceberg;
mod input;
mod jobs;
mod metrics;
mod openapi;
mod origin;
mod overview;
mod page;
mod routes;
mod statements;
mod tables;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use engine::session::Engine;
use tokio::net::TcpListener;

use routes::Routes;

pub use statements::arrow::{MEDIA_TYPE as ARROW_STREAM, NOTICE as NOTICE_HEADER, TAG as TAG_HEADER};

/// What all handlers share.
#[derive(Clone)]
pub struct Context {
    /// The warehouse.
    pub engine: Engine,
    /// Jobs are resumed: statements can be answered.
    pub ready: Arc<AtomicBool>,
}

/// Every route there is for programs: those that the OpenAPI document names.
fn routes() -> Routes {
    health::routes()
        .and(openapi::routes())
        .and(overview::routes())
        .and(statements::routes())
        .and(jobs::routes())
        .and(tables::routes())
        .and(dataflow::routes())
        .and(metrics::routes())
        .and(iceberg::routes())
}

fn router(context: Context) -> Router {
    routes()
        .into_router()
        .merge(page::routes())
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(input::MAX_BODY))
        .layer(axum::middleware::from_fn(origin::own_pages_only))
        .with_state(context)
}

/// Accepts connections until it is dropped.
///
/// # Errors
/// If connections cannot be accepted any more.
pub async fn serve(context: Context, listener: TcpListener) -> std::io::Result<()> {
    axum::serve(listener, router(context)).await
}
