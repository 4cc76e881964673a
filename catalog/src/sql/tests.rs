//! The conformance suite on a file, in memory and on a server; what every database must do beyond it, and what only one
//! can get wrong.

mod everywhere;
mod files;
mod iceberg;
mod processes;
mod random;
mod server;
mod servers;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use self::server::Server;
use crate::conformance;
use crate::conformance::object;
use crate::sql::postgres::{LeaseClock, PostgresOptions, PostgresUrl};
use crate::{Action, Catalog, Clock, Commit, ObjectId, ObjectKind, Result, SqlCatalog, SqliteOptions, SystemClock};

/// A place for one catalog, empty at first, that can be opened as often as one likes.
pub(super) enum Store {
    File(TempDir),
    Server(Arc<Server>, PostgresUrl),
}

impl Store {
    pub(super) fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    /// A schema of its own on the server that tests share.
    pub(super) fn server() -> Self {
        let server = Server::shared();
        let url = server.fresh();
        Self::Server(server, url)
    }

    pub(super) async fn open(&self) -> Result<SqlCatalog> {
        match self {
            Self::File(directory) => open(&directory.path().join("dir/catalog.db")).await,
            Self::Server(_, url) => connect(url).await,
        }
    }
}

pub(super) async fn open(path: &Path) -> Result<SqlCatalog> {
    SqlCatalog::open_file(path, SqliteOptions::default()).await
}

/// With leases by the clock of the caller, as the suite moves it.
pub(super) async fn connect(url: &PostgresUrl) -> Result<SqlCatalog> {
    let options = PostgresOptions { lease_clock: LeaseClock::Caller, ..PostgresOptions::default() };
    SqlCatalog::connect(url, options).await
}

/// Executes a statement of anybody's in the catalog's database.
pub(super) async fn execute(catalog: &SqlCatalog, sql: &'static str) -> Result<()> {
    let run = async {
        let mut tx = catalog.inner.database.begin_write().await?;
        tx.connection().execute(sql, &[]).await?;
        tx.commit().await
    };
    run.await.map_err(|fault| fault.at(&catalog.inner.place, "testing"))
}

pub(super) fn commit(actions: Vec<Action>) -> Commit {
    Commit { id: SystemClock::new().uuid(), now_ms: 1, requires: vec![], actions }
}

pub(super) fn create(id: i64, name: &str) -> Action {
    Action::CreateObject(object(ObjectId(id), name, ObjectKind::Table, &[]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let number = AtomicU64::new(0);
    let fresh = || async {
        let n = number.fetch_add(1, Ordering::Relaxed);
        let path = directory.path().join(format!("{n}/catalog.db"));
        let (a, b) = (open(&path).await?, open(&path).await?);
        Ok((Arc::new(a) as Arc<dyn Catalog>, Arc::new(b) as Arc<dyn Catalog>))
    };
    conformance::run_all(fresh).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    let fresh = || async {
        let a = SqlCatalog::in_memory().await?;
        Ok((Arc::new(a.clone()) as Arc<dyn Catalog>, Arc::new(a) as Arc<dyn Catalog>))
    };
    conformance::run_all(fresh).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_conforms() {
    let server = Server::shared();
    let fresh = || async {
        let url = server.fresh();
        let (a, b) = (connect(&url).await?, connect(&url).await?);
        Ok((Arc::new(a) as Arc<dyn Catalog>, Arc::new(b) as Arc<dyn Catalog>))
    };
    conformance::run_all(fresh).await.unwrap();
}
