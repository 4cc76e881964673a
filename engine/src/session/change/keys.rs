//! Sets of keys and rows, to notice those that come twice.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::Result;
use crate::hash::hash_columns;
use crate::rows::{KeyIndex, NO_SLOT};

/// A set of rows of one schema.
pub struct RowSet {
    schema: SchemaRef,
    index: KeyIndex,
    hashes: Vec<u64>,
    slots: Vec<u32>,
}

impl RowSet {
    /// An empty set.
    pub fn new(schema: &Schema) -> Result<Self> {
        let schema = crate::plan::build::internal_schema(schema);
        Ok(Self { index: KeyIndex::new(&schema)?, schema, hashes: Vec::new(), slots: Vec::new() })
    }

    /// Adds rows; the first that was there already, or stands among them twice.
    pub fn insert(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Option<usize>> {
        hash_columns(columns, rows, &mut self.hashes)?;
        let mut new = vec![false; rows];
        self.index.find_or_insert(&self.hashes, columns, &mut self.slots, |_, row| new[row] = true)?;
        Ok(new.iter().position(|new| !new))
    }

    /// Whether each row is in the set.
    pub fn contains(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Vec<bool>> {
        hash_columns(columns, rows, &mut self.hashes)?;
        self.index.find(&self.hashes, columns, &mut self.slots)?;
        Ok(self.slots.iter().map(|slot| *slot != NO_SLOT).collect())
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// All rows.
    pub fn rows(&self) -> Result<RecordBatch> {
        let slots: Vec<u32> = self.index.iter().collect();
        crate::change::batch(&self.schema, self.index.keys().gather(&slots)?, slots.len())
    }
}

/// A row as text: `(1, a)`.
pub fn row_text(columns: &[ArrayRef], row: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    let cell = |column: &ArrayRef| match ArrayFormatter::try_new(column, &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => "?".into(),
    };
    format!("({})", columns.iter().map(cell).collect::<Vec<_>>().join(", "))
}
