//! SHOW, DESCRIBE and EXPLAIN: what there is, as rows of text.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{Object, ObjectKind, Snapshot};
use datafusion::physical_plan::displayable;
use datafusion::sql::sqlparser::ast;
use storage::types::arrow_schema;

use crate::error::{Error, Result};
use crate::plan::build::Emission;
use crate::plan::explain::explain;
use crate::session::adhoc::rows;
use crate::session::inspect::object_kind_name;
use crate::session::settings::Settings;
use crate::session::users;
use crate::session::{Answer, Inner};
use crate::sql::context::{Mode, stored_schema};
use crate::sql::inline::definition;
use crate::sql::parse::quoted;
use crate::sql::statement::{Change, Show};
use crate::sql::types::sql_name;

/// A table or view as others may want to describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its columns.
    pub columns: SchemaRef,
    /// Names of the key columns; empty if it has none.
    pub key: Vec<String>,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A table, stored or behind a connector.
    Table,
    /// A view that is computed when it is read.
    View,
    /// A view that is kept.
    MaterializedView,
}

/// All tables and views of a snapshot.
pub(super) fn relations(snapshot: &Snapshot) -> Result<Vec<Relation>> {
    let relation = |object: &Arc<Object>| {
        let kind = match object.kind {
            ObjectKind::Table | ObjectKind::Connector => RelationKind::Table,
            ObjectKind::View => RelationKind::View,
            ObjectKind::MaterializedView => RelationKind::MaterializedView,
            ObjectKind::Function => return None,
        };
        let columns = arrow_schema(object).map_err(Into::into);
        Some(columns.map(|columns| Relation { name: object.name.clone(), kind, columns, key: object.key.clone() }))
    };
    snapshot.objects.values().filter_map(relation).collect()
}

/// A table of text: names of the columns, then the rows.
fn table(columns: &[&str], lines: Vec<Vec<Option<String>>>) -> Result<Answer> {
    let fields: Vec<_> = columns.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    let arrays = (0..columns.len())
        .map(|c| Arc::new(lines.iter().map(|line| line[c].clone()).collect::<StringArray>()) as ArrayRef)
        .collect();
    Ok(rows(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?))
}

impl Inner {
    /// `SHOW ...`.
    pub async fn show(&self, show: &Show, settings: &Settings) -> Result<Answer> {
        let snapshot = self.snapshot().await?;
        match show {
            Show::Tables => {
                let wanted = |o: &&Arc<Object>| matches!(o.kind, ObjectKind::Table | ObjectKind::Connector);
                let line =
                    |o: &Arc<Object>| vec![Some(o.name.clone()), Some(object_kind_name(o)), Some(o.key.join(", "))];
                table(&["name", "kind", "key"], sorted(snapshot.objects.values().filter(wanted).map(line)))
            }
            Show::Views => {
                let wanted = |o: &&Arc<Object>| matches!(o.kind, ObjectKind::View | ObjectKind::MaterializedView);
                let line =
                    |o: &Arc<Object>| vec![Some(o.name.clone()), Some(object_kind_name(o)), Some(o.key.join(", "))];
                table(&["name", "kind", "key"], sorted(snapshot.objects.values().filter(wanted).map(line)))
            }
            Show::Functions => {
                let functions = snapshot.objects.values().filter(|o| o.kind == ObjectKind::Function);
                let lines = functions.map(|object| {
                    let function = definition(object)?;
                    let parameters = arrow_schema(object)?;
                    let parameters = parameters.fields().iter();
                    let parameters: Vec<_> =
                        parameters.map(|p| format!("{} {}", quoted(p.name()), sql_name(p.data_type()))).collect();
                    let returns = sql_name(&crate::sql::types::arrow_type(&function.returns)?);
                    Ok(vec![
                        Some(function.name),
                        Some(parameters.join(", ")),
                        Some(returns),
                        Some(function.body.to_string()),
                    ])
                });
                let lines = lines.collect::<Result<Vec<_>>>()?;
                table(&["name", "parameters", "returns", "body"], sorted(lines.into_iter()))
            }
            Show::Jobs => self.show_jobs().await,
            Show::Users => table(&["name", "superuser", "can_connect"], users::users(&snapshot.access)),
            Show::Grants => table(&["object", "user", "privilege"], users::grants(&snapshot)),
            Show::Create(name) => {
                let object = self.planner(snapshot).object(name, None)?;
                table(&["name", "statement"], vec![vec![Some(object.name.clone()), Some(object.sql.clone())]])
            }
            Show::Setting(name) => {
                let value = settings
                    .get(name)
                    .or_else(|| (name == "commit_interval").then(|| format!("{:?}", self.options.commit_interval)));
                match value {
                    Some(value) => table(&[name], vec![vec![Some(value)]]),
                    None => Err(Error::sql(format!("there is no setting named {name}"))
                        .hint("SHOW TABLES, SHOW VIEWS, SHOW FUNCTIONS, SHOW JOBS, SHOW USERS, SHOW GRANTS, SHOW CREATE TABLE name, SHOW commit_interval")),
                }
            }
        }
    }

