//! Tells rows that differ from rows that only differ by rounding. Pure.
//!
//! Rows come sorted by their columns that are not floating-point numbers, so that candidates stand together; one such
//! group is in memory at a time.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema};
use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{Error, Result};

/// Floating-point numbers whose difference is this part of the larger one are equal.
const TOLERANCE: f64 = 1e-9;
/// Groups up to this size are paired in the best way, larger ones in their order.
const SMALL_GROUP: usize = 512;

/// Whether values of a type may differ by rounding.
pub fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float16 | DataType::Float32 | DataType::Float64)
}

/// A row of one side that the other side lacks.
struct Row {
    floats: Vec<Option<f64>>,
    weight: i64,
    text: String,
}

/// See the module's description.
pub struct Differences {
    exact: Vec<usize>,
    floats: Vec<usize>,
    converter: Option<RowConverter>,
    group: Option<OwnedRow>,
    /// Rows of the group that stand more often in the view, and in the result of the query.
    more: Vec<Row>,
    less: Vec<Row>,
    shown: usize,
    texts: Vec<String>,
    count: u64,
}

impl Differences {
    /// For rows with these columns. At most `shown` are kept as text.
    pub fn new(schema: &Schema, shown: usize) -> Result<Self> {
        let fields = || schema.fields().iter().enumerate();
        let (floats, exact): (Vec<_>, Vec<_>) = fields().partition(|(_, field)| is_float(field.data_type()));
        let sort: Vec<SortField> = exact.iter().map(|(_, field)| SortField::new(field.data_type().clone())).collect();
        let place = |fields: Vec<(usize, _)>| fields.into_iter().map(|(place, _)| place).collect::<Vec<_>>();
        let needed = !floats.is_empty() && !sort.is_empty();
        Ok(Self {
            converter: if needed { Some(RowConverter::new(sort)?) } else { None },
            exact: place(exact),
            floats: place(floats),
            group: None,
            more: Vec::new(),
            less: Vec::new(),
            shown,
            texts: Vec::new(),
            count: 0,
        })
    }

    /// Takes rows with their weights behind their columns.
    pub fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let width = self.exact.len() + self.floats.len();
        let weights = batch.columns().get(width).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let weights = weights.ok_or_else(|| Error::internal("a difference without weights"))?;
        let columns = &batch.columns()[..width];
        let exact: Vec<ArrayRef> = self.exact.iter().map(|place| columns[*place].clone()).collect();
        let groups = self.converter.as_ref().map(|converter| converter.convert_columns(&exact)).transpose()?;
        let floats = self.floats.iter().map(|place| cast(&columns[*place], &DataType::Float64));
        let floats = floats.collect::<std::result::Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let weight = weights.value(row);
            if self.floats.is_empty() {
                self.note(weight, || text(columns, row));
                continue;
            }
            let group = groups.as_ref().map(|groups| groups.row(row));
            if group != self.group.as_ref().map(OwnedRow::row) {
                self.settle();
                self.group = group.map(|group| group.owned());
            }
            let float = |column: &ArrayRef| {
                let values = column.as_primitive::<Float64Type>();
                values.is_valid(row).then(|| values.value(row))
            };
            let side = if weight > 0 { &mut self.more } else { &mut self.less };
            side.push(Row {
                floats: floats.iter().map(float).collect(),
                weight: weight.abs(),
                text: text(columns, row),
            });
        }
        Ok(())
    }

    /// How many rows differ, and the first of them as text.
    pub fn finish(mut self) -> Result<(u64, Vec<String>)> {
        self.settle();
        Ok((self.count, self.texts))
    }

    fn note(&mut self, weight: i64, text: impl FnOnce() -> String) {
        if weight == 0 {
            return;
        }
        self.count += weight.unsigned_abs();
        if self.texts.len() < self.shown {
            self.texts.push(format!("{weight:+} {}", text()));
        }
    }

    /// Pairs the rows of a group that is complete.
    fn settle(&mut self) {
        let (mut more, mut less) = (std::mem::take(&mut self.more), std::mem::take(&mut self.less));
        if more.len() + less.len() <= SMALL_GROUP {
            for one in &mut more {
                for other in less.iter_mut().filter(|other| other.weight > 0) {
                    pair(one, other);
                }
            }
        } else {
            let (mut i, mut j) = (0, 0);
            while let (Some(one), Some(other)) = (more.get_mut(i), less.get_mut(j)) {
                let close = pair(one, other);
                if one.weight == 0 || (!close && one.floats.partial_cmp(&other.floats).is_none_or(|o| o.is_le())) {
                    i += 1;
                } else {
                    j += 1;
                }
            }
        }
        for row in more {
            self.note(row.weight, || row.text);
        }
        for row in less {
            self.note(-row.weight, || row.text);
        }
    }
}

