//! `frazil sql` without a person: executes a whole text and prints only results.

use std::io::Write;
use std::sync::Arc;

use catalog::SystemClock;
use engine::session::{Answer, Engine, EngineOptions};

use crate::cli::{self, SqlArgs};
use crate::failure::Failure;
use crate::input::Input;
use crate::output::Output;
use crate::signals::Signals;

/// Executes the statements in turn until one fails. A text that does not parse as a whole is not begun.
pub async fn play(args: &SqlArgs, input: Input) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let engine = Engine::open(options(args, &input)).await?;
    let outcome = tokio::select! {
        outcome = execute(&engine, args, &input.sql) => outcome,
        () = signals.next() => Err(Failure::Interrupted),
    };
    // Views created here ran here: what they did is committed also when a later statement failed.
    let closed = engine.shutdown().await.map_err(Failure::from);
    outcome.and(closed)
}

fn options(args: &SqlArgs, input: &Input) -> EngineOptions {
    EngineOptions {
        warehouse: args.warehouse.clone(),
        parallelism: cli::default_parallelism(),
        commit_interval: cli::DEFAULT_COMMIT_INTERVAL,
        base_dir: input.base_dir.clone(),
        clock: Arc::new(SystemClock::new()),
    }
}

async fn execute(engine: &Engine, args: &SqlArgs, sql: &str) -> Result<(), Failure> {
    let output = Output::new(args.format);
    for statement in engine.parse(sql).map_err(Failure::about(sql))? {
        match engine.execute(&statement).await.map_err(Failure::about(sql))? {
            Answer::Rows(rows) => {
                output.print(rows).await?;
            }
            // Command tags are no results.
            Answer::Done(_) => {}
            Answer::Noticed { notice, .. } => {
                // Whoever closed standard error does not want to know.
                let _ = writeln!(std::io::stderr(), "notice: {notice}");
            }
        }
    }
    Ok(())
}
