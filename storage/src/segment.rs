//! Segments: the changes that one commit made to one table, as one immutable Arrow IPC file.
//!
//! The file holds the table's columns and, last, [`WEIGHT_COLUMN`]; the weight column is left out if every row appears
//! exactly once. The IPC footer's metadata carry `frazil.data_bytes`, the number of bytes before the footer, and
//! `frazil.crc32`, the CRC-32 of those bytes in hexadecimal, since Arrow IPC itself does not notice changed bytes.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::reader::{StreamReader, read_footer_length};
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow::ipc::{CompressionType, MetadataVersion, root_as_footer};
use bytes::Bytes;
use catalog::{NewSegment, Object};

use crate::change::{Changes, WEIGHT_COLUMN, Weights, weighted_schema};
use crate::error::{Error, Result};
use crate::types;
use crate::warehouse::{Output, Warehouse};

const DATA_BYTES: &str = "frazil.data_bytes";
const CRC: &str = "frazil.crc32";
/// Alignment of everything in the file, and so the length of what stands before the schema: the magic and its padding.
const ALIGNMENT: usize = 64;

/// Writes the changes of one commit to one table, durably. The rows are cast to the table's columns by position.
///
/// `compress`: lz4. Costs more time than it saves for narrow rows on local disks.
pub async fn write_segment(
    warehouse: &Warehouse,
    object: &Object,
    changes: &[Changes],
    compress: bool,
) -> Result<NewSegment> {
    let schema = types::arrow_schema(object)?;
    let path = format!("{}/changelog/{}.arrow", Warehouse::table_directory(object), warehouse.clock().uuid());
    let rows = changes.iter().map(|part| part.len() as u64).sum();
    let insert_only = changes.iter().all(Changes::is_insert_only);
    let changes = changes.to_vec();
    let written = warehouse.write(&path, move |output| encode(output, &schema, &changes, compress)).await;
    let bytes = written.map_err(|error| error.with("table", &object.name))?;
    Ok(NewSegment { path, rows, bytes, insert_only })
}

/// All changes of a segment, in the order in which they were written. Read once and kept in memory while there is room.
pub async fn read_segment(warehouse: &Warehouse, path: &str) -> Result<Arc<Vec<Changes>>> {
    if let Some(kept) = warehouse.segments.get(path) {
        return Ok(kept);
    }
    let bytes = warehouse.get(path).await?;
    let size = bytes.len() as u64;
    let changes = Arc::new(decode(path, bytes, None)?);
    warehouse.segments.put(path, changes.clone(), size);
    Ok(changes)
}

/// The changes of a segment with only the chosen columns, decoding no others.
pub async fn read_segment_columns(warehouse: &Warehouse, path: &str, columns: &[usize]) -> Result<Vec<Changes>> {
    if let Some(kept) = warehouse.segments.get(path) {
        return kept.iter().map(|part| Ok(part.with_rows(part.rows().project(columns)?))).collect();
    }
    decode(path, warehouse.get(path).await?, Some(columns))
}

/// Writes the bytes of a segment file; gives their number.
fn encode(output: &mut Output<'_>, schema: &SchemaRef, changes: &[Changes], compress: bool) -> Result<u64> {
    let parts = changes.iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let ones = parts.iter().all(|part| match part.weights() {
        Weights::Ones => true,
        Weights::Each(each) => each.iter().all(|weight| *weight == 1),
    });
    let file_schema = if ones { schema.clone() } else { weighted_schema(schema) };
    let compression = compress.then_some(CompressionType::LZ4_FRAME);
    let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?.try_with_compression(compression)?;
    let mut writer = FileWriter::try_new_with_options(output, &file_schema, options)?;
    for part in parts {
        let rows = compact(&types::conform(part.rows(), schema)?)?;
        let batch = if ones { rows } else { part.with_rows(rows).to_weighted_batch()? };
        writer.write(&batch)?;
    }
    let (length, crc) = (writer.get_ref().bytes(), writer.get_ref().crc32());
    writer.write_metadata(DATA_BYTES, length.to_string());
    writer.write_metadata(CRC, format!("{crc:08x}"));
    writer.finish()?;
    Ok(writer.into_inner()?.bytes())
}

