//! `CREATE TABLE`: columns, key, watermark, connector options.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, Precedence};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, literal, quoted};
use super::dialect::FrazilDialect;
use super::setting::dotted;
use super::{column_list, comma_separated, data_type};
use crate::error::{Error, Position, Result};
use crate::sql::statement::{ColumnDefinition, ColumnValue, CreateTable, TableQuery, Watermark};
use crate::sql::types;

const EXAMPLE: &str = "CREATE TABLE name (column TYPE [NOT NULL] [DEFAULT value], ..., [column AS expression], [PRIMARY KEY (column)], \
                       [WATERMARK FOR column AS expression]) [APPEND ONLY] [WITH (connector = '...')]";
const COMPUTED: &str = "column AS expression";
const WATERMARK: &str = "WATERMARK FOR ts AS ts - INTERVAL '5' SECOND";
const OPTIONS: &str = "WITH (connector = '...', 'key' = 'value')";

/// A name and where it stands, to be checked when all columns are known.
type Named = (String, Option<Position>);

/// What the parentheses of CREATE TABLE hold.
#[derive(Default)]
struct Elements {
    columns: Vec<ColumnDefinition>,
    primary_key: Vec<Named>,
    watermark: Option<(Watermark, Option<Position>)>,
}

/// Reads what follows `CREATE [OR REPLACE] TABLE`; the second value is the canonical text.
pub(super) fn create_table(cursor: &mut Cursor, or_replace: bool) -> Result<(CreateTable, String)> {
    let if_not_exists = cursor.accept("if not exists");
    let name = cursor.name("the table's name")?;
    if cursor.word() == Some("as") || names_and_query(cursor) {
        return create_table_as(cursor, name, if_not_exists, or_replace);
    }
    cursor.expect_token(&Token::LParen, EXAMPLE)?;
    let mut elements = Elements::default();
    loop {
        element(cursor, &mut elements)?;
        if !cursor.accept_token(&Token::Comma) {
            break;
        }
    }
    if cursor.peek() != &Token::RParen {
        return Err(cursor.unexpected("`,` or `)`", EXAMPLE));
    }
    cursor.advance();
    let append = cursor.position();
    let append_only = cursor.accept("append only");
    if append_only && !elements.primary_key.is_empty() {
        let error = Error::sql("a table with PRIMARY KEY cannot be APPEND ONLY").at(append);
        return Err(error.hint("INSERT replaces the row with the same key: leave out APPEND ONLY or the key"));
    }
    let options = if cursor.accept("with") { options(cursor)? } else { BTreeMap::new() };
    let mut table = resolve(name, elements, options)?;
    (table.if_not_exists, table.or_replace, table.append_only) = (if_not_exists, or_replace, append_only);
    let text = canonical(&table);
    Ok((table, text))
}

/// Whether names between parentheses and AS are next.
fn names_and_query(cursor: &Cursor) -> bool {
    let mut place = 0;
    let mut separator = &Token::LParen;
    while cursor.token_at(place) == separator && matches!(cursor.token_at(place + 1), Token::Word(_)) {
        separator = &Token::Comma;
        place += 2;
    }
    place > 0 && cursor.token_at(place) == &Token::RParen && cursor.word_at(place + 1) == Some("as")
}

/// `CREATE TABLE name [(columns)] AS query`.
fn create_table_as(
    cursor: &mut Cursor,
    name: String,
    if_not_exists: bool,
    or_replace: bool,
) -> Result<(CreateTable, String)> {
    const EXAMPLE: &str = "CREATE TABLE name [(column, ...)] AS SELECT ...";
    let columns = match cursor.peek() {
        Token::LParen => cursor.names_in_parentheses("column")?,
        _ => Vec::new(),
    };
    cursor.expect("as", EXAMPLE)?;
    let (query, query_text) = super::query(cursor)?;
    let text = format!("CREATE TABLE {}{} AS {query_text}", quoted(&name), column_list(&columns));
    let table = CreateTable {
        name,
        if_not_exists,
        or_replace,
        columns: Vec::new(),
        primary_key: Vec::new(),
        watermark: None,
        append_only: false,
        query: Some(TableQuery { columns, query }),
        options: BTreeMap::new(),
    };
    Ok((table, text))
}

fn element(cursor: &mut Cursor, elements: &mut Elements) -> Result<()> {
    let position = cursor.position();
    if cursor.accept("watermark for") {
        return watermark(cursor, elements, position);
    }
    if cursor.accept("constraint") {
        // Its name has no use: a table has one key.
        cursor.identifier("the constraint's name")?;
        if !matches!(cursor.word(), Some("primary" | "unique" | "foreign" | "check")) {
            return Err(cursor.unexpected("PRIMARY KEY", "PRIMARY KEY (column, ...)"));
        }
    }
    if cursor.accept("primary key") {
        let mut key = Vec::new();
        for name in cursor.names_in_parentheses("key column")? {
            key.push((name, position));
        }
        cursor.accept("not enforced");
        return set_key(elements, key, position);
    }
    let next_is_list = |cursor: &Cursor| cursor.word_at(1).is_none();
    match cursor.word() {
        Some("foreign") if cursor.word_at(1) == Some("key") => refused("FOREIGN KEY is not supported", position),
        Some("unique") if next_is_list(cursor) => {
            refused("UNIQUE is not supported; a table can have one PRIMARY KEY", position)
        }
        Some("check") if next_is_list(cursor) => refused("CHECK is not supported", position),
        Some("like") => refused("CREATE TABLE ... LIKE is not supported; list the columns", position),
        Some("period") if cursor.word_at(1) == Some("for") => refused("PERIOD FOR is not supported", position),
        _ => column(cursor, elements),
    }
}

