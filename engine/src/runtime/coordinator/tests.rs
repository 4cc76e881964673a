//! Plays the coordinator against simulated slots, catalog and users under random schedules.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn settings(slots: usize) -> Settings {
    Settings {
        slots,
        max_in_flight: 2,
        commit_interval_ms: 1000,
        restored_epoch: 0,
        restored_timestamp_ms: 0,
        fresh: true,
        backfilling: false,
        timed: vec![],
        watermark_epochs: 0,
    }
}

fn starts(commands: &[Command]) -> Vec<(u64, bool)> {
    commands
        .iter()
        .filter_map(|c| match c {
            Command::Start { epoch, checkpoint, .. } => Some((epoch.number, *checkpoint)),
            _ => None,
        })
        .collect()
}

fn done(slot: usize, epoch: u64, rows_in: u64, input: Input) -> Event {
    Event::EpochDone(EpochDone { slot, epoch, rows_in, input, seen: vec![], moment: None })
}

#[test]
fn a_fresh_job_without_any_row_still_commits_once_and_ends() {
    let mut coordinator = Coordinator::new(settings(1));
    coordinator.on(0, Event::StagedEnded);
    assert_eq!(starts(&coordinator.on(0, Event::Started)), [(1, false), (2, false)]);
    assert_eq!(starts(&coordinator.on(1, done(0, 1, 0, Input::Ended))), [(3, true)]);
    coordinator.on(1, done(0, 2, 0, Input::Ended));
    let epoch = Epoch { number: 3, timestamp_ms: 1 };
    assert_eq!(
        coordinator.on(2, done(0, 3, 0, Input::Ended)),
        [Command::Commit { epoch, time: TimeReached { watermarks: [].into(), settling: 0, moment: None } }]
    );
    assert_eq!(coordinator.on(3, Event::Committed { epoch: 3 }), [Command::Finish { ended: true }]);
}

#[test]
fn an_idle_pipeline_opens_no_epoch_until_told() {
    let mut coordinator = Coordinator::new(Settings { fresh: false, ..settings(1) });
    coordinator.on(0, Event::Started);
    coordinator.on(1, done(0, 1, 0, Input::Idle));
    let commands = coordinator.on(1, done(0, 2, 0, Input::Idle));
    assert_eq!(commands, [], "nothing to do and nothing to wake up for");
    assert_eq!(coordinator.on(5000, Event::Tick), []);
    assert_eq!(
        starts(&coordinator.on(5001, Event::InputReady)),
        [(3, true)],
        "a commit is due at once after a long pause"
    );
}

#[test]
fn nothing_is_committed_while_history_is_read() {
    let mut coordinator = Coordinator::new(Settings { backfilling: true, ..settings(1) });
    coordinator.on(0, Event::Started);
    coordinator.on(5000, Event::InputReady);
    coordinator.on(5000, done(0, 1, 10, Input::Idle));
    coordinator.on(9000, done(0, 2, 10, Input::Idle));
    let commands = coordinator.on(9001, Event::Tick);
    assert!(starts(&commands).iter().all(|(_, checkpoint)| !checkpoint), "{commands:?}");
    assert!(starts(&coordinator.on(9002, Event::BackfillDone)).iter().any(|(_, checkpoint)| *checkpoint));
}

fn timed_done(epoch: u64, seen: Seen, moment: Option<i64>) -> Event {
    Event::EpochDone(EpochDone { slot: 0, epoch, rows_in: 0, input: Input::Idle, seen: vec![seen], moment })
}

/// The watermarks of the epochs that open.
fn watermarks(commands: &[Command]) -> Vec<(u64, i64)> {
    let start = |command: &Command| match command {
        Command::Start { epoch, watermarks, .. } => Some((epoch.number, watermarks[0])),
        _ => None,
    };
    commands.iter().filter_map(start).collect()
}

#[test]
fn a_watermark_that_moved_opens_epochs_until_it_has_had_its_effects() {
    use crate::runtime::watermark::{Input as Timed, Parts};
    use crate::watermark::{END, NONE};
    let timed = vec![Timed { parts: Parts::Splits, delay: Some(10), restored: NONE }];
    let mut coordinator = Coordinator::new(Settings { fresh: false, timed, watermark_epochs: 1, ..settings(1) });
    assert_eq!(watermarks(&coordinator.on(0, Event::Started)), [(1, NONE), (2, NONE)]);
    assert_eq!(watermarks(&coordinator.on(1, timed_done(1, Seen::Time(100), None))), [(3, 90)]);
    assert_eq!(
        watermarks(&coordinator.on(1, timed_done(2, Seen::Time(100), None))),
        [(4, 90)],
        "one more for what is late"
    );
    coordinator.on(1, timed_done(3, Seen::Time(100), None));
    assert_eq!(watermarks(&coordinator.on(1, timed_done(4, Seen::Time(100), None))), []);
    // It is committed with the epochs that it opened.
    assert_eq!(watermarks(&coordinator.on(1000, Event::Tick)), [(5, 90)]);
    let commands = coordinator.on(1001, timed_done(5, Seen::Ended, None));
    let time = TimeReached { watermarks: [END].into(), settling: 2, moment: None };
    assert!(
        commands.contains(&Command::Commit { epoch: Epoch { number: 5, timestamp_ms: 1000 }, time }),
        "{commands:?}"
    );
    assert_eq!(watermarks(&commands), [(6, END), (7, END)]);
}

