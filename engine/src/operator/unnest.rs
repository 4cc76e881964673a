//! Unnesting: one row per element of one or several lists, at any depth, and one column per field of structs. Stateless.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};

use crate::change::{Changes, Weights};
use crate::error::{Error, Result};
use crate::operator::{Operator, OperatorInfo, columns};

/// A list column that is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListColumn {
    /// The column of the input (`List`, `LargeList` or `FixedSizeList`).
    pub column: usize,
    /// How many levels of lists are opened: 1 gives the elements, 2 the elements of elements.
    pub depth: usize,
}

/// What an [`Unnest`] does.
#[derive(Debug, Clone)]
pub struct UnnestSpec {
    /// Columns of the input.
    pub input: SchemaRef,
    /// The lists. They are opened side by side, the deepest level first; a shorter one is padded with NULLs. A column may
    /// be opened several times, to different depths.
    pub lists: Vec<ListColumn>,
    /// Struct columns, which become their fields.
    pub structs: Vec<usize>,
    /// Whether a NULL list counts as a list of one NULL. An empty list always gives nothing.
    pub preserve_nulls: bool,
    /// Schema of the output: the input's, with what became of the opened columns in their places.
    pub output: SchemaRef,
}

/// Repeats each row for every element of its lists. Stateless.
#[derive(Debug)]
pub struct Unnest {
    spec: UnnestSpec,
    levels: usize,
}

impl Unnest {
    /// An instance.
    ///
    /// # Errors
    /// `Internal` if a column is no list of that depth, or no struct, or the output does not fit.
    pub fn new(spec: &UnnestSpec) -> Result<Self> {
        let mut width = spec.input.fields().len();
        let field = |column: usize| {
            let field = spec.input.fields().get(column);
            field.ok_or_else(|| Error::internal("there is no such column to unnest").with("column", column))
        };
        for list in &spec.lists {
            let mut data_type = field(list.column)?.data_type();
            for _ in 0..list.depth {
                data_type = match data_type {
                    DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                        item.data_type()
                    }
                    other => return Err(Error::internal("only a list can be unnested").with("type", other)),
                };
            }
        }
        for column in 0..spec.input.fields().len() {
            width += spec.lists.iter().filter(|list| list.column == column).count().saturating_sub(1);
        }
        for column in &spec.structs {
            let DataType::Struct(fields) = field(*column)?.data_type() else {
                return Err(Error::internal("only a struct has fields").with("column", column));
            };
            width = width + fields.len() - 1;
        }
        if spec.output.fields().len() != width {
            return Err(Error::internal("unnesting gives other columns").with("schema", &spec.output));
        }
        Ok(Self { levels: spec.lists.iter().map(|list| list.depth).max().unwrap_or(0), spec: spec.clone() })
    }

    /// Changes in, changes out.
    ///
    /// # Errors
    /// `Data` if one batch unnests to more than 2^32 rows.
    pub fn apply(&self, changes: &Changes) -> Result<Changes> {
        let rows = changes.rows();
        let mut parents: Option<UInt32Array> = None;
        let mut opened: Vec<Option<ArrayRef>> = vec![None; self.spec.lists.len()];
        for level in (1..=self.levels).rev() {
            self.open_level(level, rows, &mut parents, &mut opened)?;
        }
        let repeated = |array: &ArrayRef| match &parents {
            Some(parents) => Ok(take(array, parents, None)?),
            None => Ok::<_, Error>(array.clone()),
        };
        let mut arrays = Vec::with_capacity(self.spec.output.fields().len());
        for (column, array) in rows.columns().iter().enumerate() {
            let lists = self.spec.lists.iter().zip(&opened).filter(|(list, _)| list.column == column);
            let elements = lists.filter_map(|(_, elements)| elements.clone()).collect::<Vec<_>>();
            if !elements.is_empty() {
                arrays.extend(elements);
            } else if self.spec.structs.contains(&column) {
                arrays.extend(fields(&repeated(array)?)?);
            } else {
                arrays.push(repeated(array)?);
            }
        }
        let weights = match (changes.weights(), &parents) {
            (Weights::Each(each), Some(parents)) => {
                Weights::Each(parents.values().iter().map(|parent| each[*parent as usize]).collect::<Vec<_>>().into())
            }
            (weights, _) => weights.clone(),
        };
        let len = parents.as_ref().map_or(rows.num_rows(), UInt32Array::len);
        Ok(Changes::new(columns::batch(&self.spec.output, arrays, len)?, weights))
    }

    /// Opens one level of all lists that are at least so deep; `parents` says from which row of the batch each row comes.
    fn open_level(
        &self,
        level: usize,
        rows: &RecordBatch,
        parents: &mut Option<UInt32Array>,
        opened: &mut [Option<ArrayRef>],
    ) -> Result<()> {
        let mut lists = Vec::new();
        for (place, list) in self.spec.lists.iter().enumerate().filter(|(_, list)| list.depth >= level) {
            let array = match (&opened[place], &parents) {
                (Some(elements), _) => elements.clone(),
                (None, Some(parents)) => take(rows.column(list.column), parents, None)?,
                (None, None) => rows.column(list.column).clone(),
            };
            lists.push((place, Lists::of(&array)?));
        }
        let plan = Plan::of(&lists, self.spec.preserve_nulls)?;
        for (place, list) in &lists {
            opened[*place] = Some(plan.elements(list)?);
        }
        // Lists that are open from an earlier level belong to rows of that level.
        let above = parents.take();
        *parents = Some(match above {
            None => plan.parents,
            Some(above) => plan.parents.values().iter().map(|parent| above.value(*parent as usize)).collect(),
        });
        Ok(())
    }
}

