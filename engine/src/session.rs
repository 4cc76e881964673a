//! The engine as its users see it: open a warehouse, execute statements, run a file of them, watch progress, shut down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use catalog::{Clock, ObjectId, Snapshot, Version};
use datafusion::execution::SendableRecordBatchStream;
use storage::Warehouse;
use tokio::sync::watch;

use crate::access::Rights;
use crate::error::{Error, ErrorKind, Position, Result};
use crate::runtime::commit::transact;
use crate::runtime::pipeline::{Phase, Pipeline};
use crate::runtime::touched::Touched;
use crate::session::define::{Draft, Existing};
use crate::sql::context::Planner;
use crate::sql::parse::{parse, parse_bound};
use crate::sql::statement::{CreateView, Drop, DropKind, Insert, ParsedStatement, Statement};

mod adhoc;
mod change;
mod control;
mod define;
mod flush;
mod inspect;
mod jobs;
mod maintenance;
pub mod observe;
mod owner;
mod prepare;
mod settings;
mod show;
mod submit;
mod subscribe;
mod timeout;
mod transaction;
mod users;
mod verify;

use settings::Settings;

pub use inspect::{
    FileInfo, FileKind, IcebergTable, JobCounters, JobCounts, JobInfo, Lineage, LineageEdge, LineageNode, Overview,
    Runner, SegmentInfo, TableDetails, TableSummary,
};
pub use prepare::Description;
pub use settings::known_settings;
pub use show::{Relation, RelationKind};
pub use transaction::Transaction;

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
    /// What one statement may take.
    pub limits: Limits,
}

/// What one statement may take, so that it cannot take it from the others.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory for its intermediate results in bytes: beyond it sorts and aggregates spill, and what cannot spill fails.
    pub memory: usize,
    /// How long it may run unless `SET statement_timeout` says otherwise.
    pub timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 1 << 30, timeout: None }
    }
}

/// What a statement answered.
pub enum Answer {
    /// Rows, as they are computed. The stream knows its schema.
    Rows(SendableRecordBatchStream),
    /// It is done; the tag is PostgreSQL's command tag, such as `CREATE TABLE` or `INSERT 0 5`.
    Done(String),
    /// It is done, but not quite as asked.
    Noticed {
        /// As of [`Answer::Done`].
        tag: String,
        /// What the user should know.
        notice: String,
    },
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
    /// Checkpoints committed since the start of this process.
    pub checkpoints: u64,
}

/// A warehouse opened by this process, and what one user of it has set. Cheap to clone; all clones are one engine and one user.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    settings: Arc<Settings>,
}

/// What all clones of an engine share.
pub(crate) struct Inner {
    /// Itself, for what goes on in the background as long as somebody holds the engine.
    this: Weak<Inner>,
    options: EngineOptions,
    warehouse: Arc<Warehouse>,
    /// Runs ad-hoc queries, away from everything that streams.
    adhoc: adhoc::QueryThreads,
    pipelines: tokio::sync::Mutex<Vec<Arc<Pipeline>>>,
    /// What all pipelines that this process ever ran have counted.
    observed: observe::Observed,
    /// Where paths of connector tables start whose files were run here, wherever that was when the tables were created.
    base_dirs: Mutex<Arc<BTreeMap<ObjectId, PathBuf>>>,
    /// When the warehouse was opened, in ms since the Unix epoch.
    started_ms: i64,
    versions: watch::Receiver<Version>,
    touched: Arc<Touched>,
    writers: change::Writers,
    groups: change::Groups,
    maintenance: maintenance::Maintenance,
    owner: String,
}

