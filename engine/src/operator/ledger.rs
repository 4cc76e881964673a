//! The book of rows that have no key of their own: gives each a number for its state table, and knows what a checkpoint
//! must write.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array, UInt64Array, new_null_array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, UInt64Type};
use hashbrown::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::operator::{StateDelta, columns};
use crate::rows::vec_bytes;

/// Rows of one delta: few enough that what is made of them on the way to the disk stays in memory that is used again.
const ROWS_PER_DELTA: usize = 16 * 1024;

const FREE: Entry = Entry { id: u64::MAX, vnode: 0, dirty: false };

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The row's key in the state table: unique within the vnode, never used again.
    id: u64,
    vnode: u8,
    /// It differs from the last checkpoint.
    dirty: bool,
}

/// Numbers and checkpoint marks of the rows of one state table, by slot.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
    dirty: Vec<u32>,
    /// Rows of the last checkpoint that are there no more: vnode and id.
    gone: Vec<(u8, u64)>,
    next: u64,
    /// Ids below are in a checkpoint.
    saved: u64,
    /// Slots by vnode and id, while deltas upon deltas are restored.
    restoring: Option<HashMap<(u8, u64), u32>>,
}

impl Ledger {
    /// A row is new.
    pub(super) fn add(&mut self, slot: u32, vnode: u8) {
        let id = self.next;
        self.next += 1;
        self.set(slot, Entry { id, vnode, dirty: false });
    }

    fn set(&mut self, slot: u32, entry: Entry) {
        if slot as usize >= self.entries.len() {
            self.entries.resize(slot as usize + 1, FREE);
        }
        self.entries[slot as usize] = entry;
    }

    /// Whether a row is in the slot.
    pub(super) fn holds(&self, slot: u32) -> bool {
        self.entries.get(slot as usize).is_some_and(|entry| entry.id != FREE.id)
    }

    /// The number of a row that is there: later rows have greater ones, after a restart too.
    pub(super) fn number(&self, slot: u32) -> u64 {
        self.entries[slot as usize].id
    }

    /// A row that is there differs from the last checkpoint.
    pub(super) fn change(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// A row is there no more.
    pub(super) fn remove(&mut self, slot: u32) {
        let entry = std::mem::replace(&mut self.entries[slot as usize], FREE);
        if entry.id < self.saved {
            self.gone.push((entry.vnode, entry.id));
        }
    }

    /// Estimate of the memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        vec_bytes(&self.entries) + vec_bytes(&self.dirty) + vec_bytes(&self.gone)
    }

    /// Ends restoring.
    pub(super) fn start(&mut self) {
        self.restoring = None;
    }

    /// The delta of rows that are gone since the last checkpoint, if any. `schema` starts with the row number.
    pub(super) fn deletions(&mut self, table: usize, schema: &SchemaRef) -> Result<Option<StateDelta>> {
        if self.gone.is_empty() {
            return Ok(None);
        }
        let (vnodes, ids): (Vec<u8>, Vec<u64>) = self.gone.drain(..).unzip();
        let rows = ids.len();
        let others = schema.fields().iter().skip(1).map(|field| new_null_array(field.data_type(), rows));
        let arrays = std::iter::once(Arc::new(UInt64Array::from(ids)) as ArrayRef).chain(others).collect();
        let batch = columns::batch(schema, arrays, rows)?;
        Ok(Some(StateDelta { table, vnodes, deleted: vec![true; rows], rows: batch }))
    }

    /// Slots of rows that are new or changed since the last checkpoint; a checkpoint is taken herewith.
    pub(super) fn take_changed(&mut self) -> Vec<u32> {
        let mut slots = std::mem::take(&mut self.dirty);
        // A slot that was given back and used again stands in the list twice.
        slots.retain(|slot| std::mem::take(&mut self.entries[*slot as usize].dirty));
        self.saved = self.next;
        slots
    }

    /// The deltas of rows that are there. `gather` gives the columns that follow the row number.
    pub(super) fn changes(
        &self,
        table: usize,
        schema: &SchemaRef,
        slots: &[u32],
        gather: impl Fn(&[u32]) -> Result<Vec<ArrayRef>>,
    ) -> Result<Vec<StateDelta>> {
        let delta = |slots| self.delta(table, schema, slots, gather(slots)?);
        slots.chunks(ROWS_PER_DELTA).map(delta).collect()
    }

