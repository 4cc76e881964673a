//! BEGIN, COMMIT, ROLLBACK and savepoints.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::Parsed;
use super::cursor::{Cursor, quoted};
use crate::error::Result;
use crate::sql::statement::{Statement, TransactionControl};

/// `BEGIN`, `COMMIT`, `ROLLBACK` and their other names. Isolation levels are read and make no difference: none is stronger.
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
    let (control, text) = match cursor.word().unwrap_or_default() {
        "begin" | "start" => (TransactionControl::Begin, "BEGIN"),
        "commit" | "end" => (TransactionControl::Commit, "COMMIT"),
        _ => (TransactionControl::Rollback, "ROLLBACK"),
    };
    if cursor.accept("start") {
        cursor.expect("transaction", EXAMPLE)?;
    } else {
        cursor.advance();
        let _ = cursor.accept("transaction") || cursor.accept("work");
    }
    let modes = [
        "isolation level serializable",
        "isolation level repeatable read",
        "isolation level read committed",
        "isolation level read uncommitted",
        "read write",
        "read only",
        "not deferrable",
        "deferrable",
    ];
    let begins = control == TransactionControl::Begin;
    while begins && modes.iter().any(|mode| cursor.accept(mode)) {
        cursor.accept_token(&Token::Comma);
    }
    Ok((Statement::Transaction(control), text.to_owned()))
}
