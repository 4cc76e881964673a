//! Changes: rows with integer weights, the form in which everything moves through the program.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// Name of the weight column where changes are written as one record batch (segments). Always the last column, `Int64 NOT NULL`.
pub const WEIGHT_COLUMN: &str = "__weight";

/// How often each row appears (positive) or disappears (negative). Never 0 in consolidated changes.
#[derive(Debug, Clone)]
pub enum Weights {
    /// Every row appears once. What insert-only plans carry, at no cost.
    Ones,
    /// One weight per row.
    Each(ScalarBuffer<i64>),
}

/// A Z-set as columns: a batch of rows and a weight for each (Budiu et al., DBSP, VLDB 2023).
///
/// The same row may stand in it more than once, unless it is said to be consolidated.
#[derive(Debug, Clone)]
pub struct Changes {
    rows: RecordBatch,
    weights: Weights,
}

impl Changes {
    /// Rows that all appear once.
    pub fn inserts(rows: RecordBatch) -> Self {
        Self { rows, weights: Weights::Ones }
    }

    /// Rows with their weights.
    ///
    /// # Contract
    /// As many weights as rows.
    pub fn new(rows: RecordBatch, weights: Weights) -> Self {
        if let Weights::Each(each) = &weights {
            debug_assert_eq!(each.len(), rows.num_rows());
        }
        Self { rows, weights }
    }

    /// Rows with one weight each, from a vector.
    pub fn weighted(rows: RecordBatch, weights: Vec<i64>) -> Self {
        Self::new(rows, Weights::Each(weights.into()))
    }

    /// No change at all.
    pub fn empty(schema: SchemaRef) -> Self {
        Self::inserts(RecordBatch::new_empty(schema))
    }

    /// The rows.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Rows and weights.
    pub fn into_parts(self) -> (RecordBatch, Weights) {
        (self.rows, self.weights)
    }

    /// Schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// Number of rows, retractions included.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weight of one row.
    pub fn weight(&self, row: usize) -> i64 {
        match &self.weights {
            Weights::Ones => 1,
            Weights::Each(each) => each[row],
        }
    }

    /// Whether every row is known to appear (weight > 0).
    pub fn is_insert_only(&self) -> bool {
        match &self.weights {
            Weights::Ones => true,
            Weights::Each(each) => each.iter().all(|w| *w > 0),
        }
    }

    /// The same weights over other columns of the same rows.
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        Self::new(rows, self.weights.clone())
    }

    /// The changes that undo these.
    pub fn negated(&self) -> Self {
        let weights = (0..self.len()).map(|row| -self.weight(row)).collect::<Vec<_>>();
        Self::weighted(self.rows.clone(), weights)
    }

    /// Rows `offset .. offset + len`, without copying.
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        let weights = match &self.weights {
            Weights::Ones => Weights::Ones,
            Weights::Each(each) => Weights::Each(each.slice(offset, len)),
        };
        Self::new(self.rows.slice(offset, len), weights)
    }

    /// The chosen rows in the given order.
    pub fn take(&self, indices: &arrow::array::UInt32Array) -> Result<Self, arrow::error::ArrowError> {
        let columns = self
            .rows
            .columns()
            .iter()
            .map(|column| arrow::compute::take(column, indices, None))
            .collect::<Result<Vec<_>, _>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(indices.len()));
        let rows = RecordBatch::try_new_with_options(self.rows.schema(), columns, &options)?;
        let weights = match &self.weights {
            Weights::Ones => Weights::Ones,
            Weights::Each(each) => {
                Weights::Each(indices.values().iter().map(|i| each[*i as usize]).collect::<Vec<_>>().into())
            }
        };
        Ok(Self::new(rows, weights))
    }

    /// All changes one after the other. They must share `schema`.
    pub fn concat<'a>(
        schema: &SchemaRef,
        parts: impl IntoIterator<Item = &'a Changes>,
    ) -> Result<Self, arrow::error::ArrowError> {
        let parts: Vec<&Changes> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if let [one] = parts.as_slice() {
            return Ok((*one).clone());
        }
        let rows = arrow::compute::concat_batches(schema, parts.iter().map(|part| &part.rows))?;
        if parts.iter().all(|part| matches!(part.weights, Weights::Ones)) {
            return Ok(Self::inserts(rows));
        }
        let mut weights = Vec::with_capacity(rows.num_rows());
        for part in parts {
            match &part.weights {
                Weights::Ones => weights.resize(weights.len() + part.len(), 1),
                Weights::Each(each) => weights.extend_from_slice(each),
            }
        }
        Ok(Self::weighted(rows, weights))
    }

    /// One record batch with the weights as its last column, [`WEIGHT_COLUMN`].
    pub fn to_weighted_batch(&self) -> Result<RecordBatch, arrow::error::ArrowError> {
        let weights: Int64Array = match &self.weights {
            Weights::Ones => Int64Array::from_value(1, self.len()),
            Weights::Each(each) => Int64Array::new(each.clone(), None),
        };
        let mut columns = self.rows.columns().to_vec();
        columns.push(Arc::new(weights) as ArrayRef);
        RecordBatch::try_new(weighted_schema(&self.rows.schema()), columns)
    }

    /// The reverse of [`Changes::to_weighted_batch`].
    pub fn from_weighted_batch(batch: &RecordBatch) -> Result<Self, arrow::error::ArrowError> {
        let last = batch.num_columns().checked_sub(1);
        let weights = last
            .filter(|last| batch.schema().field(*last).name() == WEIGHT_COLUMN)
            .and_then(|last| batch.column(last).as_any().downcast_ref::<Int64Array>())
            .ok_or_else(|| {
                arrow::error::ArrowError::SchemaError(format!("the last column must be {WEIGHT_COLUMN} BIGINT"))
            })?;
        let weights = weights.values().clone();
        let rows = batch.project(&(0..batch.num_columns() - 1).collect::<Vec<_>>())?;
        Ok(Self::new(rows, Weights::Each(weights)))
    }
}

/// `schema` with [`WEIGHT_COLUMN`] appended.
pub fn weighted_schema(schema: &SchemaRef) -> SchemaRef {
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(WEIGHT_COLUMN, DataType::Int64, false)));
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}
