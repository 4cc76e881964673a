//! What the order of an OVER window by a time says about age: which rows nothing can touch any more, and which of them later
//! rows still look at.
//!
//! Everything here is counted from the oldest row of a partition on, so that ascending and descending orders are one case.

use std::ops::Range;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::scalar::ScalarValue;

use super::OverSpec;
use super::call::{Start, WindowCall};
use super::reach::{Reach, Sorted};
use crate::operator::join::micros;
use crate::rows::OrderKey;
use crate::watermark::{END, is_ordinal};

/// A distance between rows, towards older or newer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distance {
    Rows(usize),
    /// To the end of a row's peers and so many groups of peers further.
    Groups(usize),
    /// In the units of the order column.
    Time(i64),
}

/// How the rows of a partition age, by the watermark of the first order column.
#[derive(Debug, Clone)]
pub struct Ages {
    /// The order column.
    column: usize,
    newest_first: bool,
    /// By function how far newer rows look back at it, and how far it looks back.
    looks: Vec<(Distance, Distance)>,
    /// So many oldest rows are read for every result.
    heads: usize,
    /// Some function is a running aggregate.
    running: bool,
    /// The longest span of time that a function looks over, in either direction.
    span: i64,
}

impl Ages {
    /// Nothing if some result may depend on every row of its partition, or if rows do not come in the order of age.
    pub fn of(spec: &OverSpec) -> Option<Self> {
        let (column, newest_first) = ordered_by_age(spec)?;
        let of = spec.input.field(column).data_type();
        let look = |call: &WindowCall| {
            let older = match call.start {
                Start::Reach | Start::Head(_) => distance(of, if newest_first { &call.ahead } else { &call.behind })?,
                // They go on from the result of the row or the peers before.
                Start::Position => Distance::Rows(1),
                Start::Rank | Start::DenseRank => Distance::Groups(1),
                // They go on from what they hold of the rows that are forgotten.
                Start::Running if call.ahead == Reach::Rows(0) => Distance::Rows(0),
                Start::Running => Distance::Groups(0),
            };
            Some((newer(of, newest_first, call)?, older))
        };
        let looks = spec.calls.iter().map(look).collect::<Option<Vec<_>>>()?;
        let time = |distance: Distance| if let Distance::Time(time) = distance { time } else { 0 };
        let span = looks.iter().map(|(newer, older)| time(*newer).max(time(*older))).max().unwrap_or(0);
        let head = |call: &WindowCall| if let Start::Head(rows) = call.start { rows } else { 0 };
        let heads = spec.calls.iter().map(head).max().unwrap_or(0);
        let running = spec.calls.iter().any(|call| call.start == Start::Running);
        Some(Self { column, newest_first, looks, heads, running, span })
    }

    /// The order column.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What stays of every partition for ever, in words; nothing if nothing does.
    pub fn stays(&self) -> Option<String> {
        let rows = |distance: Distance| match distance {
            Distance::Rows(rows) => Some(rows),
            Distance::Groups(0) | Distance::Time(_) => Some(0),
            Distance::Groups(_) => None,
        };
        let most = |distances: &mut dyn Iterator<Item = Distance>| {
            distances.map(rows).try_fold(0, |most, rows| Some(rows?.max(most)))
        };
        let newer = most(&mut self.looks.iter().map(|(newer, _)| *newer));
        let older = most(&mut self.looks.iter().map(|(_, older)| *older));
        let last = newer.zip(older).map(|(newer, older)| newer.saturating_add(older));
        let rows = |rows: usize, which: &str| match rows {
            0 => None,
            1 => Some(format!("the {which} row")),
            rows => Some(format!("the {which} {rows} rows")),
        };
        let last = last.map_or(Some("the last rows".to_owned()), |last| rows(last, "last"));
        let running = self.running.then(|| "what running aggregates hold".to_owned());
        let all = [rows(self.heads, "first"), last, running].into_iter().flatten().collect::<Vec<_>>();
        (!all.is_empty()).then(|| format!("{} of a partition", all.join(" and ")))
    }

    pub(super) fn newest_first(&self) -> bool {
        self.newest_first
    }

    pub(super) fn heads(&self) -> usize {
        self.heads
    }

    pub(super) fn span(&self) -> i64 {
        self.span
    }
}

/// By how much the watermark of the order column is behind in the output: only results of rows that newer ones reach can
/// change. Nothing if that is not bounded in time.
pub fn order_delay(spec: &OverSpec) -> Option<(usize, i64)> {
    let (column, newest_first) = ordered_by_age(spec)?;
    let of = spec.input.field(column).data_type();
    let delay = |call: &WindowCall| match newer(of, newest_first, call)? {
        Distance::Rows(0) | Distance::Groups(0) => Some(0),
        Distance::Time(time) => Some(time),
        Distance::Rows(_) | Distance::Groups(_) => None,
    };
    let delays = spec.calls.iter().map(delay).collect::<Option<Vec<_>>>()?;
    Some((column, delays.into_iter().max().unwrap_or(0)))
}

/// The order column, and whether it is descending. Rows without a time are outside of a watermark's promise: they must stand
/// where the newest rows are, so that no old row is next to them.
fn ordered_by_age(spec: &OverSpec) -> Option<(usize, bool)> {
    let (column, SortOptions { descending, nulls_first }) = *spec.order.first()?;
    (descending == nulls_first && is_ordinal(spec.input.field(column).data_type())).then_some((column, descending))
}

