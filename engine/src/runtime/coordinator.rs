//! The coordinator of one pipeline as a pure state machine: events in, commands out; no I/O, no clock, no threads.
//!
//! It decides when an epoch opens and whether a checkpoint rides on it. The next epoch opens as soon as few enough are
//! in flight and input waits, so idle latency is milliseconds and epochs grow by themselves under load. At most one
//! checkpoint is on its way to the catalog at a time; epochs go on meanwhile. Epochs open without input as well, where
//! a watermark has moved (windows close) and where a moment comes at which time alone changes a result.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::operator::Epoch;
use crate::runtime::watermark::{Input as TimedInput, Seen, Tracker};

/// What a coordinator is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of slots (parallel tasks of every node).
    pub slots: usize,
    /// Epochs that may be open at once. Two keep every slot busy while the slowest closes.
    pub max_in_flight: u64,
    /// How often changed jobs are checkpointed, in ms.
    pub commit_interval_ms: i64,
    /// The epoch of the checkpoint that the pipeline was restored from; 0 for a fresh one.
    pub restored_epoch: u64,
    /// The time of that epoch: epoch time never goes backwards.
    pub restored_timestamp_ms: i64,
    /// A job has no checkpoint yet and owes one even if no row ever comes: an aggregate over nothing has a row.
    pub fresh: bool,
    /// Rows of history are still to be read before anything may be committed.
    pub backfilling: bool,
    /// The inputs whose watermarks are followed.
    pub timed: Vec<TimedInput>,
    /// Further epochs that it takes until a watermark that moved has had all its effects, since there are operators that
    /// pass it on an epoch late.
    pub watermark_epochs: u64,
}

/// Whether a slot's sources have more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// There is more now.
    More,
    /// Nothing now; look again at this time (ms since the Unix epoch).
    IdleUntil(i64),
    /// Nothing until somebody says so ([`Event::InputReady`]).
    Idle,
    /// Nothing ever again.
    Ended,
}

/// An epoch that a slot has closed at all its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochDone {
    /// Which slot.
    pub slot: usize,
    /// Which epoch.
    pub epoch: u64,
    /// Rows read by its sources for it.
    pub rows_in: u64,
    /// Whether there is more.
    pub input: Input,
    /// What it saw of the inputs of [`Settings::timed`].
    pub seen: Vec<Seen>,
    /// The next moment (ms since the Unix epoch) at which its operators have something to do without any input.
    pub moment: Option<i64>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The pipeline's tasks are up.
    Started,
    /// A slot closed an epoch at all its nodes.
    EpochDone(EpochDone),
    /// The shell has staged rows of tables, or new splits: an epoch should take them.
    InputReady,
    /// The shell has staged the last rows of history.
    BackfillDone,
    /// All staged inputs (tables) are at their end: nothing will be staged again.
    StagedEnded,
    /// The commit of the checkpoint of this epoch is in the catalog.
    Committed {
        /// Which epoch.
        epoch: u64,
    },
    /// Somebody waits for a checkpoint of all that was staged before (FLUSH).
    CheckpointRequested,
    /// End after one last checkpoint.
    StopRequested,
    /// Time passed.
    Tick,
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Open an epoch at every slot and give it all that is staged.
    Start {
        /// The epoch.
        epoch: Epoch,
        /// Whether a checkpoint rides on its barrier.
        checkpoint: bool,
        /// The watermark of every input of [`Settings::timed`], for the whole epoch.
        watermarks: Arc<[i64]>,
        /// Rows of history are still being read: what reads other views' history goes without their watermarks.
        backfilling: bool,
    },
    /// Every slot has delivered its part of this epoch's checkpoint: write and commit it.
    Commit {
        /// The epoch.
        epoch: Epoch,
        /// How far time is with it.
        time: TimeReached,
    },
    /// Send a tick at this time (ms since the Unix epoch).
    WakeAt(i64),
    /// Nothing is left to do.
    Finish {
        /// Whether all inputs are at their end (else the stop was asked for).
        ended: bool,
    },
}

/// How far time is at a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeReached {
    /// The watermarks of [`Settings::timed`] from which a restart has to go on.
    pub watermarks: Arc<[i64]>,
    /// Epochs after that of the checkpoint until these watermarks have had all their effects.
    pub settling: u64,
    /// The next moment at which time alone changes a result.
    pub moment: Option<i64>,
}

#[derive(Debug)]
struct OpenEpoch {
    epoch: Epoch,
    checkpoint: bool,
    missing: usize,
    /// What the slots saw, by slot.
    seen: Vec<Vec<Seen>>,
    /// The next moments of the slots.
    moments: Vec<Option<i64>>,
    watermarks: Arc<[i64]>,
    settling: u64,
}

