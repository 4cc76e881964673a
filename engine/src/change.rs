//! Changes, as the store defines them, and what the engine adds: consolidation, which needs the row store.

pub use storage::change::*;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::rows::KeyIndex;

/// One Z-set out of many: every row once, with the sum of its weights, rows whose sum is 0 left out. Rows stand in the
/// order of their first appearance. All parts must have the columns of `schema`.
///
/// Where rows are known to be distinct already, [`Changes::concat`] gives the same at far less cost.
pub fn consolidate(schema: &SchemaRef, parts: &[Changes]) -> Result<Changes> {
    if parts.iter().map(Changes::len).sum::<usize>() <= 1 {
        return Ok(Changes::concat(schema, parts)?);
    }
    let mut index = KeyIndex::new(schema)?;
    let mut sums: Vec<i64> = Vec::new();
    let mut hashes = Vec::new();
    for part in parts {
        let view = index.view(part.rows().columns())?;
        index.keys().hash(part.rows().columns(), &view, part.len(), &mut hashes)?;
        for (row, hash) in hashes.iter().enumerate() {
            let (slot, new) = index.insert_row(*hash, &view, row);
            let weight = part.weight(row);
            if new {
                sums.push(weight);
            } else {
                sums[slot as usize] += weight;
            }
        }
    }
    let slots: Vec<u32> = (0..sums.len() as u32).filter(|slot| sums[*slot as usize] != 0).collect();
    let weights: Vec<i64> = slots.iter().map(|slot| sums[*slot as usize]).collect();
    let rows = batch(schema, index.keys().gather(&slots)?, slots.len())?;
    Ok(if weights.iter().all(|weight| *weight == 1) {
        Changes::inserts(rows)
    } else {
        Changes::weighted(rows, weights)
    })
}

/// A record batch that keeps its number of rows even without any column.
pub fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, AsArray, Float64Array, Int64Array, ListArray};
    use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};

    use super::*;

    #[test]
    fn weights_of_equal_rows_are_summed_and_zeros_dropped() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("k", DataType::Int64, true),
            Field::new("x", DataType::Float64, true),
        ]));
        let make = |k: Vec<Option<i64>>, x: Vec<f64>, weights: Vec<i64>| {
            let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(k)), Arc::new(Float64Array::from(x))];
            Changes::weighted(RecordBatch::try_new(schema.clone(), columns).unwrap(), weights)
        };
        let parts = [
            make(vec![Some(1), None, Some(2)], vec![0.0, f64::NAN, 5.0], vec![1, 2, -1]),
            make(vec![Some(2), Some(1), None], vec![5.0, -0.0, -f64::NAN], vec![1, 3, 1]),
        ];
        let got = consolidate(&schema, &parts).unwrap();
        assert_eq!(got.len(), 2);
        let k = got.rows().column(0).as_primitive::<Int64Type>();
        assert_eq!((k.is_valid(0), k.value(0), got.weight(0)), (true, 1, 4));
        assert_eq!((k.is_valid(1), got.weight(1)), (false, 3));
    }

    #[test]
    fn rows_with_lists_and_rows_without_columns_consolidate_too() {
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1), None]),
            None,
            Some(vec![Some(1), None]),
        ]));
        let schema = Arc::new(Schema::new(vec![Field::new("l", list.data_type().clone(), true)]));
        let changes = Changes::inserts(RecordBatch::try_new(schema.clone(), vec![list]).unwrap());
        let got = consolidate(&schema, &[changes]).unwrap();
        assert_eq!((got.len(), got.weight(0), got.weight(1)), (2, 2, 1));

        let none = Arc::new(Schema::empty());
        let rows = Changes::weighted(batch(&none, vec![], 3).unwrap(), vec![2, -1, 1]);
        let got = consolidate(&none, &[rows]).unwrap();
        assert_eq!((got.len(), got.weight(0)), (1, 2));
    }
}
