//! Forgets rows that no change can touch any more, once both times have a watermark.
//!
//! Behind both watermarks no row comes or goes on either side. Where left rows look back, their partners are then fixed, and
//! later ones look back no further than to the last right row before the watermarks. Where they look ahead, they wait until
//! there is a right row behind the watermarks, and right rows there are never looked for again.

use std::collections::BTreeMap;
use std::ops::Bound as Limit;

use super::{AsOf, Nearest};
use crate::operator::expiry::Due;
use crate::rows::{NO_SLOT, OrderKey};
use crate::watermark::{Bound, of};

/// The keys by the time of the first row that watermarks will pass next.
#[derive(Debug, Default)]
pub(super) struct AsOfExpiry {
    watermarks: [Option<i64>; 2],
    due: Due,
}

impl AsOfExpiry {
    /// The time before which nothing comes or goes on either side.
    fn watermark(&self) -> Option<i64> {
        let [left, right] = self.watermarks;
        Some(left?.min(right?))
    }
}

impl AsOf {
    /// Takes note of the watermarks of an input; as soon as both have one, keys are kept by their time.
    pub(super) fn advance(&mut self, input: usize, bounds: &[Bound]) {
        let Some(watermark) = self.time.get(input).and_then(|time| of(bounds, *time)) else { return };
        let began = self.expiry.watermark().is_some();
        let own = &mut self.expiry.watermarks[input];
        *own = (*own).max(Some(watermark));
        if !began && self.expiry.watermark().is_some() {
            self.find_restored();
            for key in 0..self.by_time.len() as u32 {
                self.look_later(key, None);
            }
        }
    }

    /// A row is new.
    pub(super) fn expire_later(&mut self, side: usize, slot: u32) {
        if self.expiry.watermark().is_some()
            && let OrderKey::Int(time) = self.time_of(side, slot)
        {
            self.expiry.due.add(self.sides[side].key(slot), ordinal(time));
        }
    }

    /// A key is to be looked at when the watermarks pass its first row that is not before `from`.
    fn look_later(&mut self, key: u32, from: Option<&OrderKey>) {
        let range = (from.map_or(Limit::Unbounded, Limit::Included), Limit::Unbounded);
        let sides = &self.by_time[key as usize];
        let first = [&sides.left, &sides.right].into_iter().filter_map(|rows| rows.range::<OrderKey, _>(range).next());
        if let Some(OrderKey::Int(time)) = first.map(|(time, _)| time).min() {
            let time = ordinal(*time);
            self.expiry.due.add(key, time);
        }
    }

    /// Forgets what the watermarks have passed; keys of such rows go to `loose`.
    pub(super) fn expire(&mut self, loose: &mut Vec<u32>) {
        let Some(watermark) = self.expiry.watermark() else { return };
        let passed = OrderKey::Int(i128::from(watermark));
        for key in self.expiry.due.take(watermark) {
            let rows = &mut self.by_time[key as usize];
            // The last right row behind the watermarks.
            let last = rows.right.range::<OrderKey, _>(..&passed).next_back().map(|(time, _)| time.clone());
            let (lefts, rights) = match (self.nearest, &last) {
                (Nearest::NotAfter | Nearest::Before, last) => (before(&mut rows.left, &passed), last.as_ref()),
                (Nearest::NotBefore, Some(last)) => (up_to(&mut rows.left, last), Some(&passed)),
                (Nearest::After, Some(last)) => (before(&mut rows.left, last), Some(&passed)),
                (Nearest::NotBefore | Nearest::After, None) => (vec![], None),
            };
            let rights = rights.map_or(vec![], |time| before(&mut rows.right, time));
            for left in &lefts {
                self.set_partner(*left, NO_SLOT);
            }
            for (side, slots) in [lefts, rights].into_iter().enumerate() {
                loose.extend(slots.into_iter().map(|slot| self.sides[side].remove(slot)));
            }
            self.look_later(key, Some(&passed));
        }
    }
}

/// Takes the rows before a time.
fn before(rows: &mut BTreeMap<OrderKey, Vec<u32>>, time: &OrderKey) -> Vec<u32> {
    let mut taken = Vec::new();
    while let Some(first) = rows.first_entry().filter(|first| first.key() < time) {
        taken.append(&mut first.remove());
    }
    taken
}

/// Takes the rows up to a time.
fn up_to(rows: &mut BTreeMap<OrderKey, Vec<u32>>, time: &OrderKey) -> Vec<u32> {
    let mut taken = before(rows, time);
    taken.extend(rows.remove(time).unwrap_or_default());
    taken
}

/// A time as the number that watermarks are compared with: of types that have one it always fits.
fn ordinal(time: i128) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
