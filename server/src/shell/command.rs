//! What a finished input asks for: SQL, or one of the shell's own commands. Pure text.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::lex::{self, Kind};
use crate::cli::Format;
use crate::input;

/// Something that ended with the enter key.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// Nothing to do.
    Nothing,
    /// Statements.
    Sql(String),
    /// A command.
    Command(Command),
    /// Statements, or those before if there are none, and what to do with them.
    Again(Option<String>, Again),
    /// A command that cannot be understood, and why.
    Wrong(String),
}

/// The shell's own commands.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// What there is to type.
    Help,
    /// The end.
    Leave,
    /// What there is, or one of it.
    Describe {
        /// Of which kind.
        what: What,
        /// A name or a pattern.
        pattern: Option<String>,
        /// Also how tables are defined.
        definition: bool,
    },
    /// Vertical output; `None` for the other way round.
    Vertical(Option<bool>),
    /// How long statements took.
    Timing(Option<bool>),
    /// The pager.
    Pager(Option<bool>),
    /// How rows are printed.
    Format(Format),
    /// Executes a file.
    Include(PathBuf),
    /// Where results go; `None` for the terminal.
    Output(Option<PathBuf>),
    /// Lets the user change the last statement.
    Edit,
}

/// What `\d` and its like list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Tables and views; a name is described.
    All,
    /// Tables.
    Tables,
    /// Views of both kinds.
    Views,
    /// Functions.
    Functions,
    /// Jobs.
    Jobs,
    /// Users.
    Users,
    /// Who may do what.
    Grants,
}

/// How statements are executed that stand before a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// As always.
    Once,
    /// With vertical output.
    Vertically,
    /// Again and again, after so long.
    Every(Duration),
}

/// Commands with their arguments and meanings, in the order of the help.
pub const COMMANDS: &[(&str, &str, &str)] = &[
    ("\\d", "[PATTERN]", "tables and views"),
    ("\\d", "NAME", "columns and, of a view, the definition; \\d+: of a table, too"),
    ("\\dt", "[PATTERN]", "tables"),
    ("\\dv", "[PATTERN]", "views"),
    ("\\df", "[PATTERN]", "functions"),
    ("\\dj", "[PATTERN]", "jobs; in patterns, * stands for any text and ? for a character"),
    ("\\du", "[PATTERN]", "users"),
    ("\\dp", "[PATTERN]", "who may do what with which table or view"),
    ("\\x", "[on|off]", "a line per value instead of a table"),
    ("\\timing", "[on|off]", "how long statements take"),
    ("\\pset", "pager [on|off]", "the pager for what does not fit the terminal"),
    ("\\pset", "format table|csv|json", "how rows are printed"),
    ("\\i", "FILE", "execute a file"),
    ("\\o", "[FILE]", "send results to a file, or back to the terminal"),
    ("\\e", "", "change the last statement in $EDITOR and execute it"),
    ("\\g", "", "execute the last statement again; \\gx: a line per value"),
    ("\\gx", "", ""),
    ("\\watch", "[SECONDS]", "execute it every 2 s or so many, until Ctrl-C"),
    ("\\?", "", "this text"),
    ("\\h", "", ""),
    ("\\q", "", "leave"),
];

const SQL_HELP: &str = "\
Statements end with a semicolon and may take several lines. Tab completes, Ctrl-C drops what is
typed or stops what runs, the arrow keys and Ctrl-R bring back what was typed before.
  SHOW TABLES | VIEWS | FUNCTIONS | JOBS;   what there is and what runs
  DESCRIBE name;                            the columns of a table or view
  EXPLAIN [INCREMENTAL] SELECT ...;         how a query would be computed
  PAUSE | RESUME | RESTART | STOP JOB j;    control what runs continuously
  FLUSH;                                    wait until all views are up to date
  VERIFY MATERIALIZED VIEW name;            compute a view anew and compare
Commands of the shell, without semicolon:
";

/// How long `\watch` waits unless it is told.
const WATCH: Duration = Duration::from_secs(2);

/// What there is to type.
pub fn help() -> String {
    let mut text = SQL_HELP.to_owned();
    for (name, arguments, meaning) in COMMANDS.iter().filter(|(.., meaning)| !meaning.is_empty()) {
        let _ = writeln!(text, "  {:<30}  {meaning}", format!("{name} {arguments}").trim_end());
    }
    text
}

