//! The embedded catalog: one SQLite file that any number of processes open at once, or the same in memory.
//!
//! One connection per process writes, so that writers of a process queue fairly instead of polling for SQLite's lock;
//! a few read. Every commit is one `BEGIN IMMEDIATE` transaction: it reads the head, lets [`crate::transition`] decide,
//! writes down the outcome and is durable when COMMIT returns (WAL, `synchronous = FULL`). The head is cached by
//! version; after another process's commit only what changed since is read.

mod cache;
mod commit;
mod connect;
mod fault;
mod history;
mod lease;
mod read;
pub mod schema;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqlitePool, Transaction};
use uuid::Uuid;

use crate::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::model::*;
use crate::transition::Head;
use cache::Cache;
use fault::{Fault, Place};

/// Settings of an SQLite catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SqliteOptions {
    /// How long to wait for other processes' transactions before giving up with `Unavailable`.
    pub busy_timeout: Duration,
    /// Connections for reading, at least one. They are opened when needed.
    pub readers: u32,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(10), readers: 4 }
    }
}

/// A catalog in an SQLite database. Clones share connections and cache.
#[derive(Debug, Clone)]
pub struct SqliteCatalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    writer: SqlitePool,
    reader: SqlitePool,
    cache: Cache,
    /// Held while the head is brought up to date, so that many tasks that see a new version read it once.
    refreshing: tokio::sync::Mutex<()>,
}

impl SqliteCatalog {
    /// Opens the catalog in this file; creates file and directories if there is none.
    ///
    /// # Errors
    /// `Corrupt` if the file is something else, damaged or of another format; `Unavailable` if it cannot be opened.
    pub async fn open(path: &Path, options: SqliteOptions) -> Result<Self> {
        let place = Place::File(path.to_path_buf());
        let pools = connect::open_file(path, &options).await.map_err(|fault| fault.at(&place, "opening"))?;
        Ok(Self::new(place, pools))
    }

    /// A new, empty catalog that lives as long as this handle and its clones. It behaves like a file, but for durability.
    pub async fn in_memory() -> Result<Self> {
        let pools = connect::open_memory().await.map_err(|fault| fault.at(&Place::Memory, "opening"))?;
        Ok(Self::new(Place::Memory, pools))
    }

    /// Closes every connection and waits for it; the last process to close a file folds its log back into it. Calls
    /// on this handle and its clones then fail with `Unavailable`. Dropping the handle without this loses nothing.
    pub async fn close(&self) {
        self.inner.reader.close().await;
        self.inner.writer.close().await;
    }