fn decode(path: &str, bytes: Bytes, columns: Option<&[usize]>) -> Result<Vec<Changes>> {
    let damaged = |what: &dyn std::fmt::Display| Error::corrupt(path, what);
    let data = checked(&bytes).map_err(|what| damaged(&what))?;
    let open =
        |projection| StreamReader::try_new(Cursor::new(data.clone()), projection).map_err(|error| damaged(&error));
    let mut reader = open(None)?;
    let fields = reader.schema().fields().len();
    let weighted = reader.schema().fields().last().is_some_and(|field| field.name() == WEIGHT_COLUMN);
    if let Some(columns) = columns {
        let mut projection = columns.to_vec();
        projection.extend(weighted.then(|| fields - 1));
        reader = open(Some(projection))?;
    }
    let part = |batch: Result<RecordBatch, arrow::error::ArrowError>| {
        let batch = batch.map_err(|error| damaged(&error))?;
        if weighted {
            Changes::from_weighted_batch(&batch).map_err(|error| damaged(&error))
        } else {
            Ok(Changes::inserts(batch))
        }
    };
    reader.map(part).collect()
}

/// The schema and the record batches of a file, which are an IPC stream, if their checksum is right. The footer is
/// outside the checksum: nothing else in it is relied upon.
fn checked(bytes: &Bytes) -> Result<Bytes, String> {
    let trailer = bytes.last_chunk::<10>().ok_or("it is cut off")?;
    let footer_bytes = read_footer_length(*trailer).map_err(|error| error.to_string())?;
    let end = bytes.len() - trailer.len();
    let footer = end.checked_sub(footer_bytes).and_then(|start| bytes.get(start..end)).ok_or("it is cut off")?;
    let footer = root_as_footer(footer).map_err(|error| error.to_string())?;
    let note = |name: &str| {
        let mut notes = footer.custom_metadata().into_iter().flatten();
        notes.find(|note| note.key() == Some(name)).and_then(|note| note.value())
    };
    let length = note(DATA_BYTES).and_then(|length| length.parse::<usize>().ok());
    let crc = note(CRC).and_then(|crc| u32::from_str_radix(crc, 16).ok());
    let (Some(length), Some(crc)) = (length, crc) else {
        return Err("the checksum is missing".to_string());
    };
    if !(ALIGNMENT..=bytes.len()).contains(&length) {
        return Err("it is cut off".to_string());
    }
    if crc32fast::hash(&bytes[..length]) != crc {
        return Err("the checksum does not match".to_string());
    }
    Ok(bytes.slice(ALIGNMENT..length))
}

/// Copies string and binary columns that hold on to much more memory than their rows need: what was filtered out of
/// a large batch would otherwise be written too.
pub(crate) fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(compact_column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

fn compact_column(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => {
            let view = column.as_string_view();
            if wasteful(view.views(), view.data_buffers()) { Arc::new(view.gc()) } else { column.clone() }
        }
        DataType::BinaryView => {
            let view = column.as_binary_view();
            if wasteful(view.views(), view.data_buffers()) { Arc::new(view.gc()) } else { column.clone() }
        }
        _ => column.clone(),
    }
}

