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
    /// Whether rows went.
    pub removed: bool,
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
                Limit::Value(value) => search(0..at, |row| Ok(self.compare_value(row, &value)?.is_lt()))?,
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
                Limit::Value(value) => search(at + 1..self.len(), |row| Ok(self.compare_value(row, &value)?.is_le()))?,
            },
        })
    }

    /// The rows whose results can have changed: those that reach a new row, or over a place where rows went.
    pub(super) fn affected(&self, gap: Gap, behind: &Reach, ahead: &Reach) -> Result<Range<usize>> {
        // A row that reached one that is gone still reaches one of the neighbours, since reaches have no holes.
        let (first, last) = if gap.removed {
            (gap.at.saturating_sub(1), gap.at + gap.inserted)
        } else {
            (gap.at, gap.at + gap.inserted.saturating_sub(1))
        };
        let first = first.min(self.len());
        let low = match ahead {
            Reach::All => 0,
            Reach::Rows(rows) => first.saturating_sub(*rows),
            Reach::Peers(_) | Reach::Range(_) => search(0..first, |row| Ok(self.end(row, ahead)? <= first))?,
        };
        let high = match behind {
            Reach::All => self.len(),
            Reach::Rows(rows) => last.saturating_add(*rows).saturating_add(1),
            Reach::Peers(_) | Reach::Range(_) => {
                let rest = (last + 1).min(self.len())..self.len();
                search(rest, |row| Ok(self.first(row, behind)? <= last))?
            }
        };
        Ok(low..high.min(self.len()))
    }

    /// The order value at a distance from a row's own.
    fn limit(&self, at: usize, distance: &ScalarValue, ahead: bool) -> Result<Limit> {
        let Some((column, options)) = self.order.first() else { return Ok(Limit::None) };
        let own = self.value(column, at)?;
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

    fn value(&self, column: usize, at: usize) -> Result<ScalarValue> {
        Ok(ScalarValue::try_from_array(&self.rows.gather_column(column, &self.slots[at..=at])?, 0)?)
    }

    fn compare_value(&self, at: usize, value: &ScalarValue) -> Result<Ordering> {
        let Some((column, options)) = self.order.first() else { return Ok(Ordering::Equal) };
        Ok(compare_rows(&[self.value(column, at)?], std::slice::from_ref(value), &[options])?)
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
