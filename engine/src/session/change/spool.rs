//! The changes of one transaction on their way into segments: written in pieces, so that a large change needs little memory.

use std::sync::Arc;

use catalog::{NewSegment, Object};
use storage::Warehouse;
use storage::segment::write_segment;

use crate::change::Changes;
use crate::error::Result;

/// A segment is written when so many rows have come together...
const MAX_ROWS: usize = 128 * 1024;
/// ...or so many bytes.
const MAX_BYTES: usize = 32 << 20;

/// Rows that wait for a segment, and the segments that are written.
#[derive(Default)]
struct Part {
    waiting: Vec<Changes>,
    rows: usize,
    bytes: usize,
    written: Vec<NewSegment>,
}

impl Part {
    async fn push(&mut self, warehouse: &Warehouse, table: &Object, changes: Changes) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.rows += changes.len();
        self.bytes += changes.rows().get_array_memory_size();
        self.waiting.push(changes);
        match self.rows >= MAX_ROWS || self.bytes >= MAX_BYTES {
            true => self.flush(warehouse, table).await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self, warehouse: &Warehouse, table: &Object) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        (self.rows, self.bytes) = (0, 0);
        if !waiting.is_empty() {
            self.written.push(write_segment(warehouse, table, &waiting, false).await?);
        }
        Ok(())
    }
}

/// See the module's description.
///
/// What goes is written before what comes: readers of keyed tables take the last row of a key for the present one, and a row
/// may come that equals one that goes.
pub struct Spool {
    table: Arc<Object>,
    going: Part,
    coming: Part,
}

impl Spool {
    /// An empty one.
    pub fn new(table: Arc<Object>) -> Self {
        Self { table, going: Part::default(), coming: Part::default() }
    }

    /// Adds rows that go, with negative weights.
    pub async fn take_away(&mut self, warehouse: &Warehouse, changes: Changes) -> Result<()> {
        self.going.push(warehouse, &self.table, changes).await
    }

    /// Adds rows that come.
    pub async fn add(&mut self, warehouse: &Warehouse, changes: Changes) -> Result<()> {
        self.coming.push(warehouse, &self.table, changes).await
    }

    /// Writes what still waits; the segments in their order. A small change is one segment.
    pub async fn finish(mut self, warehouse: &Warehouse) -> Result<Vec<NewSegment>> {
        if self.going.written.is_empty() && self.coming.written.is_empty() {
            self.going.waiting.append(&mut self.coming.waiting);
        }
        self.going.flush(warehouse, &self.table).await?;
        self.coming.flush(warehouse, &self.table).await?;
        self.going.written.append(&mut self.coming.written);
        Ok(self.going.written)
    }
}
