//! SET and RESET.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, literal, quoted};
use super::{Parsed, transaction};
use crate::error::{Error, Result};
use crate::sql::statement::Statement;

pub(super) fn set(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "SET name = 'value'";
    cursor.expect("set", EXAMPLE)?;
    if let Some(modes) = transaction::set_modes(cursor) {
        return Ok(modes);
    }
    if cursor.word_at(1).is_some() && !cursor.accept("session") && cursor.word() == Some("local") {
        let error = Error::sql("SET LOCAL is not supported: settings know no transactions");
        return Err(error.hint(format!("write {EXAMPLE}")).at(cursor.position()));
    }
    let name = name(cursor, EXAMPLE)?;
    // `SET TIME ZONE 'UTC'` has no sign between.
    if !cursor.accept_token(&Token::Eq) && !cursor.accept("to") && name != "timezone" {
        return Err(cursor.unexpected("`=` or TO", EXAMPLE));
    }
    let mut given = value(cursor, EXAMPLE)?;
    while cursor.accept_token(&Token::Comma) {
        given.push_str(", ");
        given.push_str(&value(cursor, EXAMPLE)?);
    }
    let text = format!("SET {} = {}", text(&name), literal(&given));
    Ok((Statement::Set { name, value: given }, text))
}

/// `RESET name`, `RESET ALL`.
pub(super) fn reset(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "RESET name";
    cursor.expect("reset", EXAMPLE)?;
    if cursor.accept("all") {
        return Ok((Statement::Reset(None), "RESET ALL".to_owned()));
    }
    let name = name(cursor, EXAMPLE)?;
    let text = format!("RESET {}", text(&name));
    Ok((Statement::Reset(Some(name)), text))
}

/// The name of a setting, in lower case: words with dots between, or a string. PostgreSQL's two names of several words become one.
pub(super) fn name(cursor: &mut Cursor, example: &str) -> Result<String> {
    if cursor.accept("time zone") {
        return Ok("timezone".to_owned());
    }
    if cursor.accept("transaction isolation level") {
        return Ok("transaction_isolation".to_owned());
    }
    match cursor.peek().clone() {
        Token::SingleQuotedString(name) if !name.is_empty() => {
            cursor.advance();
            Ok(name.to_lowercase())
        }
        Token::Word(_) => Ok(dotted(cursor, example)?.to_lowercase()),
        _ => Err(cursor.unexpected("the name of a setting", example)),
    }
}

/// How a setting's name is printed: bare where it can be.
pub(super) fn text(name: &str) -> String {
    let bare =
        name.split('.').all(|part| quoted(part) == part) && !matches!(name, "tables" | "views" | "jobs" | "functions");
    if bare { name.to_owned() } else { literal(name) }
}

/// One value: a string, a word or words with dots, or a number with an optional unit.
pub(super) fn value(cursor: &mut Cursor, example: &str) -> Result<String> {
    let sign = if cursor.accept_token(&Token::Minus) { "-" } else { "" };
    match cursor.peek().clone() {
        Token::SingleQuotedString(value) if sign.is_empty() => {
            cursor.advance();
            Ok(value)
        }
        Token::Number(number, _) => {
            cursor.advance();
            let unit = cursor.word().unwrap_or_default().to_owned();
            if !unit.is_empty() {
                cursor.advance();
            }
            Ok(format!("{sign}{number}{unit}"))
        }
        Token::Word(_) if sign.is_empty() => dotted(cursor, example),
        _ => Err(cursor.unexpected("a value", example)),
    }
}

/// Words with dots or hyphens between, as one string.
pub(super) fn dotted(cursor: &mut Cursor, example: &str) -> Result<String> {
    let mut name = String::new();
    loop {
        let Token::Word(word) = cursor.peek().clone() else { return Err(cursor.unexpected("a word", example)) };
        name.push_str(&word.value);
        cursor.advance();
        if cursor.accept_token(&Token::Period) {
            name.push('.');
        } else if cursor.accept_token(&Token::Minus) {
            name.push('-');
        } else {
            return Ok(name);
        }
    }
}
