//! What can go wrong with a database, in terms of what the caller has to do about it.

use std::fmt;
use std::path::PathBuf;

use sqlx::error::DatabaseError;

use super::{postgres, sqlite};
use crate::error::{Error, ErrorKind};

/// Where the catalog is, for messages.
#[derive(Debug, Clone)]
pub enum Place {
    /// In this SQLite file.
    File(PathBuf),
    /// In this process's memory.
    Memory,
    /// On this PostgreSQL server: the URL without its password.
    Server(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory => write!(f, "memory"),
            Self::Server(url) => write!(f, "{url}"),
        }
    }
}

/// An error on its way out: the driver's, or already one of the catalog's.
#[derive(Debug)]
pub enum Fault {
    /// From the database or its driver.
    Sql(sqlx::Error),
    /// From COMMIT itself: perhaps it happened.
    Commit(sqlx::Error),
    /// A decision or a finding of ours.
    Catalog(Error),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Catalog(error)
    }
}

impl Fault {
    /// Whether a row repeats a key.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// The same where it was COMMIT that failed.
    pub fn of_commit(self) -> Self {
        match self {
            Self::Sql(error) => Self::Commit(error),
            fault => fault,
        }
    }

    /// The catalog's error for it; `what` says what was being done.
    pub fn at(self, place: &Place, what: &'static str) -> Error {
        match self {
            Self::Catalog(error) => error.with("catalog", place),
            Self::Sql(error) => {
                let (kind, message) = explain(&error, place);
                Error::new(kind, message).with("catalog", place).with("while", what).because(error)
            }
            Self::Commit(error) if commit_failed_for_sure(&error, place) => Self::Sql(error).at(place, what),
            Self::Commit(error) => Error::new(
                ErrorKind::Indeterminate,
                "the commit may or may not have happened: the database failed while making it durable; settle it by its id",
            )
            .with("catalog", place)
            .because(error),
        }
    }
}

/// A row that does not say what the format promises.
pub fn damaged(table: &'static str, row: impl fmt::Display, cause: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a row is damaged ({cause}); restore the catalog from a backup"))
        .with("table", table)
        .with("row", row)
}

/// Whether a failed COMMIT certainly left nothing behind.
fn commit_failed_for_sure(error: &sqlx::Error, place: &Place) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match place {
        Place::File(_) | Place::Memory => sqlite::commit_failed_for_sure(error.as_ref()),
        Place::Server(_) => postgres::commit_failed_for_sure(error.as_ref()),
    }
}

const NOT_ENCRYPTED: &str =
    "the connection cannot be encrypted as asked; check sslmode, sslrootcert and the server's certificate";

fn explain(error: &sqlx::Error, place: &Place) -> (ErrorKind, &'static str) {
    use ErrorKind::{Corrupt, Unavailable};
    match error {
        sqlx::Error::Database(error) => explain_database(error.as_ref(), place),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::RowNotFound => {
            (Corrupt, "the catalog holds something that this format does not allow; restore it from a backup")
        }
        sqlx::Error::PoolClosed => (Unavailable, "the catalog was closed by this process"),
        sqlx::Error::PoolTimedOut => {
            (Unavailable, "the catalog is busy or out of reach: no connection could be had in time; retry later")
        }
        sqlx::Error::Tls(_) => (Unavailable, NOT_ENCRYPTED),
        // So rustls tells of a certificate that it does not trust.
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => (Unavailable, NOT_ENCRYPTED),
        _ => (Unavailable, "the catalog cannot be reached; retry later"),
    }
}

fn explain_database(error: &dyn DatabaseError, place: &Place) -> (ErrorKind, &'static str) {
    match place {
        Place::File(_) | Place::Memory => sqlite::explain(error),
        Place::Server(_) => postgres::explain(error),
    }
}

/// Errors as drivers report them, for tests.
#[cfg(test)]
pub mod fake {
    use std::borrow::Cow;
    use std::fmt;

    /// An error with this code.
    #[derive(Debug)]
    struct Code(String);

    impl fmt::Display for Code {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "code {}", self.0)
        }
    }

    impl std::error::Error for Code {}

    impl sqlx::error::DatabaseError for Code {
        fn message(&self) -> &str {
            "told"
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.as_str().into())
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    /// The database's error of that code.
    pub fn database(code: impl ToString) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Code(code.to_string())))
    }
}
