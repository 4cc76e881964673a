//! The cold tier: a table's rows as an Apache Iceberg table (format version 2) that any Iceberg reader can open.
//!
//! Metadata and manifests are encoded by the Iceberg library and travel through [`Warehouse::put`] and
//! [`Warehouse::get`] like everything else. The commit is our own: it prepares all files of a new snapshot and returns
//! the location of its metadata file; the catalog's compare-and-set then makes it current.

mod commit;
mod data_files;
mod manifests;
mod metadata;
mod position_deletes;
mod reachable;
mod statistics;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;
use iceberg::spec::{DataContentType, DataFile, DataFileFormat, ManifestContentType, ManifestList, TableMetadata};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetObjectReader};
use parquet::file::metadata::ParquetMetaData;

use crate::error::{Error, ErrorKind, Result};
use crate::warehouse::Warehouse;

pub use self::commit::{TableChange, commit};
pub use self::data_files::{DataFileWriter, FileSizes};
pub use self::metadata::KEPT_SNAPSHOTS;
pub use self::position_deletes::write_position_deletes;
pub use self::reachable::Reachable;

pub(crate) use self::manifests::LoadedManifest;

/// A data file of a table and what is deleted in it.
#[derive(Debug, Clone)]
pub struct BaseFile {
    /// The file as the manifest describes it.
    pub file: DataFile,
    /// Path relative to the warehouse's root.
    pub path: String,
    /// Positions of deleted rows, ascending, each once.
    pub deleted: Arc<[u64]>,
}

impl BaseFile {
    /// Rows that are not deleted.
    pub fn live_rows(&self) -> u64 {
        self.file.record_count().saturating_sub(self.deleted.len() as u64)
    }
}

/// A table as one metadata file describes it. Immutable, so it is kept in memory by its location.
#[derive(Debug)]
pub struct LoadedTable {
    /// Where the metadata file is, as an absolute location.
    pub location: String,
    /// What it holds.
    pub metadata: TableMetadata,
    /// The data files of the current snapshot.
    pub files: Vec<BaseFile>,
    /// The delete files of the current snapshot.
    pub delete_files: Vec<DataFile>,
    pub(crate) manifests: Vec<LoadedManifest>,
    footers: Mutex<HashMap<String, Arc<ParquetMetaData>>>,
}

impl LoadedTable {
    /// Reads a table's metadata, manifests and deletes.
    pub async fn load(warehouse: &Warehouse, location: &str) -> Result<Arc<Self>> {
        if let Some(kept) = warehouse.tables.get(location) {
            return Ok(kept);
        }
        let metadata = metadata::read(warehouse, location).await?;
        let manifests = load_manifests(warehouse, &metadata).await?;
        let delete_files = delete_files(&manifests);
        let mut deleted = position_deletes::read(warehouse, &delete_files).await?;
        let files = base_files(warehouse, &manifests, &mut deleted)?;
        let delete_files = delete_files.into_iter().map(|(file, _)| file).collect();
        let footers = Mutex::default();
        let table = Self { location: location.to_string(), metadata, files, delete_files, manifests, footers };
        let table = Arc::new(table);
        warehouse.tables.put(location, table.clone(), table.memory());
        Ok(table)
    }

    fn memory(&self) -> u64 {
        let positions = self.files.iter().map(|file| file.deleted.len() * 8).sum::<usize>();
        let manifests = self.manifests.iter().map(|manifest| manifest.file.manifest_length).sum::<i64>();
        // Decoded metadata take several times the room of the encoded.
        (positions as u64) + 8 * u64::try_from(manifests).unwrap_or(0) + 16_384
    }

    /// Rows of the current snapshot.
    pub fn live_rows(&self) -> u64 {
        self.files.iter().map(BaseFile::live_rows).sum()
    }

    /// Bytes of the data files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.file.file_size_in_bytes()).sum()
    }

    /// Deleted rows that still stand in data files.
    pub fn deleted_rows(&self) -> u64 {
        self.files.iter().map(|file| file.deleted.len() as u64).sum()
    }

    /// The Parquet footer of one of the data files, kept for the life of this value.
    pub(crate) async fn footer(&self, warehouse: &Warehouse, file: &BaseFile) -> Result<Arc<ParquetMetaData>> {
        let kept = || self.footers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(footer) = kept().get(&file.path) {
            return Ok(footer.clone());
        }
        let mut reader = parquet_reader(warehouse, file)?;
        let footer = reader.get_metadata(None).await;
        let footer = footer.map_err(|error| Error::corrupt(&file.path, "no Parquet footer").because(error))?;
        kept().insert(file.path.clone(), footer.clone());
        Ok(footer)
    }
}

pub(crate) fn parquet_reader(warehouse: &Warehouse, file: &BaseFile) -> Result<ParquetObjectReader> {
    let path = object_store::path::Path::parse(&file.path)
        .map_err(|error| Error::new(ErrorKind::Invalid, "not a valid path").with("path", &file.path).because(error))?;
    Ok(ParquetObjectReader::new(warehouse.store().clone(), path).with_file_size(file.file.file_size_in_bytes()))
}

async fn load_manifests(warehouse: &Warehouse, metadata: &TableMetadata) -> Result<Vec<LoadedManifest>> {
    let Some(snapshot) = metadata.current_snapshot() else {
        return Ok(Vec::new());
    };
    let path = warehouse.path(snapshot.manifest_list())?;
    let list: ManifestList = manifests::read_list(warehouse, path, metadata.format_version()).await?;
    let load = |file: &iceberg::spec::ManifestFile| {
        let file = file.clone();
        async move {
            let entries = manifests::read(warehouse, &file).await?;
            Ok::<_, Error>(LoadedManifest { file, entries })
        }
    };
    try_join_all(list.entries().iter().map(load)).await
}

/// The live delete files with their sequence numbers.
fn delete_files(manifests: &[LoadedManifest]) -> Vec<(DataFile, i64)> {
    let deletes = manifests.iter().filter(|manifest| manifest.file.content == ManifestContentType::Deletes);
    let live = deletes.flat_map(|manifest| &manifest.entries).filter(|entry| entry.is_alive());
    live.map(|entry| (entry.data_file.clone(), entry.sequence_number.unwrap_or(0))).collect()
}

fn base_files(
    warehouse: &Warehouse,
    manifests: &[LoadedManifest],
    deleted: &mut position_deletes::Deleted,
) -> Result<Vec<BaseFile>> {
    let data = manifests.iter().filter(|manifest| manifest.file.content == ManifestContentType::Data);
    let live = data.flat_map(|manifest| &manifest.entries).filter(|entry| entry.is_alive());
    let base = |entry: &iceberg::spec::ManifestEntry| {
        let file = entry.data_file.clone();
        if file.content_type() != DataContentType::Data || file.file_format() != DataFileFormat::Parquet {
            return Err(Error::new(ErrorKind::Unsupported, "only Parquet data files can be read")
                .with("path", file.file_path()));
        }
        let path = warehouse.path(file.file_path())?.to_string();
        let deleted = deleted.of(file.file_path(), entry.sequence_number.unwrap_or(0));
        Ok(BaseFile { file, path, deleted })
    };
    live.map(base).collect()
}

#[cfg(test)]
mod tests;
