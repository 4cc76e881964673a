//! Opening: the schema, its tables and the connection pools.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, Executor, PgConnection, Postgres};

use super::super::database::{Connection, Pools};
use super::super::fault::Fault;
use super::super::schema::Kind;
use super::{PostgresOptions, PostgresUrl, schema};

/// A connection that was idle for longer is asked whether it still is one: the server may have been started anew.
const TRUSTED: Duration = Duration::from_millis(100);

/// Connects, and creates the schema and its tables where they are missing.
pub async fn open(url: &PostgresUrl, options: &PostgresOptions) -> Result<Pools<Postgres>, Fault> {
    let connect = url.options()?.disable_statement_logging();
    let settings = settings(url.schema(), options.patience);
    // A connection outside the pools first: they would try again and again, and hide why it fails.
    let mut conn = connected(&connect, options.patience).await?;
    conn.execute(settings.as_str()).await?;
    prepare(&mut conn, url.schema(), options.patience).await?;
    conn.close().await?;
    let pool = |connections| pool(connections, settings.clone(), options.patience).connect_lazy_with(connect.clone());
    Ok(Pools { writer: pool(1), reader: pool(options.readers.max(1)) })
}

async fn connected(connect: &PgConnectOptions, patience: Duration) -> Result<PgConnection, Fault> {
    match tokio::time::timeout(patience, connect.connect()).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(Fault::Sql(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
    }
}

/// What every connection sets for itself. The transaction of a process that stands still must not keep the lock for
/// ever: the server ends it. Statements, not options of the connection's start: poolers refuse those.
fn settings(schema: &str, patience: Duration) -> String {
    let (wait, idle) = (patience.as_millis().max(1), 3 * patience.as_millis().max(1));
    format!(
        "SET search_path TO \"{schema}\"; SET lock_timeout TO {wait}; SET idle_in_transaction_session_timeout TO {idle}; \
         SET client_min_messages TO warning",
    )
}

fn pool(connections: u32, settings: String, patience: Duration) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(patience)
        .test_before_acquire(false)
        .after_connect(move |conn, _| {
            let settings = settings.clone();
            Box::pin(async move { conn.execute(settings.as_str()).await.map(|_| ()) })
        })
        .before_acquire(move |conn, meta| {
            Box::pin(async move { if meta.idle_for > TRUSTED { answers(conn, patience).await } else { Ok(true) } })
        })
        .after_release(move |conn, _| Box::pin(is_clean(conn, patience)))
}

/// Waits for a rollback that a dropped transaction has queued. A connection that does not answer is given up, and so
/// makes place for another.
async fn is_clean(conn: &mut PgConnection, patience: Duration) -> Result<bool, sqlx::Error> {
    Ok(answers(conn, patience).await? && !conn.is_in_transaction())
}

async fn answers(conn: &mut PgConnection, patience: Duration) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(patience, conn.ping()).await {
        Ok(ping) => ping.map(|()| true),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Makes the schema a catalog of this format if it is missing, empty or of an older one.
async fn prepare(conn: &mut PgConnection, name: &str, patience: Duration) -> Result<(), Fault> {
    if schema::inspect(&mut Connection::Postgres(conn, patience), name).await? == Kind::Catalog {
        return Ok(());
    }
    let mut tx = conn.begin_with(super::BEGIN_WRITE).await?;
    schema::lock_creation(&mut tx).await?;
    // Another process may have been faster.
    match schema::inspect(&mut Connection::Postgres(&mut tx, patience), name).await? {
        Kind::Catalog => return Ok(()),
        Kind::Older => schema::upgrade(&mut tx).await?,
        Kind::Empty => schema::create(&mut tx, name).await?,
    }
    Ok(tx.commit().await?)
}
