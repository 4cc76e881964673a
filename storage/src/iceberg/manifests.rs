//! Manifests and manifest lists: encoded and decoded in memory, so that the store sees only whole files.

use std::sync::Arc;

use bytes::Bytes;
use iceberg::io::{MemoryStorage, OutputFile, Storage};
use iceberg::spec::{
    DataFile, FormatVersion, Manifest, ManifestContentType, ManifestEntry, ManifestFile, ManifestList,
    ManifestListWriter, ManifestStatus, ManifestWriterBuilder, TableMetadata,
};

use crate::error::{Error, Result};
use crate::warehouse::Warehouse;

/// A manifest of the current snapshot and its entries.
#[derive(Debug)]
pub struct LoadedManifest {
    /// Its entry in the manifest list.
    pub file: ManifestFile,
    /// What it lists, sequence numbers and snapshot ids filled in.
    pub entries: Vec<ManifestEntry>,
}

/// Reads a manifest list.
pub async fn read_list(warehouse: &Warehouse, path: &str, version: FormatVersion) -> Result<ManifestList> {
    let bytes = warehouse.get(path).await?;
    ManifestList::parse_with_version(&bytes, version).map_err(|error| Error::iceberg(error, path))
}

/// Reads a manifest's entries. What an entry leaves out, it inherits from the manifest list.
pub async fn read(warehouse: &Warehouse, file: &ManifestFile) -> Result<Vec<ManifestEntry>> {
    let path = warehouse.path(&file.manifest_path)?;
    let bytes = warehouse.get(path).await?;
    let manifest = Manifest::parse_avro(&bytes).map_err(|error| Error::iceberg(error, path))?;
    let (entries, _) = manifest.into_parts();
    Ok(entries.into_iter().map(|entry| inherit(Arc::unwrap_or_clone(entry), file)).collect())
}

fn inherit(mut entry: ManifestEntry, file: &ManifestFile) -> ManifestEntry {
    entry.snapshot_id = entry.snapshot_id.or(Some(file.added_snapshot_id));
    // Sequence number 0 is that of a table written in format version 1.
    if entry.status == ManifestStatus::Added || file.sequence_number == 0 {
        entry.sequence_number = entry.sequence_number.or(Some(file.sequence_number));
        entry.file_sequence_number = entry.file_sequence_number.or(Some(file.sequence_number));
    }
    entry
}

/// What a new manifest lists.
#[derive(Debug, Default)]
pub struct Entries {
    /// New files.
    pub added: Vec<DataFile>,
    /// Entries of files that stay.
    pub existing: Vec<ManifestEntry>,
    /// Entries of files that this snapshot removes.
    pub deleted: Vec<ManifestEntry>,
}

impl Entries {
    /// Whether there is nothing to list.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.existing.is_empty() && self.deleted.is_empty()
    }
}

/// Encodes a manifest. `location`: where it will be.
pub async fn encode(
    metadata: &TableMetadata,
    content: ManifestContentType,
    snapshot_id: i64,
    location: &str,
    entries: Entries,
) -> Result<(ManifestFile, Bytes)> {
    let wrong = |error| Error::iceberg(error, location);
    let storage = Arc::new(MemoryStorage::new());
    let output = OutputFile::new(storage.clone(), location.to_string());
    let spec = metadata.default_partition_spec().as_ref().clone();
    let builder = ManifestWriterBuilder::new(output, Some(snapshot_id), metadata.current_schema().clone(), spec);
    let mut writer = match content {
        ManifestContentType::Data => builder.build_v2_data(),
        ManifestContentType::Deletes => builder.build_v2_deletes(),
    };
    for file in entries.added {
        // A negative sequence number is none: it is inherited from the manifest list.
        writer.add_file(file, -1).map_err(wrong)?;
    }
    for entry in entries.existing {
        let (snapshot, sequence) = (entry.snapshot_id.unwrap_or(0), entry.sequence_number.unwrap_or(0));
        writer.add_existing_file(entry.data_file, snapshot, sequence, entry.file_sequence_number).map_err(wrong)?;
    }
    for entry in entries.deleted {
        let sequence = entry.sequence_number.unwrap_or(0);
        writer.add_delete_file(entry.data_file, sequence, entry.file_sequence_number).map_err(wrong)?;
    }
    let file = writer.write_manifest_file().await.map_err(wrong)?;
    let bytes = storage.read(location).await.map_err(wrong)?;
    Ok((file, bytes))
}

/// Encodes a manifest list. `location`: where it will be.
pub async fn encode_list(
    location: &str,
    snapshot_id: i64,
    parent: Option<i64>,
    sequence_number: i64,
    manifests: Vec<ManifestFile>,
) -> Result<Bytes> {
    let wrong = |error| Error::iceberg(error, location);
    let storage = MemoryStorage::new();
    let output = storage.writer(location).await.map_err(wrong)?;
    let mut writer = ManifestListWriter::v2(output, snapshot_id, parent, sequence_number);
    writer.add_manifests(manifests.into_iter()).map_err(wrong)?;
    writer.close().await.map_err(wrong)?;
    storage.read(location).await.map_err(wrong)
}
