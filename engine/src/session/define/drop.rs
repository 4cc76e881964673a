//! DROP: refused while something depends on what is dropped, unless that is dropped too.

use std::sync::Arc;

use catalog::{Action, Job, JobKind, JobStatus, Object, ObjectId, ObjectKind};

use super::{Draft, kind_name, shown_name};
use crate::error::{Error, Position, Result};
use crate::sql::inline::{self, object_name};
use crate::sql::statement::{Drop, DropKind};

/// What kind of object a DROP names.
fn drop_name(kind: DropKind) -> &'static str {
    match kind {
        DropKind::Table => "TABLE",
        DropKind::View => "VIEW",
        DropKind::MaterializedView => "MATERIALIZED VIEW",
        DropKind::Function => "FUNCTION",
        DropKind::Job => "JOB",
    }
}

impl Draft {
    /// `DROP`.
    pub fn drop(&mut self, drop: &Drop, position: Position) -> Result<()> {
        for name in &drop.names {
            if drop.kind == DropKind::Job {
                let job = self.snapshot.job(name).cloned();
                let Some(job) = job.filter(|job| job.kind != JobKind::MaterializedView) else {
                    return Err(Error::sql(format!("there is no job named {name} that can be dropped"))
                        .at(Some(position))
                        .hint("SHOW JOBS lists them; the job of a view ends with DROP MATERIALIZED VIEW"));
                };
                self.drop_job(job.id);
                continue;
            }
            let called = match drop.kind {
                DropKind::Function => object_name(name),
                _ => name.clone(),
            };
            let Some(object) = self.snapshot.object(&called).cloned() else {
                if drop.if_exists {
                    continue;
                }
                let what = if drop.kind == DropKind::Function { "function" } else { "table or view" };
                return Err(Error::sql(format!("there is no {what} named {name}")).at(Some(position)));
            };
            let there = kind_name(object.kind);
            if there != drop_name(drop.kind) {
                return Err(Error::sql(format!("{name} is not that kind of object"))
                    .at(Some(position))
                    .hint(format!("write DROP {there} {name}")));
            }
            self.drop_object(&object, drop.cascade, position)?;
        }
        Ok(())
    }

    pub(super) fn drop_object(&mut self, object: &Object, cascade: bool, position: Position) -> Result<()> {
        let views: Vec<_> =
            self.snapshot.objects.values().filter(|o| o.depends_on.contains(&object.id)).cloned().collect();
        let uses = |job: &&Arc<Job>| {
            job.id != object.id
                && job.kind != JobKind::MaterializedView
                && (job.inputs.contains(&object.id)
                    || job.targets.contains(&object.id)
                    || (object.kind == ObjectKind::Function && inline::calls(&job.sql, shown_name(object))))
        };
        let jobs: Vec<_> = self.snapshot.jobs.values().filter(uses).cloned().collect();
        let unfinished = jobs.iter().filter(|job| job.status != JobStatus::Finished);
        let dependents: Vec<_> = views
            .iter()
            .map(|v| shown_name(v).to_owned())
            .chain(unfinished.map(|j| format!("job {}", j.name)))
            .collect();
        if !cascade && !dependents.is_empty() {
            return Err(Error::sql(format!(
                "{} cannot be dropped: {} depends on it",
                shown_name(object),
                dependents.join(", ")
            ))
            .at(Some(position))
            .hint("drop what depends on it first, or write CASCADE to drop all of it"));
        }
        for view in views {
            if self.snapshot.objects.contains_key(&view.id) {
                self.drop_object(&view, cascade, position)?;
            }
        }
        for job in jobs {
            self.drop_job(job.id);
        }
        self.drop_job(object.id);
        self.snapshot.objects.remove(&object.id);
        self.snapshot.tables.remove(&object.id);
        self.actions.push(Action::DropObject(object.id));
        Ok(())
    }

    fn drop_job(&mut self, job: ObjectId) {
        if self.snapshot.jobs.remove(&job).is_some() {
            self.actions.push(Action::DropJob(job));
            self.ended.push(job);
        }
    }
}
