//! The hot tier folded: what the segments after the Iceberg snapshot add to it and remove from it.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::OwnedRow;
use catalog::{Object, Segment};
use futures::future::try_join_all;
use iceberg::spec::PrimitiveLiteral;

use crate::change::{Changes, Weights};
use crate::error::{Error, Result};
use crate::iceberg::BaseFile;
use crate::keys::{ABSENT, KeyIndex};
use crate::segment::read_segment;
use crate::types::{self, RowEncoder};
use crate::warehouse::Warehouse;

/// What goes out of the Iceberg snapshot.
#[derive(Debug)]
pub enum Removed {
    /// Nothing: all segments only add.
    Nothing,
    /// Every row with one of these keys.
    Keys(KeyIndex),
    /// As many copies of a row as it says; the index is over whole rows.
    Copies {
        /// The rows.
        index: KeyIndex,
        /// Copies to remove, by number of the row in the index.
        copies: Vec<u64>,
    },
}

/// See the module's description.
#[derive(Debug)]
pub struct HotRows {
    /// Rows that are added, each once.
    pub live: Vec<RecordBatch>,
    /// What goes out of the snapshot.
    pub removed: Removed,
    /// The columns that `removed` looks at.
    columns: Vec<usize>,
    /// Iceberg field id of the first of them.
    field_id: i32,
}

impl HotRows {
    /// The columns that decide what is removed.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Which rows of the base stay, given the columns of [`HotRows::columns`]. `copies`: what is left to remove, for a
    /// scan of the whole base in one stream; starts as a clone of that in [`Removed::Copies`].
    pub fn stays(&self, columns: &[ArrayRef], rows: usize, copies: &mut [u64]) -> Result<BooleanArray> {
        Ok(match &self.removed {
            Removed::Nothing => BooleanArray::from(vec![true; rows]),
            Removed::Keys(index) => index.find(columns)?.into_iter().map(|number| Some(number == ABSENT)).collect(),
            Removed::Copies { index, .. } => {
                let mut stays = |number: u32| match copies.get_mut(number as usize) {
                    Some(left) if *left > 0 => {
                        *left -= 1;
                        Some(false)
                    }
                    _ => Some(true),
                };
                index.find(columns)?.into_iter().map(&mut stays).collect()
            }
        })
    }

