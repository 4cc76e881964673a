//! The catalog on a PostgreSQL server, for processes on several machines: all its tables in one schema, of which a
//! database may have several.
//!
//! Write transactions lock one row first, so there is one at a time and READ COMMITTED shows it all that were before it;
//! reads of more than one statement are REPEATABLE READ. A commit is as durable as the server makes it
//! (`synchronous_commit`); one whose connection is lost while COMMIT is under way is `Indeterminate`. Settling it waits
//! for the lock as well, so what the server may still do for the lost connection is done by then.

mod connect;
mod fault;
mod schema;
mod url;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::database::Connection;
use super::fault::{Fault, damaged};

pub(super) use connect::open;
pub(super) use fault::{commit_failed_for_sure, explain};
pub use url::PostgresUrl;

/// Begins a transaction that reads one consistent state.
pub(super) const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// Begins a transaction that writes: whatever the server's or the user's defaults are.
pub(super) const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE";

/// Settings of a catalog on a PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PostgresOptions {
    /// How long to wait for a connection, for other processes' transactions and for the answer to a statement before
    /// giving up with `Unavailable` (or `Indeterminate`, for that of a COMMIT).
    pub patience: Duration,
    /// Connections for reading, at least one. They are opened when needed. One more writes.
    pub readers: u32,
    /// Whose clock leases are measured by.
    pub lease_clock: LeaseClock,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { patience: Duration::from_secs(10), readers: 4, lease_clock: LeaseClock::Server }
    }
}

/// Whose clock decides when a lease lapses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseClock {
    /// The database server's, so that processes whose clocks disagree mean the same moment. Callers still speak of their
    /// own clocks: a lease that they get lapses so many ms after the `now_ms` that they gave.
    Server,
    /// That of the caller, for tests that move time by hand.
    Caller,
}

/// Waits until this is the only write transaction. The row that is locked says the format: a program of another version
/// may have changed it since this process looked.
pub(super) async fn lock(conn: &mut Connection<'_>) -> Result<(), Fault> {
    match conn.row("SELECT value FROM frazil_meta WHERE key = 'format' FOR UPDATE", &[]).await? {
        Some(row) => super::schema::check_format(row.get(0)?),
        None => Err(damaged("frazil_meta", "format", "the row is missing").into()),
    }
}
