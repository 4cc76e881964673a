//! SIGINT and SIGTERM as futures.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Both ways in which a process is asked to end. From its creation on they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to listen.
    pub fn listen() -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(|source| Failure::io("cannot listen for signals", source));
        Ok(Self { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
    }

    /// Waits for the next one of either kind. Dropping the future loses none.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
