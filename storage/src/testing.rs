//! What the crate's tests share: tables, warehouses in memory, and a catalog whose commits can be made to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use catalog::{
    Action, Catalog, Commit, Error, ErrorKind, FileReferences, Lease, ManualClock, Object, ObjectId, ObjectKind,
    Result, Snapshot, SqlCatalog, TableState, TableVersion, Version,
};
use uuid::Uuid;

use crate::change::Changes;
use crate::segment::write_segment;
use crate::types;
use crate::warehouse::Warehouse;

/// How the next commit of a [`FaultyCatalog`] ends.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It does not happen.
    Fails(ErrorKind),
    /// It happens, but the answer is lost.
    AnswerLost,
}

/// The real catalog, in memory, with faults on order.
#[derive(Debug)]
pub struct FaultyCatalog {
    inner: SqlCatalog,
    next: Mutex<Option<Fault>>,
}

impl FaultyCatalog {
    pub async fn new() -> Arc<Self> {
        Arc::new(Self { inner: SqlCatalog::in_memory().await.unwrap(), next: Mutex::default() })
    }

    /// Orders a fault for the next commit.
    pub fn order(&self, fault: Fault) {
        *self.next.lock().unwrap() = Some(fault);
    }
}

#[async_trait]
impl Catalog for FaultyCatalog {
    async fn version(&self) -> Result<Version> {
        self.inner.version().await
    }

    async fn snapshot(&self, at: Option<Version>) -> Result<Arc<Snapshot>> {
        self.inner.snapshot(at).await
    }

    async fn version_at(&self, at_ms: i64) -> Result<Version> {
        self.inner.version_at(at_ms).await
    }

    async fn table_versions(&self, table: ObjectId, limit: u32) -> Result<Vec<TableVersion>> {
        self.inner.table_versions(table, limit).await
    }

    async fn referenced_files(&self) -> Result<FileReferences> {
        self.inner.referenced_files().await
    }

    async fn commit(&self, commit: Commit) -> Result<Version> {
        let fault = self.next.lock().unwrap().take();
        match fault {
            None => self.inner.commit(commit).await,
            Some(Fault::Fails(kind)) => Err(Error::new(kind, "as ordered")),
            Some(Fault::AnswerLost) => {
                self.inner.commit(commit).await?;
                Err(Error::new(ErrorKind::Indeterminate, "the answer is lost, as ordered"))
            }
        }
    }

    async fn settle(&self, commit: Uuid) -> Result<Option<Version>> {
        self.inner.settle(commit).await
    }

    async fn allocate_ids(&self, count: u32) -> Result<ObjectId> {
        self.inner.allocate_ids(count).await
    }

    async fn acquire_lease(&self, name: &str, owner: &str, dead: Option<&str>, now: i64, ttl: i64) -> Result<Lease> {
        self.inner.acquire_lease(name, owner, dead, now, ttl).await
    }

    async fn lease(&self, name: &str, now_ms: i64) -> Result<Option<Lease>> {
        self.inner.lease(name, now_ms).await
    }

    async fn renew_leases(&self, leases: &[Lease], now_ms: i64, ttl_ms: i64) -> Result<()> {
        self.inner.renew_leases(leases, now_ms, ttl_ms).await
    }

    async fn release_leases(&self, leases: &[Lease]) -> Result<()> {
        self.inner.release_leases(leases).await
    }
}

/// A table's definition.
pub fn table(id: i64, name: &str, columns: &[(&str, DataType, bool)], key: &[&str]) -> Object {
    let fields = columns.iter().map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable));
    Object {
        id: ObjectId(id),
        name: name.to_string(),
        kind: ObjectKind::Table,
        sql: format!("CREATE TABLE {name}"),
        columns: types::columns(&Schema::new(fields.collect::<Vec<_>>())).unwrap(),
        key: key.iter().map(|name| (*name).to_string()).collect(),
        insert_only: false,
        properties: BTreeMap::new(),
        depends_on: Vec::new(),
    }
}

/// A warehouse in memory, whose clock stands still, and its catalog.
pub async fn faulty_warehouse() -> (Arc<Warehouse>, Arc<FaultyCatalog>) {
    let catalog = FaultyCatalog::new().await;
    let clock = Arc::new(ManualClock::new(1_700_000_000_000, 1));
    (Warehouse::in_memory(catalog.clone(), clock).unwrap(), catalog)
}

/// A warehouse in memory, whose clock stands still.
pub async fn memory_warehouse() -> Arc<Warehouse> {
    faulty_warehouse().await.0
}

/// Commits actions.
pub async fn commit(warehouse: &Warehouse, actions: Vec<Action>) -> Version {
    let (id, now_ms) = (warehouse.clock().uuid(), warehouse.clock().now_ms());
    warehouse.catalog().commit(Commit { id, now_ms, requires: Vec::new(), actions }).await.unwrap()
}

/// Rows of a table with one BIGINT column.
pub fn int_rows(object: &Object, values: std::ops::Range<i64>) -> Changes {
    let schema = types::arrow_schema(object).unwrap();
    let column = Arc::new(Int64Array::from_iter_values(values));
    Changes::inserts(RecordBatch::try_new(schema, vec![column]).unwrap())
}

/// Creates a table; its id is drawn.
pub async fn create(warehouse: &Warehouse, mut object: Object) -> Arc<Object> {
    object.id = warehouse.catalog().allocate_ids(1).await.unwrap();
    commit(warehouse, vec![Action::CreateObject(object.clone())]).await;
    Arc::new(object)
}

/// Writes and commits changes of a table.
pub async fn change(warehouse: &Warehouse, object: &Object, changes: &[Changes]) -> Version {
    let segment = write_segment(warehouse, object, changes, false).await.unwrap();
    commit(warehouse, vec![Action::AddSegments { table: object.id, segments: vec![segment] }]).await
}

/// A table's state now.
pub async fn state(warehouse: &Warehouse, object: &Object) -> Arc<TableState> {
    warehouse.catalog().snapshot(None).await.unwrap().tables[&object.id].clone()
}

/// Every row as text, in order.
pub fn printed(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        let options = arrow::util::display::FormatOptions::default().with_null("NULL");
        let columns = batch.columns().iter();
        let columns = columns.map(|column| arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap());
        let columns = columns.collect::<Vec<_>>();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(","));
        }
    }
    rows.sort();
    rows
}

/// Cases of a property test: `PROPTEST_CASES` if it is set, for long runs.
pub fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}
