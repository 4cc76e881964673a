//! `frazil submit`: hands a file to a server, which runs its jobs from then on.

use std::io::Write;

use crate::cli::SubmitArgs;
use crate::client::{Client, Login};
use crate::failure::Failure;
use crate::input;
use crate::signals::Signals;

/// Submits a file and prints the names of its jobs.
pub async fn submit(args: SubmitArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let input = input::read_file(&args.file)?;
    let client = Client::new(&args.server, Login::of(args.user), &input.base_dir)?;
    let jobs = tokio::select! {
        jobs = client.submit(&input.sql) => jobs.map_err(Failure::about(&input.sql))?,
        () = signals.next() => return Err(Failure::Interrupted),
    };
    let mut out = std::io::stdout().lock();
    for job in jobs {
        writeln!(out, "{job}").map_err(Failure::output)?;
    }
    Ok(())
}
