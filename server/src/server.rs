//! `frazil server` and `frazil coordinator`: opens a warehouse, resumes its jobs, answers clients over the PostgreSQL protocol and HTTP until it is asked to end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use catalog::{Clock, SystemClock};
use engine::session::{ClusterOptions, Engine, EngineOptions, Limits};
use tokio::net::TcpListener;

use crate::auth::Door;
use crate::cli::{self, ServerArgs};
use crate::cluster::LocalWorkers;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::{http, logging, pg, tls};

/// Who runs the jobs of a coordinator.
pub struct Cluster {
    /// Where workers join, and how they are dealt with.
    pub options: ClusterOptions,
    /// Workers that are started here.
    pub local: Option<LocalWorkers>,
}

/// Serves until SIGINT or SIGTERM; then takes a last checkpoint of every job. A second signal ends at once. `cluster`: where
/// workers join that run the jobs, if this process does not.
pub async fn run(args: ServerArgs, cluster: Option<Cluster>) -> Result<(), Failure> {
    logging::start(logging::Default::Informative);
    let mut signals = Signals::listen()?;
    let tls = |protocol| match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => tls::acceptor(certificate, key, protocol).map(Some),
        _ => Ok(None),
    };
    let (pg_tls, http_tls) = (tls(tls::POSTGRESQL)?, tls(tls::HTTP)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let base_dir =
        std::env::current_dir().map_err(|source| Failure::io("cannot read the current directory", source))?;
    let options = EngineOptions {
        warehouse: args.warehouse.clone(),
        parallelism: args.parallelism.map_or_else(cli::default_parallelism, usize::from),
        commit_interval: args.commit_interval,
        base_dir,
        clock: clock.clone(),
        limits: Limits { memory: args.query_memory, timeout: args.statement_timeout },
        cluster: cluster.as_ref().map(|cluster| cluster.options.clone()),
    };
    let engine = Engine::open_with_catalog(options, args.catalog.as_ref().map(cli::CatalogUrl::as_str)).await?;
    refuse_open_doors(&engine, &args).await?;
    let door = Arc::new(Door::new(clock));
    let (http, http_address) = listen(args.http).await?;
    let ready = Arc::new(AtomicBool::new(false));
    let leads = tokio::sync::Notify::new();
    let context = http::Context { engine: engine.clone(), ready: ready.clone(), door: door.clone() };
    let serve_http = http::serve(context, http, http_tls);
    let serve_pg = async {
        engine.lead().await.map_err(Failure::from)?;
        // A coordinator that stands by does not accept what it cannot answer.
        let (pg, pg_address) = listen(args.pg).await?;
        engine.resume().await.map_err(Failure::from)?;
        leads.notify_one();
        ready.store(true, Ordering::Release);
        tracing::info!("ready: PostgreSQL protocol on {pg_address}, HTTP on {http_address}");
        tokio::select! {
            served = pg::serve(engine.clone(), pg, door, pg_tls) => served.map_err(Failure::from),
            deposed = engine.deposed() => Err(Failure::from(deposed)),
        }
    };
    let local = cluster.and_then(|cluster| cluster.local);
    let keep_workers = async {
        leads.notified().await;
        if let Some(local) = &local {
            local.keep(&engine).await;
        }
        std::future::pending::<()>().await
    };
    let mut keep_workers = std::pin::pin!(keep_workers);
    tokio::select! {
        served = serve_pg => served?,
        () = keep_workers.as_mut() => {}
        served = serve_http => served.map_err(|source| Failure::io("HTTP cannot be served any more", source))?,
        () = signals.next() => tracing::info!("asked to end: taking a last checkpoint; a second signal ends at once"),
    }
    tokio::select! {
        closed = engine.shutdown() => closed.map_err(Failure::from),
        // Last checkpoints need the workers.
        () = keep_workers => Ok(()),
        () = signals.next() => Err(Failure::Interrupted),
    }
}

/// Other machines come in as users or not at all.
async fn refuse_open_doors(engine: &Engine, args: &ServerArgs) -> Result<(), Failure> {
    let Some(address) = [args.pg, args.http].into_iter().find(|address| !address.ip().is_loopback()) else {
        return Ok(());
    };
    if engine.access().await?.users.is_empty() {
        return Err(Failure::refused(format!(
            "{address} can be reached from other machines, and the warehouse has no users; bind to 127.0.0.1, or create one \
             with frazil sql: CREATE USER name SUPERUSER PASSWORD '...'"
        )));
    }
    if args.tls_cert.is_none() {
        tracing::warn!(
            "{address} can be reached from other machines without encryption: HTTP sends passwords readably"
        );
    }
    Ok(())
}

/// Listens on an address. Gives the address that it got, too.
async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |source| Failure::io(format!("cannot listen on {address}"), source);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
