//! One new snapshot of a table: which manifests it keeps, rewrites and adds, and its summary.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use catalog::Object;
use iceberg::spec::{
    DataContentType, DataFile, ManifestContentType, ManifestFile, ManifestStatus, Operation, Snapshot, Summary,
    TableMetadata,
};

use super::manifests::{self, Entries, LoadedManifest};
use super::{LoadedTable, metadata};
use crate::error::Result;
use crate::warehouse::Warehouse;

/// Manifests of one kind that a snapshot may have before they are merged into one.
const MAX_MANIFESTS: usize = 16;

/// What a snapshot changes. All files named in it are durable already.
#[derive(Debug, Default)]
pub struct TableChange {
    /// New data files.
    pub add_data: Vec<DataFile>,
    /// New position delete files.
    pub add_deletes: Vec<DataFile>,
    /// Locations of data and delete files that are no longer part of the table.
    pub remove: HashSet<String>,
    /// The rows stay the same: files are only arranged anew.
    pub rearranged: bool,
}

/// Writes the files of a new snapshot, durably, and returns the location of the new metadata file. Nothing changes for
/// readers until the catalog points there.
///
/// `base`: the state that the change was made from; `None` for a table without Iceberg metadata.
pub async fn commit(
    warehouse: &Warehouse,
    object: &Object,
    base: Option<&LoadedTable>,
    change: TableChange,
) -> Result<String> {
    let directory = format!("{}/metadata", Warehouse::table_directory(object));
    let current = match base {
        Some(base) => base.metadata.clone(),
        None => metadata::create(warehouse, object)?,
    };
    let mut files = Vec::new();
    let empty = change.add_data.is_empty() && change.add_deletes.is_empty() && change.remove.is_empty();
    let next = if base.is_none() && empty {
        current
    } else {
        let snapshot = snapshot(warehouse, &directory, &current, base, change, &mut files).await?;
        metadata::with_snapshot(&current, base.map(|base| base.location.as_str()), snapshot)?
    };
    let sequence = next.last_sequence_number();
    let path = format!("{directory}/{sequence:05}-{}.metadata.json", warehouse.clock().uuid());
    files.push((path.clone(), metadata::encode(&next)?));
    warehouse.put_all(files).await?;
    Ok(warehouse.location(&path))
}

async fn snapshot(
    warehouse: &Warehouse,
    directory: &str,
    current: &TableMetadata,
    base: Option<&LoadedTable>,
    change: TableChange,
    files: &mut Vec<(String, Bytes)>,
) -> Result<Snapshot> {
    let parent = current.current_snapshot();
    let snapshot_id = snapshot_id(warehouse, current);
    let loaded = base.map_or(&[][..], |base| &base.manifests);
    let summary = summary(current, loaded, &change);
    let mut list = Vec::new();
    for (content, added) in
        [(ManifestContentType::Data, change.add_data), (ManifestContentType::Deletes, change.add_deletes)]
    {
        let plan = arrange(loaded, content, added, &change.remove);
        list.extend(plan.kept);
        if !plan.fresh.is_empty() {
            let path = format!("{directory}/{}-m0.avro", warehouse.clock().uuid());
            let location = warehouse.location(&path);
            let (file, bytes) = manifests::encode(current, content, snapshot_id, &location, plan.fresh).await?;
            list.push(file);
            files.push((path, bytes));
        }
    }
    let path = format!("{directory}/snap-{snapshot_id}-1-{}.avro", warehouse.clock().uuid());
    let location = warehouse.location(&path);
    let sequence = current.next_sequence_number();
    let parent_id = parent.map(|parent| parent.snapshot_id());
    files.push((path, manifests::encode_list(&location, snapshot_id, parent_id, sequence, list).await?));
    Ok(Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(parent_id)
        .with_sequence_number(sequence)
        .with_timestamp_ms(warehouse.clock().now_ms().max(current.last_updated_ms()))
        .with_manifest_list(location)
        .with_summary(summary)
        .with_schema_id(current.current_schema_id())
        .build())
}

fn snapshot_id(warehouse: &Warehouse, current: &TableMetadata) -> i64 {
    loop {
        let (high, low) = warehouse.clock().uuid().as_u64_pair();
        let id = ((high ^ low.rotate_left(32)) & (i64::MAX as u64)) as i64;
        if id != 0 && current.snapshot_by_id(id).is_none() {
            return id;
        }
    }
}

struct Arrangement {
    /// Manifests that stay as they are.
    kept: Vec<ManifestFile>,
    /// What the one new manifest lists.
    fresh: Entries,
}

