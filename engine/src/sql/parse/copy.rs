//! COPY: PostgreSQL's statement with its options in either of their forms.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, quoted};
use super::{Parsed, column_list, generated_query, portal};
use crate::error::{Error, Result};
use crate::sql::statement::{
    COPIED_ROWS, CopyFormat, CopyFrom, CopyOptions, CopyTo, Insert, InsertMode, RowSource, Statement,
};

const EXAMPLE: &str =
    "COPY table [(columns)] FROM STDIN, or COPY table | (query) TO STDOUT, [WITH (FORMAT csv, HEADER)]";

/// See the module.
pub(super) fn copy(cursor: &mut Cursor) -> Result<Parsed> {
    cursor.expect("copy", EXAMPLE)?;
    if cursor.accept_token(&Token::LParen) {
        let (rows, text) = portal::row_source(cursor)?;
        cursor.expect_token(&Token::RParen, EXAMPLE)?;
        return to(cursor, rows, format!("({text})"));
    }
    let (position, span) = (cursor.position(), cursor.span());
    let table = cursor.name("the table's name")?;
    let columns = match cursor.peek() {
        Token::LParen => cursor.names_in_parentheses("column")?,
        _ => Vec::new(),
    };
    let named = format!("{}{}", quoted(&table), column_list(&columns));
    if !cursor.accept("from") {
        let list = if columns.is_empty() { "*".to_owned() } else { super::comma_separated(&columns) };
        let query = generated_query(&format!("SELECT {list} FROM {}", quoted(&table)), span)?;
        return to(cursor, RowSource::Query(Box::new(query)), named);
    }
    end_of_connection(cursor, "stdin")?;
    let options = options(cursor)?;
    let query = generated_query(&format!("SELECT * FROM {COPIED_ROWS}"), span)?;
    let insert = Insert { table, columns, query, mode: InsertMode::Upsert, on_window_close: false };
    Ok((Statement::CopyFrom(CopyFrom { insert, options, position }), format!("COPY {named} FROM STDIN")))
}

fn to(cursor: &mut Cursor, rows: RowSource, what: String) -> Result<Parsed> {
    cursor.expect("to", EXAMPLE)?;
    end_of_connection(cursor, "stdout")?;
    let options = options(cursor)?;
    Ok((Statement::CopyTo(CopyTo { rows, options }), format!("COPY {what} TO STDOUT")))
}

/// STDIN or STDOUT: files of the server's machine are for connectors.
fn end_of_connection(cursor: &mut Cursor, wanted: &str) -> Result<()> {
    if cursor.accept(wanted) {
        return Ok(());
    }
    if matches!(cursor.peek(), Token::SingleQuotedString(_)) || cursor.word() == Some("program") {
        return Err(Error::sql("COPY reads and writes what the client sends and gets, not files of the server")
            .hint("write \\copy in psql; or CREATE TABLE ... WITH ('connector' = 'filesystem', 'path' = '...') and INSERT")
            .at(cursor.position()));
    }
    Err(cursor.unexpected(&wanted.to_uppercase(), EXAMPLE))
}

/// What options say, before the defaults of the format are known.
#[derive(Default)]
struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<u8>,
    null: Option<String>,
    header: bool,
    quote: Option<u8>,
    escape: Option<u8>,
}

