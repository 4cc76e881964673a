//! `frazil coordinator` and `frazil worker`: a warehouse whose jobs run in many processes.

mod local;

pub use local::LocalWorkers;

use std::sync::Arc;

use catalog::SystemClock;
use engine::cluster::autoscale::Policy;
use engine::cluster::{Worker, WorkerOptions, listen};
use engine::hash;
use engine::session::ClusterOptions;
use tokio::io::AsyncReadExt;

use crate::cli::{self, CoordinatorArgs, WorkerArgs};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::{logging, server};

/// Serves a warehouse and takes workers in, as long as [`server::run`] does.
pub async fn coordinate(args: CoordinatorArgs) -> Result<(), Failure> {
    let CoordinatorArgs { server, listen, heartbeat, heartbeat_timeout, cluster_secret, .. } = args;
    let CoordinatorArgs { autoscale, autoscale_slots, autoscale_target, .. } = args;
    if heartbeat_timeout <= heartbeat {
        return Err(Failure::refused(format!(
            "--heartbeat-timeout ({heartbeat_timeout:?}) must be longer than --heartbeat ({heartbeat:?})"
        )));
    }
    if !listen.ip().is_loopback() && cluster_secret.is_none() {
        return Err(Failure::refused(format!(
            "workers of other machines can join at {listen}, and anybody there could: set --cluster-secret, or listen on 127.0.0.1"
        )));
    }
    let range = autoscale.unwrap_or(cli::Range { min: 1, max: hash::VNODES });
    let cluster = ClusterOptions {
        listen,
        heartbeat,
        timeout: heartbeat_timeout,
        secret: cluster_secret.clone(),
        policy: Policy { target: autoscale_target, ..Policy::within(range.min, range.max) },
    };
    let local = autoscale.map(|_| LocalWorkers { slots: autoscale_slots, secret: cluster_secret });
    server::run(server, Some(server::Cluster { options: cluster, local })).await
}

/// Works until SIGINT or SIGTERM; then waits until its slots run elsewhere. A second signal ends at once.
pub async fn work(args: WorkerArgs) -> Result<(), Failure> {
    logging::start(logging::Default::Informative);
    let mut signals = Signals::listen()?;
    let (listener, address) = listen(args.listen).await?;
    let options = WorkerOptions {
        coordinators: args.coordinator,
        slots: args.slots.map_or_else(cli::default_parallelism, usize::from),
        advertise: args.advertise,
        secret: args.cluster_secret,
        clock: Arc::new(SystemClock::new()),
    };
    let (leave, asked) = tokio::sync::oneshot::channel();
    let work = Worker::new(options, listener, address).run(async {
        let _ = asked.await;
    });
    let interrupted = async {
        tokio::select! {
            () = signals.next() => {}
            () = stdin_closed(), if args.while_stdin_is_open => {}
        }
        tracing::info!("asked to leave: waiting until other workers have taken over; a second signal ends at once");
        let _ = leave.send(());
        signals.next().await;
    };
    tokio::select! {
        done = work => done.map_err(Failure::from),
        () = interrupted => Err(Failure::Interrupted),
    }
}

/// Resolves when nobody can write to standard input any more.
async fn stdin_closed() {
    let mut rest = [0; 64];
    let mut stdin = tokio::io::stdin();
    while matches!(stdin.read(&mut rest).await, Ok(read) if read > 0) {}
}
