//! Statements that change the rows of a table: INSERT, UPDATE, DELETE, MERGE, TRUNCATE.

use datafusion::sql::sqlparser::ast::{Expr, TableWithJoins};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, RESERVED, quoted};
use super::{Parsed, column_list, comma_separated, emitted_query, prepare};
use crate::error::{Error, Result};
use crate::sql::statement::{
    Assignment, Change, ConflictAction, Delete, Insert, InsertMode, Merge, MergeAction, MergeClause, OnConflict,
    Statement, Target, Update, When,
};

const INSERT: &str =
    "INSERT INTO table [(columns)] SELECT ... or VALUES ... [ON CONFLICT (key) DO NOTHING | DO UPDATE SET ...]";
const OVERWRITE: &str = "INSERT OVERWRITE table [(columns)] SELECT ... or VALUES ...";
const CONFLICT: &str = "ON CONFLICT (key) DO NOTHING | DO UPDATE SET column = excluded.column [WHERE condition]";
const UPDATE: &str = "UPDATE table [[AS] alias] SET column = value, ... [FROM ...] [WHERE condition]";
const DELETE: &str = "DELETE FROM table [[AS] alias] [USING ...] [WHERE condition]";
const TRUNCATE: &str = "TRUNCATE [TABLE] name, ...";
const MERGE: &str = "MERGE INTO table [AS t] USING source [AS s] ON condition WHEN MATCHED [AND condition] THEN UPDATE SET ... | DELETE \
                     WHEN NOT MATCHED [AND condition] THEN INSERT (columns) VALUES (...)";

/// A thing and its canonical text.
type Printed<T> = (T, String);

/// `INSERT INTO` and `INSERT OVERWRITE`.
pub(super) fn insert(cursor: &mut Cursor) -> Result<Printed<Insert>> {
    let position = cursor.position();
    cursor.expect("insert", INSERT)?;
    let overwrite = match cursor.word() {
        Some("overwrite") => {
            cursor.advance();
            // Both forms of the field.
            let _ = cursor.accept("table") || cursor.accept("into");
            true
        }
        Some("or" | "ignore") => {
            let hint = "declare a PRIMARY KEY: INSERT then replaces the row with the same key, and ON CONFLICT DO NOTHING keeps it";
            return Err(Error::sql("INSERT OR ... is not supported").hint(hint).at(position));
        }
        _ => {
            cursor.expect("into", INSERT)?;
            false
        }
    };
    let table = cursor.name("the table's name")?;
    let query_in_parentheses =
        matches!(cursor.word_at(1), Some("select" | "values" | "with")) && cursor.peek() == &Token::LParen;
    let columns = match cursor.peek() {
        Token::LParen if !query_in_parentheses => cursor.names_in_parentheses("column")?,
        _ => Vec::new(),
    };
    if cursor.word() == Some("default") {
        let error = Error::sql("INSERT ... DEFAULT VALUES is not supported").at(cursor.position());
        return Err(error.hint("write VALUES (DEFAULT, ...)"));
    }
    let (query, query_text, on_window_close) = emitted_query(cursor)?;
    let verb = if overwrite { "OVERWRITE" } else { "INTO" };
    let mut text = format!("INSERT {verb} {}{} {query_text}", quoted(&table), column_list(&columns));
    let mode = match on_conflict(cursor)? {
        Some((clause, _)) if overwrite => {
            return Err(Error::sql("INSERT OVERWRITE has no conflicts")
                .hint(format!("write {OVERWRITE}"))
                .at(clause.position));
        }
        Some((clause, clause_text)) => {
            text.push_str(&clause_text);
            InsertMode::OnConflict(Box::new(clause))
        }
        None if overwrite => InsertMode::Overwrite,
        None => InsertMode::Upsert,
    };
    Ok((Insert { table, columns, query, mode, on_window_close }, text))
}

