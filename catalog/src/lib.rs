//! What exists and what is committed: names, schemas, versions, jobs, checkpoints, leases.
//!
//! The catalog is the single point of truth: files that no commit names do not exist. A commit is one transaction over
//! any number of tables and jobs, guarded by compare-and-set and fencing tokens, and makes one new [`Version`].

pub mod clock;
pub mod conformance;
pub mod detached;
pub mod error;
pub mod model;
pub mod sql;
pub mod transition;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

pub use clock::{Clock, ManualClock, SystemClock};
pub use detached::Detached;
pub use error::{Error, ErrorKind, Result};
pub use model::*;
pub use sql::SqlCatalog;
pub use sql::postgres::{LeaseClock, PostgresOptions, PostgresUrl};
pub use sql::sqlite::SqliteOptions;

/// A transactional store of the program's metadata.
///
/// # Contract
/// - Versions grow by exactly one per successful commit; a snapshot never shows a part of a commit.
/// - A commit whose requirement fails changes nothing and returns `Conflict` (or `Fenced` for a fence).
/// - Committing the same `Commit::id` twice returns the version of the first time and changes nothing.
/// - When a commit returns, it survives power loss.
/// - An id that an object, job or segment path had is never taken again: `Invalid`. What a commit creates must refer to
///   objects that exist after it, else `Conflict`.
/// - Every method may be called from any number of tasks and processes at once.
#[async_trait]
pub trait Catalog: Send + Sync + Debug {
    /// The newest version. Cheap: it is polled to learn of other processes' commits.
    async fn version(&self) -> Result<Version>;

    /// Everything that exists at `at`, or at the newest version. `NotFound` if that version is expired or not yet made.
    async fn snapshot(&self, at: Option<Version>) -> Result<Arc<Snapshot>>;

    /// The version that was the newest at `at_ms` (ms since the Unix epoch). `NotFound` if that one is expired.
    async fn version_at(&self, at_ms: i64) -> Result<Version>;

    /// The newest versions that changed a table's rows or its Iceberg pointer, newest first and at most `limit` of each
    /// kind, as far as they are remembered: segments that are dropped are forgotten, and so are old pointers.
    async fn table_versions(&self, table: ObjectId, limit: u32) -> Result<Vec<TableVersion>>;

    /// Every file that some version still to be read, or a checkpoint, refers to: what the sweep of garbage must keep.
    /// One consistent read; files that are written but not committed yet are not in it.
    async fn referenced_files(&self) -> Result<FileReferences>;

    /// Runs one transaction.
    async fn commit(&self, commit: Commit) -> Result<Version>;

    /// What became of a commit whose outcome is unknown: its version, or `None` if it never happened and never will
    /// (the id is burnt: a later arrival of that commit fails with `Conflict`).
    async fn settle(&self, commit: uuid::Uuid) -> Result<Option<Version>>;

    /// Draws `count` fresh ids and returns the first; they are consecutive.
    async fn allocate_ids(&self, count: u32) -> Result<ObjectId>;

    /// Takes a lease that is free, lapsed at `now_ms`, held by the same owner, or held by `dead_owner` (whom the caller
    /// knows to be dead). `Fenced`, naming the present owner, if another holds it.
    async fn acquire_lease(
        &self,
        name: &str,
        owner: &str,
        dead_owner: Option<&str>,
        now_ms: i64,
        ttl_ms: i64,
    ) -> Result<Lease>;

    /// Who holds a lease now, if it has not lapsed at `now_ms`.
    async fn lease(&self, name: &str, now_ms: i64) -> Result<Option<Lease>>;

    /// Prolongs leases, all or none. `Fenced` if one was lost.
    async fn renew_leases(&self, leases: &[Lease], now_ms: i64, ttl_ms: i64) -> Result<()>;

    /// Gives leases back. Giving back what is no longer held does nothing.
    async fn release_leases(&self, leases: &[Lease]) -> Result<()>;
}
