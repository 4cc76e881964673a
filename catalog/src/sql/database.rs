//! The databases that can hold a catalog, behind one small interface: statements with `$1` placeholders, values, rows
//! and transactions. What is said through it exists once; what differs between the databases is in their own modules.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{PgConnection, Postgres, Row as _, Sqlite, SqliteConnection};

use super::fault::Fault;
use super::{postgres, sqlite};

/// The connections of one process to one database.
#[derive(Debug)]
pub enum Database {
    /// A file, or memory.
    Sqlite(Pools<Sqlite>),
    /// A server; no statement takes longer than so long.
    Postgres(Pools<Postgres>, Duration),
}

/// See [`Database`].
#[derive(Debug)]
pub struct Pools<DB: sqlx::Database> {
    /// One connection, for write transactions: writers of a process queue fairly instead of contending for the lock.
    pub writer: sqlx::Pool<DB>,
    /// For everything else.
    pub reader: sqlx::Pool<DB>,
}

impl Database {
    /// A transaction that reads one consistent state.
    pub async fn begin_read(&self) -> Result<Transaction, Fault> {
        match self {
            Self::Sqlite(pools) => Ok(Transaction::Sqlite(pools.reader.begin().await?)),
            Self::Postgres(pools, patience) => {
                let began = in_time(*patience, pools.reader.begin_with(postgres::BEGIN_READ)).await?;
                Ok(Transaction::Postgres(began, *patience))
            }
        }
    }

    /// A transaction that writes. There is one at a time, over all processes, and it sees all that were before it.
    pub async fn begin_write(&self) -> Result<Transaction, Fault> {
        match self {
            Self::Sqlite(pools) => Ok(Transaction::Sqlite(sqlite::begin_write(&pools.writer).await?)),
            Self::Postgres(pools, patience) => {
                let began = in_time(*patience, pools.writer.begin_with(postgres::BEGIN_WRITE)).await?;
                let mut transaction = Transaction::Postgres(began, *patience);
                postgres::lock(&mut transaction.connection()).await?;
                Ok(transaction)
            }
        }
    }

    /// Reads one row by one statement: a transaction of its own.
    pub async fn row(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Option<Row>, Fault> {
        match self {
            Self::Sqlite(pools) => Connection::Sqlite(&mut *pools.reader.acquire().await?).row(sql, values).await,
            Self::Postgres(pools, patience) => {
                let mut connection = pools.reader.acquire().await?;
                Connection::Postgres(&mut connection, *patience).row(sql, values).await
            }
        }
    }

    /// Closes every connection and waits for it.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(pools) => pools.close().await,
            Self::Postgres(pools, _) => pools.close().await,
        }
    }
}

impl<DB: sqlx::Database> Pools<DB> {
    async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

/// A transaction. What is dropped without COMMIT is rolled back.
#[derive(Debug)]
pub enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>, Duration),
}

impl Transaction {
    /// For statements within it.
    pub fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(transaction) => Connection::Sqlite(transaction),
            Self::Postgres(transaction, patience) => Connection::Postgres(transaction, *patience),
        }
    }

    /// Makes it durable.
    pub async fn commit(self) -> Result<(), Fault> {
        match self {
            Self::Sqlite(transaction) => Ok(transaction.commit().await?),
            Self::Postgres(transaction, patience) => in_time(patience, transaction.commit()).await,
        }
    }

    /// Ends it without a trace.
    pub async fn rollback(self) -> Result<(), Fault> {
        match self {
            Self::Sqlite(transaction) => Ok(transaction.rollback().await?),
            Self::Postgres(transaction, patience) => in_time(patience, transaction.rollback()).await,
        }
    }
}

/// What executes statements.
#[derive(Debug)]
pub enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection, Duration),
}

/// A parameter of a statement.
#[derive(Debug, Clone, Copy)]
pub enum Value<'v> {
    Int(Option<i64>),
    Text(Option<&'v str>),
    Bytes(&'v [u8]),
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(value: &'v str) -> Self {
        Self::Text(Some(value))
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(value: &'v String) -> Self {
        Self::Text(Some(value))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(value: Option<&'v str>) -> Self {
        Self::Text(value)
    }
}

impl<'v> From<&'v [u8; 16]> for Value<'v> {
    fn from(value: &'v [u8; 16]) -> Self {
        Self::Bytes(value)
    }
}

/// The same for every database, but each has a type of its own for it.
macro_rules! query {
    ($database:ty, $sql:expr, $values:expr) => {
        $values.iter().fold(sqlx::query::<$database>($sql), |query, value| match *value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
        })
    };
}

impl Connection<'_> {
    /// Executes a statement and returns how many rows it touched.
    pub async fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Fault> {
        match self {
            Self::Sqlite(connection) => {
                Ok(query!(Sqlite, sql, values).execute(&mut **connection).await?.rows_affected())
            }
            Self::Postgres(connection, patience) => {
                let executed = query!(Postgres, sql, values).execute(&mut **connection);
                Ok(in_time(*patience, executed).await?.rows_affected())
            }
        }
    }

    /// Reads all rows.
    pub async fn rows(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        match self {
            Self::Sqlite(connection) => {
                let rows = query!(Sqlite, sql, values).fetch_all(&mut **connection).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(connection, patience) => {
                let read = query!(Postgres, sql, values).fetch_all(&mut **connection);
                Ok(in_time(*patience, read).await?.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Reads the first row.
    pub async fn row(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Option<Row>, Fault> {
        match self {
            Self::Sqlite(connection) => {
                Ok(query!(Sqlite, sql, values).fetch_optional(&mut **connection).await?.map(Row::Sqlite))
            }
            Self::Postgres(connection, patience) => {
                let read = query!(Postgres, sql, values).fetch_optional(&mut **connection);
                Ok(in_time(*patience, read).await?.map(Row::Postgres))
            }
        }
    }
}

/// A row of a result.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What a column can be read as, in every database.
pub trait Column:
    for<'r> sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>
{
}

impl<T> Column for T where
    T: for<'r> sqlx::Decode<'r, Sqlite>
        + sqlx::Type<Sqlite>
        + for<'r> sqlx::Decode<'r, Postgres>
        + sqlx::Type<Postgres>
{
}

impl Row {
    /// The column at this place, from 0.
    pub fn get<T: Column>(&self, column: usize) -> Result<T, Fault> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }
}

/// A server that does not answer is an error at some time, or whoever waits for it would wait for ever.
async fn in_time<T>(patience: Duration, work: impl Future<Output = sqlx::Result<T>>) -> Result<T, Fault> {
    match tokio::time::timeout(patience, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Fault::Sql(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
    }
}
