//! Cuts text that is being typed into tokens. Unlike a parser it takes anything: what is not closed yet reaches to the end.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A keyword, a name without quotes, or a number.
    Word,
    /// A name in double quotes.
    Quoted,
    /// Text in single quotes.
    Literal,
    /// A comment of either form.
    Comment,
    /// Blanks and line ends.
    Blank,
    /// A single other character.
    Symbol,
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// As it is written.
    pub text: &'a str,
    /// Bytes before it.
    pub start: usize,
    /// False for quotes and comments that are still open at the end of the text.
    pub closed: bool,
}

impl Token<'_> {
    /// Whether it is this word, however it is written.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is this character.
    pub fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    /// Whether a parser would see it.
    pub fn counts(&self) -> bool {
        !matches!(self.kind, Kind::Blank | Kind::Comment)
    }

    /// Bytes up to its end.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// The name that it writes, if it is one: in lower case unless it is quoted, as the parser reads it.
    pub fn name(&self) -> Option<String> {
        match self.kind {
            Kind::Word => Some(self.text.to_lowercase()),
            Kind::Quoted => {
                let inner = self.text.strip_prefix('"').unwrap_or(self.text);
                let inner = if self.closed { inner.strip_suffix('"').unwrap_or(inner) } else { inner };
                Some(inner.replace("\"\"", "\""))
            }
            _ => None,
        }
    }
}

/// All tokens of a text: joined they are the text.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        let rest = &text[start..];
        let (kind, length, closed) = match first {
            '\'' => quoted(rest, '\'', Kind::Literal),
            '"' => quoted(rest, '"', Kind::Quoted),
            _ if rest.starts_with("--") => {
                let end = rest.find('\n');
                (Kind::Comment, end.unwrap_or(rest.len()), end.is_some())
            }
            _ if rest.starts_with("/*") => block_comment(rest),
            _ if first.is_whitespace() => (Kind::Blank, run(rest, char::is_whitespace), true),
            _ if in_word(first) => (Kind::Word, run(rest, in_word), true),
            _ => (Kind::Symbol, first.len_utf8(), true),
        };
        tokens.push(Token { kind, text: &rest[..length], start, closed });
        start += length;
    }
    tokens
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// A quote that is doubled stands for itself.
fn quoted(text: &str, quote: char, kind: Kind) -> (Kind, usize, bool) {
    let mut end = 1;
    loop {
        match text[end..].find(quote) {
            None => return (kind, text.len(), false),
            Some(found) => {
                end += found + 1;
                if !text[end..].starts_with(quote) {
                    return (kind, end, true);
                }
                end += 1;
            }
        }
    }
}

/// Block comments may contain others.
fn block_comment(text: &str) -> (Kind, usize, bool) {
    let mut depth = 0_usize;
    let mut end = 0;
    while end < text.len() {
        let rest = &text[end..];
        if rest.starts_with("/*") {
            depth += 1;
            end += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            end += 2;
            if depth == 0 {
                return (Kind::Comment, end, true);
            }
        } else {
            end += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    (Kind::Comment, text.len(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(Kind, &str, bool)> {
        let tokens = tokens(text);
        assert_eq!(tokens.iter().map(|token| token.text).collect::<String>(), text);
        tokens.iter().filter(|t| t.kind != Kind::Blank).map(|t| (t.kind, t.text, t.closed)).collect()
    }

    #[test]
    fn every_kind_is_told_apart() {
        assert_eq!(
            kinds("SELECT \"a b\".x, 'it''s; é' -- end\n/* /* */ */ + 1"),
            [
                (Kind::Word, "SELECT", true),
                (Kind::Quoted, "\"a b\"", true),
                (Kind::Symbol, ".", true),
                (Kind::Word, "x", true),
                (Kind::Symbol, ",", true),
                (Kind::Literal, "'it''s; é'", true),
                (Kind::Comment, "-- end", true),
                (Kind::Comment, "/* /* */ */", true),
                (Kind::Symbol, "+", true),
                (Kind::Word, "1", true),
            ]
        );
    }

    #[test]
    fn what_is_open_reaches_to_the_end() {
        for (text, kind) in [
            ("'a", Kind::Literal),
            ("'a''", Kind::Literal),
            ("\"a", Kind::Quoted),
            ("\"", Kind::Quoted),
            ("--a", Kind::Comment),
            ("/* é", Kind::Comment),
        ] {
            assert_eq!(kinds(text), [(kind, text, false)], "{text}");
        }
    }

    #[test]
    fn names_are_as_the_parser_reads_them() {
        let name = |text| tokens(text)[0].name();
        assert_eq!(name("Flights").as_deref(), Some("flights"));
        assert_eq!(name("\"A \"\"b\"\"\"").as_deref(), Some("A \"b\""));
        assert_eq!(name("\"A b").as_deref(), Some("A b"));
        assert_eq!(name("'a'"), None);
    }
}