    fn new(place: Place, pools: connect::Pools) -> Self {
        let inner = Inner {
            place,
            writer: pools.writer,
            reader: pools.reader,
            cache: Cache::default(),
            refreshing: tokio::sync::Mutex::new(()),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    fn error(&self, what: &'static str) -> impl FnOnce(Fault) -> Error + '_ {
        move |fault| fault.at(&self.place, what)
    }

    async fn begin_write(&self) -> Result<Transaction<'static, Sqlite>, Fault> {
        let mut attempt = 1;
        loop {
            match self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(Fault::from) {
                Err(fault) if fault.is_busy() && attempt < WRITE_ATTEMPTS => {
                    tokio::time::sleep(Duration::from_millis(10 * u64::from(attempt))).await;
                    attempt += 1;
                }
                begun => return begun,
            }
        }
    }

    async fn newest(&self) -> Result<Version, Fault> {
        let mut conn = self.reader.acquire().await?;
        read::newest_version(&mut conn).await
    }

    /// The head as it is now: from the cache if no other process committed, else the cached one brought up to date.
    async fn head(&self) -> Result<Head, Fault> {
        if let Some(head) = self.cache.head_at(self.newest().await?) {
            return Ok(head);
        }
        let _one_reads = self.refreshing.lock().await;
        let mut tx = self.reader.begin().await?;
        let head = read::head(&mut tx, self.cache.head()).await?;
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
        let mut tx = self.reader.begin().await?;
        // Again, in the transaction that reads: another process may have expired it since.
        let meta = read::meta(&mut tx).await?;
        if version < meta.oldest {
            let newest = read::newest_version(&mut tx).await?;
            return Err(no_version(version, meta.oldest, newest).into());
        }
        let past = Arc::new(read::snapshot(&mut tx, version).await?);
        tx.rollback().await?;
        Ok(past)
    }

    async fn version_at(&self, at_ms: i64) -> Result<Version, Fault> {
        let mut tx = self.reader.begin().await?;
        let found = read::version_at(&mut tx, at_ms).await?.unwrap_or(0);
        let meta = read::meta(&mut tx).await?;
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
        let mut tx = self.reader.begin().await?;
        let versions = history::table_versions(&mut tx, table, limit).await?;
        tx.rollback().await?;
        Ok(versions)
    }

    async fn referenced_files(&self) -> Result<FileReferences, Fault> {
        let mut tx = self.reader.begin().await?;
        let files = read::referenced_files(&mut tx).await?;
        tx.rollback().await?;
        Ok(files)
    }

    /// Runs `Begin` ... `Commit` of a commit and remembers the head that it made.
    async fn commit(&self, request: &Commit) -> Result<Version, Fault> {
        let mut tx = self.begin_write().await?;
        match commit::run(&mut tx, self.cache.head(), request).await? {
            commit::Outcome::Before(version) => Ok(version),
            commit::Outcome::Next(head) => {
                tx.commit().await.map_err(Fault::Commit)?;
                self.cache.put(&head);
                Ok(head.snapshot.version)
            }
        }
    }

    async fn settle(&self, id: Uuid) -> Result<Option<Version>, Fault> {
        let mut tx = self.begin_write().await?;
        let version = commit::settle(&mut tx, id).await?;
        tx.commit().await?;
        Ok(version)
    }

    async fn allocate_ids(&self, count: u32) -> Result<ObjectId, Fault> {
        let mut tx = self.begin_write().await?;
        let first = commit::draw(&mut tx, "next_id", i64::from(count)).await?;
        tx.commit().await?;
        Ok(ObjectId(first))
    }

    async fn acquire_lease(&self, request: lease::Request<'_>) -> Result<Lease, Fault> {
        let mut tx = self.begin_write().await?;
        let lease = lease::acquire(&mut tx, request).await?;
        tx.commit().await?;
        Ok(lease)
    }

    async fn renew_leases(&self, leases: &[Lease], expires_ms: i64) -> Result<(), Fault> {
        let mut tx = self.begin_write().await?;
        lease::renew(&mut tx, leases, expires_ms).await?;
        Ok(tx.commit().await?)
    }

    async fn release_leases(&self, leases: &[Lease]) -> Result<(), Fault> {
        let mut tx = self.begin_write().await?;
        lease::release(&mut tx, leases).await?;
        Ok(tx.commit().await?)
    }
}

/// Tries at taking the write lock. Each waits for its share of the busy timeout; some kinds of being busy return at once.
const WRITE_ATTEMPTS: u32 = 4;

fn no_version(version: Version, oldest: Version, newest: Version) -> Error {
    let message = if version > newest { "there is no such version yet" } else { "the version is expired" };
    Error::new(ErrorKind::NotFound, message).with("version", version).with("oldest", oldest).with("newest", newest)
}

#[async_trait]
impl Catalog for SqliteCatalog {
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
        let read = async {
            let mut conn = self.inner.reader.acquire().await?;
            lease::held(&mut conn, name).await
        };
        let lease = read.await.map_err(self.inner.error("reading a lease"))?;
        Ok(lease.filter(|lease| lease.expires_ms > now_ms))
    }

    async fn renew_leases(&self, leases: &[Lease], now_ms: i64, ttl_ms: i64) -> Result<()> {
        let expires_ms = now_ms.saturating_add(ttl_ms);
        self.inner.renew_leases(leases, expires_ms).await.map_err(self.inner.error("renewing leases"))
    }

    async fn release_leases(&self, leases: &[Lease]) -> Result<()> {
        self.inner.release_leases(leases).await.map_err(self.inner.error("releasing leases"))
    }
}
