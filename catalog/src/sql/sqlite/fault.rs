//! SQLite's result codes, in terms of what the caller has to do about them.

use sqlx::error::DatabaseError;

use super::super::fault::Fault;
use crate::error::ErrorKind;

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

/// Whether the database was locked by another connection.
pub fn is_busy(fault: &Fault) -> bool {
    match fault {
        Fault::Sql(sqlx::Error::Database(error)) | Fault::Commit(sqlx::Error::Database(error)) => {
            matches!(primary(error.as_ref()), Some(code::BUSY | code::LOCKED))
        }
        _ => false,
    }
}

/// A write or sync error may come after the commit's last page reached the log, and recovery would then find it; these
/// codes come before.
pub fn commit_failed_for_sure(error: &dyn DatabaseError) -> bool {
    matches!(
        primary(error),
        Some(code::BUSY | code::LOCKED | code::FULL | code::READONLY | code::CONSTRAINT | code::INTERRUPT)
    )
}

fn primary(error: &dyn DatabaseError) -> Option<i32> {
    let extended: i32 = error.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// What an error means and what to do.
pub fn explain(error: &dyn DatabaseError) -> (ErrorKind, &'static str) {
    use ErrorKind::{Corrupt, Unavailable};
    match primary(error).unwrap_or_default() {
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
    use crate::sql::fault::{Place, fake::database};

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
        assert!(is_busy(&Fault::from(database(BUSY_RECOVERY))));
        let at = |code| Fault::from(database(code)).at(&Place::File("some.db".into()), "reading");
        assert_eq!(at(code::NOTADB).kind(), ErrorKind::Corrupt);
        assert_eq!(at(code::CANTOPEN).kind(), ErrorKind::Unavailable);
        assert_eq!(at(1).kind(), ErrorKind::Corrupt);
        let text = at(code::CORRUPT).to_string();
        assert!(text.contains("some.db") && text.contains("reading") && text.contains("backup"), "{text}");
    }
}
