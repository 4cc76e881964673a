//! Folding state files: the last row per key, without deletions, sorted by vnode.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::UInt8Type;
use catalog::ObjectId;

use super::{StateFile, StateSection, read_state, write_state};
use crate::error::{Error, ErrorKind, Result};
use crate::keys::KeyIndex;
use crate::warehouse::Warehouse;

/// Rows of a table from which on its sections are cut by vnode, so that a restore reads only its own.
const CUT_ROWS: usize = 65_536;
/// Vnodes in one section of a cut table.
const CUT_VNODES: usize = 16;

/// Folds files into one: of the rows with equal vnode and key, the last one stays, unless it is a deletion.
///
/// `files`: oldest first. `key_len`: for each (operator, table) the number of key columns, which are the first ones
/// after `__vnode` and `__deleted`. The files themselves stay: a checkpoint may name them.
pub async fn fold_state(
    warehouse: &Warehouse,
    job: ObjectId,
    files: &[StateFile],
    key_len: &BTreeMap<(u32, u32), usize>,
) -> Result<StateFile> {
    let mut tables: BTreeMap<(u32, u32), Vec<RecordBatch>> = BTreeMap::new();
    for file in files {
        for section in read_state(warehouse, file, None).await? {
            tables.entry((section.operator, section.table)).or_default().push(section.batch);
        }
    }
    let key_len = key_len.clone();
    let fold_all = move || {
        let mut sections = Vec::new();
        for ((operator, table), batches) in tables {
            let Some(key_len) = key_len.get(&(operator, table)) else {
                return Err(Error::new(ErrorKind::Invalid, "the state file holds a table that the job does not have")
                    .with("operator", operator)
                    .with("table", table));
            };
            let folded = fold(&batches, *key_len).map_err(|e| e.with("operator", operator).with("table", table))?;
            sections.extend(cut(folded)?.into_iter().map(|batch| StateSection { operator, table, batch }));
        }
        Ok(sections)
    };
    let sections = tokio::task::spawn_blocking(fold_all).await;
    let sections = sections.map_err(|error| Error::internal("folding was cut off").because(error))??;
    write_state(warehouse, job, sections).await
}

/// Folds the batches of one table, oldest first. Pure.
fn fold(batches: &[RecordBatch], key_len: usize) -> Result<RecordBatch> {
    let schema = batches.first().map(RecordBatch::schema).ok_or_else(|| Error::internal("nothing to fold"))?;
    let all = concat_batches(&schema, batches)?;
    if schema.fields().len() < 2 + key_len {
        return Err(Error::new(ErrorKind::Corrupt, "the state has fewer columns than its key"));
    }
    let key = std::iter::once(0).chain(2..2 + key_len).collect::<Vec<_>>();
    let columns = key.iter().map(|column| all.column(*column).clone()).collect::<Vec<ArrayRef>>();
    let types = columns.iter().map(|column| column.data_type().clone()).collect::<Vec<_>>();
    let mut index = KeyIndex::new(&types)?;
    let mut last: Vec<u32> = Vec::new();
    for (row, number) in index.insert(&columns)?.into_iter().enumerate() {
        match last.get_mut(number as usize) {
            Some(slot) => *slot = row as u32,
            None => last.push(row as u32),
        }
    }
    let deleted: &BooleanArray = all.column(1).as_boolean();
    last.retain(|row| !deleted.value(*row as usize));
    let vnodes = all.column(0).as_primitive::<UInt8Type>().values();
    last.sort_by_key(|row| (vnodes[*row as usize], *row));
    Ok(take_record_batch(&all, &UInt32Array::from(last))?)
}

/// A large table in parts of some vnodes each. The rows are sorted by vnode.
fn cut(batch: RecordBatch) -> Result<Vec<RecordBatch>> {
    if batch.num_rows() < CUT_ROWS {
        return Ok(vec![batch]);
    }
    let vnodes = batch.column(0).as_primitive::<UInt8Type>().values().clone();
    let mut parts = Vec::new();
    let mut start = 0;
    for last in (0..=255_usize).skip(CUT_VNODES - 1).step_by(CUT_VNODES) {
        let end = vnodes.partition_point(|vnode| usize::from(*vnode) <= last);
        parts.push(batch.slice(start, end - start));
        start = end;
    }
    Ok(parts)
}
