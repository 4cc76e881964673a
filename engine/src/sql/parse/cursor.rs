//! A place in a token stream: words are read one by one for the statements of our own, expressions and queries by `sqlparser`.
//!
//! Tokens are normalised when they are read: white space and comments go, unquoted words fold to lower case, backticks become double
//! quotes. So everything printed from them is the same however it was written.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::dialect::FrazilDialect;
use super::{parameter_number, refuse, temporal};
use crate::error::{Error, Position, Result};

/// Words that end or begin a clause: as a name they must be quoted.
pub(super) const RESERVED: [&str; 44] = [
    "all",
    "and",
    "as",
    "by",
    "case",
    "cast",
    "check",
    "constraint",
    "create",
    "cross",
    "distinct",
    "drop",
    "else",
    "end",
    "except",
    "exists",
    "foreign",
    "from",
    "full",
    "group",
    "having",
    "if",
    "in",
    "inner",
    "insert",
    "intersect",
    "into",
    "is",
    "join",
    "left",
    "like",
    "not",
    "null",
    "on",
    "or",
    "order",
    "primary",
    "select",
    "table",
    "union",
    "unique",
    "values",
    "where",
    "with",
];

/// Functions in FROM whose arguments may be `TABLE name`.
const TABLE_VALUED: [&str; 4] = ["tumble", "hop", "cumulate", "session"];

/// What `PARTITION BY` in the arguments of such a function becomes: a call of this, as an argument of its own.
pub(in crate::sql) const PARTITION_BY: &str = "partition_by";
/// The clause that ends a query whose rows come out when they are final.
pub(super) const EMIT_ON_WINDOW_CLOSE: &str = "EMIT ON WINDOW CLOSE";

/// A position in the tokens of a text.
pub(super) struct Cursor {
    parser: Parser<'static>,
}

impl Cursor {
    /// Cuts a text into tokens.
    pub fn new(text: &str) -> Result<Self> {
        let tokens = tokens(text)?;
        refuse::token_sequences(&tokens)?;
        Ok(Self::over(tokens))
    }

    /// A cursor over a text of our own making; every token claims to be at `span`, so that errors point to what the user wrote.
    pub fn generated(text: &str, span: Span) -> Result<Self> {
        let mut tokens = tokens(text)?;
        tokens.iter_mut().for_each(|token| token.span = span);
        Ok(Self::over(tokens))
    }

    /// A cursor over a text in which every parameter `$n` stands for the n-th of `values`, given as SQL.
    pub fn bound(text: &str, values: &[String]) -> Result<Self> {
        let mut bound = Vec::new();
        for token in tokens(text)? {
            let Token::Placeholder(name) = &token.token else {
                bound.push(token);
                continue;
            };
            let value =
                parameter_number(name).and_then(|number| values.get(number.checked_sub(1)?)).ok_or_else(|| {
                    Error::sql(format!("there is no value for the parameter {name}")).at(position(token.span.start))
                })?;
            let value = tokens(value)?.into_iter().filter(|token| token.token != Token::EOF);
            bound.extend(value.map(|value| TokenWithSpan { span: token.span, ..value }));
        }
        refuse::token_sequences(&bound)?;
        Ok(Self::over(bound))
    }

    fn over(tokens: Vec<TokenWithSpan>) -> Self {
        Self { parser: Parser::new(&FrazilDialect).with_tokens_with_locations(tokens) }
    }

    /// The next token.
    pub fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    /// Where the next token starts.
    pub fn position(&self) -> Option<Position> {
        position(self.parser.peek_token_ref().span.start)
    }

    /// What the next token covers.
    pub fn span(&self) -> Span {
        self.parser.peek_token_ref().span
    }

    /// The token `n` tokens ahead.
    pub fn token_at(&self, n: usize) -> &Token {
        &self.parser.peek_nth_token_ref(n).token
    }

    /// The unquoted word `n` tokens ahead, in lower case.
    pub fn word_at(&self, n: usize) -> Option<&str> {
        unquoted(self.token_at(n))
    }

    /// The next token if it is an unquoted word, in lower case.
    pub fn word(&self) -> Option<&str> {
        self.word_at(0)
    }

    /// Takes the words of `phrase` (separated by one space) if they are next.
    pub fn accept(&mut self, phrase: &str) -> bool {
        let found = phrase.split(' ').enumerate().all(|(n, word)| self.word_at(n) == Some(word));
        if found {
            phrase.split(' ').for_each(|_| self.parser.advance_token());
        }
        found
    }

    /// Takes the words of `phrase` or fails; `example` is the form to write.
    pub fn expect(&mut self, phrase: &str, example: &str) -> Result<()> {
        if self.accept(phrase) { Ok(()) } else { Err(self.unexpected(&phrase.to_uppercase(), example)) }
    }

    /// Takes a token if it is next.
    pub fn accept_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// Takes a token or fails.
    pub fn expect_token(&mut self, token: &Token, example: &str) -> Result<()> {
        if self.accept_token(token) { Ok(()) } else { Err(self.unexpected(&format!("`{token}`"), example)) }
    }

