//! Upserts into a keyed table: keeps the current row of every key and gives the changes that make it so.
//!
//! Within an epoch the input is a set, so "the later one wins" has no meaning there. Of several rows for one key the
//! greatest wins: by the order column if there is one, then by all columns from left to right (NULL first). A row of
//! an earlier epoch loses to any row of a later one. Retracting the current row deletes it, unless the same epoch brings
//! another row for the key; retracting any other row does nothing.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use storage::types::comparable;

use crate::change::{Changes, consolidate};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::{self, vnode};
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta, StateTable, columns};
use crate::rows::{KeyIndex, NO_SLOT, RowStore, RowView, vec_bytes};

/// What an [`UpsertNormalize`] does.
#[derive(Debug, Clone)]
pub struct UpsertSpec {
    /// Columns of the table: of the input and of the output.
    pub schema: SchemaRef,
    /// Its primary key.
    pub key: Vec<usize>,
    /// Which of several rows for a key wins within an epoch: the one that comes last by this column.
    pub order: Option<(usize, SortOptions)>,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
struct Current {
    /// Its row; `NO_SLOT` if it has none.
    row: u32,
    /// The last checkpoint has a row for it.
    saved: bool,
    /// It differs from the last checkpoint.
    dirty: bool,
}

const UNKNOWN: Current = Current { row: NO_SLOT, saved: false, dirty: false };

/// What an epoch says about a key.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// The row of this number, of the epoch's rows, is the current one.
    Put(u32),
    /// The current row is retracted.
    Delete,
}

/// Turns upserts by key into changes. Stateful; rows are routed by the hash of the key's columns.
#[derive(Debug)]
pub struct UpsertNormalize {
    spec: UpsertSpec,
    /// Columns that are not part of the key.
    rest: Vec<usize>,
    state_schema: SchemaRef,
    keys: KeyIndex,
    current: Vec<Current>,
    rows: RowStore,
    pending: Vec<Changes>,
    dirty: Vec<u32>,
    hashes: Vec<u64>,
    key_slots: Vec<u32>,
}

impl UpsertNormalize {
    /// An instance.
    ///
    /// # Errors
    /// `Internal` if the key is not among the columns; `Sql` if a column's type cannot be kept or be part of a key.
    pub fn new(spec: &UpsertSpec) -> Result<Self> {
        let key_schema = columns::schema_of(&spec.schema, &spec.key)?;
        let rest = (0..spec.schema.fields().len()).filter(|column| !spec.key.contains(column)).collect::<Vec<_>>();
        let order = [spec.key.clone(), rest.clone()].concat();
        let ordered = columns::schema_of(&spec.schema, &order)?;
        Ok(Self {
            rest,
            state_schema: columns::state_schema(&[], ordered.fields(), &[]),
            keys: KeyIndex::new(&key_schema)?,
            current: Vec::new(),
            rows: RowStore::new(&spec.schema)?,
            pending: Vec::new(),
            dirty: Vec::new(),
            hashes: Vec::new(),
            key_slots: Vec::new(),
            spec: spec.clone(),
        })
    }

    fn number_keys(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        hash::hash_columns(keys, rows, &mut self.hashes)?;
        self.keys.find_or_insert(&self.hashes, keys, &mut self.key_slots, |_, _| {})?;
        self.current.resize(self.current.len().max(self.keys.slots()), UNKNOWN);
        Ok(())
    }

    /// What the epoch's rows, each of them once, say about each of their keys; every key once, in order of appearance.
    fn verdicts(&self, epoch: &Changes, view: &RowView) -> Result<Vec<(u32, Option<Verdict>)>> {
        let mut places = vec![NO_SLOT; self.keys.slots()];
        let mut verdicts: Vec<(u32, Option<Verdict>)> = Vec::new();
        let mut encoded: Option<Rows> = None;
        for (row, key) in self.key_slots.iter().enumerate() {
            let place = &mut places[*key as usize];
            if *place == NO_SLOT {
                *place = verdicts.len() as u32;
                verdicts.push((*key, None));
            }
            let verdict = &mut verdicts[*place as usize].1;
            let current = self.current[*key as usize].row;
            match *verdict {
                Some(Verdict::Put(other)) if epoch.weight(row) > 0 => {
                    if encoded.is_none() {
                        encoded = Some(self.encode(epoch.rows())?);
                    }
                    let wins = encoded.as_ref().is_some_and(|rows| rows.row(row) > rows.row(other as usize));
                    *verdict = Some(Verdict::Put(if wins { row as u32 } else { other }));
                }
                _ if epoch.weight(row) > 0 => *verdict = Some(Verdict::Put(row as u32)),
                None if current != NO_SLOT && self.rows.eq(current, view, row) => *verdict = Some(Verdict::Delete),
                _ => {}
            }
        }
        Ok(verdicts)
    }

