//! The catalog in an SQLite file that any number of processes open at once, or the same in memory.
//!
//! Write transactions are `BEGIN IMMEDIATE`, so that a process has the lock before it reads; a commit is durable when
//! COMMIT returns (WAL, `synchronous = FULL`).

mod connect;
mod fault;
pub mod schema;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqlitePool, Transaction};

use super::fault::Fault;

pub(super) use connect::{open_file, open_memory};
pub(super) use fault::{commit_failed_for_sure, explain, is_busy};

/// Tries at taking the write lock. Each waits for its share of the busy timeout; some kinds of being busy return at once.
const WRITE_ATTEMPTS: u32 = 4;

/// Settings of a catalog in an SQLite file.
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

/// A transaction that has the file's write lock.
pub(super) async fn begin_write(writer: &SqlitePool) -> Result<Transaction<'static, Sqlite>, Fault> {
    let mut attempt = 1;
    loop {
        match writer.begin_with("BEGIN IMMEDIATE").await.map_err(Fault::from) {
            Err(fault) if is_busy(&fault) && attempt < WRITE_ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(10 * u64::from(attempt))).await;
                attempt += 1;
            }
            begun => return begun,
        }
    }
}
