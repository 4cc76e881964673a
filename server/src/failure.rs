//! What ends the program early, as the user gets to see it: one message, the place in the SQL, an exit code.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use engine::error::Position;

/// Why the program ends before its work is done.
#[derive(Debug)]
pub enum Failure {
    /// The engine refused or failed; with the SQL text that its position points into.
    Engine {
        /// What happened.
        error: Box<engine::Error>,
        /// The text that was executed.
        sql: Option<String>,
    },
    /// The operating system refused.
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The command line asks for something that is not done.
    Refused(String),
    /// Whoever read standard output has seen enough, as in `frazil ... | head`.
    OutputClosed,
    /// SIGINT or SIGTERM before the work was done.
    Interrupted,
}

impl Failure {
    /// An error of the operating system; `what` is what was tried.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    /// Something that is not done, and what to do instead.
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    /// A file that cannot be read.
    pub fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::io(format!("cannot read {}", path.display()), source)
    }

    /// An error of writing rows to standard output.
    pub fn output(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::io("cannot write the result", source),
        }
    }

    /// An engine's error about a text of SQL.
    pub fn about(sql: &str) -> impl FnOnce(engine::Error) -> Self + '_ {
        move |error| Self::Engine { error: Box::new(error), sql: Some(sql.to_owned()) }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Engine { .. } | Self::Io { .. } | Self::Refused(_) => 1,
            Self::OutputClosed => 0,
            // What shells report for a process that a SIGINT ended.
            Self::Interrupted => 130,
        }
    }

    /// What to tell the user, if anything.
    pub fn report(&self) -> Option<String> {
        match self {
            Self::Engine { error, sql } => {
                let mut text = format!("error: {error}");
                if let (Some(position), Some(sql)) = (error.position(), sql) {
                    text.push_str(&excerpt(sql, position));
                }
                Some(text)
            }
            Self::Io { what, source } => Some(format!("error: {what}: {source}")),
            Self::Refused(why) => Some(format!("error: {why}")),
            Self::OutputClosed => None,
            Self::Interrupted => Some("interrupted".to_owned()),
        }
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        Self::Engine { error: Box::new(error), sql: None }
    }
}

/// The line that a position points at with a caret under the column; empty if the text has no such line.
fn excerpt(sql: &str, Position { line, column }: Position) -> String {
    let Some(content) = usize::try_from(line).ok().and_then(|n| sql.lines().nth(n.checked_sub(1)?)) else {
        return String::new();
    };
    let gutter = line.to_string();
    // Tabs stay tabs, so that the caret stands right however wide the terminal draws them.
    let before = content.chars().take(usize::try_from(column).unwrap_or(0).saturating_sub(1));
    let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let mut text = String::new();
    let _ = write!(text, "\n  {gutter} | {content}\n  {:1$} | {indent}^", "", gutter.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u64, column: u64) -> Position {
        Position { line, column }
    }

    #[test]
    fn the_caret_stands_under_the_column() {
        let sql = "SELECT 1;\n\tSELECT x FROM t";
        assert_eq!(excerpt(sql, at(1, 8)), "\n  1 | SELECT 1;\n    |        ^");
        assert_eq!(excerpt(sql, at(2, 9)), "\n  2 | \tSELECT x FROM t\n    | \t       ^");
    }

    #[test]
    fn a_position_outside_of_the_text_shows_nothing() {
        for position in [at(0, 0), at(2, 1), at(u64::MAX, 1)] {
            assert_eq!(excerpt("SELECT 1", position), "");
        }
    }

    #[test]
    fn reports_keep_message_place_and_excerpt_together() {
        let error = engine::Error::sql("no table \"t\"").at(Some(at(1, 15))).hint("create it first");
        let report = Failure::about("SELECT x FROM t")(error).report().unwrap();
        assert_eq!(
            report,
            "error: no table \"t\" at 1:15\nhint: create it first\n  1 | SELECT x FROM t\n    |               ^"
        );
    }

    #[test]
    fn a_closed_output_is_no_failure() {
        let closed = Failure::output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((closed.exit_code(), closed.report()), (0, None));
        assert_eq!(Failure::output(io::Error::from(io::ErrorKind::StorageFull)).exit_code(), 1);
    }
}
