//! The values of each group with their counts: what DISTINCT needs, what a retractable `min` or `first_value` falls back
//! to, and what groups are recomputed from where a function has no form that can be taken back.
//!
//! A value is one column or several. One hash table over (group, value) for all groups; the values of a group are a
//! chain, if any call has to walk along it. The extremum of a group is kept beside; only when it is itself taken back are
//! the group's values looked through. A group in which that costs more than a few steps per change gets an ordered index
//! from then on, so that no pattern of retractions makes it quadratic. Calls over the same values share one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};

use super::accumulator::{Feed, canonical};
use super::extremum::End;
use super::order::{Order, Ranked};
use crate::error::{Error, Result};
use crate::rows::{KeyIndex, NO_SLOT, RowView, vec_bytes};

/// An extremum that was taken back and not looked for yet.
const LOST: u32 = NO_SLOT - 1;
/// Steps along a chain that a change of the group earns.
const EARNED: u32 = 4;
/// Steps beyond those earned after which an ordered index is worth its cost.
const OVERDRAWN: u32 = 512;

/// In use; without it the entry is a free slot.
const HELD: u8 = 1;
/// Changed since the last checkpoint.
const DIRTY: u8 = 2;
/// In the last checkpoint.
const DURABLE: u8 = 4;

/// One value of one group. It is in the group's chain, and in the set, as long as its count is positive.
#[derive(Clone, Copy)]
struct Entry {
    count: i64,
    group: u32,
    next: u32,
    previous: u32,
    flags: u8,
}

const FREE: Entry = Entry { count: 0, group: 0, next: NO_SLOT, previous: NO_SLOT, flags: 0 };

/// What a multiset knows about a group.
#[derive(Clone, Copy)]
struct Chain {
    head: u32,
    /// Values whose count is not 0.
    values: u32,
    min: u32,
    max: u32,
    /// Steps made along the chain beyond those earned.
    debt: u32,
}

const EMPTY: Chain = Chain { head: NO_SLOT, values: 0, min: NO_SLOT, max: NO_SLOT, debt: 0 };

/// Rows whose value entered or left its group's set.
#[derive(Default)]
pub(super) struct Deltas {
    pub(super) rows: Vec<u32>,
    pub(super) deltas: Vec<i64>,
}

/// Checkpointed changes of a multiset.
pub(super) struct DirtyValues {
    pub(super) groups: Vec<u32>,
    pub(super) values: Vec<ArrayRef>,
    pub(super) counts: Vec<i64>,
    pub(super) deleted: Vec<bool>,
}

/// The values of some groups, one group after the other, each value once.
pub(super) struct GroupValues {
    /// The columns of the values.
    pub(super) columns: Vec<ArrayRef>,
    /// How often each is there; more than 0.
    pub(super) counts: Vec<i64>,
    /// Where each group ends.
    pub(super) ends: Vec<usize>,
}

/// The values of all groups with their counts.
pub(super) struct Multiset {
    index: KeyIndex,
    entries: Vec<Entry>,
    chains: Vec<Chain>,
    /// The order in which extremums are asked for.
    order: Option<Order>,
    /// The values in order, of the groups that need it.
    ordered: HashMap<u32, BTreeSet<(Vec<Ranked>, u32)>, foldhash::fast::FixedState>,
    /// Entries whose count became 0 in this epoch; some may have come back.
    zeroed: Vec<u32>,
    dirty: Vec<u32>,
    /// Values whose count is not 0, over all groups.
    values: usize,
    hashes: Vec<u64>,
    /// Which extremums are asked for.
    wants_min: bool,
    wants_max: bool,
    /// Whether all values of a group will be asked for.
    wants_all: bool,
    /// Values looked at beyond those that changed.
    visited: u64,
    /// The values of a group must be found for another reason.
    chained: bool,
}

