//! A join side's state table: what goes out at a checkpoint and how it comes back.
//!
//! Columns: row number, kept columns (the key first), weight, and the number of partners where these are counted.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::take;
use arrow::datatypes::Int64Type;

use super::side::Side;
use crate::error::Result;
use crate::operator::StateDelta;
use crate::operator::ledger::damaged;
use crate::rows::KeyIndex;

impl Side {
    /// What changed since the last checkpoint: what is gone, then what is there.
    pub(super) fn checkpoint(&mut self, table: usize, keys: &KeyIndex, deltas: &mut Vec<StateDelta>) -> Result<()> {
        deltas.extend(self.ledger.deletions(table, &self.state_schema)?);
        let slots = self.ledger.take_changed();
        deltas.extend(self.ledger.changes(table, &self.state_schema, &slots, |slots| {
            let mut arrays = keys.keys().gather(&self.keys_of(slots))?;
            for column in 0..self.rest_columns {
                arrays.push(self.gather(column, slots)?);
            }
            let records = || slots.iter().map(|slot| self.slot(*slot));
            arrays.push(Arc::new(Int64Array::from_iter_values(records().map(|record| record.weight))));
            if self.counts {
                arrays.push(Arc::new(Int64Array::from_iter_values(records().map(|record| i64::from(record.partners)))));
            }
            Ok(arrays)
        })?);
        Ok(())
    }

    /// Removes what a delta deletes, and adds the keys of it to `loose`; gives the rest of the delta.
    pub(super) fn restore_deleted(&mut self, delta: StateDelta, loose: &mut Vec<u32>) -> Result<StateDelta> {
        let (deleted, delta) = self.ledger.restore(&self.state_schema, delta)?;
        loose.extend(deleted.into_iter().map(|slot| self.unlink(slot)));
        Ok(delta)
    }

    /// The key columns of a delta's rows.
    pub(super) fn restored_keys(&self, delta: &StateDelta) -> Vec<ArrayRef> {
        delta.rows.columns()[1..1 + self.key_columns].to_vec()
    }

    /// Puts back rows of a delta that deletes nothing.
    pub(super) fn restore(&mut self, delta: &StateDelta, key_slots: &[u32], keys: &KeyIndex) -> Result<()> {
        let after_rest = 1 + self.key_columns + self.rest_columns;
        let weights = numbers(&delta.rows, after_rest)?;
        let partners = if self.counts { Some(numbers(&delta.rows, after_rest + 1)?) } else { None };
        let rest = &delta.rows.columns()[1 + self.key_columns..after_rest];
        let slots = self.restored_slots(delta, rest, key_slots, keys)?;
        self.ledger.adopt(delta, &slots)?;
        for (row, slot) in slots.iter().enumerate() {
            let record = &mut self.slots[*slot as usize];
            record.weight = weights[row];
            record.partners = partners.as_ref().map_or(0, |partners| partners[row] as u32);
        }
        Ok(())
    }

    /// The slots of a delta's rows; rows that earlier deltas did not have are stored.
    fn restored_slots(
        &mut self,
        delta: &StateDelta,
        rest: &[ArrayRef],
        key_slots: &[u32],
        keys: &KeyIndex,
    ) -> Result<Vec<u32>> {
        let known = self.ledger.known(delta)?;
        let fresh = (0..known.len() as u32).filter(|row| known[*row as usize].is_none()).collect::<Vec<_>>();
        let mut placed = Vec::new();
        if fresh.len() == known.len() {
            self.place(rest, key_slots, keys, &mut placed)?;
            return Ok(placed);
        }
        let chosen = UInt32Array::from(fresh);
        let rest = rest.iter().map(|array| take(array, &chosen, None)).collect::<Result<Vec<_>, _>>()?;
        let fresh_keys = chosen.values().iter().map(|row| key_slots[*row as usize]).collect::<Vec<_>>();
        self.place(&rest, &fresh_keys, keys, &mut placed)?;
        let mut placed = placed.into_iter();
        Ok(known.into_iter().filter_map(|slot| slot.or_else(|| placed.next())).collect())
    }
}

fn numbers(rows: &RecordBatch, column: usize) -> Result<ScalarBuffer<i64>> {
    let array = rows.column(column).as_primitive_opt::<Int64Type>();
    array.map(|array| array.values().clone()).ok_or_else(|| damaged(rows))
}
