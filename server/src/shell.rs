//! The interactive shell: reads statements over several lines, executes them, prints results and how long they took.

mod prompt;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use catalog::Clock;
use engine::session::Answer;
use reedline::{FileBackedHistory, Reedline, Signal, ValidationResult, Validator};

use crate::cli::{Format, SqlArgs};
use crate::executor::{self, Executor};
use crate::failure::Failure;
use crate::input;
use crate::output::Output;
use crate::signals::Signals;

use prompt::SqlPrompt;

/// How many inputs the history keeps.
const HISTORY: usize = 10_000;

const HELP: &str = "\
Statements end with a semicolon and may take several lines. Ctrl-C drops what is typed or stops what runs,
Ctrl-D leaves, the arrow keys and Ctrl-R bring back what was typed before.
  SHOW TABLES; SHOW VIEWS; SHOW JOBS;     what there is and what runs          \\d
  DESCRIBE name;                          the columns of a table or view       \\d name
  EXPLAIN [INCREMENTAL] SELECT ...;       how a query would be computed
  PAUSE | RESUME | RESTART | STOP JOB j;  control what runs continuously
  FLUSH;                                  wait until all views are up to date
  VERIFY MATERIALIZED VIEW name;          compute a view anew and compare
  help, exit                              this text; leave                     \\?  \\q";

/// Something that ended with the enter key.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Nothing,
    Help,
    Leave,
    Sql(String),
}

/// Talks to the user until they leave. Errors of statements do not end it.
pub async fn interact(args: &SqlArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let clock = executor::clock();
    let executor = Executor::open(args, input::current_dir()?, Arc::clone(&clock)).await?;
    let place = match &args.server {
        Some(url) => format!("server {url}"),
        None => format!("warehouse {}", args.warehouse),
    };
    say(&format!("Frazil {}, {place}. \"help\" for help.", env!("CARGO_PKG_VERSION")))?;
    let shell = Shell { executor, clock, format: args.format };
    let outcome = shell.converse(&mut signals).await;
    outcome.and(shell.executor.close().await)
}

struct Shell {
    executor: Executor,
    clock: Arc<dyn Clock>,
    format: Format,
}

impl Shell {
    async fn converse(&self, signals: &mut Signals) -> Result<(), Failure> {
        let mut editor = editor()?;
        loop {
            let reading = tokio::task::spawn_blocking(move || (editor.read_line(&SqlPrompt), editor));
            let read = tokio::select! {
                read = reading => read.map_err(|e| Failure::io("cannot read from the terminal", e.into()))?,
                // Ctrl-C is a key while a line is edited: this signal came from outside.
                () = signals.next() => return Err(Failure::Interrupted),
            };
            editor = read.1;
            match read.0.map_err(|source| Failure::io("cannot read from the terminal", source))? {
                Signal::CtrlC => {}
                Signal::CtrlD => return Ok(()),
                Signal::Success(typed) => match line(&typed) {
                    Line::Nothing => {}
                    Line::Leave => return Ok(()),
                    Line::Help => say(HELP)?,
                    Line::Sql(sql) => self.answer(&sql, signals).await?,
                },
            }
        }
    }

    /// Executes what was typed. Only a lost terminal is an error.
    async fn answer(&self, sql: &str, signals: &mut Signals) -> Result<(), Failure> {
        let outcome = tokio::select! {
            outcome = self.execute(sql) => outcome,
            () = signals.next() => Err(Failure::Interrupted),
        };
        match outcome {
            // A result that was piped nowhere is not the shell's end, a terminal that is gone is.
            Err(failure @ Failure::OutputClosed) => Err(failure),
            Err(failure) => {
                if let Some(report) = failure.report() {
                    let _ = writeln!(std::io::stderr(), "{report}");
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn execute(&self, sql: &str) -> Result<(), Failure> {
        for part in executor::parts(sql)? {
            let start = self.clock.monotonic();
            match self.executor.execute(&part, sql).await? {
                Answer::Rows(rows) => {
                    Output::new(self.format).print(rows).await?;
                }
                Answer::Done(tag) => say(&tag)?,
                Answer::Noticed { tag, notice } => say(&format!("notice: {notice}\n{tag}"))?,
            }
            say(&timing(self.clock.monotonic().saturating_sub(start)))?;
        }
        Ok(())
    }
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").map_err(Failure::output)
}

fn timing(elapsed: Duration) -> String {
    match elapsed.as_secs_f64() {
        s if s < 1.0 => format!("Time: {:.1} ms", s * 1e3),
        s => format!("Time: {s:.2} s"),
    }
}

/// What a finished input asks for.
fn line(typed: &str) -> Line {
    let typed = typed.trim();
    match typed.trim_end_matches(';').trim_end() {
        "" => Line::Nothing,
        "exit" | "quit" | "\\q" => Line::Leave,
        "help" | "\\?" | "\\h" => Line::Help,
        "\\d" => Line::Sql("SHOW TABLES".to_owned()),
        other => match other.strip_prefix("\\d ") {
            Some(name) => Line::Sql(format!("DESCRIBE {}", name.trim())),
            None => Line::Sql(typed.to_owned()),
        },
    }
}

/// Whether enter ends the input, rather than beginning another line of it.
fn ends_input(typed: &str) -> bool {
    let command = matches!(line(typed), Line::Help | Line::Leave) || typed.trim_start().starts_with('\\');
    command || input::is_complete(typed)
}

struct UntilSemicolon;

impl Validator for UntilSemicolon {
    fn validate(&self, typed: &str) -> ValidationResult {
        if ends_input(typed) { ValidationResult::Complete } else { ValidationResult::Incomplete }
    }
}

fn editor() -> Result<Reedline, Failure> {
    let editor = Reedline::create().with_validator(Box::new(UntilSemicolon));
    let Some(path) = history_file() else { return Ok(editor) };
    match FileBackedHistory::with_file(HISTORY, path.clone()) {
        Ok(history) => Ok(editor.with_history(Box::new(history))),
        Err(error) => {
            // A read-only home must not keep anybody from asking questions.
            say(&format!("no history: cannot use {}: {error}", path.display()))?;
            Ok(editor)
        }
    }
}

/// `$FRAZIL_HISTORY`, else a file in the user's state directory; none without a home.
fn history_file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("FRAZIL_HISTORY").or_else(|| {
        let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")))?;
        Some(state.join("frazil/history"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_the_shell_need_no_semicolon() {
        for typed in ["exit", "quit;", "\\q", "help", "\\?", "\\d", "\\d flights"] {
            assert!(ends_input(typed), "{typed}");
        }
        assert_eq!(line("exit;"), Line::Leave);
        assert_eq!(line("help"), Line::Help);
        assert_eq!(line("\\d  flights ;"), Line::Sql("DESCRIBE flights".to_owned()));
        assert_eq!(line(" ; "), Line::Nothing);
    }

    #[test]
    fn sql_needs_one() {
        assert!(!ends_input("SELECT help"));
        assert!(ends_input("SELECT help;"));
        assert_eq!(line("SELECT 1;"), Line::Sql("SELECT 1;".to_owned()));
    }

    #[test]
    fn times_are_short() {
        assert_eq!(timing(Duration::from_micros(12_345)), "Time: 12.3 ms");
        assert_eq!(timing(Duration::from_millis(2_340)), "Time: 2.34 s");
    }
}
