//! Who executes the statements of a script or a shell: an engine in this process, or a server.

use std::path::PathBuf;
use std::sync::Arc;

use catalog::{Clock, SystemClock};
use engine::error::Position;
use engine::session::{Answer, Engine, EngineOptions, Progress};
use engine::sql::statement::ParsedStatement;

use crate::cli::{self, SqlArgs};
use crate::client::{Client, Login};
use crate::failure::Failure;

/// See the module.
pub enum Executor {
    /// The warehouse is opened here.
    Embedded(Engine),
    /// It is open elsewhere.
    Remote(Client),
}

/// A statement and its own part of the text.
pub struct Part<'a> {
    /// The statement.
    pub statement: ParsedStatement,
    /// From its beginning to that of the next.
    text: &'a str,
}

impl Executor {
    /// What the arguments ask for. Relative paths of statements start at `base_dir`.
    pub async fn open(args: &SqlArgs, base_dir: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        if let Some(url) = &args.server {
            return Ok(Self::Remote(Client::new(url, Login::of(args.user.clone()), &base_dir)?));
        }
        let options = EngineOptions {
            warehouse: args.warehouse.clone(),
            parallelism: cli::default_parallelism(),
            commit_interval: cli::DEFAULT_COMMIT_INTERVAL,
            base_dir,
            clock,
            limits: engine::session::Limits::default(),
            cluster: None,
        };
        let catalog = args.catalog.as_ref().map(cli::CatalogUrl::as_str);
        Ok(Self::Embedded(Engine::open_with_catalog(options, catalog).await?))
    }

    /// The same executor, settings included, for statements of a file: their relative paths start at `base_dir`.
    pub fn based_at(&self, base_dir: PathBuf) -> Self {
        match self {
            Self::Embedded(engine) => Self::Embedded(engine.based_at(base_dir)),
            Self::Remote(client) => Self::Remote(client.based_at(base_dir)),
        }
    }

    /// How far the jobs of this process are; `None` if there are none.
    pub fn progress(&self) -> Option<Progress> {
        match self {
            Self::Embedded(engine) => Some(engine.progress()).filter(|progress| progress.running_jobs > 0),
            Self::Remote(_) => None,
        }
    }

    /// Executes a statement of the text `sql`.
    pub async fn execute(&self, part: &Part<'_>, sql: &str) -> Result<Answer, Failure> {
        let answer = match self {
            Self::Embedded(engine) => engine.execute(&part.statement).await,
            Self::Remote(client) => client.execute(&part.statement, part.text).await,
        };
        answer.map_err(Failure::about(sql))
    }

    /// Ends what runs in this process. Views created here ran here: what they did is committed.
    pub async fn close(&self) -> Result<(), Failure> {
        match self {
            Self::Embedded(engine) => engine.shutdown().await.map_err(Failure::from),
            Self::Remote(_) => Ok(()),
        }
    }
}

/// The statements of a text. One that does not parse as a whole has none.
pub fn parts(sql: &str) -> Result<Vec<Part<'_>>, Failure> {
    let statements = engine::sql::parse::parse(sql).map_err(Failure::about(sql))?;
    let starts: Vec<_> = statements.iter().map(|statement| offset(sql, statement.position)).collect();
    let ends = starts.iter().skip(1).copied().chain([sql.len()]);
    let texts: Vec<_> = starts.iter().zip(ends).map(|(start, end)| sql.get(*start..end).unwrap_or_default()).collect();
    Ok(statements.into_iter().zip(texts).map(|(statement, text)| Part { statement, text }).collect())
}

/// The real clock.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// Bytes before a place.
fn offset(sql: &str, Position { line, column }: Position) -> usize {
    let before = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = sql.split_inclusive('\n').take(before(line)).map(str::len).sum();
    let rest = sql.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(before(column)).map_or(rest.len(), |(offset, _)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_reaches_to_the_next_statement() {
        let sql = "-- é\nSELECT 'é'; SELECT\n 2 ;\n\n  SELECT 3 -- done";
        let parts = parts(sql).unwrap();
        let texts: Vec<_> = parts.iter().map(|part| part.text).collect();
        assert_eq!(texts, ["SELECT 'é'; ", "SELECT\n 2 ;\n\n  ", "SELECT 3 -- done"]);
    }
}
