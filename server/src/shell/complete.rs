//! What Tab offers: a pure function of the text, the place of the cursor and the names that there are.

use engine::sql::parse::quoted;

use super::command;
use super::lex::{self, Kind, Token};
use super::names::{Names, RelationKind};
use super::scope::{self, Clause};
use super::words;

/// What may stand at the cursor.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Completion {
    /// Where the part of the text starts that a candidate replaces; it ends at the cursor.
    pub start: usize,
    /// What may stand there.
    pub candidates: Vec<Candidate>,
    /// A path may stand there: whoever can read directories completes it.
    pub path: bool,
}

/// Something that may stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The text.
    pub text: String,
    /// Whether a blank should follow.
    pub blank: bool,
}

/// A kind of thing that may stand somewhere.
enum Wanted<'a> {
    /// Fixed words, in the case of what is typed.
    Words(&'a [&'a str]),
    /// Tables, and views of all kinds.
    Relations,
    Kind(RelationKind),
    /// Those of the language too, as they are called.
    Functions,
    /// Those that were created.
    OwnFunctions,
    Jobs,
    Settings,
    /// Columns of the relation of this name.
    ColumnsOf(String),
    /// Columns of all relations.
    AnyColumns,
    /// Names that only the statement knows.
    Names(Vec<String>),
}

/// Completes the word before the cursor, a byte offset in the text.
pub fn complete(text: &str, cursor: usize, names: &Names) -> Completion {
    let Some(before) = text.get(..cursor) else { return Completion::default() };
    if before.trim_start().starts_with('\\') {
        return of_command(before, names);
    }
    let tokens = lex::tokens(text);
    // A word or quoted name that ends at the cursor, or goes on behind it, is what is being typed.
    let typed = tokens.iter().position(|token| token.start < cursor && cursor <= token.end());
    let typed = typed.filter(|i| match tokens[*i].kind {
        Kind::Word => true,
        Kind::Quoted => !tokens[*i].closed || cursor < tokens[*i].end(),
        _ => false,
    });
    let inside = tokens.iter().find(|token| token.start < cursor && (cursor < token.end() || !token.closed));
    if inside.is_some_and(|token| matches!(token.kind, Kind::Literal | Kind::Comment)) {
        return Completion { start: cursor, ..Completion::default() };
    }
    let start = typed.map_or(cursor, |i| tokens[i].start);
    let ends = |token: &&Token<'_>| token.is_symbol(";");
    let first = tokens.iter().rfind(|token| token.start < start && ends(token)).map_or(0, Token::end);
    let last = tokens.iter().find(|token| token.start >= cursor && ends(token)).map_or(text.len(), |token| token.start);
    let statement: Vec<Token<'_>> =
        tokens.iter().filter(|t| t.counts() && t.start >= first && t.start < last).copied().collect();
    let earlier: Vec<Token<'_>> = statement.iter().filter(|token| token.start < start).copied().collect();
    let later: Vec<Token<'_>> = statement.iter().filter(|token| token.start >= cursor).copied().collect();
    let others: Vec<Token<'_>> = earlier.iter().chain(&later).copied().collect();
    let typed = text.get(start..cursor).unwrap_or_default();
    Completion { start, candidates: candidates(typed, &wanted(typed, &earlier, &others), names), path: false }
}

/// Commands of the shell take a word each.
fn of_command(before: &str, names: &Names) -> Completion {
    let start = before.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
    let typed = &before[start..];
    let wanted = match before.split_whitespace().next() {
        Some(name) if before.trim_start().len() > name.len() => match name.trim_end_matches('+') {
            "\\i" | "\\o" => return Completion { start, path: true, ..Completion::default() },
            "\\d" | "\\dp" => vec![Wanted::Relations],
            "\\dt" => vec![Wanted::Kind(RelationKind::Table)],
            "\\dv" => vec![Wanted::Kind(RelationKind::View)],
            "\\df" => vec![Wanted::OwnFunctions],
            "\\dj" => vec![Wanted::Jobs],
            "\\x" | "\\timing" => vec![Wanted::Words(&["on", "off"])],
            "\\pset" => match before.split_whitespace().nth(1) {
                Some("pager") if typed != "pager" => vec![Wanted::Words(&["on", "off"])],
                Some("format") if typed != "format" => vec![Wanted::Words(&["table", "csv", "json"])],
                _ => vec![Wanted::Words(&["format", "pager"])],
            },
            _ => vec![],
        },
        _ => {
            let known = command::COMMANDS.iter().map(|(name, ..)| *name);
            let mut matching: Vec<_> = known.filter(|name| name.starts_with(typed) && *name != typed).collect();
            matching.dedup();
            let candidates =
                matching.into_iter().map(|name| Candidate { text: name.to_owned(), blank: true }).collect();
            return Completion { start, candidates, path: false };
        }
    };
    Completion { start, candidates: candidates(typed, &wanted, names), path: false }
}

