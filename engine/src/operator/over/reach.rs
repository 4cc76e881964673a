//! How far rows of a partition depend on each other: which rows a result is made of, and whose results a change touches.

use std::cmp::Ordering;
use std::ops::Range;

use datafusion::common::utils::compare_rows;
use datafusion::scalar::ScalarValue;

use crate::error::Result;
use crate::operator::order::RowOrder;
use crate::rows::RowStore;

/// A distance from a row, in one direction. The row itself, and for `Peers` and `Range` its peers, are always within.
#[derive(Debug, Clone, PartialEq)]
pub enum Reach {
    /// So many rows further.
    Rows(usize),
    /// To the end of the row's peers and so many groups of peers further.
    Peers(usize),
    /// Rows whose order value differs by at most this much.
    Range(ScalarValue),
    /// To the end of the partition.
    All,
}

/// A place of a partition where rows came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// Position of the first new row, or of the row behind those that went.
    pub at: usize,
    /// Number of new rows.
    pub inserted: usize,
    /// The first of the rows that came or went, as a row of the store.
    pub first: u32,
    /// The last of them.
    pub last: u32,
}

/// The rows of a partition in order.
#[derive(Clone, Copy)]
pub(super) struct Sorted<'a> {
    pub rows: &'a RowStore,
    pub order: &'a RowOrder,
    pub slots: &'a [u32],
}

