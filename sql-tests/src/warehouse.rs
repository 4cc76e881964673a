//! The engine under a test: a warehouse in a temporary directory, opened again and again if the mode says so.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use catalog::{Clock, SystemClock};
use datafusion::physical_plan::common::collect;
use engine::session::{Answer, Engine, EngineOptions};
use sqllogictest::{DBOutput, DefaultColumnType};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::mode::{Death, Mode, Rows, Views};

/// Results are committed at this interval: short, so that a test sees several checkpoints.
const COMMIT_INTERVAL: Duration = Duration::from_millis(50);

/// No statement of a test takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much later a killed engine is followed by the next one. Leases of the dead have lapsed by then: they look alive,
/// because the process that they name is this one.
const BETWEEN_LIVES: Duration = Duration::from_secs(3600);

/// `ADVANCE CLOCK n DAYS` in a file: from then on it is so many days later.
const ADVANCE: &str = "ADVANCE CLOCK";

/// The real clock, some time later.
#[derive(Debug)]
struct Later {
    clock: SystemClock,
    by: Duration,
    /// What the file has added, in days.
    days: Arc<AtomicI64>,
}

impl Clock for Later {
    fn now_ms(&self) -> i64 {
        let days = self.days.load(Ordering::SeqCst) * 86_400_000;
        self.clock.now_ms().saturating_add(i64::try_from(self.by.as_millis()).unwrap_or(i64::MAX)).saturating_add(days)
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn uuid(&self) -> uuid::Uuid {
        self.clock.uuid()
    }

    fn secret(&self) -> [u8; 32] {
        self.clock.secret()
    }
}

/// Where a file system in memory is on Linux. Warehouses of tests need not outlive the machine, and so its disk need not wait.
const MEMORY: &str = "/dev/shm";

/// A warehouse and the engine that has it open.
pub struct Warehouse {
    directory: TempDir,
    mode: Mode,
    openings: u32,
    days: Arc<AtomicI64>,
    process: Option<Process>,
}

/// What dies with a kill: an engine and all the threads that its async work runs on.
struct Process {
    runtime: Runtime,
    engine: Engine,
}

/// The rows of a statement, or nothing but that it is done, and with how many rows.
enum Outcome {
    Rows(Vec<RecordBatch>),
    Done(u64),
}

/// What a statement answered, as text.
pub enum Reply {
    /// Rows.
    Rows(Vec<Vec<String>>),
    /// It is done, with so many rows.
    Done(u64),
}

impl Warehouse {
    /// Opens a new, empty warehouse.
    pub async fn new(mode: Mode) -> Result<Self, engine::Error> {
        Self::with_tasks(mode, mode.parallelism[0]).await
    }

    /// Opens a new, empty warehouse with so many parallel tasks.
    pub async fn with_tasks(mode: Mode, tasks: usize) -> Result<Self, engine::Error> {
        let memory = Path::new(MEMORY);
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.map_err(|e| engine::Error::internal("no temporary directory").because(e))?;
        let mut warehouse = Self { directory, mode, openings: 0, days: Arc::default(), process: None };
        warehouse.open(tasks).await?;
        Ok(warehouse)
    }

    /// Executes one statement as the mode wants it and returns its rows as text. A query sees all that was committed before.
    pub async fn rows(&mut self, sql: &str) -> Result<Option<Vec<Vec<String>>>, engine::Error> {
        Ok(match self.reply(sql).await? {
            Reply::Rows(rows) => Some(rows),
            Reply::Done(_) => None,
        })
    }

    /// The same, with the number of rows that a statement changed.
    pub async fn reply(&mut self, sql: &str) -> Result<Reply, engine::Error> {
        if first_words(sql, 2) == ADVANCE {
            let days = sql.split_whitespace().nth(2).and_then(|days| days.parse().ok());
            let days: i64 = days.ok_or_else(|| engine::Error::internal("ADVANCE CLOCK without a number of days"))?;
            self.days.fetch_add(days, Ordering::SeqCst);
            return Ok(Reply::Done(0));
        }
        let sql = self.adapt(sql);
        let maintained = self.mode.views != Views::Plain;
        let what = first_words(sql.trim_start_matches('('), 1);
        if maintained && matches!(what.as_str(), "SELECT" | "WITH" | "VALUES" | "VERIFY") {
            self.query("FLUSH").await?;
        }
        let reply = self.perform(&sql).await;
        let insert = self.mode.rows == Rows::OneByOne && what == "INSERT";
        if reply.is_ok() && maintained && (insert || self.mode.death == Death::AfterCheckpoints) {
            // A job that fails on what was inserted is no fault of the INSERT: the file says where it is to be seen.
            let _ = self.query("FLUSH").await;
        }
        if self.mode.death != Death::Never {
            self.restart().await?;
        }
        reply
    }

    /// Executes one statement just as it is and returns its rows as text.
    pub async fn query(&self, sql: &str) -> Result<Option<Vec<Vec<String>>>, engine::Error> {
        Ok(match self.perform(sql).await? {
            Reply::Rows(rows) => Some(rows),
            Reply::Done(_) => None,
        })
    }

    async fn perform(&self, sql: &str) -> Result<Reply, engine::Error> {
        match self.in_process(sql.to_owned()).await? {
            Outcome::Rows(batches) => as_text(&batches).map(Reply::Rows),
            Outcome::Done(rows) => Ok(Reply::Done(rows)),
        }
    }

