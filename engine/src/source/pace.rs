//! How fast generators may go: a number of rows as a pure function of the time since a reader was opened.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use catalog::Clock;

/// Rows per second over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// As fast as rows can be made.
    Unlimited,
    /// Always the same.
    Constant {
        /// Rows per second.
        rows: f64,
    },
    /// Swings around a mean: `rows * (1 + amplitude * sin(2 pi t / period))`.
    Sine {
        /// Rows per second, on average.
        rows: f64,
        /// Share of `rows`, 0 to 1.
        amplitude: f64,
        /// Seconds of one swing.
        period: f64,
    },
}

impl Rate {
    /// Rows that may have appeared `seconds` after the start; `None`: any number.
    pub(crate) fn until(self, seconds: f64) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Constant { rows } => Some((rows * seconds) as u64),
            Self::Sine { rows, amplitude, period } => {
                let swing = amplitude * period / TAU * (1.0 - (TAU * seconds / period).cos());
                Some((rows * (seconds + swing)) as u64)
            }
        }
    }
}

/// Follows a rate from the moment at which a reader was opened.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Rate,
    clock: Arc<dyn Clock>,
    opened: Duration,
    first: u64,
}

impl Pace {
    /// Starts now, at row number `first` of all splits together.
    pub(crate) fn start(rate: Rate, clock: Arc<dyn Clock>, first: u64) -> Self {
        let opened = clock.monotonic();
        Self { rate, clock, opened, first }
    }

    /// The row number (of all splits together) before which rows may be given now.
    pub(crate) fn limit(&self) -> u64 {
        let elapsed = self.clock.monotonic().saturating_sub(self.opened);
        self.rate.until(elapsed.as_secs_f64()).map_or(u64::MAX, |rows| self.first.saturating_add(rows))
    }

    /// How long to wait before asking again: short enough for a smooth stream, long enough to cost nothing.
    pub(crate) fn wait(&self) -> Duration {
        let rows = match self.rate {
            Rate::Unlimited => return Duration::from_millis(1),
            Rate::Constant { rows } | Rate::Sine { rows, .. } => rows,
        };
        Duration::from_secs_f64((1.0 / rows).clamp(0.005, 0.1))
    }
}

#[cfg(test)]
mod tests {
    use catalog::ManualClock;

    use super::*;

    #[test]
    fn rates() {
        assert_eq!(Rate::Unlimited.until(1.0), None);
        assert_eq!(Rate::Constant { rows: 10.0 }.until(2.5), Some(25));
        let sine = Rate::Sine { rows: 100.0, amplitude: 1.0, period: 4.0 };
        // Whole periods give the mean; the first half gives more than the second.
        assert_eq!(sine.until(4.0), Some(400));
        assert!(sine.until(2.0) > Some(300));
        let mut last = 0;
        for step in 0..400 {
            let rows = sine.until(f64::from(step) / 50.0).unwrap();
            assert!(rows >= last);
            last = rows;
        }
    }

    #[test]
    fn a_pace_follows_the_clock() {
        let clock = Arc::new(ManualClock::new(5_000, 1));
        let pace = Pace::start(Rate::Constant { rows: 100.0 }, clock.clone(), 40);
        assert_eq!(pace.limit(), 40);
        clock.advance(Duration::from_millis(500));
        assert_eq!(pace.limit(), 90);
        assert_eq!(pace.wait(), Duration::from_millis(10));
    }
}
