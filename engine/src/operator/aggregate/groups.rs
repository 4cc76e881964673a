//! The groups of an aggregate: from group key to dense slot, total weights, and which groups an epoch or checkpoint
//! has to look at.

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;

use super::accumulator::canonical;
use crate::change::Weights;
use crate::error::Result;
use crate::hash::{hash_columns, vnode};
use crate::rows::{KeyIndex, vec_bytes};

/// Received changes in this epoch.
const TOUCHED: u8 = 1;
/// Its row is in the sum of what was emitted.
const SHOWN: u8 = 2;
/// Changed since the last checkpoint.
const DIRTY: u8 = 4;
/// In the last checkpoint.
const DURABLE: u8 = 8;
/// Empty, and held only until the next checkpoint deletes it.
const ENDED: u8 = 16;

#[derive(Clone, Copy, Default)]
struct Group {
    weight: i64,
    flags: u8,
}

/// All groups. A group with weight 0 and nothing else kept for it does not exist.
pub(super) struct Groups {
    index: KeyIndex,
    groups: Vec<Group>,
    /// Groups touched in this epoch that were shown before, in order of first touch.
    touched: Vec<u32>,
    /// Groups touched in this epoch that were not shown before.
    fresh: Vec<u32>,
    dirty: Vec<u32>,
    ended: usize,
    hashes: Vec<u64>,
    /// A global aggregate's only group is there from the start and shown even without rows.
    global: bool,
    /// Group columns that decide the vnode; none named: all.
    routed_by: Option<Vec<usize>>,
}

/// The groups to look at when an epoch closes.
pub(super) struct Touched {
    /// Shown before.
    pub(super) shown: Vec<u32>,
    /// Not shown before.
    pub(super) fresh: Vec<u32>,
}

impl Groups {
    pub(super) fn new(key: &Schema, routed_by: Option<Vec<usize>>) -> Result<Self> {
        Ok(Self {
            index: KeyIndex::new(key)?,
            groups: Vec::new(),
            touched: Vec::new(),
            fresh: Vec::new(),
            dirty: Vec::new(),
            ended: 0,
            hashes: Vec::new(),
            global: key.fields().is_empty(),
            routed_by,
        })
    }

    /// Every group slot is below this.
    pub(super) fn slots(&self) -> usize {
        self.index.slots()
    }

