//! One side of an ASOF join: its rows as a multiset, each with the number of its join key.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

use crate::change::{Changes, WEIGHT_COLUMN};
use crate::error::Result;
use crate::hash::vnode;
use crate::operator::ledger::{Ledger, damaged};
use crate::operator::{StateDelta, StateTable, columns};
use crate::rows::{KeyIndex, NO_SLOT, RowStore, vec_bytes};

const FREE: Slot = Slot { weight: 0, key: NO_SLOT };

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// How often the row is there.
    weight: i64,
    /// Its join key's number; `NO_SLOT` if no row is here.
    key: u32,
}

/// The rows of one side.
#[derive(Debug)]
pub(super) struct Side {
    schema: SchemaRef,
    state_schema: SchemaRef,
    rows: KeyIndex,
    slots: Vec<Slot>,
    /// Rows by key: how many have it.
    uses: Vec<u32>,
    /// Rows that changed in this epoch, with their weight before.
    touched: HashMap<u32, i64, foldhash::fast::FixedState>,
    ledger: Ledger,
}

impl Side {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        Ok(Self {
            schema: schema.clone(),
            state_schema: columns::state_schema(
                &[("__row", DataType::UInt64)],
                schema.fields(),
                &[(WEIGHT_COLUMN, DataType::Int64)],
            ),
            rows: KeyIndex::new(schema)?,
            slots: Vec::new(),
            uses: Vec::new(),
            touched: HashMap::default(),
            ledger: Ledger::default(),
        })
    }

    pub(super) fn table(&self, name: &'static str) -> StateTable {
        StateTable { name, schema: self.state_schema.clone(), key_len: 1 }
    }

    pub(super) fn rows(&self) -> &RowStore {
        self.rows.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Estimate of the memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + vec_bytes(&self.slots) + vec_bytes(&self.uses) + self.ledger.bytes()
    }

    pub(super) fn key(&self, slot: u32) -> u32 {
        self.slots[slot as usize].key
    }

    /// Whether any row has the key.
    pub(super) fn uses(&self, key: u32) -> bool {
        self.uses.get(key as usize).is_some_and(|rows| *rows > 0)
    }

    /// All rows.
    pub(super) fn rows_there(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.slots.len() as u32).filter(|slot| self.slots[*slot as usize].key != NO_SLOT)
    }

    /// A row's weight before the epoch and now.
    pub(super) fn weights(&self, slot: u32) -> (i64, i64) {
        let now = self.slots[slot as usize].weight;
        (self.touched.get(&slot).copied().unwrap_or(now), now)
    }

    /// Rows that changed in this epoch, in order: slot, weight before, weight now.
    pub(super) fn changed(&self) -> impl Iterator<Item = (u32, i64, i64)> + use<> {
        let mut changed = self.touched.keys().map(|slot| (*slot, self.weights(*slot))).collect::<Vec<_>>();
        changed.sort_unstable();
        changed.into_iter().map(|(slot, (before, now))| (slot, before, now))
    }

    /// Takes changes whose keys have these numbers.
    pub(super) fn apply(&mut self, changes: &Changes, key_slots: &[u32], keys: &KeyIndex) -> Result<()> {
        self.ledger.start();
        let slots = self.place(changes.rows().columns(), key_slots, keys)?;
        for (row, slot) in slots.into_iter().enumerate() {
            let record = &mut self.slots[slot as usize];
            self.touched.entry(slot).or_insert(record.weight);
            record.weight += changes.weight(row);
        }
        Ok(())
    }

    /// The slot of each row; new rows are stored with weight 0.
    fn place(&mut self, arrays: &[ArrayRef], key_slots: &[u32], keys: &KeyIndex) -> Result<Vec<u32>> {
        let view = self.rows.view(arrays)?;
        let (mut hashes, mut slots) = (Vec::new(), Vec::new());
        self.rows.keys().hash(arrays, &view, key_slots.len(), &mut hashes)?;
        self.rows.find_or_insert(&hashes, arrays, &mut slots, |_, _| {})?;
        self.slots.resize(self.rows.slots().max(self.slots.len()), FREE);
        for (slot, key) in slots.iter().zip(key_slots) {
            if self.slots[*slot as usize].key == NO_SLOT {
                self.slots[*slot as usize] = Slot { weight: 0, key: *key };
                self.uses.resize((*key as usize + 1).max(self.uses.len()), 0);
                self.uses[*key as usize] += 1;
                self.ledger.add(*slot, vnode(keys.hash(*key)));
            }
        }
        Ok(slots)
    }

    /// Forgets touched rows whose weight is what it was; keys of rows that were never there go to `loose`.
    pub(super) fn settle(&mut self, loose: &mut Vec<u32>) {
        self.ledger.start();
        let unchanged = self.changed().filter(|(_, before, now)| before == now).collect::<Vec<_>>();
        for (slot, before, _) in unchanged {
            self.touched.remove(&slot);
            if before == 0 {
                loose.push(self.remove(slot));
            }
        }
    }

    /// Ends the epoch: rows of weight 0 go, and their keys go to `loose`; the others are noted for the checkpoint.
    pub(super) fn retire(&mut self, loose: &mut Vec<u32>) {
        let changed = self.changed();
        self.touched.clear();
        for (slot, _, now) in changed {
            if now == 0 {
                loose.push(self.remove(slot));
            } else {
                self.ledger.change(slot);
            }
        }
    }

    /// Forgets a row; gives its key.
    pub(super) fn remove(&mut self, slot: u32) -> u32 {
        self.ledger.remove(slot);
        self.unlink(slot)
    }

    fn unlink(&mut self, slot: u32) -> u32 {
        let record = std::mem::replace(&mut self.slots[slot as usize], FREE);
        self.uses[record.key as usize] -= 1;
        self.rows.remove(slot);
        record.key
    }

    /// What changed since the last checkpoint: what is gone, then what is there.
    pub(super) fn checkpoint(&mut self, table: usize, deltas: &mut Vec<StateDelta>) -> Result<()> {
        deltas.extend(self.ledger.deletions(table, &self.state_schema)?);
        let slots = self.ledger.take_changed();
        deltas.extend(self.ledger.changes(table, &self.state_schema, &slots, |slots| {
            let mut arrays = self.rows.keys().gather(slots)?;
            let weights = slots.iter().map(|slot| self.slots[*slot as usize].weight);
            arrays.push(Arc::new(Int64Array::from_iter_values(weights)));
            Ok(arrays)
        })?);
        Ok(())
    }

    /// Removes what a delta deletes; gives the rest of it.
    pub(super) fn restore_deleted(&mut self, delta: StateDelta, loose: &mut Vec<u32>) -> Result<StateDelta> {
        let (deleted, delta) = self.ledger.restore(&self.state_schema, delta)?;
        loose.extend(deleted.into_iter().map(|slot| self.unlink(slot)));
        Ok(delta)
    }

    /// The rows of a delta.
    pub(super) fn restored_rows(&self, delta: &StateDelta) -> Result<RecordBatch> {
        let arrays = delta.rows.columns()[1..=self.schema.fields().len()].to_vec();
        let fields = delta.rows.schema().fields()[1..=self.schema.fields().len()].to_vec();
        columns::batch(&Arc::new(arrow::datatypes::Schema::new(fields)), arrays, delta.rows.num_rows())
    }

    /// Puts back rows of a delta that deletes nothing. A row's number stays its own while it is there.
    pub(super) fn restore(
        &mut self,
        delta: &StateDelta,
        rows: &RecordBatch,
        key_slots: &[u32],
        keys: &KeyIndex,
    ) -> Result<()> {
        let weights = delta.rows.column(1 + self.schema.fields().len());
        let weights = weights.as_primitive_opt::<Int64Type>().ok_or_else(|| damaged(&delta.rows))?.values().clone();
        let slots = self.place(rows.columns(), key_slots, keys)?;
        self.ledger.adopt(delta, &slots)?;
        for (slot, weight) in slots.iter().zip(weights.iter()) {
            self.slots[*slot as usize].weight = *weight;
        }
        Ok(())
    }
}
