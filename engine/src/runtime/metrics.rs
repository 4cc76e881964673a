//! Counters of a pipeline: written by its slots and its driver, read by whoever shows how it does.
//!
//! Every slot has its own counters of every node, and only its thread writes them: counting is an addition per batch, never
//! per row, and no thread waits for another. What is read is the sum over the slots.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use catalog::Version;
use serde::{Deserialize, Serialize};

use crate::runtime::dataflow::NodeId;
pub use histogram::{BOUNDS, Distribution, Histogram};

mod histogram;

/// Checkpoints of each job that are remembered.
pub const HISTORY: usize = 100;

/// A number of nodes that has not been seen: neither a watermark nor an event time.
const UNSEEN: i64 = i64::MIN;

/// What one slot counts of one node.
#[derive(Debug)]
pub struct NodeCounters {
    /// Rows that came from outside of the pipeline.
    pub read: Counter,
    /// Rows that came, from wherever.
    pub rows_in: Counter,
    /// Rows that it emitted, each once, however many consumers there are.
    pub rows_out: Counter,
    /// Time it worked, in nanoseconds.
    pub busy: Counter,
    /// Time that rows of it waited for receivers that were busy, or to be read while the slot was busy, in nanoseconds.
    pub waited: Counter,
    /// Rows left out because they came behind the watermark.
    pub late: Counter,
    /// Malformed rows skipped.
    pub skipped: Counter,
    state_rows: AtomicU64,
    state_bytes: AtomicU64,
    watermark_ms: AtomicI64,
    event_time_ms: AtomicI64,
}

impl Default for NodeCounters {
    fn default() -> Self {
        Self {
            read: Counter::default(),
            rows_in: Counter::default(),
            rows_out: Counter::default(),
            busy: Counter::default(),
            waited: Counter::default(),
            late: Counter::default(),
            skipped: Counter::default(),
            state_rows: AtomicU64::new(0),
            state_bytes: AtomicU64::new(0),
            watermark_ms: AtomicI64::new(UNSEEN),
            event_time_ms: AtomicI64::new(UNSEEN),
        }
    }
}

impl NodeCounters {
    /// Notes the size of the state.
    pub fn set_state(&self, rows: usize, bytes: usize) {
        self.state_rows.store(rows as u64, Ordering::Relaxed);
        self.state_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// Notes the watermark of the output, in ms since the Unix epoch.
    pub fn set_watermark(&self, ms: Option<i64>) {
        self.watermark_ms.store(ms.unwrap_or(UNSEEN), Ordering::Relaxed);
    }

    /// Notes an event time that was read, in ms since the Unix epoch.
    pub fn saw_event_time(&self, ms: Option<i64>) {
        self.event_time_ms.fetch_max(ms.unwrap_or(UNSEEN), Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn totals(&self) -> NodeTotals {
        let seen = |ms: &AtomicI64| Some(ms.load(Ordering::Relaxed)).filter(|ms| *ms != UNSEEN);
        NodeTotals {
            read: self.read.get(),
            rows_in: self.rows_in.get(),
            rows_out: self.rows_out.get(),
            busy: Duration::from_nanos(self.busy.get()),
            backpressure: Duration::from_nanos(self.waited.get()),
            late: self.late.get(),
            skipped: self.skipped.get(),
            state_rows: self.state_rows.load(Ordering::Relaxed),
            state_bytes: self.state_bytes.load(Ordering::Relaxed),
            watermark_ms: seen(&self.watermark_ms),
            event_time_ms: seen(&self.event_time_ms),
        }
    }
}

impl NodeCounters {
    /// Takes over what was counted elsewhere.
    pub fn replace(&self, totals: &NodeTotals) {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let numbers = [
            (&self.read.0, totals.read),
            (&self.rows_in.0, totals.rows_in),
            (&self.rows_out.0, totals.rows_out),
            (&self.busy.0, nanos(totals.busy)),
            (&self.waited.0, nanos(totals.backpressure)),
            (&self.late.0, totals.late),
            (&self.skipped.0, totals.skipped),
            (&self.state_rows, totals.state_rows),
            (&self.state_bytes, totals.state_bytes),
        ];
        numbers.into_iter().for_each(|(counter, number)| counter.store(number, Ordering::Relaxed));
        self.watermark_ms.store(totals.watermark_ms.unwrap_or(UNSEEN), Ordering::Relaxed);
        self.event_time_ms.store(totals.event_time_ms.unwrap_or(UNSEEN), Ordering::Relaxed);
    }
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How much it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one or all slots together counted of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTotals {
    /// See [`NodeCounters::read`].
    pub read: u64,
    /// See [`NodeCounters::rows_in`].
    pub rows_in: u64,
    /// See [`NodeCounters::rows_out`].
    pub rows_out: u64,
    /// See [`NodeCounters::busy`]; the sum over the slots.
    pub busy: Duration,
    /// See [`NodeCounters::waited`]; the sum over the slots.
    pub backpressure: Duration,
    /// See [`NodeCounters::late`].
    pub late: u64,
    /// See [`NodeCounters::skipped`].
    pub skipped: u64,
    /// Rows of state.
    pub state_rows: u64,
    /// Estimate of the state's size in memory.
    pub state_bytes: u64,
    /// The watermark of the output in ms since the Unix epoch, of the slot that is furthest behind.
    pub watermark_ms: Option<i64>,
    /// The newest event time read, in ms since the Unix epoch.
    pub event_time_ms: Option<i64>,
}

impl NodeTotals {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            rows_in: self.rows_in + other.rows_in,
            rows_out: self.rows_out + other.rows_out,
            busy: self.busy + other.busy,
            backpressure: self.backpressure + other.backpressure,
            late: self.late + other.late,
            skipped: self.skipped + other.skipped,
            state_rows: self.state_rows + other.state_rows,
            state_bytes: self.state_bytes + other.state_bytes,
            watermark_ms: self.watermark_ms.into_iter().chain(other.watermark_ms).min(),
            event_time_ms: self.event_time_ms.max(other.event_time_ms),
        }
    }

    /// The same without what is true only while the node runs: state and event time.
    pub fn counters(self) -> Self {
        Self { state_rows: 0, state_bytes: 0, watermark_ms: None, event_time_ms: None, ..self }
    }
}

/// A checkpoint that was committed, as far as it is one job's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// The epoch that it closes.
    pub epoch: u64,
    /// The version that its commit made.
    pub version: Version,
    /// When it was committed, in ms since the Unix epoch.
    pub committed_ms: i64,
    /// From the opening of its epoch to the end of its commit.
    pub duration: Duration,
    /// Bytes of the files that it wrote: state, and changes of the job's tables.
    pub bytes: u64,
    /// How many files these are.
    pub files: u64,
}

/// Counters since the start of a pipeline.
#[derive(Debug)]
pub struct Metrics {
    /// By slot, then by node.
    nodes: Vec<Vec<NodeCounters>>,
    /// Newest epoch that is closed.
    pub epoch: AtomicU64,
    /// Checkpoints committed.
    pub checkpoints: AtomicU64,
    /// When the last checkpoint was committed, in ms since the Unix epoch; 0 before the first.
    pub last_checkpoint_ms: AtomicI64,
    /// When the oldest epoch that is not yet committed was opened, in ms since the Unix epoch; 0 if all is committed.
    pub uncommitted_since_ms: AtomicI64,
    /// From the opening of an epoch until every slot has closed it.
    pub epoch_durations: Histogram,
    /// From the opening of a checkpoint's epoch to the end of its commit.
    pub checkpoint_durations: Histogram,
    /// From the opening of the epoch that reads a row to the commit that holds what became of it: for the oldest row of
    /// each commit.
    pub commit_lags: Histogram,
    /// By job, newest last.
    history: Mutex<Vec<VecDeque<CheckpointRecord>>>,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new(slots: usize, nodes: usize, jobs: usize) -> Self {
        let of_slot = || (0..nodes).map(|_| NodeCounters::default()).collect();
        Self {
            nodes: (0..slots).map(|_| of_slot()).collect(),
            epoch: AtomicU64::default(),
            checkpoints: AtomicU64::default(),
            last_checkpoint_ms: AtomicI64::default(),
            uncommitted_since_ms: AtomicI64::default(),
            epoch_durations: Histogram::default(),
            checkpoint_durations: Histogram::default(),
            commit_lags: Histogram::default(),
            history: Mutex::new(vec![VecDeque::new(); jobs]),
        }
    }

