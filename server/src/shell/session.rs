//! What the shell remembers between inputs, and how it executes them.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catalog::Clock;
use chrono::{Local, TimeZone};
use engine::session::Answer;
use engine::sql::statement::Statement;

use super::command::{self, Again, Command, Line, What};
use super::describe::describe;
use super::edit;
use super::names::{self, KnownNames};
use super::show::{self, Style};
use super::sink::Sink;
use super::spinner::Spinner;
use crate::cli::Format;
use crate::executor::{self, Executor, Part};
use crate::failure::Failure;
use crate::input;
use crate::signals::{Asked, Signals};

/// Names older than this are fetched again: others may have changed them.
const FRESH: Duration = Duration::from_secs(30);

/// What comes after an input.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Another one.
    Prompt,
    /// Another one, which begins with this text.
    PromptWith(String),
    /// Nothing: the user wants to leave.
    Leave,
}

/// A conversation.
pub struct Session {
    /// Executes statements.
    pub executor: Arc<Executor>,
    clock: Arc<dyn Clock>,
    names: Arc<KnownNames>,
    /// When names were last fetched; `None` if they have to be now.
    fetched: Option<Duration>,
    fetch: Option<tokio::task::JoinHandle<()>>,
    format: Format,
    vertical: bool,
    timing: bool,
    paged: bool,
    /// Where results go, unless to the terminal.
    file: Option<Arc<File>>,
    /// The statements executed last.
    last: Option<String>,
    /// SIGTERM came.
    terminated: bool,
}

/// How one input is executed.
#[derive(Clone, Copy)]
struct Manner {
    vertical: bool,
    paged: bool,
}

impl Session {
    /// A conversation that begins.
    pub fn new(executor: Executor, clock: Arc<dyn Clock>, names: Arc<KnownNames>, format: Format) -> Self {
        Self {
            executor: Arc::new(executor),
            clock,
            names,
            fetched: None,
            fetch: None,
            format,
            vertical: false,
            timing: true,
            paged: true,
            file: None,
            last: None,
            terminated: false,
        }
    }

    /// Fetches names for completion if they may have changed.
    pub fn refresh_names(&mut self) {
        let now = self.clock.monotonic();
        if self.fetched.is_none_or(|fetched| now.saturating_sub(fetched) > FRESH) {
            self.fetched = Some(now);
            self.stop_fetching();
            self.fetch = Some(self.names.refresh(&self.executor));
        }
    }

