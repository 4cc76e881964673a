//! Text to statements.
//!
//! `sqlparser` reads expressions, types and queries; the statements around them are read here word by word, because the field's forms
//! (watermarks, statement sets, connector options) are not in its grammar and because what we do not support must be refused by name
//! and place. After reading, a query is checked and its window table functions become plain SQL (`prepare`).
//!
//! The canonical text of a statement is printed from what was understood, so white space, comments, the case of keywords and unquoted
//! names, and the many spellings of one thing (types, option keys, the two forms of PRIMARY KEY) make no difference. `IF NOT EXISTS`
//! and `OR REPLACE` are left out of definitions: they say how to create, not what.

mod access;
mod change;
mod copy;
mod courtesies;
mod create_table;
mod cursor;
mod data_type;
mod dialect;
mod function;
mod intervals;
mod job;
mod portal;
mod prepare;
mod refuse;
mod rewrite;
mod setting;
mod show;
mod temporal;
mod transaction;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

pub(super) use self::cursor::PARTITION_BY;
pub use self::cursor::quoted;
use self::cursor::{Cursor, EMIT_ON_WINDOW_CLOSE, emit_on_window_close};
pub(in crate::sql) use self::intervals::with_time;
pub use self::rewrite::call;
pub(super) use self::rewrite::digits;
use crate::error::{Error, Position, Result};
use crate::sql::statement::{CreateView, Drop, DropKind, InsertMode, JobControl, ParsedStatement, Statement};

/// Statements that exist, for suggestions.
const STATEMENTS: [&str; 37] = [
    "select",
    "values",
    "with",
    "create",
    "drop",
    "insert",
    "update",
    "delete",
    "merge",
    "truncate",
    "verify",
    "execute",
    "begin",
    "explain",
    "show",
    "describe",
    "desc",
    "set",
    "flush",
    "resume",
    "reset",
    "pause",
    "restart",
    "stop",
    "copy",
    "declare",
    "fetch",
    "move",
    "close",
    "subscribe",
    "discard",
    "unlisten",
    "deallocate",
    "grant",
    "revoke",
    "reassign",
    "alter",
];

/// Splits and parses a text of statements separated by `;`. Empty statements are skipped.
///
/// # Errors
/// [`crate::ErrorKind::Sql`] with the place in `text` when something is misspelt, out of place or not supported.
pub fn parse(text: &str) -> Result<Vec<ParsedStatement>> {
    statements(Cursor::new(text)?)
}

/// The same with a value, as SQL, for every parameter `$1`, `$2` ...
///
/// # Errors
/// As [`parse`], and if there is no value for a parameter.
pub fn parse_bound(text: &str, values: &[String]) -> Result<Vec<ParsedStatement>> {
    statements(Cursor::bound(text, values)?)
}

fn statements(mut cursor: Cursor) -> Result<Vec<ParsedStatement>> {
    let mut statements = Vec::new();
    loop {
        while cursor.accept_token(&Token::SemiColon) {}
        let Some(position) = cursor.position().filter(|_| cursor.peek() != &Token::EOF) else { break };
        let (statement, text) = statement(&mut cursor).map_err(|error| error.at(Some(position)))?;
        end_of_statement(&cursor)?;
        statements.push(ParsedStatement { statement, text, position });
    }
    Ok(statements)
}

/// Parses a query of our own making; its tokens count as standing at `span`.
pub(super) fn generated_query(text: &str, span: Span) -> Result<ast::Query> {
    Cursor::generated(text, span)?.sql(|parser| parser.parse_query()).map(|query| *query)
}

/// Parses a type as `sql_name` writes it.
pub(super) fn parse_type(text: &str) -> Result<ast::DataType> {
    Cursor::new(text)?.sql(data_type::parse)
}

/// Parses an expression in canonical text, as the catalog holds it, and makes it ready for the planner.
pub fn stored_expression(text: &str) -> Result<ast::Expr> {
    let expression = Cursor::new(text)?.sql(|parser| parser.parse_expr())?;
    prepare::part(expression).map(|(expression, _)| expression)
}

type Parsed = (Statement, String);

