//! HTTP: the program's own API under `/api/v1`, health and readiness.
//!
//! Routes are grouped by what they serve, one module each; every error is JSON with the SQLSTATE that the PostgreSQL protocol
//! would give (`error`).

mod error;
mod health;
mod page;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use engine::session::Engine;
use tokio::net::TcpListener;

/// What all handlers share.
#[derive(Clone)]
pub struct Context {
    /// The warehouse.
    pub engine: Engine,
    /// Jobs are resumed: statements can be answered.
    pub ready: Arc<AtomicBool>,
}

/// Every route there is.
fn router(context: Context) -> Router {
    Router::new().merge(health::routes()).merge(page::routes()).fallback(error::no_such_route).with_state(context)
}

/// Accepts connections until it is dropped.
///
/// # Errors
/// If connections cannot be accepted any more.
pub async fn serve(context: Context, listener: TcpListener) -> std::io::Result<()> {
    axum::serve(listener, router(context)).await
}
