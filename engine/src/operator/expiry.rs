//! What is to be forgotten when a watermark passes: slots in buckets by the value of a watermarked column.
//!
//! Adding costs one look at an ordered map of the values that are alive (windows, mostly); taking costs what is taken. A slot
//! may have been freed and used again meanwhile, so whoever takes slots must look whether they still are what they were.

use std::collections::BTreeMap;

use crate::watermark::END;

/// Fewer slots than this are not looked through for ones that stand in a bucket twice.
const SMALL: usize = 64;

#[derive(Debug, Default)]
struct Bucket {
    slots: Vec<u32>,
    /// How many there were when none stood there twice.
    different: usize,
}

/// Slots by value.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    buckets: BTreeMap<i64, Bucket>,
}

impl Expiry {
    /// A slot holds this value.
    pub(super) fn add(&mut self, value: i64, slot: u32) {
        let bucket = self.buckets.entry(value).or_default();
        bucket.slots.push(slot);
        // What comes and goes again and again is in the same slots: so a bucket is at most twice as long as needed.
        if bucket.slots.len() > SMALL + 2 * bucket.different {
            bucket.slots.sort_unstable();
            bucket.slots.dedup();
            bucket.different = bucket.slots.len();
        }
    }

    /// Takes the slots of all values below the watermark, each once.
    pub(super) fn take(&mut self, watermark: i64) -> Vec<u32> {
        let mut taken = Vec::new();
        while let Some(first) = self.buckets.first_entry().filter(|first| *first.key() < watermark) {
            taken.append(&mut first.remove().slots);
        }
        taken.sort_unstable();
        taken.dedup();
        taken
    }
}

/// Slots that are to be looked at when a watermark passes, each at one value or none.
#[derive(Debug, Default)]
pub(super) struct Due {
    slots: Expiry,
    /// By slot the least value under which it is kept, [`END`] for none. Of a slot that was freed it says nothing; what takes
    /// its place is then looked at once too often.
    due: Vec<i64>,
}

impl Due {
    /// A slot is to be looked at when the watermark is above this value, if not earlier.
    pub(super) fn add(&mut self, slot: u32, value: i64) {
        let place = slot as usize;
        if place >= self.due.len() {
            self.due.resize(place + 1, END);
        }
        if value < self.due[place] {
            self.due[place] = value;
            self.slots.add(value, slot);
        }
    }

    /// Takes the slots that are to be looked at; whoever takes them adds them again if need be.
    pub(super) fn take(&mut self, watermark: i64) -> Vec<u32> {
        let mut slots = self.slots.take(watermark);
        slots.retain(|slot| {
            let due = &mut self.due[*slot as usize];
            *due < watermark && std::mem::replace(due, END) < watermark
        });
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_the_watermark_is_taken_once() {
        let mut expiry = Expiry::default();
        (0..1000).for_each(|_| expiry.add(5, 7));
        assert!(expiry.buckets[&5].slots.len() <= 2 * SMALL);
        for (value, slot) in [(6, 1), (4, 2), (5, 3)] {
            expiry.add(value, slot);
        }
        assert_eq!(expiry.take(5), [2]);
        assert_eq!(expiry.take(6), [3, 7]);
        assert!(expiry.take(6).is_empty());
        assert_eq!(expiry.take(i64::MAX), [1]);
    }

    #[test]
    fn a_slot_is_due_once_at_its_least_value() {
        let mut due = Due::default();
        for (slot, value) in [(3, 10), (3, 20), (1, 12), (3, 5)] {
            due.add(slot, value);
        }
        assert_eq!(due.take(6), [3]);
        due.add(3, 30);
        // It was kept at 10 before, and is due at 30 now.
        assert_eq!(due.take(20), [1]);
        assert_eq!(due.take(i64::MAX), [3]);
        assert!(due.take(i64::MAX).is_empty());
    }
}