    /// Rows as bytes that order as the rows do: by the order column, then by all columns.
    fn encode(&self, rows: &RecordBatch) -> Result<Rows> {
        let order = self.spec.order.iter().copied();
        let by = order.chain((0..rows.num_columns()).map(|column| (column, SortOptions::default())));
        let (mut arrays, mut fields) = (Vec::new(), Vec::new());
        for (column, options) in by {
            let array = comparable(rows.column(column))?;
            fields.push(SortField::new_with_options(array.data_type().clone(), options));
            arrays.push(array);
        }
        Ok(RowConverter::new(fields)?.convert_columns(&arrays)?)
    }

    /// Makes a row the current one of its key, or none.
    fn set(&mut self, key: u32, row: u32) {
        let current = &mut self.current[key as usize];
        let old = std::mem::replace(&mut current.row, row);
        if !current.dirty {
            current.dirty = true;
            self.dirty.push(key);
        }
        if old != NO_SLOT {
            self.rows.free(old);
        }
    }

    /// Rows in the order of the state table's columns.
    fn in_state_order(&self, arrays: Vec<ArrayRef>) -> Vec<ArrayRef> {
        self.spec.key.iter().chain(&self.rest).map(|column| arrays[*column].clone()).collect()
    }

    /// Keys that have no row and that no checkpoint knows are forgotten.
    fn forget(&mut self, key: u32) {
        self.current[key as usize] = UNKNOWN;
        self.keys.remove(key);
    }

    fn delta(&self, keys: &[u32], deleted: bool) -> Result<StateDelta> {
        let arrays = if deleted {
            let rest = self.state_schema.fields().iter().skip(self.spec.key.len());
            let nulls = rest.map(|field| arrow::array::new_null_array(field.data_type(), keys.len()));
            self.keys.keys().gather(keys)?.into_iter().chain(nulls).collect()
        } else {
            let rows = keys.iter().map(|key| self.current[*key as usize].row).collect::<Vec<_>>();
            self.in_state_order(self.rows.gather(&rows)?)
        };
        let rows = columns::batch(&self.state_schema, arrays, keys.len())?;
        let vnodes = keys.iter().map(|key| vnode(self.keys.hash(*key))).collect();
        Ok(StateDelta { table: 0, vnodes, deleted: vec![deleted; keys.len()], rows })
    }
}

impl Operator for UpsertNormalize {
    // State table: `current`, keyed by the table's key.
    fn info(&self) -> OperatorInfo {
        let table = StateTable { name: "current", schema: self.state_schema.clone(), key_len: self.spec.key.len() };
        OperatorInfo { name: "UpsertNormalize", schema: self.spec.schema.clone(), state: vec![table] }
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, _out: &mut Vec<Changes>) -> Result<()> {
        self.pending.push(changes);
        Ok(())
    }