fn on_conflict(cursor: &mut Cursor) -> Result<Option<Printed<OnConflict>>> {
    let position = cursor.position();
    if cursor.word() == Some("on") && cursor.word_at(1) == Some("duplicate") {
        let error = Error::sql("ON DUPLICATE KEY is not supported").at(position);
        return Err(error.hint(format!("write {CONFLICT}")));
    }
    if !cursor.accept("on conflict") {
        return Ok(None);
    }
    if cursor.word() == Some("on") {
        let error = Error::sql("ON CONFLICT ON CONSTRAINT is not supported").at(cursor.position());
        return Err(error.hint(format!("write {CONFLICT}")));
    }
    let key = match cursor.peek() {
        Token::LParen => cursor.names_in_parentheses("key column")?,
        _ => Vec::new(),
    };
    let mut text = format!(" ON CONFLICT{} DO ", column_list(&key));
    cursor.expect("do", CONFLICT)?;
    let action = if cursor.accept("nothing") {
        text.push_str("NOTHING");
        ConflictAction::Nothing
    } else {
        cursor.expect("update set", CONFLICT)?;
        let (assignments, assignments_text) = assignments(cursor, &[], CONFLICT)?;
        let (condition, condition_text) = condition(cursor)?;
        text.push_str(&format!("UPDATE SET {assignments_text}{condition_text}"));
        ConflictAction::Update { assignments, condition: condition.map(Box::new) }
    };
    Ok(Some((OnConflict { key, action, position }, text)))
}

/// UPDATE, DELETE, MERGE or TRUNCATE, whichever is next.
pub(super) fn change(cursor: &mut Cursor) -> Result<Printed<Change>> {
    match cursor.word().unwrap_or_default() {
        "update" => update(cursor).map(|(update, text)| (Change::Update(update), text)),
        "delete" => delete(cursor).map(|(delete, text)| (Change::Delete(delete), text)),
        "merge" => merge(cursor).map(|(merge, text)| (Change::Merge(Box::new(merge)), text)),
        _ => truncate(cursor),
    }
}

/// See [`change`].
pub(super) fn change_statement(cursor: &mut Cursor) -> Result<Parsed> {
    change(cursor).map(|(change, text)| (Statement::Change(Box::new(change)), text))
}

fn update(cursor: &mut Cursor) -> Result<Printed<Update>> {
    cursor.expect("update", UPDATE)?;
    let (target, target_text) = target(cursor, "set")?;
    cursor.expect("set", UPDATE)?;
    let (assignments, assignments_text) = assignments(cursor, &[&target.table, target.called()], UPDATE)?;
    let (from, from_text) = tables(cursor, "from")?;
    let (condition, condition_text) = condition(cursor)?;
    let text = format!("UPDATE {target_text} SET {assignments_text}{from_text}{condition_text}");
    Ok((Update { target, assignments, from, condition }, text))
}

fn delete(cursor: &mut Cursor) -> Result<Printed<Delete>> {
    cursor.expect("delete from", DELETE)?;
    let (target, target_text) = target(cursor, "using")?;
    let (using, using_text) = tables(cursor, "using")?;
    let (condition, condition_text) = condition(cursor)?;
    let text = format!("DELETE FROM {target_text}{using_text}{condition_text}");
    Ok((Delete { target, using, condition }, text))
}

fn truncate(cursor: &mut Cursor) -> Result<Printed<Change>> {
    cursor.expect("truncate", TRUNCATE)?;
    cursor.accept("table");
    let mut names = vec![cursor.name("the table's name")?];
    while cursor.accept_token(&Token::Comma) {
        names.push(cursor.name("the table's name")?);
    }
    names.sort();
    names.dedup();
    if cursor.word() == Some("cascade") {
        let error =
            Error::sql("TRUNCATE ... CASCADE is not supported: there are no foreign keys").at(cursor.position());
        return Err(error.hint("leave it out: views above the table follow it"));
    }
    cursor.accept("restrict");
    let text = format!("TRUNCATE TABLE {}", comma_separated(&names));
    Ok((Change::Truncate(names), text))
}

fn merge(cursor: &mut Cursor) -> Result<Printed<Merge>> {
    cursor.expect("merge into", MERGE)?;
    let (target, target_text) = target(cursor, "using")?;
    cursor.expect("using", MERGE)?;
    let position = cursor.position();
    let source = cursor.sql(Parser::parse_table_factor)?;
    let (source, source_text) = prepare::part(source).map_err(|error| error.at(position))?;
    cursor.expect("on", MERGE)?;
    let (on, on_text) = expression(cursor)?;
    let mut text = format!("MERGE INTO {target_text} USING {source_text} ON {on_text}");
    let mut clauses = Vec::new();
    while cursor.accept("when") {
        let (clause, clause_text) = merge_clause(cursor, &target)?;
        clauses.push(clause);
        text.push_str(&clause_text);
    }
    if clauses.is_empty() {
        return Err(cursor.unexpected("WHEN", MERGE));
    }
    Ok((Merge { target, source, on, clauses }, text))
}

