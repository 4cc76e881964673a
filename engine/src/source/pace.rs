//! How fast generators may go: a number of rows as a pure function of time. A reader that starts at a later row goes on at the moment
//! at which that row was due, so that a swing goes on where it was.

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
        self.rows(seconds).map(|rows| rows as u64)
    }

    fn rows(self, seconds: f64) -> Option<f64> {
        match self {
            Self::Unlimited => None,
            Self::Constant { rows } => Some(rows * seconds),
            Self::Sine { rows, amplitude, period } => {
                let swing = amplitude * period / TAU * (1.0 - (TAU * seconds / period).cos());
                Some(rows * (seconds + swing))
            }
        }
    }

    /// How many seconds after the start so many rows have appeared.
    fn moment(self, wanted: u64) -> f64 {
        let wanted = wanted as f64;
        match self {
            Self::Unlimited => 0.0,
            Self::Constant { rows } => wanted / rows,
            Self::Sine { rows, period, .. } => {
                // The number of rows never falls, and differs from that of the mean by less than a period's.
                let (mut before, mut after) = ((wanted / rows - period).max(0.0), wanted / rows + period);
                for _ in 0..BISECTIONS {
                    let middle = f64::midpoint(before, after);
                    match self.rows(middle) {
                        Some(rows) if rows < wanted => before = middle,
                        _ => after = middle,
                    }
                }
                after
            }
        }
    }
}

/// Halvings that find a moment to a nanosecond within periods of days.
const BISECTIONS: u32 = 64;

/// Follows a rate from the moment at which a reader was opened.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Rate,
    clock: Arc<dyn Clock>,
    opened: Duration,
    /// At which moment of the rate that was, in seconds.
    from: f64,
    first: u64,
}

impl Pace {
    /// Starts now, at row number `first` of all splits together.
    pub(crate) fn start(rate: Rate, clock: Arc<dyn Clock>, first: u64) -> Self {
        let opened = clock.monotonic();
        Self { rate, clock, opened, from: rate.moment(first), first }
    }

    /// The row number (of all splits together) before which rows may be given now.
    pub(crate) fn limit(&self) -> u64 {
        let elapsed = self.clock.monotonic().saturating_sub(self.opened);
        self.rate.until(self.from + elapsed.as_secs_f64()).map_or(u64::MAX, |rows| rows.max(self.first))
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

    #[test]
    fn a_swing_goes_on_where_it_was() {
        let clock = Arc::new(ManualClock::new(5_000, 1));
        let sine = Rate::Sine { rows: 1_000.0, amplitude: 1.0, period: 8.0 };
        let whole = Pace::start(sine, clock.clone(), 0);
        for step in 1..40 {
            clock.advance(Duration::from_millis(700));
            let resumed = Pace::start(sine, clock.clone(), whole.limit());
            clock.advance(Duration::from_millis(300));
            let (whole, resumed) = (whole.limit(), resumed.limit());
            assert!(whole.abs_diff(resumed) <= 2, "after {step} s: {whole} and {resumed}");
        }
    }
}