fn statement(cursor: &mut Cursor) -> Result<Parsed> {
    if cursor.peek() == &Token::LParen {
        return query_statement(cursor);
    }
    match cursor.word().unwrap_or_default() {
        "select" | "values" | "with" => query_statement(cursor),
        "create" => create(cursor),
        "drop" => drop_objects(cursor),
        "insert" => {
            let (insert, text) = change::insert(cursor)?;
            Ok((Statement::Insert(insert), text))
        }
        "update" | "delete" | "merge" | "truncate" => change::change_statement(cursor),
        "verify" => verify(cursor),
        "begin" if cursor.word_at(1) != Some("statement") => transaction::transaction(cursor),
        "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => transaction::transaction(cursor),
        "execute" | "begin" => statement_set(cursor),
        "explain" => show::explain(cursor),
        "show" => show::show(cursor),
        "describe" | "desc" => show::describe(cursor),
        "copy" => copy::copy(cursor),
        "declare" | "fetch" | "move" | "close" => portal::cursor_statement(cursor),
        "subscribe" => portal::subscribe_statement(cursor),
        "discard" => discard(cursor),
        "unlisten" => unlisten(cursor),
        "deallocate" => deallocate(cursor),
        "set" => setting::set(cursor),
        "reset" => setting::reset(cursor),
        "pause" => job::control(cursor, JobControl::Pause),
        "resume" => job::control(cursor, JobControl::Resume),
        "restart" => job::control(cursor, JobControl::Restart),
        "stop" => job::control(cursor, JobControl::Stop),
        "grant" => access::grant(cursor, false),
        "revoke" => access::grant(cursor, true),
        "reassign" => access::reassign(cursor),
        "alter" => alter(cursor),
        "flush" => {
            cursor.advance();
            Ok((Statement::Flush, "FLUSH".to_owned()))
        }
        word => Err(unknown_statement(cursor, word)),
    }
}

fn alter(cursor: &mut Cursor) -> Result<Parsed> {
    if access::is_user(cursor, 1) {
        cursor.advance();
        return access::put_user(cursor, false);
    }
    match access::set_owner(cursor)? {
        Some(parsed) => Ok(parsed),
        None => Err(unknown_statement(cursor, "alter")),
    }
}

fn unknown_statement(cursor: &Cursor, word: &str) -> Error {
    if let Some(message) = refuse::statement(word) {
        return Error::sql(message).at(cursor.position());
    }
    let error = cursor.unexpected(
        "a statement",
        "SELECT, CREATE, DROP, INSERT, UPDATE, DELETE, MERGE, EXPLAIN, SHOW, DESCRIBE, VERIFY, SET or FLUSH",
    );
    let nearest = STATEMENTS.iter().min_by_key(|known| strsim::osa_distance(known, word));
    match nearest.filter(|known| strsim::osa_distance(known, word) <= 2 && word.len() > 2) {
        Some(known) => error.hint(format!("did you mean {}?", known.to_uppercase())),
        None => error,
    }
}

fn end_of_statement(cursor: &Cursor) -> Result<()> {
    match cursor.peek() {
        Token::EOF | Token::SemiColon => Ok(()),
        _ => Err(cursor.unexpected("`;` or the end of the statement", "")),
    }
}

/// A query ready to be planned, and its canonical text.
fn query(cursor: &mut Cursor) -> Result<(ast::Query, String)> {
    let position = cursor.position();
    if !matches!(cursor.word(), Some("select" | "values" | "with")) && cursor.peek() != &Token::LParen {
        return Err(cursor.unexpected("a query", "SELECT ..., VALUES ... or WITH ..."));
    }
    let query = *cursor.sql(|parser| parser.parse_query())?;
    prepare::part(query).map_err(|error| error.at(position))
}

/// A query and perhaps `EMIT ON WINDOW CLOSE`.
fn emitted_query(cursor: &mut Cursor) -> Result<(ast::Query, String, bool)> {
    let (query, mut text) = query(cursor)?;
    let on_window_close = cursor.accept_token(&emit_on_window_close());
    if on_window_close {
        text.push(' ');
        text.push_str(EMIT_ON_WINDOW_CLOSE);
    }
    Ok((query, text, on_window_close))
}

fn query_statement(cursor: &mut Cursor) -> Result<Parsed> {
    let (query, text) = query(cursor)?;
    let position = cursor.position();
    if cursor.accept_token(&emit_on_window_close()) {
        return Err(emits_nothing().at(position));
    }
    Ok((Statement::Query(query), text))
}

fn emits_nothing() -> Error {
    Error::sql("EMIT ON WINDOW CLOSE says when a continuous query shows its rows; this query runs once")
        .hint("leave it out, or write CREATE MATERIALIZED VIEW or INSERT INTO ... SELECT")
}

