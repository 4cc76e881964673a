//! The PostgreSQL wire protocol, version 3: what psql, drivers and BI tools speak.
//!
//! `pgwire` encodes and decodes messages; here is what they mean. A connection (`connection`) introduces itself (`startup`, `scram`), then
//! its statements are executed by a session (`session`), in or outside of a transaction. Values become text or binary as
//! PostgreSQL writes them (`values`), parameters become SQL (`parameters`), errors get their SQLSTATE (`error`), COPY reads and
//! writes rows (`copy`). What clients ask of system tables is answered apart (`system`).

mod cancel;
mod codec;
mod connection;
mod copy;
mod cursor;
mod error;
mod numeric;
mod parameters;
mod prepared;
mod reply;
mod scram;
mod session;
mod startup;
mod system;
mod types;
pub mod values;

use std::sync::Arc;

use engine::session::Engine;
use pgwire::tokio::TlsAcceptor;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use cancel::Cancellations;
use connection::{Shared, talk};
use system::System;

use crate::auth::Door;

/// Accepts connections of those whom `door` lets in until it is dropped; then all of them end. `tls`: encrypts those of clients
/// that ask for it.
///
/// # Errors
/// If the system tables cannot be made.
pub async fn serve(
    engine: Engine,
    listener: TcpListener,
    door: Arc<Door>,
    tls: Option<TlsAcceptor>,
) -> engine::Result<()> {
    let system = Arc::new(System::new(engine.clone()).await?);
    let shared = Shared { engine, system, cancellations: Arc::new(Cancellations::default()), door, tls };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    // A statement's answer is one small message: it should not wait for more.
                    let _ = socket.set_nodelay(true);
                    let shared = shared.clone();
                    connections.spawn(async move {
                        if let Err(error) = talk(socket, shared).await {
                            tracing::debug!(%peer, %error, "a connection broke off");
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: those who are there go on.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(panic) = ended && panic.is_panic() {
                    tracing::error!(%panic, "a connection ended by a defect of the program");
                }
            }
        }
    }
}
