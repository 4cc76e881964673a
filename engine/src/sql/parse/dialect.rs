//! The dialect: PostgreSQL's, with what the users of the field also write.
//!
//! Identifiers are quoted with double quotes or backticks, unquoted ones fold to lower case. Operator precedence is PostgreSQL's.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_COLUMN_ALIAS};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use super::data_type;

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// How text is cut into tokens and which optional grammar is on.
#[derive(Debug)]
pub(super) struct FrazilDialect;

impl Dialect for FrazilDialect {
    /// Where the parser asks for a dialect by name it takes PostgreSQL's way.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('"')
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"' || ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRES.is_identifier_part(ch)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        POSTGRES.get_next_precedence(parser)
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        POSTGRES.prec_value(prec)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        data_type::prefix(parser)
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, _precedence: u8) -> Option<Result<Expr, ParserError>> {
        data_type::infix(parser, expr).or_else(|| distinct_from(parser, expr))
    }

    fn support_map_literal_syntax(&self) -> bool {
        true
    }

    /// `SELECT 1 ON CONFLICT ...`: ON begins the clause.
    fn is_column_alias(&self, keyword: &Keyword, _parser: &mut Parser) -> bool {
        *keyword != Keyword::ON && !RESERVED_FOR_COLUMN_ALIAS.contains(keyword)
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_notnull_operator(&self) -> bool {
        true
    }

    /// `FOR SYSTEM_TIME AS OF`.
    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }
}

/// `a IS [NOT] DISTINCT FROM b`: the grammar behind this dialect takes all that follows for `b`, `AND` and `OR` too.
fn distinct_from(parser: &mut Parser, expr: &Expr) -> Option<Result<Expr, ParserError>> {
    let distinct = parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]);
    if !distinct && !parser.parse_keywords(&[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]) {
        return None;
    }
    let one = Box::new(expr.clone());
    let other = parser.parse_subexpr(POSTGRES.prec_value(Precedence::Is));
    Some(other.map(Box::new).map(|other| match distinct {
        true => Expr::IsDistinctFrom(one, other),
        false => Expr::IsNotDistinctFrom(one, other),
    }))
}
