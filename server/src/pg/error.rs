//! Errors as clients get them: SQLSTATE, position in the statement, detail, hint.

use engine::error::{Error, Position};
use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::response::NoticeResponse;

use crate::sqlstate::sqlstate;

/// SQLSTATE of a statement in a transaction that has failed.
pub const IN_FAILED_TRANSACTION: &str = "25P02";

/// An error of the engine about a statement.
pub fn of_engine(error: &Error, sql: &str) -> PgWireError {
    let mut info = ErrorInfo::new("ERROR".into(), sqlstate(error).into(), error.message());
    info.severity_nonlocalized = Some("ERROR".into());
    info.detail = error.detail();
    info.hint = error.advice().map(str::to_owned);
    info.position = error.position().and_then(|position| offset(sql, position)).map(|offset| offset.to_string());
    PgWireError::UserError(Box::new(info))
}

/// An error of our own.
pub fn plain(sqlstate: &str, message: impl Into<String>) -> PgWireError {
    let mut info = ErrorInfo::new("ERROR".into(), sqlstate.into(), message.into());
    info.severity_nonlocalized = Some("ERROR".into());
    PgWireError::UserError(Box::new(info))
}

/// An error after which the connection is closed.
pub fn fatal(sqlstate: &str, message: impl Into<String>) -> PgWireError {
    let mut info = ErrorInfo::new("FATAL".into(), sqlstate.into(), message.into());
    info.severity_nonlocalized = Some("FATAL".into());
    PgWireError::UserError(Box::new(info))
}

/// A notice about a statement that is done, but not quite as asked.
pub fn notice(message: String) -> NoticeResponse {
    let mut info = ErrorInfo::new("NOTICE".into(), "00000".into(), message);
    info.severity_nonlocalized = Some("NOTICE".into());
    NoticeResponse::from(info)
}

/// The place of a line and column as a number of characters from 1.
fn offset(sql: &str, Position { line, column }: Position) -> Option<usize> {
    let lines_before = usize::try_from(line.checked_sub(1)?).ok()?;
    let before: usize = sql.split('\n').take(lines_before).map(|line| line.chars().count() + 1).sum();
    Some(before + usize::try_from(column).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let at = |line, column| offset("SELECT 'é'\nFROM t", Position { line, column });
        assert_eq!((at(1, 1), at(2, 1), at(2, 6)), (Some(1), Some(12), Some(17)));
        assert_eq!(offset("x", Position { line: 0, column: 1 }), None);
    }

    #[test]
    fn an_error_says_what_where_and_what_to_do() {
        let position = Some(Position { line: 1, column: 15 });
        let error = Error::sql("there is no table or view named x").hint("did you mean y?").at(position);
        let PgWireError::UserError(info) = of_engine(&error, "SELECT * FROM x") else {
            panic!("not an error for users")
        };
        assert_eq!((info.code.as_str(), info.position.as_deref()), ("42P01", Some("15")));
        assert_eq!(
            (info.message.as_str(), info.hint.as_deref()),
            ("there is no table or view named x", Some("did you mean y?"))
        );
    }
}
