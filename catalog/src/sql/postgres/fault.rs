//! PostgreSQL's error codes (SQLSTATE), in terms of what the caller has to do about them.

use sqlx::error::DatabaseError;

use crate::error::ErrorKind;

/// What an error means and what to do.
pub fn explain(error: &dyn DatabaseError) -> (ErrorKind, &'static str) {
    use ErrorKind::{Corrupt, Invalid, Unavailable};
    let code = error.code().unwrap_or_default();
    let class = code.get(..2).unwrap_or_default();
    match (class, code.as_ref()) {
        (_, "55P03") => (Unavailable, "the catalog is locked by another process; retry later"),
        (_, "53100") => (Unavailable, "the server's disk is full: free some space, then retry"),
        (_, "53300") => (Unavailable, "the server has no connection left: raise its max_connections, or retry later"),
        (_, "57P03") => (Unavailable, "the server is starting or stopping; retry later"),
        (_, "25006") => (Unavailable, "the server is read-only, perhaps a standby: name the primary"),
        (_, "3D000") => (Unavailable, "the server has no such database: create it, or name another"),
        (_, "42501") => {
            (Unavailable, "the user may not do that: let it create a schema in the database, or own the catalog's")
        }
        ("28", _) => (
            Unavailable,
            "the server does not let the user in: check name and password (PGPASSWORD, ~/.pgpass) and its pg_hba.conf",
        ),
        ("08" | "40" | "53" | "57" | "58", _) => (Unavailable, "the server gave up; retry later"),
        ("22" | "54", _) => (Invalid, "a name or text is too long for PostgreSQL, or holds characters that it cannot"),
        ("XX", "XX001" | "XX002") => (Corrupt, "the server found its files damaged; restore them from a backup"),
        ("3F" | "42", _) => {
            (Corrupt, "PostgreSQL does not find what this format promises; restore the schema from a backup")
        }
        ("23" | "P0", _) => (Corrupt, "the catalog contradicts itself; restore the schema from a backup"),
        _ => (Unavailable, "the server refused; its message says why"),
    }
}

/// Whether the server answered a COMMIT with an error that says it undid the transaction. Whatever else goes wrong may do
/// so when the commit is on disk already: while it waits for a standby, or on its way to us.
pub fn commit_failed_for_sure(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    const COMPLETION_UNKNOWN: &str = "40003";
    matches!(code.get(..2), Some("23" | "25" | "40")) && code != COMPLETION_UNKNOWN
}

#[cfg(test)]
mod tests {
    use crate::ErrorKind;
    use crate::sql::fault::{Fault, Place, fake::database};

    fn server() -> Place {
        Place::Server("postgres://me@there/db".to_owned())
    }

    #[test]
    fn a_failed_commit_is_indeterminate_unless_the_server_undid_it() {
        let commit = |error| Fault::Commit(error).at(&server(), "committing").kind();
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(commit(lost()), ErrorKind::Indeterminate);
        for code in ["57P01", "40003", "58030", "53100", "08006", "XX000"] {
            assert_eq!(commit(database(code)), ErrorKind::Indeterminate, "{code}");
        }
        for code in ["40001", "25P02"] {
            assert_eq!(commit(database(code)), ErrorKind::Unavailable, "{code}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let at = |code| Fault::from(database(code)).at(&server(), "reading");
        for (code, kind, says) in [
            ("55P03", ErrorKind::Unavailable, "locked"),
            ("28P01", ErrorKind::Unavailable, "PGPASSWORD"),
            ("42P01", ErrorKind::Corrupt, "backup"),
            ("22021", ErrorKind::Invalid, "characters"),
            ("57P01", ErrorKind::Unavailable, "retry"),
        ] {
            let error = at(code);
            assert_eq!(error.kind(), kind, "{code}");
            assert!(error.to_string().contains(says) && error.to_string().contains("me@there"), "{error}");
        }
    }
}
