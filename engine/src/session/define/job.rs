//! Continuous INSERTs: one, or a set of them, as a job.

use std::sync::Arc;

use catalog::{Job, JobKind, JobStatus, Object, ObjectId, ObjectKind, Snapshot};

use super::{Draft, Existing, distinct_ids};
use crate::error::{Error, Position, Result};
use crate::plan::build::Emission;
use crate::session::Inner;
use crate::session::settings::Settings;
use crate::sql::context::{Mode, Planner, refuse_volatile, relations};
use crate::sql::statement::{Insert, InsertMode, ParsedStatement};
use crate::sql::table::physical_schema;

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
            let part = inner.plan_insert(&planner, insert).await.map_err(|e| e.at(Some(parsed.position)))?;
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

impl Inner {
    /// Plans one INSERT of a job.
    pub async fn plan_insert(&self, planner: &Planner, insert: &Insert) -> Result<crate::runtime::dataflow::Part> {
        let position = relations(&insert.query).first().and_then(|(_, position)| *position);
        let table = planner.object(&insert.table, None)?;
        if !matches!(table.kind, ObjectKind::Table | ObjectKind::Connector) {
            return Err(Error::sql(format!("{} is a view and cannot be written", table.name))
                .at(position)
                .hint("insert into the tables that it reads"));
        }
        let mut planned = planner.inserted(insert, &table, Mode::Continuous, &[]).await?;
        // Defaults and computed columns may call what a continuous query must not.
        refuse_volatile(&planned.logical)?;
        planned.emission = Emission { on_window_close: insert.on_window_close, processing_time: true };
        let plan = planner.incremental(&planned, &*physical_schema(&table)?)?;
        if table.insert_only && !plan.root().is_some_and(|root| root.properties.insert_only) {
            return Err(Error::sql(format!("{} is APPEND ONLY, but this query takes rows back", table.name))
                .at(position)
                .hint("create the table without APPEND ONLY, or keep the result in a materialized view"));
        }
        let target = self.target(planner, &table)?;
        Ok(crate::runtime::dataflow::Part { plan, target })
    }

    /// Where changes of an object go.
    pub fn target(&self, planner: &Planner, object: &Arc<Object>) -> Result<crate::runtime::dataflow::Target> {
        use crate::runtime::dataflow::Target;
        Ok(match object.kind {
            ObjectKind::Connector => {
                Target::Sink { object: object.clone(), factory: planner.connector(object)?.writable(&object.name)? }
            }
            _ => Target::Table(object.clone()),
        })
    }
}