impl Sorted<'_> {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    fn peers(&self, left: usize, right: usize) -> Ordering {
        self.order.compare_peers(self.rows, self.slots[left], self.slots[right])
    }

    /// The first of a row's peers. Looks in growing steps, since most groups are small.
    pub(super) fn peers_start(&self, at: usize) -> usize {
        let (mut known, mut step) = (at, 1);
        while known > 0 {
            let probe = known.saturating_sub(step);
            if self.peers(probe, at).is_lt() {
                let between = &self.slots[probe..known];
                let of = self.slots[at];
                return probe + between.partition_point(|slot| self.order.compare_peers(self.rows, *slot, of).is_lt());
            }
            (known, step) = (probe, step * 2);
        }
        0
    }

    /// The position behind a row's last peer.
    pub(super) fn peers_end(&self, at: usize) -> usize {
        let (mut known, mut step) = (at + 1, 1);
        while known < self.len() {
            let probe = (known + step).min(self.len());
            if self.peers(probe - 1, at).is_gt() {
                let between = &self.slots[known..probe];
                let of = self.slots[at];
                return known + between.partition_point(|slot| self.order.compare_peers(self.rows, *slot, of).is_le());
            }
            (known, step) = (probe, step * 2);
        }
        self.len()
    }

    /// The first row within reach of a row.
    pub(super) fn first(&self, at: usize, behind: &Reach) -> Result<usize> {
        Ok(match behind {
            Reach::All => 0,
            Reach::Rows(rows) => at.saturating_sub(*rows),
            Reach::Peers(groups) => {
                let mut start = self.peers_start(at);
                for _ in 0..*groups {
                    if start == 0 {
                        break;
                    }
                    start = self.peers_start(start - 1);
                }
                start
            }
            Reach::Range(distance) => match self.limit(at, distance, false)? {
                Limit::Peers => self.peers_start(at),
                Limit::None => 0,
                Limit::Value(value) => search(0..at, |row| Ok(self.compare_value(self.slots[row], &value)?.is_lt()))?,
            },
        })
    }

    /// The position behind the last row within reach of a row.
    pub(super) fn end(&self, at: usize, ahead: &Reach) -> Result<usize> {
        Ok(match ahead {
            Reach::All => self.len(),
            Reach::Rows(rows) => at.saturating_add(*rows).saturating_add(1).min(self.len()),
            Reach::Peers(groups) => {
                let mut end = self.peers_end(at);
                for _ in 0..*groups {
                    if end == self.len() {
                        break;
                    }
                    end = self.peers_end(end);
                }
                end
            }
            Reach::Range(distance) => match self.limit(at, distance, true)? {
                Limit::Peers => self.peers_end(at),
                Limit::None => self.len(),
                Limit::Value(value) => {
                    search(at + 1..self.len(), |row| Ok(self.compare_value(self.slots[row], &value)?.is_le()))?
                }
            },
        })
    }

    /// The rows whose results can have changed: the new ones, and those that reach a row which came or went.
    ///
    /// No row beyond: of rows that are evaluated again all that they look at must still be there, and old rows go.
    pub(super) fn affected(&self, gap: Gap, behind: &Reach, ahead: &Reach) -> Result<Range<usize>> {
        let end = (gap.at + gap.inserted).min(self.len());
        let low = match ahead {
            Reach::All => 0,
            Reach::Rows(rows) => gap.at.saturating_sub(*rows),
            Reach::Peers(groups) => match (gap.at.checked_sub(1), groups) {
                (None, _) => 0,
                (Some(near), groups) if self.is_peer(near, gap.first) => self.first(near, &Reach::Peers(*groups))?,
                (Some(_), 0) => gap.at,
                (Some(near), groups) => self.first(near, &Reach::Peers(groups - 1))?,
            },
            Reach::Range(distance) => search(0..gap.at, |row| Ok(!self.reaches(row, distance, true, gap.first)?))?,
        };
        let high = match behind {
            Reach::All => self.len(),
            Reach::Rows(rows) => end.saturating_add(*rows).min(self.len()),
            Reach::Peers(_) if end == self.len() => end,
            Reach::Peers(groups) if self.is_peer(end, gap.last) => self.end(end, &Reach::Peers(*groups))?,
            Reach::Peers(0) => end,
            Reach::Peers(groups) => self.end(end, &Reach::Peers(groups - 1))?,
            Reach::Range(distance) => search(end..self.len(), |row| self.reaches(row, distance, false, gap.last))?,
        };
        Ok(low..high)
    }

    fn is_peer(&self, at: usize, slot: u32) -> bool {
        self.order.compare_peers(self.rows, self.slots[at], slot).is_eq()
    }

    /// Whether a row of the store is (or was) within a distance from the row at a position.
    fn reaches(&self, at: usize, distance: &ScalarValue, ahead: bool, slot: u32) -> Result<bool> {
        Ok(match self.limit(at, distance, ahead)? {
            Limit::Peers => self.is_peer(at, slot),
            Limit::None => true,
            Limit::Value(value) => {
                let order = self.compare_value(slot, &value)?;
                if ahead { order.is_le() } else { order.is_ge() }
            }
        })
    }

    /// The order value at a distance from a row's own.
    fn limit(&self, at: usize, distance: &ScalarValue, ahead: bool) -> Result<Limit> {
        let Some((column, options)) = self.order.first() else { return Ok(Limit::None) };
        let own = self.value(column, self.slots[at])?;
        if own.is_null() {
            return Ok(Limit::Peers);
        }
        // A limit beyond what the type can hold is none.
        let limit = if ahead == options.descending {
            if own.is_unsigned() && own < *distance { own.sub_checked(&own) } else { own.sub_checked(distance) }
        } else {
            own.add_checked(distance)
        };
        Ok(limit.map_or(Limit::None, Limit::Value))
    }

    fn value(&self, column: usize, slot: u32) -> Result<ScalarValue> {
        Ok(ScalarValue::try_from_array(&self.rows.gather_column(column, &[slot])?, 0)?)
    }

    fn compare_value(&self, slot: u32, value: &ScalarValue) -> Result<Ordering> {
        let Some((column, options)) = self.order.first() else { return Ok(Ordering::Equal) };
        Ok(compare_rows(&[self.value(column, slot)?], std::slice::from_ref(value), &[options])?)
    }
}

enum Limit {
    /// The order value is NULL: only peers are within reach.
    Peers,
    None,
    Value(ScalarValue),
}

/// The first position of a range at which `before` is false; it is true up to there and false behind.
fn search(range: Range<usize>, before: impl Fn(usize) -> Result<bool>) -> Result<usize> {
    let (mut low, mut high) = (range.start, range.end.max(range.start));
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Sorts ranges and unites those that touch.
pub(super) fn united(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut united: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match united.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => united.push(range),
        }
    }
    united
}
