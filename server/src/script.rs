//! `frazil sql` without a person: executes a whole text and prints only results.

use std::io::Write;

use engine::session::Answer;

use crate::cli::SqlArgs;
use crate::executor::{self, Executor};
use crate::failure::Failure;
use crate::input::Input;
use crate::output::Output;
use crate::signals::Signals;

/// Executes the statements in turn until one fails. A text that does not parse as a whole is not begun.
pub async fn play(args: &SqlArgs, input: Input) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let executor = Executor::open(args, input.base_dir, executor::clock()).await?;
    let outcome = tokio::select! {
        outcome = execute(&executor, args, &input.sql) => outcome,
        () = signals.next() => Err(Failure::Interrupted),
    };
    // What the statements before did is committed also when a later one failed.
    outcome.and(executor.close().await)
}

async fn execute(executor: &Executor, args: &SqlArgs, sql: &str) -> Result<(), Failure> {
    let output = Output::new(args.format);
    for part in executor::parts(sql)? {
        match executor.execute(&part, sql).await? {
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
