//! Operator state on the store: one file per task and checkpoint, folded into sorted ones in the background.
//!
//! # Format, version 1
//! ```text
//! "FRZSTAT1"                      8 bytes
//! section 0, section 1, ...       each an Arrow IPC stream (schema, record batches, end mark)
//! index                           JSON: {"sections": [{"operator", "table", "rows", "offset", "bytes", "crc32",
//!                                   "first_vnode", "last_vnode"}, ...]}; offsets from the file's start
//! length of the index             u32, little-endian
//! CRC-32 of the index             u32, little-endian
//! "FRZSTAT1"                      8 bytes
//! ```
//! A section's record batches have the columns `__vnode: UInt8 NOT NULL`, `__deleted: Boolean NOT NULL`, then the
//! state's own, key columns first. Every byte is under a checksum, so damage is noticed.

mod fold;
mod format;

use std::ops::RangeInclusive;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt8Type;
use bytes::Bytes;
use catalog::ObjectId;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::warehouse::Warehouse;

pub use self::fold::fold_state;

/// Name of the first column of every section.
pub const VNODE_COLUMN: &str = "__vnode";
/// Name of the second column of every section.
pub const DELETED_COLUMN: &str = "__deleted";

/// Bytes at a file's end that are read at first, in the hope that the index is in them.
const TAIL_BYTES: u64 = 64 << 10;

/// Rows of one state table of one operator.
#[derive(Debug, Clone, PartialEq)]
pub struct StateSection {
    /// Number of the operator in its job.
    pub operator: u32,
    /// Number of the table in the operator.
    pub table: u32,
    /// `__vnode`, `__deleted`, then the state's columns.
    pub batch: RecordBatch,
}

/// A state file, as a checkpoint names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Path relative to the warehouse's root.
    pub path: String,
    /// Rows, deletions included.
    pub rows: u64,
    /// Size.
    pub bytes: u64,
}

/// Writes state, durably. Sections without rows are left out.
pub async fn write_state(warehouse: &Warehouse, job: ObjectId, sections: Vec<StateSection>) -> Result<StateFile> {
    let path = format!("_state/{job}/{}.state", warehouse.clock().uuid());
    let rows = sections.iter().map(|section| section.batch.num_rows() as u64).sum();
    let written = warehouse.write(&path, move |output| format::encode(output, &sections)).await;
    let bytes = written.map_err(|error| error.with("job", job))?;
    Ok(StateFile { path, rows, bytes })
}

/// Reads state. `vnodes`: only rows of these; sections without any are not read at all.
pub async fn read_state(
    warehouse: &Warehouse,
    file: &StateFile,
    vnodes: Option<RangeInclusive<u8>>,
) -> Result<Vec<StateSection>> {
    let entries = read_index(warehouse, file).await?;
    let vnodes = vnodes.unwrap_or(0..=u8::MAX);
    let wanted = |entry: &format::Entry| entry.first_vnode <= *vnodes.end() && entry.last_vnode >= *vnodes.start();
    let entries = entries.into_iter().filter(wanted).collect::<Vec<_>>();
    let ranges = entries.iter().map(|entry| entry.offset..entry.offset + entry.bytes).collect::<Vec<_>>();
    let path = object_path(&file.path)?;
    let parts = warehouse.store().get_ranges(&path, &ranges).await;
    let parts = parts.map_err(|error| Error::store(error, "read the state", &file.path))?;
    let mut sections = Vec::new();
    for (entry, bytes) in entries.iter().zip(parts) {
        for batch in format::decode_section(&file.path, entry, &bytes)? {
            let batch = only_vnodes(&file.path, batch, entry, &vnodes)?;
            if batch.num_rows() > 0 {
                sections.push(StateSection { operator: entry.operator, table: entry.table, batch });
            }
        }
    }
    Ok(sections)
}

async fn read_index(warehouse: &Warehouse, file: &StateFile) -> Result<Vec<format::Entry>> {
    let path = object_path(&file.path)?;
    let failed = |error| Error::store(error, "read the state", &file.path);
    let start = file.bytes.saturating_sub(TAIL_BYTES);
    let tail = warehouse.store().get_range(&path, start..file.bytes).await.map_err(failed)?;
    if tail.len() as u64 != file.bytes - start {
        return Err(Error::corrupt(&file.path, "it is cut off"));
    }
    let needed = format::tail_bytes(&file.path, &tail)?;
    if needed > file.bytes {
        return Err(Error::corrupt(&file.path, "the index is longer than the file"));
    }
    let tail: Bytes = if needed > tail.len() as u64 {
        warehouse.store().get_range(&path, file.bytes - needed..file.bytes).await.map_err(failed)?
    } else {
        tail
    };
    format::decode_index(&file.path, &tail, file.bytes)
}

fn object_path(path: &str) -> Result<Path> {
    Path::parse(path).map_err(|error| Error::new(ErrorKind::Invalid, "not a path").with("path", path).because(error))
}

fn only_vnodes(
    path: &str,
    batch: RecordBatch,
    entry: &format::Entry,
    vnodes: &RangeInclusive<u8>,
) -> Result<RecordBatch> {
    if vnodes.contains(&entry.first_vnode) && vnodes.contains(&entry.last_vnode) {
        return Ok(batch);
    }
    let column = batch.column(0).as_primitive_opt::<UInt8Type>();
    let column = column.ok_or_else(|| Error::corrupt(path, "the first column is not the vnode"))?;
    let mask = column.values().iter().map(|vnode| Some(vnodes.contains(vnode))).collect::<BooleanArray>();
    Ok(filter_record_batch(&batch, &mask)?)
}

#[cfg(test)]
mod tests;
