//! The reading half of a slot: which split is read next, what is late, what was seen of event time.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::time::{self, SplitTime};
use super::{Assignment, Delivery, Failure, Payload, Slot};
use crate::change::Changes;
use crate::runtime::coordinator::Input;
use crate::runtime::dataflow::{NodeId, Role, TimedInput};
use crate::runtime::watermark::Seen;
use crate::source::{Read, Source, Split, SplitPosition, SplitReader};

/// Rows that a slot's sources may read for one epoch: few enough to stay in cache and to close in milliseconds.
const ROWS_PER_EPOCH: usize = 64 * 1024;
/// Rows asked of a reader at a time.
const ROWS_PER_READ: usize = 8 * 1024;
/// Every so many reads a split reads in its own turn, wherever the others are: nobody waits for ever.
const OWN_TURN: u64 = 64;

/// A split that is being read, or was.
pub(super) struct Reader {
    node: NodeId,
    split: Split,
    position: SplitPosition,
    /// `None` once the split is read to its end.
    open: Option<Box<dyn SplitReader>>,
    skipped: u64,
    idle_until: i64,
    progress: SplitTime,
}

/// Whether a split can be read now, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is at its end, or idle for now.
    Waits,
    /// Its rows have no event time.
    Untimed,
    /// The greatest event time read from it, if any.
    Timed(Option<i64>),
}

/// Whose turn it is to read. Pure.
#[derive(Debug, Default)]
pub(super) struct Turns {
    next: usize,
    taken: u64,
}

impl Turns {
    /// The split to read from next. They take turns; but in the turn of one with event time the one goes that is furthest
    /// behind, so that files of successive days are read one after the other, no input runs ahead of those that it is
    /// joined with, and watermarks soon free what was read.
    fn next(&mut self, splits: &[Standing]) -> Option<usize> {
        let in_turn = (0..splits.len()).map(|i| (self.next + i) % splits.len());
        let turn = in_turn.into_iter().find(|i| splits[*i] != Standing::Waits)?;
        self.next = turn + 1;
        self.taken += 1;
        if !matches!(splits[turn], Standing::Timed(_)) || self.taken.is_multiple_of(OWN_TURN) {
            return Some(turn);
        }
        let timed = splits.iter().enumerate().filter_map(|(i, split)| match split {
            Standing::Timed(latest) => Some((latest, i)),
            _ => None,
        });
        timed.min().map(|(_, i)| i)
    }
}

impl Slot {
    fn open_reader(&mut self, assignment: Assignment) -> Result<(), Failure> {
        let Assignment { node, split, from } = assignment;
        let flow = self.flow.clone();
        let Role::Source { source, projection, .. } = &flow.nodes[node].role else { return Ok(()) };
        let open = match from.ended {
            true => None,
            false => Some(self.blame(node, source.open(&split, from, projection))?),
        };
        let progress = SplitTime::default();
        self.readers.push(Reader { node, split, position: from, open, skipped: 0, idle_until: i64::MIN, progress });
        Ok(())
    }

    /// Reads one batch for the oldest epoch that still reads, or ends its reading.
    pub(super) fn read_step(&mut self) -> Result<(), Failure> {
        let Some(start) = self.starts.front_mut() else { return Ok(()) };
        let epoch = start.epoch.number;
        if self.budget.is_none() {
            self.budget = Some(ROWS_PER_EPOCH);
            for assignment in std::mem::take(&mut start.splits) {
                self.open_reader(assignment)?;
            }
        }
        let budget = self.budget.unwrap_or(0);
        let now = self.clock.now_ms();
        match self.next_reader(now) {
            Some(reader) if budget > 0 => self.read(reader, epoch, budget.min(ROWS_PER_READ)),
            _ => {
                self.end_reading(epoch);
                Ok(())
            }
        }
    }

