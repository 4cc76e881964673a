//! What connectors implement to take rows out. Dynamic tables are not sinks: the runtime commits those itself.

use crate::change::Changes;
use crate::error::Result;
use crate::operator::Epoch;

pub mod blackhole;
pub mod print;

/// Takes a job's changes out of the program. At-least-once: after a failure the epochs since the last checkpoint come again.
pub trait Sink: Send {
    /// Takes the consolidated changes of one closed epoch.
    fn write(&mut self, epoch: Epoch, changes: &[Changes]) -> Result<()>;
}

/// Opens the sinks of a connector table, one for each task that writes it.
pub trait SinkFactory: Send + Sync + std::fmt::Debug {
    /// The sink of task number `task`.
    fn open(&self, task: usize) -> Result<Box<dyn Sink>>;
}