    /// Estimate of the memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.index.bytes() + vec_bytes(&self.groups) + vec_bytes(&self.dirty)
    }

    /// Groups that hold something.
    pub(super) fn len(&self) -> usize {
        let empty_global = self.global && self.groups.first().is_some_and(|group| group.weight == 0);
        self.index.len() - self.ended - usize::from(empty_global && !self.index.is_empty())
    }

    /// The group slot of each row, made where there was none; `slots` is replaced.
    pub(super) fn resolve(&mut self, columns: &[ArrayRef], rows: usize, slots: &mut Vec<u32>) -> Result<()> {
        let columns: Vec<ArrayRef> = columns.iter().map(canonical).collect();
        hash_columns(&columns, rows, &mut self.hashes)?;
        self.index.find_or_insert(&self.hashes, &columns, slots, |_, _| ())?;
        if self.index.slots() > self.groups.len() {
            self.groups.resize(self.index.slots(), Group::default());
        }
        Ok(())
    }

    /// Marks groups as touched. Gives those, shown before, that this epoch touches for the first time: what they
    /// showed has to be remembered before anything changes.
    pub(super) fn touch(&mut self, slots: &[u32]) -> &[u32] {
        let before = self.touched.len();
        for slot in slots {
            let group = &mut self.groups[*slot as usize];
            if group.flags & (TOUCHED | DIRTY) == TOUCHED | DIRTY {
                continue;
            }
            if group.flags & TOUCHED == 0 {
                if group.flags & SHOWN != 0 {
                    self.touched.push(*slot);
                } else {
                    self.fresh.push(*slot);
                }
            }
            if group.flags & DIRTY == 0 {
                self.dirty.push(*slot);
            }
            group.flags |= TOUCHED | DIRTY;
            if group.flags & ENDED != 0 {
                group.flags &= !ENDED;
                self.ended -= 1;
            }
        }
        &self.touched[before..]
    }

    /// Adds the weight of each row to its group.
    pub(super) fn add(&mut self, slots: &[u32], weights: &Weights) {
        match weights {
            Weights::Ones => slots.iter().for_each(|slot| self.groups[*slot as usize].weight += 1),
            Weights::Each(weights) => {
                for (slot, weight) in slots.iter().zip(weights) {
                    self.groups[*slot as usize].weight += weight;
                }
            }
        }
    }

    pub(super) fn weight(&self, slot: u32) -> i64 {
        self.groups[slot as usize].weight
    }

    /// Whether the group has a row in the result.
    pub(super) fn visible(&self, slot: u32) -> bool {
        self.global || self.groups[slot as usize].weight > 0
    }

    /// The touched groups, which are then no longer so and count as shown if they are visible.
    pub(super) fn take_touched(&mut self) -> Touched {
        let touched = Touched { shown: std::mem::take(&mut self.touched), fresh: std::mem::take(&mut self.fresh) };
        for slot in touched.shown.iter().chain(&touched.fresh) {
            let visible = self.visible(*slot);
            let group = &mut self.groups[*slot as usize];
            group.flags &= !(TOUCHED | SHOWN);
            if visible {
                group.flags |= SHOWN;
            }
        }
        touched
    }

    /// Ends a group in which nothing is left, unless it is the global one. True: its slot is free now. False: it lives,
    /// or waits for the next checkpoint to delete it.
    pub(super) fn end(&mut self, slot: u32) -> bool {
        let group = &mut self.groups[slot as usize];
        if group.weight != 0 || self.global {
            return false;
        }
        if group.flags & DURABLE != 0 {
            if group.flags & ENDED == 0 {
                group.flags |= ENDED;
                self.ended += 1;
            }
            return false;
        }
        self.remove(slot);
        true
    }

    /// Whether there is a group in the slot that has not ended.
    pub(super) fn is_held(&self, slot: u32) -> bool {
        let flags = self.groups.get(slot as usize).map_or(0, |group| group.flags);
        flags & (DIRTY | DURABLE) != 0 && flags & ENDED == 0
    }

    /// Forgets a group whatever is in it. True: its slot is free now. False: it waits for the next checkpoint to delete it.
    pub(super) fn release(&mut self, slot: u32) -> bool {
        let group = &mut self.groups[slot as usize];
        group.weight = 0;
        if group.flags & (DURABLE | DIRTY) == DURABLE {
            group.flags |= DIRTY;
            self.dirty.push(slot);
        }
        self.groups[slot as usize].flags &= !SHOWN;
        self.end(slot)
    }

    /// One group column of the given groups.
    pub(super) fn key(&self, column: usize, slots: &[u32]) -> Result<ArrayRef> {
        self.index.keys().gather_column(column, slots)
    }

    fn remove(&mut self, slot: u32) {
        self.groups[slot as usize] = Group::default();
        self.index.remove(slot);
    }

    /// The groups that changed since the last checkpoint, and whether each was deleted. They are now durable.
    pub(super) fn take_dirty(&mut self) -> (Vec<u32>, Vec<bool>) {
        let (mut slots, mut deleted) = (Vec::new(), Vec::new());
        for slot in std::mem::take(&mut self.dirty) {
            let group = &mut self.groups[slot as usize];
            // Without the flag: freed since, or in the list a second time.
            if group.flags & DIRTY != 0 {
                group.flags = group.flags & !DIRTY | DURABLE;
                slots.push(slot);
                deleted.push(group.flags & ENDED != 0);
            }
        }
        (slots, deleted)
    }

    /// Frees a group whose deletion is checkpointed.
    pub(super) fn forget(&mut self, slot: u32) {
        self.ended -= 1;
        self.remove(slot);
    }

    /// Puts back a checkpointed group (`None`: deleted).
    pub(super) fn restore(&mut self, slot: u32, weight: Option<i64>) {
        let global = self.global;
        self.groups[slot as usize] = match weight {
            Some(weight) => Group { weight, flags: if weight > 0 || global { DURABLE | SHOWN } else { DURABLE } },
            None => Group::default(),
        };
    }

    /// All groups there are.
    pub(super) fn all(&self) -> Vec<u32> {
        self.index.iter().collect()
    }

    /// The group columns of the given groups.
    pub(super) fn keys(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.index.keys().gather(slots)
    }

    /// The vnode of each group: that of the group columns which its rows were routed by.
    pub(super) fn vnodes(&self, slots: &[u32]) -> Result<Vec<u8>> {
        let Some(columns) = &self.routed_by else {
            return Ok(slots.iter().map(|slot| vnode(self.index.hash(*slot))).collect());
        };
        let gathered = columns.iter().map(|column| self.index.keys().gather_column(*column, slots));
        let mut hashes = Vec::new();
        hash_columns(&gathered.collect::<Result<Vec<_>>>()?, slots.len(), &mut hashes)?;
        Ok(hashes.into_iter().map(vnode).collect())
    }
}
