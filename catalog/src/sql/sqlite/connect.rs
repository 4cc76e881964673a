//! Opening: directories, the file, its pragmas and the connection pools.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection};

use super::super::database::Pools;
use super::super::fault::Fault;
use super::super::schema::Kind;
use super::{SqliteOptions, WRITE_ATTEMPTS, is_busy, schema};
use crate::error::{Error, ErrorKind};

/// Opens a file, creating and initialising it if there is none.
pub async fn open_file(path: &Path, options: &SqliteOptions) -> Result<Pools<Sqlite>, Fault> {
    let path = absolute(path)?;
    let connect = file_options(&path, options);
    prepare_directory(&path).await?;
    let mut conn = connect.clone().create_if_missing(true).connect().await?;
    let created = prepare_file(&mut conn, options.busy_timeout).await?;
    if created {
        let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        blocking(move || sync_directory(&directory))
            .await
            .map_err(|error| io_error("making the catalog durable", error))?;
    }
    // A lost connection is replaced; a write connection that is stuck in a transaction is given up.
    let write = connect.clone().busy_timeout(options.busy_timeout / WRITE_ATTEMPTS);
    let writer = pool(1).after_release(|conn, _| Box::pin(is_clean(conn))).connect_lazy_with(write);
    let reader = pool(options.readers.max(1)).connect_lazy_with(connect.pragma("query_only", "ON"));
    conn.close().await?;
    Ok(Pools { writer, reader })
}

/// A database in memory. It is gone with its connection, so there is exactly one and it never closes by itself.
pub async fn open_memory() -> Result<Pools<Sqlite>, Fault> {
    let connect = common(SqliteConnectOptions::new().in_memory(true));
    let shared = pool(1).idle_timeout(None).max_lifetime(None).connect_with(connect).await?;
    let mut conn = shared.acquire().await?;
    schema::create(&mut conn).await?;
    drop(conn);
    Ok(Pools { writer: shared.clone(), reader: shared })
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).test_before_acquire(false)
}

fn common(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.foreign_keys(true).synchronous(SqliteSynchronous::Full).disable_statement_logging()
}

fn file_options(path: &Path, options: &SqliteOptions) -> SqliteConnectOptions {
    // The journal mode is set once, when the file is created: setting it would alter a file that is not ours.
    common(SqliteConnectOptions::new().filename(path).busy_timeout(options.busy_timeout))
}

async fn is_clean(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // The ping waits for a rollback that a dropped transaction has queued.
    conn.ping().await?;
    Ok(!conn.is_in_transaction())
}

/// Makes the file a catalog of this format if it is empty or of an older one. True if this created it.
async fn prepare_file(conn: &mut SqliteConnection, patience: Duration) -> Result<bool, Fault> {
    // In a transaction, or another process's creation might be seen half way.
    let mut tx = conn.begin().await?;
    let kind = schema::inspect(&mut tx).await?;
    tx.rollback().await?;
    if kind == Kind::Catalog {
        return Ok(false);
    }
    if kind == Kind::Empty {
        set_wal(conn, patience).await?;
    }
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    // Another process may have been faster.
    let kind = schema::inspect(&mut tx).await?;
    match kind {
        Kind::Catalog => return Ok(false),
        Kind::Older => schema::upgrade(&mut tx).await?,
        Kind::Empty => schema::create(&mut tx).await?,
    }
    tx.commit().await?;
    Ok(kind == Kind::Empty)
}

/// SQLite's own waiting does not cover this switch: try until the patience is used up.
async fn set_wal(conn: &mut SqliteConnection, patience: Duration) -> Result<(), Fault> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut pauses = patience.as_millis() / PAUSE.as_millis();
    loop {
        let mode = sqlx::query_scalar::<_, String>("PRAGMA journal_mode = WAL").fetch_one(&mut *conn).await;
        match mode.map_err(Fault::from) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(no_wal(&mode).into()),
            Err(fault) if is_busy(&fault) && pauses > 0 => tokio::time::sleep(PAUSE).await,
            Err(fault) => return Err(fault),
        }
        pauses -= 1;
    }
}

fn no_wal(mode: &str) -> Error {
    let message = "SQLite cannot keep a write-ahead log here; put the catalog on a local disk";
    Error::new(ErrorKind::Unavailable, message).with("journal mode", mode)
}

/// Creates the directories above the file, durably.
async fn prepare_directory(path: &Path) -> Result<(), Fault> {
    let missing: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(|directory| !directory.exists()).map(Path::to_path_buf).collect();
    blocking(move || {
        for directory in missing.iter().rev() {
            match std::fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => sync_directory(directory.parent().unwrap_or(directory))?,
            }
        }
        Ok(())
    })
    .await
    .map_err(|error| io_error("creating the catalog's directory", error))
}

/// A directory's new entries survive power loss only once the directory itself is synced.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    std::path::absolute(path).map_err(|error| io_error("resolving the catalog's path", error))
}

fn io_error(what: &'static str, error: io::Error) -> Fault {
    let message = format!("{what} failed; check the path and its permissions");
    Error::new(ErrorKind::Unavailable, message).because(error).into()
}
