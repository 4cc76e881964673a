//! Types and typed literals that the grammar behind the PostgreSQL dialect does not know: `STRUCT<a INT>`, `ROW(a INT)`,
//! `MAP<VARCHAR, BIGINT>`, nested at will and followed by `[]`, in columns, in CAST and after `::`; and `MAP['k', 1]`.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CastKind, DataType, Expr, Map, MapEntry, StructBracketKind, StructField,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::unquoted;

/// The type that comes next.
pub(super) fn parse(parser: &mut Parser) -> Result<DataType, ParserError> {
    match nested(parser)? {
        (data_type, 0) => Ok(data_type),
        _ => parser.expected("a type without a second `>`", parser.peek_token()),
    }
}

/// A type, and how many closing brackets after it were read with it: `>>` is one token.
fn nested(parser: &mut Parser) -> Result<(DataType, usize), ParserError> {
    let word = unquoted(&parser.peek_token_ref().token).unwrap_or_default().to_owned();
    let after = parser.peek_nth_token_ref(1).token.clone();
    let opened = matches!(after, Token::Lt | Token::LParen);
    let (mut data_type, closed) = match word.as_str() {
        "struct" | "row" if opened => {
            let angle = open(parser)?;
            let (fields, closed) = fields(parser)?;
            let brackets = if angle { StructBracketKind::AngleBrackets } else { StructBracketKind::Parentheses };
            (DataType::Struct(fields, brackets), close(parser, closed, angle)?)
        }
        "map" if opened => {
            let angle = open(parser)?;
            let (key, closed) = nested(parser)?;
            if closed > 0 {
                return parser.expected("`,` and the type of a map's values", parser.peek_token());
            }
            parser.expect_token(&Token::Comma)?;
            let (value, closed) = nested(parser)?;
            (DataType::Map(Box::new(key), Box::new(value)), close(parser, closed, angle)?)
        }
        "array" if after == Token::Lt => {
            let angle = open(parser)?;
            let (item, closed) = nested(parser)?;
            (DataType::Array(ArrayElemTypeDef::AngleBracket(Box::new(item))), close(parser, closed, angle)?)
        }
        _ => (parser.parse_data_type()?, 0),
    };
    while closed == 0 && parser.consume_token(&Token::LBracket) {
        parser.expect_token(&Token::RBracket)?;
        data_type = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(data_type), None));
    }
    if closed == 0 && parser.parse_keyword(Keyword::ARRAY) {
        // The standard's spelling, `INT ARRAY`.
        data_type = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(data_type), None));
    }
    Ok((data_type, closed))
}

/// Takes the type's word and the opening bracket; whether that is an angle bracket.
fn open(parser: &mut Parser) -> Result<bool, ParserError> {
    parser.advance_token();
    let angle = parser.consume_token(&Token::Lt);
    if !angle {
        parser.expect_token(&Token::LParen)?;
    }
    Ok(angle)
}

/// Takes the closing bracket, unless it was read already; how many more were.
fn close(parser: &mut Parser, closed: usize, angle: bool) -> Result<usize, ParserError> {
    if angle && closed > 0 {
        Ok(closed - 1)
    } else if angle && parser.consume_token(&Token::ShiftRight) {
        Ok(1)
    } else {
        parser.expect_token(if angle { &Token::Gt } else { &Token::RParen })?;
        Ok(0)
    }
}

fn fields(parser: &mut Parser) -> Result<(Vec<StructField>, usize), ParserError> {
    let mut fields = Vec::new();
    loop {
        let field_name = Some(parser.parse_identifier()?);
        let (field_type, closed) = nested(parser)?;
        fields.push(StructField { field_name, field_type, options: None });
        if closed > 0 || !parser.consume_token(&Token::Comma) {
            return Ok((fields, closed));
        }
    }
}

/// Whether a type of this module comes next.
fn is_next(parser: &Parser, n: usize) -> bool {
    let word = unquoted(&parser.peek_nth_token_ref(n).token).unwrap_or_default();
    matches!(word, "struct" | "row" | "map" | "array")
        && matches!(parser.peek_nth_token_ref(n + 1).token, Token::Lt | Token::LParen)
}

/// `CAST(x AS type)` and its kin, and map literals; `None` for everything else.
pub(super) fn prefix(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let word = unquoted(&parser.peek_token_ref().token).unwrap_or_default();
    let (kind, after) = (word.to_owned(), &parser.peek_nth_token_ref(1).token);
    match (kind.as_str(), after) {
        ("cast", Token::LParen) => Some(cast(parser, CastKind::Cast)),
        ("try_cast" | "safe_cast", Token::LParen) => Some(cast(parser, CastKind::TryCast)),
        ("map", Token::LBracket) => Some(map(parser)),
        _ => None,
    }
}

fn cast(parser: &mut Parser, kind: CastKind) -> Result<Expr, ParserError> {
    parser.advance_token();
    parser.expect_token(&Token::LParen)?;
    let expr = Box::new(parser.parse_expr()?);
    parser.expect_keyword(Keyword::AS)?;
    let data_type = parse(parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Cast { kind, expr, data_type, array: false, format: None })
}

/// `MAP['k', 1, 'l', 2]`, the same as `MAP {'k': 1, 'l': 2}`.
fn map(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.advance_token();
    parser.expect_token(&Token::LBracket)?;
    let mut entries = Vec::new();
    while !parser.consume_token(&Token::RBracket) {
        if !entries.is_empty() {
            parser.expect_token(&Token::Comma)?;
        }
        let key = Box::new(parser.parse_expr()?);
        parser.expect_token(&Token::Comma)?;
        let value = Box::new(parser.parse_expr()?);
        entries.push(MapEntry { key, value });
    }
    Ok(Expr::Map(Map { entries }))
}

/// `expr :: type` for the types of this module.
pub(super) fn infix(parser: &mut Parser, expr: &Expr) -> Option<Result<Expr, ParserError>> {
    if parser.peek_token_ref().token != Token::DoubleColon || !is_next(parser, 1) {
        return None;
    }
    parser.advance_token();
    let expr = Box::new(expr.clone());
    let cast = |data_type| Expr::Cast { kind: CastKind::DoubleColon, expr, data_type, array: false, format: None };
    Some(parse(parser).map(cast))
}
