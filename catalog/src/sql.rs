//! The catalog in an SQL database: embedded in an SQLite file, or on a PostgreSQL server.
//!
//! Every commit is one transaction, and there is one at a time: it reads the head, lets [`crate::transition`] decide,
//! writes down the outcome and is durable when COMMIT returns. The head is cached by version; after another process's
//! commit only what changed since is read. What the databases have in common, which is nearly all, exists once;
//! `database` is the interface to them, [`sqlite`] and [`postgres`] hold what differs: connecting, type names, taking the
//! lock, and what their errors mean.

mod cache;
mod commit;
mod database;
mod fault;
mod history;
mod lease;
pub mod postgres;
mod read;
pub mod schema;
pub mod sqlite;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::model::*;
use crate::transition::Head;
use cache::Cache;
use database::{Database, Transaction};
use fault::{Fault, Place};
use postgres::{LeaseClock, PostgresOptions, PostgresUrl};
use sqlite::SqliteOptions;

/// A catalog in a database. Clones share connections and cache.
#[derive(Debug, Clone)]
pub struct SqlCatalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    database: Database,
    lease_clock: LeaseClock,
    cache: Cache,
    /// Held while the head is brought up to date, so that many tasks that see a new version read it once.
    refreshing: tokio::sync::Mutex<()>,
}

impl SqlCatalog {
    /// Opens the catalog in this SQLite file; creates file and directories if there is none.
    ///
    /// # Errors
    /// `Corrupt` if the file is something else, damaged or of another format; `Unavailable` if it cannot be opened.
    pub async fn open_file(path: &Path, options: SqliteOptions) -> Result<Self> {
        let place = Place::File(path.to_path_buf());
        let pools = sqlite::open_file(path, &options).await.map_err(|fault| fault.at(&place, "opening"))?;
        Ok(Self::new(place, Database::Sqlite(pools), LeaseClock::Caller))
    }

    /// A new, empty catalog that lives as long as this handle and its clones. It behaves like a file, but for durability.
    pub async fn in_memory() -> Result<Self> {
        let pools = sqlite::open_memory().await.map_err(|fault| fault.at(&Place::Memory, "opening"))?;
        Ok(Self::new(Place::Memory, Database::Sqlite(pools), LeaseClock::Caller))
    }

    /// Opens the catalog on this PostgreSQL server; creates its schema if there is none.
    ///
    /// # Errors
    /// `Corrupt` if the schema is something else, damaged or of another format; `Unavailable` if the server cannot be
    /// reached or does not let the user in; `Invalid` if the database cannot hold a catalog.
    pub async fn connect(url: &PostgresUrl, options: PostgresOptions) -> Result<Self> {
        let place = Place::from(url);
        let pools = postgres::open(url, &options).await.map_err(|fault| fault.at(&place, "opening"))?;
        Ok(Self::new(place, Database::Postgres(pools, options.patience), options.lease_clock))
    }

    /// Closes every connection and waits for it; the last process to close a file folds its log back into it. Calls
    /// on this handle and its clones then fail with `Unavailable`. Dropping the handle without this loses nothing.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }

    fn new(place: Place, database: Database, lease_clock: LeaseClock) -> Self {
        let (cache, refreshing) = (Cache::default(), tokio::sync::Mutex::new(()));
        Self { inner: Arc::new(Inner { place, database, lease_clock, cache, refreshing }) }
    }
}

