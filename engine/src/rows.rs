//! The row store: rows kept as growable typed columns under stable slot numbers, the memory form of all operator state.
//!
//! Why columns of native values and not encoded rows: keys are compared against Arrow batches without encoding them
//! first (several times cheaper than hashing and comparing encoded rows), and what is emitted is gathered straight into
//! Arrow arrays of the original types. Two rows are equal as groups are: NULL equals NULL, -0.0 equals 0.0, every NaN
//! equals every other; the row hash in [`crate::hash`] agrees with that.

mod bytes;
mod column;
mod index;
mod view;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};

pub use column::OrderKey;
pub use index::KeyIndex;
pub use view::RowView;

use crate::error::{Error, Result};
use crate::hash::hash_columns;
use column::Column;

/// The memory that a vector holds, without what its elements point to.
pub fn vec_bytes<T>(values: &Vec<T>) -> usize {
    values.capacity() * size_of::<T>()
}

/// The slot number that means "no row".
pub const NO_SLOT: u32 = u32::MAX;

/// Rows in typed columns, each under a slot number that stays its own until it is freed.
#[derive(Debug)]
pub struct RowStore {
    schema: SchemaRef,
    columns: Vec<Column>,
    slots: usize,
    free: Vec<u32>,
    /// Slots of the append that is going on; kept to reuse the memory.
    scratch: Vec<u32>,
}

impl RowStore {
    /// An empty store of rows of this schema.
    ///
    /// # Errors
    /// `Sql` if a column's type cannot be stored (unions).
    pub fn new(schema: &Schema) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| Column::new(field)).collect::<Result<_>>()?;
        Ok(Self { schema: Arc::new(schema.clone()), columns, slots: 0, free: Vec::new(), scratch: Vec::new() })
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of rows held.
    pub fn len(&self) -> usize {
        self.slots - self.free.len()
    }

    /// Whether no row is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of slots ever in use at once: every slot is below this. What arrays beside the store are sized by.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Prepares a batch's columns for comparing and storing: types are resolved once per batch, not per value.
    ///
    /// # Errors
    /// `Internal` if the columns are not those of the schema (strings may come in any encoding).
    pub fn view(&self, columns: &[ArrayRef]) -> Result<RowView> {
        if columns.len() != self.columns.len() {
            let (got, want) = (columns.len(), self.columns.len());
            return Err(Error::internal(format!("{got} columns where the row store has {want}")));
        }
        let columns = self.columns.iter().zip(columns).map(|(own, array)| own.view(array)).collect::<Result<_>>()?;
        Ok(RowView { columns })
    }

    /// One hash per row of a view of `columns`, for use in memory only and not for vnodes: columns of the common types
    /// are hashed by [`hash_columns`], all others, which that one may not know, by their encoded bytes.
    pub fn hash(&self, columns: &[ArrayRef], view: &RowView, rows: usize, hashes: &mut Vec<u64>) -> Result<()> {
        let known = columns.iter().zip(&view.columns).filter(|(_, values)| !values.is_encoded());
        let known: Vec<ArrayRef> = known.map(|(column, _)| column.clone()).collect();
        hash_columns(&known, rows, hashes)?;
        view.columns.iter().for_each(|values| values.hash_encoded(hashes));
        Ok(())
    }

    /// Stores one row; gives its slot.
    pub fn push(&mut self, view: &RowView, row: usize) -> u32 {
        let slot = self.take_slot();
        for (column, values) in self.columns.iter_mut().zip(&view.columns) {
            column.write(&[slot], values, &[row as u32]);
        }
        slot
    }

    /// Stores the chosen rows of a view in the given order; their slots are added to `slots`.
    pub fn append(&mut self, view: &RowView, rows: &[u32], slots: &mut Vec<u32>) {
        let mut taken = std::mem::take(&mut self.scratch);
        taken.clear();
        for _ in rows {
            taken.push(self.take_slot());
        }
        for (column, values) in self.columns.iter_mut().zip(&view.columns) {
            column.write(&taken, values, rows);
        }
        slots.extend_from_slice(&taken);
        self.scratch = taken;
    }

    /// Gives a slot back; it will be used again.
    ///
    /// # Contract
    /// The slot holds a row.
    pub fn free(&mut self, slot: u32) {
        debug_assert!((slot as usize) < self.slots);
        for column in &mut self.columns {
            column.clear(slot);
        }
        self.free.push(slot);
        if self.free.len() == self.slots {
            // Empty: start again from slot 0, so that what comes next lies densely.
            self.free.clear();
            self.slots = 0;
        }
    }

    /// Whether the row in a slot equals a row of a batch.
    #[inline]
    pub fn eq(&self, slot: u32, view: &RowView, row: usize) -> bool {
        self.columns.iter().zip(&view.columns).all(|(column, values)| column.eq(slot, values, row))
    }

    /// Whether a column of a stored row is NULL.
    #[inline]
    pub fn is_null(&self, column: usize, slot: u32) -> bool {
        self.columns[column].is_null(slot)
    }

    /// Orders two stored rows by one column: ascending, NULL last, NaN above all numbers, strings by bytes.
    pub fn cmp(&self, column: usize, left: u32, right: u32) -> Ordering {
        self.columns[column].cmp(left, right)
    }

    /// Orders a stored row and a row of a batch by one column, as [`RowStore::cmp`] does.
    pub fn cmp_row(&self, column: usize, slot: u32, view: &RowView, row: usize) -> Ordering {
        self.columns[column].cmp_row(slot, &view.columns[column], row)
    }

    /// A value of one column in a form that orders by itself as [`RowStore::cmp`] orders; for ordered indexes.
    pub fn order_key(&self, column: usize, slot: u32) -> OrderKey {
        self.columns[column].order_key(slot)
    }

    /// The rows in the given slots, as arrays of the schema's types.
    pub fn gather(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| column.gather(slots, false)).collect()
    }

    /// As [`RowStore::gather`], but [`NO_SLOT`] is allowed and gives a row of NULLs.
    pub fn gather_or_null(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| column.gather(slots, true)).collect()
    }

    /// One column of the rows in the given slots; [`NO_SLOT`] gives NULL.
    pub fn gather_column(&self, column: usize, slots: &[u32]) -> Result<ArrayRef> {
        self.columns[column].gather(slots, true)
    }

    /// Estimate of the memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum::<usize>() + self.free.capacity() * 4
    }

    fn take_slot(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let slot = self.slots as u32;
            debug_assert!(slot < NO_SLOT, "a row store holds fewer than 2^32 - 1 rows");
            self.slots += 1;
            slot
        })
    }
}

#[cfg(test)]
mod tests;
