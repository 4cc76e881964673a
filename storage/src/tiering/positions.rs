//! Where in the data files the rows are that the hot tier removes.

use catalog::Object;
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};

use crate::error::{Error, Result};
use crate::iceberg::{BaseFile, LoadedTable, parquet_reader};
use crate::scan::HotRows;
use crate::types;
use crate::warehouse::Warehouse;

/// Data file locations with the positions of rows that go, ascending. Reads only the columns that decide, and only of
/// files whose bounds admit such rows. Rows that are deleted already are left out.
pub async fn find(
    warehouse: &Warehouse,
    object: &Object,
    base: &LoadedTable,
    hot: &HotRows,
) -> Result<Vec<(String, Vec<u64>)>> {
    let mut copies = hot.copies();
    let mut found = Vec::new();
    for file in base.files.iter().filter(|file| hot.may_touch(file)) {
        let positions = in_file(warehouse, object, base, file, hot, &mut copies).await?;
        if !positions.is_empty() {
            found.push((file.file.file_path().to_string(), positions));
        }
    }
    Ok(found)
}

async fn in_file(
    warehouse: &Warehouse,
    object: &Object,
    base: &LoadedTable,
    file: &BaseFile,
    hot: &HotRows,
    copies: &mut [u64],
) -> Result<Vec<u64>> {
    let damaged =
        |error: parquet::errors::ParquetError| Error::corrupt(&file.path, "unreadable Parquet").because(error);
    let footer = base.footer(warehouse, file).await?;
    let metadata = ArrowReaderMetadata::try_new(footer, ArrowReaderOptions::new()).map_err(damaged)?;
    let reader = parquet_reader(warehouse, file)?;
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
    let mask = ProjectionMask::roots(builder.parquet_schema(), hot.columns().iter().copied());
    let mut batches = builder.with_projection(mask).build().map_err(damaged)?;
    let schema = types::arrow_schema(object)?;
    // Parquet gives the columns in the file's order, whatever the order of the key.
    let mut order = hot.columns().to_vec();
    order.sort_unstable();
    let read = std::sync::Arc::new(schema.project(&order)?);
    let mut positions = Vec::new();
    let (mut start, mut gone) = (0_u64, file.deleted.as_ref());
    while let Some(batch) = batches.try_next().await.map_err(damaged)? {
        let batch = types::conform(&batch, &read)?;
        let place = |column: &usize| order.binary_search(column).map(|place| batch.column(place).clone());
        let columns = hot.columns().iter().map(place).collect::<Result<Vec<_>, _>>();
        let columns = columns.map_err(|_| Error::internal("a key column was not read"))?;
        let rows = batch.num_rows();
        // A deleted row must not use up a copy, so rows are looked at only if they are there.
        let (here, later) = gone.split_at(gone.partition_point(|position| *position < start + rows as u64));
        let alive = alive(rows, start, here);
        let columns = columns.iter().map(|column| arrow::compute::take(column, &alive, None));
        let stays = hot.stays(&columns.collect::<Result<Vec<_>, _>>()?, alive.len(), copies)?;
        let goes = alive.values().iter().zip(stays.values()).filter(|(_, stays)| !stays);
        positions.extend(goes.map(|(row, _)| start + u64::from(*row)));
        (start, gone) = (start + rows as u64, later);
    }
    Ok(positions)
}

/// Rows of a batch that are not deleted. `deleted`: positions in the file, within the batch.
fn alive(rows: usize, start: u64, deleted: &[u64]) -> arrow::array::UInt32Array {
    let mut deleted = deleted.iter().map(|position| (position - start) as u32).peekable();
    let alive = (0..rows as u32).filter(|row| deleted.next_if_eq(row).is_none());
    arrow::array::UInt32Array::from_iter_values(alive)
}