fn refused<T>(message: &str, position: Option<Position>) -> Result<T> {
    Err(Error::sql(message).at(position))
}

fn watermark(cursor: &mut Cursor, elements: &mut Elements, position: Option<Position>) -> Result<()> {
    let at = cursor.position();
    let column = cursor.name("the watermark's column")?;
    cursor.expect("as", WATERMARK)?;
    let expression = cursor.sql(Parser::parse_expr)?;
    let (_, expression) = super::prepare::part(expression).map_err(|error| error.at(at))?;
    if elements.watermark.is_some() {
        return Err(Error::sql("a table has at most one WATERMARK").at(position));
    }
    elements.watermark = Some((Watermark { column, expression }, at));
    Ok(())
}

fn set_key(elements: &mut Elements, key: Vec<Named>, position: Option<Position>) -> Result<()> {
    if !elements.primary_key.is_empty() {
        let error = Error::sql("a table has at most one PRIMARY KEY").at(position);
        return Err(error.hint("for a key of several columns write PRIMARY KEY (a, b) after the columns"));
    }
    elements.primary_key = key;
    Ok(())
}

fn column(cursor: &mut Cursor, elements: &mut Elements) -> Result<()> {
    let position = cursor.position();
    let name = cursor.name("a column's name")?;
    if elements.columns.iter().any(|column| column.name == name) {
        return Err(Error::sql(format!("column {name} appears twice")).at(position));
    }
    let mut value = ColumnValue::Given;
    let data_type = match cursor.word() {
        Some("as") => {
            cursor.advance();
            let (parsed, text) = expression(cursor, Parser::parse_expr)?;
            if matches!(parsed, Expr::IsNotNull(_)) {
                let error = Error::sql("a computed column without a type takes no NOT NULL").at(position);
                return Err(error.hint(format!("leave it out, or write {name} AS (expression IS NOT NULL)")));
            }
            value = ColumnValue::Computed(text);
            None
        }
        Some("metadata") => return refused("METADATA columns are not supported yet", cursor.position()),
        Some(_) => {
            let position = cursor.position();
            let sql_type = cursor.sql(data_type::parse)?;
            Some(types::arrow_type(&sql_type).map_err(|error| error.at(position))?)
        }
        None => return Err(cursor.unexpected(&format!("the type of column {name}"), &format!("{name} BIGINT"))),
    };
    let mut nullable = true;
    loop {
        let position = cursor.position();
        if cursor.accept("not null") {
            nullable = false;
        } else if cursor.accept("primary key") {
            cursor.accept("not enforced");
            set_key(elements, vec![(name.clone(), position)], position)?;
        } else if cursor.accept("not enforced") {
            // Of a constraint that does not need it.
        } else if matches!(cursor.word(), Some("default" | "generated")) {
            if value != ColumnValue::Given {
                return refused("a column has one DEFAULT or one expression", position);
            }
            value = column_value(cursor)?;
        } else if !cursor.accept("null") {
            break;
        }
    }
    if !matches!(cursor.peek(), Token::Comma | Token::RParen) {
        return Err(cursor.unexpected("`,` or `)` or NOT NULL or PRIMARY KEY", EXAMPLE));
    }
    elements.columns.push(ColumnDefinition { name, data_type, nullable, value });
    Ok(())
}

/// `DEFAULT expression`, or `GENERATED ALWAYS AS (expression) [STORED | VIRTUAL]`.
fn column_value(cursor: &mut Cursor) -> Result<ColumnValue> {
    if cursor.accept("default") {
        // What follows may be NOT NULL, which must not be taken for a part of the value.
        let precedence = FrazilDialect.prec_value(Precedence::Is);
        let (_, default) = expression(cursor, |parser| parser.parse_subexpr(precedence))?;
        return Ok(ColumnValue::Default(default));
    }
    if !cursor.accept("generated always as") {
        let error = Error::sql("identity columns are not supported").at(cursor.position());
        return Err(error.hint(format!("write {COMPUTED}, or number the rows in a view by row_number()")));
    }
    cursor.expect_token(&Token::LParen, COMPUTED)?;
    let (_, computed) = expression(cursor, Parser::parse_expr)?;
    cursor.expect_token(&Token::RParen, COMPUTED)?;
    let _ = cursor.accept("stored") || cursor.accept("virtual");
    Ok(ColumnValue::Computed(computed))
}

