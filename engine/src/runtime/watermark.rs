//! The watermarks of a pipeline's inputs: what the slots saw of each, and how far event time is thereby. Pure.
//!
//! An input's watermark is the greatest event time that was read, minus the delay of its WATERMARK clause: per split, and
//! then the least of the splits that have neither ended nor fallen idle. It never goes back. It is the same for all
//! slots and for a whole epoch, and is part of the checkpoint; rows of later epochs with smaller times are late.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::watermark::{END, NONE};

/// How the parts of an input that the slots read make up the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Each has splits of its own: the slowest counts.
    Splits,
    /// They are shares of one sequence of rows, as of a stored table: the furthest counts.
    Shares,
}

/// An input whose progress is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What its parts are.
    pub parts: Parts,
    /// How far its watermark is behind its event time; `None` for an input without a WATERMARK clause, of which only the
    /// end is known.
    pub delay: Option<i64>,
    /// The watermark of the checkpoint, or [`NONE`].
    pub restored: i64,
}

/// What a slot saw of an input by the end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// A split that is being read has not given any time yet.
    Nothing,
    /// The greatest event time, of the slowest split.
    Time(i64),
    /// No split is being read; the greatest event time of those that have ended, or [`NONE`].
    Past(i64),
    /// Every split that is being read has given nothing for so long that it is not waited for.
    Idle,
    /// All splits are at their end, if there were any.
    Ended,
}

/// The inputs of a pipeline and their watermarks.
#[derive(Debug)]
pub struct Tracker {
    inputs: Vec<Input>,
    /// By input, then by slot.
    seen: Vec<Vec<Seen>>,
    watermarks: Vec<i64>,
    staged_ended: bool,
}

impl Tracker {
    /// Starts from the watermarks of the checkpoint.
    pub fn new(inputs: Vec<Input>, slots: usize) -> Self {
        let watermarks = inputs.iter().map(|input| input.restored).collect();
        Self { seen: vec![vec![Seen::Nothing; slots]; inputs.len()], inputs, watermarks, staged_ended: false }
    }

    /// The watermark of every input.
    pub fn watermarks(&self) -> Arc<[i64]> {
        self.watermarks.as_slice().into()
    }

    /// Nothing more will come from stored tables.
    pub fn staged_ended(&mut self) {
        self.staged_ended = true;
        self.advance();
    }

    /// What all slots saw by the end of an epoch: by slot, then by input.
    pub fn epoch(&mut self, seen: &[Vec<Seen>]) {
        for (slot, inputs) in seen.iter().enumerate() {
            for (input, seen) in inputs.iter().enumerate().take(self.inputs.len()) {
                self.seen[input][slot] = *seen;
            }
        }
        self.advance();
    }

    fn advance(&mut self) {
        for input in 0..self.inputs.len() {
            if let Some(to) = self.target(input) {
                self.watermarks[input] = self.watermarks[input].max(to);
            }
        }
        // An idle input holds nothing back: it goes along with the slowest of the others, or with the furthest if all are
        // idle. Rows that it gives later and that are behind that are late, since the others have gone on without it.
        let timed = || (0..self.inputs.len()).filter(|input| self.inputs[*input].delay.is_some());
        let at = |input: usize| Some(self.watermarks[input]).filter(|watermark| *watermark != END);
        let slowest = timed().filter(|input| !self.idle(*input)).filter_map(at).min();
        let all_idle = timed().all(|input| self.idle(input));
        let to = if all_idle { timed().filter_map(at).max() } else { slowest };
        let idle: Vec<usize> = timed().filter(|input| self.idle(*input)).collect();
        for input in idle {
            self.watermarks[input] = self.watermarks[input].max(to.unwrap_or(NONE));
        }
    }

    fn idle(&self, input: usize) -> bool {
        let seen = &self.seen[input];
        self.inputs[input].parts == Parts::Splits
            && seen.contains(&Seen::Idle)
            && seen.iter().all(|seen| matches!(seen, Seen::Idle | Seen::Past(_) | Seen::Ended))
    }