/// What may stand after these tokens of a statement; `others` are all but the one that is being typed.
fn wanted<'a>(typed: &str, earlier: &[Token<'_>], others: &[Token<'_>]) -> Vec<Wanted<'a>> {
    let Some(last) = earlier.last() else { return vec![Wanted::Words(words::STARTS)] };
    let scope = scope::scope(others);
    if last.is_symbol(".") {
        let Some(qualifier) = earlier.iter().rev().nth(1).and_then(Token::name) else { return vec![] };
        let source = scope.sources.into_iter().find(|source| source.alias == qualifier);
        return vec![Wanted::ColumnsOf(source.map_or(qualifier, |source| source.table))];
    }
    if let Some(wanted) = of_administration(earlier) {
        return wanted;
    }
    let in_list = last.is_symbol(",") && scope::clause(earlier) == Clause::From;
    if scope::names_table_after(last) || in_list {
        return vec![Wanted::Names(scope.queries), Wanted::Relations];
    }
    // After a value comes an operator or the next clause.
    let is_operand = match last.kind {
        Kind::Word => !words::is_keyword(last.text),
        Kind::Symbol => matches!(last.text, ")" | "]" | "*"),
        _ => true,
    };
    if is_operand {
        return vec![Wanted::Words(words::KEYWORDS)];
    }
    let mut wanted: Vec<_> = match scope.sources.is_empty() {
        true => vec![Wanted::AnyColumns],
        false => scope.sources.iter().map(|source| Wanted::ColumnsOf(source.table.clone())).collect(),
    };
    // Everything else would bury the columns until something is typed.
    if !typed.is_empty() {
        let aliases = scope.sources.into_iter().map(|source| source.alias).collect();
        wanted.extend([Wanted::Names(aliases), Wanted::Functions, Wanted::Words(words::KEYWORDS)]);
    }
    wanted
}

/// Statements that consist of fixed words and names.
fn of_administration<'a>(earlier: &[Token<'_>]) -> Option<Vec<Wanted<'a>>> {
    let (first, last) = (earlier.first()?, earlier.last()?);
    let begins = |words: &[&str]| words.iter().any(|word| first.is_word(word));
    if begins(&["SET"]) {
        return Some(if earlier.len() == 1 { vec![Wanted::Settings] } else { vec![] });
    }
    if begins(&["RESET"]) {
        return Some(if earlier.len() == 1 { vec![Wanted::Settings, Wanted::Words(&["ALL"])] } else { vec![] });
    }
    if begins(&["DESCRIBE", "DESC"]) {
        return Some(if earlier.len() == 1 { vec![Wanted::Relations] } else { vec![] });
    }
    let creating = begins(&["CREATE"]);
    if !creating && !begins(&["DROP", "SHOW", "PAUSE", "RESUME", "RESTART", "STOP", "VERIFY", "EXPLAIN"]) {
        return None;
    }
    let kinds = &["FUNCTION", "MATERIALIZED VIEW", "TABLE", "VIEW"][..];
    if earlier.len() == 1 {
        return Some(match first.text.to_ascii_uppercase().as_str() {
            "CREATE" => vec![Wanted::Words(kinds), Wanted::Words(&["OR REPLACE"])],
            "DROP" => vec![Wanted::Words(kinds), Wanted::Words(&["JOB"])],
            "SHOW" => vec![Wanted::Words(&["CREATE", "FUNCTIONS", "JOBS", "TABLES", "VIEWS"]), Wanted::Settings],
            "VERIFY" => vec![Wanted::Words(&["MATERIALIZED VIEW"])],
            "EXPLAIN" => vec![Wanted::Words(&["INCREMENTAL"]), Wanted::Words(words::STARTS)],
            _ => vec![Wanted::Words(&["JOB"])],
        });
    }
    // From the query or the columns on, these are as other statements.
    if begins(&["EXPLAIN"]) || creating && earlier.iter().any(|token| token.is_word("AS") || token.is_symbol("(")) {
        return None;
    }
    if begins(&["SHOW"]) && last.is_word("CREATE") || creating && last.is_word("REPLACE") {
        return Some(vec![Wanted::Words(kinds)]);
    }
    if last.is_word("MATERIALIZED") {
        return Some(vec![Wanted::Words(&["VIEW"])]);
    }
    let mut tokens = earlier.iter();
    let kind = tokens.rfind(|token| ["TABLE", "VIEW", "FUNCTION", "JOB"].iter().any(|kind| token.is_word(kind)))?;
    let named_before = ["TABLE", "VIEW", "FUNCTION", "JOB", "EXISTS", ","].iter().any(|word| last.is_word(word));
    if creating {
        // A name that does not exist yet, or AS and the like behind it.
        let naming = std::ptr::eq(kind, last) || last.is_word("EXISTS");
        return naming.then(Vec::new);
    }
    if !named_before && !last.is_symbol(",") {
        return Some(vec![Wanted::Words(&["CASCADE", "IF EXISTS"])]).filter(|_| begins(&["DROP"])).or(Some(vec![]));
    }
    let materialized = earlier.iter().any(|token| token.is_word("MATERIALIZED"));
    Some(match kind.text.to_ascii_uppercase().as_str() {
        "JOB" => vec![Wanted::Jobs],
        "FUNCTION" => vec![Wanted::OwnFunctions],
        "VIEW" if materialized => vec![Wanted::Kind(RelationKind::MaterializedView)],
        "VIEW" => vec![Wanted::Kind(RelationKind::View)],
        // SHOW CREATE TABLE takes views too.
        _ if begins(&["SHOW"]) => vec![Wanted::Relations],
        _ => vec![Wanted::Kind(RelationKind::Table)],
    })
}

