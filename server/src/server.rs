//! `frazil server`: opens a warehouse, resumes its jobs, answers clients over the PostgreSQL protocol and HTTP until it is asked to end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use catalog::{Clock, SystemClock};
use engine::session::{Engine, EngineOptions, Limits};
use tokio::net::TcpListener;

use crate::cli::{self, ServerArgs};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::{http, logging, pg, tls};

/// Serves until SIGINT or SIGTERM; then takes a last checkpoint of every job. A second signal ends at once.
pub async fn run(args: ServerArgs) -> Result<(), Failure> {
    logging::start(logging::Default::Informative);
    let mut signals = Signals::listen()?;
    for address in [args.pg, args.http] {
        if !address.ip().is_loopback() {
            return Err(Failure::refused(format!(
                "{address} can be reached from other machines, and clients are not asked for a password; bind to 127.0.0.1"
            )));
        }
    }
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(tls::acceptor(certificate, key)?),
        _ => None,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let base_dir =
        std::env::current_dir().map_err(|source| Failure::io("cannot read the current directory", source))?;
    let engine = Engine::open(EngineOptions {
        warehouse: args.warehouse,
        parallelism: args.parallelism.map_or_else(cli::default_parallelism, usize::from),
        commit_interval: args.commit_interval,
        base_dir,
        clock,
        limits: Limits { memory: args.query_memory, timeout: args.statement_timeout },
    })
    .await?;
    let (pg, pg_address) = listen(args.pg).await?;
    let (http, http_address) = listen(args.http).await?;
    let ready = Arc::new(AtomicBool::new(false));
    let context = http::Context { engine: engine.clone(), ready: ready.clone() };
    let serve_http = http::serve(context, http);
    let serve_pg = async {
        engine.resume().await?;
        ready.store(true, Ordering::Release);
        tracing::info!("ready: PostgreSQL protocol on {pg_address}, HTTP on {http_address}");
        pg::serve(engine.clone(), pg, tls).await
    };
    tokio::select! {
        served = serve_pg => served?,
        served = serve_http => served.map_err(|source| Failure::io("HTTP cannot be served any more", source))?,
        () = signals.next() => tracing::info!("asked to end: taking a last checkpoint; a second signal ends at once"),
    }
    tokio::select! {
        closed = engine.shutdown() => closed.map_err(Failure::from),
        () = signals.next() => Err(Failure::Interrupted),
    }
}

/// Listens on an address. Gives the address that it got, too.
async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |source| Failure::io(format!("cannot listen on {address}"), source);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