    /// Steps over the next token.
    pub fn advance(&mut self) {
        self.parser.advance_token();
    }

    /// An error at the next token: what was expected instead of it, and the form to write.
    pub fn unexpected(&self, expected: &str, example: &str) -> Error {
        let error = match refuse::clause(self.word().unwrap_or_default()) {
            Some(message) => Error::sql(message),
            None => Error::sql(format!("expected {expected}, found {}", describe(self.peek()))),
        };
        let error = if example.is_empty() { error } else { error.hint(format!("write {example}")) };
        error.at(self.position())
    }

    /// One identifier: any word that is not reserved, or a quoted one.
    pub fn identifier(&mut self, what: &str) -> Result<Ident> {
        match self.peek() {
            Token::Word(word) if word.quote_style.is_none() && RESERVED.contains(&word.value.as_str()) => {
                let hint = format!("write it in double quotes: \"{}\"", word.value);
                let message = format!("expected {what}, found the reserved word {}", word.value.to_uppercase());
                Err(Error::sql(message).hint(hint).at(self.position()))
            }
            Token::Word(word) if word.value.is_empty() => {
                Err(self.unexpected(&format!("{what}, not an empty name"), ""))
            }
            Token::Word(_) => self.sql(|parser| parser.parse_identifier()),
            _ => Err(self.unexpected(what, "")),
        }
    }

    /// The name of an object: one identifier without qualifier.
    pub fn name(&mut self, what: &str) -> Result<String> {
        let name = self.identifier(what)?.value;
        if self.peek() == &Token::Period {
            let error = Error::sql(format!("{what} has one part: there are no schemas to qualify {name} with"));
            return Err(error.hint("leave out the qualifier").at(self.position()));
        }
        Ok(name)
    }

    /// Names between parentheses, at least one, each once.
    pub fn names_in_parentheses(&mut self, what: &str) -> Result<Vec<String>> {
        self.expect_token(&Token::LParen, "(a, b)")?;
        let mut names = Vec::new();
        loop {
            let position = self.position();
            let name = self.name(what)?;
            if names.contains(&name) {
                return Err(Error::sql(format!("{what} {name} appears twice")).at(position));
            }
            names.push(name);
            if !self.accept_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen, "(a, b)")?;
        Ok(names)
    }

    /// Runs a piece of `sqlparser`'s grammar from here.
    pub fn sql<T>(&mut self, grammar: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>) -> Result<T> {
        grammar(&mut self.parser).map_err(|error| self.explain(error))
    }

    /// Turns `sqlparser`'s error into ours; it keeps the place only as the end of its message.
    fn explain(&self, error: ParserError) -> Error {
        let message = match error {
            ParserError::RecursionLimitExceeded => {
                let error = Error::sql("the statement is nested too deeply");
                return error.hint("split it with WITH or with views").at(self.position());
            }
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        };
        let (text, place) = split_location(&message);
        let place = place.or_else(|| self.position());
        let (expected, found) = match text.strip_prefix("Expected: ").map(|rest| rest.rsplit_once(", found: ")) {
            Some(Some(parts)) => parts,
            _ => return Error::sql(text).at(place),
        };
        if let Some(message) = refuse::clause(&found.to_lowercase()) {
            return Error::sql(message).at(place);
        }
        let found = if found == "EOF" { "the end of the text".to_owned() } else { format!("`{found}`") };
        Error::sql(format!("expected {expected}, found {found}")).at(place)
    }
}

/// Our position for the tokenizer's.
pub(super) fn position(location: Location) -> Option<Position> {
    (location.line > 0).then_some(Position { line: location.line, column: location.column })
}

/// An identifier as it must be written to mean this name.
pub fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name)
        && name != "watermark";
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A string as a literal.
pub(super) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// The word of a token that is not quoted, in lower case.
pub(super) fn unquoted(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}

fn describe(token: &Token) -> String {
    match token {
        Token::EOF => "the end of the text".to_owned(),
        token => format!("`{token}`"),
    }
}

fn tokens(text: &str) -> Result<Vec<TokenWithSpan>> {
    let raw = Tokenizer::new(&FrazilDialect, text).with_unescape(true).tokenize_with_location().map_err(|error| {
        let hint = if error.message.contains("nterminated") { "close the quote or comment" } else { "" };
        let error = Error::sql(error.message).at(position(error.location));
        if hint.is_empty() { error } else { error.hint(hint) }
    })?;
    let mut tokens: Vec<TokenWithSpan> = Vec::with_capacity(raw.len() + 1);
    let mut end = Location { line: 1, column: 1 };
    for mut token in raw {
        end = token.span.end;
        match &mut token.token {
            Token::Whitespace(_) => continue,
            Token::Word(word) if word.quote_style.is_none() => word.value = word.value.to_lowercase(),
            Token::Word(word) => word.quote_style = Some('"'),
            Token::Number(number, _) => *number = number.to_lowercase(),
            // Behind an operand it is the operator of JSON.
            Token::Placeholder(name) if name == "?" && tokens.last().is_some_and(|last| ends_operand(&last.token)) => {
                token.token = Token::Question;
            }
            _ => {}
        }
        tokens.push(token);
    }
    tokens.push(TokenWithSpan::new(Token::EOF, Span::new(end, end)));
    join_emit(&mut tokens);
    Ok(temporal::rewrite(drop_noise(tokens)))
}