    /// Ends what happens in the background.
    pub fn stop_fetching(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            fetch.abort();
        }
    }

    /// Does what was typed. Errors are told; only a lost terminal or SIGTERM is one of the shell.
    pub async fn take(&mut self, typed: &str, signals: &mut Signals) -> Result<Next, Failure> {
        signals.forget_interrupts();
        let done = match command::line(typed) {
            Line::Nothing => Ok(Next::Prompt),
            Line::Wrong(why) => Err(Failure::refused(why)),
            Line::Sql(sql) => self.take_sql(sql, signals).await.map(|()| Next::Prompt),
            Line::Again(sql, again) => self.again(sql, again, signals).await.map(|()| Next::Prompt),
            Line::Command(command) => self.command(command, signals).await,
        };
        match done {
            _ if self.terminated => Err(Failure::Interrupted),
            // A pager that was left is the end of its result, a terminal that is gone is that of the shell.
            Err(failure @ Failure::OutputClosed) => Err(failure),
            Err(failure) => {
                if let Some(report) = failure.report() {
                    let _ = writeln!(std::io::stderr(), "{report}");
                }
                Ok(Next::Prompt)
            }
            Ok(next) => Ok(next),
        }
    }

    async fn take_sql(&mut self, sql: String, signals: &mut Signals) -> Result<(), Failure> {
        self.last = Some(sql.clone());
        let executor = self.executor.clone();
        self.execute(&executor, &sql, self.manner(), signals).await
    }

    fn manner(&self) -> Manner {
        Manner { vertical: self.vertical, paged: self.paged }
    }

    async fn again(&mut self, sql: Option<String>, again: Again, signals: &mut Signals) -> Result<(), Failure> {
        if sql.is_some() {
            self.last = sql;
        }
        let Some(sql) = self.last.clone() else {
            return Err(Failure::refused("there is no statement yet to execute again"));
        };
        let executor = self.executor.clone();
        match again {
            Again::Once => self.execute(&executor, &sql, self.manner(), signals).await,
            Again::Vertically => {
                self.execute(&executor, &sql, Manner { vertical: true, ..self.manner() }, signals).await
            }
            Again::Every(pause) => loop {
                let now = Local.timestamp_millis_opt(self.clock.now_ms()).earliest();
                let now = now.map_or_else(String::new, |now| now.format("%Y-%m-%d %H:%M:%S").to_string());
                say(&format!("{now} (every {pause:?}, Ctrl-C ends it)\n"))?;
                // A pager would have to be left every time.
                self.execute(&executor, &sql, Manner { paged: false, ..self.manner() }, signals).await?;
                say("")?;
                let asked = tokio::select! {
                    asked = signals.asked() => asked,
                    () = tokio::time::sleep(pause) => continue,
                };
                self.terminated = asked == Asked::Terminate;
                return Ok(());
            },
        }
    }

    /// Executes the statements of a text until one fails.
    async fn execute(
        &mut self,
        executor: &Executor,
        sql: &str,
        manner: Manner,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        for part in executor::parts(sql)? {
            if names::redefines(&part.statement.statement) {
                self.fetched = None;
            }
            let elapsed = self.statement(executor, &part, sql, manner, signals).await?;
            if self.timing {
                say(&timing(elapsed))?;
            }
        }
        Ok(())
    }

    /// Executes a statement and returns how long it took.
    async fn statement(
        &mut self,
        executor: &Executor,
        part: &Part<'_>,
        sql: &str,
        manner: Manner,
        signals: &mut Signals,
    ) -> Result<Duration, Failure> {
        let live = matches!(part.statement.statement, Statement::Subscribe(_));
        let style = Style { format: self.format, vertical: manner.vertical, live };
        let mut sink = self.sink(manner.paged);
        let mut said = None;
        let mut spinner = Spinner::new(self.clock.as_ref(), executor);
        let work = async {
            match spinner.during(executor.execute(part, sql)).await? {
                Answer::Rows(rows) => show::rows(rows, style, &mut sink, &mut spinner).await?,
                Answer::Done(tag) => said = Some(tag),
                Answer::Noticed { tag, notice } => said = Some(format!("notice: {notice}\n{tag}")),
            }
            Ok(())
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            asked = signals.asked() => {
                self.terminated |= asked == Asked::Terminate;
                Err(Failure::Interrupted)
            }
        };
        let elapsed = spinner.elapsed();
        drop(spinner);
        let finished = sink.finish(signals).await;
        if let Some(said) = said {
            say(&said)?;
        }
        outcome.and(finished).map(|()| elapsed)
    }

    async fn command(&mut self, command: Command, signals: &mut Signals) -> Result<Next, Failure> {
        match command {
            Command::Help => self.text(&command::help(), signals).await?,
            Command::Leave => return Ok(Next::Leave),
            Command::Describe { what, pattern, definition } => {
                self.describe(what, pattern.as_deref(), definition, signals).await?;
            }
            Command::Vertical(on) => {
                self.vertical = on.unwrap_or(!self.vertical);
                say_switch("vertical output", self.vertical)?;
            }
            Command::Timing(on) => {
                self.timing = on.unwrap_or(!self.timing);
                say_switch("timing", self.timing)?;
            }
            Command::Pager(on) => {
                self.paged = on.unwrap_or(!self.paged);
                say_switch("pager", self.paged)?;
            }
            Command::Format(format) => self.format = format,
            Command::Include(path) => self.include(&path, signals).await?,
            Command::Output(path) => {
                self.file = match path {
                    None => None,
                    Some(path) => {
                        let failed = |source| Failure::io(format!("cannot write {}", path.display()), source);
                        Some(Arc::new(File::create(&path).map_err(failed)?))
                    }
                };
            }
            Command::Edit => {
                let edited = edit::edit(self.last.as_deref().unwrap_or_default(), self.clock.as_ref()).await;
                signals.forget_interrupts();
                return Ok(edited?.map_or(Next::Prompt, Next::PromptWith));
            }
        }
        Ok(Next::Prompt)
    }

    async fn include(&mut self, path: &Path, signals: &mut Signals) -> Result<(), Failure> {
        let input = input::read_file(path)?;
        let executor = self.executor.based_at(input.base_dir);
        self.execute(&executor, &input.sql, self.manner(), signals).await
    }

    async fn describe(
        &mut self,
        what: What,
        pattern: Option<&str>,
        definition: bool,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        let mut sink = self.sink(self.paged);
        let executor = self.executor.clone();
        let clock = self.clock.clone();
        let mut spinner = Spinner::new(clock.as_ref(), &executor);
        let style = Style { format: self.format, vertical: self.vertical, live: false };
        let work = async {
            let found = spinner.during(describe(&executor, what, pattern, definition)).await?;
            // Rows for programs have no other text around them.
            let texts = style.format == Format::Table;
            if let Some(title) = found.title.filter(|_| texts) {
                spinner.write(&mut sink, format!("{title}\n").as_bytes()).await?;
            }
            show::rows(found.rows, style, &mut sink, &mut spinner).await?;
            if let Some(definition) = found.definition.filter(|_| texts) {
                spinner.write(&mut sink, format!("\n{definition}\n").as_bytes()).await?;
            }
            Ok(())
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            asked = signals.asked() => {
                self.terminated |= asked == Asked::Terminate;
                Err(Failure::Interrupted)
            }
        };
        drop(spinner);
        outcome.and(sink.finish(signals).await)
    }

    /// A text for the user, whatever becomes of results.
    async fn text(&self, text: &str, signals: &mut Signals) -> Result<(), Failure> {
        let mut sink = Sink::terminal(self.paged);
        sink.write(text.as_bytes(), || ()).await?;
        sink.finish(signals).await
    }

    fn sink(&self, paged: bool) -> Sink {
        self.file.clone().map_or_else(|| Sink::terminal(paged), Sink::file)
    }
}

/// Says something to the user.
pub fn say(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").map_err(Failure::output)
}

fn say_switch(what: &str, on: bool) -> Result<(), Failure> {
    say(&format!("{what} is {}", if on { "on" } else { "off" }))
}

fn timing(elapsed: Duration) -> String {
    match elapsed.as_secs_f64() {
        s if s < 1.0 => format!("Time: {:.1} ms", s * 1e3),
        s => format!("Time: {s:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(timing(Duration::from_micros(12_345)), "Time: 12.3 ms");
        assert_eq!(timing(Duration::from_millis(2_340)), "Time: 2.34 s");
    }
}
