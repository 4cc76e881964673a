//! Definitions: what CREATE and DROP change in the catalog, collected in a draft and committed in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Action, Job, JobKind, JobStatus, Object, ObjectId, ObjectKind, Requirement, Snapshot, TableState};
use storage::types::{columns, storable_schema};

use crate::error::{Error, Position, Result};
use crate::session::Inner;
use crate::sql::context::{BASE_DIR, Mode, Planner, fit_to_table, name_inserted, relations, rename, stored_schema};
use crate::sql::statement::{ColumnDefinition, CreateTable, CreateView, Drop, DropKind, Insert, ParsedStatement};
use crate::sql::types::sql_name;

/// What to do with a definition that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Refuse,
    /// The same is taken as it is, another is an error: what `run` does.
    Resume,
}

/// The catalog as it will be, and the actions that make it so.
pub struct Draft {
    /// What would be read after the commit.
    pub snapshot: Snapshot,
    /// What to commit.
    pub actions: Vec<Action>,
    /// Jobs that the statements stand for, new or resumed.
    pub jobs: Vec<ObjectId>,
    existing: Existing,
    ordinals: BTreeMap<String, usize>,
}

impl Draft {
    /// A draft over a snapshot.
    pub fn new(snapshot: &Snapshot, existing: Existing) -> Self {
        Self { snapshot: snapshot.clone(), actions: vec![], jobs: vec![], existing, ordinals: BTreeMap::new() }
    }

    /// What must still hold when the draft is committed.
    pub fn requires(&self) -> Requirement {
        Requirement::DefinitionsUnchangedSince(self.snapshot.version)
    }

    /// Whether a definition is there already; an error if it is another one.
    fn exists(&self, name: &str, text: &str, if_not_exists: bool, position: Position) -> Result<bool> {
        let Some(object) = self.snapshot.object(name) else { return Ok(false) };
        if if_not_exists && self.existing == Existing::Refuse {
            return Ok(true);
        }
        if self.existing == Existing::Resume && object.sql == text {
            return Ok(true);
        }
        let error = match self.existing {
            Existing::Refuse => Error::sql(format!("{name} exists already"))
                .hint(format!("drop it first, choose another name, or write CREATE ... IF NOT EXISTS {name}")),
            Existing::Resume => Error::sql(format!("{name} exists in this warehouse with another definition"))
                .with("definition there", &object.sql)
                .hint(format!(
                    "to compute it anew: DROP it (and what depends on it) in `frazil sql`, or give the new one another name than {name}"
                )),
        };
        Err(error.at(Some(position)))
    }

    fn add_object(&mut self, object: Object) {
        let id = object.id;
        if object.kind.is_stored() {
            self.snapshot.tables.insert(id, Arc::new(TableState::default()));
        }
        self.actions.push(Action::CreateObject(object.clone()));
        self.snapshot.objects.insert(id, Arc::new(object));
    }

    fn add_job(&mut self, job: Job) {
        self.actions.push(Action::CreateJob(job.clone()));
        self.jobs.push(job.id);
        self.snapshot.jobs.insert(job.id, Arc::new(job));
    }

    /// A planner over the draft.
    fn planner(&self, inner: &Inner) -> Planner {
        inner.planner(Arc::new(self.snapshot.clone()))
    }

