//! The PostgreSQL wire protocol, version 3: what psql, drivers and BI tools speak.
//!
//! `pgwire` reads and writes messages; here is what they mean. A connection has a session (`session`), which executes
//! statements in or outside of a transaction; values become text or binary as PostgreSQL writes them (`values`), parameters
//! become SQL (`parameters`), and errors get their SQLSTATE (`error`).

mod cancel;
mod connection;
mod error;
mod numeric;
mod parameters;
mod session;
mod system;
mod types;
pub mod values;

use std::sync::Arc;

use engine::session::Engine;
use pgwire::tokio::process_socket;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use cancel::Cancellations;
use connection::Connection;
use system::System;

/// Accepts connections until it is dropped; then all of them end.
///
/// # Errors
/// If the system tables cannot be made.
pub async fn serve(engine: Engine, listener: TcpListener) -> engine::Result<()> {
    let system = Arc::new(System::new(engine.clone())?);
    let cancellations = Arc::new(Cancellations::default());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    // A statement's answer is one small message: it should not wait for more.
                    let _ = socket.set_nodelay(true);
                    let connection = Arc::new(Connection::new(&engine, system.clone(), cancellations.clone()));
                    connections.spawn(async move {
                        if let Err(error) = process_socket(socket, None, connection).await {
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