    fn next_reader(&mut self, now: i64) -> Option<usize> {
        let standing = |reader: &Reader| match &reader.open {
            Some(_) if reader.idle_until <= now => match self.time.has_column(&self.flow, reader.node) {
                true => Standing::Timed(reader.progress.latest),
                false => Standing::Untimed,
            },
            _ => Standing::Waits,
        };
        let standings: Vec<_> = self.readers.iter().map(standing).collect();
        self.turns.next(&standings)
    }

    fn read(&mut self, index: usize, epoch: u64, rows: usize) -> Result<(), Failure> {
        let node = self.readers[index].node;
        self.meter.begin();
        let waited = self.meter.reads(node);
        let Some(open) = self.readers[index].open.as_mut() else { return Ok(()) };
        let read = open.read(rows);
        let (position, skipped) = (open.position(), open.skipped());
        let read = self.blame(node, read)?;
        let reader = &mut self.readers[index];
        reader.position = position;
        self.meter.node(node).skipped.add(skipped - reader.skipped);
        reader.skipped = skipped;
        let has_rows = matches!(read, Read::Rows(_));
        match read {
            Read::Rows(batch) => {
                let rows = batch.num_rows();
                // There were rows at the last read already: these have waited.
                self.meter.waited(node, waited);
                self.budget = self.budget.map(|budget| budget.saturating_sub(rows.max(1)));
                self.meter.node(node).read.add(rows as u64);
                self.take_rows(index, epoch, Changes::inserts(batch))?;
            }
            Read::Idle(time) => {
                let now = self.clock.now_ms();
                reader.idle_until = now + (time.as_millis() as i64).max(1);
                reader.progress.idle_since.get_or_insert(now);
            }
            Read::End => {
                reader.position.ended = true;
                reader.open = None;
                reader.progress.idle_since = Some(self.clock.now_ms());
            }
        }
        self.meter.worked(node);
        if has_rows {
            self.meter.has_rows(node);
        }
        Ok(())
    }

    /// Rows of a reader on their way; those that are late go their own.
    fn take_rows(&mut self, reader: usize, epoch: u64, rows: Changes) -> Result<(), Failure> {
        let reader = &mut self.readers[reader];
        let node = reader.node;
        let Some(open) = self.open.get_mut(&epoch) else { return Ok(()) };
        open.rows_in += rows.len() as u64;
        let sifted = self.time.sift(&self.flow, node, rows, &open.watermarks);
        let sifted = sifted.map_err(|error| Failure { job: self.flow.nodes[node].job, error })?;
        reader.progress.idle_since = None;
        reader.progress.latest = reader.progress.latest.max(sifted.latest);
        self.meter.event_time(&self.flow, node, sifted.latest);
        self.count_late(node, &sifted.late);
        let late = self.time.input_of(node).and_then(|input| self.flow.timed[input].late).zip(sifted.late);
        for (to, changes) in late.into_iter().chain([(node, sifted.changes)]) {
            self.deliver_read(node, to, epoch, changes);
        }
        Ok(())
    }

    /// All that the epoch takes is read: send its barriers from the leaves.
    fn end_reading(&mut self, epoch: u64) {
        let input = self.input();
        let positions: Vec<_> = self.readers.iter().map(|r| (r.node, r.split.id.clone(), r.position)).collect();
        let sources: BTreeSet<NodeId> = self.readers.iter().map(|r| r.node).collect();
        let skipped = sources.into_iter().map(|node| (node, self.meter.node(node).skipped.get())).collect();
        let timed = self.flow.timed.iter().map(|timed| timed.node);
        let late = timed.map(|node| (node, self.meter.node(node).late.get())).collect();
        let seen = self.seen(epoch);
        if let Some(open) = self.open.get_mut(&epoch) {
            open.input = input;
            open.seen = seen;
            if let Some(checkpoint) = &mut open.checkpoint {
                checkpoint.positions = positions;
                checkpoint.skipped = skipped;
                checkpoint.late = late;
            }
        }
        self.starts.pop_front();
        self.budget = None;
        for (node, flow) in self.flow.nodes.iter().enumerate() {
            if flow.is_leaf() {
                self.work.push_back(Delivery { node, input: 0, epoch, payload: Payload::Barrier });
            }
        }
    }