    async fn show_jobs(&self) -> Result<Answer> {
        let jobs = self.job_infos().await?;
        let lines = jobs.iter().map(|job| {
            // Counts are those of its checkpoint.
            let count = |count: u64| job.epoch.map(|_| count.to_string());
            vec![
                Some(job.name.clone()),
                Some(job.kind.into()),
                Some(format!("{:?}", job.status).to_lowercase()),
                job.runner.as_ref().map(ToString::to_string),
                job.epoch.map(|epoch| epoch.to_string()),
                job.version.map(|version| version.to_string()),
                count(job.skipped_rows),
                count(job.failed_values),
                count(job.late_rows),
                job.error.clone(),
            ]
        });
        let lines = lines.collect();
        let columns = [
            "name",
            "kind",
            "status",
            "runner",
            "epoch",
            "version",
            "skipped_rows",
            "failed_values",
            "late_rows",
            "error",
        ];
        table(&columns, lines)
    }

    /// `DESCRIBE name`.
    pub async fn describe(&self, name: &str) -> Result<Answer> {
        let object = self.planner(self.snapshot().await?).object(name, None)?;
        let schema = arrow_schema(&object)?;
        let lines = schema.fields().iter().map(|field| {
            let key = if object.key.contains(field.name()) { "key" } else { "" };
            let nullable = if field.is_nullable() { "YES" } else { "NO" };
            let cells = [field.name().as_str(), &sql_name(field.data_type()), nullable, key];
            cells.iter().map(|cell| Some((*cell).to_string())).collect()
        });
        table(&["column", "type", "nullable", "key"], lines.collect())
    }

    /// `EXPLAIN` of a statement that changes rows.
    pub async fn explain_change(&self, change: &Change) -> Result<Answer> {
        let text = self.change_plan(change).await?;
        table(&["plan"], text.lines().map(|line| vec![Some(line.to_string())]).collect())
    }

    /// `EXPLAIN` and `EXPLAIN INCREMENTAL`.
    pub async fn explain(&self, incremental: bool, query: &ast::Query, emission: Emission) -> Result<Answer> {
        let planner = self.planner(self.snapshot().await?);
        let text = if incremental {
            let mut planned = planner.query(query, Mode::Continuous).await?;
            planned.emission = emission;
            let schema = stored_schema(&planned.logical)?;
            explain(&planner.incremental(&planned, &schema)?)
        } else {
            let planned = planner.query(query, Mode::Batch).await?;
            let physical = planned.state.create_physical_plan(&planned.logical).await?;
            displayable(physical.as_ref()).indent(false).to_string()
        };
        table(&["plan"], text.lines().map(|line| vec![Some(line.to_string())]).collect())
    }
}

fn sorted(lines: impl Iterator<Item = Vec<Option<String>>>) -> Vec<Vec<Option<String>>> {
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}
