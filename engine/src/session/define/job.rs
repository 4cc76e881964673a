//! Continuous INSERTs: one, or a set of them, as a job.

use std::sync::Arc;

use catalog::{Job, JobKind, JobStatus, Object, ObjectId, ObjectKind, Snapshot};

use super::{Draft, Existing, distinct_ids};
use crate::error::{Error, Position, Result};
use crate::runtime::planning::plan_insert;
use crate::session::Inner;
use crate::session::settings::Settings;
use crate::sql::statement::{Insert, InsertMode, ParsedStatement};

impl Draft {
    /// One or several INSERTs as a job.
    pub async fn create_insert_job(
        &mut self,
        inner: &Inner,
        parsed: &ParsedStatement,
        inserts: &[Insert],
        settings: &Settings,
    ) -> Result<()> {
        let kind = if inserts.len() == 1 { JobKind::Insert } else { JobKind::StatementSet };
        let base = match inserts {
            [insert] => format!("insert_into_{}", insert.table),
            _ => "statement_set".to_string(),
        };
        let ordinal = self.ordinals.entry(base.clone()).or_default();
        *ordinal += 1;
        let mut name = format!("{base}_{ordinal}");
        if self.existing == Existing::Refuse {
            let mut n = *ordinal;
            while self.snapshot.job(&name).is_some() {
                n += 1;
                name = format!("{base}_{n}");
            }
        }
        if let Some(job) = self.snapshot.job(&name).cloned() {
            if job.sql == parsed.text {
                self.jobs.push(job.id);
                return Ok(());
            }
            return Err(Error::sql(format!("the job {name} exists in this warehouse with another statement"))
                .with("statement there", &job.sql)
                .at(Some(parsed.position))
                .hint(format!(
                    "DROP JOB {name} in `frazil sql` to start the new one; what the old one has written stays"
                )));
        }
        let planner = self.planner(inner);
        let (mut targets, mut inputs) = (vec![], vec![]);
        for insert in inserts {
            if !matches!(insert.mode, InsertMode::Upsert) {
                return Err(Error::sql("INSERT OVERWRITE and ON CONFLICT run once: they cannot be continuous")
                    .at(Some(parsed.position))
                    .hint("use INSERT INTO: into a table with PRIMARY KEY it replaces the rows with the same keys"));
            }
            let table = planner.object(&insert.table, None).map_err(|e| e.at(Some(parsed.position)))?;
            let part = plan_insert(&planner, insert).await.map_err(|e| e.at(Some(parsed.position)))?;
            self.refuse_second_writer(&table, parsed.position)?;
            targets.push(table.id);
            inputs.extend(distinct_ids(part.plan.scanned()));
        }
        inputs.sort_unstable();
        inputs.dedup();
        let id = inner.warehouse.catalog().allocate_ids(1).await?;
        self.add_job(Job {
            id,
            name,
            kind,
            sql: parsed.text.clone(),
            targets,
            inputs,
            settings: settings.for_jobs(),
            status: JobStatus::Running,
            error: None,
            checkpoint: None,
        });
        Ok(())
    }

    /// A continuous writer of a keyed table knows its rows by heart; a second writer would change them behind its back.
    fn refuse_second_writer(&self, table: &Object, position: Position) -> Result<()> {
        if table.kind != ObjectKind::Table || table.key.is_empty() {
            return Ok(());
        }
        match writer_of(&self.snapshot, table.id) {
            None => Ok(()),
            Some(job) => Err(Error::sql(format!("the keyed table {} is written by the job {}", table.name, job.name))
                .at(Some(position))
                .hint("a keyed table has one continuous writer: combine both queries by UNION ALL")),
        }
    }
}

/// The unfinished job that writes a table by INSERT.
pub fn writer_of(snapshot: &Snapshot, table: ObjectId) -> Option<&Arc<Job>> {
    let writes = |job: &&Arc<Job>| {
        job.kind != JobKind::MaterializedView && job.status != JobStatus::Finished && job.targets.contains(&table)
    };
    snapshot.jobs.values().find(writes)
}
