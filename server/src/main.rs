//! The `frazil` binary: reads the command line, starts the async runtime, and turns an outcome into an exit code.

mod auth;
mod cli;
mod client;
mod cluster;
mod config;
mod executor;
mod failure;
mod http;
mod input;
mod logging;
mod output;
mod pg;
mod process;
mod progress;
mod run;
mod script;
mod server;
mod shell;
mod signals;
mod sqlstate;
mod submit;
mod tls;

use std::io::Write;
use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::config::Asked;
use crate::failure::Failure;

/// Tasks exchange batches between threads all the time; the system allocator would give half the throughput.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Stack of a thread that plans statements, in bytes. What is not used takes no memory.
const STACK: usize = 16 << 20;

fn main() -> ExitCode {
    let outcome = config::read(std::env::args_os().collect()).and_then(|asked| match asked {
        Asked::Run(cli) => start(*cli),
        Asked::Print(text) => std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|source| Failure::io("cannot write the configuration", source)),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(report) = failure.report() {
                // Nothing is left to be done if even stderr is closed.
                let _ = writeln!(std::io::stderr(), "{report}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn start(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("frazil-io")
        // Statements are planned by recursion over their text, and an overflow would end the whole program.
        .thread_stack_size(STACK)
        .build()
        .map_err(|source| Failure::io("cannot start the threads of the program", source))?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Some(Command::Run(args)) => run::run(args).await,
            Some(Command::Sql(args)) => sql(args).await,
            Some(Command::Server(args)) => server::run(args, None).await,
            Some(Command::Coordinator(args)) => cluster::coordinate(args).await,
            Some(Command::Worker(args)) => cluster::work(args).await,
            Some(Command::Submit(args)) => submit::submit(args).await,
            None => sql(cli.sql).await,
        }
    });
    // A reader thread that still blocks on the terminal or a file must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

async fn sql(args: cli::SqlArgs) -> Result<(), Failure> {
    logging::start(logging::Default::Quiet);
    match input::of(&args)? {
        Some(input) => script::play(&args, input).await,
        None => shell::interact(&args).await,
    }
}
