//! What the crate's tests share: an in-memory catalog that keeps the contract as far as the store relies on it, tables,
//! and warehouses in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use catalog::{
    Action, Catalog, Commit, Error, ErrorKind, Lease, ManualClock, Object, ObjectId, ObjectKind, Result, Segment,
    Snapshot, Version,
};
use uuid::Uuid;

use crate::types;
use crate::warehouse::Warehouse;

#[derive(Debug, Default)]
struct State {
    versions: BTreeMap<Version, Arc<Snapshot>>,
    commits: HashMap<Uuid, Option<Version>>,
    next_id: i64,
    fail_next: Option<ErrorKind>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    state: Mutex<State>,
}

impl MemoryCatalog {
    /// Makes the next commit fail, without effect.
    pub fn fail_next_commit(&self, kind: ErrorKind) {
        self.state.lock().unwrap().fail_next = Some(kind);
    }
}

fn conflict(what: &str) -> Error {
    Error::new(ErrorKind::Conflict, what)
}

fn apply(snapshot: &mut Snapshot, action: &Action) -> Result<()> {
    let version = snapshot.version;
    let state = |snapshot: &mut Snapshot, table: &ObjectId| {
        snapshot.tables.get(table).map(|state| state.as_ref().clone()).ok_or_else(|| conflict("no such table"))
    };
    match action {
        Action::CreateObject(object) => {
            snapshot.objects.insert(object.id, Arc::new(object.clone()));
            snapshot.tables.insert(object.id, Arc::default());
        }
        Action::DropObject(id) => {
            snapshot.objects.remove(id);
            snapshot.tables.remove(id);
        }
        Action::AddSegments { table, segments } => {
            let mut state = state(snapshot, table)?;
            state.hot.extend(segments.iter().map(|file| Segment { file: file.clone(), version }));
            state.changed = version;
            snapshot.tables.insert(*table, Arc::new(state));
        }
        Action::SwapMetadata { table, expected, location, tiered } => {
            let mut state = state(snapshot, table)?;
            if state.metadata_location != *expected {
                return Err(conflict("the metadata moved"));
            }
            let (gone, hot): (Vec<_>, Vec<_>) = state.hot.into_iter().partition(|s| tiered.contains(&s.file.path));
            if gone.len() != tiered.len() {
                return Err(conflict("a segment is not hot"));
            }
            state.hot = hot;
            state.retained.extend(gone);
            state.metadata_location = Some(location.clone());
            snapshot.tables.insert(*table, Arc::new(state));
        }
        Action::DropRetained { table, paths } => {
            let mut state = state(snapshot, table)?;
            let (gone, kept): (Vec<_>, Vec<_>) = state.retained.into_iter().partition(|s| paths.contains(&s.file.path));
            state.retained = kept;
            state.changelog_from = gone.iter().map(|s| s.version).max().unwrap_or(0).max(state.changelog_from);
            snapshot.tables.insert(*table, Arc::new(state));
        }
        Action::ExpireVersionsBefore(_) => {}
        other => return Err(Error::new(ErrorKind::Invalid, format!("not in this catalog: {other:?}"))),
    }
    Ok(())
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn version(&self) -> Result<Version> {
        Ok(self.state.lock().unwrap().versions.keys().next_back().copied().unwrap_or(0))
    }

    async fn snapshot(&self, at: Option<Version>) -> Result<Arc<Snapshot>> {
        let state = self.state.lock().unwrap();
        let found = match at {
            Some(version) => state.versions.get(&version),
            None => return Ok(state.versions.values().next_back().cloned().unwrap_or_default()),
        };
        found.cloned().ok_or_else(|| Error::new(ErrorKind::NotFound, "no such version"))
    }

    async fn commit(&self, commit: Commit) -> Result<Version> {
        let mut state = self.state.lock().unwrap();
        if let Some(kind) = state.fail_next.take() {
            return Err(Error::new(kind, "as ordered"));
        }
        match state.commits.get(&commit.id) {
            Some(Some(version)) => return Ok(*version),
            Some(None) => return Err(conflict("the commit is burnt")),
            None => {}
        }
        let mut next = state.versions.values().next_back().map(|newest| newest.as_ref().clone()).unwrap_or_default();
        next.version += 1;
        next.committed_ms = commit.now_ms;
        for action in &commit.actions {
            apply(&mut next, action)?;
            if let Action::ExpireVersionsBefore(version) = action {
                state.versions = state.versions.split_off(version);
            }
        }
        let version = next.version;
        state.commits.insert(commit.id, Some(version));
        state.versions.insert(version, Arc::new(next));
        Ok(version)
    }

    async fn settle(&self, commit: Uuid) -> Result<Option<Version>> {
        Ok(*self.state.lock().unwrap().commits.entry(commit).or_insert(None))
    }

    async fn allocate_ids(&self, count: u32) -> Result<ObjectId> {
        let mut state = self.state.lock().unwrap();
        let first = state.next_id + 1;
        state.next_id += i64::from(count);
        Ok(ObjectId(first))
    }

    async fn acquire_lease(&self, _: &str, _: &str, _: Option<&str>, _: i64, _: i64) -> Result<Lease> {
        Err(Error::new(ErrorKind::Invalid, "no leases here"))
    }

    async fn lease(&self, _: &str, _: i64) -> Result<Option<Lease>> {
        Ok(None)
    }

    async fn renew_leases(&self, _: &[Lease], _: i64, _: i64) -> Result<()> {
        Ok(())
    }

    async fn release_leases(&self, _: &[Lease]) -> Result<()> {
        Ok(())
    }
}

impl MemoryCatalog {
    /// Every file that some kept version refers to.
    pub fn references(&self) -> HashSet<String> {
        let state = self.state.lock().unwrap();
        let tables = state.versions.values().flat_map(|snapshot| snapshot.tables.values());
        tables.flat_map(|table| table.hot.iter().chain(&table.retained).map(|s| s.file.path.clone())).collect()
    }
}

/// A table's definition.
pub fn table(id: i64, name: &str, columns: &[(&str, DataType, bool)], key: &[&str]) -> Object {
    let fields = columns.iter().map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable));
    Object {
        id: ObjectId(id),
        name: name.to_string(),
        kind: ObjectKind::Table,
        sql: String::new(),
        columns: types::columns(&Schema::new(fields.collect::<Vec<_>>())).unwrap(),
        key: key.iter().map(|name| (*name).to_string()).collect(),
        insert_only: false,
        properties: BTreeMap::new(),
        depends_on: Vec::new(),
    }
}

/// A warehouse in memory, whose clock stands still.
pub fn memory_warehouse() -> Arc<Warehouse> {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000, 1));
    Warehouse::in_memory(Arc::new(MemoryCatalog::default()), clock).unwrap()
}
