//! What a statement that is being typed reads: the tables it names, under which names, and which clause the cursor is in.

use super::lex::{Kind, Token};
use super::words;

/// The clause that a place is in, as far as it decides what a comma separates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clause {
    /// Tables.
    From,
    /// Anything else.
    Other,
}

/// A table that the statement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The table.
    pub table: String,
    /// What its columns are qualified by.
    pub alias: String,
}

/// The tables of a statement and the names of its WITH queries.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// In the order of the text.
    pub sources: Vec<Source>,
    /// Queries of WITH.
    pub queries: Vec<String>,
}

/// Words after which a table is named.
const BEFORE_TABLES: [&str; 7] = ["FROM", "JOIN", "INTO", "UPDATE", "USING", "TABLE", "TO"];

/// Words that end a list of tables.
const AFTER_TABLES: [&str; 13] = [
    "SELECT",
    "WHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "SET",
    "VALUES",
    "LIMIT",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "WINDOW",
    "ON",
];

/// Whether a table is named after this word.
pub fn names_table_after(token: &Token<'_>) -> bool {
    BEFORE_TABLES.iter().any(|word| token.is_word(word))
}

/// Reads the tokens of one statement, without blanks and comments.
pub fn scope(tokens: &[Token<'_>]) -> Scope {
    let mut scope = Scope::default();
    let mut clauses = Clauses::default();
    for (i, token) in tokens.iter().enumerate() {
        clauses.pass(token);
        let opens = names_table_after(token) || (token.is_symbol(",") && clauses.now() == Clause::From);
        if opens && let Some(source) = source(&tokens[i + 1..]) {
            scope.sources.push(source);
        }
        let named = tokens.get(i + 1..i + 3).is_some_and(|next| next[0].is_word("AS") && next[1].is_symbol("("));
        if named && let Some(name) = identifier(token) {
            scope.queries.push(name);
        }
    }
    scope
}

/// The clause that follows these tokens.
pub fn clause(tokens: &[Token<'_>]) -> Clause {
    let mut clauses = Clauses::default();
    tokens.iter().for_each(|token| clauses.pass(token));
    clauses.now()
}

/// Clauses by depth of parentheses; the outermost is not on the stack.
#[derive(Default)]
struct Clauses {
    outer: Vec<Clause>,
    now: Option<Clause>,
}

impl Clauses {
    fn pass(&mut self, token: &Token<'_>) {
        if token.is_symbol("(") {
            self.outer.push(self.now());
            self.now = None;
        } else if token.is_symbol(")") {
            self.now = self.outer.pop();
        } else if token.is_word("FROM") || token.is_word("JOIN") {
            self.now = Some(Clause::From);
        } else if AFTER_TABLES.iter().any(|word| token.is_word(word)) {
            self.now = Some(Clause::Other);
        }
    }

    fn now(&self) -> Clause {
        self.now.unwrap_or(Clause::Other)
    }
}

/// `name [[AS] alias]` at the beginning of these tokens.
fn source(tokens: &[Token<'_>]) -> Option<Source> {
    let table = identifier(tokens.first()?)?;
    let rest = &tokens[1..];
    let rest = if rest.first().is_some_and(|token| token.is_word("AS")) { &rest[1..] } else { rest };
    let alias = rest.first().and_then(identifier).unwrap_or_else(|| table.clone());
    Some(Source { table, alias })
}

/// The name that a token writes, unless it is a keyword.
fn identifier(token: &Token<'_>) -> Option<String> {
    if token.kind == Kind::Word && words::is_keyword(token.text) { None } else { token.name() }
}

#[cfg(test)]
mod tests {
    use super::super::lex::tokens;
    use super::*;

    fn of(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let tokens: Vec<_> = tokens(text).into_iter().filter(Token::counts).collect();
        let scope = scope(&tokens);
        (scope.sources.into_iter().map(|source| (source.alias, source.table)).collect(), scope.queries)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn tables_and_aliases_are_found() {
        for (text, wanted) in [
            ("SELECT * FROM flights", &[("flights", "flights")][..]),
            ("SELECT f. FROM flights f, Planes AS p WHERE a, b", &[("f", "flights"), ("p", "planes")]),
            ("SELECT FROM a JOIN \"B\" x ON a.k = x.k, c", &[("a", "a"), ("x", "B")]),
            ("UPDATE t SET ", &[("t", "t")]),
            ("INSERT INTO t (", &[("t", "t")]),
            ("MERGE INTO t USING s AS q ON", &[("t", "t"), ("q", "s")]),
            ("SELECT FROM TABLE(TUMBLE(TABLE flights, DESCRIPTOR(t)))", &[("flights", "flights")]),
            ("SELECT (SELECT max(x) FROM a), y FROM b WHERE", &[("a", "a"), ("b", "b")]),
            ("SELECT 'FROM x'", &[]),
        ] {
            assert_eq!(of(text).0, pairs(wanted), "{text}");
        }
    }

    #[test]
    fn with_queries_are_tables_too() {
        assert_eq!(of("WITH a AS (SELECT 1), b AS (SELECT 2) SELECT * FROM a").1, ["a", "b"]);
    }

    #[test]
    fn commas_separate_tables_only_after_from() {
        let at = |text| clause(&tokens(text).into_iter().filter(Token::counts).collect::<Vec<_>>());
        assert_eq!(at("SELECT a,"), Clause::Other);
        assert_eq!(at("SELECT a FROM b,"), Clause::From);
        assert_eq!(at("SELECT a FROM b WHERE f(x,"), Clause::Other);
        assert_eq!(at("SELECT a FROM (SELECT x, y FROM c) b,"), Clause::From);
        assert_eq!(at("SELECT a FROM b GROUP BY c,"), Clause::Other);
    }
}
