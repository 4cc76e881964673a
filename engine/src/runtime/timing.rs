//! When the epochs of a pipeline opened, closed and were committed: what durations and lags are made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use catalog::Clock;

use crate::operator::Epoch;
use crate::runtime::metrics::Metrics;

/// An epoch that is not committed yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    at: Duration,
    timestamp_ms: i64,
}

/// Follows the epochs of a pipeline from their opening to the commit that holds them.
pub struct Timing {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    epochs: BTreeMap<u64, Open>,
    /// The newest epoch that all slots have closed.
    closed: u64,
    /// Those of `epochs` that read rows.
    uncommitted: BTreeMap<u64, Open>,
}

impl Timing {
    /// No epoch is open.
    pub fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { clock, metrics, epochs: BTreeMap::new(), closed: 0, uncommitted: BTreeMap::new() }
    }

    /// An epoch opens.
    pub fn opened(&mut self, epoch: Epoch) {
        let open = Open { at: self.clock.monotonic(), timestamp_ms: epoch.timestamp_ms };
        self.epochs.insert(epoch.number, open);
    }

    /// An epoch has read rows, which are to be committed.
    pub fn has_read(&mut self, epoch: u64) {
        if let Some(open) = self.epochs.get(&epoch) {
            self.uncommitted.insert(epoch, *open);
            self.note_uncommitted();
        }
    }

    /// All epochs up to this one are closed by all slots.
    pub fn closed(&mut self, through: u64) {
        if through <= self.closed {
            return;
        }
        let now = self.clock.monotonic();
        for open in self.epochs.range(self.closed + 1..=through).map(|(_, open)| open) {
            self.metrics.epoch_durations.observe(now.saturating_sub(open.at));
        }
        self.closed = through;
        self.metrics.epoch.store(through, Ordering::Relaxed);
    }

    /// The checkpoint that rode on this epoch is committed. Gives how long that took from the epoch's opening, and when it was
    /// done, in ms since the Unix epoch.
    pub fn committed(&mut self, epoch: u64) -> (Duration, i64) {
        let (now, now_ms) = (self.clock.monotonic(), self.clock.now_ms());
        let since = |open: &Open| now.saturating_sub(open.at);
        let duration = self.epochs.get(&epoch).map(since).unwrap_or_default();
        self.metrics.checkpoint_durations.observe(duration);
        if let Some(oldest) = self.uncommitted.range(..=epoch).next().map(|(_, open)| since(open)) {
            self.metrics.commit_lags.observe(oldest);
        }
        self.epochs = self.epochs.split_off(&(epoch + 1));
        self.uncommitted = self.uncommitted.split_off(&(epoch + 1));
        self.note_uncommitted();
        self.metrics.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.metrics.last_checkpoint_ms.store(now_ms, Ordering::Relaxed);
        (duration, now_ms)
    }

    fn note_uncommitted(&self) {
        let oldest = self.uncommitted.first_key_value().map_or(0, |(_, open)| open.timestamp_ms);
        self.metrics.uncommitted_since_ms.store(oldest, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use catalog::ManualClock;

    use super::*;

    #[test]
    fn durations_run_from_the_opening_of_an_epoch() {
        let clock = Arc::new(ManualClock::new(1_000, 1));
        let metrics = Arc::new(Metrics::new(1, 1, 1));
        let mut timing = Timing::new(clock.clone(), metrics.clone());
        for number in 1..=3 {
            timing.opened(Epoch { number, timestamp_ms: clock.now_ms() });
            clock.advance(Duration::from_millis(10));
        }
        timing.has_read(2);
        assert_eq!(metrics.uncommitted_since_ms.load(Ordering::Relaxed), 1_010);
        timing.closed(2);
        timing.closed(2);
        let closed = metrics.epoch_durations.distribution();
        assert_eq!((closed.count(), closed.sum), (2, Duration::from_millis(30 + 20)));
        clock.advance(Duration::from_millis(70));
        assert_eq!(timing.committed(3), (Duration::from_millis(80), 1_100));
        assert_eq!(metrics.commit_lags.distribution().sum, Duration::from_millis(90));
        assert_eq!(metrics.uncommitted_since_ms.load(Ordering::Relaxed), 0);
        // A commit of nothing that was read says nothing about lag.
        timing.opened(Epoch { number: 4, timestamp_ms: clock.now_ms() });
        timing.committed(4);
        assert_eq!(
            (metrics.commit_lags.distribution().count(), metrics.checkpoint_durations.distribution().count()),
            (1, 2)
        );
    }
}
