//! How many workers there should be: a pure function of what was measured over time.
//!
//! Slots that work all the time may have any amount of work, so demand is only known while they have some rest: then it is the
//! present number of workers times the share of time that they work (Kalavri et al., "Three steps is all you need", OSDI 2018). More
//! are asked for soon, fewer only when less was enough for a long time. So load that swings is followed on its way up, and jobs
//! are not moved for every dip.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// Share of time that slots should work, as long as nobody says otherwise.
pub const TARGET: f64 = 0.6;
/// From this share on demand is unknown: there may be much more to do.
pub const SATURATED: f64 = 0.9;

/// When to ask for more or fewer workers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Never fewer.
    pub min: usize,
    /// Never more.
    pub max: usize,
    /// Share of time that slots should work.
    pub target: f64,
    /// For how long more must have been needed.
    pub up_after: Duration,
    /// For how long fewer must have been enough.
    pub down_after: Duration,
    /// After a change, and whenever workers come and go, nothing is concluded for so long: what is measured then is the change.
    pub settle: Duration,
}

impl Policy {
    /// The usual patience, within these numbers of workers.
    pub fn within(min: usize, max: usize) -> Self {
        let (up_after, down_after, settle) = (Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(3));
        Self { min: min.max(1), max: max.max(min).max(1), target: TARGET, up_after, down_after, settle }
    }
}

/// What was measured in the time since the last sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When, by a clock that never goes back.
    pub at: Duration,
    /// Workers that have slots of jobs.
    pub workers: usize,
    /// Share of time that they worked, 0 to 1: of the busiest worker.
    pub busy: f64,
    /// The oldest row that is read and not committed waits much longer than the jobs' commit intervals explain.
    pub behind: bool,
}

/// How many workers there should be, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Recommendation {
    /// The number.
    pub workers: usize,
    /// In words.
    pub reason: String,
}

/// Follows samples.
#[derive(Debug)]
pub struct Autoscaler {
    policy: Policy,
    /// What was needed at past moments, as far back as matters.
    needed: VecDeque<(Duration, usize)>,
    workers: usize,
    /// Nothing counts before.
    settled: Duration,
    recommended: Recommendation,
}

impl Autoscaler {
    /// As few as allowed, until something is measured.
    pub fn new(policy: Policy) -> Self {
        let recommended = Recommendation { workers: policy.min, reason: "nothing is measured yet".into() };
        Self { policy, needed: VecDeque::new(), workers: 0, settled: Duration::ZERO, recommended }
    }

    /// How many there should be by the samples so far.
    pub fn recommended(&self) -> &Recommendation {
        &self.recommended
    }

    /// Takes a sample.
    pub fn on(&mut self, sample: Sample) -> &Recommendation {
        if sample.workers != self.workers {
            self.workers = sample.workers;
            self.settled = sample.at + self.policy.settle;
            self.needed.clear();
        }
        if sample.workers == 0 || sample.at < self.settled {
            return &self.recommended;
        }
        self.needed.push_back((sample.at, self.need(&sample)));
        let since = |window: Duration| sample.at.saturating_sub(window);
        while self.needed.get(1).is_some_and(|(at, _)| *at <= since(self.policy.down_after)) {
            self.needed.pop_front();
        }
        let within = |window| self.needed.iter().filter(move |(at, _)| *at > since(window)).map(|(_, needed)| *needed);
        let covers = |window| self.needed.front().is_some_and(|(at, _)| *at <= since(window));
        let up = within(self.policy.up_after).min().filter(|_| covers(self.policy.up_after));
        let down = within(self.policy.down_after).max().filter(|_| covers(self.policy.down_after));
        let (up_after, down_after) = (self.policy.up_after, self.policy.down_after);
        if let Some(up) = up.filter(|up| *up > self.workers) {
            self.recommend(
                up,
                format!(
                    "{} workers were busy {:.0} % of their time for {up_after:?}",
                    self.workers,
                    sample.busy * 100.0
                ),
            );
        } else if let Some(down) = down.filter(|down| *down < self.workers) {
            self.recommend(
                down,
                format!("{down} of {} workers would have been enough for {down_after:?}", self.workers),
            );
        } else if self.recommended.workers < self.policy.min.max(1) || self.needed.len() == 1 {
            self.recommend(self.workers, format!("{} workers are there, and nothing speaks against it", self.workers));
        }
        &self.recommended
    }