impl Inner {
    fn error(&self, what: &'static str) -> impl FnOnce(Fault) -> Error + '_ {
        move |fault| fault.at(&self.place, what)
    }

    async fn newest(&self) -> Result<Version, Fault> {
        read::newest(self.database.row(read::NEWEST, &[]).await?)
    }

    /// The head as it is now: from the cache if no other process committed, else the cached one brought up to date.
    async fn head(&self) -> Result<Head, Fault> {
        if let Some(head) = self.cache.head_at(self.newest().await?) {
            return Ok(head);
        }
        let _one_reads = self.refreshing.lock().await;
        let mut tx = self.database.begin_read().await?;
        let head = read::head(&mut tx.connection(), self.cache.head()).await?;
        tx.rollback().await?;
        self.cache.put(&head);
        Ok(head)
    }

    /// The snapshot at a version. Its jobs and rights are the newest.
    async fn snapshot_at(&self, version: Version) -> Result<Arc<Snapshot>, Fault> {
        let head = self.head().await?;
        let newest = head.snapshot.version;
        if version == newest {
            return Ok(head.snapshot);
        }
        if version < head.oldest || version > newest {
            return Err(no_version(version, head.oldest, newest).into());
        }
        let past = match self.cache.snapshot(version) {
            Some(past) => past,
            None => {
                let past = self.load_past(version).await?;
                self.cache.put_past(&past);
                past
            }
        };
        let (jobs, access) = (head.snapshot.jobs.clone(), head.snapshot.access.clone());
        Ok(Arc::new(Snapshot { jobs, access, ..Snapshot::clone(&past) }))
    }

    async fn load_past(&self, version: Version) -> Result<Arc<Snapshot>, Fault> {
        let mut tx = self.database.begin_read().await?;
        // Again, in the transaction that reads: another process may have expired it since.
        let meta = read::meta(&mut tx.connection()).await?;
        if version < meta.oldest {
            let newest = read::newest_version(&mut tx.connection()).await?;
            return Err(no_version(version, meta.oldest, newest).into());
        }
        let past = Arc::new(read::snapshot(&mut tx.connection(), version).await?);
        tx.rollback().await?;
        Ok(past)
    }

    async fn version_at(&self, at_ms: i64) -> Result<Version, Fault> {
        let mut tx = self.database.begin_read().await?;
        let found = read::version_at(&mut tx.connection(), at_ms).await?.unwrap_or(0);
        let meta = read::meta(&mut tx.connection()).await?;
        tx.rollback().await?;
        if found < meta.oldest {
            return Err(Error::new(ErrorKind::NotFound, "what was at that time is expired")
                .with("time in ms", at_ms)
                .with("oldest version", meta.oldest)
                .into());
        }
        Ok(found)
    }

    async fn table_versions(&self, table: ObjectId, limit: u32) -> Result<Vec<TableVersion>, Fault> {
        let mut tx = self.database.begin_read().await?;
        let versions = history::table_versions(&mut tx.connection(), table, limit).await?;
        tx.rollback().await?;
        Ok(versions)
    }

    async fn referenced_files(&self) -> Result<FileReferences, Fault> {
        let mut tx = self.database.begin_read().await?;
        let files = read::referenced_files(&mut tx.connection()).await?;
        tx.rollback().await?;
        Ok(files)
    }

    /// Runs `Begin` ... `Commit` of a commit and remembers the head that it made.
    async fn commit(&self, request: &Commit) -> Result<Version, Fault> {
        let mut tx = self.database.begin_write().await?;
        match commit::run(&mut tx.connection(), self.cache.head(), request).await? {
            commit::Outcome::Before(version) => Ok(version),
            commit::Outcome::Next(head) => {
                tx.commit().await.map_err(Fault::of_commit)?;
                self.cache.put(&head);
                Ok(head.snapshot.version)
            }
        }
    }

    async fn settle(&self, id: Uuid) -> Result<Option<Version>, Fault> {
        let mut tx = self.database.begin_write().await?;
        let version = commit::settle(&mut tx.connection(), id).await?;
        tx.commit().await?;
        Ok(version)
    }

    async fn allocate_ids(&self, count: u32) -> Result<ObjectId, Fault> {
        let mut tx = self.database.begin_write().await?;
        let first = commit::draw(&mut tx.connection(), "next_id", i64::from(count)).await?;
        tx.commit().await?;
        Ok(ObjectId(first))
    }

    /// How far the clock that leases are measured by is before the caller's.
    async fn lease_clock_ahead(&self, tx: &mut Transaction, now_ms: i64) -> Result<i64, Fault> {
        match self.lease_clock {
            LeaseClock::Caller => Ok(0),
            LeaseClock::Server => Ok(lease::server_ms(&mut tx.connection()).await?.saturating_sub(now_ms)),
        }
    }

    async fn acquire_lease(&self, request: lease::Request<'_>) -> Result<Lease, Fault> {
        let mut tx = self.database.begin_write().await?;
        let ahead = self.lease_clock_ahead(&mut tx, request.now_ms).await?;
        let lease = lease::acquire(&mut tx.connection(), request.later(ahead)).await?;
        tx.commit().await?;
        Ok(lease.later(-ahead))
    }

    async fn lease(&self, name: &str, now_ms: i64) -> Result<Option<Lease>, Fault> {
        let mut tx = self.database.begin_read().await?;
        let ahead = self.lease_clock_ahead(&mut tx, now_ms).await?;
        let held = lease::held(&mut tx.connection(), name).await?;
        tx.rollback().await?;
        Ok(held.map(|lease| lease.later(-ahead)).filter(|lease| lease.expires_ms > now_ms))
    }

    async fn renew_leases(&self, leases: &[Lease], now_ms: i64, ttl_ms: i64) -> Result<(), Fault> {
        let mut tx = self.database.begin_write().await?;
        let now_ms = now_ms.saturating_add(self.lease_clock_ahead(&mut tx, now_ms).await?);
        lease::renew(&mut tx.connection(), leases, now_ms.saturating_add(ttl_ms)).await?;
        tx.commit().await
    }

    async fn release_leases(&self, leases: &[Lease]) -> Result<(), Fault> {
        let mut tx = self.database.begin_write().await?;
        lease::release(&mut tx.connection(), leases).await?;
        tx.commit().await
    }
}

fn no_version(version: Version, oldest: Version, newest: Version) -> Error {
    let message = if version > newest { "there is no such version yet" } else { "the version is expired" };
    Error::new(ErrorKind::NotFound, message).with("version", version).with("oldest", oldest).with("newest", newest)
}

#[async_trait]
impl Catalog for SqlCatalog {
    async fn version(&self) -> Result<Version> {
        self.inner.newest().await.map_err(self.inner.error("reading the newest version"))
    }

