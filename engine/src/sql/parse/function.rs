//! `CREATE FUNCTION`: a scalar expression with a name.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{DataType, Expr, Ident, Value, ValueWithSpan, visit_expressions_mut};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, quoted};
use super::prepare;
use crate::error::{Error, Result};
use crate::sql::statement::CreateFunction;
use crate::sql::types;

const EXAMPLE: &str = "CREATE FUNCTION name(x BIGINT, ...) RETURNS BIGINT LANGUAGE SQL AS 'x + 1' (or RETURN x + 1)";

/// What may stand beside the body and changes nothing: the engine knows by itself how volatile an expression is.
const IGNORED: [&str; 9] = [
    "immutable",
    "stable",
    "volatile",
    "deterministic",
    "called on null input",
    "parallel safe",
    "parallel unsafe",
    "parallel restricted",
    "leakproof",
];

/// Reads what follows `CREATE [OR REPLACE] FUNCTION`; the second value is the canonical text.
pub(super) fn create_function(cursor: &mut Cursor, or_replace: bool) -> Result<(CreateFunction, String)> {
    let if_not_exists = cursor.accept("if not exists");
    let name = cursor.name("the function's name")?;
    let mut texts = Vec::new();
    let parameters = parameters(cursor, &mut texts)?;
    cursor.expect("returns", EXAMPLE)?;
    if cursor.word() == Some("table") || cursor.word() == Some("setof") {
        let error = Error::sql("functions that return tables are not supported").at(cursor.position());
        return Err(error.hint("create a view"));
    }
    let (returns, returns_text) = data_type(cursor)?;
    let mut body = None;
    loop {
        let position = cursor.position();
        if cursor.accept("language") {
            if !cursor.accept("sql") {
                let error = Error::sql("functions are written in SQL only").at(cursor.position());
                return Err(error.hint(format!("write {EXAMPLE}")));
            }
        } else if cursor.accept("as") || cursor.word() == Some("return") {
            if body.is_some() {
                return Err(Error::sql("the function has two bodies").at(position));
            }
            body = Some(self::body(cursor)?);
        } else if cursor.word() == Some("strict") || cursor.accept("returns null on null input") {
            let error = Error::sql("STRICT is not supported: a function is its expression").at(position);
            return Err(error.hint("write CASE WHEN x IS NOT NULL THEN ... END"));
        } else if !IGNORED.iter().any(|words| cursor.accept(words)) {
            break;
        }
    }
    let Some(mut body) = body else { return Err(cursor.unexpected("AS or RETURN", EXAMPLE)) };
    let position = cursor.position();
    resolve(&mut body, &parameters).map_err(|error| error.at(position))?;
    let (body, body_text) = prepare::part(body).map_err(|error| error.at(position))?;
    let text =
        format!("CREATE FUNCTION {}({}) RETURNS {returns_text} RETURN {body_text}", quoted(&name), texts.join(", "));
    Ok((CreateFunction { name, if_not_exists, or_replace, parameters, returns, body }, text))
}

fn parameters(cursor: &mut Cursor, texts: &mut Vec<String>) -> Result<Vec<(String, DataType)>> {
    cursor.expect_token(&Token::LParen, EXAMPLE)?;
    let mut parameters: Vec<(String, DataType)> = Vec::new();
    while cursor.peek() != &Token::RParen {
        if !parameters.is_empty() {
            cursor.expect_token(&Token::Comma, EXAMPLE)?;
        }
        let position = cursor.position();
        let name = cursor.name("a parameter's name")?;
        if parameters.iter().any(|(other, _)| *other == name) {
            return Err(Error::sql(format!("the parameter {name} appears twice")).at(position));
        }
        if matches!(cursor.peek(), Token::Comma | Token::RParen) {
            let error = Error::sql("a parameter has a name and a type").at(position);
            return Err(error.hint(format!("write {EXAMPLE}")));
        }
        let (data_type, text) = data_type(cursor)?;
        texts.push(format!("{} {text}", quoted(&name)));
        parameters.push((name, data_type));
    }
    cursor.expect_token(&Token::RParen, EXAMPLE)?;
    Ok(parameters)
}

/// A type as the planner reads it, and as it is printed.
fn data_type(cursor: &mut Cursor) -> Result<(DataType, String)> {
    let position = cursor.position();
    let sql = cursor.sql(super::data_type::parse)?;
    let text = types::sql_name(&types::arrow_type(&sql).map_err(|error| error.at(position))?);
    Ok((sql, text))
}

/// `RETURN expression`, or a string that holds an expression or `SELECT expression`.
fn body(cursor: &mut Cursor) -> Result<Expr> {
    if cursor.accept("return") {
        return cursor.sql(Parser::parse_expr);
    }
    let span = cursor.span();
    let text = match cursor.peek().clone() {
        Token::SingleQuotedString(text) => text,
        Token::DollarQuotedString(text) => text.value,
        _ => return Err(cursor.unexpected("the body as a string", EXAMPLE)),
    };
    cursor.advance();
    let mut inner = Cursor::generated(&text, span)?;
    let _ = inner.accept("select") || inner.accept("return");
    let body = inner.sql(Parser::parse_expr)?;
    inner.accept_token(&Token::SemiColon);
    match inner.peek() {
        Token::EOF => Ok(body),
        _ => Err(inner.unexpected("the end of the body: it is one expression without FROM", EXAMPLE)),
    }
}

/// The same name, quoted only where it must be: so it is printed the same however it was written.
fn plain(mut ident: Ident) -> Ident {
    ident.quote_style = (quoted(&ident.value) != ident.value).then_some('"');
    ident
}

/// Turns `$1` into the parameter's name; refuses names that are no parameters, and subqueries.
fn resolve(body: &mut Expr, parameters: &[(String, DataType)]) -> Result<()> {
    let known = || parameters.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let flow = visit_expressions_mut(body, |expr| {
        let error = match expr {
            Expr::Value(ValueWithSpan { value: Value::Placeholder(text), .. }) => {
                let place = text.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
                match place.and_then(|place| parameters.get(place.checked_sub(1)?)) {
                    Some((name, _)) => {
                        *expr = Expr::Identifier(plain(Ident::new(name)));
                        return ControlFlow::Continue(());
                    }
                    None => Error::sql(format!("the function has no parameter {text}")),
                }
            }
            Expr::Identifier(ident) if parameters.iter().any(|(name, _)| *name == ident.value) => {
                *ident = plain(ident.clone());
                return ControlFlow::Continue(());
            }
            Expr::Identifier(ident) => {
                let error = Error::sql(format!("{} is not a parameter of the function", ident.value));
                error.hint(format!("its parameters are: {}", known()))
            }
            Expr::CompoundIdentifier(_) => {
                Error::sql("a function knows no tables").hint(format!("its parameters are: {}", known()))
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                Error::sql("subqueries in a function are not supported").hint("write the query as a view and join it")
            }
            _ => return ControlFlow::Continue(()),
        };
        ControlFlow::Break(error)
    });
    match flow {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}
