//! The on-disk format of the SQLite catalog, version 2: every table, and how a file is created and recognised.
//!
//! The file is an SQLite database in WAL mode. Its header carries [`APPLICATION_ID`] and, as `user_version`, the
//! [`FORMAT`]; both are also checked against `frazil_meta`. A program opens files of its own format and brings older
//! ones up to it, in one transaction; newer ones it refuses.
//!
//! # Versions
//! A commit makes one *version*. Rows that describe something at versions carry `valid_from` (the version that made
//! them) and `valid_to` (the version that ended them, NULL while they last): a row is visible at version *v* when
//! `valid_from <= v AND (valid_to IS NULL OR valid_to > v)`. A row is deleted when no version that can still be read
//! sees it, that is when `valid_to <= oldest_version`.
//!
//! Booleans are 0 or 1, times are milliseconds since the Unix epoch, JSON is stored as text in the form of the
//! `serde` implementations of the catalog's model.

use sqlx::{Row, SqliteConnection};

use super::fault::Fault;
use crate::error::{Error, ErrorKind};

/// `application_id` of the file: "FRZL" in ASCII.
pub const APPLICATION_ID: i64 = 0x4652_5A4C;

/// Number of this format. Any change of a table's meaning makes a new one.
pub const FORMAT: i64 = 2;

/// Value of `catalog_name` in the Iceberg tables.
pub const ICEBERG_CATALOG: &str = "frazil";

/// The one Iceberg namespace that holds every table.
pub const ICEBERG_NAMESPACE: &str = "default";

/// Single values by name:
/// - `format`: equals [`FORMAT`];
/// - `next_id`: the next object or job id to hand out;
/// - `next_token`: the next fencing token to hand out, for all leases together;
/// - `oldest_version`: versions before it are expired;
/// - `definitions_version`: the newest version that created or dropped an object;
/// - `access_version`: the newest version that changed users, owners or grants.
const META: &str = "CREATE TABLE frazil_meta (key TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID";

/// One row per commit. `id` is the 16 bytes of the commit's UUID. `committed_ms` never goes down from one version to
/// the next. Rows stay while their version can be read and for a week after their commit, so that outcomes can be asked for.
const COMMITS: &str = "CREATE TABLE frazil_commits (
    version INTEGER NOT NULL PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    committed_ms INTEGER NOT NULL)";

/// For time travel by clock.
const COMMITS_BY_TIME: &str = "CREATE INDEX frazil_commits_by_time ON frazil_commits (committed_ms, version)";

/// Commit ids that were asked for and had not committed: they never may.
const SETTLED: &str = "CREATE TABLE frazil_settled (id BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID";

/// One row per object ever created and not yet forgotten. `body` is the model's `Object` as JSON; `name` repeats the
/// one in it. Names are unique among the rows that last.
const OBJECTS: &str = "CREATE TABLE frazil_objects (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    valid_from INTEGER NOT NULL,
    valid_to INTEGER)";

/// See [`OBJECTS`].
const OBJECT_NAMES: &str = "CREATE UNIQUE INDEX frazil_objects_live ON frazil_objects (name) WHERE valid_to IS NULL";

/// History of each stored table's Iceberg pointer (`metadata_location`, NULL before the first tiering) and of the
/// oldest version from which its changelog is complete. One row from the table's creation on, one more per change.
const TABLES: &str = "CREATE TABLE frazil_tables (
    table_id INTEGER NOT NULL REFERENCES frazil_objects (id),
    metadata_location TEXT,
    changelog_from INTEGER NOT NULL,
    valid_from INTEGER NOT NULL,
    valid_to INTEGER,
    PRIMARY KEY (table_id, valid_from)) WITHOUT ROWID";

/// To find what changed since a version.
const TABLES_BY_START: &str = "CREATE INDEX frazil_tables_by_start ON frazil_tables (valid_from)";

/// To find what expired.
const TABLES_BY_END: &str = "CREATE INDEX frazil_tables_by_end ON frazil_tables (valid_to) WHERE valid_to IS NOT NULL";

/// One row per segment file. `version` added it; `tiered` is the version at which it left the hot tier and was only
/// retained for changelog readers; `dropped` is the version at which it left the table (as retained segment, or
/// together with the table). At version *v* it is hot while `version <= v < min(tiered, dropped)` and retained while
/// `tiered <= v < dropped`, NULL standing for never. Ids grow in order of commits, and within one in the order given.
const SEGMENTS: &str = "CREATE TABLE frazil_segments (
    id INTEGER NOT NULL PRIMARY KEY,
    table_id INTEGER NOT NULL REFERENCES frazil_objects (id),
    path TEXT NOT NULL UNIQUE,
    row_count INTEGER NOT NULL,
    byte_count INTEGER NOT NULL,
    insert_only INTEGER NOT NULL,
    version INTEGER NOT NULL,
    tiered INTEGER,
    dropped INTEGER)";

