//! The bytes of a state file; see the description in [`super`].

use std::io::{Cursor, Write};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, UInt8Type};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{DELETED_COLUMN, StateSection, VNODE_COLUMN};
use crate::error::{Error, Result};
use crate::segment::compact;
use crate::warehouse::Output;

const MAGIC: &[u8; 8] = b"FRZSTAT1";
/// Length of the index, its checksum, and the magic.
const TRAILER: usize = 16;

/// Where a section is and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub operator: u32,
    pub table: u32,
    pub rows: u64,
    pub offset: u64,
    pub bytes: u64,
    pub crc32: u32,
    pub first_vnode: u8,
    pub last_vnode: u8,
}

#[derive(Serialize, Deserialize)]
struct Index {
    sections: Vec<Entry>,
}

/// Writes the bytes of a file; gives their number.
pub fn encode(output: &mut Output<'_>, sections: &[StateSection]) -> Result<u64> {
    let failed = |error| Error::io(error, "write", "a state file");
    output.write_all(MAGIC).map_err(failed)?;
    let mut entries = Vec::new();
    for section in sections.iter().filter(|section| section.batch.num_rows() > 0) {
        let (first_vnode, last_vnode) = vnodes(section)?;
        let offset = output.bytes();
        let batch = compact(&section.batch)?;
        let mut part = Output::new(output);
        let mut writer = StreamWriter::try_new_with_options(&mut part, &batch.schema(), options(&batch)?)?;
        writer.write(&batch)?;
        writer.finish()?;
        drop(writer);
        entries.push(Entry {
            operator: section.operator,
            table: section.table,
            rows: batch.num_rows() as u64,
            offset,
            bytes: part.bytes(),
            crc32: part.crc32(),
            first_vnode,
            last_vnode,
        });
    }
    let index = serde_json::to_vec(&Index { sections: entries })
        .map_err(|error| Error::internal("the index of a state file").because(error))?;
    let length = u32::try_from(index.len()).map_err(|_| Error::internal("a state file has too many sections"))?;
    let checksum = crc32fast::hash(&index).to_le_bytes();
    for part in [&index, &length.to_le_bytes()[..], &checksum, MAGIC] {
        output.write_all(part).map_err(failed)?;
    }
    Ok(output.bytes())
}

/// Deletions are a key and otherwise nothing but zeros: those are compressed.
fn options(batch: &RecordBatch) -> Result<IpcWriteOptions> {
    let deletions = batch.column(1).as_boolean().false_count() == 0;
    let compression = deletions.then_some(CompressionType::LZ4_FRAME);
    Ok(IpcWriteOptions::default().try_with_compression(compression)?)
}

/// Least and greatest vnode of a section; checks that its first two columns are what they must be.
fn vnodes(section: &StateSection) -> Result<(u8, u8)> {
    let schema = section.batch.schema();
    let is = |i: usize, name, data_type| {
        schema.fields().get(i).is_some_and(|field| field.name() == name && *field.data_type() == data_type)
    };
    if !is(0, VNODE_COLUMN, DataType::UInt8) || !is(1, DELETED_COLUMN, DataType::Boolean) {
        let message = format!("state must begin with the columns {VNODE_COLUMN} and {DELETED_COLUMN}");
        return Err(Error::internal(message).with("operator", section.operator).with("table", section.table));
    }
    let values = section.batch.column(0).as_primitive::<UInt8Type>().values();
    let first = values.iter().min().copied().unwrap_or(0);
    Ok((first, values.iter().max().copied().unwrap_or(0)))
}

/// How many bytes at the file's end hold the index and the trailer, given at least the trailer.
pub fn tail_bytes(path: &str, tail: &[u8]) -> Result<u64> {
    let trailer = tail.last_chunk::<TRAILER>().ok_or_else(|| Error::corrupt(path, "it is too short"))?;
    let (length, rest) = trailer.split_at(4);
    if &rest[4..] != MAGIC {
        return Err(Error::corrupt(path, "it is no state file, or cut off"));
    }
    let length = u32::from_le_bytes(length.try_into().map_err(|_| Error::internal("four bytes"))?);
    Ok(u64::from(length) + TRAILER as u64)
}

/// The index, given the file's last bytes. Checks that the sections lie within the file.
pub fn decode_index(path: &str, tail: &[u8], file_bytes: u64) -> Result<Vec<Entry>> {
    let needed = usize::try_from(tail_bytes(path, tail)?).map_err(|_| Error::internal("a 32-bit length"))?;
    let start = tail.len().checked_sub(needed).ok_or_else(|| Error::corrupt(path, "it is cut off"))?;
    let (index, trailer) = tail[start..].split_at(needed - TRAILER);
    if trailer[4..8] != crc32fast::hash(index).to_le_bytes() {
        return Err(Error::corrupt(path, "the checksum of the index does not match"));
    }
    let index: Index =
        serde_json::from_slice(index).map_err(|error| Error::corrupt(path, "bad index").because(error))?;
    let limit = file_bytes - needed as u64;
    if index.sections.iter().any(|entry| entry.offset.checked_add(entry.bytes).is_none_or(|end| end > limit)) {
        return Err(Error::corrupt(path, "a section lies outside the file"));
    }
    Ok(index.sections)
}

/// The batches of a section, given its bytes.
pub fn decode_section(path: &str, entry: &Entry, bytes: &Bytes) -> Result<Vec<RecordBatch>> {
    if bytes.len() as u64 != entry.bytes || crc32fast::hash(bytes) != entry.crc32 {
        return Err(Error::corrupt(path, "the checksum of a section does not match"));
    }
    let damaged = |error: arrow::error::ArrowError| Error::corrupt(path, error);
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(damaged)?;
    reader.map(|batch| batch.map_err(damaged)).collect()
}