/// The state machine.
#[derive(Debug)]
pub struct Coordinator {
    settings: Settings,
    last: Epoch,
    open: Vec<OpenEpoch>,
    inputs: Vec<Input>,
    /// By slot, the next moment at which time alone changes something.
    moments: Vec<Option<i64>>,
    tracker: Tracker,
    /// The watermarks of the newest epoch.
    announced: Arc<[i64]>,
    /// Epochs still to be opened so that they have all their effects.
    settling: u64,
    started: bool,
    staged: bool,
    staged_ended: bool,
    backfilling: bool,
    /// Something was read since the last checkpoint epoch was opened.
    dirty: bool,
    requested: bool,
    stopping: bool,
    checkpoint_in_flight: bool,
    last_checkpoint_ms: i64,
    last_checkpoint_epoch: u64,
    finished: bool,
}

impl Coordinator {
    /// A coordinator that waits for [`Event::Started`].
    pub fn new(settings: Settings) -> Self {
        let last = Epoch { number: settings.restored_epoch, timestamp_ms: settings.restored_timestamp_ms };
        let tracker = Tracker::new(settings.timed.clone(), settings.slots);
        Self {
            inputs: vec![Input::More; settings.slots],
            moments: vec![None; settings.slots],
            announced: tracker.watermarks(),
            tracker,
            settling: 0,
            backfilling: settings.backfilling,
            dirty: settings.fresh,
            settings,
            last,
            open: Vec::new(),
            started: false,
            staged: false,
            staged_ended: false,
            requested: false,
            stopping: false,
            checkpoint_in_flight: false,
            last_checkpoint_ms: i64::MIN / 2,
            last_checkpoint_epoch: 0,
            finished: false,
        }
    }

