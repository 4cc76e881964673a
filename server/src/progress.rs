//! How far a run or a statement is, in one line: pure text and arithmetic; `run` and the shell ask the clock and draw.

use std::collections::VecDeque;
use std::time::Duration;

use engine::session::Progress;

/// Rates are taken over this time: long enough not to flicker with every checkpoint, short enough to show a change.
const WINDOW: Duration = Duration::from_secs(3);

/// The rate of a growing count over the last few seconds.
#[derive(Debug, Default)]
pub struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Takes the count at a time and returns the rate per second up to then.
    pub fn sample(&mut self, now: Duration, count: u64) -> f64 {
        // The newest sample older than the window stays, so that the window is always covered.
        while self.samples.get(1).is_some_and(|(time, _)| now.saturating_sub(*time) >= WINDOW) {
            self.samples.pop_front();
        }
        self.samples.push_back((now, count));
        let Some((since, before)) = self.samples.front() else { return 0.0 };
        let elapsed = now.saturating_sub(*since).as_secs_f64();
        if elapsed > 0.0 { count.saturating_sub(*before) as f64 / elapsed } else { 0.0 }
    }
}

/// The progress of a run as one line without its end.
pub fn line(progress: &Progress, rows_per_second: f64) -> String {
    let mut line = format!(
        "rows in {} ({}/s)  out {}  lag {}  epoch {}  checkpoint {}",
        grouped(progress.rows_in),
        grouped(rows_per_second.round() as u64),
        grouped(progress.rows_out),
        age(progress.lag_ms, "none"),
        progress.epoch,
        age(progress.checkpoint_age_ms, "none yet"),
    );
    if progress.checkpoint_age_ms.is_some() {
        line.push_str(" ago");
    }
    if progress.skipped > 0 {
        line.push_str(&format!("  skipped {}", grouped(progress.skipped)));
    }
    line
}

/// That a statement still works, in one line: a sign that moves with every `tick`, how long it takes, what is known of it.
pub fn waiting(tick: usize, elapsed: Duration, rows: u64, read: Option<(u64, f64)>) -> String {
    let sign = ['|', '/', '-', '\\'][tick % 4];
    let mut line = format!("{sign} {}", age(Some(elapsed.as_secs() * 1_000), "").replace(".0", ""));
    if rows > 0 {
        line.push_str(&format!("  rows {}", grouped(rows)));
    } else if let Some((rows, rate)) = read {
        line.push_str(&format!("  rows in {} ({}/s)", grouped(rows), grouped(rate.round() as u64)));
    }
    line
}

fn age(ms: Option<u64>, none: &str) -> String {
    match ms {
        None => none.to_owned(),
        Some(ms @ 0..1_000) => format!("{ms} ms"),
        Some(ms @ 1_000..60_000) => format!("{:.1} s", ms as f64 / 1e3),
        Some(ms) => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// Digits in groups of three, so that millions can be read at a glance.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_rate_forgets_what_is_long_past() {
        let mut rate = Rate::default();
        assert_eq!(rate.sample(Duration::ZERO, 0), 0.0);
        assert_eq!(rate.sample(Duration::from_secs(1), 1_000), 1_000.0);
        for second in 2..=10 {
            rate.sample(Duration::from_secs(second), 1_000);
        }
        assert_eq!(rate.sample(Duration::from_secs(11), 1_000), 0.0);
        assert!(rate.samples.len() <= 5, "{rate:?}");
    }

    #[test]
    fn the_line_names_everything() {
        let progress = Progress {
            rows_in: 1_234_567,
            rows_out: 89,
            epoch: 12,
            checkpoint_age_ms: Some(1_340),
            lag_ms: Some(61_000),
            running_jobs: 3,
            checkpoints: 3,
            skipped: 2,
        };
        assert_eq!(
            line(&progress, 9_999.6),
            "rows in 1,234,567 (10,000/s)  out 89  lag 1 min 1 s  epoch 12  checkpoint 1.3 s ago  skipped 2"
        );
        assert_eq!(line(&Progress::default(), 0.0), "rows in 0 (0/s)  out 0  lag none  epoch 0  checkpoint none yet");
    }

    #[test]
    fn a_statement_that_takes_long_says_what_is_known() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(waiting(0, seconds(1.3), 0, None), "| 1 s");
        assert_eq!(waiting(1, seconds(12.9), 1_234, Some((5, 1.0))), "/ 12 s  rows 1,234");
        assert_eq!(waiting(3, seconds(75.0), 0, Some((50_000, 999.6))), "\\ 1 min 15 s  rows in 50,000 (1,000/s)");
    }
}
