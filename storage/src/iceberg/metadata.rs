//! Table metadata files: reading, the first one of a table, and the next one with a new snapshot.

use std::collections::HashMap;

use bytes::Bytes;
use catalog::Object;
use iceberg::spec::{FormatVersion, MAIN_BRANCH, Snapshot, SortOrder, TableMetadata, UnboundPartitionSpec};

use crate::error::{Error, ErrorKind, Result};
use crate::types;
use crate::warehouse::Warehouse;

/// Snapshots that a table's metadata list, and previous metadata files that it mentions. Bounds the size of metadata;
/// older states stay readable through the catalog's versions, which name their own metadata files.
pub const KEPT_SNAPSHOTS: usize = 10;

/// Reads a metadata file.
pub async fn read(warehouse: &Warehouse, location: &str) -> Result<TableMetadata> {
    let path = warehouse.path(location)?;
    let bytes = warehouse.get(path).await?;
    serde_json::from_slice(&bytes).map_err(|error| Error::corrupt(path, "not Iceberg table metadata").because(error))
}

/// The metadata of a table without rows.
pub fn create(warehouse: &Warehouse, object: &Object) -> Result<TableMetadata> {
    let directory = Warehouse::table_directory(object);
    let schema = types::arrow_schema(object)?;
    let schema = types::iceberg_schema(&schema, &types::key_columns(object)?)
        .map_err(|error| error.with("table", &object.name))?;
    let properties = [
        ("write.metadata.previous-versions-max", KEPT_SNAPSHOTS.to_string()),
        ("write.parquet.compression-codec", "zstd".to_string()),
        ("frazil.table", object.name.clone()),
    ];
    let properties = properties.map(|(key, value)| (key.to_string(), value));
    let build = || {
        let builder = iceberg::spec::TableMetadataBuilder::new(
            schema,
            UnboundPartitionSpec::default(),
            SortOrder::unsorted_order(),
            warehouse.location(&directory),
            FormatVersion::V2,
            HashMap::from(properties),
        )?;
        Ok(builder.assign_uuid(warehouse.clock().uuid()).build()?.metadata)
    };
    let metadata = build().map_err(|error| Error::iceberg(error, &directory))?;
    stamped(&metadata, warehouse.clock().now_ms())
}

/// The library stamps metadata without a new snapshot with a clock of its own.
fn stamped(metadata: &TableMetadata, now_ms: i64) -> Result<TableMetadata> {
    let mut json = serde_json::to_value(metadata).map_err(unwritable)?;
    json["last-updated-ms"] = now_ms.into();
    serde_json::from_value(json).map_err(unwritable)
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "table metadata cannot be written").because(error)
}

/// `metadata` with one more snapshot, which becomes the current one. The oldest are forgotten.
/// `previous`: where `metadata` itself is, unless the table is new.
pub fn with_snapshot(metadata: &TableMetadata, previous: Option<&str>, snapshot: Snapshot) -> Result<TableMetadata> {
    let mut older = metadata.snapshots().map(|s| (s.sequence_number(), s.snapshot_id())).collect::<Vec<_>>();
    older.sort_unstable();
    let surplus = (older.len() + 1).saturating_sub(KEPT_SNAPSHOTS);
    let forgotten = older.iter().take(surplus).map(|(_, id)| *id).collect::<Vec<_>>();
    let build = || {
        let builder = metadata.clone().into_builder(previous.map(str::to_string));
        let builder = builder.set_branch_snapshot(snapshot, MAIN_BRANCH)?.remove_snapshots(&forgotten);
        Ok(builder.build()?.metadata)
    };
    build().map_err(|error| Error::iceberg(error, metadata.location()))
}

/// The bytes of a metadata file.
pub fn encode(metadata: &TableMetadata) -> Result<Bytes> {
    Ok(serde_json::to_vec(metadata).map_err(unwritable)?.into())
}
