//! Which right row a left row gets, and which left rows a right row reaches.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::rows::OrderKey;

/// Which right row a left row gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub enum Nearest {
    /// The last one that is not later: `l.ts >= r.ts`.
    NotAfter,
    /// The last one that is earlier: `l.ts > r.ts`.
    Before,
    /// The first one that is not earlier: `l.ts <= r.ts`.
    NotBefore,
    /// The first one that is later: `l.ts < r.ts`.
    After,
}

impl Nearest {
    /// Its comparison between the left and the right time.
    pub fn comparison(self) -> &'static str {
        match self {
            Self::NotAfter => ">=",
            Self::Before => ">",
            Self::NotBefore => "<=",
            Self::After => "<",
        }
    }

    pub(super) fn partner<'a, T>(self, rows: &'a BTreeMap<OrderKey, T>, time: &OrderKey) -> Option<&'a T> {
        let range = match self {
            Self::NotAfter => (Bound::Unbounded, Bound::Included(time)),
            Self::Before => (Bound::Unbounded, Bound::Excluded(time)),
            Self::NotBefore => (Bound::Included(time), Bound::Unbounded),
            Self::After => (Bound::Excluded(time), Bound::Unbounded),
        };
        let mut range = rows.range::<OrderKey, _>(range);
        let found = if self.looks_back() { range.next_back() } else { range.next() };
        found.map(|(_, rows)| rows)
    }

    /// The left times that may have a partner at `time`, given the right rows that are there now.
    pub(super) fn reach<'a, T>(
        self,
        rights: &'a BTreeMap<OrderKey, T>,
        time: &'a OrderKey,
    ) -> (Bound<&'a OrderKey>, Bound<&'a OrderKey>) {
        let later =
            || rights.range::<OrderKey, _>((Bound::Excluded(time), Bound::Unbounded)).next().map(|(key, _)| key);
        let earlier =
            || rights.range::<OrderKey, _>((Bound::Unbounded, Bound::Excluded(time))).next_back().map(|(key, _)| key);
        match self {
            Self::NotAfter => (Bound::Included(time), later().map_or(Bound::Unbounded, Bound::Excluded)),
            Self::Before => (Bound::Excluded(time), later().map_or(Bound::Unbounded, Bound::Included)),
            Self::NotBefore => (earlier().map_or(Bound::Unbounded, Bound::Excluded), Bound::Included(time)),
            Self::After => (earlier().map_or(Bound::Unbounded, Bound::Included), Bound::Excluded(time)),
        }
    }

    /// Whether left rows get a right row that is not later than they are.
    pub fn looks_back(self) -> bool {
        matches!(self, Self::NotAfter | Self::Before)
    }
}

/// Whether bounds are in order: `BTreeMap::range` takes no others.
pub(super) fn is_range(from: Bound<&OrderKey>, to: Bound<&OrderKey>) -> bool {
    match (from, to) {
        (Bound::Excluded(from), Bound::Excluded(to)) => from < to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from <= to,
        _ => true,
    }
}
