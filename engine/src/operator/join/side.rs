//! One side of a join: its rows in a row store, a fixed-width record beside each, and chains of rows with equal keys.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::output::Layout;
use crate::change::{Changes, WEIGHT_COLUMN};
use crate::error::Result;
use crate::hash::vnode;
use crate::operator::ledger::Ledger;
use crate::operator::{StateTable, columns};
use crate::rows::{KeyIndex, NO_SLOT, RowStore, vec_bytes};

/// How a change finds the row that it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// It does not: every change is a new row.
    Append,
    /// Along the chain of its key, which is short.
    Chain,
    /// By an index over whole rows.
    Index,
}

/// What is known of a row beside its columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// How often the row is there.
    pub weight: i64,
    /// Its join key's number; `NO_SLOT` if no row is here.
    pub key: u32,
    /// Neighbours in the chain of rows with the same key.
    pub next: u32,
    prev: u32,
    /// Its place in the list of touched rows.
    mark: u32,
    /// Rows of the other side that it matches, where these are counted.
    pub partners: u32,
}

const FREE: Slot = Slot { weight: 0, key: NO_SLOT, next: NO_SLOT, prev: NO_SLOT, mark: NO_SLOT, partners: 0 };

/// How often a row is there and how many partners it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub weight: i64,
    pub partners: u32,
}

#[derive(Debug)]
enum Rows {
    Plain(RowStore),
    /// The rows and, as their last column, the number of the join key.
    Indexed(KeyIndex),
}

/// One side's state.
#[derive(Debug)]
pub(super) struct Side {
    identity: Identity,
    pub(super) counts: bool,
    rows: Rows,
    pub(super) key_columns: usize,
    pub(super) rest_columns: usize,
    pub(super) state_schema: SchemaRef,
    pub(super) slots: Vec<Slot>,
    /// First row of each key's chain.
    heads: Vec<u32>,
    /// Rows that changed in this epoch, with what they were before.
    touched: Vec<(u32, Standing)>,
    pub(super) ledger: Ledger,
    /// Vnodes of the rows that are about to be placed, where these do not follow from the key.
    pub(super) vnodes: Vec<u8>,
    hashes: Vec<u64>,
    found: Vec<u32>,
}

impl Side {
    pub(super) fn new(layout: &Layout, side: usize, identity: Identity, counts: bool) -> Result<Self> {
        let mut fields = layout.rest_fields(side);
        let rest_columns = fields.len();
        let rows = match identity {
            Identity::Append | Identity::Chain => Rows::Plain(RowStore::new(&Schema::new(fields))?),
            Identity::Index => {
                fields.push(Arc::new(Field::new("key", DataType::UInt32, false)));
                Rows::Indexed(KeyIndex::new(&Schema::new(fields))?)
            }
        };
        let mut extra = vec![(WEIGHT_COLUMN, DataType::Int64)];
        if counts {
            extra.push(("__partners", DataType::Int64));
        }
        let state_schema =
            columns::state_schema(&[("__row", DataType::UInt64)], layout.stored_schema[side].fields(), &extra);
        Ok(Self {
            identity,
            counts,
            rows,
            key_columns: layout.key_schema.fields().len(),
            rest_columns,
            state_schema,
            slots: Vec::new(),
            heads: Vec::new(),
            touched: Vec::new(),
            ledger: Ledger::default(),
            vnodes: Vec::new(),
            hashes: Vec::new(),
            found: Vec::new(),
        })
    }

    pub(super) fn table(&self, name: &'static str) -> StateTable {
        StateTable { name, schema: self.state_schema.clone(), key_len: 1 }
    }

    fn store(&self) -> &RowStore {
        match &self.rows {
            Rows::Plain(rows) => rows,
            Rows::Indexed(index) => index.keys(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.store().len()
    }

    /// Estimate of the memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let rows = match &self.rows {
            Rows::Plain(rows) => rows.bytes(),
            Rows::Indexed(index) => index.bytes(),
        };
        rows + vec_bytes(&self.slots) + vec_bytes(&self.heads) + vec_bytes(&self.touched) + self.ledger.bytes()
    }