    fn close_epoch(&mut self, _epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let epoch = consolidate(&self.spec.schema, &std::mem::take(&mut self.pending))?;
        if epoch.is_empty() {
            return Ok(());
        }
        let keys = self.spec.key.iter().map(|column| epoch.rows().column(*column).clone()).collect::<Vec<_>>();
        self.number_keys(&keys, epoch.len())?;
        let view = self.rows.view(epoch.rows().columns())?;
        let (mut removed, mut put) = (Vec::new(), Vec::new());
        let mut settled = Vec::new();
        for (key, verdict) in self.verdicts(&epoch, &view)? {
            let old = self.current[key as usize].row;
            let unchanged =
                matches!(verdict, Some(Verdict::Put(row)) if old != NO_SLOT && self.rows.eq(old, &view, row as usize));
            match verdict {
                Some(verdict) if !unchanged => {
                    removed.extend(Some(old).filter(|old| *old != NO_SLOT));
                    put.extend(if let Verdict::Put(row) = verdict { Some(row) } else { None });
                    settled.push((key, verdict));
                }
                // A retraction of a row that is not there, for a key that has none.
                None if old == NO_SLOT && !self.current[key as usize].saved => settled.push((key, Verdict::Delete)),
                _ => {}
            }
        }
        if !removed.is_empty() {
            let rows = columns::batch(&self.spec.schema, self.rows.gather(&removed)?, removed.len())?;
            out.push(Changes::weighted(rows, vec![-1; removed.len()]));
        }
        if !put.is_empty() {
            let rows = epoch.take(&UInt32Array::from(put))?.into_parts().0;
            out.push(Changes::inserts(rows));
        }
        for (key, verdict) in settled {
            let row = if let Verdict::Put(row) = verdict { self.rows.push(&view, row as usize) } else { NO_SLOT };
            self.set(key, row);
            if row == NO_SLOT && !self.current[key as usize].saved {
                self.forget(key);
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        let mut dirty = std::mem::take(&mut self.dirty);
        // A key that was forgotten and came back stands in the list twice.
        dirty.retain(|key| std::mem::take(&mut self.current[*key as usize].dirty));
        let (gone, alive): (Vec<u32>, Vec<u32>) =
            dirty.into_iter().partition(|key| self.current[*key as usize].row == NO_SLOT);
        let mut deltas = Vec::new();
        if !gone.is_empty() {
            deltas.push(self.delta(&gone, true)?);
            gone.into_iter().for_each(|key| self.forget(key));
        }
        if !alive.is_empty() {
            deltas.push(self.delta(&alive, false)?);
            alive.into_iter().for_each(|key| self.current[key as usize].saved = true);
        }
        Ok(deltas)
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        let width = self.spec.schema.fields().len();
        if delta.rows.num_columns() != width {
            return Err(Error::new(ErrorKind::Corrupt, "a table's keyed state has other columns than the table")
                .with("columns", delta.rows.schema()));
        }
        let mut arrays = vec![None; width];
        for (array, column) in delta.rows.columns().iter().zip(self.spec.key.iter().chain(&self.rest)) {
            arrays[*column] = Some(array.clone());
        }
        let arrays = arrays.into_iter().flatten().collect::<Vec<_>>();
        self.number_keys(&delta.rows.columns()[..self.spec.key.len()], delta.rows.num_rows())?;
        let view = self.rows.view(&arrays)?;
        for row in 0..delta.rows.num_rows() {
            let key = self.key_slots[row];
            let slot = if delta.deleted[row] { NO_SLOT } else { self.rows.push(&view, row) };
            let old =
                std::mem::replace(&mut self.current[key as usize], Current { row: slot, saved: true, dirty: false });
            if old.row != NO_SLOT {
                self.rows.free(old.row);
            }
            if slot == NO_SLOT {
                self.forget(key);
            }
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.rows.len()
    }

    fn state_bytes(&self) -> usize {
        self.keys.bytes() + self.rows.bytes() + vec_bytes(&self.current)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::operator::law::{Input, Law, Row, Value, ZSet};

    fn spec(order: Option<(usize, SortOptions)>) -> UpsertSpec {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("k", DataType::Int64, false),
            Field::new("t", DataType::Utf8View, true),
            Field::new("k2", DataType::Utf8View, true),
        ]));
        UpsertSpec { schema, key: vec![3, 1], order }
    }

    /// What the table holds after all epochs, one after the other.
    fn oracle(order: Option<(usize, SortOptions)>, epochs: &[Vec<ZSet>]) -> ZSet {
        let mut table: BTreeMap<Row, Row> = BTreeMap::new();
        for epoch in epochs {
            let mut puts: BTreeMap<Row, Row> = BTreeMap::new();
            let mut retracted = Vec::new();
            for (row, weight) in &epoch[0] {
                let key = vec![row[3].clone(), row[1].clone()];
                if *weight < 0 {
                    retracted.push((key, row));
                    continue;
                }
                // The harness orders NULL first, as the operator does.
                let rank = |row: &Row| match order {
                    Some((column, options)) if options.descending => {
                        (Value::Null, Some(std::cmp::Reverse(row[column].clone())), row.clone())
                    }
                    Some((column, _)) => (row[column].clone(), None, row.clone()),
                    None => (Value::Null, None, row.clone()),
                };
                let best = puts.entry(key).or_insert_with(|| row.clone());
                if rank(row) > rank(best) {
                    *best = row.clone();
                }
            }
            for (key, row) in retracted {
                if !puts.contains_key(&key) && table.get(&key) == Some(row) {
                    table.remove(&key);
                }
            }
            table.extend(puts);
        }
        table.into_values().map(|row| (row, 1)).collect()
    }

    fn law(order: Option<(usize, SortOptions)>, insert_only: bool) -> Law {
        let mut input = Input::new(spec(order).schema, &[3, 1]);
        input.insert_only = insert_only;
        let make = move || {
            let upsert = UpsertNormalize::new(&spec(order)).unwrap();
            Box::new(upsert) as Box<dyn Operator>
        };
        Law::new(vec![input], make, move |seen| oracle(order, seen.epochs))
    }

    #[test]
    fn obeys_the_law() {
        law(None, false).check(128);
        law(None, true).check(64);
    }

    #[test]
    fn the_order_column_decides_within_an_epoch() {
        law(Some((0, SortOptions::default())), true).check(64);
        law(Some((0, SortOptions { descending: true, nulls_first: false })), false).check(64);
    }
}
