//! Query text for the shrinker: forms that the general grammar does not know become calls while a query is edited.
//!
//! | written | read |
//! | --- | --- |
//! | `TABLE(HOP(TABLE t, DESCRIPTOR(ts), ...))` | `HOP(t, ts, ...)` |
//! | `SESSION(t PARTITION BY k, ts, ...)` | `SESSION(t, session_key(k), ts, ...)` |
//! | `LEFT ASOF JOIN r AS x MATCH_CONDITION (c)` | `ASOF JOIN r AS x MATCH_CONDITION (left_asof(c))` |

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{Expr, Query};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

const LEFT: &str = "LEFT ASOF JOIN ";
const INNER: &str = "ASOF JOIN ";
const MATCH: &str = "MATCH_CONDITION (";
const MARK: &str = "left_asof(";

/// PostgreSQL's dialect with `FOR SYSTEM_TIME AS OF`.
#[derive(Debug)]
struct WithVersions;

impl Dialect for WithVersions {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        PostgreSqlDialect {}.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        PostgreSqlDialect {}.is_identifier_part(ch)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        PostgreSqlDialect {}.get_next_precedence(parser)
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        PostgreSqlDialect {}.prec_value(prec)
    }

    fn parse_prefix(&self, _: &mut Parser) -> Option<Result<Expr, ParserError>> {
        None
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

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }
}

/// Reads a query.
pub(super) fn parse(query: &str) -> Option<Query> {
    let text = plain_windows(&marked_asof(query)).replace(" PARTITION BY ", KEYWORD);
    let text = session_keys(&text).replace(KEYWORD, " PARTITION BY ");
    Parser::new(&WithVersions).try_with_sql(&text).ok()?.parse_query().ok().map(|query| *query)
}

/// Stands for PARTITION BY while those of SESSION are looked for.
const KEYWORD: &str = " PARTITION\u{1}BY ";

/// Writes a query as users would.
pub(super) fn print(query: &Query) -> String {
    let mut text = query.to_string();
    while let Some(at) = text.find(", session_key(") {
        let key = at + ", session_key(".len();
        let Some(end) = text[key..].find(')').map(|end| key + end) else { return text };
        text = format!("{} PARTITION BY {}{}", &text[..at], &text[key..end], &text[end + 1..]);
    }
    while let Some(at) = text.find(MARK) {
        let (Some(end), Some(join)) = (closing(&text, at + MARK.len()), before(&text[..at])) else { return text };
        let condition = &text[at + MARK.len()..end];
        text = format!("{}LEFT {}{condition}{}", &text[..join], &text[join..at], &text[end + 1..]);
    }
    text
}

/// `LEFT ASOF JOIN` with the mark in its condition.
fn marked_asof(query: &str) -> String {
    let mut text = query.to_owned();
    while let Some(at) = text.find(LEFT) {
        let Some(condition) = beside(&text, at).map(|place| place + MATCH.len()) else { return text };
        let Some(end) = closing(&text, condition) else { return text };
        let (before, after) = (&text[at + "LEFT ".len()..condition], &text[end..]);
        text = format!("{}{before}{MARK}{}){after}", &text[..at], &text[condition..end]);
    }
    text
}

/// Window functions in their short form.
fn plain_windows(query: &str) -> String {
    let mut text = query.to_owned();
    for name in ["TUMBLE", "HOP", "CUMULATE"] {
        let start = format!("TABLE({name}(TABLE ");
        while let Some(at) = text.find(&start) {
            let inner = at + "TABLE(".len();
            let Some(end) = closing(&text, inner) else { return text };
            let call = text[inner..end].replacen("TABLE ", "", 1).replacen("DESCRIPTOR(", "", 1).replacen(')', "", 1);
            text = format!("{}{call}{}", &text[..at], &text[end + 1..]);
        }
    }
    text
}

/// Where the MATCH_CONDITION of the join at `start` is: not one within parentheses.
fn beside(text: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, c) in text[start..].char_indices() {
        match c {
            'M' if depth == 0 && text[start + place..].starts_with(MATCH) => return Some(start + place),
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// Where the ASOF JOIN begins whose condition opens at the end of a text.
fn before(text: &str) -> Option<usize> {
    let text = text.strip_suffix('(')?;
    let mut depth = 0_usize;
    for (place, c) in text.char_indices().rev() {
        match c {
            'A' if depth == 0 && text[place..].starts_with(INNER) => return Some(place),
            ')' => depth += 1,
            '(' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

fn session_keys(query: &str) -> String {
    let mut text = query.to_owned();
    let mut from = 0;
    while let Some(at) = text[from..].find("SESSION(").map(|at| from + at + "SESSION(".len()) {
        from = at;
        let Some(end) = closing(&text, at) else { return text };
        if let Some(key) = text[at..end].find(KEYWORD).map(|place| at + place)
            && let Some(comma) = text[key..end].find(',').map(|place| key + place)
        {
            let name = text[key + KEYWORD.len()..comma].to_owned();
            text.replace_range(key..comma, &format!(", session_key({name})"));
        }
    }
    text
}

/// Where the parenthesis closes within which `start` is.
fn closing(text: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, c) in text[start..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(start + place),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::program::{Program, Step, view};

    #[test]
    fn what_is_made_up_can_be_read() {
        for seed in 0..400 {
            for step in &Program::random(seed).steps {
                let Step::Statement(sql) = step else { continue };
                let Some((_, query)) = view(sql) else { continue };
                assert!(parse(query).is_some(), "{query}");
            }
        }
    }

    #[test]
    fn forms_of_our_own_come_back() {
        for (query, printed) in [
            (
                "SELECT a FROM TABLE(HOP(TABLE r, DESCRIPTOR(b), INTERVAL '5' SECOND, INTERVAL '10' SECOND)) AS t",
                "SELECT a FROM HOP(r, b, INTERVAL '5' SECOND, INTERVAL '10' SECOND) AS t",
            ),
            ("SELECT a FROM SESSION(r PARTITION BY k, b, INTERVAL '5' SECOND) AS t", ""),
            ("SELECT a FROM l AS t LEFT ASOF JOIN r AS u MATCH_CONDITION (t.a >= u.a) ON t.k = u.k", ""),
            (
                "SELECT a FROM l AS t LEFT ASOF JOIN (SELECT 1 FROM v AS v ASOF JOIN w AS w MATCH_CONDITION (v.a > w.a) ON v.k = w.k) \
                 AS u MATCH_CONDITION (t.a >= u.a) ON t.k = u.k",
                "",
            ),
            (
                "SELECT a FROM l AS t JOIN r FOR SYSTEM_TIME AS OF t.b AS u ON t.k = u.k",
                "SELECT a FROM l AS t JOIN r AS u FOR SYSTEM_TIME AS OF t.b ON t.k = u.k",
            ),
        ] {
            let wanted = if printed.is_empty() { query } else { printed };
            assert_eq!(print(&parse(query).unwrap()), wanted);
        }
    }
}