    /// Where an input's watermark is by what was seen, unless nothing can be said.
    fn target(&self, input: usize) -> Option<i64> {
        let Input { parts, delay, .. } = &self.inputs[input];
        let seen = &self.seen[input];
        let ended = match parts {
            Parts::Splits => seen.iter().all(|seen| *seen == Seen::Ended),
            Parts::Shares => self.staged_ended,
        };
        if ended {
            return Some(END);
        }
        let delay = (*delay)?;
        let times = seen.iter().filter_map(|seen| if let Seen::Time(time) = seen { Some(*time) } else { None });
        let past = seen.iter().filter_map(|seen| if let Seen::Past(time) = seen { Some(*time) } else { None });
        let time = match parts {
            Parts::Splits if seen.contains(&Seen::Nothing) => None,
            Parts::Splits => times.min().or(past.max()).filter(|time| *time != NONE),
            Parts::Shares => times.max(),
        };
        // The end is above all times, however strange.
        time.map(|time| time.saturating_sub(delay).clamp(NONE, END - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(parts: &[Parts], slots: usize) -> Tracker {
        let input = |parts: &Parts| Input { parts: *parts, delay: Some(10), restored: NONE };
        Tracker::new(parts.iter().map(input).collect(), slots)
    }

    #[test]
    fn the_slowest_split_counts_unless_it_is_idle_or_ended() {
        let mut tracker = tracker(&[Parts::Splits], 2);
        tracker.epoch(&[vec![Seen::Time(100)], vec![Seen::Nothing]]);
        assert_eq!(tracker.watermarks()[..], [NONE]);
        tracker.epoch(&[vec![Seen::Time(100)], vec![Seen::Time(50)]]);
        assert_eq!(tracker.watermarks()[..], [40]);
        tracker.epoch(&[vec![Seen::Time(100)], vec![Seen::Idle]]);
        assert_eq!(tracker.watermarks()[..], [90]);
        tracker.epoch(&[vec![Seen::Time(100)], vec![Seen::Time(60)]]);
        assert_eq!(tracker.watermarks()[..], [90], "it never goes back");
        tracker.epoch(&[vec![Seen::Time(120)], vec![Seen::Ended]]);
        assert_eq!(tracker.watermarks()[..], [110]);
        tracker.epoch(&[vec![Seen::Past(130)], vec![Seen::Past(200)]]);
        assert_eq!(tracker.watermarks()[..], [190], "what has ended holds nothing back");
        tracker.epoch(&[vec![Seen::Ended], vec![Seen::Ended]]);
        assert_eq!(tracker.watermarks()[..], [END]);
    }

    #[test]
    fn the_furthest_share_of_a_table_counts() {
        let mut tracker = tracker(&[Parts::Shares], 2);
        tracker.epoch(&[vec![Seen::Time(100)], vec![Seen::Nothing]]);
        assert_eq!(tracker.watermarks()[..], [90]);
        tracker.epoch(&[vec![Seen::Ended], vec![Seen::Nothing]]);
        assert_eq!(tracker.watermarks()[..], [90], "a table can be written as long as it exists");
        tracker.staged_ended();
        assert_eq!(tracker.watermarks()[..], [END]);
    }

    #[test]
    fn an_idle_input_goes_along_with_the_others() {
        let mut tracker = tracker(&[Parts::Splits, Parts::Splits], 1);
        tracker.epoch(&[vec![Seen::Time(100), Seen::Time(20)]]);
        assert_eq!(tracker.watermarks()[..], [90, 10]);
        tracker.epoch(&[vec![Seen::Time(200), Seen::Idle]]);
        assert_eq!(tracker.watermarks()[..], [190, 190]);
        tracker.epoch(&[vec![Seen::Time(300), Seen::Idle]]);
        tracker.epoch(&[vec![Seen::Time(300), Seen::Time(310)]]);
        assert_eq!(tracker.watermarks()[..], [290, 300]);
        tracker.epoch(&[vec![Seen::Idle, Seen::Idle]]);
        assert_eq!(tracker.watermarks()[..], [300, 300]);
    }

    #[test]
    fn an_input_without_watermark_clause_has_only_an_end() {
        let input = Input { parts: Parts::Splits, delay: None, restored: NONE };
        let mut tracker = Tracker::new(vec![input], 1);
        tracker.epoch(&[vec![Seen::Time(100)]]);
        assert_eq!(tracker.watermarks()[..], [NONE]);
        tracker.epoch(&[vec![Seen::Ended]]);
        assert_eq!(tracker.watermarks()[..], [END]);
    }
}