/// The fields of a struct, NULL where the struct is.
fn fields(array: &ArrayRef) -> Result<Vec<ArrayRef>> {
    let array = array.as_struct_opt().ok_or_else(|| Error::internal("only a struct has fields"))?;
    let Some(nulls) = array.nulls() else { return Ok(array.columns().to_vec()) };
    let is_null = arrow::array::BooleanArray::new(!nulls.inner(), None);
    array.columns().iter().map(|field| Ok(arrow::compute::nullif(field, &is_null)?)).collect()
}

/// The lists of a column, whatever their encoding.
struct Lists {
    elements: ArrayRef,
    /// Start and length of each list; `None` for NULL.
    ranges: Vec<Option<(usize, usize)>>,
}

impl Lists {
    fn of(array: &ArrayRef) -> Result<Self> {
        let range = |row: usize, start: usize, end: usize| array.is_valid(row).then_some((start, end - start));
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

    fn length(&self, row: usize, preserve_nulls: bool) -> usize {
        self.ranges[row].map_or(usize::from(preserve_nulls), |(_, length)| length)
    }

    /// The elements of all lists are one piece of the element array, and this is it.
    fn contiguous(&self) -> Option<(usize, usize)> {
        let mut piece = (0, 0);
        for (start, length) in self.ranges.iter().flatten().filter(|(_, length)| *length > 0) {
            match piece {
                (_, 0) => piece = (*start, *length),
                (first, so_far) if first + so_far == *start => piece.1 += length,
                _ => return None,
            }
        }
        Some(piece)
    }
}

/// How one level of lists is opened side by side.
struct Plan {
    /// The row that each output row comes from.
    parents: UInt32Array,
    /// How many rows each row becomes.
    lengths: Vec<usize>,
}

impl Plan {
    fn of(lists: &[(usize, Lists)], preserve_nulls: bool) -> Result<Self> {
        let rows = lists.first().map_or(0, |(_, list)| list.ranges.len());
        let longest = |row: usize| lists.iter().map(|(_, list)| list.length(row, preserve_nulls)).max().unwrap_or(0);
        let lengths = (0..rows).map(longest).collect::<Vec<_>>();
        let total = lengths.iter().sum::<usize>();
        let elements = lists.iter().map(|(_, list)| list.elements.len()).max().unwrap_or(0);
        if u32::try_from(total.max(rows).max(elements)).is_err() {
            return Err(Error::data("a batch would unnest to more than 2^32 rows").with("rows", total));
        }
        let mut parents = Vec::with_capacity(total);
        for (row, length) in lengths.iter().enumerate() {
            parents.extend(std::iter::repeat_n(row as u32, *length));
        }
        Ok(Self { parents: parents.into(), lengths })
    }