    #[inline]
    pub(super) fn slot(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    /// First row of a key's chain, or [`NO_SLOT`].
    #[inline]
    pub(super) fn head(&self, key: u32) -> u32 {
        self.heads[key as usize]
    }

    /// Makes room for keys below `keys`.
    pub(super) fn reserve_keys(&mut self, keys: usize) {
        if keys > self.heads.len() {
            self.heads.resize(keys, NO_SLOT);
        }
    }

    /// A column beside the key.
    pub(super) fn gather(&self, column: usize, slots: &[u32]) -> Result<ArrayRef> {
        self.store().gather_column(column, slots)
    }

    pub(super) fn keys_of(&self, slots: &[u32]) -> Vec<u32> {
        slots.iter().map(|slot| self.slots[*slot as usize].key).collect()
    }

    /// A row's weight now and before the epoch.
    #[inline]
    pub(super) fn weights(&self, slot: u32) -> (i64, i64) {
        let record = &self.slots[slot as usize];
        let before = if record.mark == NO_SLOT { record.weight } else { self.touched[record.mark as usize].1.weight };
        (record.weight, before)
    }

    /// Takes changes: columns beside the key, and the key's number, of each row.
    pub(super) fn apply(
        &mut self,
        rest: &[ArrayRef],
        key_slots: &[u32],
        keys: &KeyIndex,
        changes: &Changes,
    ) -> Result<()> {
        self.ledger.start();
        let mut found = std::mem::take(&mut self.found);
        self.place(rest, key_slots, keys, &mut found)?;
        self.vnodes.clear();
        for (row, slot) in found.iter().enumerate() {
            self.touch(*slot);
            self.slots[*slot as usize].weight += changes.weight(row);
        }
        self.found = found;
        Ok(())
    }

    /// The slot of each row; new rows are stored and chained, with weight 0.
    pub(super) fn place(
        &mut self,
        rest: &[ArrayRef],
        key_slots: &[u32],
        keys: &KeyIndex,
        found: &mut Vec<u32>,
    ) -> Result<()> {
        found.clear();
        match (&mut self.rows, self.identity) {
            (Rows::Indexed(index), _) => {
                let mut columns = rest.to_vec();
                columns.push(Arc::new(UInt32Array::from(key_slots.to_vec())));
                let view = index.view(&columns)?;
                index.keys().hash(&columns, &view, key_slots.len(), &mut self.hashes)?;
                index.find_or_insert(&self.hashes, &columns, found, |_, _| {})?;
            }
            (Rows::Plain(rows), Identity::Append) => {
                let view = rows.view(rest)?;
                rows.append(&view, &(0..key_slots.len() as u32).collect::<Vec<_>>(), found);
            }
            (Rows::Plain(_), _) => return self.place_by_chain(rest, key_slots, keys, found),
        }
        for (row, (slot, key)) in found.iter().zip(key_slots).enumerate() {
            if self.slots.get(*slot as usize).is_none_or(|record| record.key == NO_SLOT) {
                self.link(*slot, *key, self.vnode_of(row, *key, keys));
            }
        }
        Ok(())
    }

    fn vnode_of(&self, row: usize, key: u32, keys: &KeyIndex) -> u8 {
        self.vnodes.get(row).copied().unwrap_or_else(|| vnode(keys.hash(key)))
    }

    fn place_by_chain(
        &mut self,
        rest: &[ArrayRef],
        key_slots: &[u32],
        keys: &KeyIndex,
        found: &mut Vec<u32>,
    ) -> Result<()> {
        let view = self.store().view(rest)?;
        for (row, key) in key_slots.iter().enumerate() {
            let mut slot = self.heads[*key as usize];
            while slot != NO_SLOT && !self.store().eq(slot, &view, row) {
                slot = self.slots[slot as usize].next;
            }
            if slot == NO_SLOT
                && let Rows::Plain(rows) = &mut self.rows
            {
                slot = rows.push(&view, row);
                self.link(slot, *key, self.vnode_of(row, *key, keys));
            }
            found.push(slot);
        }
        Ok(())
    }

    /// Puts a new row at the front of its key's chain.
    fn link(&mut self, slot: u32, key: u32, vnode: u8) {
        if slot as usize >= self.slots.len() {
            self.slots.resize(slot as usize + 1, FREE);
        }
        let next = std::mem::replace(&mut self.heads[key as usize], slot);
        self.slots[slot as usize] = Slot { key, next, ..FREE };
        if next != NO_SLOT {
            self.slots[next as usize].prev = slot;
        }
        self.ledger.add(slot, vnode);
    }

    fn touch(&mut self, slot: u32) {
        let record = &mut self.slots[slot as usize];
        if record.mark == NO_SLOT {
            record.mark = self.touched.len() as u32;
            self.touched.push((slot, Standing { weight: record.weight, partners: record.partners }));
        }
    }

    /// Forgets touched rows whose weight is what it was; keys of rows that were never there go to `loose`.
    pub(super) fn settle(&mut self, loose: &mut Vec<u32>) {
        self.ledger.start();
        let mut touched = std::mem::take(&mut self.touched);
        touched.retain(|(slot, before)| {
            let record = &mut self.slots[*slot as usize];
            record.mark = NO_SLOT;
            let changed = record.weight != before.weight;
            if !changed && before.weight == 0 {
                loose.push(self.remove(*slot));
            }
            changed
        });
        for (mark, (slot, _)) in touched.iter().enumerate() {
            self.slots[*slot as usize].mark = mark as u32;
        }
        self.touched = touched;
    }

    /// Number of rows whose weight changed: the first so many that are touched, once settled.
    pub(super) fn changed(&self) -> usize {
        self.touched.len()
    }

    pub(super) fn touched_slot(&self, at: usize) -> u32 {
        self.touched[at].0
    }

    /// Slot, standing before the epoch, standing now, of every touched row.
    pub(super) fn touched(&self) -> impl Iterator<Item = (u32, Standing, Standing)> + '_ {
        self.touched.iter().map(|(slot, before)| {
            let record = &self.slots[*slot as usize];
            (*slot, *before, Standing { weight: record.weight, partners: record.partners })
        })
    }

