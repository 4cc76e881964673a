//! DECLARE, FETCH, MOVE and CLOSE of cursors, and SUBSCRIBE.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::Parsed;
use super::cursor::{Cursor, quoted};
use crate::error::{Error, Result};
use crate::sql::statement::{CursorControl, RowSource, Statement, Subscribe};

const SUBSCRIBE: &str = "SUBSCRIBE TO name [WITH SNAPSHOT] [AS OF VERSION n]";
const DECLARE: &str = "DECLARE name [NO SCROLL] CURSOR [WITH HOLD] FOR SELECT ... or SUBSCRIBE TO ...";
const FETCH: &str = "FETCH [NEXT | FORWARD] [n | ALL] FROM name";

/// A query or SUBSCRIBE, and its canonical text.
pub(super) fn row_source(cursor: &mut Cursor) -> Result<(RowSource, String)> {
    if cursor.word() == Some("subscribe") {
        let (subscribe, text) = subscribe(cursor)?;
        return Ok((RowSource::Subscribe(subscribe), text));
    }
    let (query, text) = super::query(cursor)?;
    Ok((RowSource::Query(Box::new(query)), text))
}

/// `SUBSCRIBE`.
pub(super) fn subscribe_statement(cursor: &mut Cursor) -> Result<Parsed> {
    subscribe(cursor).map(|(subscribe, text)| (Statement::Subscribe(subscribe), text))
}

fn subscribe(cursor: &mut Cursor) -> Result<(Subscribe, String)> {
    cursor.expect("subscribe", SUBSCRIBE)?;
    cursor.expect("to", SUBSCRIBE)?;
    let position = cursor.position();
    let relation = cursor.name("the name of a table or materialized view")?;
    let mut text = format!("SUBSCRIBE TO {}", quoted(&relation));
    let snapshot = cursor.accept("with snapshot");
    if snapshot {
        text.push_str(" WITH SNAPSHOT");
    }
    let version = match cursor.accept("as of version") {
        true => Some(number(cursor, SUBSCRIBE)?),
        false => None,
    };
    if let Some(version) = version {
        text.push_str(&format!(" AS OF VERSION {version}"));
    }
    Ok((Subscribe { relation, snapshot, version, position }, text))
}

/// `DECLARE`, `FETCH`, `MOVE` or `CLOSE`, whichever is next.
pub(super) fn cursor_statement(cursor: &mut Cursor) -> Result<Parsed> {
    let (control, text) = match cursor.word().unwrap_or_default() {
        "declare" => declare(cursor)?,
        "close" => close(cursor)?,
        _ => fetch(cursor)?,
    };
    Ok((Statement::Cursor(control), text))
}

fn declare(cursor: &mut Cursor) -> Result<(CursorControl, String)> {
    cursor.expect("declare", DECLARE)?;
    let name = cursor.name("the cursor's name")?;
    loop {
        let position = cursor.position();
        if cursor.accept("scroll") {
            return Err(Error::sql("cursors go forward only").hint(format!("write {DECLARE}")).at(position));
        }
        if cursor.accept("binary") {
            return Err(Error::sql("BINARY cursors are not supported")
                .hint("ask for binary results in the extended protocol")
                .at(position));
        }
        if !cursor.accept("no scroll") && !cursor.accept("insensitive") && !cursor.accept("asensitive") {
            break;
        }
    }
    cursor.expect("cursor", DECLARE)?;
    let hold = cursor.accept("with hold");
    let _ = cursor.accept("without hold");
    cursor.expect("for", DECLARE)?;
    let (rows, rows_text) = row_source(cursor)?;
    let holds = if hold { " WITH HOLD" } else { "" };
    let text = format!("DECLARE {} CURSOR{holds} FOR {rows_text}", quoted(&name));
    Ok((CursorControl::Declare { name, hold, rows }, text))
}

fn fetch(cursor: &mut Cursor) -> Result<(CursorControl, String)> {
    let skip = cursor.word() == Some("move");
    cursor.advance();
    let position = cursor.position();
    if matches!(cursor.word(), Some("prior" | "first" | "last" | "absolute" | "relative" | "backward")) {
        return Err(Error::sql("cursors go forward only").hint(format!("write {FETCH}")).at(position));
    }
    let forward = cursor.accept("forward");
    let count = if cursor.accept("all") {
        None
    } else if !forward && cursor.accept("next") {
        Some(1)
    } else if matches!(cursor.peek(), Token::Number(..)) {
        Some(number(cursor, FETCH)?)
    } else if cursor.peek() == &Token::Minus {
        return Err(Error::sql("cursors go forward only").hint(format!("write {FETCH}")).at(position));
    } else {
        Some(1)
    };
    let _ = cursor.accept("from") || cursor.accept("in");
    let name = cursor.name("the cursor's name")?;
    let verb = if skip { "MOVE" } else { "FETCH" };
    let count_text = count.map_or_else(|| "ALL".to_owned(), |count| count.to_string());
    let text = format!("{verb} {count_text} FROM {}", quoted(&name));
    Ok((CursorControl::Fetch { name, count, skip }, text))
}

fn close(cursor: &mut Cursor) -> Result<(CursorControl, String)> {
    cursor.expect("close", "CLOSE name")?;
    if cursor.accept("all") {
        return Ok((CursorControl::Close(None), "CLOSE ALL".to_owned()));
    }
    let name = cursor.name("the cursor's name")?;
    let text = format!("CLOSE {}", quoted(&name));
    Ok((CursorControl::Close(Some(name)), text))
}

fn number(cursor: &mut Cursor, example: &str) -> Result<u64> {
    let number = match cursor.peek() {
        Token::Number(digits, _) => digits.parse().ok(),
        _ => None,
    };
    let number = number.ok_or_else(|| cursor.unexpected("a whole number", example))?;
    cursor.advance();
    Ok(number)
}
