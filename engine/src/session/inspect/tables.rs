//! Tables and views: what they hold, in which files, and how they came to.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use catalog::{JobKind, Object, ObjectId, ObjectKind, Privilege, Segment, Snapshot, TableState, TableVersion, Version};
use storage::iceberg::LoadedTable;
use storage::tiering::{TieringPolicy, tier};
use storage::types::arrow_schema;

use crate::access::Rights;
use crate::error::Result;
use crate::session::{Engine, Inner};

/// Versions of each kind that are listed at most.
const LISTED_VERSIONS: u32 = 1_000;

/// A table or view in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSummary {
    /// Its name.
    pub name: String,
    /// As SHOW TABLES and SHOW VIEWS call it.
    pub kind: String,
    /// Names of the key columns; empty if it has none.
    pub key: Vec<String>,
    /// Whether no row of it is ever retracted.
    pub insert_only: bool,
    /// About how many rows are stored: those of the Iceberg snapshot, and those of segments that only add. `None` if
    /// nothing of it is stored.
    pub rows: Option<u64>,
    /// Size of its files.
    pub bytes: Option<u64>,
    /// The version that last changed its rows.
    pub changed_version: Option<Version>,
    /// The job that keeps it or writes to it.
    pub job: Option<String>,
}

/// A table or view in full.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDetails {
    /// In one line.
    pub summary: TableSummary,
    /// Its columns.
    pub columns: SchemaRef,
    /// Its definition.
    pub sql: String,
    /// Names of what it reads.
    pub depends_on: Vec<String>,
    /// Names of the views that read it, and of the jobs that read or write it.
    pub dependents: Vec<String>,
    /// The Iceberg metadata file.
    pub metadata_location: Option<String>,
    /// The files of the Iceberg snapshot.
    pub files: Vec<FileInfo>,
    /// The segments that the Iceberg snapshot does not contain yet.
    pub segments: Vec<SegmentInfo>,
    /// Changes can be read from this version on.
    pub changelog_from: Option<Version>,
}

/// A file of an Iceberg snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Its location.
    pub path: String,
    /// Rows, or deleted positions.
    pub rows: u64,
    /// Size.
    pub bytes: u64,
    /// What it holds.
    pub kind: FileKind,
}

/// What a file of an Iceberg snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Rows.
    Data,
    /// Positions of deleted rows.
    Deletes,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its path in the warehouse.
    pub path: String,
    /// Rows, retractions included.
    pub rows: u64,
    /// Size.
    pub bytes: u64,
    /// The version that added it.
    pub version: Version,
}

/// A table as Iceberg clients find it.
#[derive(Debug, Clone, PartialEq)]
pub struct IcebergTable {
    /// The metadata file.
    pub metadata_location: String,
    /// What it holds.
    pub metadata: serde_json::Value,
}

/// What SHOW TABLES and SHOW VIEWS call an object: for a connector, its name.
pub fn kind_name(object: &Object) -> String {
    match object.kind {
        ObjectKind::Table => "table".into(),
        ObjectKind::Connector => object.properties.get("connector").cloned().unwrap_or_default(),
        ObjectKind::View => "view".into(),
        ObjectKind::MaterializedView => "materialized view".into(),
        ObjectKind::Function => "function".into(),
    }
}

impl Engine {
    /// All tables and views by name.
    pub async fn tables(&self) -> Result<Vec<TableSummary>> {
        let snapshot = self.inner.snapshot().await?;
        let mut summaries = Vec::new();
        for object in snapshot.objects.values().filter(|object| is_relation(object)) {
            summaries.push(self.inner.summary(&snapshot, object).await?);
        }
        summaries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(summaries)
    }

    /// A table or view in full; `None` if there is none of that name.
    pub async fn table(&self, name: &str) -> Result<Option<TableDetails>> {
        let snapshot = self.inner.snapshot().await?;
        match snapshot.object(name).filter(|object| is_relation(object)) {
            Some(object) => self.inner.details(&snapshot, object).await.map(Some),
            None => Ok(None),
        }
    }

    /// The versions that changed a table, newest first; `None` if there is no table or view of that name.
    pub async fn table_versions(&self, name: &str) -> Result<Option<Vec<TableVersion>>> {
        let snapshot = self.inner.snapshot().await?;
        match snapshot.object(name).filter(|object| is_relation(object)) {
            Some(object) => Ok(Some(self.inner.warehouse.catalog().table_versions(object.id, LISTED_VERSIONS).await?)),
            None => Ok(None),
        }
    }