    /// A row gains (1) or loses (-1) a partner.
    pub(super) fn gain_partners(&mut self, slot: u32, gained: i8) {
        self.touch(slot);
        let record = &mut self.slots[slot as usize];
        record.partners = record.partners.wrapping_add_signed(i32::from(gained));
    }

    /// Ends the epoch: rows of weight 0 go, and their keys go to `loose`; the others are noted for the checkpoint.
    pub(super) fn retire(&mut self, loose: &mut Vec<u32>) {
        let mut touched = std::mem::take(&mut self.touched);
        for (slot, before) in touched.drain(..) {
            let record = &mut self.slots[slot as usize];
            record.mark = NO_SLOT;
            if record.weight == 0 {
                loose.push(self.remove(slot));
            } else if before != (Standing { weight: record.weight, partners: record.partners }) {
                self.ledger.change(slot);
            }
        }
        self.touched = touched;
    }

    /// Slots of all rows.
    pub(super) fn all(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|slot| self.slot(*slot).key != NO_SLOT).collect()
    }

    /// Removes a row; gives its key.
    pub(super) fn remove(&mut self, slot: u32) -> u32 {
        self.ledger.remove(slot);
        self.unlink(slot)
    }

    /// Takes a row out of its chain and the store; gives its key.
    pub(super) fn unlink(&mut self, slot: u32) -> u32 {
        let record = std::mem::replace(&mut self.slots[slot as usize], FREE);
        match record.prev {
            NO_SLOT => self.heads[record.key as usize] = record.next,
            prev => self.slots[prev as usize].next = record.next,
        }
        if record.next != NO_SLOT {
            self.slots[record.next as usize].prev = record.prev;
        }
        match &mut self.rows {
            Rows::Plain(rows) => rows.free(slot),
            Rows::Indexed(index) => index.remove(slot),
        }
        record.key
    }
}