/// To find what a version added.
const SEGMENTS_BY_VERSION: &str = "CREATE INDEX frazil_segments_by_version ON frazil_segments (version)";

/// To find what a version tiered.
const SEGMENTS_BY_TIERED: &str =
    "CREATE INDEX frazil_segments_by_tiered ON frazil_segments (tiered) WHERE tiered IS NOT NULL";

/// To find what a version dropped, and what expired.
const SEGMENTS_BY_DROPPED: &str =
    "CREATE INDEX frazil_segments_by_dropped ON frazil_segments (dropped) WHERE dropped IS NOT NULL";

/// To end the segments of a dropped table.
const SEGMENTS_BY_TABLE: &str = "CREATE INDEX frazil_segments_by_table ON frazil_segments (table_id)";

/// One row per job, always the newest state. `body` is the model's `Job` as JSON as it was created; `status` (JSON
/// string), `error` and the checkpoint's columns hold what changed since. The checkpoint's columns are all NULL or none
/// is; `files` is a JSON array of paths. `modified` is the version that last changed the row.
const JOBS: &str = "CREATE TABLE frazil_jobs (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    checkpoint_epoch INTEGER,
    checkpoint_version INTEGER,
    checkpoint_payload TEXT,
    checkpoint_files TEXT,
    modified INTEGER NOT NULL)";

/// One row per lease that is held or lapsed but was not given back. `token` comes from `next_token`.
const LEASES: &str = "CREATE TABLE frazil_leases (
    name TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    token INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL) WITHOUT ROWID";

/// Who may do what, always the newest state. `body` is the model's `Access` as JSON.
const ACCESS: &str = "CREATE TABLE frazil_access (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL)";

/// Nobody is known yet.
const NO_ACCESS: &str = r#"INSERT INTO frazil_access VALUES (1, '{"users":{},"owners":{},"grants":[]}')"#;

/// The current metadata of every tiered table, in the shape of the SQL (JDBC) catalog's schema V1, so that its other
/// implementations open this file. Column types are theirs.
const ICEBERG_TABLES: &str = "CREATE TABLE iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name))";

/// The namespaces of that catalog: one, marked as existing.
const ICEBERG_NAMESPACES: &str = "CREATE TABLE iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key))";

/// Refuses rows of ours that do not repeat the pointer in `frazil_tables`: another program that commits to one of our
/// tables would bypass its segments, its changelog and every job on it, and would be undone by the next tiering.
const GUARD_INSERT: &str = "CREATE TRIGGER frazil_guard_insert BEFORE INSERT ON iceberg_tables
    WHEN NEW.catalog_name = 'frazil' AND NEW.table_namespace = 'default' AND NOT EXISTS (
        SELECT 1 FROM frazil_objects o JOIN frazil_tables t ON t.table_id = o.id AND t.valid_to IS NULL
        WHERE o.name = NEW.table_name AND o.valid_to IS NULL AND t.metadata_location = NEW.metadata_location)
    BEGIN SELECT RAISE(ABORT, 'tables in namespace default are written by Frazil; use its SQL'); END";

/// See [`GUARD_INSERT`].
const GUARD_UPDATE: &str = "CREATE TRIGGER frazil_guard_update BEFORE UPDATE ON iceberg_tables
    WHEN OLD.catalog_name = 'frazil' AND OLD.table_namespace = 'default' AND NOT EXISTS (
        SELECT 1 FROM frazil_objects o JOIN frazil_tables t ON t.table_id = o.id AND t.valid_to IS NULL
        WHERE o.name = NEW.table_name AND o.valid_to IS NULL AND t.metadata_location = NEW.metadata_location
        AND NEW.table_name = OLD.table_name AND NEW.catalog_name = 'frazil' AND NEW.table_namespace = 'default')
    BEGIN SELECT RAISE(ABORT, 'tables in namespace default are written by Frazil; use its SQL'); END";

/// See [`GUARD_INSERT`].
const GUARD_DELETE: &str = "CREATE TRIGGER frazil_guard_delete BEFORE DELETE ON iceberg_tables
    WHEN OLD.catalog_name = 'frazil' AND OLD.table_namespace = 'default' AND EXISTS (
        SELECT 1 FROM frazil_objects o WHERE o.name = OLD.table_name AND o.valid_to IS NULL)
    BEGIN SELECT RAISE(ABORT, 'tables in namespace default are written by Frazil; use its SQL'); END";