fn create(cursor: &mut Cursor) -> Result<Parsed> {
    cursor.expect("create", "")?;
    let or_replace = cursor.accept("or replace");
    if cursor.accept("table") {
        let (table, text) = create_table::create_table(cursor, or_replace)?;
        return Ok((Statement::CreateTable(table), text));
    }
    if cursor.accept("function") {
        let (function, text) = function::create_function(cursor, or_replace)?;
        return Ok((Statement::CreateFunction(function), text));
    }
    if cursor.word() == Some("materialized") || cursor.word() == Some("view") {
        let (view, text) = create_view(cursor, or_replace)?;
        return Ok((Statement::CreateView(view), text));
    }
    if access::is_user(cursor, 0) && !or_replace {
        return access::put_user(cursor, true);
    }
    let other = cursor.word().unwrap_or_default().to_uppercase();
    let hint = match other.as_str() {
        "SOURCE" => "write CREATE TABLE t (...) WITH (connector = '...')",
        "SINK" => "write CREATE TABLE t (...) WITH (connector = '...') and INSERT INTO t SELECT ...",
        "INDEX" | "UNIQUE" => "declare a PRIMARY KEY, or create a materialized view in the shape that is queried",
        "DATABASE" | "SCHEMA" | "CATALOG" => "there is one namespace; use another warehouse to keep things apart",
        "TEMPORARY" | "TEMP" | "EXTERNAL" | "AGGREGATE" | "TYPE" | "CONNECTION" | "SECRET" | "RECURSIVE"
        | "SEQUENCE" | "MODEL" | "TRIGGER" => "write CREATE TABLE or CREATE [MATERIALIZED] VIEW",
        _ => {
            return Err(
                cursor.unexpected("TABLE, VIEW or MATERIALIZED VIEW", "CREATE TABLE or CREATE [MATERIALIZED] VIEW")
            );
        }
    };
    Err(Error::sql(format!("CREATE {other} is not supported")).hint(hint).at(cursor.position()))
}

fn create_view(cursor: &mut Cursor, or_replace: bool) -> Result<(CreateView, String)> {
    const EXAMPLE: &str = "CREATE [MATERIALIZED] VIEW name AS SELECT ...";
    let materialized = cursor.accept("materialized");
    cursor.expect("view", EXAMPLE)?;
    let if_not_exists = cursor.accept("if not exists");
    let name = cursor.name("the view's name")?;
    let columns = match cursor.peek() {
        Token::LParen => cursor.names_in_parentheses("column")?,
        _ => Vec::new(),
    };
    if cursor.word() == Some("with") {
        let error = Error::sql("WITH (...) options of a view are not supported").at(cursor.position());
        return Err(error.hint(format!("write {EXAMPLE}")));
    }
    cursor.expect("as", EXAMPLE)?;
    let position = cursor.position();
    let (query, query_text, on_window_close) = emitted_query(cursor)?;
    if on_window_close && !materialized {
        return Err(emits_nothing().at(position));
    }
    let kind = if materialized { "MATERIALIZED VIEW" } else { "VIEW" };
    let text = format!("CREATE {kind} {}{} AS {query_text}", quoted(&name), column_list(&columns));
    Ok((CreateView { name, materialized, or_replace, if_not_exists, columns, query, on_window_close }, text))
}

/// ` (a, b)`, or nothing.
fn column_list(columns: &[String]) -> String {
    if columns.is_empty() { String::new() } else { format!(" ({})", comma_separated(columns)) }
}