fn merge_clause(cursor: &mut Cursor, target: &Target) -> Result<Printed<MergeClause>> {
    let position = cursor.position();
    let when = if cursor.accept("matched") {
        When::Matched
    } else if cursor.accept("not matched by source") {
        When::NotMatchedBySource
    } else if cursor.accept("not matched") {
        cursor.accept("by target");
        When::NotMatched
    } else {
        return Err(cursor.unexpected("MATCHED or NOT MATCHED", MERGE));
    };
    let (condition, condition_text) = match cursor.accept("and") {
        true => expression(cursor).map(|(condition, text)| (Some(condition), format!(" AND {text}")))?,
        false => (None, String::new()),
    };
    cursor.expect("then", MERGE)?;
    let (action, action_text) = merge_action(cursor, target)?;
    let inserts = matches!(action, MergeAction::Insert(_));
    if inserts != (when == When::NotMatched) && !matches!(action, MergeAction::Nothing) {
        let message = match inserts {
            true => "INSERT is for source rows without a row of the target",
            false => "UPDATE and DELETE are for rows of the target",
        };
        let hint = "write WHEN NOT MATCHED THEN INSERT ..., WHEN MATCHED THEN UPDATE SET ... or WHEN NOT MATCHED BY SOURCE THEN DELETE";
        return Err(Error::sql(message).hint(hint).at(position));
    }
    let when_text = match when {
        When::Matched => "MATCHED",
        When::NotMatched => "NOT MATCHED",
        When::NotMatchedBySource => "NOT MATCHED BY SOURCE",
    };
    let text = format!(" WHEN {when_text}{condition_text} THEN {action_text}");
    Ok((MergeClause { when, condition, action }, text))
}

fn merge_action(cursor: &mut Cursor, target: &Target) -> Result<Printed<MergeAction>> {
    if cursor.accept("delete") {
        return Ok((MergeAction::Delete, "DELETE".to_owned()));
    }
    if cursor.accept("do nothing") {
        return Ok((MergeAction::Nothing, "DO NOTHING".to_owned()));
    }
    if cursor.accept("update set") {
        let (assignments, text) = assignments(cursor, &[&target.table, target.called()], MERGE)?;
        return Ok((MergeAction::Update(assignments), format!("UPDATE SET {text}")));
    }
    cursor.expect("insert", MERGE)?;
    if cursor.accept("default values") {
        return Ok((MergeAction::Insert(Vec::new()), "INSERT DEFAULT VALUES".to_owned()));
    }
    let position = cursor.position();
    if cursor.peek() != &Token::LParen {
        let error = Error::sql("MERGE ... INSERT names its columns").at(position);
        return Err(error.hint("write INSERT (a, b) VALUES (s.a, s.b)"));
    }
    let columns = cursor.names_in_parentheses("column")?;
    cursor.expect("values", MERGE)?;
    let (values, values_text) = value_list(cursor)?;
    if values.len() != columns.len() {
        let message = format!("{} columns are named, but {} values are given", columns.len(), values.len());
        return Err(Error::sql(message).at(position));
    }
    let text = format!("INSERT{} VALUES ({values_text})", column_list(&columns));
    let assigned = columns.into_iter().zip(values);
    let assignments = assigned.map(|(column, value)| Assignment { column, value, position }).collect();
    Ok((MergeAction::Insert(assignments), text))
}

/// The name of the table to change and its alias; `next` is the word that may follow and is no alias.
fn target(cursor: &mut Cursor, next: &str) -> Result<Printed<Target>> {
    let position = cursor.position();
    let table = cursor.name("the table's name")?;
    let explicit = cursor.accept("as");
    let is_alias = match cursor.peek() {
        Token::Word(word) if word.quote_style.is_some() => true,
        Token::Word(word) => word.value != next && word.value != "where" && !RESERVED.contains(&word.value.as_str()),
        _ => false,
    };
    let alias = if explicit || is_alias { Some(cursor.name("an alias")?) } else { None };
    let alias_text = alias.as_ref().map_or(String::new(), |alias| format!(" AS {}", quoted(alias)));
    let text = format!("{}{alias_text}", quoted(&table));
    Ok((Target { table, alias, position }, text))
}