/// What of the wanted begins with what is typed, each once.
fn candidates(typed: &str, wanted: &[Wanted<'_>], names: &Names) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |text: String, blank: bool| {
        if text != typed && found.iter().all(|candidate| candidate.text != text) {
            found.push(Candidate { text, blank });
        }
    };
    for wanted in wanted {
        let of_kind = |kind: Option<RelationKind>| {
            let relations =
                names.relations.iter().filter(move |relation| kind.is_none_or(|kind| kind.offers(relation.kind)));
            relations.filter_map(|relation| written(typed, &relation.name)).collect::<Vec<_>>()
        };
        match wanted {
            Wanted::Words(list) => {
                for word in list.iter().filter(|word| starts_with(word, typed)) {
                    let lower = typed.chars().any(char::is_lowercase);
                    add(if lower { word.to_lowercase() } else { (*word).to_owned() }, true);
                }
            }
            Wanted::Relations => of_kind(None).into_iter().for_each(|name| add(name, false)),
            Wanted::Kind(kind) => of_kind(Some(*kind)).into_iter().for_each(|name| add(name, false)),
            Wanted::Functions => {
                let own = names.functions.iter().filter_map(|name| written(typed, name));
                let known =
                    words::FUNCTIONS.iter().filter(|name| starts_with(name, typed)).map(|name| (*name).to_owned());
                own.chain(known).for_each(|name| add(format!("{name}("), false));
            }
            Wanted::OwnFunctions => {
                names.functions.iter().filter_map(|name| written(typed, name)).for_each(|name| add(name, false));
            }
            Wanted::Jobs => names.jobs.iter().filter_map(|name| written(typed, name)).for_each(|name| add(name, false)),
            Wanted::Settings => {
                let settings = engine::session::known_settings().filter(|(name, _)| starts_with(name, typed));
                settings.for_each(|(name, _)| add(name.to_owned(), true));
            }
            Wanted::ColumnsOf(table) => {
                let columns = names.relations.iter().filter(|r| r.name == *table).flat_map(|r| &r.columns);
                columns.filter_map(|name| written(typed, name)).for_each(|name| add(name, false));
            }
            Wanted::AnyColumns => {
                let columns = names.relations.iter().flat_map(|relation| &relation.columns);
                columns.filter_map(|name| written(typed, name)).for_each(|name| add(name, false));
            }
            Wanted::Names(list) => {
                list.iter().filter_map(|name| written(typed, name)).for_each(|name| add(name, false))
            }
        }
    }
    found
}

/// How a name is written that what is typed is the beginning of: with quotes if it needs them or some are typed.
fn written(typed: &str, name: &str) -> Option<String> {
    match typed.strip_prefix('"') {
        Some(inner) => name.starts_with(inner).then(|| format!("\"{}\"", name.replace('"', "\"\""))),
        None => starts_with(name, typed).then(|| quoted(name)),
    }
}

fn starts_with(name: &str, typed: &str) -> bool {
    name.get(..typed.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(typed))
}

#[cfg(test)]
mod tests;
