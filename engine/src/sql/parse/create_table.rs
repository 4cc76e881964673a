//! `CREATE TABLE`: columns, key, watermark, connector options.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, literal, quoted};
use super::{comma_separated, data_type, dotted};
use crate::error::{Error, Position, Result};
use crate::sql::statement::{ColumnDefinition, CreateTable, Watermark};
use crate::sql::types;

const EXAMPLE: &str = "CREATE TABLE name (column TYPE [NOT NULL], ..., [PRIMARY KEY (column)], \
                       [WATERMARK FOR column AS expression]) [WITH (connector = '...')]";
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

/// Reads what follows `CREATE TABLE`; the second value is the canonical text.
pub(super) fn create_table(cursor: &mut Cursor) -> Result<(CreateTable, String)> {
    let if_not_exists = cursor.accept("if not exists");
    let name = cursor.name("the table's name")?;
    if cursor.word() == Some("as") {
        let error = Error::sql("CREATE TABLE ... AS is not supported yet").at(cursor.position());
        return Err(error
            .hint("CREATE MATERIALIZED VIEW keeps the result up to date; or CREATE TABLE and INSERT INTO ... SELECT"));
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
    let options = if cursor.accept("with") { options(cursor)? } else { BTreeMap::new() };
    let table = resolve(name, if_not_exists, elements, options)?;
    let text = canonical(&table);
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
    let expression = cursor.sql(|parser| parser.parse_expr())?;
    let expression = super::prepare::expression(expression).map_err(|error| error.at(at))?;
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
    match cursor.word() {
        Some("as") => {
            let error =
                Error::sql(format!("computed columns ({name} AS ...) are not supported yet")).at(cursor.position());
            return Err(error.hint("compute it in a view over the table"));
        }
        Some("metadata") => return refused("METADATA columns are not supported yet", cursor.position()),
        Some(_) => {}
        None => return Err(cursor.unexpected(&format!("the type of column {name}"), &format!("{name} BIGINT"))),
    }
    let type_position = cursor.position();
    let sql_type = cursor.sql(data_type::parse)?;
    let data_type = types::arrow_type(&sql_type).map_err(|error| error.at(type_position))?;
    let mut nullable = true;
    loop {
        let position = cursor.position();
        if cursor.accept("not null") {
            nullable = false;
        } else if cursor.accept("primary key") {
            cursor.accept("not enforced");
            set_key(elements, vec![(name.clone(), position)], position)?;
        } else if !cursor.accept("null") {
            break;
        }
    }
    if !matches!(cursor.peek(), Token::Comma | Token::RParen) {
        return Err(cursor.unexpected("`,` or `)` or NOT NULL or PRIMARY KEY", EXAMPLE));
    }
    elements.columns.push(ColumnDefinition { name, data_type, nullable });
    Ok(())
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
        let value = super::setting_value(cursor, OPTIONS)?;
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
fn resolve(
    name: String,
    if_not_exists: bool,
    elements: Elements,
    options: BTreeMap<String, String>,
) -> Result<CreateTable> {
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
        if !matches!(definition.data_type, arrow::datatypes::DataType::Timestamp(..)) {
            let found = types::sql_name(&definition.data_type);
            let error = Error::sql(format!("the watermark's column {column} must be a TIMESTAMP, it is {found}"));
            return Err(error.hint(format!("declare {column} TIMESTAMP(3)")).at(*position));
        }
    }
    let primary_key = primary_key.into_iter().map(|(name, _)| name).collect();
    let watermark = watermark.map(|(watermark, _)| watermark);
    Ok(CreateTable { name, if_not_exists, columns, primary_key, watermark, options })
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
    if !table.options.is_empty() {
        let option = |(key, value): (&String, &String)| format!("{} = {}", literal(key), literal(value));
        let options: Vec<String> = table.options.iter().map(option).collect();
        text.push_str(&format!(" WITH ({})", options.join(", ")));
    }
    text
}

fn column_text(column: &ColumnDefinition) -> String {
    let null = if column.nullable { "" } else { " NOT NULL" };
    format!("{} {}{null}", quoted(&column.name), types::sql_name(&column.data_type))
}
