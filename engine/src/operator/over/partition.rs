//! One partition's rows in order, one slot per copy of a row, and how an epoch's changes are merged into them.

use super::reach::{Gap, Sorted};
use super::running::Snapshot;
use crate::error::{Error, Result};
use crate::operator::ledger::Ledger;
use crate::operator::order::RowOrder;
use crate::rows::RowStore;

/// A row that appears once, in a slot of its own, or disappears so many times, found by a row in a slot for the search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touched {
    pub partition: u32,
    pub slot: u32,
    /// 1, or negative.
    pub weight: i64,
}

/// The rows of a partition in order.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub slots: Vec<u32>,
    /// Running aggregates over the first rows, by how many rows.
    pub snapshots: Vec<Snapshot>,
    /// Running aggregates over the first rows and those that were forgotten behind them.
    pub base: Option<Snapshot>,
}

/// What an epoch did to a partition.
#[derive(Debug, Default)]
pub(super) struct Edits {
    pub gaps: Vec<Gap>,
    /// Slots of the copies that are gone.
    pub removed: Vec<u32>,
    /// Some row is there more than once.
    pub repeated: bool,
}

impl Partition {
    pub(super) fn sorted<'a>(&'a self, rows: &'a RowStore, order: &'a RowOrder) -> Sorted<'a> {
        Sorted { rows, order, slots: &self.slots }
    }

    /// Nothing is left of it.
    pub(super) fn is_unused(&self) -> bool {
        self.slots.is_empty() && self.base.is_none()
    }

    /// Puts restored rows in order; gives whether every row is there once. Copies of a row stand as they came, by number,
    /// since each has its own results.
    pub(super) fn sort(&mut self, rows: &RowStore, order: &RowOrder, numbers: &Ledger) -> bool {
        self.slots.sort_unstable_by(|a, b| {
            order.compare(rows, *a, *b).then_with(|| numbers.number(*a).cmp(&numbers.number(*b)))
        });
        self.slots.is_sorted_by(|a, b| order.compare(rows, *a, *b).is_lt())
    }

    /// Merges touched rows, which are in order and of this partition, each row in one place.
    ///
    /// # Errors
    /// `Internal` if a row disappears that is not there.
    pub(super) fn apply(&mut self, run: &[Touched], rows: &RowStore, order: &RowOrder) -> Result<Edits> {
        let mut edits = Edits::default();
        let Some(first) = run.first() else { return Ok(edits) };
        let unchanged = self.slots.partition_point(|other| order.compare(rows, *other, first.slot).is_lt());
        let tail = self.slots.split_off(unchanged);
        let mut from = 0;
        for touched in run {
            let compare = |other: &u32| order.compare(rows, *other, touched.slot);
            let behind = from + tail[from..].partition_point(|other| compare(other).is_le());
            if touched.weight > 0 {
                self.slots.extend_from_slice(&tail[from..behind]);
                from = behind;
                edits.repeated |= self.slots.last().is_some_and(|last| compare(last).is_eq());
                edits.gap(self.slots.len(), touched.slot).inserted += 1;
                self.slots.push(touched.slot);
            } else {
                let copies =
                    tail[from..behind].len() - tail[from..behind].partition_point(|other| compare(other).is_lt());
                let gone = usize::try_from(-touched.weight).unwrap_or(usize::MAX);
                if gone > copies {
                    return Err(Error::internal("a row disappears more often than it is there")
                        .with("there", copies)
                        .with("disappears", gone));
                }
                // The last copies, since those before them keep their positions.
                self.slots.extend_from_slice(&tail[from..behind - gone]);
                edits.removed.extend_from_slice(&tail[behind - gone..behind]);
                edits.gap(self.slots.len(), touched.slot);
                from = behind;
            }
        }
        self.slots.extend_from_slice(&tail[from..]);
        Ok(edits)
    }
}

impl Edits {
    /// The gap at a position, which may be at the end of the last one, for a row that came or goes there.
    fn gap(&mut self, at: usize, slot: u32) -> &mut Gap {
        if self.gaps.last().is_none_or(|last| last.at + last.inserted < at) {
            self.gaps.push(Gap { at, inserted: 0, first: slot, last: slot });
        }
        let last = self.gaps.len() - 1;
        self.gaps[last].last = slot;
        &mut self.gaps[last]
    }
}
