//! Unnesting of a list column: one row per element, as HOP and CUMULATE windows need it. Stateless.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};

use crate::change::{Changes, Weights};
use crate::error::{Error, Result};
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta, columns};

/// What an [`Unnest`] does.
#[derive(Debug, Clone)]
pub struct UnnestSpec {
    /// Columns of the input.
    pub input: SchemaRef,
    /// The list column (`List`, `LargeList` or `FixedSizeList`).
    pub column: usize,
    /// Whether a row whose list is NULL or empty gives one row with a NULL element instead of none.
    pub preserve_nulls: bool,
    /// Schema of the output: the input's with the list's element in place of the list.
    pub output: SchemaRef,
}

/// Repeats each row for every element of its list. Stateless.
#[derive(Debug)]
pub struct Unnest {
    column: usize,
    preserve_nulls: bool,
    output: SchemaRef,
}

impl Unnest {
    /// An instance.
    ///
    /// # Errors
    /// `Internal` if the column is not a list.
    pub fn new(spec: &UnnestSpec) -> Result<Self> {
        let field = spec.input.fields().get(spec.column);
        let field =
            field.ok_or_else(|| Error::internal("there is no such column to unnest").with("column", spec.column))?;
        match field.data_type() {
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {}
            other => return Err(Error::internal("only a list can be unnested").with("type", other)),
        }
        Ok(Self { column: spec.column, preserve_nulls: spec.preserve_nulls, output: spec.output.clone() })
    }

    /// What is fixed about it.
    pub fn info(&self) -> OperatorInfo {
        OperatorInfo { name: "Unnest", schema: self.output.clone(), state: vec![] }
    }

    /// Changes in, changes out.
    ///
    /// # Errors
    /// `Data` if one batch unnests to more than 2^32 rows.
    pub fn apply(&self, changes: &Changes) -> Result<Changes> {
        let rows = changes.rows();
        let lists = Lists::of(rows.column(self.column))?;
        let plan = Plan::of(&lists, rows.num_rows(), self.preserve_nulls)?;
        let weights = match changes.weights() {
            Weights::Ones => Weights::Ones,
            Weights::Each(each) => Weights::Each(
                plan.parents.values().iter().map(|parent| each[*parent as usize]).collect::<Vec<_>>().into(),
            ),
        };
        Ok(Changes::new(self.unnest(rows, &lists, &plan)?, weights))
    }

    fn unnest(&self, rows: &RecordBatch, lists: &Lists, plan: &Plan) -> Result<RecordBatch> {
        let arrays = rows.columns().iter().enumerate().map(|(index, array)| {
            if index != self.column {
                return Ok(take(array, &plan.parents, None)?);
            }
            match plan.contiguous {
                Some((start, len)) => Ok(lists.elements.slice(start, len)),
                None => Ok(take(&lists.elements, &plan.elements, None)?),
            }
        });
        columns::batch(&self.output, arrays.collect::<Result<Vec<_>>>()?, plan.parents.len())
    }
}

/// The lists of a column, whatever their encoding.
struct Lists {
    elements: ArrayRef,
    /// Start and length of each list; length 0 for NULL.
    ranges: Vec<(usize, usize)>,
}

impl Lists {
    fn of(array: &ArrayRef) -> Result<Self> {
        let range = |row: usize, start: usize, end: usize| {
            if array.is_null(row) { (start, 0) } else { (start, end - start) }
        };
        match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let ends = list.value_offsets().windows(2).enumerate();
                let ranges = ends.map(|(row, ends)| range(row, ends[0] as usize, ends[1] as usize)).collect();
                Ok(Self { elements: list.values().clone(), ranges })
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                let ends = list.value_offsets().windows(2).enumerate();
                let ranges = ends.map(|(row, ends)| range(row, ends[0] as usize, ends[1] as usize)).collect();
                Ok(Self { elements: list.values().clone(), ranges })
            }
            DataType::FixedSizeList(_, size) => {
                let list = array.as_fixed_size_list();
                let size = *size as usize;
                let ranges = (0..list.len()).map(|row| range(row, row * size, (row + 1) * size)).collect();
                Ok(Self { elements: list.values().clone(), ranges })
            }
            other => Err(Error::internal("only a list can be unnested").with("type", other)),
        }
    }
}

/// Which row and which element each output row comes from.
struct Plan {
    parents: UInt32Array,
    elements: UInt32Array,
    /// The elements are one piece of the element array, and this is it.
    contiguous: Option<(usize, usize)>,
}

