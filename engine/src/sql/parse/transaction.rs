//! BEGIN, COMMIT, ROLLBACK and savepoints.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::Parsed;
use super::cursor::{Cursor, quoted};
use crate::error::Result;
use crate::sql::statement::{Statement, TransactionControl};

/// `BEGIN`, `COMMIT`, `ROLLBACK` and their other names.
pub(super) fn transaction(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "BEGIN, COMMIT, ROLLBACK or SAVEPOINT name";
    type Named = fn(String) -> TransactionControl;
    let named: [(&str, &str, Named); 4] = [
        ("savepoint", "SAVEPOINT", TransactionControl::Savepoint),
        ("release", "RELEASE", TransactionControl::Release),
        ("rollback to", "ROLLBACK TO", TransactionControl::RollbackTo),
        ("rollback transaction to", "ROLLBACK TO", TransactionControl::RollbackTo),
    ];
    if let Some((_, text, control)) = named.into_iter().find(|(phrase, ..)| cursor.accept(phrase)) {
        cursor.accept("savepoint");
        let name = cursor.name("the savepoint's name")?;
        return Ok((Statement::Transaction(control(name.clone())), format!("{text} {}", quoted(&name))));
    }
    let verb = cursor.word().unwrap_or_default().to_owned();
    if cursor.accept("start") {
        cursor.expect("transaction", EXAMPLE)?;
    } else {
        cursor.advance();
        let _ = cursor.accept("transaction") || cursor.accept("work");
    }
    let (control, text) = match verb.as_str() {
        "begin" | "start" => (TransactionControl::Begin { read_only: modes(cursor) }, "BEGIN"),
        "commit" | "end" => (TransactionControl::Commit, "COMMIT"),
        _ => (TransactionControl::Rollback, "ROLLBACK"),
    };
    Ok((Statement::Transaction(control), text.to_owned()))
}

/// What follows SET, if it is `[SESSION CHARACTERISTICS AS] TRANSACTION modes`.
pub(super) fn set_modes(cursor: &mut Cursor) -> Option<Parsed> {
    let session = cursor.accept("session characteristics as transaction");
    if !session && (cursor.word_at(1) == Some("isolation_level") || !cursor.accept("transaction")) {
        return None;
    }
    let read_only = modes(cursor);
    Some((Statement::Transaction(TransactionControl::Modes { read_only, session }), "SET TRANSACTION".to_owned()))
}

/// Modes of a transaction. Isolation levels make no difference: none is stronger than what every transaction has.
/// Whether it is read only, if that is said.
fn modes(cursor: &mut Cursor) -> Option<bool> {
    const WITHOUT_EFFECT: [&str; 6] = [
        "isolation level serializable",
        "isolation level repeatable read",
        "isolation level read committed",
        "isolation level read uncommitted",
        "not deferrable",
        "deferrable",
    ];
    let mut read_only = None;
    loop {
        if cursor.accept("read only") {
            read_only = Some(true);
        } else if cursor.accept("read write") {
            read_only = Some(false);
        } else if !WITHOUT_EFFECT.iter().any(|mode| cursor.accept(mode)) {
            return read_only;
        }
        cursor.accept_token(&Token::Comma);
    }
}
