//! Which files Iceberg metadata refer to, so that the sweep keeps them.

use std::collections::HashSet;

use super::{manifests, metadata};
use crate::error::Result;
use crate::warehouse::Warehouse;

/// Collects the files of any number of metadata files; what several of them share is read once.
#[derive(Debug, Default)]
pub struct Reachable {
    paths: HashSet<String>,
}

impl Reachable {
    /// Adds a metadata file, the snapshots that it lists, their manifests, and the data and delete files in them.
    pub async fn add(&mut self, warehouse: &Warehouse, location: &str) -> Result<()> {
        let metadata = metadata::read(warehouse, location).await?;
        self.paths.insert(warehouse.path(location)?.to_string());
        for snapshot in metadata.snapshots() {
            let list = warehouse.path(snapshot.manifest_list())?.to_string();
            if self.paths.contains(&list) {
                continue;
            }
            let manifests = match manifests::read_list(warehouse, &list, metadata.format_version()).await {
                Ok(manifests) => manifests,
                // Old metadata list snapshots that newer ones forgot; only its current one must be whole.
                Err(error) if lost(&error) && metadata.current_snapshot_id() != Some(snapshot.snapshot_id()) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            for manifest in manifests.entries() {
                let path = warehouse.path(&manifest.manifest_path)?.to_string();
                if !self.paths.insert(path) {
                    continue;
                }
                for entry in manifests::read(warehouse, manifest).await?.iter().filter(|entry| entry.is_alive()) {
                    self.paths.insert(warehouse.path(entry.file_path())?.to_string());
                }
            }
            self.paths.insert(list);
        }
        Ok(())
    }

    /// All files found, as paths.
    pub fn into_paths(self) -> HashSet<String> {
        self.paths
    }
}

fn lost(error: &crate::error::Error) -> bool {
    error.kind() == crate::error::ErrorKind::NotFound
}