/// How far newer rows are within reach of a function.
fn newer(of: &DataType, newest_first: bool, call: &WindowCall) -> Option<Distance> {
    if newest_first {
        // What goes on from the first row is different for all old rows when a new one comes before them.
        return (call.start == Start::Reach).then(|| distance(of, &call.behind)).flatten();
    }
    distance(of, &call.ahead)
}

fn distance(of: &DataType, reach: &Reach) -> Option<Distance> {
    Some(match reach {
        Reach::All => return None,
        Reach::Rows(rows) => Distance::Rows(*rows),
        Reach::Peers(groups) => Distance::Groups(*groups),
        Reach::Range(distance) => Distance::Time(in_units(of, distance)?),
    })
}

/// A distance in the units of a column, rounded up. Nothing for months, whose length varies.
fn in_units(of: &DataType, distance: &ScalarValue) -> Option<i64> {
    let up = |micros: i64, unit: i64| micros.checked_add(unit - 1).map(|micros| micros.div_euclid(unit));
    let span = match of {
        DataType::Timestamp(TimeUnit::Second, _) => up(micros(distance)?, 1_000_000)?,
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => up(micros(distance)?, 1_000)?,
        DataType::Timestamp(TimeUnit::Microsecond, _) => micros(distance)?,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => micros(distance)?.checked_mul(1_000)?,
        DataType::Date32 => up(micros(distance)?, 86_400_000_000)?,
        _ => match distance.cast_to(&DataType::Int64).ok()? {
            ScalarValue::Int64(distance) => distance?,
            _ => return None,
        },
    };
    (span >= 0).then_some(span)
}

/// The rows of a partition, counted from the oldest on.
pub(super) struct Aged<'a> {
    ages: &'a Ages,
    sorted: Sorted<'a>,
}

impl<'a> Aged<'a> {
    pub(super) fn new(ages: &'a Ages, sorted: Sorted<'a>) -> Self {
        Self { ages, sorted }
    }

    fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The place in the order of a row by age, and back.
    fn turned(&self, at: usize) -> usize {
        if self.ages.newest_first { self.len() - 1 - at } else { at }
    }

    fn time(&self, at: usize) -> Option<i64> {
        match self.sorted.rows.order_key(self.ages.column, self.sorted.slots[self.turned(at)]) {
            OrderKey::Int(time) => i64::try_from(time).ok(),
            _ => None,
        }
    }

    /// Number of rows that are older than a time.
    fn before(&self, time: i64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time(middle).is_some_and(|own| own < time) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The oldest of a row's peers.
    fn group(&self, at: usize) -> usize {
        if self.ages.newest_first {
            self.len() - self.sorted.peers_end(self.turned(at))
        } else {
            self.sorted.peers_start(at)
        }
    }

    /// So many groups of peers older than the row at a place, which is the oldest of its own or behind all rows.
    fn groups_before(&self, mut at: usize, groups: usize) -> usize {
        for _ in 0..groups {
            if at == 0 {
                break;
            }
            at = self.group(at - 1);
        }
        at
    }

    /// How many of the oldest rows nothing looks at any more, given that no row before the watermark comes or goes.
    pub(super) fn passed(&self, watermark: i64) -> usize {
        let fixed = self.before(watermark);
        if fixed == 0 {
            return 0;
        }
        let earlier = |time: i64, by: i64| if time == END { END } else { time.saturating_sub(by) };
        // The first row whose result may still change.
        let changing = |(newer, _): &(Distance, Distance)| match *newer {
            Distance::Rows(rows) => fixed.saturating_sub(rows),
            Distance::Groups(groups) => self.groups_before(fixed, groups),
            Distance::Time(time) => self.before(earlier(watermark, time)),
        };
        let first = self.ages.looks.iter().map(changing).min().unwrap_or(0).min(fixed);
        // The first row that it, or a row that comes right at the watermark, looks at.
        let looked_at = |(_, older): &(Distance, Distance)| match *older {
            Distance::Rows(rows) => first.saturating_sub(rows),
            Distance::Groups(groups) => {
                self.groups_before(if first < fixed { self.group(first) } else { fixed }, groups)
            }
            Distance::Time(time) => {
                let from = if first < fixed { self.time(first).unwrap_or(i64::MIN) } else { watermark };
                self.before(earlier(from, time))
            }
        };
        self.ages.looks.iter().map(looked_at).min().unwrap_or(0).min(first)
    }

    /// The places of the rows that can go, if nothing looks at so many of the oldest any more but for those that are read
    /// for every result.
    pub(super) fn places(&self, passed: usize) -> Range<usize> {
        if self.ages.newest_first { self.len() - passed..self.len() } else { self.ages.heads.min(passed)..passed }
    }

    /// The watermark behind which the partition is to be looked at again, having been looked at with this one.
    pub(super) fn due(&self, watermark: i64) -> Option<i64> {
        let next = self.before(watermark.saturating_sub(self.ages.span));
        let time = if next < self.len() { self.time(next)? } else { return None };
        Some(time.saturating_add(self.ages.span))
    }

    /// The oldest row that has a time.
    pub(super) fn oldest(&self) -> Option<i64> {
        if self.len() == 0 { None } else { self.time(0) }
    }
}