fn comma_separated(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

fn drop_objects(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "DROP TABLE | VIEW | MATERIALIZED VIEW | FUNCTION | JOB [IF EXISTS] name";
    cursor.expect("drop", EXAMPLE)?;
    if access::is_user(cursor, 0) {
        return access::drop_users(cursor);
    }
    let (kind, kind_text) = if cursor.accept("table") {
        (DropKind::Table, "TABLE")
    } else if cursor.accept("view") {
        (DropKind::View, "VIEW")
    } else if cursor.accept("materialized view") {
        (DropKind::MaterializedView, "MATERIALIZED VIEW")
    } else if cursor.accept("function") {
        (DropKind::Function, "FUNCTION")
    } else if cursor.accept("job") {
        (DropKind::Job, "JOB")
    } else {
        return Err(cursor.unexpected("TABLE, VIEW, MATERIALIZED VIEW, FUNCTION, JOB or USER", EXAMPLE));
    };
    let if_exists = cursor.accept("if exists");
    let mut names = Vec::new();
    loop {
        names.push(cursor.name("a name")?);
        // PostgreSQL's form; there is one function of a name.
        if kind == DropKind::Function && cursor.accept_token(&Token::LParen) {
            while cursor.peek() != &Token::RParen && cursor.peek() != &Token::EOF {
                cursor.advance();
            }
            cursor.expect_token(&Token::RParen, EXAMPLE)?;
        }
        if !cursor.accept_token(&Token::Comma) {
            break;
        }
    }
    let cascade = cursor.accept("cascade");
    if !cascade {
        // The default, as in PostgreSQL.
        cursor.accept("restrict");
    }
    let mut text = format!("DROP {kind_text} {}{}", if if_exists { "IF EXISTS " } else { "" }, comma_separated(&names));
    if cascade {
        text.push_str(" CASCADE");
    }
    Ok((Statement::Drop(Drop { kind, names, if_exists, cascade }), text))
}

/// `VERIFY [MATERIALIZED VIEW] name`.
fn verify(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "VERIFY MATERIALIZED VIEW name";
    cursor.expect("verify", EXAMPLE)?;
    cursor.expect("materialized view", EXAMPLE)?;
    let name = cursor.name("the view's name")?;
    let text = format!("VERIFY MATERIALIZED VIEW {}", quoted(&name));
    Ok((Statement::Verify(name), text))
}

/// `DISCARD ALL`: what a pool of connections says before it gives one to somebody else.
fn discard(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "DISCARD ALL";
    cursor.expect("discard", EXAMPLE)?;
    if !["all", "plans", "sequences", "temporary", "temp"].into_iter().any(|what| cursor.accept(what)) {
        return Err(cursor.unexpected("ALL", EXAMPLE));
    }
    Ok((Statement::Discard, "DISCARD ALL".to_owned()))
}

/// `UNLISTEN * | channel`: what a pool of connections says, too.
fn unlisten(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "UNLISTEN *";
    cursor.expect("unlisten", EXAMPLE)?;
    if !cursor.accept_token(&Token::Mul) {
        cursor.name("the channel's name")?;
    }
    Ok((Statement::Unlisten, "UNLISTEN *".to_owned()))
}

/// `DEALLOCATE [PREPARE] name | ALL`: prepared statements of a connection are forgotten.
fn deallocate(cursor: &mut Cursor) -> Result<Parsed> {
    cursor.expect("deallocate", "DEALLOCATE name")?;
    let _ = cursor.accept("prepare");
    if cursor.accept("all") {
        return Ok((Statement::Deallocate(None), "DEALLOCATE ALL".to_owned()));
    }
    let name = cursor.name("the prepared statement's name")?;
    let text = format!("DEALLOCATE {}", quoted(&name));
    Ok((Statement::Deallocate(Some(name)), text))
}

/// `EXECUTE STATEMENT SET BEGIN ...; END`, or `BEGIN STATEMENT SET; ...; END`: the `;` within do not end it.
fn statement_set(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "EXECUTE STATEMENT SET BEGIN INSERT INTO a ...; INSERT INTO b ...; END";
    if cursor.accept("begin") {
        cursor.expect("statement set", EXAMPLE)?;
        cursor.expect_token(&Token::SemiColon, EXAMPLE)?;
    } else {
        cursor.expect("execute statement set", EXAMPLE)?;
        cursor.expect("begin", EXAMPLE)?;
    }
    let mut inserts = Vec::new();
    let mut text = "EXECUTE STATEMENT SET BEGIN ".to_owned();
    loop {
        while cursor.accept_token(&Token::SemiColon) {}
        let position = cursor.position();
        if cursor.accept("end") {
            if inserts.is_empty() {
                return Err(Error::sql("the statement set is empty").hint(format!("write {EXAMPLE}")).at(position));
            }
            text.push_str("END");
            return Ok((Statement::StatementSet(inserts), text));
        }
        if cursor.word() != Some("insert") {
            return Err(cursor.unexpected("INSERT or END", EXAMPLE));
        }
        let (insert, insert_text) = change::insert(cursor)?;
        if !matches!(insert.mode, InsertMode::Upsert) {
            let error = Error::sql("a statement set holds plain INSERT INTO only: its inserts run continuously");
            return Err(error.hint("leave out OVERWRITE and ON CONFLICT").at(position));
        }
        if cursor.peek() != &Token::SemiColon {
            end_of_statement(cursor)?;
            return Err(cursor.unexpected("`;` and END", EXAMPLE));
        }
        inserts.push(insert);
        text.push_str(&insert_text);
        text.push_str("; ");
    }
}

/// The number of a parameter (`$1`), if the expression is one.
pub fn parameter(expr: &ast::Expr) -> Option<usize> {
    match expr {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Placeholder(name), .. }) => parameter_number(name),
        ast::Expr::Nested(inner) => parameter(inner),
        _ => None,
    }
}

/// The number in the name of a parameter.
pub fn parameter_number(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok()
}

/// Where an identifier stands.
pub(super) fn identifier_position(ident: &ast::Ident) -> Option<Position> {
    cursor::position(ident.span.start)
}

#[cfg(test)]
mod tests;
