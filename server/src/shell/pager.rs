//! The program that shows what does not fit the terminal.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use super::sink::Flow;
use crate::failure::Failure;
use crate::signals::{Asked, Signals};

/// Long lines are cut and can be scrolled, colours are kept, the text stays on the screen. `F`, to end at once if all fits,
/// would have nothing to do: whatever is paged does not fit.
const LESS: &str = "SRX";

/// What a shell ends with if it cannot find or execute a program.
const NOT_EXECUTED: [i32; 2] = [126, 127];

/// A pager that runs.
pub struct Pager {
    program: String,
    child: Child,
    /// `None` when the text is over.
    input: Option<ChildStdin>,
}

/// The pager that the user wants: `$FRAZIL_PAGER`, else `$PAGER`, else `less` if there is one. An empty variable wants none.
pub fn wanted() -> Option<String> {
    let variable = |name| std::env::var(name).ok();
    match variable("FRAZIL_PAGER").or_else(|| variable("PAGER")) {
        Some(program) => Some(program).filter(|program| !program.trim().is_empty()),
        None => is_installed("less").then(|| "less".to_owned()),
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| Path::new(&directory).join(program).is_file())
}

impl Pager {
    /// Starts a program, which may have arguments.
    pub fn start(program: &str) -> Result<Self, Failure> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(program).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            command.env("LESS", LESS);
        }
        let failed = |source| Failure::io(format!("cannot start the pager {program}"), source);
        let mut child = command.spawn().map_err(failed)?;
        let input = child.stdin.take();
        Ok(Self { program: program.to_owned(), child, input })
    }

    /// Hands text over, as fast as the user looks at it.
    pub async fn write(&mut self, text: &[u8]) -> Result<Flow, Failure> {
        let Some(input) = &mut self.input else { return Ok(Flow::Enough) };
        match input.write_all(text).await {
            Ok(()) => Ok(Flow::More),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Flow::Enough),
            Err(source) => Err(Failure::io(format!("cannot write to the pager {}", self.program), source)),
        }
    }

    /// Waits until the user has left it. Dropping the future changes nothing.
    pub async fn left(&mut self) {
        // A child that cannot be waited for is gone.
        let _ = self.child.wait().await;
    }

    /// Ends the text and waits until the user has seen enough. Ctrl-C is the pager's business meanwhile; SIGTERM ends it.
    pub async fn finish(mut self, signals: &mut Signals) -> Result<(), Failure> {
        drop(self.input.take());
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                asked = signals.asked() => if asked == Asked::Terminate {
                    let _ = self.child.start_kill();
                    return Err(Failure::Interrupted);
                },
            }
        };
        let status =
            status.map_err(|source| Failure::io(format!("cannot wait for the pager {}", self.program), source))?;
        match status.code() {
            Some(code) if NOT_EXECUTED.contains(&code) => Err(self.not_executed(status)),
            _ => Ok(()),
        }
    }

    fn not_executed(&self, status: ExitStatus) -> Failure {
        let why = format!("the pager {} cannot be executed ({status}), so the result is not shown", self.program);
        Failure::refused(format!("{why}\nhint: set FRAZIL_PAGER to another program, or write \\pset pager off"))
    }
}