impl Multiset {
    /// Over values of these columns.
    pub(super) fn new<'a>(value: impl Iterator<Item = &'a DataType>) -> Result<Self> {
        let group = Field::new("group", DataType::UInt32, false);
        let value = value.enumerate().map(|(at, value)| Field::new(format!("value{at}"), value.clone(), true));
        Ok(Self {
            index: KeyIndex::new(&Schema::new(std::iter::once(group).chain(value).collect::<Vec<_>>()))?,
            entries: Vec::new(),
            chains: Vec::new(),
            order: None,
            ordered: HashMap::default(),
            zeroed: Vec::new(),
            dirty: Vec::new(),
            values: 0,
            hashes: Vec::new(),
            wants_min: false,
            wants_max: false,
            wants_all: false,
            visited: 0,
            chained: false,
        })
    }

    /// Says, before there is any value, that an extremum in some order of the values' columns will be asked for.
    pub(super) fn want(&mut self, end: End, order: &Order) {
        self.order = Some(order.moved(1));
        match end {
            End::Min => self.wants_min = true,
            End::Max => self.wants_max = true,
        }
    }

    /// Whether extremums in this order can be asked for, or could.
    pub(super) fn suits(&self, order: &Order) -> bool {
        self.order.as_ref().is_none_or(|own| *own == order.moved(1))
    }

    /// Says, before there is any value, that all values of groups will be asked for.
    pub(super) fn want_all(&mut self) {
        self.wants_all = true;
    }

    /// How many values were looked at beyond those that changed.
    pub(super) fn visited(&self) -> u64 {
        self.visited
    }

    /// Number of columns of a value.
    pub(super) fn width(&self) -> usize {
        self.index.keys().schema().fields().len() - 1
    }

    /// Keeps the values of each group in a chain from now on, for groups that are dropped whole.
    pub(super) fn chain_all(&mut self) {
        if self.is_chained() {
            return;
        }
        self.chained = true;
        for slot in 0..self.entries.len() as u32 {
            let entry = self.entries[slot as usize];
            if entry.flags & HELD != 0 && entry.count > 0 {
                self.enter(slot);
            }
        }
    }

    /// Whether all values of a group are in its chain: none was taken back before it came.
    pub(super) fn can_drop(&self, group: u32) -> bool {
        let mut slot = self.chains[group as usize].head;
        let mut found = 0;
        while slot != NO_SLOT {
            slot = self.entries[slot as usize].next;
            found += 1;
        }
        found == self.chains[group as usize].values
    }

    /// Forgets the values of a group, which are then gone at the next checkpoint.
    pub(super) fn drop_values(&mut self, group: u32) {
        let mut slot = self.chains[group as usize].head;
        while slot != NO_SLOT {
            let next = self.entries[slot as usize].next;
            self.set(slot, 0);
            let flags = &mut self.entries[slot as usize].flags;
            if *flags & DIRTY == 0 {
                *flags |= DIRTY;
                self.dirty.push(slot);
            }
            slot = next;
        }
    }

    /// Makes room for group slots below `groups`.
    pub(super) fn resize(&mut self, groups: usize) {
        if groups > self.chains.len() {
            self.chains.resize(groups, EMPTY);
        }
    }

    /// Number of values held.
    pub(super) fn len(&self) -> usize {
        self.values
    }

    /// Estimate of the memory held, in bytes. Of the orders only that there are any counts: to know more would be to look at each.
    pub(super) fn bytes(&self) -> usize {
        let ordered = self.ordered.capacity() * size_of::<BTreeSet<(Vec<Ranked>, u32)>>();
        self.index.bytes() + vec_bytes(&self.entries) + vec_bytes(&self.chains) + ordered
    }

    /// Whether a group has no value.
    pub(super) fn is_empty(&self, group: u32) -> bool {
        self.chains[group as usize].values == 0
    }

    /// Counts the rows of a batch; says which values entered and left.
    pub(super) fn update(&mut self, groups: &[u32], values: &[ArrayRef], feed: &Feed<'_>) -> Result<Deltas> {
        let view = self.view(groups, values)?;
        let mut deltas = Deltas::default();
        let hashes = std::mem::take(&mut self.hashes);
        feed.each(groups.len(), |row, weight| {
            let entry = self.entry(hashes[row], &view, row, groups[row]);
            let delta = self.set(entry, self.entries[entry as usize].count + weight);
            if delta != 0 {
                deltas.rows.push(row as u32);
                deltas.deltas.push(delta);
            }
            let flags = &mut self.entries[entry as usize].flags;
            if *flags & DIRTY == 0 {
                *flags |= DIRTY;
                self.dirty.push(entry);
            }
        });
        self.hashes = hashes;
        Ok(deltas)
    }

    /// Whether the values of a group are kept in order.
    #[cfg(test)]
    pub(super) fn is_ordered(&self, group: u32) -> bool {
        self.ordered.contains_key(&group)
    }

    /// The epoch is over: frees values that are gone.
    pub(super) fn settle(&mut self) {
        for entry in std::mem::take(&mut self.zeroed) {
            let Entry { count, flags, .. } = self.entries[entry as usize];
            if count == 0 && flags & (HELD | DURABLE) == HELD {
                self.free(entry);
            }
        }
    }

    /// Forgets what is kept about a group without values.
    pub(super) fn clear(&mut self, group: u32) {
        debug_assert!(self.is_empty(group));
        self.chains[group as usize] = EMPTY;
        self.ordered.remove(&group);
    }

    /// A column of the extremum, one that is wanted, of each of the given groups; NULL where there is no value.
    pub(super) fn extremums(&mut self, end: End, groups: &[u32], column: usize) -> Result<ArrayRef> {
        let slots = groups.iter().map(|group| self.extremum(end, *group)).collect::<Result<Vec<_>>>()?;
        self.index.keys().gather_column(column + 1, &slots)
    }

    /// All values of the given groups, which somebody wants.
    pub(super) fn all(&mut self, groups: &[u32]) -> Result<GroupValues> {
        let (mut slots, mut counts, mut ends) = (Vec::new(), Vec::new(), Vec::with_capacity(groups.len()));
        for group in groups {
            let mut slot = self.chains[*group as usize].head;
            while slot != NO_SLOT {
                let entry = self.entries[slot as usize];
                slots.push(slot);
                counts.push(entry.count);
                slot = entry.next;
            }
            ends.push(slots.len());
        }
        self.visited += slots.len() as u64;
        let columns = (1..=self.width()).map(|column| self.index.keys().gather_column(column, &slots));
        Ok(GroupValues { columns: columns.collect::<Result<_>>()?, counts, ends })
    }

    /// What changed since the last checkpoint; it is now durable.
    pub(super) fn take_dirty(&mut self) -> Result<DirtyValues> {
        let mut slots = Vec::new();
        for slot in std::mem::take(&mut self.dirty) {
            let entry = &mut self.entries[slot as usize];
            // Without the flag: freed since, or in the list a second time.
            if entry.flags & DIRTY != 0 {
                entry.flags = entry.flags & !DIRTY | DURABLE;
                slots.push(slot);
            }
        }
        let counts: Vec<i64> = slots.iter().map(|slot| self.entries[*slot as usize].count).collect();
        let dirty = DirtyValues {
            groups: slots.iter().map(|slot| self.entries[*slot as usize].group).collect(),
            values: self.index.keys().gather(&slots)?.split_off(1),
            deleted: counts.iter().map(|count| *count == 0).collect(),
            counts,
        };
        slots.into_iter().zip(&dirty.deleted).filter(|(_, deleted)| **deleted).for_each(|(slot, _)| self.free(slot));
        Ok(dirty)
    }

    /// Puts back checkpointed counts (0: deleted).
    pub(super) fn restore(
        &mut self,
        groups: &[u32],
        values: &[ArrayRef],
        counts: impl Iterator<Item = i64>,
    ) -> Result<()> {
        let view = self.view(groups, values)?;
        let hashes = std::mem::take(&mut self.hashes);
        for ((row, group), count) in groups.iter().enumerate().zip(counts) {
            let entry = self.entry(hashes[row], &view, row, *group);
            self.set(entry, count);
            self.entries[entry as usize].flags = if count == 0 { HELD } else { HELD | DURABLE };
            if count == 0 {
                self.zeroed.push(entry);
            }
        }
        self.hashes = hashes;
        Ok(())
    }

    fn view(&mut self, groups: &[u32], values: &[ArrayRef]) -> Result<RowView> {
        let group: ArrayRef = Arc::new(UInt32Array::from(groups.to_vec()));
        let columns: Vec<ArrayRef> = std::iter::once(group).chain(values.iter().map(canonical)).collect();
        let view = self.index.view(&columns)?;
        self.index.keys().hash(&columns, &view, groups.len(), &mut self.hashes)?;
        Ok(view)
    }

    fn entry(&mut self, hash: u64, view: &RowView, row: usize, group: u32) -> u32 {
        let (slot, new) = self.index.insert_row(hash, view, row);
        if new {
            let entry = Entry { group, flags: HELD, ..FREE };
            match self.entries.get_mut(slot as usize) {
                Some(free) => *free = entry,
                None => self.entries.push(entry),
            }
        }
        slot
    }

    fn free(&mut self, slot: u32) {
        self.entries[slot as usize] = FREE;
        self.index.remove(slot);
    }

    /// Sets a count. 1 if the value thereby enters the set, -1 if it leaves it.
    fn set(&mut self, slot: u32, count: i64) -> i64 {
        let entry = &mut self.entries[slot as usize];
        let before = std::mem::replace(&mut entry.count, count);
        let group = entry.group as usize;
        match (before == 0, count == 0) {
            (true, false) => {
                self.chains[group].values += 1;
                self.values += 1;
            }
            (false, true) => {
                self.chains[group].values -= 1;
                self.values -= 1;
                self.zeroed.push(slot);
            }
            _ => {}
        }
        match (before > 0, count > 0) {
            (false, true) if self.is_chained() => self.enter(slot),
            (true, false) if self.is_chained() => self.leave(slot),
            (false, true) | (true, false) => {}
            _ => return 0,
        }
        if count > 0 { 1 } else { -1 }
    }

    fn is_chained(&self) -> bool {
        self.wants_min || self.wants_max || self.wants_all || self.chained
    }

    fn enter(&mut self, slot: u32) {
        let group = self.entries[slot as usize].group;
        let Chain { head, min, max, debt, .. } = self.chains[group as usize];
        self.entries[slot as usize].next = head;
        self.entries[slot as usize].previous = NO_SLOT;
        if head != NO_SLOT {
            self.entries[head as usize].previous = slot;
        }
        self.chains[group as usize].head = slot;
        self.chains[group as usize].debt = debt.saturating_sub(EARNED);
        if self.wants_min && (min == NO_SLOT || min != LOST && self.beats(End::Min, slot, min)) {
            self.chains[group as usize].min = slot;
        }
        if self.wants_max && (max == NO_SLOT || max != LOST && self.beats(End::Max, slot, max)) {
            self.chains[group as usize].max = slot;
        }
        if !self.ordered.is_empty()
            && let Some(values) = self.ordered.get_mut(&group)
        {
            values.extend(self.order.as_ref().map(|order| (order.key(self.index.keys(), slot), slot)));
        }
    }

    fn leave(&mut self, slot: u32) {
        let Entry { group, next, previous, .. } = self.entries[slot as usize];
        if next != NO_SLOT {
            self.entries[next as usize].previous = previous;
        }
        let chain = &mut self.chains[group as usize];
        match previous {
            NO_SLOT => chain.head = next,
            previous => self.entries[previous as usize].next = next,
        }
        chain.debt = chain.debt.saturating_sub(EARNED);
        let empty = chain.head == NO_SLOT;
        for best in [&mut chain.min, &mut chain.max] {
            if empty {
                *best = NO_SLOT;
            } else if *best == slot {
                *best = LOST;
            }
        }
        if !self.ordered.is_empty()
            && let Some(values) = self.ordered.get_mut(&group)
            && let Some(order) = &self.order
        {
            values.remove(&(order.key(self.index.keys(), slot), slot));
        }
    }

    fn beats(&self, end: End, slot: u32, other: u32) -> bool {
        self.order.as_ref().is_some_and(|order| end.beats(order.cmp(self.index.keys(), slot, other)))
    }

    fn extremum(&mut self, end: End, group: u32) -> Result<u32> {
        let chain = self.chains[group as usize];
        let known = if end == End::Min { chain.min } else { chain.max };
        if known != LOST {
            return Ok(known);
        }
        let found = match self.ordered.get(&group) {
            Some(values) if end == End::Min => values.first().map_or(NO_SLOT, |(_, slot)| *slot),
            Some(values) => values.last().map_or(NO_SLOT, |(_, slot)| *slot),
            None => self.search(end, group)?,
        };
        let chain = &mut self.chains[group as usize];
        match end {
            End::Min => chain.min = found,
            End::Max => chain.max = found,
        }
        Ok(found)
    }

    /// The extremum by looking through the chain.
    fn search(&mut self, end: End, group: u32) -> Result<u32> {
        let mut best = NO_SLOT;
        let mut slot = self.chains[group as usize].head;
        let mut steps = 0_u32;
        while slot != NO_SLOT {
            if best == NO_SLOT || self.beats(end, slot, best) {
                best = slot;
            }
            slot = self.entries[slot as usize].next;
            steps += 1;
        }
        self.visited += u64::from(steps);
        let debt = &mut self.chains[group as usize].debt;
        *debt = debt.saturating_add(steps);
        if *debt > OVERDRAWN {
            self.put_in_order(group)?;
        }
        Ok(best)
    }

    fn put_in_order(&mut self, group: u32) -> Result<()> {
        let order = self.order.as_ref().ok_or_else(|| Error::internal("an extremum in no order was asked for"))?;
        let mut values = BTreeSet::new();
        let mut slot = self.chains[group as usize].head;
        while slot != NO_SLOT {
            values.insert((order.key(self.index.keys(), slot), slot));
            slot = self.entries[slot as usize].next;
        }
        self.ordered.insert(group, values);
        Ok(())
    }
}