/// Decides which manifests of one kind a new snapshot has: those that lose a file are rewritten, those that list
/// nothing live are dropped, and when there are too many all are merged.
fn arrange(
    loaded: &[LoadedManifest],
    content: ManifestContentType,
    added: Vec<DataFile>,
    remove: &HashSet<String>,
) -> Arrangement {
    let own = loaded.iter().filter(|manifest| manifest.file.content == content).collect::<Vec<_>>();
    let loses = |manifest: &LoadedManifest| {
        manifest.entries.iter().any(|entry| entry.is_alive() && remove.contains(entry.file_path()))
    };
    let lists_live = |manifest: &LoadedManifest| manifest.entries.iter().any(|entry| entry.is_alive());
    let stay = own.iter().filter(|manifest| lists_live(manifest) && !loses(manifest)).count();
    let merge = stay >= MAX_MANIFESTS;
    let mut arrangement = Arrangement { kept: Vec::new(), fresh: Entries { added, ..Entries::default() } };
    for manifest in own.into_iter().filter(|manifest| lists_live(manifest)) {
        if !merge && !loses(manifest) {
            arrangement.kept.push(manifest.file.clone());
            continue;
        }
        for entry in manifest.entries.iter().filter(|entry| entry.is_alive()) {
            let list = if remove.contains(entry.file_path()) {
                &mut arrangement.fresh.deleted
            } else {
                &mut arrangement.fresh.existing
            };
            list.push(entry.clone());
        }
    }
    debug_assert!(arrangement.fresh.deleted.iter().all(|entry| entry.status != ManifestStatus::Deleted));
    arrangement
}

/// The summary's counters: what was added and removed, and the totals after.
#[derive(Debug, Default)]
struct Counters(HashMap<&'static str, u64>);

impl Counters {
    fn count(&mut self, name: &'static str, by: u64) {
        *self.0.entry(name).or_default() += by;
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    fn file(&mut self, file: &DataFile, added: bool) {
        let pick = |if_added, if_removed| if added { if_added } else { if_removed };
        self.count(pick("added-files-size", "removed-files-size"), file.file_size_in_bytes());
        if file.content_type() == DataContentType::Data {
            self.count(pick("added-data-files", "deleted-data-files"), 1);
            self.count(pick("added-records", "deleted-records"), file.record_count());
        } else {
            self.count(pick("added-delete-files", "removed-delete-files"), 1);
            self.count(pick("added-position-delete-files", "removed-position-delete-files"), 1);
            self.count(pick("added-position-deletes", "removed-position-deletes"), file.record_count());
        }
    }
}

const TOTALS: [(&str, &str, &str); 5] = [
    ("total-data-files", "added-data-files", "deleted-data-files"),
    ("total-records", "added-records", "deleted-records"),
    ("total-files-size", "added-files-size", "removed-files-size"),
    ("total-delete-files", "added-delete-files", "removed-delete-files"),
    ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
];

fn summary(current: &TableMetadata, loaded: &[LoadedManifest], change: &TableChange) -> Summary {
    let mut counters = Counters::default();
    change.add_data.iter().chain(&change.add_deletes).for_each(|file| counters.file(file, true));
    let live = loaded.iter().flat_map(|manifest| &manifest.entries).filter(|entry| entry.is_alive());
    live.filter(|entry| change.remove.contains(entry.file_path()))
        .for_each(|entry| counters.file(&entry.data_file, false));
    let parent = current.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
    let before = |name: &str| parent.and_then(|parent| parent.get(name)?.parse::<u64>().ok()).unwrap_or(0);
    let mut properties =
        counters.0.iter().map(|(name, n)| ((*name).to_string(), n.to_string())).collect::<HashMap<_, _>>();
    for (total, added, removed) in TOTALS {
        let after = (before(total) + counters.get(added)).saturating_sub(counters.get(removed));
        properties.insert(total.to_string(), after.to_string());
    }
    properties.insert("total-equality-deletes".to_string(), "0".to_string());
    let operation = match (change.rearranged, change.remove.is_empty(), change.add_deletes.is_empty()) {
        (true, ..) => Operation::Replace,
        (false, true, true) => Operation::Append,
        (false, true, false) if change.add_data.is_empty() => Operation::Delete,
        (false, false, _) if change.add_data.is_empty() => Operation::Delete,
        _ => Operation::Overwrite,
    };
    Summary { operation, additional_properties: properties }
}