    /// The elements of one column, padded with NULLs.
    fn elements(&self, list: &Lists) -> Result<ArrayRef> {
        let total = self.parents.len();
        if let Some((start, length)) = list.contiguous().filter(|(_, length)| *length == total) {
            return Ok(list.elements.slice(start, length));
        }
        let mut chosen = Vec::with_capacity(total);
        for (range, length) in list.ranges.iter().zip(&self.lengths) {
            let (start, own) = range.unwrap_or((0, 0));
            chosen.extend((start..start + own).map(|element| Some(element as u32)));
            chosen.extend(std::iter::repeat_n(None, length - own));
        }
        Ok(take(&list.elements, &UInt32Array::from(chosen), None)?)
    }
}

impl Operator for Unnest {
    fn info(&self) -> OperatorInfo {
        OperatorInfo { name: "Unnest", schema: self.spec.output.clone(), state: vec![] }
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, out: &mut Vec<Changes>) -> Result<()> {
        let changes = self.apply(&changes)?;
        if !changes.is_empty() {
            out.push(changes);
        }
        Ok(())
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
        UnnestSpec {
            input: fields(DataType::List(item)),
            lists: vec![ListColumn { column: 1, depth: 1 }],
            structs: vec![],
            preserve_nulls,
            output: fields(DataType::Int64),
        }
    }

    fn law(preserve_nulls: bool) -> Law {
        let make = move || {
            let unnest = Unnest::new(&spec(preserve_nulls)).unwrap();
            Box::new(unnest) as Box<dyn Operator>
        };
        Law::new(vec![Input::new(spec(preserve_nulls).input, &[0])], make, move |seen| {
            let mut answer = ZSet::new();
            for (row, weight) in &seen.totals[0] {
                let mut items = if let Value::List(items) = &row[1] { items.clone() } else { vec![] };
                if row[1].is_null() && preserve_nulls {
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

    /// Two lists side by side, one of them opened to both depths.
    #[test]
    fn opens_several_lists_to_several_depths() {
        let item = |data_type| DataType::List(Arc::new(Field::new_list_field(data_type, true)));
        let nested = item(item(DataType::Int64));
        let schema = |types: &[DataType]| -> SchemaRef {
            let fields = types.iter().enumerate().map(|(n, t)| Field::new(format!("c{n}"), t.clone(), true));
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        };
        let input = schema(&[DataType::Int64, nested, item(DataType::Int64)]);
        let output = schema(&[DataType::Int64, DataType::Int64, item(DataType::Int64), DataType::Int64]);
        let list = |column, depth| ListColumn { column, depth };
        let spec = UnnestSpec {
            input: input.clone(),
            lists: vec![list(1, 2), list(1, 1), list(2, 1)],
            structs: vec![],
            preserve_nulls: false,
            output,
        };
        let for_law = spec.clone();
        let make = move || {
            let unnest = Unnest::new(&for_law).unwrap();
            Box::new(unnest) as Box<dyn Operator>
        };
        let items = |value: &Value| if let Value::List(items) = value { items.clone() } else { vec![] };
        let law = Law::new(vec![Input::new(input, &[0])], make, move |seen| {
            let mut answer = ZSet::new();
            for (row, weight) in &seen.totals[0] {
                // The deepest level first: every list within the list becomes a row, beside all columns.
                for inner in items(&row[1]) {
                    let (deep, flat, other) = (items(&inner), items(&row[1]), items(&row[2]));
                    for at in 0..deep.len().max(flat.len()).max(other.len()) {
                        let get = |items: &[Value]| items.get(at).cloned().unwrap_or(Value::Null);
                        let out = vec![row[0].clone(), get(&deep), get(&flat), get(&other)];
                        add(&mut answer, out, *weight);
                    }
                }
            }
            answer
        });
        law.check(64);
    }

    #[test]
    fn a_struct_becomes_its_fields() {
        let fields = vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Utf8View, true)];
        let structs = arrow::array::StructArray::new(
            fields.clone().into(),
            vec![Arc::new(Int64Array::from(vec![1, 2])), Arc::new(arrow::array::StringViewArray::from(vec!["a", "b"]))],
            Some(vec![true, false].into()),
        );
        let input = Arc::new(Schema::new(vec![Field::new("s", DataType::Struct(fields.clone().into()), true)]));
        let output = Arc::new(Schema::new(fields));
        let spec = UnnestSpec { input: input.clone(), lists: vec![], structs: vec![0], preserve_nulls: false, output };
        let rows = RecordBatch::try_new(input, vec![Arc::new(structs)]).unwrap();
        let out = Unnest::new(&spec).unwrap().apply(&Changes::weighted(rows, vec![2, -1])).unwrap();
        assert_eq!((out.len(), out.weight(0), out.weight(1)), (2, 2, -1));
        let x = out.rows().column(0).as_primitive::<Int64Type>();
        assert_eq!((x.value(0), x.is_null(1), out.rows().column(1).is_null(1)), (1, true, true));
    }
}