fn wasteful(views: &[u128], buffers: &[arrow::buffer::Buffer]) -> bool {
    let held = buffers.iter().map(arrow::buffer::Buffer::len).sum::<usize>();
    // The low 32 bits of a view are the length; up to 12 bytes stand in the view itself.
    let used = views.iter().map(|view| *view as u32 as usize).filter(|length| *length > 12).sum::<usize>();
    held > used + used / 2 + 4096
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;
    use crate::error::ErrorKind;
    use crate::testing::{memory_warehouse, table};

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("s", DataType::Utf8View, true)]))
    }

    fn rows(keys: Vec<i64>) -> RecordBatch {
        let text =
            keys.iter().map(|key| Some(format!("a text of some length, number {key}"))).collect::<StringViewArray>();
        RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(keys)), Arc::new(text)]).unwrap()
    }

    fn object() -> Object {
        table(1, "t", &[("k", DataType::Int64, false), ("s", DataType::Utf8View, true)], &["k"])
    }

    fn encoded(changes: &[Changes]) -> Result<Bytes> {
        let mut bytes = Vec::new();
        encode(&mut Output::new(&mut bytes), &schema(), changes, false)?;
        Ok(bytes.into())
    }

    #[tokio::test]
    async fn changes_come_back() {
        let warehouse = memory_warehouse().await;
        for (compress, weights) in [(false, vec![1, -1, 2]), (true, vec![1, -1, 2]), (false, vec![1, 1, 1])] {
            let changes = [Changes::weighted(rows(vec![1, 2, 3]), weights.clone()), Changes::inserts(rows(vec![4]))];
            let segment = write_segment(&warehouse, &object(), &changes, compress).await.unwrap();
            assert_eq!((segment.rows, segment.insert_only), (4, weights[1] > 0));
            for _ in 0..2 {
                let got = read_segment(&warehouse, &segment.path).await.unwrap();
                assert_eq!(got.len(), 2);
                assert_eq!(got[0].rows(), changes[0].rows());
                assert_eq!((0..3).map(|row| got[0].weight(row)).collect::<Vec<_>>(), weights);
                assert_eq!(got[1].rows(), changes[1].rows());
            }
            warehouse.segments.clear();
            let keys = read_segment_columns(&warehouse, &segment.path, &[0]).await.unwrap();
            assert_eq!(keys[0].rows(), &rows(vec![1, 2, 3]).project(&[0]).unwrap());
            assert_eq!(keys[0].weight(1), weights[1]);
        }
    }

    #[tokio::test]
    async fn every_changed_or_missing_byte_is_noticed() {
        let warehouse = memory_warehouse().await;
        let bytes = encoded(&[Changes::weighted(rows(vec![1, 2]), vec![1, -1])]).unwrap();
        decode("good", bytes.clone(), None).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x10;
            // What is left: bytes of the footer that nothing depends on. Then the rows must be right.
            match decode("some/file", damaged.into(), None) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
                Ok(got) => assert_eq!(got[0].rows(), &rows(vec![1, 2]), "byte {at}"),
            }
            assert!(decode("some/file", bytes.slice(..at), None).is_err());
        }
        warehouse.put("t-1/changelog/x.arrow", bytes.slice(..100)).await.unwrap();
        let error = read_segment(&warehouse, "t-1/changelog/x.arrow").await.unwrap_err();
        assert!(error.to_string().contains("t-1/changelog/x.arrow"), "{error}");
    }

    #[test]
    fn filtered_strings_do_not_drag_their_buffers_along() {
        let large = rows((0..10_000).collect());
        let few = encoded(&[Changes::inserts(large.slice(5, 2))]).unwrap();
        assert!(few.len() < 4_000, "{} bytes", few.len());
        assert_eq!(decode("x", few, None).unwrap()[0].rows(), &large.slice(5, 2));
    }

    #[test]
    fn a_null_in_a_required_column_is_refused() {
        let nullable = Arc::new(Schema::new(vec![
            Field::new("k", DataType::Int64, true),
            Field::new("s", DataType::Utf8View, true),
        ]));
        let batch = RecordBatch::try_new(
            nullable,
            vec![Arc::new(Int64Array::from(vec![None::<i64>])), Arc::new(StringViewArray::from(vec!["x"]))],
        )
        .unwrap();
        let error = encoded(&[Changes::inserts(batch)]).unwrap_err();
        assert!(error.to_string().contains("column: k"), "{error}");
    }
}