    async fn snapshot(&self, at: Option<Version>) -> Result<Arc<Snapshot>> {
        let read = match at {
            None => self.inner.head().await.map(|head| head.snapshot),
            Some(version) => self.inner.snapshot_at(version).await,
        };
        read.map_err(self.inner.error("reading a snapshot"))
    }

    async fn version_at(&self, at_ms: i64) -> Result<Version> {
        self.inner.version_at(at_ms).await.map_err(self.inner.error("looking up the version at a time"))
    }

    async fn table_versions(&self, table: ObjectId, limit: u32) -> Result<Vec<TableVersion>> {
        self.inner.table_versions(table, limit).await.map_err(self.inner.error("listing the versions of a table"))
    }

    async fn referenced_files(&self) -> Result<FileReferences> {
        self.inner.referenced_files().await.map_err(self.inner.error("listing the files in use"))
    }

    async fn commit(&self, commit: Commit) -> Result<Version> {
        let outcome = self.inner.commit(&commit).await.map_err(self.inner.error("committing"));
        outcome.map_err(|error| error.with("commit", commit.id))
    }

    async fn settle(&self, commit: Uuid) -> Result<Option<Version>> {
        self.inner.settle(commit).await.map_err(self.inner.error("settling a commit"))
    }

    async fn allocate_ids(&self, count: u32) -> Result<ObjectId> {
        self.inner.allocate_ids(count).await.map_err(self.inner.error("drawing ids"))
    }

    async fn acquire_lease(
        &self,
        name: &str,
        owner: &str,
        dead_owner: Option<&str>,
        now_ms: i64,
        ttl_ms: i64,
    ) -> Result<Lease> {
        let request = lease::Request { name, owner, dead_owner, now_ms, expires_ms: now_ms.saturating_add(ttl_ms) };
        self.inner.acquire_lease(request).await.map_err(self.inner.error("acquiring a lease"))
    }

    async fn lease(&self, name: &str, now_ms: i64) -> Result<Option<Lease>> {
        self.inner.lease(name, now_ms).await.map_err(self.inner.error("reading a lease"))
    }

    async fn renew_leases(&self, leases: &[Lease], now_ms: i64, ttl_ms: i64) -> Result<()> {
        self.inner.renew_leases(leases, now_ms, ttl_ms).await.map_err(self.inner.error("renewing leases"))
    }

    async fn release_leases(&self, leases: &[Lease]) -> Result<()> {
        self.inner.release_leases(leases).await.map_err(self.inner.error("releasing leases"))
    }
}