    fn need(&self, sample: &Sample) -> usize {
        let demand = sample.workers as f64 * sample.busy / self.policy.target;
        // A little more than a whole number is no reason for one worker more.
        let needed = (demand - 0.05).ceil().max(1.0) as usize;
        let more = sample.workers + sample.workers.div_ceil(2);
        match sample.busy >= SATURATED {
            true => needed.max(more),
            false if sample.behind => needed.max(sample.workers + 1),
            false => needed,
        }
    }

    fn recommend(&mut self, workers: usize, reason: String) {
        let workers = workers.clamp(self.policy.min, self.policy.max);
        if workers != self.recommended.workers {
            self.recommended = Recommendation { workers, reason };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays load, as workers that it would keep busy, against an autoscaler that gets what it asks for; one sample a second.
    fn play(
        scaler: &mut Autoscaler,
        workers: &mut usize,
        from: u64,
        load: impl Fn(u64) -> f64,
        seconds: u64,
    ) -> Vec<usize> {
        (from..from + seconds)
            .map(|second| {
                let busy = (load(second) / *workers as f64).min(1.0);
                let sample = Sample { at: Duration::from_secs(second), workers: *workers, busy, behind: false };
                *workers = scaler.on(sample).workers;
                *workers
            })
            .collect()
    }

    #[test]
    fn load_is_followed_up_soon_and_down_late() {
        let (mut scaler, mut workers) = (Autoscaler::new(Policy::within(1, 8)), 1);
        play(&mut scaler, &mut workers, 0, |_| 0.3, 20);
        assert_eq!(workers, 1);
        let up = play(&mut scaler, &mut workers, 20, |_| 3.0, 25);
        assert_eq!(workers, 5, "{up:?}");
        assert!(up[4] > 1, "more is asked for within seconds: {up:?}");
        let dip = play(&mut scaler, &mut workers, 45, |_| 1.0, 10);
        assert!(dip.iter().all(|workers| *workers == 5), "a dip is no reason: {dip:?}");
        play(&mut scaler, &mut workers, 55, |_| 1.0, 20);
        assert_eq!(workers, 2);
    }

    #[test]
    fn steady_load_is_left_alone() {
        for load in [0.2, 0.55, 1.1, 2.3, 4.6] {
            let (mut scaler, mut workers) = (Autoscaler::new(Policy::within(1, 16)), 1);
            play(&mut scaler, &mut workers, 0, |_| load, 120);
            let settled = workers;
            let later = play(&mut scaler, &mut workers, 120, |_| load, 300);
            assert!(later.iter().all(|workers| *workers == settled), "{load}: {later:?}");
            assert!(load / settled as f64 <= 0.65, "{load} on {settled}");
        }
    }

    #[test]
    fn a_sine_is_followed_without_flapping() {
        let load = |second: u64| 2.4 * (1.0 + 0.8 * (second as f64 / 120.0 * std::f64::consts::TAU).sin());
        let (mut scaler, mut workers) = (Autoscaler::new(Policy::within(1, 8)), 1);
        let counts = play(&mut scaler, &mut workers, 0, load, 480);
        let changes = counts.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((8..60).contains(&changes), "{changes} changes: {counts:?}");
        let short = (60..480).filter(|second| load(*second) > counts[*second as usize] as f64).count();
        assert!(short < 10, "too few workers for {short} s: {counts:?}");
    }

    #[test]
    fn bounds_hold_and_being_behind_counts() {
        let mut scaler = Autoscaler::new(Policy::within(2, 3));
        assert_eq!(scaler.recommended().workers, 2);
        for second in 0..10 {
            let sample = Sample { at: Duration::from_secs(second), workers: 2, busy: 0.3, behind: true };
            scaler.on(sample);
        }
        assert_eq!(scaler.recommended().workers, 3);
        for second in 10..40 {
            scaler.on(Sample { at: Duration::from_secs(second), workers: 3, busy: 1.0, behind: true });
        }
        assert_eq!(scaler.recommended().workers, 3);
    }
}
