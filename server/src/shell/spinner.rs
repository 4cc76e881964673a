//! A line on standard error that says that a statement still works; it is gone before anything else appears.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use catalog::Clock;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::sink::{Flow, Sink};
use crate::executor::Executor;
use crate::failure::Failure;
use crate::progress::{Rate, waiting};

/// A statement that is done before is not spoken of.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the line is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// Draws the line of one statement.
pub struct Spinner<'a> {
    clock: &'a dyn Clock,
    executor: &'a Executor,
    start: Duration,
    rate: Rate,
    ticks: usize,
    interval: Interval,
    /// Rows of the result so far.
    pub rows: u64,
    /// How long the reader of the result was waited for.
    waited: Duration,
    stopped: bool,
    drawn: bool,
}

impl<'a> Spinner<'a> {
    /// For a statement that begins now. Without a terminal nothing is ever drawn.
    pub fn new(clock: &'a dyn Clock, executor: &'a Executor) -> Self {
        let mut interval = interval(REDRAW);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let stopped = !(io::stderr().is_terminal() && io::stdout().is_terminal());
        let start = clock.monotonic();
        let (rate, waited) = (Rate::default(), Duration::ZERO);
        Self { clock, executor, start, rate, ticks: 0, interval, rows: 0, waited, stopped, drawn: false }
    }

    /// Waits for the next time to draw. Dropping the future loses none.
    pub async fn tick(&mut self) {
        self.interval.tick().await;
    }

    /// Draws, if it is time for that.
    pub fn draw(&mut self) {
        let elapsed = self.clock.monotonic().saturating_sub(self.start);
        if self.stopped || elapsed < PATIENCE {
            return;
        }
        let read = self.executor.progress().map(|progress| progress.rows_in);
        let read = read.map(|rows| (rows, self.rate.sample(self.clock.monotonic(), rows)));
        let line = waiting(self.ticks, elapsed, self.rows, read);
        self.ticks += 1;
        self.drawn = true;
        // Whoever closed standard error does not want to know.
        let _ = write!(io::stderr(), "\r\x1b[2K{line}");
    }

    /// How long the statement took so far, without the time in which its reader was waited for.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.start + self.waited)
    }

    /// Hands text to the reader.
    pub async fn write(&mut self, sink: &mut Sink, text: &[u8]) -> Result<Flow, Failure> {
        let before = self.clock.monotonic();
        let flow = sink.write(text, || self.stop()).await;
        self.waited += self.clock.monotonic().saturating_sub(before);
        flow
    }

    /// Draws until the work is done.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.tick() => self.draw(),
            }
        }
    }

    /// Erases the line for good.
    pub fn stop(&mut self) {
        self.stopped = true;
        if std::mem::take(&mut self.drawn) {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

impl Drop for Spinner<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}