    /// Takes an event that happened at `now_ms` and says what to do, in order.
    pub fn on(&mut self, now_ms: i64, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::Started => {
                self.started = true;
                // A pipeline that goes on elsewhere keeps the pace of its commits.
                let restored = Some(self.settings.restored_timestamp_ms).filter(|_| self.settings.restored_epoch > 0);
                self.last_checkpoint_ms = restored.unwrap_or(now_ms).min(now_ms);
            }
            Event::EpochDone(EpochDone { slot, epoch, rows_in, input, seen, moment }) => {
                self.inputs[slot] = input;
                self.moments[slot] = moment;
                self.dirty |= rows_in > 0 && epoch > self.last_checkpoint_epoch;
                self.slot_done(slot, epoch, (seen, moment), &mut commands);
            }
            Event::InputReady => self.staged = true,
            Event::BackfillDone => self.backfilling = false,
            Event::StagedEnded => {
                self.staged_ended = true;
                self.tracker.staged_ended();
            }
            Event::Committed { .. } => self.checkpoint_in_flight = false,
            Event::CheckpointRequested => self.requested = true,
            Event::StopRequested => self.stopping = true,
            Event::Tick => {}
        }
        self.advance(now_ms, &mut commands);
        commands
    }

    /// Epochs closed so far.
    pub fn closed_epoch(&self) -> u64 {
        self.open.first().map_or(self.last.number, |open| open.epoch.number - 1)
    }

    fn slot_done(&mut self, slot: usize, epoch: u64, time: (Vec<Seen>, Option<i64>), commands: &mut Vec<Command>) {
        if let Some(open) = self.open.iter_mut().find(|open| open.epoch.number == epoch) {
            open.missing -= 1;
            (open.seen[slot], open.moments[slot]) = time;
        }
        // Epochs close in order at every slot, so the oldest is always the first to be complete.
        while self.open.first().is_some_and(|open| open.missing == 0) {
            let done = self.open.remove(0);
            // Only what whole epochs saw moves watermarks: so they belong to the positions of the same checkpoint.
            self.tracker.epoch(&done.seen);
            if done.checkpoint {
                let watermarks = self.tracker.watermarks();
                let moved = if watermarks == done.watermarks { 0 } else { self.settings.watermark_epochs + 1 };
                let moment = done.moments.iter().flatten().min().copied();
                let time = TimeReached { watermarks, settling: moved.max(done.settling), moment };
                commands.push(Command::Commit { epoch: done.epoch, time });
            }
        }
    }

    fn advance(&mut self, now_ms: i64, commands: &mut Vec<Command>) {
        if !self.started || self.finished {
            return;
        }
        while (self.open.len() as u64) < self.settings.max_in_flight && self.wants_epoch(now_ms) {
            self.open_epoch(now_ms, commands);
        }
        if self.open.is_empty() && !self.checkpoint_in_flight {
            if self.stopping && (!self.dirty || self.backfilling) {
                self.finish(false, commands);
            } else if self.ended() && !self.dirty && !self.staged && !self.time_owes() {
                self.finish(true, commands);
            }
        }
        if !self.finished
            && let Some(at) = self.wake_at(now_ms)
        {
            commands.push(Command::WakeAt(at));
        }
    }

    fn finish(&mut self, ended: bool, commands: &mut Vec<Command>) {
        self.finished = true;
        commands.push(Command::Finish { ended });
    }

    /// Whether watermarks have effects that are still to come, or moments are to come at which rows come or go.
    fn time_owes(&self) -> bool {
        self.watermark_waits() || self.moments.iter().any(Option::is_some)
    }

    fn watermark_waits(&self) -> bool {
        !self.backfilling && (self.settling > 0 || self.announced != self.tracker.watermarks())
    }

    /// Whether time alone gives an epoch something to do.
    fn time_waits(&self, now_ms: i64) -> bool {
        self.watermark_waits() || self.moments.iter().flatten().any(|moment| *moment <= now_ms)
    }

    fn ended(&self) -> bool {
        self.staged_ended && self.inputs.iter().all(|input| *input == Input::Ended)
    }

    fn input_waits(&self, now_ms: i64) -> bool {
        self.staged
            || self.inputs.iter().any(|input| match input {
                Input::More => true,
                Input::IdleUntil(at) => *at <= now_ms,
                Input::Idle | Input::Ended => false,
            })
    }

    fn wants_epoch(&self, now_ms: i64) -> bool {
        if self.stopping {
            // What the open epochs have read is known only when they are closed.
            return self.open.is_empty() && self.checkpoint_due(now_ms);
        }
        self.input_waits(now_ms) || self.time_waits(now_ms) || self.checkpoint_due(now_ms)
    }

    fn checkpoint_due(&self, now_ms: i64) -> bool {
        let owed = self.dirty || self.requested;
        let asked = self.requested || self.stopping || self.ended();
        let time = now_ms - self.last_checkpoint_ms >= self.settings.commit_interval_ms;
        owed && !self.backfilling && !self.checkpoint_in_flight && (asked || time)
    }

    fn open_epoch(&mut self, now_ms: i64, commands: &mut Vec<Command>) {
        // What is read by this very epoch counts as read before its barrier.
        let timed = self.time_waits(now_ms.max(self.last.timestamp_ms));
        let reads = !self.stopping && (timed || self.input_waits(now_ms));
        let checkpoint = self.checkpoint_due(now_ms) || (reads && self.would_be_due(now_ms, timed));
        self.last = Epoch { number: self.last.number + 1, timestamp_ms: now_ms.max(self.last.timestamp_ms) };
        self.announce();
        let slots = self.settings.slots;
        self.open.push(OpenEpoch {
            epoch: self.last,
            checkpoint,
            missing: slots,
            seen: vec![vec![]; slots],
            moments: vec![None; slots],
            watermarks: self.announced.clone(),
            settling: self.settling,
        });
        self.dirty |= self.staged || timed;
        self.staged = false;
        if checkpoint {
            self.checkpoint_in_flight = true;
            self.requested = false;
            self.dirty = false;
            self.last_checkpoint_ms = now_ms;
            self.last_checkpoint_epoch = self.last.number;
        }
        // Until the slots report, assume nothing about sources that were to be looked at now; those with more have more.
        for input in &mut self.inputs {
            if matches!(input, Input::IdleUntil(at) if *at <= now_ms) {
                *input = Input::Idle;
            }
        }
        for moment in &mut self.moments {
            *moment = moment.filter(|moment| *moment > self.last.timestamp_ms);
        }
        let watermarks = self.announced.clone();
        commands.push(Command::Start { epoch: self.last, checkpoint, watermarks, backfilling: self.backfilling });
    }

    /// Gives the epoch that opens the newest watermarks. While history is read they stand still.
    fn announce(&mut self) {
        let newest = self.tracker.watermarks();
        if !self.backfilling && self.announced != newest {
            self.announced = newest;
            self.settling = self.settings.watermark_epochs;
        } else {
            self.settling = self.settling.saturating_sub(1);
        }
    }

    fn would_be_due(&self, now_ms: i64, timed: bool) -> bool {
        !self.backfilling
            && !self.checkpoint_in_flight
            && now_ms - self.last_checkpoint_ms >= self.settings.commit_interval_ms
            && (timed || self.staged || self.inputs.contains(&Input::More))
    }

    fn wake_at(&self, now_ms: i64) -> Option<i64> {
        // What stops waits for epochs and commits, never for time.
        if self.stopping || self.open.len() as u64 >= self.settings.max_in_flight {
            return None;
        }
        let sources = self.inputs.iter().filter_map(|input| match input {
            Input::IdleUntil(at) => Some(*at),
            _ => None,
        });
        let checkpoint = (self.dirty && !self.backfilling && !self.checkpoint_in_flight)
            .then_some(self.last_checkpoint_ms.saturating_add(self.settings.commit_interval_ms));
        let moments = self.moments.iter().flatten().copied();
        sources.chain(checkpoint).chain(moments).min().map(|at| at.max(now_ms))
    }
}

#[cfg(test)]
mod tests;
