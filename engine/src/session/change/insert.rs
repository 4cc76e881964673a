//! INSERT: which rows come, and what becomes of those with the same keys.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::row::{RowConverter, SortField};
use catalog::{Object, ObjectKind};
use datafusion::datasource::TableProvider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;

use super::apply::refuse_nulls;
use super::keys::row_text;
use super::spool::Spool;
use super::{Computed, Plan, changeable, finish, refuse_second_writer, refuse_views};
use crate::change::Changes;
use crate::error::{Error, Result};
use crate::operator::Epoch;
use crate::plan::build::internal_schema;
use crate::runtime::dataflow::{Target as Output, key_columns};
use crate::runtime::planning::target;
use crate::session::Inner;
use crate::sql::change::{self, ChangeQuery, Layout, NEW_ROWS};
use crate::sql::context::{Mode, Planned, Planner, relations};
use crate::sql::scan::{memory_table, scan_of};
use crate::sql::statement::{ConflictAction, Insert, InsertMode, OnConflict, Target};
use crate::sql::table::{TableColumns, physical_schema};

impl Inner {
    /// Whether an INSERT never ends because an input never ends.
    pub async fn is_continuous(&self, insert: &Insert) -> Result<bool> {
        let planner = self.planner(self.snapshot().await?);
        let mut names = relations(&insert.query);
        while let Some((name, position)) = names.pop() {
            let object = planner.object(&name, position)?;
            match object.kind {
                ObjectKind::Connector if !planner.connector(&object)?.readable(&name)?.bounded() => return Ok(true),
                ObjectKind::View => names.extend(relations(&crate::sql::context::view_query(&object)?)),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Computes an INSERT. Rows for a connector are written at once: connectors know no transactions.
    ///
    /// `tables`: what the statement's query finds besides the tables of the warehouse.
    pub(super) async fn compute_insert(
        &self,
        planner: &Planner,
        insert: &Insert,
        tables: &[(&str, Arc<dyn TableProvider>)],
    ) -> Result<Computed> {
        let table = match &insert.mode {
            InsertMode::Upsert => planner.object(&insert.table, None)?,
            InsertMode::OnConflict(_) | InsertMode::Overwrite => changeable(planner, &insert.table, None)?,
        };
        refuse_views(&table)?;
        refuse_second_writer(planner, &table)?;
        let Planned { logical, state, .. } = planner.inserted(insert, &table, Mode::Batch, tables).await?;
        Ok(match (&insert.mode, target(planner, &table)?) {
            (_, Output::Sink { factory, object }) => {
                let rows = self.rows(&object, state, logical).await?;
                let inserted = rows.num_rows() as u64;
                let epoch = Epoch { number: 1, timestamp_ms: self.options.clock.now_ms() };
                factory.open(0)?.write(epoch, &[Changes::inserts(rows)])?;
                Computed { spool: Spool::new(object.clone()), table: object, rows: inserted, depends_on_table: false }
            }
            (InsertMode::Upsert, Output::Table(table)) if table.key.is_empty() => {
                let layout = Layout { new: true, ..Layout::default() };
                self.apply(planner, table, Plan { logical, state, layout }, false).await?
            }
            (InsertMode::Upsert, Output::Table(table)) => {
                let rows = self.rows(&table, state, logical).await?;
                self.upsert(planner, table, rows).await?
            }
            (InsertMode::OnConflict(clause), Output::Table(table)) => {
                self.on_conflict(planner, table, clause, state, logical).await?
            }
            (InsertMode::Overwrite, Output::Table(table)) if table.key.is_empty() => {
                self.overwrite(planner, table, logical, state).await?
            }
            (InsertMode::Overwrite, Output::Table(table)) => {
                let rows = self.rows(&table, state.clone(), logical).await?;
                let given = rows.num_rows() as u64;
                let rows = one_per_key(&rows, &key_columns(&table)?, Keep::Last)?;
                let rows = scan_of(NEW_ROWS, memory_table(rows.schema(), vec![rows])?)?;
                Computed { rows: given, ..self.overwrite(planner, table, rows, state).await? }
            }
        })
    }

    /// Computes what becomes of a keyed table by rows that replace those of the same keys; of several, the last counts.
    pub(super) async fn upsert(&self, planner: &Planner, table: Arc<Object>, rows: RecordBatch) -> Result<Computed> {
        let given = rows.num_rows() as u64;
        let rows = one_per_key(&rows, &key_columns(&table)?, Keep::Last)?;
        Ok(Computed { rows: given, ..self.keyed(planner, table, rows, None).await? })
    }

    /// The result of a query as one batch with the table's columns, none of them NULL that must not be.
    pub(super) async fn rows(&self, table: &Object, state: SessionState, logical: LogicalPlan) -> Result<RecordBatch> {
        let schema = internal_schema(physical_schema(table)?.as_ref());
        let batches = self.collect(state, logical).await?;
        let batches = batches.into_iter().map(|b| crate::change::batch(&schema, b.columns().to_vec(), b.num_rows()));
        let rows = concat_batches(&schema, &batches.collect::<Result<Vec<_>>>()?)?;
        if table.kind != ObjectKind::Connector {
            refuse_nulls(table, rows.columns())?;
        }
        Ok(rows)
    }

    async fn on_conflict(
        &self,
        planner: &Planner,
        table: Arc<Object>,
        clause: &OnConflict,
        state: SessionState,
        logical: LogicalPlan,
    ) -> Result<Computed> {
        if table.key.is_empty() {
            return Err(Error::sql(format!("{} has no PRIMARY KEY, so no row can conflict with another", table.name))
                .hint("leave out ON CONFLICT, or create the table with a PRIMARY KEY")
                .at(clause.position));
        }
        let named: HashSet<&String> = clause.key.iter().collect();
        if !clause.key.is_empty() && named != table.key.iter().collect() {
            return Err(Error::sql(format!("ON CONFLICT does not name the key of {}", table.name))
                .hint(format!("write ON CONFLICT ({})", table.key.join(", ")))
                .at(clause.position));
        }
        let rows = self.rows(&table, state, logical).await?;
        let keep = match clause.action {
            ConflictAction::Nothing => Keep::First,
            ConflictAction::Update { .. } => Keep::Only,
        };
        let rows = one_per_key(&rows, &key_columns(&table)?, keep)?;
        self.keyed(planner, table, rows, Some(&clause.action)).await
    }

    /// Computes what becomes of a keyed table by rows of different keys.
    async fn keyed(
        &self,
        planner: &Planner,
        table: Arc<Object>,
        rows: RecordBatch,
        on_conflict: Option<&ConflictAction>,
    ) -> Result<Computed> {
        let columns = TableColumns::of(&table)?;
        // Only clauses of the statement call the table by its name.
        let alias = on_conflict.is_none().then(|| "__target".to_owned());
        let target = Target { table: table.name.clone(), alias, position: None };
        let ChangeQuery { query, layout } = change::insert(&target, &columns, on_conflict)?;
        let new = [(NEW_ROWS, memory_table(rows.schema(), vec![rows])?)];
        let planned = planner.query_over(&query, Mode::Batch, &new).await?;
        let logical = finish::finish(planner, &planned.state, planned.logical, &columns, layout)?;
        self.apply(planner, table, Plan { logical, state: planned.state, layout }, true).await
    }
}

/// Which of several rows of one key counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    First,
    Last,
    /// There must not be several.
    Only,
}

fn one_per_key(rows: &RecordBatch, key: &[usize], keep: Keep) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = key.iter().map(|k| rows.column(*k).clone()).collect();
    let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut seen = HashSet::new();
    let mut kept: Vec<bool> = match keep {
        Keep::Last => (0..rows.num_rows()).rev().map(|row| seen.insert(keys.row(row))).collect(),
        Keep::First | Keep::Only => (0..rows.num_rows()).map(|row| seen.insert(keys.row(row))).collect(),
    };
    if keep == Keep::Last {
        kept.reverse();
    }
    match kept.iter().position(|kept| !kept) {
        None => Ok(rows.clone()),
        Some(row) if keep == Keep::Only => Err(Error::data(format!(
            "ON CONFLICT DO UPDATE would change the row with key {} twice",
            row_text(&columns, row)
        ))
        .hint("nothing was changed: make sure that no two of the new rows have the same key")),
        Some(_) => Ok(filter_record_batch(rows, &BooleanArray::from(kept))?),
    }
}
