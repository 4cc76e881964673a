//! The sink that forgets: for measuring everything before it.

use crate::change::Changes;
use crate::error::Result;
use crate::operator::Epoch;
use crate::sink::{Sink, SinkFactory};

/// Takes changes and drops them.
#[derive(Debug, Default)]
pub struct Blackhole;

impl Sink for Blackhole {
    fn write(&mut self, _epoch: Epoch, _changes: &[Changes]) -> Result<()> {
        Ok(())
    }
}

impl SinkFactory for Blackhole {
    fn open(&self, _task: usize) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Self))
    }
}