    /// The counters of a node in a slot.
    pub fn node(&self, slot: usize, node: NodeId) -> &NodeCounters {
        &self.nodes[slot][node]
    }

    /// The counters of all nodes in a slot.
    pub fn slot(&self, slot: usize) -> &[NodeCounters] {
        &self.nodes[slot]
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// What all slots together counted of a node.
    pub fn totals(&self, node: NodeId) -> NodeTotals {
        let slots = self.nodes.iter().filter_map(|slot| slot.get(node)).map(NodeCounters::totals);
        slots.reduce(NodeTotals::and).unwrap_or_default()
    }

    /// Remembers what a checkpoint wrote of a job.
    pub fn remember(&self, job: usize, record: CheckpointRecord) {
        let mut history = self.lock();
        if let Some(history) = history.get_mut(job) {
            if history.len() >= HISTORY {
                history.pop_front();
            }
            history.push_back(record);
        }
    }

    /// The newest checkpoints of a job, the newest first.
    pub fn history(&self, job: usize) -> Vec<CheckpointRecord> {
        self.lock().get(job).into_iter().flatten().rev().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<VecDeque<CheckpointRecord>>> {
        // Nothing can panic while it is held, so a poisoned lock still guards whole data.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_sums_over_slots_and_the_watermark_is_the_least() {
        let metrics = Metrics::new(2, 3, 1);
        for (slot, rows, watermark) in [(0, 5, Some(100)), (1, 7, Some(50))] {
            let node = metrics.node(slot, 1);
            node.rows_in.add(rows);
            node.set_state(rows as usize, 10);
            node.set_watermark(watermark);
            node.saw_event_time(watermark);
        }
        let totals = metrics.totals(1);
        assert_eq!((totals.rows_in, totals.state_rows, totals.state_bytes), (12, 12, 20));
        assert_eq!((totals.watermark_ms, totals.event_time_ms), (Some(50), Some(100)));
        assert_eq!(metrics.totals(0), NodeTotals::default());
        assert_eq!(totals.counters(), NodeTotals { rows_in: 12, ..NodeTotals::default() });
    }

    #[test]
    fn the_history_is_bounded() {
        let metrics = Metrics::new(1, 1, 2);
        for epoch in 1..=150 {
            let record =
                CheckpointRecord { epoch, version: 1, committed_ms: 0, duration: Duration::ZERO, bytes: 0, files: 0 };
            metrics.remember(1, record);
        }
        let epochs: Vec<u64> = metrics.history(1).iter().map(|record| record.epoch).collect();
        assert_eq!(epochs, (51..=150).rev().collect::<Vec<_>>());
        assert_eq!(metrics.history(0), []);
    }
}
