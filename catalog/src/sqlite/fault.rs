//! What can go wrong with an SQLite file, in terms of what the caller has to do about it.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind};

/// SQLite's primary result codes that mean something of their own here.
mod code {
    pub const PERM: i32 = 3;
    pub const BUSY: i32 = 5;
    pub const LOCKED: i32 = 6;
    pub const NOMEM: i32 = 7;
    pub const READONLY: i32 = 8;
    pub const INTERRUPT: i32 = 9;
    pub const IOERR: i32 = 10;
    pub const CORRUPT: i32 = 11;
    pub const FULL: i32 = 13;
    pub const CANTOPEN: i32 = 14;
    pub const PROTOCOL: i32 = 15;
    pub const CONSTRAINT: i32 = 19;
    pub const AUTH: i32 = 23;
    pub const NOTADB: i32 = 26;
}

/// Where the catalog is, for messages.
#[derive(Debug, Clone)]
pub enum Place {
    /// In this file.
    File(PathBuf),
    /// In this process's memory.
    Memory,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory => write!(f, "memory"),
        }
    }
}

/// An error on its way out: the driver's, or already one of the catalog's.
#[derive(Debug)]
pub enum Fault {
    /// From SQLite or its driver.
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
    /// Whether the database was locked by another connection.
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Sql(error) | Self::Commit(error) => {
                matches!(primary_code(error), Some(code::BUSY | code::LOCKED))
            }
            Self::Catalog(_) => false,
        }
    }

    /// Whether a row broke a constraint of the schema.
    pub fn is_constraint(&self) -> bool {
        matches!(self, Self::Sql(error) if primary_code(error) == Some(code::CONSTRAINT))
    }

    /// The catalog's error for it; `what` says what was being done.
    pub fn at(self, place: &Place, what: &'static str) -> Error {
        match self {
            Self::Catalog(error) => error.with("catalog", place),
            Self::Sql(error) => {
                let (kind, message) = explain(&error);
                Error::new(kind, message).with("catalog", place).with("while", what).because(error)
            }
            Self::Commit(error) if commit_failed_for_sure(&error) => Self::Sql(error).at(place, what),
            Self::Commit(error) => Error::new(
                ErrorKind::Indeterminate,
                "the commit may or may not have happened: SQLite failed while making it durable; settle it by its id",
            )
            .with("catalog", place)
            .because(error),
        }
    }
}

/// A row that does not say what the format promises.
pub fn damaged(table: &'static str, row: impl fmt::Display, cause: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a row is damaged ({cause}); restore the file from a backup"))
        .with("table", table)
        .with("row", row)
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Whether a failed COMMIT certainly left nothing behind. A write or sync error may come after the commit's last page
/// reached the log, and recovery would then find it; these codes come before.
fn commit_failed_for_sure(error: &sqlx::Error) -> bool {
    matches!(
        primary_code(error),
        Some(code::BUSY | code::LOCKED | code::FULL | code::READONLY | code::CONSTRAINT | code::INTERRUPT)
    )
}

fn explain(error: &sqlx::Error) -> (ErrorKind, &'static str) {
    use ErrorKind::{Corrupt, Unavailable};
    let Some(code) = primary_code(error) else {
        return match error {
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::RowNotFound => {
                (Corrupt, "the catalog holds something that this format does not allow; restore it from a backup")
            }
            sqlx::Error::PoolClosed => (Unavailable, "the catalog was closed by this process"),
            sqlx::Error::PoolTimedOut => (Unavailable, "the catalog is busy: no connection became free; retry later"),
            _ => (Unavailable, "the catalog cannot be reached; retry later"),
        };
    };
    match code {
        code::BUSY | code::LOCKED | code::PROTOCOL => {
            (Unavailable, "the catalog is locked by another process; retry later")
        }
        code::FULL => (Unavailable, "the disk is full: free some space, then retry"),
        code::READONLY | code::PERM | code::AUTH => {
            (Unavailable, "the catalog cannot be written: allow this user to write the file and its directory")
        }
        code::CANTOPEN => {
            (Unavailable, "the catalog cannot be opened: check that the path is a file that may be opened")
        }
        code::IOERR => (Unavailable, "the disk reported an error; check it, then retry"),
        code::NOMEM | code::INTERRUPT => (Unavailable, "SQLite gave up; retry later"),
        code::NOTADB => (
            Corrupt,
            "the file is no SQLite database (or its header is damaged); name another file or restore a backup",
        ),
        code::CORRUPT => (Corrupt, "the SQLite file is damaged; restore it from a backup"),
        _ => (Corrupt, "SQLite does not find what this format promises; restore the file from a backup"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of SQLite's with this code, as its driver would report it.
    #[derive(Debug)]
    struct Code(i32);

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
        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.0.to_string().into())
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

    fn database(code: i32) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Code(code)))
    }

    #[test]
    fn a_failed_commit_is_indeterminate_unless_sqlite_says_when() {
        const IOERR_FSYNC: i32 = 1034;
        let commit = |error| Fault::Commit(error).at(&Place::Memory, "committing");
        assert_eq!(commit(database(IOERR_FSYNC)).kind(), ErrorKind::Indeterminate);
        assert_eq!(commit(sqlx::Error::WorkerCrashed).kind(), ErrorKind::Indeterminate);
        let full = commit(database(code::FULL));
        assert_eq!(full.kind(), ErrorKind::Unavailable);
        assert!(full.to_string().contains("disk is full"), "{full}");
        assert_eq!(commit(database(code::BUSY)).kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn codes_are_understood_with_their_extensions() {
        const BUSY_RECOVERY: i32 = 261;
        const CONSTRAINT_UNIQUE: i32 = 2067;
        assert!(Fault::from(database(BUSY_RECOVERY)).is_busy());
        assert!(Fault::from(database(CONSTRAINT_UNIQUE)).is_constraint());
        let at = |code| Fault::from(database(code)).at(&Place::File("some.db".into()), "reading");
        assert_eq!(at(code::NOTADB).kind(), ErrorKind::Corrupt);
        assert_eq!(at(code::CANTOPEN).kind(), ErrorKind::Unavailable);
        assert_eq!(at(1).kind(), ErrorKind::Corrupt);
        let text = at(code::CORRUPT).to_string();
        assert!(text.contains("some.db") && text.contains("reading") && text.contains("backup"), "{text}");
    }
}
