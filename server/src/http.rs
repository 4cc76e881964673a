//! HTTP: the program's own API under `/api/v1`, an Iceberg REST catalog under `/iceberg`, health and readiness.
//!
//! Routes are grouped by what they serve, one module each; every error is JSON with the SQLSTATE that the PostgreSQL protocol
//! would give (`error`).

mod auth;
mod changes;
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
mod tls;
mod workers;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use engine::session::Engine;
use pgwire::tokio::TlsAcceptor;
use tokio::net::TcpListener;

use routes::Routes;
use tls::{Encrypted, Peer};

use crate::auth::Door;

pub use statements::arrow::{MEDIA_TYPE as ARROW_STREAM, NOTICE as NOTICE_HEADER, TAG as TAG_HEADER};

/// What all handlers share.
#[derive(Clone)]
pub struct Context {
    /// The warehouse.
    pub engine: Engine,
    /// Jobs are resumed: statements can be answered.
    pub ready: Arc<AtomicBool>,
    /// Tells users from others.
    pub door: Arc<Door>,
}

/// Every route there is for programs: those that the OpenAPI document names.
fn routes() -> Routes {
    health::routes()
        .and(openapi::routes())
        .and(overview::routes())
        .and(statements::routes())
        .and(jobs::routes())
        .and(tables::routes())
        .and(changes::routes())
        .and(dataflow::routes())
        .and(metrics::routes())
        .and(workers::routes())
        .and(iceberg::routes())
}

fn router(context: Context) -> Router {
    routes()
        .into_router()
        .merge(page::routes())
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(input::MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(context.clone(), auth::only_users))
        .layer(axum::middleware::from_fn(origin::own_pages_only))
        .with_state(context)
}

/// Accepts connections until it is dropped. `tls`: encrypts all of them.
///
/// # Errors
/// If connections cannot be accepted any more.
pub async fn serve(context: Context, listener: TcpListener, tls: Option<TlsAcceptor>) -> std::io::Result<()> {
    let service = router(context).into_make_service_with_connect_info::<Peer>();
    match tls {
        None => axum::serve(listener, service).await,
        Some(tls) => axum::serve(Encrypted::new(listener, tls)?, service).await,
    }
}