impl Plan {
    fn of(lists: &Lists, rows: usize, preserve_nulls: bool) -> Result<Self> {
        let total = lists.ranges.iter().map(|(_, len)| (*len).max(usize::from(preserve_nulls))).sum::<usize>();
        if u32::try_from(total.max(rows).max(lists.elements.len())).is_err() {
            return Err(Error::data("a batch would unnest to more than 2^32 rows").with("rows", total));
        }
        let mut parents = Vec::with_capacity(total);
        let mut contiguous = lists.ranges.first().map(|(start, _)| (*start, 0));
        for (parent, (start, len)) in lists.ranges.iter().enumerate() {
            parents.extend(std::iter::repeat_n(parent as u32, (*len).max(usize::from(preserve_nulls))));
            contiguous = contiguous.filter(|(first, so_far)| match len {
                0 => !preserve_nulls,
                _ => first + so_far == *start || *so_far == 0,
            });
            contiguous = contiguous.map(|(first, so_far)| (if so_far == 0 { *start } else { first }, so_far + len));
        }
        let elements = if contiguous.is_some() {
            UInt32Array::from_iter_values([])
        } else {
            elements(lists, total, preserve_nulls)
        };
        Ok(Self { parents: parents.into(), elements, contiguous })
    }
}

fn elements(lists: &Lists, total: usize, preserve_nulls: bool) -> UInt32Array {
    let mut elements = Vec::with_capacity(total);
    for (start, len) in &lists.ranges {
        elements.extend((*start..start + len).map(|element| Some(element as u32)));
        if *len == 0 && preserve_nulls {
            elements.push(None);
        }
    }
    elements.into()
}

impl Operator for Unnest {
    fn on_changes(&mut self, _input: usize, changes: Changes, out: &mut Vec<Changes>) -> Result<()> {
        let changes = self.apply(&changes)?;
        if !changes.is_empty() {
            out.push(changes);
        }
        Ok(())
    }

    fn close_epoch(&mut self, _epoch: Epoch, _out: &mut Vec<Changes>) -> Result<()> {
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        Ok(vec![])
    }

    fn restore(&mut self, _delta: StateDelta) -> Result<()> {
        Err(Error::internal("unnesting has no state to restore"))
    }

    fn state_rows(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{Field, Int64Type, Schema};

    use super::*;
    use crate::operator::law::{Input, Law, Value, ZSet, add};

    fn spec(preserve_nulls: bool) -> UnnestSpec {
        let item = Arc::new(Field::new_list_field(DataType::Int64, true));
        let fields = |data_type| {
            Arc::new(Schema::new(vec![
                Field::new("a", DataType::Utf8View, true),
                Field::new("l", data_type, true),
                Field::new("b", DataType::Int64, true),
            ]))
        };
        UnnestSpec { input: fields(DataType::List(item)), column: 1, preserve_nulls, output: fields(DataType::Int64) }
    }

    fn law(preserve_nulls: bool) -> Law {
        let make = move || {
            let unnest = Unnest::new(&spec(preserve_nulls)).unwrap();
            let info = unnest.info();
            (Box::new(unnest) as Box<dyn Operator>, info)
        };
        Law::new(vec![Input::new(spec(preserve_nulls).input, &[0])], make, move |seen| {
            let mut answer = ZSet::new();
            for (row, weight) in &seen.totals[0] {
                let mut items = if let Value::List(items) = &row[1] { items.clone() } else { vec![] };
                if items.is_empty() && preserve_nulls {
                    items.push(Value::Null);
                }
                for item in items {
                    add(&mut answer, vec![row[0].clone(), item, row[2].clone()], *weight);
                }
            }
            answer
        })
    }

    #[test]
    fn obeys_the_law() {
        law(false).check(64);
        law(true).check(64);
    }

    #[test]
    fn takes_the_elements_of_a_sliced_column_as_one_piece() {
        let lists = arrow::array::ListArray::from_iter_primitive::<Int64Type, _, _>(
            (0..6).map(|n| (n != 3).then(|| (0..n).map(Some).collect::<Vec<_>>())),
        );
        let other: ArrayRef = Arc::new(Int64Array::from_iter_values(0..6));
        let names: ArrayRef = Arc::new(arrow::array::StringViewArray::from_iter_values((0..6).map(|n| n.to_string())));
        let rows = RecordBatch::try_new(spec(false).input, vec![names, Arc::new(lists), other]).unwrap().slice(2, 4);
        let out = Unnest::new(&spec(false)).unwrap().apply(&Changes::inserts(rows)).unwrap();
        let values = |column: usize| out.rows().column(column).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(values(1), [0, 1, 0, 1, 2, 3, 0, 1, 2, 3, 4]);
        assert_eq!(values(2), [2, 2, 4, 4, 4, 4, 5, 5, 5, 5, 5]);
    }
}