/// Takes from both rows what they have in common.
fn pair(one: &mut Row, other: &mut Row) -> bool {
    let close = one.floats.iter().zip(&other.floats).all(|(a, b)| match (a, b) {
        (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
        (a, b) => a.is_none() && b.is_none(),
    });
    if close {
        let common = one.weight.min(other.weight);
        one.weight -= common;
        other.weight -= common;
    }
    close
}

fn text(columns: &[ArrayRef], row: usize) -> String {
    let options = FormatOptions::new().with_null("NULL");
    let cell = |column: &ArrayRef| match ArrayFormatter::try_new(column, &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => "?".into(),
    };
    columns.iter().map(cell).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array};
    use arrow::datatypes::Field;

    use super::*;

    fn found(rows: &[(i64, f64, i64)]) -> (u64, Vec<String>) {
        let schema =
            Schema::new(vec![Field::new("x", DataType::Float64, true), Field::new("k", DataType::Int64, true)]);
        let with_weight =
            Schema::new([&schema.fields()[..], &[Arc::new(Field::new("w", DataType::Int64, true))]].concat());
        let mut differences = Differences::new(&schema, 2).unwrap();
        for (k, x, weight) in rows {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Float64Array::from(vec![*x])),
                Arc::new(Int64Array::from(vec![*k])),
                Arc::new(Int64Array::from(vec![*weight])),
            ];
            let batch = RecordBatch::try_new(Arc::new(with_weight.clone()), columns).unwrap();
            differences.take(&batch).unwrap();
        }
        differences.finish().unwrap()
    }

    #[test]
    fn rounding_is_no_difference_and_anything_else_is() {
        assert_eq!(found(&[(1, 0.3, 2), (1, 0.1 + 0.2, -2)]).0, 0);
        assert_eq!(found(&[(1, f64::NAN, 1), (1, -f64::NAN, -1)]).0, 0);
        assert_eq!(found(&[(1, 0.3, 1), (1, 0.300_001, -1)]).0, 2);
        assert_eq!(found(&[(1, 0.3, 1), (2, 0.3, -1)]).0, 2);
        let (count, texts) = found(&[(1, 0.3, 5), (1, 0.1 + 0.2, -2), (7, 1.0, -1), (8, 1.0, -1)]);
        assert_eq!((count, texts), (5, vec!["+3 0.3 | 1".to_owned(), "-1 1.0 | 7".to_owned()]));
    }

    #[test]
    fn large_groups_are_paired_in_their_order() {
        let rows = (0..600).flat_map(|x| {
            let x = f64::from(x) + 0.1;
            [(1, x, 1), (1, x * (1.0 + 1e-12), -1)]
        });
        assert_eq!(found(&rows.collect::<Vec<_>>()).0, 0);
        let rows = (0..600).flat_map(|x| [(1, f64::from(x), 1), (1, f64::from(x) + f64::from(x % 2) / 4.0, -1)]);
        assert_eq!(found(&rows.collect::<Vec<_>>()).0, 600);
    }
}
