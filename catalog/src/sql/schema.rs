//! The format of a catalog in a database, version 2: its tables, the same in every database but for the names of types.
//! How a database is recognised, and what guards the tables of other programs, stands with each database.
//!
//! `frazil_meta` carries the [`FORMAT`]. A program opens databases of its own format and brings older ones up to it, in
//! one transaction; newer ones it refuses.
//!
//! # Versions
//! A commit makes one *version*. Rows that describe something at versions carry `valid_from` (the version that made
//! them) and `valid_to` (the version that ended them, NULL while they last): a row is visible at version *v* when
//! `valid_from <= v AND (valid_to IS NULL OR valid_to > v)`. A row is deleted when no version that can still be read
//! sees it, that is when `valid_to <= oldest_version`.
//!
//! Booleans are 0 or 1, times are milliseconds since the Unix epoch, JSON is stored as text in the form of the
//! `serde` implementations of the catalog's model.

use super::database::Connection;
use super::fault::Fault;
use crate::error::{Error, ErrorKind};

/// Number of this format. Any change of a table's meaning makes a new one.
pub const FORMAT: i64 = 2;

/// Value of `catalog_name` in the Iceberg tables.
pub const ICEBERG_CATALOG: &str = "frazil";

/// The one Iceberg namespace that holds every table.
pub const ICEBERG_NAMESPACE: &str = "default";

/// What a database calls the types of these tables.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// Signed, 64 bits.
    pub integer: &'static str,
    /// A primary key that counts by itself.
    pub serial: &'static str,
    /// Bytes.
    pub bytes: &'static str,
    /// Up to 255 characters.
    pub name: &'static str,
    /// Up to 1000 characters.
    pub location: &'static str,
    /// Keeps the rows of a small table in its key's index, where that has to be said.
    pub packed: &'static str,
}

/// Single values by name:
/// - `format`: equals [`FORMAT`];
/// - `next_id`: the next object or job id to hand out;
/// - `next_token`: the next fencing token to hand out, for all leases together;
/// - `oldest_version`: versions before it are expired;
/// - `definitions_version`: the newest version that created or dropped an object;
/// - `access_version`: the newest version that changed users, owners or grants.
const META: &str = "CREATE TABLE frazil_meta (key TEXT NOT NULL PRIMARY KEY, value {integer} NOT NULL) {packed}";

/// One row per commit. `id` is the 16 bytes of the commit's UUID. `committed_ms` never goes down from one version to
/// the next. Rows stay while their version can be read and for a week after their commit, so that outcomes can be asked for.
const COMMITS: &str = "CREATE TABLE frazil_commits (
    version {integer} NOT NULL PRIMARY KEY,
    id {bytes} NOT NULL UNIQUE,
    committed_ms {integer} NOT NULL)";

/// For time travel by clock.
const COMMITS_BY_TIME: &str = "CREATE INDEX frazil_commits_by_time ON frazil_commits (committed_ms, version)";

/// Commit ids that were asked for and had not committed: they never may.
const SETTLED: &str = "CREATE TABLE frazil_settled (id {bytes} NOT NULL PRIMARY KEY) {packed}";

/// One row per object ever created and not yet forgotten. `body` is the model's `Object` as JSON; `name` repeats the
/// one in it. Names are unique among the rows that last.
const OBJECTS: &str = "CREATE TABLE frazil_objects (
    id {integer} NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    valid_from {integer} NOT NULL,
    valid_to {integer})";

/// See [`OBJECTS`].
const OBJECT_NAMES: &str = "CREATE UNIQUE INDEX frazil_objects_live ON frazil_objects (name) WHERE valid_to IS NULL";

/// History of each stored table's Iceberg pointer (`metadata_location`, NULL before the first tiering) and of the
/// oldest version from which its changelog is complete. One row from the table's creation on, one more per change.
const TABLES: &str = "CREATE TABLE frazil_tables (
    table_id {integer} NOT NULL REFERENCES frazil_objects (id),
    metadata_location TEXT,
    changelog_from {integer} NOT NULL,
    valid_from {integer} NOT NULL,
    valid_to {integer},
    PRIMARY KEY (table_id, valid_from)) {packed}";

/// To find what changed since a version.
const TABLES_BY_START: &str = "CREATE INDEX frazil_tables_by_start ON frazil_tables (valid_from)";

/// To find what expired.
const TABLES_BY_END: &str = "CREATE INDEX frazil_tables_by_end ON frazil_tables (valid_to) WHERE valid_to IS NOT NULL";

/// One row per segment file. `version` added it; `tiered` is the version at which it left the hot tier and was only
/// retained for changelog readers; `dropped` is the version at which it left the table (as retained segment, or
/// together with the table). At version *v* it is hot while `version <= v < min(tiered, dropped)` and retained while
/// `tiered <= v < dropped`, NULL standing for never. Ids grow in order of commits, and within one in the order given.
const SEGMENTS: &str = "CREATE TABLE frazil_segments (
    id {serial},
    table_id {integer} NOT NULL REFERENCES frazil_objects (id),
    path TEXT NOT NULL UNIQUE,
    row_count {integer} NOT NULL,
    byte_count {integer} NOT NULL,
    insert_only {integer} NOT NULL,
    version {integer} NOT NULL,
    tiered {integer},
    dropped {integer})";

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
    id {integer} NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    checkpoint_epoch {integer},
    checkpoint_version {integer},
    checkpoint_payload TEXT,
    checkpoint_files TEXT,
    modified {integer} NOT NULL)";