#[test]
fn a_moment_opens_an_epoch_when_it_comes() {
    let mut coordinator = Coordinator::new(Settings { fresh: false, ..settings(1) });
    let done = |epoch, moment| {
        Event::EpochDone(EpochDone { slot: 0, epoch, rows_in: 0, input: Input::Idle, seen: vec![], moment })
    };
    coordinator.on(0, Event::Started);
    coordinator.on(1, done(1, None));
    assert_eq!(coordinator.on(1, done(2, Some(500))), [Command::WakeAt(500)]);
    assert_eq!(coordinator.on(499, Event::Tick), [Command::WakeAt(500)]);
    assert_eq!(starts(&coordinator.on(500, Event::Tick)).len(), 1);
    assert_eq!(starts(&coordinator.on(500, done(3, None))), [], "once");
}

/// Slots with rows to read, a catalog that answers late, users that flush and stop: in an order that `choices` decides.
struct World {
    now: i64,
    coordinator: Coordinator,
    left: Vec<u64>,
    /// Epochs that each slot has still to close.
    queues: Vec<Vec<u64>>,
    checkpoints: BTreeMap<u64, bool>,
    reported: BTreeMap<u64, usize>,
    committing: Option<u64>,
    committed: Vec<u64>,
    read_before: BTreeMap<u64, u64>,
    finished: Option<bool>,
    last_epoch: u64,
}

impl World {
    fn new(slots: usize, rows: u64) -> Self {
        Self {
            now: 0,
            coordinator: Coordinator::new(settings(slots)),
            left: vec![rows; slots],
            queues: vec![vec![]; slots],
            checkpoints: BTreeMap::new(),
            reported: BTreeMap::new(),
            committing: None,
            committed: vec![],
            read_before: BTreeMap::new(),
            finished: None,
            last_epoch: 0,
        }
    }

    fn tell(&mut self, event: Event) {
        for command in self.coordinator.on(self.now, event) {
            assert!(self.finished.is_none(), "a command after the end: {command:?}");
            match command {
                Command::Start { epoch, checkpoint, .. } => {
                    assert_eq!(epoch.number, self.last_epoch + 1, "an epoch was skipped");
                    self.last_epoch = epoch.number;
                    self.checkpoints.insert(epoch.number, checkpoint);
                    self.queues.iter_mut().for_each(|queue| queue.push(epoch.number));
                    let open = self.queues.iter().map(Vec::len).max().unwrap_or(0);
                    assert!(open <= 2, "{open} epochs are open");
                }
                Command::Commit { epoch, .. } => {
                    assert_eq!(self.committing, None, "two checkpoints are on their way");
                    assert_eq!(self.reported[&epoch.number], self.queues.len(), "a slot has not delivered its part");
                    assert!(self.committed.last().is_none_or(|last| *last < epoch.number), "an epoch went back");
                    self.committing = Some(epoch.number);
                }
                Command::WakeAt(at) => assert!(at >= self.now),
                Command::Finish { ended } => {
                    assert_eq!(self.committing, None, "the end with a commit on its way");
                    self.finished = Some(ended);
                }
            }
        }
    }

    /// Does one thing that can happen now.
    fn step(&mut self, choice: u8) {
        self.now += i64::from(choice % 50) * 10;
        let slots = self.queues.len();
        let slot = usize::from(choice) % (slots + 2);
        if slot < slots && !self.queues[slot].is_empty() {
            let epoch = self.queues[slot].remove(0);
            let rows = self.left[slot].min(7);
            self.left[slot] -= rows;
            *self.read_before.entry(epoch).or_default() += rows;
            *self.reported.entry(epoch).or_default() += 1;
            let input = if self.left[slot] == 0 { Input::Ended } else { Input::More };
            self.tell(done(slot, epoch, rows, input));
        } else if slot == slots {
            if let Some(epoch) = self.committing.take() {
                self.committed.push(epoch);
                self.tell(Event::Committed { epoch });
            }
        } else {
            self.tell(Event::Tick);
        }
    }
}

proptest! {
    #[test]
    fn everything_read_is_committed_before_the_end(
        slots in 1_usize..4,
        rows in 0_u64..60,
        choices in prop::collection::vec(any::<u8>(), 0..400),
        stop_at in prop::option::of(0_usize..400),
        flush_at in prop::option::of(0_usize..400),
    ) {
        let mut world = World::new(slots, rows);
        world.tell(Event::StagedEnded);
        world.tell(Event::Started);
        // After the random part a fair schedule: whatever can happen happens again and again.
        let fair = (0..2000_usize).map(|i| (i % 256) as u8);
        for (i, choice) in choices.into_iter().chain(fair).enumerate() {
            if world.finished.is_some() {
                break;
            }
            if stop_at == Some(i) {
                world.tell(Event::StopRequested);
            }
            if flush_at == Some(i) {
                world.tell(Event::CheckpointRequested);
            }
            if world.finished.is_none() {
                world.step(choice);
            }
        }
        prop_assert!(world.finished.is_some(), "it never ended");
        let last = world.committed.last().copied().unwrap_or(0);
        let lost: u64 = world.read_before.range(last + 1..).map(|(_, rows)| rows).sum();
        prop_assert_eq!(lost, 0, "rows read after the last commit");
        if world.finished == Some(true) {
            prop_assert_eq!(world.left.iter().sum::<u64>(), 0);
            prop_assert!(!world.committed.is_empty(), "a fresh job ended without a checkpoint");
        }
    }
}
