//! What a slot measures of itself: rows, time worked, time waited, the size of state.
//!
//! The clock is asked once per message, batch or barrier that does work, never per row: the end of one piece of work is the
//! beginning of the next.

use std::sync::Arc;
use std::time::Duration;

use catalog::Clock;

use crate::runtime::dataflow::{Dataflow, NodeId};
use crate::runtime::metrics::{Metrics, NodeCounters};
use crate::watermark::{self, Bound};

/// How often the size of state is looked at between checkpoints.
const STATE_INTERVAL: Duration = Duration::from_secs(1);

/// A slot's way to its counters.
pub(super) struct Meter {
    slot: usize,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Up to here time is accounted for.
    now: Duration,
    /// By sending node: up to when it is known that its rows waited here.
    waited_until: Vec<Duration>,
    /// By source: when it was read last, if it had rows then.
    had_rows_at: Vec<Option<Duration>>,
    state_measured: Duration,
}

impl Meter {
    pub(super) fn new(slot: usize, clock: Arc<dyn Clock>, metrics: Arc<Metrics>, nodes: usize) -> Self {
        let now = clock.monotonic();
        Self {
            slot,
            clock,
            metrics,
            now,
            waited_until: vec![Duration::ZERO; nodes],
            had_rows_at: vec![None; nodes],
            state_measured: Duration::ZERO,
        }
    }

    /// The counters of a node.
    pub(super) fn node(&self, node: NodeId) -> &NodeCounters {
        self.metrics.node(self.slot, node)
    }

    /// When the last work ended or began.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// Work begins; what was before was nobody's.
    pub(super) fn begin(&mut self) {
        self.now = self.clock.monotonic();
    }

    /// All time since the last call was this node's work. Gives the time.
    pub(super) fn worked(&mut self, node: NodeId) -> Duration {
        let before = self.now;
        self.begin();
        self.node(node).busy.add(nanos(self.now.saturating_sub(before)));
        self.now
    }

    /// Rows that a node sent at some time are taken now. Several that waited at the same time waited once.
    pub(super) fn taken(&mut self, from: NodeId, sent: Duration) {
        let since = sent.max(self.waited_until[from]);
        self.node(from).waited.add(nanos(self.now.saturating_sub(since)));
        self.waited_until[from] = self.waited_until[from].max(self.now);
    }

    /// A source is being read. Gives how long it has had to wait, should it have rows: nothing if it had none the last time.
    pub(super) fn reads(&mut self, node: NodeId) -> Duration {
        let since = self.had_rows_at[node].take();
        since.map(|since| self.now.saturating_sub(since)).unwrap_or_default()
    }

    /// A source that was just read had rows.
    pub(super) fn has_rows(&mut self, node: NodeId) {
        self.had_rows_at[node] = Some(self.now);
    }

    /// Rows of a source have waited so long.
    pub(super) fn waited(&self, node: NodeId, time: Duration) {
        self.node(node).waited.add(nanos(time));
    }

    /// Whether the size of state should be looked at: not at every epoch, since some end within a millisecond.
    pub(super) fn state_is_due(&mut self, checkpoint: bool) -> bool {
        let due = checkpoint || self.now.saturating_sub(self.state_measured) >= STATE_INTERVAL;
        if due {
            self.state_measured = self.now;
        }
        due
    }

    /// Notes the watermarks of a node's output.
    pub(super) fn watermarks(&self, flow: &Dataflow, node: NodeId, bounds: &[Bound]) {
        let schema = &flow.nodes[node].schema;
        let ms = |bound: &Bound| watermark::to_ms(schema.field(bound.column).data_type(), bound.watermark);
        self.node(node).set_watermark(bounds.iter().filter_map(ms).min());
    }

    /// Notes the newest event time of rows that a node read, in the units of its column.
    pub(super) fn event_time(&self, flow: &Dataflow, node: NodeId, latest: Option<i64>) {
        let Some(latest) = latest else { return };
        let column = flow.timed.iter().find(|timed| timed.node == node).and_then(|timed| timed.column);
        if let Some(field) = column.and_then(|column| flow.nodes[node].schema.fields().get(column)) {
            self.node(node).saw_event_time(watermark::to_ms(field.data_type(), latest));
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use catalog::ManualClock;

    use super::*;

    #[test]
    fn work_and_waiting_are_counted_once() {
        let clock = Arc::new(ManualClock::new(1_000, 1));
        let metrics = Arc::new(Metrics::new(1, 2, 1));
        let mut meter = Meter::new(0, clock.clone(), metrics.clone(), 2);
        let ms = Duration::from_millis;
        clock.advance(ms(5));
        meter.begin();
        clock.advance(ms(10));
        let sent = meter.worked(0);
        // Two batches are sent and taken 20 and 30 ms later: 30 ms passed in which something waited.
        clock.advance(ms(20));
        meter.worked(1);
        meter.taken(0, sent);
        clock.advance(ms(10));
        meter.worked(1);
        meter.taken(0, sent);
        // A source has rows, is read again after 20 ms and has none.
        meter.has_rows(1);
        clock.advance(ms(20));
        meter.begin();
        for _ in 0..2 {
            let waited = meter.reads(1);
            meter.waited(1, waited);
        }
        let (first, second) = (metrics.totals(0), metrics.totals(1));
        assert_eq!((first.busy, first.backpressure), (ms(10), ms(30)));
        assert_eq!((second.busy, second.backpressure), (ms(30), ms(20)));
    }
}
