//! Jobs of the catalog as plans: the same statement over the same definitions gives the same plan in every process, so what
//! travels between processes are definitions, never plans.

use std::sync::Arc;

use catalog::{Job, Object, ObjectKind};

use crate::error::{Error, ErrorKind, Result};
use crate::hash::mix_bytes;
use crate::plan::build::Emission;
use crate::plan::explain::explain;
use crate::plan::guard::{Failures, OnError, guard};
use crate::runtime::checkpoint::{Payload, Positions};
use crate::runtime::dataflow::{OpenInput, Opened, Part, PlannedJob, Target};
use crate::sql::context::{Mode, Planner, refuse_volatile, relations, rename};
use crate::sql::statement::{Insert, Statement};
use crate::sql::table::physical_schema;

/// The setting that says what happens to rows that an expression fails on.
pub const ON_ERROR: &str = "job.on-error";

/// Plans a job of the catalog.
///
/// # Errors
/// If its statement, which was planned once when the job was created, cannot be planned any more.
pub async fn plan_job(planner: &Planner, job: &Arc<Job>) -> Result<PlannedJob> {
    let statement = crate::sql::parse::parse(&job.sql)?.into_iter().next().map(|parsed| parsed.statement);
    let mut parts = match statement {
        Some(Statement::CreateView(view)) => {
            let object = planner.object(&view.name, None)?;
            let mut planned = planner.query(&view.query, Mode::Continuous).await?;
            planned.logical = rename(planned.logical, &view.columns)?;
            planned.emission.on_window_close = view.on_window_close;
            let schema = storage::types::arrow_schema(&object)?;
            let plan = planner.incremental(&planned, &schema)?;
            vec![Part { plan, target: target(planner, &object)? }]
        }
        Some(Statement::Insert(insert)) => vec![plan_insert(planner, &insert).await?],
        Some(Statement::StatementSet(inserts)) => {
            let mut parts = Vec::new();
            for insert in &inserts {
                parts.push(plan_insert(planner, insert).await?);
            }
            parts
        }
        _ => return Err(Error::new(ErrorKind::Corrupt, "the catalog holds no statement for a job")),
    };
    let positions = match &job.checkpoint {
        Some(checkpoint) => Payload::read(job, checkpoint)?.positions,
        None => Positions::default(),
    };
    let fingerprint = parts.iter().fold(0, |hash, part| mix_bytes(hash, explain(&part.plan).as_bytes()));
    let failures = Failures::default();
    let on_error = job.settings.get(ON_ERROR).and_then(|value| OnError::from_setting(value)).unwrap_or_default();
    parts.iter_mut().for_each(|part| guard(&mut part.plan, on_error, &failures));
    let fingerprint = format!("{fingerprint:016x}");
    Ok(PlannedJob { job: job.clone(), parts, positions, fingerprint, failures })
}

impl PlannedJob {
    /// What the job's checkpoint holds, if it has one.
    ///
    /// # Errors
    /// `Conflict` if another plan wrote it.
    pub fn payload(&self) -> Result<Option<Payload>> {
        let Some(checkpoint) = &self.job.checkpoint else { return Ok(None) };
        let payload = Payload::read(&self.job, checkpoint)?;
        if payload.fingerprint != self.fingerprint {
            return Err(Error::new(ErrorKind::Conflict, "the state of a job was written by another plan")
                .with("job", &self.job.name)
                .hint("drop the view and create it again: its rows are computed anew"));
        }
        Ok(Some(payload))
    }
}

/// Plans one INSERT of a job.
pub async fn plan_insert(planner: &Planner, insert: &Insert) -> Result<Part> {
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
    let target = target(planner, &table)?;
    Ok(Part { plan, target })
}

/// Where changes of an object go.
pub fn target(planner: &Planner, object: &Arc<Object>) -> Result<Target> {
    Ok(match object.kind {
        ObjectKind::Connector => {
            Target::Sink { object: object.clone(), factory: planner.connector(object)?.writable(&object.name)? }
        }
        _ => Target::Table(object.clone()),
    })
}

impl OpenInput for Planner {
    fn open(&self, object: &Object) -> Result<Opened> {
        let source = self.connector(object)?.readable(&object.name)?;
        Ok(Opened { source, delay: self.delay(object)?, late: self.late_table(object)? })
    }

    fn delay(&self, object: &Object) -> Result<Option<i64>> {
        Planner::delay(self, object)
    }
}
