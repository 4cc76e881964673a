//! `frazil server`: opens a warehouse, resumes its jobs, answers clients until it is asked to end.

use std::sync::Arc;

use catalog::{Clock, SystemClock};
use engine::session::{Engine, EngineOptions};
use tokio::net::TcpListener;

use crate::cli::{self, ServerArgs};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::{logging, pg};

/// Serves until SIGINT or SIGTERM; then takes a last checkpoint of every job. A second signal ends at once.
pub async fn run(args: ServerArgs) -> Result<(), Failure> {
    logging::start(logging::Default::Informative);
    let mut signals = Signals::listen()?;
    if !args.pg.ip().is_loopback() {
        return Err(Failure::refused(format!(
            "{} can be reached from other machines, and clients are not asked for a password; bind to 127.0.0.1",
            args.pg
        )));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let base_dir =
        std::env::current_dir().map_err(|source| Failure::io("cannot read the current directory", source))?;
    let engine = Engine::open(EngineOptions {
        warehouse: args.warehouse,
        parallelism: args.parallelism.map_or_else(cli::default_parallelism, usize::from),
        commit_interval: args.commit_interval,
        base_dir,
        clock,
    })
    .await?;
    let bind = |source| Failure::io(format!("cannot listen on {}", args.pg), source);
    let listener = TcpListener::bind(args.pg).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    engine.resume().await?;
    tracing::info!("ready: PostgreSQL protocol on {address}");
    tokio::select! {
        served = pg::serve(engine.clone(), listener) => served?,
        () = signals.next() => tracing::info!("asked to end: taking a last checkpoint; a second signal ends at once"),
    }
    tokio::select! {
        closed = engine.shutdown() => closed.map_err(Failure::from),
        () = signals.next() => Err(Failure::Interrupted),
    }
}
