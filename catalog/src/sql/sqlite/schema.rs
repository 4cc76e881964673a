//! The catalog as an SQLite file: its type names, how a file is created and recognised, what guards it.
//!
//! The file is in WAL mode. Its header carries [`APPLICATION_ID`] and, as `user_version`, the [`FORMAT`](schema::FORMAT).

use sqlx::SqliteConnection;

use super::super::database::Connection;
use super::super::fault::Fault;
use super::super::schema::{self, Dialect, Kind, check_format, corrupt};

/// `application_id` of the file: "FRZL" in ASCII.
pub const APPLICATION_ID: i64 = 0x4652_5A4C;

/// SQLite's names.
const DIALECT: Dialect = Dialect {
    integer: "INTEGER",
    serial: "INTEGER NOT NULL PRIMARY KEY",
    bytes: "BLOB",
    name: "VARCHAR(255)",
    location: "VARCHAR(1000)",
    packed: "WITHOUT ROWID",
};

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

/// What a file has beyond the tables.
const CREATION: &[&str] =
    &[GUARD_INSERT, GUARD_UPDATE, GUARD_DELETE, "PRAGMA application_id = 1179802188", "PRAGMA user_version = 2"];

/// Tells what the file is, without changing it. The caller runs it in a transaction. `Corrupt` if it is neither empty
/// nor a whole catalog of this format or an older one.
pub async fn inspect(conn: &mut SqliteConnection) -> Result<Kind, Fault> {
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master").fetch_all(&mut *conn).await?;
    let application_id = pragma(conn, "PRAGMA application_id").await?;
    let format = pragma(conn, "PRAGMA user_version").await?;
    if names.is_empty() && application_id == 0 && format == 0 {
        return Ok(Kind::Empty);
    }
    if application_id != APPLICATION_ID {
        return Err(corrupt("it is an SQLite database, but no Frazil catalog; name another file").into());
    }
    if format != 1 {
        check_format(format)?;
    }
    schema::inspect(&mut Connection::Sqlite(conn), &names).await
}

/// Creates every table in an empty file. The caller runs it in a transaction.
pub async fn create(conn: &mut SqliteConnection) -> Result<(), Fault> {
    for statement in schema::creation(&DIALECT) {
        sqlx::query(&statement).execute(&mut *conn).await?;
    }
    for statement in CREATION {
        sqlx::query(statement).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Brings a file of an older format up to this one. The caller runs it in a transaction.
pub async fn upgrade(conn: &mut SqliteConnection) -> Result<(), Fault> {
    for statement in schema::upgrade(&DIALECT) {
        sqlx::query(&statement).execute(&mut *conn).await?;
    }
    sqlx::query("PRAGMA user_version = 2").execute(conn).await?;
    Ok(())
}

async fn pragma(conn: &mut SqliteConnection, sql: &'static str) -> Result<i64, Fault> {
    Ok(sqlx::query_scalar(sql).fetch_one(conn).await?)
}