    /// What [`HotRows::stays`] starts with.
    pub fn copies(&self) -> Vec<u64> {
        match &self.removed {
            Removed::Copies { copies, .. } => copies.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether a data file may hold a row that is removed. Decided by the bounds in the manifest.
    pub fn may_touch(&self, file: &BaseFile) -> bool {
        let index = match &self.removed {
            Removed::Nothing => return false,
            Removed::Keys(index) => index,
            Removed::Copies { .. } => return true,
        };
        if index.len() == 0 {
            return false;
        }
        let number = |datum: Option<&iceberg::spec::Datum>| match datum?.literal() {
            PrimitiveLiteral::Int(value) => Some(i64::from(*value)),
            PrimitiveLiteral::Long(value) => Some(*value),
            _ => None,
        };
        let lower = number(file.file.lower_bounds().get(&self.field_id));
        let upper = number(file.file.upper_bounds().get(&self.field_id));
        match (index.range(), lower, upper) {
            (Some((least, greatest)), Some(lower), Some(upper)) => least <= upper && greatest >= lower,
            _ => true,
        }
    }

    fn memory(&self) -> u64 {
        let rows = self.live.iter().map(|batch| batch.get_array_memory_size() as u64).sum::<u64>();
        rows + match &self.removed {
            Removed::Nothing => 0,
            Removed::Keys(index) => index.memory(),
            Removed::Copies { index, copies } => index.memory() + 8 * copies.len() as u64,
        }
    }
}

/// The folded hot tier of a table, as the last scan needed it.
#[derive(Debug)]
pub(crate) struct FoldedHot {
    /// Paths of the first and the last segment, and how many there are. Segments leave the hot tier oldest first and
    /// are added newest last, so this names the list.
    of: (String, String, usize),
    rows: Arc<HotRows>,
}

/// Reads and folds the hot segments of a table. The last result per table is kept in memory while there is room.
pub async fn load(warehouse: &Warehouse, object: &Object, segments: &[Segment]) -> Result<Arc<HotRows>> {
    let ends = segments.first().zip(segments.last());
    let of = ends.map(|(first, last)| (first.file.path.clone(), last.file.path.clone(), segments.len()));
    let name = Warehouse::table_directory(object);
    if let Some(kept) = warehouse.hot.get(&name)
        && Some(&kept.of) == of.as_ref()
    {
        return Ok(kept.rows.clone());
    }
    let read = segments.iter().map(|segment| read_segment(warehouse, &segment.file.path));
    let parts = try_join_all(read).await?;
    let changes = parts.iter().flat_map(|part| part.iter()).collect::<Vec<_>>();
    let hot = Arc::new(fold(object, &changes)?);
    if let Some(of) = of {
        warehouse.hot.put(&name, Arc::new(FoldedHot { of, rows: hot.clone() }), hot.memory());
    }
    Ok(hot)
}

/// Folds changes in their order. Pure.
pub fn fold(object: &Object, changes: &[&Changes]) -> Result<HotRows> {
    let schema = types::arrow_schema(object)?;
    let key = types::key_columns(object)?;
    let only_adds = changes.iter().all(|part| part.is_insert_only());
    if object.insert_only || (key.is_empty() && only_adds) {
        let live = changes.iter().map(|part| repeated(part)).collect::<Result<Vec<_>>>()?;
        return Ok(HotRows { live, removed: Removed::Nothing, columns: Vec::new(), field_id: 0 });
    }
    if key.is_empty() { fold_copies(&schema, changes) } else { fold_keys(&schema, key, changes) }
}

/// Every row as often as its weight says; the weights are positive.
fn repeated(part: &Changes) -> Result<RecordBatch> {
    let Weights::Each(each) = part.weights() else {
        return Ok(part.rows().clone());
    };
    if each.iter().all(|weight| *weight == 1) {
        return Ok(part.rows().clone());
    }
    let copies = each
        .iter()
        .enumerate()
        .flat_map(|(row, weight)| std::iter::repeat_n(row as u32, usize::try_from(*weight).unwrap_or(0)));
    Ok(take_record_batch(part.rows(), &UInt32Array::from_iter_values(copies))?)
}

fn types_of(schema: &SchemaRef, columns: &[usize]) -> Vec<DataType> {
    columns.iter().map(|column| schema.field(*column).data_type().clone()).collect()
}

fn project(rows: &RecordBatch, columns: &[usize]) -> Vec<ArrayRef> {
    columns.iter().map(|column| rows.column(*column).clone()).collect()
}

/// No key: rows are counted as wholes.
fn fold_copies(schema: &SchemaRef, changes: &[&Changes]) -> Result<HotRows> {
    let columns = (0..schema.fields().len()).collect::<Vec<_>>();
    let mut index = KeyIndex::new(&types_of(schema, &columns))?;
    let mut weights: Vec<i64> = Vec::new();
    let mut seen: Vec<(usize, u32)> = Vec::new();
    for (part, changes) in changes.iter().enumerate() {
        let numbers = index.insert(changes.rows().columns())?;
        for (row, number) in numbers.into_iter().enumerate() {
            if number as usize == weights.len() {
                weights.push(0);
                seen.push((part, row as u32));
            }
            weights[number as usize] += changes.weight(row);
        }
    }
    let mut taken = vec![Vec::new(); changes.len()];
    for ((part, row), weight) in seen.into_iter().zip(&weights) {
        taken[part].extend(std::iter::repeat_n(row, usize::try_from(*weight).unwrap_or(0)));
    }
    let live = take_parts(changes, taken)?;
    let copies = weights.iter().map(|weight| u64::try_from(-weight).unwrap_or(0)).collect::<Vec<_>>();
    let removed =
        if copies.iter().all(|copies| *copies == 0) { Removed::Nothing } else { Removed::Copies { index, copies } };
    Ok(HotRows { live, removed, columns, field_id: 1 })
}

/// Keyed: the last row per key counts. A retraction takes a row back only if it is the one that stands: an update may
/// add the new row before it retracts the old one.
fn fold_keys(schema: &SchemaRef, key: Vec<usize>, changes: &[&Changes]) -> Result<HotRows> {
    let mut index = KeyIndex::new(&types_of(schema, &key))?;
    let mut standing: Vec<Option<(u32, u32)>> = Vec::new();
    let mut equal = RowEquality::new(changes);
    for (part, changes) in changes.iter().enumerate() {
        let numbers = index.insert(&project(changes.rows(), &key))?;
        standing.resize(index.len(), None);
        for (row, number) in numbers.into_iter().enumerate() {
            let here = (part as u32, row as u32);
            let slot = &mut standing[number as usize];
            if changes.weight(row) > 0 {
                *slot = Some(here);
            } else if let Some(there) = *slot
                && equal.rows(there, here)?
            {
                *slot = None;
            }
        }
    }
    let mut masks = changes.iter().map(|part| vec![false; part.len()]).collect::<Vec<_>>();
    for (part, row) in standing.into_iter().flatten() {
        masks[part as usize][row as usize] = true;
    }
    let parts = changes.iter().zip(masks).filter(|(_, mask)| mask.contains(&true));
    let live = parts.map(|(part, mask)| Ok(filter_record_batch(part.rows(), &BooleanArray::from(mask))?));
    let live = live.collect::<Result<Vec<_>>>()?;
    let field_id = key.first().map_or(0, |column| *column as i32 + 1);
    Ok(HotRows { live, removed: Removed::Keys(index), columns: key, field_id })
}

fn take_parts(changes: &[&Changes], taken: Vec<Vec<u32>>) -> Result<Vec<RecordBatch>> {
    let parts = changes.iter().zip(taken).filter(|(_, rows)| !rows.is_empty());
    parts.map(|(part, rows)| Ok(take_record_batch(part.rows(), &UInt32Array::from(rows))?)).collect()
}

/// Compares whole rows, encoding one only when it is asked for.
struct RowEquality<'a> {
    changes: &'a [&'a Changes],
    encoder: Option<RowEncoder>,
}

impl<'a> RowEquality<'a> {
    fn new(changes: &'a [&'a Changes]) -> Self {
        Self { changes, encoder: None }
    }

    fn rows(&mut self, left: (u32, u32), right: (u32, u32)) -> Result<bool> {
        let Some(schema) = self.changes.first().map(|part| part.schema()) else {
            return Ok(false);
        };
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(RowEncoder::new(schema.fields().iter().map(|field| field.data_type()))?),
        };
        let slice = |(part, row): (u32, u32)| self.changes[part as usize].rows().slice(row as usize, 1);
        Ok(encode(encoder, &slice(left))? == encode(encoder, &slice(right))?)
    }
}

fn encode(encoder: &RowEncoder, row: &RecordBatch) -> Result<OwnedRow> {
    let rows = encoder.encode(row.columns())?;
    if rows.num_rows() != 1 {
        return Err(Error::internal("one row was expected"));
    }
    Ok(rows.row(0).owned())
}