/// An expression and its canonical text.
fn expression(
    cursor: &mut Cursor,
    grammar: impl FnOnce(&mut Parser<'static>) -> Result<Expr, ParserError>,
) -> Result<(Expr, String)> {
    let position = cursor.position();
    let expression = cursor.sql(grammar)?;
    super::prepare::part(expression).map_err(|error| error.at(position))
}

/// The parentheses after WITH: keys quoted in any way or bare, values strings, numbers or words.
fn options(cursor: &mut Cursor) -> Result<BTreeMap<String, String>> {
    cursor.expect_token(&Token::LParen, OPTIONS)?;
    let mut options = BTreeMap::new();
    loop {
        let position = cursor.position();
        let key = match cursor.peek().clone() {
            Token::SingleQuotedString(key) => {
                cursor.advance();
                key
            }
            Token::Word(_) => dotted(cursor, OPTIONS)?,
            _ => return Err(cursor.unexpected("an option's key", OPTIONS)),
        };
        if key.is_empty() {
            return refused("an option's key is empty", position);
        }
        cursor.expect_token(&Token::Eq, OPTIONS)?;
        let value = super::setting::value(cursor, OPTIONS)?;
        if options.insert(key.clone(), value).is_some() {
            return Err(Error::sql(format!("option {key} is given twice")).at(position));
        }
        if !cursor.accept_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen, OPTIONS)?;
    Ok(options)
}

/// Checks key and watermark against the columns and puts all together.
fn resolve(name: String, elements: Elements, options: BTreeMap<String, String>) -> Result<CreateTable> {
    let Elements { mut columns, primary_key, watermark } = elements;
    for (key, position) in &primary_key {
        match columns.iter_mut().find(|column| column.name == *key) {
            Some(column) => column.nullable = false,
            None => return Err(unknown_column("PRIMARY KEY", key, &columns).at(*position)),
        }
    }
    if let Some((Watermark { column, .. }, position)) = &watermark {
        let Some(definition) = columns.iter().find(|definition| definition.name == *column) else {
            return Err(unknown_column("WATERMARK", column, &columns).at(*position));
        };
        // The type of a computed column is known when its expression is planned.
        if let Some(found) = &definition.data_type
            && !matches!(found, arrow::datatypes::DataType::Timestamp(..))
        {
            let found = types::sql_name(found);
            let error = Error::sql(format!("the watermark's column {column} must be a TIMESTAMP, it is {found}"));
            return Err(error.hint(format!("declare {column} TIMESTAMP(3)")).at(*position));
        }
    }
    let primary_key = primary_key.into_iter().map(|(name, _)| name).collect();
    let watermark = watermark.map(|(watermark, _)| watermark);
    Ok(CreateTable {
        name,
        if_not_exists: false,
        or_replace: false,
        columns,
        primary_key,
        watermark,
        append_only: false,
        query: None,
        options,
    })
}

fn unknown_column(clause: &str, name: &str, columns: &[ColumnDefinition]) -> Error {
    let error = Error::sql(format!("{clause} names the column {name}, which the table does not have"));
    let nearest = columns.iter().min_by_key(|column| strsim::osa_distance(&column.name, name));
    match nearest.filter(|column| strsim::osa_distance(&column.name, name) <= 2) {
        Some(column) => error.hint(format!("did you mean {}?", column.name)),
        None => error.hint(format!("declare it: {name} TIMESTAMP(3), or name one of the columns")),
    }
}

fn canonical(table: &CreateTable) -> String {
    let mut elements: Vec<String> = table.columns.iter().map(column_text).collect();
    if !table.primary_key.is_empty() {
        elements.push(format!("PRIMARY KEY ({})", comma_separated(&table.primary_key)));
    }
    if let Some(Watermark { column, expression }) = &table.watermark {
        elements.push(format!("WATERMARK FOR {} AS {expression}", quoted(column)));
    }
    let mut text = format!("CREATE TABLE {} ({})", quoted(&table.name), elements.join(", "));
    if table.append_only {
        text.push_str(" APPEND ONLY");
    }
    if !table.options.is_empty() {
        let option = |(key, value): (&String, &String)| format!("{} = {}", literal(key), literal(value));
        let options: Vec<String> = table.options.iter().map(option).collect();
        text.push_str(&format!(" WITH ({})", options.join(", ")));
    }
    text
}

fn column_text(column: &ColumnDefinition) -> String {
    let name = quoted(&column.name);
    let null = if column.nullable { "" } else { " NOT NULL" };
    match (&column.data_type, &column.value) {
        (None, ColumnValue::Computed(expression)) => format!("{name} AS {expression}"),
        (None, _) => name,
        (Some(data_type), ColumnValue::Given) => format!("{name} {}{null}", types::sql_name(data_type)),
        (Some(data_type), ColumnValue::Default(default)) => {
            format!("{name} {}{null} DEFAULT {default}", types::sql_name(data_type))
        }
        (Some(data_type), ColumnValue::Computed(expression)) => {
            format!("{name} {}{null} GENERATED ALWAYS AS ({expression})", types::sql_name(data_type))
        }
    }
}
