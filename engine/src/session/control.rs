//! PAUSE, RESUME, RESTART and STOP of single jobs. What shares a pipeline with such a job goes on without it.

use std::sync::Arc;

use catalog::{Action, Job, JobKind, JobStatus, Snapshot};

use crate::error::{Error, Position, Result};
use crate::runtime::commit::transact;
use crate::session::{Engine, Inner};
use crate::sql::statement::{Drop, DropKind, JobControl, Statement};

impl Engine {
    /// Does with a job what PAUSE, RESUME, RESTART and STOP do.
    ///
    /// # Errors
    /// `Sql` if there is no such job, or if it is in no state for this; `Fenced` if another process runs it; `Denied` if it is
    /// another user's.
    pub async fn control(&self, control: JobControl, name: &str) -> Result<()> {
        self.inner.permit(&Statement::Job(control, name.to_owned()), &self.settings).await?;
        self.inner.control(control, name).await
    }
}

impl Inner {
    /// See [`Engine::control`].
    pub async fn control(&self, control: JobControl, name: &str) -> Result<()> {
        self.resume_orphans().await?;
        let snapshot = self.snapshot().await?;
        let job = job(&snapshot, name)?;
        if job.status == JobStatus::Finished && control != JobControl::Stop {
            return Err(Error::sql(format!("the job {name} has ended: its inputs are read to their end")));
        }
        self.to_the_end(|inner| async move {
            match control {
                JobControl::Pause => inner.pause(&job).await,
                JobControl::Resume => inner.resume(&job).await,
                JobControl::Restart => inner.restart(&job).await,
                JobControl::Stop => inner.stop(&job).await,
            }
        })
        .await
    }

    /// The job stops after a last checkpoint and stays so, whoever opens the warehouse, until it is resumed.
    async fn pause(&self, job: &Arc<Job>) -> Result<()> {
        match job.status {
            JobStatus::Paused => return Ok(()),
            JobStatus::Failed => {
                return Err(Error::sql(format!("the job {} has failed: it does not run", job.name))
                    .hint(format!("RESUME JOB {} starts it again", job.name)));
            }
            _ => self.refuse_remote(&[job.id]).await?,
        }
        // First of all, so that nobody takes the job up between its end and this.
        self.set_status(job, JobStatus::Paused).await?;
        let others = self.stop_jobs(&[job.id]).await?;
        self.start_jobs(&others).await
    }

    /// A paused or failed job goes on from its last checkpoint.
    async fn resume(&self, job: &Arc<Job>) -> Result<()> {
        if self.local_jobs().await.contains(&job.id) {
            return Ok(());
        }
        if job.status == JobStatus::Paused {
            self.set_status(job, JobStatus::Running).await?;
        }
        self.start_jobs(&[job.id]).await
    }

    /// Stops a job after a last checkpoint and starts it from there.
    async fn restart(&self, job: &Arc<Job>) -> Result<()> {
        if job.status != JobStatus::Running {
            return self.resume(job).await;
        }
        self.refuse_remote(&[job.id]).await?;
        let mut jobs = self.stop_jobs(&[job.id]).await?;
        jobs.push(job.id);
        self.start_jobs(&jobs).await
    }

    /// Ends an INSERT job for good; what it has written stays.
    async fn stop(&self, job: &Arc<Job>) -> Result<()> {
        if job.kind == JobKind::MaterializedView {
            let name = &job.name;
            return Err(Error::sql(format!("the job {name} keeps a materialized view: it ends with the view"))
                .hint(format!("PAUSE JOB {name} stops it for a while; DROP MATERIALIZED VIEW {name} ends both")));
        }
        let drop = Drop { kind: DropKind::Job, names: vec![job.name.clone()], if_exists: false, cascade: false };
        self.drop(&drop, Position { line: 1, column: 1 }).await
    }

    async fn set_status(&self, job: &Job, status: JobStatus) -> Result<()> {
        let action = Action::SetJobStatus { job: job.id, status, error: None };
        transact(&self.warehouse, vec![], vec![action]).await?;
        Ok(())
    }
}

fn job(snapshot: &Snapshot, name: &str) -> Result<Arc<Job>> {
    let found = snapshot.job(name).cloned();
    found.ok_or_else(|| Error::sql(format!("there is no job named {name}")).hint("SHOW JOBS lists them"))
}
