//! Log lines on stderr: the only place that installs a `tracing` subscriber.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

/// The environment variable that chooses what is logged, such as `FRAZIL_LOG=engine=debug`.
const VARIABLE: &str = "FRAZIL_LOG";

/// What is logged unless the environment says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// Only what needs attention: a person or a script waits for a result.
    Quiet,
    /// How the work goes.
    Informative,
}

/// Sends log lines to stderr.
pub fn start(default: Default) {
    let terminal = io::stderr().is_terminal();
    let level = match default {
        Default::Quiet => "warn",
        // Who watches the progress line should see it rather than every commit.
        Default::Informative if terminal => "warn,frazil=info",
        // Libraries below have much to say at this level that users cannot act on.
        Default::Informative => "warn,frazil=info,engine=info,storage=info,catalog=info",
    };
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    // Another subscriber can only be there already if a test installed it: then that one is wanted.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal)
        .with_writer(move || Line { terminal })
        .try_init();
}

/// Writes a log line where a progress line may stand: that one is erased first and comes back with its next drawing.
struct Line {
    terminal: bool,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        if self.terminal {
            stderr.write_all(b"\r\x1b[2K")?;
        }
        stderr.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
