//! The engine as its users see it: open a warehouse, execute statements, run a file of them, watch progress, shut down.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use catalog::Clock;
use datafusion::execution::SendableRecordBatchStream;

use crate::error::{Error, Result};
use crate::sql::statement::ParsedStatement;

/// What an engine is opened with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Directory or URL of the warehouse.
    pub warehouse: String,
    /// Number of parallel tasks of every job.
    pub parallelism: usize,
    /// How often running jobs are made durable and visible.
    pub commit_interval: Duration,
    /// Relative paths in `WITH ('path' = ...)` start here.
    pub base_dir: PathBuf,
    /// Time, randomness, ids.
    pub clock: Arc<dyn Clock>,
}

/// What a statement answered.
pub enum Answer {
    /// Rows, as they are computed. The stream knows its schema.
    Rows(SendableRecordBatchStream),
    /// It is done; the tag is PostgreSQL's command tag, such as `CREATE TABLE` or `INSERT 0 5`.
    Done(String),
}

/// How far the jobs of an engine are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Rows read from sources since the start of this process.
    pub rows_in: u64,
    /// Rows written to tables and sinks since the start of this process.
    pub rows_out: u64,
    /// Newest closed epoch, over all pipelines.
    pub epoch: u64,
    /// Age of the newest checkpoint in ms.
    pub checkpoint_age_ms: Option<u64>,
    /// How far the oldest uncommitted input row waits, in ms: time since the input was read that is not yet committed.
    pub lag_ms: Option<u64>,
    /// Jobs that run in this process.
    pub running_jobs: usize,
    /// Malformed rows skipped since the start of this process.
    pub skipped: u64,
}

/// A warehouse opened by this process. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// Opens (or creates) a warehouse. Must be called within a tokio runtime.
    pub async fn open(_options: EngineOptions) -> Result<Self> {
        Err(Error::internal("the session is not wired yet"))
    }

    /// Splits and parses a text of one or more statements separated by `;`.
    pub fn parse(&self, _sql: &str) -> Result<Vec<ParsedStatement>> {
        Err(Error::internal("the session is not wired yet"))
    }

    /// Executes one statement. Queries read one version; INSERT returns when committed; a view created here runs in this process.
    pub async fn execute(&self, _statement: &ParsedStatement) -> Result<Answer> {
        Err(Error::internal("the session is not wired yet"))
    }

    /// Executes a file: definitions that exist unchanged are resumed, changed ones are an error; every view and INSERT becomes a job
    /// that this process runs. Returns once all are started.
    pub async fn run(&self, _sql: &str) -> Result<()> {
        Err(Error::internal("the session is not wired yet"))
    }

    /// Waits until every job of this process has read its bounded inputs to the end and is committed (never, for unbounded ones), or until one fails.
    pub async fn finished(&self) -> Result<()> {
        Err(Error::internal("the session is not wired yet"))
    }

    /// How far the jobs of this process are.
    pub fn progress(&self) -> Progress {
        Progress::default()
    }

    /// Takes a last checkpoint of every running job, tiers what is hot, gives the leases back.
    pub async fn shutdown(&self) -> Result<()> {
        Err(Error::internal("the session is not wired yet"))
    }
}