impl Engine {
    /// Opens (or creates) a warehouse. Must be called within a tokio runtime.
    pub async fn open(options: EngineOptions) -> Result<Self> {
        let warehouse = Warehouse::open(&options.warehouse, options.clock.clone()).await?;
        if options.parallelism == 0 || options.parallelism > crate::hash::VNODES {
            return Err(Error::new(ErrorKind::Option, format!("parallelism must be 1 to {}", crate::hash::VNODES)));
        }
        let touched: Arc<Touched> = Arc::default();
        let adhoc = adhoc::QueryThreads::new(options.parallelism)?;
        let versions = maintenance::watch_versions(&warehouse).await?;
        let inner = Arc::new_cyclic(|this| Inner {
            this: this.clone(),
            adhoc,
            pipelines: tokio::sync::Mutex::default(),
            observed: observe::Observed::default(),
            base_dirs: Mutex::default(),
            started_ms: options.clock.now_ms(),
            versions,
            maintenance: maintenance::Maintenance::start(warehouse.clone(), touched.clone()),
            touched,
            writers: change::Writers::default(),
            groups: change::Groups::default(),
            owner: owner::of_this_process(options.clock.as_ref()),
            warehouse,
            options,
        });
        Ok(Self { inner, settings: Arc::default() })
    }

    /// How long a statement may run now.
    fn timeout(&self) -> Option<Duration> {
        self.settings.statement_timeout().unwrap_or(self.inner.options.limits.timeout)
    }

    /// The same engine for somebody else who has the warehouse's files: what one sets (SET) does not hold for the other.
    pub fn session(&self) -> Self {
        self.session_of(None, None)
    }

    /// The same for a user, who may do what they were granted; without users in the warehouse, everything. Relative paths start at
    /// `base_dir`.
    pub fn session_of(&self, user: Option<String>, base_dir: Option<PathBuf>) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::new(Settings::new(user, base_dir)) }
    }

    /// The same engine for the same user, for statements of a file: their relative paths start at `base_dir`.
    pub fn based_at(&self, base_dir: PathBuf) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::new(self.settings.based_at(base_dir)) }
    }

    /// `SET name = value`. Returns what to tell the user.
    pub fn set(&self, name: &str, value: &str) -> Result<Option<String>> {
        self.settings.set(name, value)
    }

    /// Splits and parses a text of one or more statements separated by `;`.
    pub fn parse(&self, sql: &str) -> Result<Vec<ParsedStatement>> {
        parse(sql)
    }

    /// The same for a text with parameters `$1`, `$2` ..., and their values as SQL.
    pub fn parse_bound(&self, sql: &str, values: &[String]) -> Result<Vec<ParsedStatement>> {
        parse_bound(sql, values)
    }

    /// Executes one statement. Queries read one version; INSERT returns when committed; a view created here runs in this process.
    pub async fn execute(&self, parsed: &ParsedStatement) -> Result<Answer> {
        let at = Some(parsed.position);
        let timeout = self.timeout();
        // Boxed: what is alive while a statement is planned is large, and callers nest.
        timeout::limited(timeout, Box::pin(self.inner.execute(parsed, &self.settings)))
            .await
            .map_err(|error| if error.kind() == ErrorKind::Sql { error.at(at) } else { error })
    }

    /// All tables and views, with their columns.
    pub async fn relations(&self) -> Result<Vec<Relation>> {
        show::relations(&*self.inner.snapshot().await?)
    }

    /// Takes up all jobs that should run and that nobody runs.
    pub async fn resume(&self) -> Result<()> {
        self.inner.resume_orphans().await
    }

    /// Waits until every job of this process has read its bounded inputs to the end and is committed (never, for unbounded ones), or until one fails.
    pub async fn finished(&self) -> Result<()> {
        let pipelines = self.inner.pipelines.lock().await.clone();
        futures::future::try_join_all(pipelines.iter().map(|pipeline| pipeline.over())).await?;
        Ok(())
    }

    /// How far the jobs of this process are.
    pub fn progress(&self) -> Progress {
        self.inner.progress()
    }

    /// Takes a last checkpoint of every running job, tiers what is hot, gives the leases back.
    pub async fn shutdown(&self) -> Result<()> {
        let pipelines = std::mem::take(&mut *self.inner.pipelines.lock().await);
        let mut first = Ok(());
        let snapshot = self.inner.snapshot().await?;
        let jobs = pipelines.iter().flat_map(|p| p.jobs()).filter_map(|id| snapshot.jobs.get(id));
        let targets: Vec<_> = jobs.flat_map(|job| job.targets.clone()).collect();
        for pipeline in pipelines {
            if !pipeline.phase().is_over() {
                first = first.and(pipeline.stop().await);
            }
        }
        first.and(self.inner.maintenance.finish(&targets).await)
    }

    /// The newest version of the warehouse's catalog.
    pub async fn version(&self) -> Result<Version> {
        Ok(self.inner.warehouse.catalog().version().await?)
    }
}