/// Reads a finished input.
pub fn line(typed: &str) -> Line {
    let typed = typed.trim();
    match typed.trim_end_matches(';').trim_end() {
        "" => Line::Nothing,
        "exit" | "quit" => Line::Command(Command::Leave),
        "help" => Line::Command(Command::Help),
        _ if typed.starts_with('\\') => command(typed),
        _ => match split(typed) {
            None => Line::Sql(typed.to_owned()),
            Some((sql, rest)) => match command(rest) {
                Line::Again(None, again) => Line::Again(Some(sql.to_owned()), again),
                Line::Wrong(why) => Line::Wrong(why),
                _ => Line::Wrong(format!(
                    "{rest} stands on a line of its own; only \\g, \\gx and \\watch follow a statement"
                )),
            },
        },
    }
}

/// Whether enter ends the input, rather than beginning another line of it.
pub fn ends_input(typed: &str) -> bool {
    let alone = matches!(typed.trim().trim_end_matches(';').trim_end(), "exit" | "quit" | "help");
    alone || typed.trim_start().starts_with('\\') || split(typed).is_some() || input::is_complete(typed)
}

/// Statements and the command behind them. A backslash begins no token of SQL.
fn split(typed: &str) -> Option<(&str, &str)> {
    let tokens = lex::tokens(typed);
    let backslash = tokens.iter().find(|token| token.kind == Kind::Symbol && token.text == "\\")?;
    Some((typed[..backslash.start].trim(), typed[backslash.start..].trim()))
}

fn command(typed: &str) -> Line {
    let typed = typed.trim_end_matches(';').trim_end();
    let (name, argument) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
    let argument = argument.trim();
    let given = (!argument.is_empty()).then(|| argument.to_owned());
    let path = given.as_deref().map(|path| PathBuf::from(unquoted(path)));
    let describe = |what| {
        let definition = name.ends_with('+');
        Line::Command(Command::Describe { what, pattern: given.clone(), definition })
    };
    let found = match name.strip_suffix('+').filter(|name| name.starts_with("\\d")).unwrap_or(name) {
        "\\d" => return describe(What::All),
        "\\dt" => return describe(What::Tables),
        "\\dv" | "\\dm" => return describe(What::Views),
        "\\df" => return describe(What::Functions),
        "\\dj" => return describe(What::Jobs),
        "\\du" => return describe(What::Users),
        "\\dp" => return describe(What::Grants),
        "\\x" => return switch(argument, Command::Vertical),
        "\\timing" => return switch(argument, Command::Timing),
        "\\pset" => return pset(argument),
        "\\i" => match path {
            Some(path) => Line::Command(Command::Include(path)),
            None => Line::Wrong("\\i takes the path of a file".to_owned()),
        },
        "\\o" => Line::Command(Command::Output(path)),
        "\\watch" => return watch(argument),
        "\\g" => Line::Again(None, Again::Once),
        "\\gx" => Line::Again(None, Again::Vertically),
        "\\e" => Line::Command(Command::Edit),
        "\\?" | "\\h" => return Line::Command(Command::Help),
        "\\q" => Line::Command(Command::Leave),
        unknown => return Line::Wrong(no_such_command(unknown)),
    };
    match given {
        Some(argument) if matches!(name, "\\g" | "\\gx" | "\\e" | "\\q") => {
            Line::Wrong(format!("{name} takes nothing behind it, found {argument}"))
        }
        _ => found,
    }
}

fn no_such_command(name: &str) -> String {
    match engine::options::nearest(name, COMMANDS.iter().map(|(known, ..)| *known)) {
        Some(nearest) => format!("there is no command {name}; did you mean {nearest}? \\? lists all"),
        None => format!("there is no command {name}; \\? lists all"),
    }
}

fn switch(argument: &str, command: impl Fn(Option<bool>) -> Command) -> Line {
    match argument.to_ascii_lowercase().as_str() {
        "" => Line::Command(command(None)),
        "on" => Line::Command(command(Some(true))),
        "off" => Line::Command(command(Some(false))),
        other => Line::Wrong(format!("expected on or off, found {other}")),
    }
}