const STATEMENTS: &[&str] = &[
    META,
    COMMITS,
    COMMITS_BY_TIME,
    SETTLED,
    OBJECTS,
    OBJECT_NAMES,
    TABLES,
    TABLES_BY_START,
    TABLES_BY_END,
    SEGMENTS,
    SEGMENTS_BY_VERSION,
    SEGMENTS_BY_TIERED,
    SEGMENTS_BY_DROPPED,
    SEGMENTS_BY_TABLE,
    JOBS,
    LEASES,
    ACCESS,
    NO_ACCESS,
    ICEBERG_TABLES,
    ICEBERG_NAMESPACES,
    GUARD_INSERT,
    GUARD_UPDATE,
    GUARD_DELETE,
    "INSERT INTO frazil_meta VALUES ('format', 2), ('next_id', 1), ('next_token', 1), ('oldest_version', 0), \
     ('definitions_version', 0), ('access_version', 0)",
    "INSERT INTO iceberg_namespace_properties VALUES ('frazil', 'default', 'exists', 'true')",
    "PRAGMA application_id = 1179802188",
    "PRAGMA user_version = 2",
];

/// What makes a file of format 1 one of format 2.
const FROM_1: &[&str] = &[
    ACCESS,
    NO_ACCESS,
    "INSERT INTO frazil_meta VALUES ('access_version', 0)",
    "UPDATE frazil_meta SET value = 2 WHERE key = 'format'",
    "PRAGMA user_version = 2",
];

/// Tables without which a file is damaged.
const TABLE_NAMES: &[&str] = &[
    "frazil_meta",
    "frazil_commits",
    "frazil_settled",
    "frazil_objects",
    "frazil_tables",
    "frazil_segments",
    "frazil_jobs",
    "frazil_leases",
    "frazil_access",
    "iceberg_tables",
    "iceberg_namespace_properties",
];

/// What a database is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It holds nothing.
    Empty,
    /// A catalog of an older format.
    Older,
    /// A catalog of this format.
    Catalog,
}

/// Tells what the database is, without changing it. The caller runs it in a transaction. `Corrupt` if it is neither empty
/// nor a whole catalog of this format or an older one.
pub(super) async fn inspect(conn: &mut SqliteConnection) -> Result<Kind, Fault> {
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master").fetch_all(&mut *conn).await?;
    let application_id = pragma(conn, "PRAGMA application_id").await?;
    let format = pragma(conn, "PRAGMA user_version").await?;
    if names.is_empty() && application_id == 0 && format == 0 {
        return Ok(Kind::Empty);
    }
    if application_id != APPLICATION_ID {
        return Err(corrupt("it is an SQLite database, but no Frazil catalog; name another file").into());
    }
    if format == 1 {
        return Ok(Kind::Older);
    }
    check_format(format)?;
    if let Some(missing) = TABLE_NAMES.iter().find(|table| !names.iter().any(|name| name == *table)) {
        return Err(corrupt("a table is missing; restore the file from a backup").with("missing", missing).into());
    }
    let stored: Option<i64> =
        sqlx::query_scalar("SELECT value FROM frazil_meta WHERE key = 'format'").fetch_optional(&mut *conn).await?;
    match stored {
        Some(stored) => check_format(stored)?,
        None => return Err(corrupt("frazil_meta names no format; restore the file from a backup").into()),
    }
    Ok(Kind::Catalog)
}

/// Creates every table in an empty database. The caller runs it in a transaction.
pub(super) async fn create(conn: &mut SqliteConnection) -> Result<(), Fault> {
    for statement in STATEMENTS {
        sqlx::query(statement).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Brings a catalog of an older format up to this one. The caller runs it in a transaction.
pub(super) async fn upgrade(conn: &mut SqliteConnection) -> Result<(), Fault> {
    for statement in FROM_1 {
        sqlx::query(statement).execute(&mut *conn).await?;
    }
    Ok(())
}

fn check_format(format: i64) -> Result<(), Fault> {
    if format == FORMAT {
        return Ok(());
    }
    Err(corrupt("the catalog is of another format; open it with the version of frazil that wrote it")
        .with("format of the file", format)
        .with("format of this program", FORMAT)
        .into())
}

async fn pragma(conn: &mut SqliteConnection, sql: &'static str) -> Result<i64, Fault> {
    Ok(sqlx::query(sql).fetch_one(conn).await?.try_get(0)?)
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
