//! Rows that an operator holds until their time comes: found by value, with how often they are there and how often they
//! are shown.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

use crate::change::{Changes, WEIGHT_COLUMN};
use crate::error::Result;
use crate::hash::{hash_columns, vnode};
use crate::operator::ledger::{Ledger, damaged};
use crate::operator::{StateDelta, StateTable, columns};
use crate::rows::{KeyIndex, vec_bytes};

/// What is known of a row beside its columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// How often it is there.
    pub weight: i64,
    /// How often it was emitted.
    pub shown: i64,
    touched: bool,
}

/// Rows by value.
#[derive(Debug)]
pub(super) struct HeldRows {
    rows: KeyIndex,
    held: Vec<Held>,
    touched: Vec<u32>,
    ledger: Ledger,
    /// The columns by whose hash rows come to the instance.
    route: Vec<usize>,
    width: usize,
    state_schema: SchemaRef,
    hashes: Vec<u64>,
    slots: Vec<u32>,
}

impl HeldRows {
    pub(super) fn new(schema: &SchemaRef, route: &[usize]) -> Result<Self> {
        let state_schema = columns::state_schema(
            &[("__row", DataType::UInt64)],
            schema.fields(),
            &[(WEIGHT_COLUMN, DataType::Int64), ("__shown", DataType::Int64)],
        );
        Ok(Self {
            rows: KeyIndex::new(schema)?,
            held: Vec::new(),
            touched: Vec::new(),
            ledger: Ledger::default(),
            route: route.to_vec(),
            width: schema.fields().len(),
            state_schema,
            hashes: Vec::new(),
            slots: Vec::new(),
        })
    }

    /// Its state table: the rows, keyed by a row number.
    pub(super) fn table(&self) -> StateTable {
        StateTable { name: "rows", schema: self.state_schema.clone(), key_len: 1 }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Estimate of the memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + vec_bytes(&self.held) + vec_bytes(&self.touched) + self.ledger.bytes()
    }

    /// Slots of all rows.
    pub(super) fn all(&self) -> Vec<u32> {
        self.rows.iter().collect()
    }

    /// Whether a row is in the slot.
    pub(super) fn is_held(&self, slot: u32) -> bool {
        self.ledger.holds(slot)
    }

    pub(super) fn get(&self, slot: u32) -> Held {
        self.held[slot as usize]
    }

    /// Adds the weights of the rows. Gives the rows (of the batch) that were not there, with their slots.
    pub(super) fn apply(&mut self, changes: &Changes) -> Result<Vec<(usize, u32)>> {
        self.ledger.start();
        let columns = changes.rows().columns();
        let mut vnodes = Vec::new();
        let route: Vec<ArrayRef> = self.route.iter().map(|column| columns[*column].clone()).collect();
        hash_columns(&route, changes.len(), &mut vnodes)?;
        let new = self.place(columns, changes.len())?;
        for (row, slot) in &new {
            self.ledger.add(*slot, vnode(vnodes[*row]));
        }
        for row in 0..changes.len() {
            let slot = self.slots[row];
            self.touch(slot);
            self.held[slot as usize].weight += changes.weight(row);
        }
        Ok(new)
    }

    /// Finds the slot of every row; gives those that were not there.
    fn place(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Vec<(usize, u32)>> {
        let view = self.rows.view(columns)?;
        self.rows.keys().hash(columns, &view, rows, &mut self.hashes)?;
        let mut new = Vec::new();
        self.rows.find_or_insert(&self.hashes, columns, &mut self.slots, |slot, row| new.push((row, slot)))?;
        if self.rows.slots() > self.held.len() {
            self.held.resize(self.rows.slots(), Held::default());
        }
        Ok(new)
    }

    /// The row is to be looked at when the epoch closes.
    pub(super) fn touch(&mut self, slot: u32) {
        let held = &mut self.held[slot as usize];
        if !held.touched {
            held.touched = true;
            self.touched.push(slot);
        }
    }

    /// The rows to be looked at, each once.
    pub(super) fn take_touched(&mut self) -> Vec<u32> {
        let touched = std::mem::take(&mut self.touched);
        touched.iter().for_each(|slot| self.held[*slot as usize].touched = false);
        touched
    }

    /// The row stays, changed; now it is shown so often.
    pub(super) fn keep(&mut self, slot: u32, shown: i64) {
        self.held[slot as usize].shown = shown;
        self.ledger.change(slot);
    }

    /// The row goes.
    pub(super) fn remove(&mut self, slot: u32) {
        self.held[slot as usize] = Held::default();
        self.ledger.remove(slot);
        self.rows.remove(slot);
    }

    /// The columns of rows.
    pub(super) fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.rows.keys().gather(slots)
    }

    /// One column of rows.
    pub(super) fn column(&self, column: usize, slots: &[u32]) -> Result<ArrayRef> {
        self.rows.keys().gather_column(column, slots)
    }

    pub(super) fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        let mut deltas: Vec<_> = self.ledger.deletions(0, &self.state_schema)?.into_iter().collect();
        let slots = self.ledger.take_changed();
        deltas.extend(self.ledger.changes(0, &self.state_schema, &slots, |slots| {
            let mut arrays = self.gather(slots)?;
            let held = || slots.iter().map(|slot| self.held[*slot as usize]);
            arrays.push(Arc::new(Int64Array::from_iter_values(held().map(|held| held.weight))));
            arrays.push(Arc::new(Int64Array::from_iter_values(held().map(|held| held.shown))));
            Ok(arrays)
        })?);
        Ok(deltas)
    }

    pub(super) fn restore(&mut self, delta: StateDelta) -> Result<()> {
        let (deleted, delta) = self.ledger.restore(&self.state_schema, delta)?;
        for slot in deleted {
            self.rows.remove(slot);
            self.held[slot as usize] = Held::default();
        }
        let number = |column: usize| -> Result<ScalarBuffer<i64>> {
            let array = delta.rows.column(column).as_primitive_opt::<Int64Type>();
            array.map(|array| array.values().clone()).ok_or_else(|| damaged(&delta.rows))
        };
        let (weights, shown) = (number(self.width + 1)?, number(self.width + 2)?);
        self.place(&delta.rows.columns()[1..=self.width], delta.rows.num_rows())?;
        self.ledger.adopt(&delta, &self.slots)?;
        for (row, slot) in self.slots.iter().enumerate() {
            self.held[*slot as usize] = Held { weight: weights[row], shown: shown[row], touched: false };
        }
        Ok(())
    }
}
