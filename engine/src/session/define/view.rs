//! CREATE VIEW and CREATE MATERIALIZED VIEW.

use std::collections::BTreeMap;

use catalog::{Job, JobKind, JobStatus, Object, ObjectKind};
use storage::types::columns;

use super::{Draft, New, distinct_ids};
use crate::error::Result;
use crate::plan::watermark;
use crate::session::Inner;
use crate::session::settings::Settings;
use crate::sql::context::{Mode, rename, stored_schema};
use crate::sql::statement::{CreateView, ParsedStatement};

impl Draft {
    /// `CREATE VIEW` and `CREATE MATERIALIZED VIEW`.
    pub async fn create_view(
        &mut self,
        inner: &Inner,
        parsed: &ParsedStatement,
        view: &CreateView,
        settings: &Settings,
    ) -> Result<bool> {
        let new = New {
            name: &view.name,
            kind: if view.materialized { "MATERIALIZED VIEW" } else { "VIEW" },
            text: &parsed.text,
            if_not_exists: view.if_not_exists,
            or_replace: view.or_replace,
            position: parsed.position,
        };
        if self.exists(&new)? {
            if let (true, Some(job)) = (view.materialized, self.snapshot.job(&view.name)) {
                self.jobs.push(job.id);
            }
            return Ok(false);
        }
        let planner = self.planner(inner);
        let mode = if view.materialized { Mode::Continuous } else { Mode::Batch };
        let mut planned = planner.query(&view.query, mode).await?;
        planned.emission.on_window_close = view.on_window_close;
        let logical = rename(planned.logical.clone(), &view.columns)?;
        let schema = stored_schema(&logical).map_err(|e| e.at(Some(parsed.position)))?;
        let (mut key, mut insert_only, mut inputs) = (vec![], false, vec![]);
        let mut properties = BTreeMap::new();
        if view.materialized {
            let plan = planner.incremental(&planned, &schema).map_err(|e| e.at(Some(parsed.position)))?;
            if let Some(root) = plan.root() {
                let names = |key: &Vec<usize>| key.iter().map(|c| schema.field(*c).name().clone()).collect();
                insert_only = root.properties.insert_only;
                // Nobody looks a row up by key where none is ever taken back.
                key = root.properties.key.as_ref().filter(|_| !insert_only).map(names).unwrap_or_default();
            }
            inputs = distinct_ids(plan.scanned());
            let timed = watermark::columns(&plan).pop().unwrap_or_default();
            if !timed.is_empty() {
                let names: Vec<_> = timed.iter().map(|column| schema.field(*column).name().as_str()).collect();
                properties.insert(watermark::COLUMNS.into(), names.join(","));
            }
        }
        let id = inner.warehouse.catalog().allocate_ids(1).await?;
        self.add_object(Object {
            id,
            name: view.name.clone(),
            kind: if view.materialized { ObjectKind::MaterializedView } else { ObjectKind::View },
            sql: parsed.text.clone(),
            columns: columns(&schema)?,
            key,
            insert_only,
            properties,
            depends_on: distinct_ids(planned.reads.iter()),
        });
        if view.materialized {
            self.add_job(Job {
                id,
                name: view.name.clone(),
                kind: JobKind::MaterializedView,
                sql: parsed.text.clone(),
                targets: vec![id],
                inputs,
                settings: settings.for_jobs(),
                status: JobStatus::Running,
                error: None,
                checkpoint: None,
            });
        }
        Ok(true)
    }
}