    /// What the slot has seen of the timed inputs when the reading of an epoch ends.
    fn seen(&mut self, epoch: u64) -> Vec<Seen> {
        let now = self.clock.now_ms();
        let staged = self.open.get(&epoch).map(|open| open.staged.clone()).unwrap_or_default();
        self.time.staged(&staged);
        let of = |(input, timed): (usize, &TimedInput)| {
            let Role::Source { source, .. } = &self.flow.nodes[timed.node].role else { return self.time.table(input) };
            let readers = self.readers.iter().filter(|reader| reader.node == timed.node);
            let splits = readers.map(|reader| (reader.open.is_some(), reader.progress));
            time::of_splits(splits, source.bounded(), timed.idle_timeout, now)
        };
        self.flow.timed.iter().enumerate().map(of).collect()
    }

    /// When the next input will count as idle of which nothing is being read.
    pub(super) fn idle_moment(&self) -> Option<i64> {
        let now = self.clock.now_ms();
        let of = |timed: &TimedInput| {
            let readers = self.readers.iter().filter(|reader| reader.node == timed.node);
            time::idle_at(readers.map(|reader| (reader.open.is_some(), reader.progress)), timed.idle_timeout)
        };
        self.flow.timed.iter().filter_map(of).filter(|at| *at > now).min()
    }

    /// Whether this slot's sources have more to read.
    fn input(&self) -> Input {
        let now = self.clock.now_ms();
        let open = || self.readers.iter().filter(|r| r.open.is_some());
        if open().any(|r| r.idle_until <= now) {
            return Input::More;
        }
        if let Some(until) = open().map(|r| r.idle_until).min() {
            return Input::IdleUntil(until);
        }
        let bounded = |source: &Arc<dyn Source>| source.bounded();
        let ended = self.flow.nodes.iter().all(|node| match &node.role {
            Role::Source { source, .. } => bounded(source),
            _ => true,
        });
        if ended { Input::Ended } else { Input::Idle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_successive_days_are_read_one_after_the_other_and_no_split_waits_for_ever() {
        // Ten files of a hundred rows, each a day after the other, beside an input without event time.
        let mut left = [100; 10];
        let mut latest = [None; 10];
        let mut turns = Turns::default();
        let (mut untimed, mut most_begun, mut reads) = (0, 0, 0);
        while left.iter().any(|left| *left > 0) {
            let mut standings = vec![Standing::Untimed];
            standings.extend((0..10).map(|i| match left[i] {
                0 => Standing::Waits,
                _ => Standing::Timed(latest[i]),
            }));
            reads += 1;
            match turns.next(&standings).unwrap() {
                0 => untimed += 1,
                split => {
                    let file = split - 1;
                    latest[file] = Some(file as i64 * 1_000 + 100 - left[file]);
                    left[file] -= 1;
                }
            }
            // One read of each tells where it is; the reads in their own turn are the few others.
            most_begun = most_begun.max(left.iter().filter(|left| (1..90).contains(*left)).count());
        }
        assert!(most_begun <= 2, "{most_begun} files at once");
        assert!(untimed >= reads / 12, "{untimed} of {reads}");
        assert_eq!(turns.next(&[Standing::Waits, Standing::Waits]), None);
    }

    #[test]
    fn a_split_that_is_ahead_gets_its_turn() {
        let mut turns = Turns::default();
        let standings = [Standing::Timed(Some(0)), Standing::Timed(Some(100))];
        let ahead = (0..1_000).filter(|_| turns.next(&standings) == Some(1)).count();
        assert!((1..50).contains(&ahead), "{ahead}");
    }
}