fn ends_operand(token: &Token) -> bool {
    matches!(token, Token::Word(_) | Token::SingleQuotedString(_) | Token::Number(..) | Token::RParen | Token::RBracket)
}

/// Makes one token of `EMIT ON WINDOW CLOSE`, one that ends whatever stands before it: as words they would be read as an
/// alias and a join.
fn join_emit(tokens: &mut Vec<TokenWithSpan>) {
    let words: Vec<&str> = EMIT_ON_WINDOW_CLOSE.split(' ').collect();
    for start in (0..tokens.len()).rev() {
        let is_word = |(n, word): (usize, &&str)| {
            tokens
                .get(start + n)
                .and_then(|token| unquoted(&token.token))
                .is_some_and(|found| found == word.to_lowercase())
        };
        if words.iter().enumerate().all(is_word) {
            tokens[start].token = emit_on_window_close();
            tokens.drain(start + 1..start + words.len());
        }
    }
}

/// The token of `EMIT ON WINDOW CLOSE`.
pub(super) fn emit_on_window_close() -> Token {
    Token::Placeholder(EMIT_ON_WINDOW_CLOSE.into())
}

/// Drops words that mean nothing here and that the parser does not know: `TABLE` before the first argument of a window function, and
/// `LOCAL` of `WITH LOCAL TIME ZONE`. `PARTITION BY a, b` behind such an argument becomes one of its own, `partition_by(a, b)`.
fn drop_noise(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    // For every open parenthesis: whether it belongs to a window function.
    let mut open: Vec<bool> = Vec::new();
    let mut kept = Vec::with_capacity(tokens.len());
    let mut done = 0;
    for (i, token) in tokens.iter().enumerate() {
        if i < done {
            continue;
        }
        let word_at = |n: usize| tokens.get(n).and_then(|t| unquoted(&t.token)).unwrap_or_default();
        let before = i.checked_sub(1).map(|n| &tokens[n].token);
        match &token.token {
            Token::LParen => open.push(i > 0 && TABLE_VALUED.contains(&word_at(i - 1))),
            Token::RParen => drop(open.pop()),
            _ => {}
        }
        if open.last() == Some(&true) && word_at(i) == "partition" && word_at(i + 1) == "by" {
            let (keys, end) = partition_keys(&tokens, i + 2);
            let generated = |token| TokenWithSpan::new(token, tokens[i].span);
            kept.extend([Token::Comma, Token::make_word(PARTITION_BY, None), Token::LParen].map(generated));
            kept.extend_from_slice(&tokens[keys]);
            kept.push(generated(Token::RParen));
            done = end;
            continue;
        }
        let argument = matches!(before, Some(Token::LParen | Token::Comma | Token::RArrow))
            && matches!(tokens.get(i + 1), Some(TokenWithSpan { token: Token::Word(_) | Token::LParen, .. }));
        let noise = match word_at(i) {
            "table" => argument && open.last() == Some(&true),
            "local" => i > 0 && word_at(i - 1) == "with" && word_at(i + 1) == "time" && word_at(i + 2) == "zone",
            _ => false,
        };
        if !noise {
            kept.push(token.clone());
        }
    }
    kept
}

/// The tokens of a list of columns that starts at `start`, without parentheses around it, and the place behind it. Without
/// parentheses the list ends before `DESCRIPTOR`, before a named argument, and before the last column in front of an interval.
fn partition_keys(tokens: &[TokenWithSpan], start: usize) -> (std::ops::Range<usize>, usize) {
    let token = |n: usize| tokens.get(n).map(|token| &token.token);
    if token(start) == Some(&Token::LParen) {
        let inside = tokens.iter().skip(start + 1).take_while(|token| token.token != Token::RParen).count();
        let end = start + 1 + inside;
        return (start + 1..end, (end + 1).min(tokens.len()));
    }
    let is_word = |n: usize| matches!(token(n), Some(Token::Word(_)));
    let word = |n: usize| token(n).and_then(unquoted).unwrap_or_default();
    let mut end = (start + 1).min(tokens.len());
    // Another column follows if something follows it that is neither its being called or named nor an interval.
    while token(end) == Some(&Token::Comma)
        && is_word(end + 1)
        && token(end + 2) == Some(&Token::Comma)
        && !(word(end + 3) == "interval" && token(end + 4) != Some(&Token::Comma))
    {
        end += 2;
    }
    (start..end, end)
}

/// Splits ` at Line: 3, Column: 7` from the end of a message.
fn split_location(message: &str) -> (&str, Option<Position>) {
    let parse = || {
        let (text, place) = message.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        Some((text, Position { line: line.parse().ok()?, column: column.parse().ok()? }))
    };
    match parse() {
        Some((text, position)) => (text, Some(position)),
        None => (message, None),
    }
}