fn pset(argument: &str) -> Line {
    let (name, value) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
    match (name, value.trim()) {
        ("pager", value) => switch(value, Command::Pager),
        ("format", "table" | "aligned") => Line::Command(Command::Format(Format::Table)),
        ("format", "csv") => Line::Command(Command::Format(Format::Csv)),
        ("format", "json") => Line::Command(Command::Format(Format::Json)),
        _ => Line::Wrong("write \\pset pager on|off, or \\pset format table|csv|json".to_owned()),
    }
}

fn watch(argument: &str) -> Line {
    if argument.is_empty() {
        return Line::Again(None, Again::Every(WATCH));
    }
    let seconds = argument.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(pause) => Line::Again(None, Again::Every(pause)),
        None => Line::Wrong(format!("\\watch takes a number of seconds above 0, found {argument}")),
    }
}

/// A path may be written with quotes around it.
fn unquoted(path: &str) -> &str {
    path.strip_prefix('\'').and_then(|path| path.strip_suffix('\'')).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_the_shell_need_no_semicolon() {
        for typed in
            ["exit", "quit;", "\\q", "help", "\\?", "\\d", "\\d flights", "SELECT 1 \\g", "SELECT '\\' \\watch 1"]
        {
            assert!(ends_input(typed), "{typed}");
        }
        assert_eq!(line("exit;"), Line::Command(Command::Leave));
        assert_eq!(line("help"), Line::Command(Command::Help));
        assert_eq!(line(" ; "), Line::Nothing);
    }

    #[test]
    fn sql_needs_one() {
        assert!(!ends_input("SELECT help"));
        assert!(!ends_input("SELECT '\\g"));
        assert!(!ends_input("SELECT 1 -- \\g"));
        assert!(ends_input("SELECT help;"));
        assert_eq!(line("SELECT 1;"), Line::Sql("SELECT 1;".to_owned()));
    }

    #[test]
    fn commands_have_arguments() {
        let describe = |what, pattern: Option<&str>, definition| {
            Line::Command(Command::Describe { what, pattern: pattern.map(str::to_owned), definition })
        };
        assert_eq!(line("\\d"), describe(What::All, None, false));
        assert_eq!(line("\\d  flights ;"), describe(What::All, Some("flights"), false));
        assert_eq!(line("\\dt+ fl*"), describe(What::Tables, Some("fl*"), true));
        assert_eq!(line("\\x"), Line::Command(Command::Vertical(None)));
        assert_eq!(line("\\timing OFF"), Line::Command(Command::Timing(Some(false))));
        assert_eq!(line("\\pset pager off"), Line::Command(Command::Pager(Some(false))));
        assert_eq!(line("\\pset format csv"), Line::Command(Command::Format(Format::Csv)));
        assert_eq!(line("\\i 'a b.sql'"), Line::Command(Command::Include("a b.sql".into())));
        assert_eq!(line("\\o"), Line::Command(Command::Output(None)));
    }

    #[test]
    fn statements_can_stand_before_some() {
        assert_eq!(line("\\g"), Line::Again(None, Again::Once));
        assert_eq!(line("SELECT 1 \\gx"), Line::Again(Some("SELECT 1".to_owned()), Again::Vertically));
        assert_eq!(
            line("SELECT 1; \\watch 0.5"),
            Line::Again(Some("SELECT 1;".to_owned()), Again::Every(Duration::from_millis(500)))
        );
        assert_eq!(line("\\watch"), Line::Again(None, Again::Every(WATCH)));
    }

    #[test]
    fn what_is_wrong_says_so() {
        for (typed, wanted) in [
            ("\\wacth 1", "did you mean \\watch?"),
            ("\\zzzzzzzzz", "there is no command \\zzzzzzzzz; \\? lists all"),
            ("\\x maybe", "on or off"),
            ("\\pset border 2", "\\pset pager"),
            ("\\watch -1", "above 0"),
            ("\\watch nan", "above 0"),
            ("\\watch inf", "above 0"),
            ("\\i", "path"),
            ("\\q now", "nothing behind it"),
            ("SELECT 1 \\x", "a line of its own"),
            ("\\", "there is no command"),
        ] {
            match line(typed) {
                Line::Wrong(why) => assert!(why.contains(wanted), "{typed}: {why}"),
                other => panic!("{typed}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_help_names_every_command() {
        let help = help();
        assert!(COMMANDS.iter().all(|(name, ..)| help.contains(name) || *name == "\\h"), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