impl Inner {
    async fn snapshot(&self) -> Result<Arc<Snapshot>> {
        Ok(self.warehouse.catalog().snapshot(None).await?)
    }

    fn planner(&self, snapshot: Arc<Snapshot>) -> Planner {
        Planner {
            warehouse: self.warehouse.clone(),
            snapshot,
            base_dirs: self.base_dirs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
            partitions: self.options.parallelism,
            read_up_to: None,
            memory: self.options.limits.memory,
        }
    }

    /// Runs to its end what must not be broken off halfway, whatever becomes of whoever asked for it.
    async fn to_the_end<T, W>(&self, work: impl FnOnce(Arc<Self>) -> W) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let inner = self.this.upgrade().ok_or_else(|| Error::internal("the engine is gone"))?;
        let done = tokio::spawn(work(inner)).await;
        done.map_err(|error| Error::internal("a change of jobs was cut off").because(error))?
    }

    async fn execute(&self, parsed: &ParsedStatement, settings: &Settings) -> Result<Answer> {
        self.permit(&parsed.statement, settings).await?;
        let done = |tag: &str| Ok(Answer::Done(tag.into()));
        match &parsed.statement {
            Statement::Query(query) => self.query(query).await,
            Statement::CreateTable(table) => {
                if table.or_replace {
                    self.resume_orphans().await?;
                }
                let mut draft = Draft::new(&*self.snapshot().await?, Existing::Refuse).by(settings);
                draft.create_table(self, parsed, table).await?;
                self.commit_and_start(&draft).await?;
                done("CREATE TABLE")
            }
            Statement::CreateView(view) => {
                if view.materialized {
                    self.resume_orphans().await?;
                }
                let mut draft = Draft::new(&*self.snapshot().await?, Existing::Refuse).by(settings);
                if draft.create_view(self, parsed, view, settings).await?
                    && let Err(error) = self.commit_and_start(&draft).await
                {
                    // A row that its query cannot be computed for: the view never held anything.
                    if error.kind() == ErrorKind::Data && view.materialized {
                        self.drop(&view_drop(view), parsed.position).await?;
                    }
                    return Err(error);
                }
                done(if view.materialized { "CREATE MATERIALIZED VIEW" } else { "CREATE VIEW" })
            }
            Statement::CreateFunction(function) => {
                let mut draft = Draft::new(&*self.snapshot().await?, Existing::Refuse).by(settings);
                draft.create_function(self, parsed, function).await?;
                self.commit_and_start(&draft).await?;
                done("CREATE FUNCTION")
            }
            Statement::Drop(drop) => {
                self.resume_orphans().await?;
                self.drop(drop, parsed.position).await?;
                done("DROP")
            }
            Statement::Insert(insert) => {
                self.resume_orphans().await?;
                match self.is_continuous(insert).await? {
                    true => self.insert_job(parsed, std::slice::from_ref(insert), settings).await,
                    false => {
                        let rows = self.insert(insert).await?;
                        self.flush_if_asked(settings).await?;
                        Ok(Answer::Done(format!("INSERT 0 {rows}")))
                    }
                }
            }
            Statement::Change(change) => {
                self.resume_orphans().await?;
                let tag = self.change(change).await?;
                self.flush_if_asked(settings).await?;
                Ok(Answer::Done(tag))
            }
            Statement::Verify(name) => self.verify(name).await.map_err(|error| error.at(Some(parsed.position))),
            Statement::StatementSet(inserts) => {
                self.resume_orphans().await?;
                self.insert_job(parsed, inserts, settings).await
            }
            Statement::Explain { incremental, query, emission } => self.explain(*incremental, query, *emission).await,
            Statement::ExplainChange(change) => self.explain_change(change).await,
            Statement::Show(show) => self.show(show, settings).await,
            Statement::Describe(name) => self.describe(name).await,
            Statement::Set { name, value } => Ok(match settings.set(name, value)? {
                Some(notice) => Answer::Noticed { tag: "SET".into(), notice },
                None => Answer::Done("SET".into()),
            }),
            Statement::Reset(name) => {
                settings.reset(name.as_deref());
                done("RESET")
            }
            Statement::Job(control, job) => {
                self.control(*control, job).await?;
                Ok(Answer::Done(format!("{} JOB", control.verb())))
            }
            Statement::Subscribe(subscribe) => Ok(Answer::Rows(self.subscribe(subscribe).await?)),
            Statement::Transaction(_) => Err(Error::sql("here every statement is a transaction of its own").hint(
                "transactions of several statements need a connection to `frazil server` over the PostgreSQL protocol",
            )),
            Statement::CopyFrom(_) | Statement::CopyTo(_) | Statement::Cursor(_) | Statement::Deallocate(_) => {
                Err(Error::sql("COPY, cursors and prepared statements are for clients of a server")
                    .hint("connect to `frazil server`, for example with psql"))
            }
            Statement::Access(access) => self.change_access(access, settings).await,
            Statement::Discard => {
                settings.reset(None);
                done("DISCARD ALL")
            }
            Statement::Unlisten => done("UNLISTEN"),
            Statement::Flush => {
                self.resume_orphans().await?;
                self.flush().await?;
                done("FLUSH")
            }
        }
    }

    /// `SET implicit_flush = true`: a change is acknowledged when the views reflect it.
    async fn flush_if_asked(&self, settings: &Settings) -> Result<()> {
        if settings.implicit_flush() { self.flush().await } else { Ok(()) }
    }

    /// Stops the jobs that a draft ends, commits it, and starts those that it stands for.
    async fn commit_and_start(&self, draft: &Draft) -> Result<()> {
        self.refuse_remote(&draft.ended).await?;
        let (requires, actions) = (draft.requires(), draft.actions.clone());
        let (ended, jobs) = (draft.ended.clone(), draft.jobs.clone());
        self.to_the_end(|inner| async move {
            let others = inner.stop_jobs(&ended).await?;
            // Stopping has committed last checkpoints, so only definitions must be as they were.
            let committed = match actions.is_empty() {
                true => Ok(()),
                false => transact(&inner.warehouse, vec![requires], actions).await.map(drop),
            };
            let restart = if committed.is_ok() { [others, jobs] } else { [others, ended] };
            inner.start_jobs(&restart.concat()).await?;
            committed
        })
        .await
    }

    async fn insert_job(&self, parsed: &ParsedStatement, inserts: &[Insert], settings: &Settings) -> Result<Answer> {
        let snapshot = self.snapshot().await?;
        Rights::of(&snapshot, settings.user().as_deref())?.create()?;
        let mut draft = Draft::new(&snapshot, Existing::Refuse).by(settings);
        draft.create_insert_job(self, parsed, inserts, settings).await?;
        self.commit_and_start(&draft).await?;
        let names: Vec<_> =
            draft.jobs.iter().filter_map(|id| draft.snapshot.jobs.get(id)).map(|j| j.name.clone()).collect();
        Ok(Answer::Done(format!("CREATE JOB {}", names.join(", "))))
    }

    async fn drop(&self, drop: &Drop, position: Position) -> Result<()> {
        let mut draft = Draft::new(&*self.snapshot().await?, Existing::Refuse);
        draft.drop(drop, position)?;
        self.commit_and_start(&draft).await
    }

    /// Jobs that run in this process now.
    async fn local_jobs(&self) -> BTreeSet<ObjectId> {
        let pipelines = self.pipelines.lock().await;
        let running = pipelines.iter().filter(|p| !matches!(p.phase(), Phase::Failed(_)) && !p.phase().is_over());
        running.flat_map(|p| p.jobs().to_vec()).collect()
    }
}

/// The statement that undoes a CREATE MATERIALIZED VIEW.
fn view_drop(view: &CreateView) -> Drop {
    Drop { kind: DropKind::MaterializedView, names: vec![view.name.clone()], if_exists: true, cascade: false }
}