fn options(cursor: &mut Cursor) -> Result<CopyOptions> {
    let position = cursor.position();
    let mut given = Given::default();
    let _ = cursor.accept("with");
    if cursor.accept_token(&Token::LParen) {
        loop {
            option(cursor, &mut given)?;
            if !cursor.accept_token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen, EXAMPLE)?;
    } else {
        // The form before PostgreSQL 9: words one after the other.
        while !matches!(cursor.peek(), Token::EOF | Token::SemiColon) {
            option(cursor, &mut given)?;
        }
    }
    let format = given.format.unwrap_or(CopyFormat::Text);
    let csv = format == CopyFormat::Csv;
    let quote = given.quote.unwrap_or(b'"');
    let options = CopyOptions {
        format,
        delimiter: given.delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
        null: given.null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
        header: given.header,
        quote,
        escape: given.escape.unwrap_or(quote),
    };
    let wrong = match format {
        CopyFormat::Text if given.quote.is_some() || given.escape.is_some() => Some("QUOTE and ESCAPE are for CSV"),
        CopyFormat::Binary if given.delimiter.is_some() || given.header => Some("the binary format has no options"),
        _ if matches!(options.delimiter, b'\n' | b'\r' | b'\\') => Some("this delimiter cannot be told from line ends"),
        CopyFormat::Csv if options.delimiter == options.quote => Some("DELIMITER and QUOTE must differ"),
        _ => None,
    };
    wrong.map_or(Ok(options), |wrong| Err(Error::sql(wrong).hint(format!("write {EXAMPLE}")).at(position)))
}

fn option(cursor: &mut Cursor, given: &mut Given) -> Result<()> {
    let position = cursor.position();
    let word = cursor.word().unwrap_or_default().to_owned();
    match word.as_str() {
        "format" => {
            cursor.advance();
            let name = match cursor.peek().clone() {
                Token::SingleQuotedString(name) => name.to_lowercase(),
                _ => cursor.word().unwrap_or_default().to_owned(),
            };
            given.format = Some(format_named(&name).ok_or_else(|| cursor.unexpected("text, csv or binary", EXAMPLE))?);
            cursor.advance();
        }
        "csv" | "binary" => {
            given.format = format_named(&word);
            cursor.advance();
        }
        "header" => {
            cursor.advance();
            given.header = match cursor.word() {
                Some("false" | "off") => false,
                Some("match") => {
                    return Err(Error::sql("HEADER MATCH is not supported").hint("write HEADER").at(cursor.position()));
                }
                _ => true,
            };
            if matches!(cursor.word(), Some("true" | "on" | "false" | "off")) {
                cursor.advance();
            }
        }
        "delimiter" | "delimiters" => given.delimiter = Some(character(cursor)?),
        "quote" => given.quote = Some(character(cursor)?),
        "escape" => given.escape = Some(character(cursor)?),
        "null" => given.null = Some(text(cursor)?),
        "encoding" => {
            if !matches!(text(cursor)?.to_lowercase().as_str(), "utf8" | "utf-8" | "unicode") {
                return Err(Error::sql("COPY knows the encoding UTF-8 only").at(position));
            }
        }
        "freeze" | "default" | "force_quote" | "force_not_null" | "force_null" | "on_error" | "log_verbosity"
        | "force" => {
            return Err(Error::sql(format!("the option {} of COPY is not supported", word.to_uppercase()))
                .hint("FORMAT, DELIMITER, NULL, HEADER, QUOTE, ESCAPE and ENCODING are")
                .at(position));
        }
        _ => return Err(cursor.unexpected("an option of COPY", EXAMPLE)),
    }
    Ok(())
}

fn format_named(name: &str) -> Option<CopyFormat> {
    match name {
        "text" => Some(CopyFormat::Text),
        "csv" => Some(CopyFormat::Csv),
        "binary" => Some(CopyFormat::Binary),
        _ => None,
    }
}

/// The option's name, perhaps AS, and a string.
fn text(cursor: &mut Cursor) -> Result<String> {
    cursor.advance();
    let _ = cursor.accept("as");
    match cursor.peek().clone() {
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => {
            cursor.advance();
            Ok(text)
        }
        _ => Err(cursor.unexpected("a string", EXAMPLE)),
    }
}

fn character(cursor: &mut Cursor) -> Result<u8> {
    let text = text(cursor)?;
    match text.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(Error::sql(format!("{text:?} is not one ASCII character")).at(cursor.position())),
    }
}
