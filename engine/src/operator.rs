//! The operator contract: functions from changes to changes, with state that is a table.
//!
//! The law that every operator obeys: at the end of every epoch, the sum of all changes it ever emitted equals its query
//! over the sum of all changes it ever received. Operators know no runtime, no SQL and no threads.

pub mod aggregate;
pub mod asof;
pub mod check;
pub mod failure;
pub mod join;
#[cfg(test)]
pub mod law;
pub mod map;
pub mod on_close;
pub mod over;
pub mod repeat;
pub mod stamp;
pub mod temporal;
pub mod top_n;
pub mod unnest;
pub mod writer;

mod columns;
mod expiry;
mod held;
mod ledger;
mod order;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::change::Changes;
use crate::error::{Error, Result};
use crate::watermark::Bound;

/// Which epoch is being closed. An operator's output for an epoch depends only on the epoch's input set and on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Number of the epoch; grows by one.
    pub number: u64,
    /// The epoch's time (`now()`), in ms since the Unix epoch; never goes backwards.
    pub timestamp_ms: i64,
}

/// A table that holds an operator's state.
#[derive(Debug, Clone)]
pub struct StateTable {
    /// Name, unique within the operator, such as `left`.
    pub name: &'static str,
    /// Columns; the first `key_len` are the key, by which a later row replaces an earlier one.
    pub schema: SchemaRef,
    /// Number of key columns. A row's key is unique within its vnode.
    pub key_len: usize,
}

/// What is fixed about an operator before it runs.
#[derive(Debug, Clone)]
pub struct OperatorInfo {
    /// Name of the kind of operator, such as `HashAggregate`, for EXPLAIN and error messages.
    pub name: &'static str,
    /// Schema of what it emits.
    pub schema: SchemaRef,
    /// Its state tables; empty for a stateless operator.
    pub state: Vec<StateTable>,
}

/// Rows of one state table that changed since the last checkpoint.
#[derive(Debug, Clone)]
pub struct StateDelta {
    /// Index into [`OperatorInfo::state`].
    pub table: usize,
    /// Vnode of each row (0..=255).
    pub vnodes: Vec<u8>,
    /// Whether the row is deleted; then only its key columns count and the others may hold anything.
    pub deleted: Vec<bool>,
    /// The rows, in the state table's schema. At most one row per (vnode, key).
    pub rows: RecordBatch,
}

/// One parallel instance of a dataflow node.
///
/// # Contract
/// - The caller delivers all changes of an epoch, in any order and in any batches, then calls `close_epoch` once.
/// - Rows arrive only for vnodes that the instance owns; a stateful operator's rows with equal keys share one vnode.
/// - A stateless operator emits from `on_changes`, or, of what came in the epoch, at `close_epoch`. A stateful operator emits only from
///   `close_epoch`, and there emits consolidated changes: no row both added and removed, no row twice, no zero weight.
///   An output in which every weight is 1 may hold equal rows more than once: insert-only plans need not look for them.
/// - `checkpoint` is called only right after `close_epoch`, and returns what changed in the state since the last
///   `checkpoint` (or since `restore`). An operator restored from the sum of its deltas behaves as the original.
/// - `restore` is called before anything else, any number of times, in the order in which the deltas were made.
/// - Input whose batches are [`Changes`] with `Weights::Ones` or any weights is accepted alike; weights are never zero.
/// - Watermarks come between the last changes of an epoch and its `close_epoch`. They promise what *later* epochs do not
///   bring, never go back, and change no result: an operator may forget what can never be touched again, as deletions of
///   its next checkpoint. (One that waits for windows to close also emits then.)
pub trait Operator: Send {
    /// What is fixed about it.
    fn info(&self) -> OperatorInfo;

    /// Takes changes that arrived at input number `input`; `out` receives what can be emitted at once.
    fn on_changes(&mut self, input: usize, changes: Changes, out: &mut Vec<Changes>) -> Result<()>;

    /// From the next epoch on, input number `input` brings no change of a row with a value below these watermarks. Called
    /// before `close_epoch` if they have moved, with all columns that have one.
    fn on_watermark(&mut self, input: usize, bounds: &[Bound]) -> Result<()> {
        let _ = (input, bounds);
        Ok(())
    }

    /// Everything of the epoch has arrived: `out` receives all that is owed. An operator without
    /// state owes nothing but what came in the epoch.
    fn close_epoch(&mut self, epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        let _ = (epoch, out);
        Ok(())
    }

    /// The next moment, in ms since the Unix epoch, at which the operator has something to emit even if no change comes:
    /// an epoch with this time or a later one is owed. Asked after `close_epoch`.
    fn next_moment(&self) -> Option<i64> {
        None
    }

    /// The state that changed since the last call. This and what follows is for operators with state.
    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        Ok(vec![])
    }

    /// Puts back rows of a state table, as `checkpoint` gave them.
    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        Err(Error::internal("an operator without state has nothing to restore").with("table", delta.table))
    }

    /// Rows of state held in memory, for metrics and tests. Asked often: it must not look at every row.
    fn state_rows(&self) -> usize {
        0
    }

    /// Estimate of the memory that state takes, in bytes. As cheap as `state_rows`.
    fn state_bytes(&self) -> usize {
        0
    }
}