    /// `CREATE TABLE`.
    pub async fn create_table(&mut self, inner: &Inner, parsed: &ParsedStatement, table: &CreateTable) -> Result<bool> {
        if self.exists(&table.name, &parsed.text, table.if_not_exists, parsed.position)? {
            return Ok(false);
        }
        let connector = table.options.contains_key("connector");
        if !connector && let Some(option) = table.options.keys().next() {
            return Err(Error::new(
                crate::ErrorKind::Option,
                format!("a table without a connector has no option '{option}'"),
            )
            .at(Some(parsed.position))
            .hint("add 'connector' = '...', or leave out WITH (...)"));
        }
        let nested =
            |column: &&ColumnDefinition| column.data_type.is_nested() && table.primary_key.contains(&column.name);
        if let Some(column) = table.columns.iter().find(nested) {
            let found = sql_name(&column.data_type);
            return Err(Error::sql(format!(
                "the column {} of type {found} cannot be part of a PRIMARY KEY",
                column.name
            ))
            .at(Some(parsed.position))
            .hint("use columns of plain types"));
        }
        let fields: Vec<_> = table
            .columns
            .iter()
            .map(|c| {
                arrow::datatypes::Field::new(
                    &c.name,
                    c.data_type.clone(),
                    c.nullable && !table.primary_key.contains(&c.name),
                )
            })
            .collect();
        let schema = storable_schema(&arrow::datatypes::Schema::new(fields))?;
        let mut properties = table.options.clone();
        if let Some(watermark) = &table.watermark {
            properties.insert("frazil.watermark.column".into(), watermark.column.clone());
            properties.insert("frazil.watermark.expression".into(), watermark.expression.clone());
        }
        if connector {
            let base_dir = std::path::absolute(&inner.options.base_dir).unwrap_or(inner.options.base_dir.clone());
            properties.insert(BASE_DIR.into(), base_dir.to_string_lossy().into_owned());
        }
        let object = Object {
            id: inner.warehouse.catalog().allocate_ids(1).await?,
            name: table.name.clone(),
            kind: if connector { ObjectKind::Connector } else { ObjectKind::Table },
            sql: parsed.text.clone(),
            columns: columns(&schema)?,
            key: table.primary_key.clone(),
            insert_only: false,
            properties,
            depends_on: vec![],
        };
        if connector {
            self.planner(inner).connector(&object).map_err(|e| e.at(Some(parsed.position)))?;
        }
        self.add_object(object);
        Ok(true)
    }