    /// Rows of state that the operators of a job hold.
    pub async fn state_rows(&self, job: &str) -> Result<u64, engine::Error> {
        let closed = || engine::Error::internal("the warehouse is closed");
        let engine = self.process.as_ref().map(|process| process.engine.clone()).ok_or_else(closed)?;
        let graph = engine.dataflow(job).await?;
        let nodes = graph.map_or(vec![], |graph| graph.nodes);
        let own = nodes.iter().filter(|node| node.jobs.iter().any(|name| name == job));
        Ok(own.map(|node| node.totals.state_rows).sum())
    }

    /// Where the warehouse is.
    pub fn directory(&self) -> String {
        self.directory.path().join("warehouse").display().to_string()
    }

    /// Kills the engine and opens the warehouse with the next number of tasks.
    pub async fn restart(&mut self) -> Result<(), engine::Error> {
        let tasks = self.mode.parallelism[self.openings as usize % self.mode.parallelism.len()];
        self.restart_with(tasks).await
    }

    /// Kills the engine and opens the warehouse with so many parallel tasks.
    pub async fn restart_with(&mut self, tasks: usize) -> Result<(), engine::Error> {
        self.kill();
        self.open(tasks).await
    }

    async fn open(&mut self, tasks: usize) -> Result<(), engine::Error> {
        let options = EngineOptions {
            warehouse: self.directory(),
            parallelism: tasks,
            commit_interval: COMMIT_INTERVAL,
            base_dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("slt"),
            clock: Arc::new(Later {
                clock: SystemClock::new(),
                by: BETWEEN_LIVES * self.openings,
                days: self.days.clone(),
            }),
            limits: engine::session::Limits::default(),
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| engine::Error::internal("no runtime").because(e))?;
        let opened = runtime.spawn(Engine::open(options)).await;
        let engine = opened.map_err(|e| engine::Error::internal("opening the warehouse panicked").because(e))??;
        self.openings += 1;
        self.process = Some(Process { runtime, engine });
        Ok(())
    }

    /// Ends the engine without telling it: whatever it did not commit is lost.
    fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.runtime.shutdown_background();
        }
    }

    async fn close(&mut self) -> Result<(), engine::Error> {
        let Some(Process { runtime, engine }) = self.process.take() else { return Ok(()) };
        let closed = runtime.spawn(async move { engine.shutdown().await }).await;
        runtime.shutdown_background();
        closed.map_err(|e| engine::Error::internal("the shutdown panicked").because(e))?
    }

    /// In batch mode nothing is maintained: views are plain ones, and final at once.
    fn adapt(&self, sql: &str) -> String {
        let plain = self.mode.views == Views::Plain;
        let words = first_words(sql, 4);
        let defines = ["CREATE MATERIALIZED", "DROP MATERIALIZED", "CREATE OR REPLACE MATERIALIZED"];
        match plain && defines.iter().any(|start| words.starts_with(start)) {
            true => sql.trim_end().trim_end_matches("EMIT ON WINDOW CLOSE").replacen("MATERIALIZED ", "", 1),
            false => sql.to_owned(),
        }
    }

    async fn in_process(&self, sql: String) -> Result<Outcome, engine::Error> {
        let Some(process) = &self.process else { return Err(engine::Error::internal("the warehouse is closed")) };
        let engine = process.engine.clone();
        let what = sql.clone();
        let task = process.runtime.spawn(async move { execute(&engine, &sql).await });
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(outcome) => outcome.map_err(|e| engine::Error::internal("the statement panicked").because(e))?,
            Err(_) => Err(engine::Error::internal(format!("no answer after {PATIENCE:?} to: {what}"))),
        }
    }
}

fn first_words(sql: &str, count: usize) -> String {
    sql.split_whitespace().take(count).collect::<Vec<_>>().join(" ").to_ascii_uppercase()
}

/// Executes a text.
async fn execute(engine: &Engine, sql: &str) -> Result<Outcome, engine::Error> {
    let mut outcome = Outcome::Done(0);
    for statement in engine.parse(sql)? {
        outcome = match engine.execute(&statement).await? {
            Answer::Rows(stream) => Outcome::Rows(collect(stream).await?),
            Answer::Done(tag) | Answer::Noticed { tag, .. } => Outcome::Done(rows_of(&tag)),
        };
    }
    Ok(outcome)
}

/// The number at the end of a command tag such as `UPDATE 3`.
fn rows_of(tag: &str) -> u64 {
    tag.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn as_text(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, engine::Error> {
    let options = FormatOptions::new().with_null("NULL").with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options)).collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let cell = |(column, formatter): (&arrow::array::ArrayRef, &ArrayFormatter<'_>)| {
                let text = formatter.value(row).to_string();
                let is_text = matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
                // An empty cell could not be seen in a file.
                if is_text && column.is_valid(row) && text.is_empty() { "(empty)".to_owned() } else { text }
            };
            rows.push(batch.columns().iter().zip(&columns).map(cell).collect());
        }
    }
    Ok(rows)
}

#[async_trait]
impl sqllogictest::AsyncDB for Warehouse {
    type Error = engine::Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, engine::Error> {
        Ok(match self.reply(sql).await? {
            Reply::Rows(rows) => {
                let width = rows.first().map_or(0, Vec::len);
                DBOutput::Rows { types: vec![DefaultColumnType::Any; width], rows }
            }
            Reply::Done(rows) => DBOutput::StatementComplete(rows),
        })
    }

    async fn shutdown(&mut self) {
        let closed = self.close().await.context("the warehouse could not be closed");
        // There is no way to report through the trait; a test must not pass over it.
        assert!(closed.is_ok(), "{closed:?}");
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

impl Drop for Warehouse {
    fn drop(&mut self) {
        // A runtime must not be dropped where blocking is not allowed.
        self.kill();
    }
}
