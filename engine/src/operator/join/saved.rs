//! A join side's state table: what goes out at a checkpoint and how it comes back.
//!
//! Columns: row number, kept columns (the key first), weight, and the number of partners where these are counted.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, UInt64Array, new_null_array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef, UInt64Type};

use super::side::Side;
use crate::error::{Error, ErrorKind, Result};
use crate::hash::vnode;
use crate::operator::{StateDelta, columns};
use crate::rows::{KeyIndex, NO_SLOT};

impl Side {
    /// What changed since the last checkpoint: what is gone, then what is there.
    pub(super) fn checkpoint(&mut self, table: usize, keys: &KeyIndex, deltas: &mut Vec<StateDelta>) -> Result<()> {
        if !self.gone.is_empty() {
            let (vnodes, ids): (Vec<u8>, Vec<u64>) = self.gone.drain(..).unzip();
            let rows = ids.len();
            let mut arrays: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from(ids))];
            let others = self.state_schema.fields().iter().skip(1);
            arrays.extend(others.map(|field| new_null_array(field.data_type(), rows)));
            let batch = columns::batch(&self.state_schema, arrays, rows)?;
            deltas.push(StateDelta { table, vnodes, deleted: vec![true; rows], rows: batch });
        }
        let mut slots = std::mem::take(&mut self.dirty);
        // A slot that was given back and used again stands in the list twice.
        slots.retain(|slot| std::mem::take(&mut self.slots[*slot as usize].dirty));
        if !slots.is_empty() {
            deltas.push(self.delta(table, keys, &slots)?);
        }
        self.saved = self.next_id;
        Ok(())
    }

    fn delta(&self, table: usize, keys: &KeyIndex, slots: &[u32]) -> Result<StateDelta> {
        let records = || slots.iter().map(|slot| self.slot(*slot));
        let key_slots = self.keys_of(slots);
        let mut arrays: Vec<ArrayRef> =
            vec![Arc::new(UInt64Array::from_iter_values(records().map(|record| record.id)))];
        arrays.extend(keys.keys().gather(&key_slots)?);
        for column in 0..self.rest_columns {
            arrays.push(self.gather(column, slots)?);
        }
        arrays.push(Arc::new(Int64Array::from_iter_values(records().map(|record| record.weight))));
        if self.counts {
            arrays.push(Arc::new(Int64Array::from_iter_values(records().map(|record| i64::from(record.partners)))));
        }
        let fields = self.state_schema.fields().iter();
        let arrays = arrays.into_iter().zip(fields).map(|(array, field)| columns::encoded_as(array, field.data_type()));
        let rows = columns::batch(&self.state_schema, arrays.collect::<Result<Vec<_>>>()?, slots.len())?;
        let vnodes = key_slots.iter().map(|key| vnode(keys.hash(*key))).collect();
        Ok(StateDelta { table, vnodes, deleted: vec![false; slots.len()], rows })
    }

    /// Removes what a delta deletes, and adds the keys of it to `loose`; gives the rest of the delta.
    pub(super) fn restore_deleted(
        &mut self,
        keys: &KeyIndex,
        delta: StateDelta,
        loose: &mut Vec<u32>,
    ) -> Result<StateDelta> {
        if delta.rows.num_columns() != self.state_schema.fields().len() {
            return Err(damaged(&delta.rows));
        }
        // Rows of the first delta cannot be changed by it, so that a folded state is read without this map.
        if self.restoring.is_none() && self.len() > 0 {
            let live = self.slots.iter().enumerate().filter(|(_, record)| record.key != NO_SLOT);
            let numbered = live.map(|(slot, record)| ((vnode(keys.hash(record.key)), record.id), slot as u32));
            self.restoring = Some(numbered.collect());
        }
        if !delta.deleted.contains(&true) {
            return Ok(delta);
        }
        let ids = ids(&delta.rows)?;
        for (row, id) in ids.iter().enumerate().filter(|(row, _)| delta.deleted[*row]) {
            let known = self.restoring.as_mut().and_then(|slots| slots.remove(&(delta.vnodes[row], *id)));
            if let Some(slot) = known {
                loose.push(self.remove(slot, keys));
            }
        }
        self.gone.clear();
        let alive = (0..delta.vnodes.len() as u32).filter(|row| !delta.deleted[*row as usize]).collect::<Vec<_>>();
        let vnodes = alive.iter().map(|row| delta.vnodes[*row as usize]).collect();
        let deleted = vec![false; alive.len()];
        let rows = take_record_batch(&delta.rows, &UInt32Array::from(alive))?;
        Ok(StateDelta { table: delta.table, vnodes, deleted, rows })
    }

    /// The key columns of a delta's rows.
    pub(super) fn restored_keys(&self, delta: &StateDelta) -> Vec<ArrayRef> {
        delta.rows.columns()[1..1 + self.key_columns].to_vec()
    }

    /// Puts back rows of a delta that deletes nothing.
    pub(super) fn restore(&mut self, delta: &StateDelta, key_slots: &[u32]) -> Result<()> {
        let ids = ids(&delta.rows)?;
        let after_rest = 1 + self.key_columns + self.rest_columns;
        let weights = numbers(&delta.rows, after_rest)?;
        let partners = if self.counts { Some(numbers(&delta.rows, after_rest + 1)?) } else { None };
        let set = |side: &mut Self, slot: u32, row: usize| {
            let record = &mut side.slots[slot as usize];
            (record.id, record.weight) = (ids[row], weights[row]);
            record.partners = partners.as_ref().map_or(0, |partners| partners[row] as u32);
        };
        let mut fresh = Vec::new();
        for (row, id) in ids.iter().enumerate() {
            let known = self.restoring.as_ref().and_then(|slots| slots.get(&(delta.vnodes[row], *id)));
            match known.copied() {
                Some(slot) => set(self, slot, row),
                None => fresh.push(row as u32),
            }
        }
        let rest = &delta.rows.columns()[1 + self.key_columns..after_rest];
        let mut found = Vec::new();
        if fresh.len() == ids.len() {
            self.place(rest, key_slots, &mut found)?;
        } else {
            let chosen = UInt32Array::from(fresh.clone());
            let rest = rest.iter().map(|array| take(array, &chosen, None)).collect::<Result<Vec<_>, _>>()?;
            let keys = fresh.iter().map(|row| key_slots[*row as usize]).collect::<Vec<_>>();
            self.place(&rest, &keys, &mut found)?;
        }
        for (slot, row) in found.iter().zip(&fresh) {
            set(self, *slot, *row as usize);
            if let Some(slots) = &mut self.restoring {
                slots.insert((delta.vnodes[*row as usize], ids[*row as usize]), *slot);
            }
        }
        self.next_id = ids.iter().max().map_or(0, |id| id + 1).max(self.saved);
        self.saved = self.next_id;
        Ok(())
    }
}

fn ids(rows: &RecordBatch) -> Result<ScalarBuffer<u64>> {
    let array = rows.column(0).as_primitive_opt::<UInt64Type>();
    array.map(|array| array.values().clone()).ok_or_else(|| damaged(rows))
}

fn numbers(rows: &RecordBatch, column: usize) -> Result<ScalarBuffer<i64>> {
    let array = rows.column(column).as_primitive_opt::<Int64Type>();
    array.map(|array| array.values().clone()).ok_or_else(|| damaged(rows))
}

fn damaged(rows: &RecordBatch) -> Error {
    let schema: SchemaRef = rows.schema();
    Error::new(ErrorKind::Corrupt, "a join's state has other columns than it was written with").with("schema", schema)
}