/// One row per lease that is held or lapsed but was not given back. `token` comes from `next_token`.
const LEASES: &str = "CREATE TABLE frazil_leases (
    name TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    token {integer} NOT NULL,
    expires_ms {integer} NOT NULL) {packed}";

/// Who may do what, always the newest state. `body` is the model's `Access` as JSON.
const ACCESS: &str =
    "CREATE TABLE frazil_access (id {integer} NOT NULL PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL)";

/// Nobody is known yet.
const NO_ACCESS: &str = r#"INSERT INTO frazil_access VALUES (1, '{"users":{},"owners":{},"grants":[]}')"#;

/// The current metadata of every tiered table, in the shape of the SQL (JDBC) catalog's schema V1, so that its other
/// implementations open this database. SQLite's column types are theirs; PostgreSQL would enforce their lengths.
const ICEBERG_TABLES: &str = "CREATE TABLE iceberg_tables (
    catalog_name {name} NOT NULL,
    table_namespace {name} NOT NULL,
    table_name {name} NOT NULL,
    metadata_location {location},
    previous_metadata_location {location},
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name))";

/// The namespaces of that catalog: one, marked as existing.
const ICEBERG_NAMESPACES: &str = "CREATE TABLE iceberg_namespace_properties (
    catalog_name {name} NOT NULL,
    namespace {name} NOT NULL,
    property_key {name} NOT NULL,
    property_value {location} NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key))";

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
    "INSERT INTO frazil_meta VALUES ('format', 2), ('next_id', 1), ('next_token', 1), ('oldest_version', 0), \
     ('definitions_version', 0), ('access_version', 0)",
    "INSERT INTO iceberg_namespace_properties VALUES ('frazil', 'default', 'exists', 'true')",
];

/// What makes a catalog of format 1 one of format 2.
const FROM_1: &[&str] = &[
    ACCESS,
    NO_ACCESS,
    "INSERT INTO frazil_meta VALUES ('access_version', 0)",
    "UPDATE frazil_meta SET value = 2 WHERE key = 'format'",
];

/// Tables without which a catalog is damaged.
pub const TABLE_NAMES: &[&str] = &[
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It holds nothing.
    Empty,
    /// A catalog of an older format.
    Older,
    /// A catalog of this format.
    Catalog,
}

/// Statements that create every table in an empty database.
pub fn creation(dialect: &Dialect) -> impl Iterator<Item = String> {
    STATEMENTS.iter().map(|statement| dialect.spell(statement))
}

/// Statements that bring a catalog of an older format up to this one.
pub fn upgrade(dialect: &Dialect) -> impl Iterator<Item = String> {
    FROM_1.iter().map(|statement| dialect.spell(statement))
}

/// Tells a catalog of this format from an older one; `Corrupt` if it is neither or a table is missing. `names` are those
/// of the tables that there are.
pub async fn inspect(conn: &mut Connection<'_>, names: &[String]) -> Result<Kind, Fault> {
    let missing = TABLE_NAMES.iter().find(|table| !names.iter().any(|name| name == *table));
    if missing == Some(&TABLE_NAMES[0]) {
        return Err(missing_table(TABLE_NAMES[0]));
    }
    let format: i64 = match conn.row("SELECT value FROM frazil_meta WHERE key = 'format'", &[]).await? {
        Some(row) => row.get(0)?,
        None => return Err(corrupt("frazil_meta names no format; restore the catalog from a backup").into()),
    };
    if format == 1 {
        return Ok(Kind::Older);
    }
    check_format(format)?;
    missing.map_or(Ok(Kind::Catalog), |table| Err(missing_table(table)))
}

/// Refuses a catalog of another format.
pub fn check_format(format: i64) -> Result<(), Fault> {
    if format == FORMAT {
        return Ok(());
    }
    Err(corrupt("the catalog is of another format; open it with the version of frazil that wrote it")
        .with("format of the catalog", format)
        .with("format of this program", FORMAT)
        .into())
}

/// An error about what was found where a catalog should be.
pub fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

fn missing_table(table: &str) -> Fault {
    corrupt("a table is missing; restore the catalog from a backup").with("missing", table).into()
}

impl Dialect {
    fn spell(&self, statement: &str) -> String {
        let spelled = statement
            .replace("{integer}", self.integer)
            .replace("{serial}", self.serial)
            .replace("{bytes}", self.bytes)
            .replace("{name}", self.name)
            .replace("{location}", self.location)
            .replace("{packed}", self.packed);
        spelled.trim_end().to_owned()
    }
}
