//! From a key to its slot: a hash table of slot numbers over a row store that holds the keys.
//!
//! The table holds only slots; the full hash of every key is kept beside, for growing, for cheap inequality and for the
//! vnode of a row at a checkpoint.

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use hashbrown::HashTable;

use super::view::{RowView, Values};
use super::{NO_SLOT, RowStore};
use crate::error::Result;

/// Keys in a row store, found by value. Slots are those of the store: dense, and used again after `remove`.
#[derive(Debug)]
pub struct KeyIndex {
    keys: RowStore,
    hashes: Vec<u64>,
    table: HashTable<u32>,
}

/// What the table is addressed by. Its tag is the highest 7 bits, which are nearly constant in an instance that
/// owns few vnodes: fold others into them.
#[inline(always)]
fn spread(hash: u64) -> u64 {
    hash ^ (hash << 8)
}

impl KeyIndex {
    /// An empty index over keys of this schema.
    ///
    /// # Errors
    /// As [`RowStore::new`].
    pub fn new(schema: &Schema) -> Result<Self> {
        Ok(Self { keys: RowStore::new(schema)?, hashes: Vec::new(), table: HashTable::new() })
    }

    /// The keys.
    pub fn keys(&self) -> &RowStore {
        &self.keys
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Every slot is below this.
    pub fn slots(&self) -> usize {
        self.keys.slots()
    }

    /// The hash under which a key was inserted.
    #[inline]
    pub fn hash(&self, slot: u32) -> u64 {
        self.hashes[slot as usize]
    }

    /// Slots of all keys, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.table.iter().copied()
    }

    /// Prepares a batch's key columns for [`KeyIndex::find_row`] and [`KeyIndex::insert_row`].
    pub fn view(&self, columns: &[ArrayRef]) -> Result<RowView> {
        self.keys.view(columns)
    }

    /// The slot of one row's key, if it is there.
    #[inline]
    pub fn find_row(&self, hash: u64, view: &RowView, row: usize) -> Option<u32> {
        let same = |slot: &u32| self.hashes[*slot as usize] == hash && self.keys.eq(*slot, view, row);
        self.table.find(spread(hash), same).copied()
    }

    /// The slot of one row's key, inserted if it was not there; and whether it was inserted.
    #[inline]
    pub fn insert_row(&mut self, hash: u64, view: &RowView, row: usize) -> (u32, bool) {
        match self.find_row(hash, view, row) {
            Some(slot) => (slot, false),
            None => (self.add(hash, view, row), true),
        }
    }

    /// The slot of every row's key, [`NO_SLOT`] where it is not there; `slots` is replaced.
    pub fn find(&self, hashes: &[u64], columns: &[ArrayRef], slots: &mut Vec<u32>) -> Result<()> {
        let view = self.view(columns)?;
        slots.clear();
        if let (Some(own), Some(seen)) = (self.plain(), plain_view(&view)) {
            slots.extend(hashes.iter().zip(seen).map(|(hash, key)| {
                self.table.find(spread(*hash), |slot| own[*slot as usize] == *key).copied().unwrap_or(NO_SLOT)
            }));
            return Ok(());
        }
        let rows = hashes.iter().enumerate();
        slots.extend(rows.map(|(row, hash)| self.find_row(*hash, &view, row).unwrap_or(NO_SLOT)));
        Ok(())
    }

    /// The slot of every row's key, inserting the new ones; `slots` is replaced. `new(slot, row)` is called for each
    /// inserted key, in the order of rows.
    pub fn find_or_insert(
        &mut self,
        hashes: &[u64],
        columns: &[ArrayRef],
        slots: &mut Vec<u32>,
        mut new: impl FnMut(u32, usize),
    ) -> Result<()> {
        let view = self.view(columns)?;
        slots.clear();
        slots.reserve(hashes.len());
        let seen = plain_view(&view).filter(|_| self.plain().is_some());
        for (row, hash) in hashes.iter().enumerate() {
            let found = match (seen, self.plain()) {
                (Some(seen), Some(own)) => {
                    let key = seen[row];
                    self.table.find(spread(*hash), |slot| own[*slot as usize] == key).copied()
                }
                _ => self.find_row(*hash, &view, row),
            };
            let slot = found.unwrap_or_else(|| {
                let slot = self.add(*hash, &view, row);
                new(slot, row);
                slot
            });
            slots.push(slot);
        }
        Ok(())
    }

    /// Removes a key; its slot will be used again.
    ///
    /// # Contract
    /// The slot holds a key.
    pub fn remove(&mut self, slot: u32) {
        let hash = spread(self.hashes[slot as usize]);
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == slot) {
            entry.remove();
            self.keys.free(slot);
        }
    }

    /// Estimate of the memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.hashes.capacity() * 8 + self.table.allocation_size()
    }

    fn add(&mut self, hash: u64, view: &RowView, row: usize) -> u32 {
        let slot = self.keys.push(view, row);
        let at = slot as usize;
        if at >= self.hashes.len() {
            self.hashes.resize(at + 1, 0);
        }
        self.hashes[at] = hash;
        self.table.insert_unique(spread(hash), slot, |slot| spread(self.hashes[*slot as usize]));
        slot
    }

    fn plain(&self) -> Option<&[i64]> {
        match self.keys.columns.as_slice() {
            [column] => column.plain_i64(),
            _ => None,
        }
    }
}

fn plain_view(view: &RowView) -> Option<&[i64]> {
    match view.columns.as_slice() {
        [column] if column.nulls.is_none() => match &column.values {
            Values::I64(values) => Some(values),
            _ => None,
        },
        _ => None,
    }
}
