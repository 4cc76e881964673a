//! Forms of temporal joins that the grammar behind this does not have, as forms that it has.
//!
//! - `l LEFT ASOF JOIN r MATCH_CONDITION (c) ON p` becomes `l LEFT JOIN r ON frazil_asof (c) AND p`; `sql/rewrite/asof.rs` makes
//!   the same of `ASOF JOIN`.
//! - `r AS alias FOR SYSTEM_TIME AS OF ts` becomes `r FOR SYSTEM_TIME AS OF ts AS alias`: people write both, and canonical texts
//!   are printed in the first form.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::unquoted;

/// Words after which an expression of `AS OF` is over.
const ENDS: [&str; 24] = [
    "on",
    "using",
    "join",
    "inner",
    "left",
    "right",
    "full",
    "cross",
    "natural",
    "asof",
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "fetch",
    "union",
    "except",
    "intersect",
    "window",
    "qualify",
    "emit",
    "as",
];
/// Words that stand before a table's name, so that what follows is not an alias.
const BEFORE_NAMES: [&str; 4] = ["join", "from", "lateral", "only"];

/// Rewrites the tokens of a text.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    version_before_alias(left_asof(tokens))
}

fn word(tokens: &[TokenWithSpan], n: usize) -> String {
    tokens.get(n).and_then(|token| unquoted(&token.token)).unwrap_or_default().to_owned()
}

/// Moves an alias behind `FOR SYSTEM_TIME AS OF ...`.
fn version_before_alias(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_name = |token: Option<&TokenWithSpan>| token.is_some_and(|token| matches!(token.token, Token::Word(_)));
    for at in 2..tokens.len() {
        let version = ["for", "system_time", "as", "of"].iter().enumerate().all(|(n, w)| word(&tokens, at + n) == *w);
        let before = word(&tokens, at - 2);
        let explicit = before == "as";
        let implicit = is_name(tokens.get(at - 2)) && !BEFORE_NAMES.contains(&before.as_str());
        if !version || !is_name(tokens.get(at - 1)) || !(explicit || implicit) {
            continue;
        }
        let mut depth = 0_usize;
        let end = (at + 4..tokens.len()).find(|n| match &tokens[*n].token {
            Token::LParen => {
                depth += 1;
                false
            }
            Token::RParen if depth > 0 => {
                depth -= 1;
                false
            }
            Token::RParen | Token::Comma | Token::SemiColon | Token::EOF => depth == 0,
            _ => depth == 0 && ENDS.contains(&word(&tokens, *n).as_str()),
        });
        if let Some(end) = end {
            let start = if explicit { at - 2 } else { at - 1 };
            tokens[start..end].rotate_left(at - start);
        }
    }
    tokens
}

fn left_asof(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut tokens = tokens;
    let mut at = 0;
    while at < tokens.len() {
        let asof = if word(&tokens, at + 1) == "outer" { at + 2 } else { at + 1 };
        if word(&tokens, at) == "left" && word(&tokens, asof) == "asof" && word(&tokens, asof + 1) == "join" {
            let end = match_condition(&tokens, asof);
            if let Some(end) = end {
                let span = tokens[end].span;
                // The word that follows the condition joins it to what is there.
                if let Some(after) = closing(&tokens, end + 1)
                    && word(&tokens, after + 1) == "on"
                {
                    tokens[after + 1].token = Token::make_keyword("AND");
                }
                tokens[end].token = Token::make_keyword("ON");
                tokens.insert(end + 1, TokenWithSpan::new(Token::make_word("frazil_asof", None), span));
                tokens.remove(asof);
            }
        }
        at += 1;
    }
    tokens
}

/// The `MATCH_CONDITION` of the join at `asof`: not one within its right side.
fn match_condition(tokens: &[TokenWithSpan], asof: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(asof) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.checked_sub(1)?,
            _ if depth == 0 && word(tokens, at) == "match_condition" => return Some(at),
            _ => {}
        }
    }
    None
}

/// The parenthesis that closes the one at `open`.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (at > open).then_some(at);
        }
    }
    None
}