    fn delta(&self, table: usize, schema: &SchemaRef, slots: &[u32], columns: Vec<ArrayRef>) -> Result<StateDelta> {
        let entries = || slots.iter().map(|slot| &self.entries[*slot as usize]);
        let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(entries().map(|entry| entry.id)));
        let arrays = std::iter::once(ids).chain(columns).zip(schema.fields());
        let arrays = arrays.map(|(array, field)| columns::encoded_as(array, field.data_type()));
        let rows = columns::batch(schema, arrays.collect::<Result<Vec<_>>>()?, slots.len())?;
        let vnodes = entries().map(|entry| entry.vnode).collect();
        Ok(StateDelta { table, vnodes, deleted: vec![false; slots.len()], rows })
    }

    /// Begins to restore a delta: gives the slots whose rows it deletes, which the caller removes, and the rest of it.
    pub(super) fn restore(&mut self, schema: &SchemaRef, delta: StateDelta) -> Result<(Vec<u32>, StateDelta)> {
        if delta.rows.num_columns() != schema.fields().len() {
            return Err(damaged(&delta.rows));
        }
        // The first delta changes nothing that is there already: a folded state is read without this map.
        if self.restoring.is_none() && self.next > 0 {
            let live = self.entries.iter().enumerate().filter(|(_, entry)| entry.id != FREE.id);
            self.restoring = Some(live.map(|(slot, entry)| ((entry.vnode, entry.id), slot as u32)).collect());
        }
        if !delta.deleted.contains(&true) {
            return Ok((vec![], delta));
        }
        let ids = ids(&delta.rows)?;
        let mut slots = Vec::new();
        for (row, id) in ids.iter().enumerate().filter(|(row, _)| delta.deleted[*row]) {
            slots.extend(self.restoring.as_mut().and_then(|known| known.remove(&(delta.vnodes[row], *id))));
        }
        slots.iter().for_each(|slot| self.entries[*slot as usize] = FREE);
        let alive = (0..delta.vnodes.len() as u32).filter(|row| !delta.deleted[*row as usize]).collect::<Vec<_>>();
        let vnodes = alive.iter().map(|row| delta.vnodes[*row as usize]).collect();
        let deleted = vec![false; alive.len()];
        let rows = take_record_batch(&delta.rows, &UInt32Array::from(alive))?;
        Ok((slots, StateDelta { table: delta.table, vnodes, deleted, rows }))
    }

    /// The slot of every row of a delta, if its number is known from an earlier one.
    pub(super) fn known(&self, delta: &StateDelta) -> Result<Vec<Option<u32>>> {
        let ids = ids(&delta.rows)?;
        let Some(known) = &self.restoring else { return Ok(vec![None; ids.len()]) };
        Ok(ids.iter().zip(&delta.vnodes).map(|(id, vnode)| known.get(&(*vnode, *id)).copied()).collect())
    }

    /// Notes in which slots the rows of a restored delta are.
    pub(super) fn adopt(&mut self, delta: &StateDelta, slots: &[u32]) -> Result<()> {
        let ids = ids(&delta.rows)?;
        for ((slot, id), vnode) in slots.iter().zip(ids.iter()).zip(&delta.vnodes) {
            self.set(*slot, Entry { id: *id, vnode: *vnode, dirty: false });
            if let Some(known) = &mut self.restoring {
                known.insert((*vnode, *id), *slot);
            }
        }
        self.next = self.next.max(ids.iter().max().map_or(0, |id| id + 1));
        self.saved = self.next;
        Ok(())
    }
}

fn ids(rows: &RecordBatch) -> Result<ScalarBuffer<u64>> {
    let array = rows.columns().first().and_then(|array| array.as_primitive_opt::<UInt64Type>());
    array.map(|array| array.values().clone()).ok_or_else(|| damaged(rows))
}

/// State that does not fit the operator that reads it.
pub(super) fn damaged(rows: &RecordBatch) -> Error {
    Error::new(ErrorKind::Corrupt, "an operator's state has other columns than it was written with")
        .with("columns", rows.schema())
        .hint("a job's state can be read only by the plan that wrote it; drop the job and create it again")
}