    /// Names of the tables that Iceberg clients can load: all whose rows are stored and may be read.
    pub async fn iceberg_tables(&self) -> Result<Vec<String>> {
        let snapshot = self.inner.snapshot().await?;
        let user = self.user();
        let rights = Rights::of(&snapshot, user.as_deref())?;
        let stored = snapshot.objects.values().filter(|object| object.kind.is_stored() && rights.may_read(object));
        let mut names: Vec<_> = stored.map(|object| object.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// Brings a table's Iceberg snapshot up to date, so that it holds all that was committed before, and returns it.
    /// `None` if no rows are stored under that name.
    ///
    /// # Errors
    /// `Denied` if they may not be read.
    pub async fn iceberg_table(&self, name: &str) -> Result<Option<IcebergTable>> {
        let snapshot = self.inner.snapshot().await?;
        let Some(object) = snapshot.object(name).filter(|object| object.kind.is_stored()) else { return Ok(None) };
        let user = self.user();
        Rights::of(&snapshot, user.as_deref())?.demand(Privilege::Select, object, None)?;
        let state = snapshot.tables.get(&object.id);
        if state.is_none_or(|state| !state.hot.is_empty() || state.metadata_location.is_none()) {
            tier(&self.inner.warehouse, object.id, &TieringPolicy::default(), true).await?;
            // Many loads leave many small files.
            self.inner.touched.add(object.id);
        }
        self.inner.iceberg_table(object).await
    }
}

fn is_relation(object: &Object) -> bool {
    object.kind != ObjectKind::Function
}

impl Inner {
    async fn summary(&self, snapshot: &Snapshot, object: &Object) -> Result<TableSummary> {
        let state = snapshot.tables.get(&object.id);
        let size = match state {
            Some(state) => Some(self.size(state).await?),
            None => None,
        };
        let writes = |id: &ObjectId| *id == object.id;
        let job = snapshot.jobs.values().find(|job| job.targets.iter().any(writes));
        Ok(TableSummary {
            name: object.name.clone(),
            kind: kind_name(object),
            key: object.key.clone(),
            insert_only: object.insert_only,
            rows: size.map(|(rows, _)| rows),
            bytes: size.map(|(_, bytes)| bytes),
            changed_version: state.map(|state| state.changed).filter(|version| *version > 0),
            job: job.map(|job| job.name.clone()),
        })
    }

    /// Rows, about, and bytes.
    async fn size(&self, state: &TableState) -> Result<(u64, u64)> {
        let hot_rows = state.hot.iter().filter(|segment| segment.file.insert_only).map(|segment| segment.file.rows);
        let hot_bytes = state.hot.iter().map(|segment| segment.file.bytes);
        let (mut rows, mut bytes) = (hot_rows.sum(), hot_bytes.sum());
        if let Some(location) = &state.metadata_location {
            let cold = LoadedTable::load(&self.warehouse, location).await?;
            rows += cold.live_rows();
            bytes += cold.bytes();
        }
        Ok((rows, bytes))
    }

    async fn details(&self, snapshot: &Snapshot, object: &Arc<Object>) -> Result<TableDetails> {
        let state = snapshot.tables.get(&object.id);
        let location = state.and_then(|state| state.metadata_location.clone());
        let files = match &location {
            Some(location) => files(&*LoadedTable::load(&self.warehouse, location).await?),
            None => vec![],
        };
        let segment = |segment: &Segment| SegmentInfo {
            path: segment.file.path.clone(),
            rows: segment.file.rows,
            bytes: segment.file.bytes,
            version: segment.version,
        };
        let reads = object.depends_on.iter().filter_map(|id| snapshot.objects.get(id));
        Ok(TableDetails {
            summary: self.summary(snapshot, object).await?,
            columns: arrow_schema(object)?,
            sql: object.sql.clone(),
            depends_on: reads.map(|read| read.name.clone()).collect(),
            dependents: dependents(snapshot, object.id),
            metadata_location: location,
            files,
            segments: state.map(|state| state.hot.iter().map(segment).collect()).unwrap_or_default(),
            changelog_from: state.map(|state| state.changelog_from),
        })
    }

    async fn iceberg_table(&self, object: &Object) -> Result<Option<IcebergTable>> {
        let snapshot = self.snapshot().await?;
        let state = snapshot.tables.get(&object.id);
        let Some(location) = state.and_then(|state| state.metadata_location.as_ref()) else { return Ok(None) };
        let bytes = self.warehouse.get(self.warehouse.path(location)?).await?;
        let metadata = serde_json::from_slice(&bytes).map_err(|source| {
            crate::Error::new(crate::ErrorKind::Corrupt, "a metadata file is not JSON")
                .with("path", location)
                .because(source)
        })?;
        Ok(Some(IcebergTable { metadata_location: location.clone(), metadata }))
    }
}

fn files(table: &LoadedTable) -> Vec<FileInfo> {
    let data = table.files.iter().map(|file| (&file.file, FileKind::Data));
    let deletes = table.delete_files.iter().map(|file| (file, FileKind::Deletes));
    let files = data.chain(deletes).map(|(file, kind)| FileInfo {
        path: file.file_path().to_owned(),
        rows: file.record_count(),
        bytes: file.file_size_in_bytes(),
        kind,
    });
    files.collect()
}

fn dependents(snapshot: &Snapshot, object: ObjectId) -> Vec<String> {
    let views = snapshot.objects.values().filter(|other| other.depends_on.contains(&object));
    let uses = |job: &&Arc<catalog::Job>| {
        job.kind != JobKind::MaterializedView && (job.inputs.contains(&object) || job.targets.contains(&object))
    };
    let jobs = snapshot.jobs.values().filter(uses).map(|job| job.name.clone());
    let names: BTreeMap<_, _> = views.map(|view| view.name.clone()).chain(jobs).map(|name| (name, ())).collect();
    names.into_keys().collect()
}