/// `a = 1, b = DEFAULT, (c, d) = (2, 3)`. Column names may be qualified by `qualifiers`.
fn assignments(cursor: &mut Cursor, qualifiers: &[&str], example: &str) -> Result<Printed<Vec<Assignment>>> {
    let mut all: Vec<Assignment> = Vec::new();
    let mut texts = Vec::new();
    loop {
        let position = cursor.position();
        let columns = match cursor.peek() {
            Token::LParen => cursor.names_in_parentheses("column")?,
            _ => vec![assigned_column(cursor, qualifiers)?],
        };
        cursor.expect_token(&Token::Eq, example)?;
        let values = match columns.as_slice() {
            [_] => vec![value(cursor)?],
            _ => {
                cursor.accept("row");
                if matches!(cursor.word_at(1), Some("select" | "with" | "values")) {
                    let error = Error::sql("several columns cannot be set to a subquery").at(cursor.position());
                    return Err(error.hint("write UPDATE ... SET a = s.a, b = s.b FROM s WHERE ..."));
                }
                cursor.expect_token(&Token::LParen, example)?;
                let mut values = vec![value(cursor)?];
                while cursor.accept_token(&Token::Comma) {
                    values.push(value(cursor)?);
                }
                cursor.expect_token(&Token::RParen, example)?;
                values
            }
        };
        if values.len() != columns.len() {
            let message = format!("{} columns are set, but {} values are given", columns.len(), values.len());
            return Err(Error::sql(message).at(position));
        }
        for (column, (value, text)) in columns.into_iter().zip(values) {
            if all.iter().any(|other| other.column == column) {
                return Err(Error::sql(format!("the column {column} is set twice")).at(position));
            }
            texts.push(format!("{} = {text}", quoted(&column)));
            all.push(Assignment { column, value, position });
        }
        if !cursor.accept_token(&Token::Comma) {
            return Ok((all, texts.join(", ")));
        }
    }
}

fn assigned_column(cursor: &mut Cursor, qualifiers: &[&str]) -> Result<String> {
    let position = cursor.position();
    let name = cursor.identifier("a column's name")?.value;
    if !cursor.accept_token(&Token::Period) {
        return Ok(name);
    }
    if !qualifiers.contains(&name.as_str()) {
        return Err(Error::sql(format!("{name} is not the table that is changed")).at(position));
    }
    cursor.name("a column's name")
}

/// An expression, or `None` for DEFAULT.
fn value(cursor: &mut Cursor) -> Result<Printed<Option<Expr>>> {
    if cursor.accept("default") {
        return Ok((None, "DEFAULT".to_owned()));
    }
    expression(cursor).map(|(value, text)| (Some(value), text))
}

/// `(1, DEFAULT, a + b)`.
fn value_list(cursor: &mut Cursor) -> Result<Printed<Vec<Option<Expr>>>> {
    cursor.expect_token(&Token::LParen, "VALUES (1, DEFAULT)")?;
    let (mut values, mut texts) = (Vec::new(), Vec::new());
    loop {
        let (value, text) = value(cursor)?;
        values.push(value);
        texts.push(text);
        if !cursor.accept_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen, "VALUES (1, DEFAULT)")?;
    Ok((values, texts.join(", ")))
}

fn expression(cursor: &mut Cursor) -> Result<Printed<Expr>> {
    let position = cursor.position();
    let expression = cursor.sql(Parser::parse_expr)?;
    prepare::part(expression).map_err(|error| error.at(position))
}

/// `WHERE condition`, if it is there; the text starts with a blank.
fn condition(cursor: &mut Cursor) -> Result<Printed<Option<Expr>>> {
    if !cursor.accept("where") {
        return Ok((None, String::new()));
    }
    let (condition, text) = expression(cursor)?;
    Ok((Some(condition), format!(" WHERE {text}")))
}

/// The tables after `keyword`, if it is there; the text starts with a blank.
fn tables(cursor: &mut Cursor, keyword: &str) -> Result<Printed<Vec<TableWithJoins>>> {
    if !cursor.accept(keyword) {
        return Ok((Vec::new(), String::new()));
    }
    let position = cursor.position();
    let (mut tables, mut texts) = (Vec::new(), Vec::new());
    for table in cursor.sql(|parser| parser.parse_comma_separated(Parser::parse_table_and_joins))? {
        let (table, text) = prepare::part(table).map_err(|error: Error| error.at(position))?;
        tables.push(table);
        texts.push(text);
    }
    Ok((tables, format!(" {} {}", keyword.to_uppercase(), texts.join(", "))))
}
