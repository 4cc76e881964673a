//! A file of definitions and INSERTs as a whole: what is there unchanged is resumed, the rest is created, and all its jobs run.

use catalog::{JobStatus, ObjectId};

use crate::error::{Error, Result};
use crate::session::define::{Draft, Existing};
use crate::session::settings::Settings;
use crate::session::{Engine, Inner};
use crate::sql::parse::parse;
use crate::sql::statement::{ParsedStatement, Statement};

impl Engine {
    /// Executes a file: definitions that exist unchanged are resumed, changed ones are an error; every view and INSERT becomes a job
    /// that this process runs. Relative paths start at the engine's base directory. Returns once all are started.
    pub async fn run(&self, sql: &str) -> Result<()> {
        self.session_of(self.user(), Some(self.inner.options.base_dir.clone())).submit(sql).await.map(drop)
    }

    /// The same where relative paths start at the session's base directory, also those of tables that the file created when it
    /// was somewhere else. If the session has none, paths of new tables start at the engine's, and those of others where they did.
    /// Returns the names of the file's jobs; those that are paused stay so.
    pub async fn submit(&self, sql: &str) -> Result<Vec<String>> {
        let statements = parse(sql)?;
        let inner = &self.inner;
        let snapshot = inner.snapshot().await?;
        let mut draft = Draft::new(&snapshot, Existing::Resume).by(&self.settings);
        for parsed in &statements {
            let at = Some(parsed.position);
            draft.permit(&parsed.statement).map_err(|error| error.at(at))?;
            inner.define(&mut draft, parsed, &self.settings).await.map_err(|error| error.at(at))?;
        }
        inner.note_base_dirs(&draft);
        let status = |id: &ObjectId| draft.snapshot.jobs.get(id).map(|job| job.status);
        // A run that was killed between the end of its jobs and its last tiering left their tables hot: this one tiers them.
        let ended = draft.jobs.iter().filter(|id| status(id) == Some(JobStatus::Finished));
        let ended = ended.filter_map(|id| draft.snapshot.jobs.get(id));
        ended.flat_map(|job| &job.targets).for_each(|target| inner.touched.add(*target));
        let jobs: Vec<_> = draft.jobs.iter().filter_map(|id| draft.snapshot.jobs.get(id)).cloned().collect();
        for job in jobs.iter().filter(|job| job.status == JobStatus::Paused) {
            tracing::warn!("the job {0} is paused: RESUME JOB {0} starts it", job.name);
        }
        let local = inner.local_jobs().await;
        draft.jobs.retain(|id| !local.contains(id));
        inner.commit_and_start(&draft).await?;
        Ok(jobs.iter().map(|job| job.name.clone()).collect())
    }
}

impl Inner {
    /// One statement of a file.
    async fn define(&self, draft: &mut Draft, parsed: &ParsedStatement, settings: &Settings) -> Result<()> {
        match &parsed.statement {
            Statement::CreateTable(table) => draft.create_table(self, parsed, table).await.map(|_| ()),
            Statement::CreateView(view) => draft.create_view(self, parsed, view, settings).await.map(|_| ()),
            Statement::CreateFunction(function) => draft.create_function(self, parsed, function).await,
            Statement::Insert(insert) => {
                draft.create_insert_job(self, parsed, std::slice::from_ref(insert), settings).await
            }
            Statement::StatementSet(inserts) => draft.create_insert_job(self, parsed, inserts, settings).await,
            Statement::Set { name, value } => {
                if let Some(notice) = settings.set(name, value)? {
                    tracing::warn!("{notice}");
                }
                Ok(())
            }
            _ => Err(Error::sql("a file that is run may hold CREATE, INSERT, EXECUTE STATEMENT SET and SET only")
                .hint("use `frazil sql -f FILE` for queries and other statements")),
        }
    }

    /// Paths of the draft's tables start at its directory as long as this process lives.
    fn note_base_dirs(&self, draft: &Draft) {
        let mut known = self.base_dirs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut dirs = known.as_ref().clone();
        dirs.extend(draft.base_dirs.clone());
        *known = std::sync::Arc::new(dirs);
    }
}
