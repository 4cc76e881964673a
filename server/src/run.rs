//! `frazil run`: executes a file, shows how far its jobs are, and ends when they end or when it is asked to.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use catalog::{Clock, SystemClock};
use engine::session::{Engine, EngineOptions};
use tokio::time::{MissedTickBehavior, interval};

use crate::cli::{self, RunArgs};
use crate::failure::Failure;
use crate::progress::{self, Rate};
use crate::signals::Signals;
use crate::{input, logging};

/// How often the progress line is drawn anew on a terminal.
const REDRAW: Duration = Duration::from_millis(250);

/// How often progress is logged where there is no terminal.
const LOG: Duration = Duration::from_secs(10);

/// Runs a file until its inputs end, a job fails, or a signal comes.
pub async fn run(args: RunArgs) -> Result<(), Failure> {
    logging::start(logging::Default::Informative);
    let mut signals = Signals::listen()?;
    let input = input::read_file(&args.file)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let options = EngineOptions {
        warehouse: args.warehouse,
        parallelism: args.parallelism.map_or_else(cli::default_parallelism, usize::from),
        commit_interval: args.commit_interval,
        base_dir: input.base_dir,
        clock: Arc::clone(&clock),
        limits: engine::session::Limits::default(),
        cluster: None,
    };
    let engine = tokio::select! {
        engine = Engine::open_with_catalog(options, args.catalog.as_ref().map(cli::CatalogUrl::as_str)) => engine?,
        () = signals.next() => return Ok(()),
    };
    let work = async {
        engine.run(&input.sql).await.map_err(Failure::about(&input.sql))?;
        engine.finished().await.map_err(Failure::about(&input.sql))
    };
    let outcome = tokio::select! {
        outcome = show_progress(&engine, clock.as_ref(), work) => outcome,
        () = signals.next() => {
            tracing::info!("asked to end: taking a last checkpoint; a second signal ends at once");
            Ok(())
        }
    };
    // Jobs that are well are committed also when another one failed.
    let closed = tokio::select! {
        closed = engine.shutdown() => closed.map_err(Failure::from),
        () = signals.next() => Err(Failure::Interrupted),
    };
    outcome.and(closed)
}

/// Drives `work` to its end; meanwhile draws a line on a terminal, or logs one now and then.
async fn show_progress<T>(engine: &Engine, clock: &dyn Clock, work: impl Future<Output = T>) -> T {
    let terminal = io::stderr().is_terminal();
    let mut ticks = interval(if terminal { REDRAW } else { LOG });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut rate = Rate::default();
    let mut show = |last: bool| {
        let progress = engine.progress();
        let line = progress::line(&progress, rate.sample(clock.monotonic(), progress.rows_in));
        if terminal {
            draw(&line, last);
        } else {
            tracing::info!("{line}");
        }
    };
    tokio::pin!(work);
    loop {
        tokio::select! {
            outcome = &mut work => {
                show(true);
                return outcome;
            }
            _ = ticks.tick() => show(false),
        }
    }
}

/// Draws over the line before. It stays only if it is the last.
fn draw(line: &str, last: bool) {
    let end = if last { "\n" } else { "" };
    // A terminal that went away is no reason to stop the jobs.
    let _ = write!(io::stderr(), "\r\x1b[2K{line}{end}");
}