    /// `CREATE VIEW` and `CREATE MATERIALIZED VIEW`.
    pub async fn create_view(&mut self, inner: &Inner, parsed: &ParsedStatement, view: &CreateView) -> Result<bool> {
        if view.or_replace {
            return Err(Error::sql("CREATE OR REPLACE is not supported for views yet")
                .at(Some(parsed.position))
                .hint("drop the view and create it again"));
        }
        if self.exists(&view.name, &parsed.text, view.if_not_exists, parsed.position)? {
            if let (true, Some(job)) = (view.materialized, self.snapshot.job(&view.name)) {
                self.jobs.push(job.id);
            }
            return Ok(false);
        }
        let planner = self.planner(inner);
        let mode = if view.materialized { Mode::Continuous } else { Mode::Batch };
        let planned = planner.query(&view.query, mode).await?;
        let logical = rename(planned.logical.clone(), &view.columns)?;
        let schema = stored_schema(&logical).map_err(|e| e.at(Some(parsed.position)))?;
        let (mut key, mut insert_only, mut inputs) = (vec![], false, vec![]);
        if view.materialized {
            let plan = planner.incremental(&planned, &schema).map_err(|e| e.at(Some(parsed.position)))?;
            if let Some(root) = plan.root() {
                let names = |key: &Vec<usize>| key.iter().map(|c| schema.field(*c).name().clone()).collect();
                insert_only = root.properties.insert_only;
                // Nobody looks a row up by key where none is ever taken back.
                key = root.properties.key.as_ref().filter(|_| !insert_only).map(names).unwrap_or_default();
            }
            inputs = distinct_ids(plan.scanned());
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
            properties: BTreeMap::new(),
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
                settings: inner.job_settings(),
                status: JobStatus::Running,
                error: None,
                checkpoint: None,
            });
        }
        Ok(true)
    }

    /// One or several INSERTs as a job.
    pub async fn create_insert_job(
        &mut self,
        inner: &Inner,
        parsed: &ParsedStatement,
        inserts: &[Insert],
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
            settings: inner.job_settings(),
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

    /// `DROP`. Returns the jobs that end with it.
    pub fn drop(&mut self, drop: &Drop, position: Position) -> Result<Vec<ObjectId>> {
        let mut ended = Vec::new();
        for name in &drop.names {
            if drop.kind == DropKind::Job {
                let job = self.snapshot.job(name).cloned();
                let Some(job) = job.filter(|job| job.kind != JobKind::MaterializedView) else {
                    return Err(Error::sql(format!("there is no job named {name} that can be dropped"))
                        .at(Some(position))
                        .hint("SHOW JOBS lists them; the job of a view ends with DROP MATERIALIZED VIEW"));
                };
                self.drop_job(job.id, &mut ended);
                continue;
            }
            let Some(object) = self.snapshot.object(name).cloned() else {
                if drop.if_exists {
                    continue;
                }
                return Err(Error::sql(format!("there is no table or view named {name}")).at(Some(position)));
            };
            let fits = match drop.kind {
                DropKind::Table => matches!(object.kind, ObjectKind::Table | ObjectKind::Connector),
                DropKind::View => object.kind == ObjectKind::View,
                DropKind::MaterializedView => object.kind == ObjectKind::MaterializedView,
                DropKind::Job => false,
            };
            if !fits {
                let what = match object.kind {
                    ObjectKind::Table | ObjectKind::Connector => "TABLE",
                    ObjectKind::View => "VIEW",
                    ObjectKind::MaterializedView => "MATERIALIZED VIEW",
                };
                return Err(Error::sql(format!("{name} is not that kind of object"))
                    .at(Some(position))
                    .hint(format!("write DROP {what} {name}")));
            }
            self.drop_object(&object, drop.cascade, position, &mut ended)?;
        }
        Ok(ended)
    }

    fn drop_object(
        &mut self,
        object: &Object,
        cascade: bool,
        position: Position,
        ended: &mut Vec<ObjectId>,
    ) -> Result<()> {
        let views: Vec<_> =
            self.snapshot.objects.values().filter(|o| o.depends_on.contains(&object.id)).cloned().collect();
        let uses = |job: &&Arc<Job>| {
            job.id != object.id
                && job.kind != JobKind::MaterializedView
                && (job.inputs.contains(&object.id) || job.targets.contains(&object.id))
        };
        let jobs: Vec<_> = self.snapshot.jobs.values().filter(uses).cloned().collect();
        let unfinished = jobs.iter().filter(|job| job.status != JobStatus::Finished);
        let dependents: Vec<_> =
            views.iter().map(|v| v.name.clone()).chain(unfinished.map(|j| format!("job {}", j.name))).collect();
        if !cascade && !dependents.is_empty() {
            return Err(Error::sql(format!(
                "{} cannot be dropped: {} depends on it",
                object.name,
                dependents.join(", ")
            ))
            .at(Some(position))
            .hint("drop what depends on it first, or write CASCADE to drop all of it"));
        }
        for view in views {
            if self.snapshot.objects.contains_key(&view.id) {
                self.drop_object(&view, cascade, position, ended)?;
            }
        }
        for job in jobs {
            self.drop_job(job.id, ended);
        }
        self.drop_job(object.id, ended);
        self.snapshot.objects.remove(&object.id);
        self.snapshot.tables.remove(&object.id);
        self.actions.push(Action::DropObject(object.id));
        Ok(())
    }

    fn drop_job(&mut self, job: ObjectId, ended: &mut Vec<ObjectId>) {
        if self.snapshot.jobs.remove(&job).is_some() {
            self.actions.push(Action::DropJob(job));
            ended.push(job);
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

fn distinct_ids<'a>(objects: impl Iterator<Item = &'a Arc<Object>>) -> Vec<ObjectId> {
    let mut ids: Vec<_> = objects.map(|object| object.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
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
        let mut planned =
            planner.query(&name_inserted(&insert.query, &table, &insert.columns)?, Mode::Continuous).await?;
        planned.logical = fit_to_table(planned.logical, &table, &insert.columns)?;
        let schema = storage::types::arrow_schema(&table)?;
        let plan = planner.incremental(&planned, &schema)?;
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
