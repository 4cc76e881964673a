//! SIGINT and SIGTERM as futures.

use futures::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGINT: to end what is being done.
    Interrupt,
    /// SIGTERM: to end altogether.
    Terminate,
}

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
        self.asked().await;
    }

    /// The same, and says which it was.
    pub async fn asked(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
        }
    }

    /// Waits for the next SIGTERM.
    pub async fn terminate(&mut self) {
        self.terminate.recv().await;
    }

    /// Forgets SIGINTs that came while nobody waited: they were meant for what ran then.
    pub fn forget_interrupts(&mut self) {
        while self.interrupt.recv().now_or_never().flatten().is_some() {}
    }
}
