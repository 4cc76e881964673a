//! Statements that change rows once: INSERT, UPDATE, DELETE, MERGE, TRUNCATE.
//!
//! Each is one transaction: it reads one version, computes in batch which rows go and which come, writes them as segments
//! while they are computed, and commits them on condition that nobody else changed the table meanwhile; if somebody did,
//! it starts again.

use std::sync::Arc;

use arrow::array::RecordBatch;
use catalog::{Action, NewSegment, Object, ObjectId, ObjectKind, Requirement, Version};
use datafusion::datasource::TableProvider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;

pub(super) use self::copy::sent_rows;
pub(super) use self::group::Groups;
pub(super) use self::locks::Writers;
use self::spool::Spool;
use crate::error::{Error, ErrorKind, Position, Result};
use crate::runtime::commit::transact;
use crate::session::Inner;
use crate::session::define::writer_of;
use crate::sql::change::{self, ChangeQuery, Layout};
use crate::sql::context::{Mode, Planner};
use crate::sql::statement::{COPIED_ROWS, Change, Insert, Target};
use crate::sql::table::TableColumns;

mod apply;
mod copy;
mod finish;
mod group;
mod insert;
mod keys;
mod locks;
mod overwrite;
mod spool;

/// How often a statement starts again because another one changed the same table meanwhile.
const ATTEMPTS: usize = 20;

/// A change of a table that is computed and not committed yet.
struct Computed {
    table: Arc<Object>,
    spool: Spool,
    /// Rows that the statement is about, for its answer.
    rows: u64,
    /// It is right only if the table is still as it was read.
    depends_on_table: bool,
}

/// A change of a table that is written and not committed yet.
pub(super) struct Written {
    pub(super) table: ObjectId,
    pub(super) segments: Vec<NewSegment>,
    /// It is right only if the table is still as it was read.
    pub(super) depends_on_table: bool,
}

/// A statement, in whichever form.
#[derive(Clone, Copy)]
pub(super) enum Work<'a> {
    Insert(&'a Insert),
    Change(&'a Change),
    /// An INSERT whose query reads rows that a client sends.
    Copy(&'a Insert, &'a Arc<dyn TableProvider>),
    /// Rows with the columns of a table, to be inserted by whoever has its turn.
    Rows(ObjectId, &'a [RecordBatch]),
}

impl<'a> Work<'a> {
    /// Names of the tables whose turn it needs.
    fn targets(self) -> Vec<&'a str> {
        match self {
            Self::Rows(..) => vec![],
            Self::Insert(insert) | Self::Copy(insert, _) => vec![&insert.table],
            Self::Change(Change::Update(update)) => vec![&update.target.table],
            Self::Change(Change::Delete(delete)) => vec![&delete.target.table],
            Self::Change(Change::Merge(merge)) => vec![&merge.target.table],
            Self::Change(Change::Truncate(tables)) => tables.iter().map(String::as_str).collect(),
        }
    }
}

/// A change query that is planned.
struct Plan {
    logical: LogicalPlan,
    state: SessionState,
    layout: Layout,
}

impl Inner {
    /// Runs an INSERT to its end. Returns the number of rows that its query gave.
    pub async fn insert(&self, insert: &Insert) -> Result<u64> {
        match self.grouped_insert(insert).await? {
            Some(rows) => Ok(rows),
            None => self.work(Work::Insert(insert)).await,
        }
    }

    /// Runs another change to its end. Returns PostgreSQL's command tag.
    pub async fn change(&self, change: &Change) -> Result<String> {
        Ok(tag(change, self.work(Work::Change(change)).await?))
    }

    /// The first attempt lets others go on with the same tables; once it was in vain, they wait.
    async fn work(&self, work: Work<'_>) -> Result<u64> {
        let mut last = None;
        let mut _turn = Vec::new();
        for attempt in 0..ATTEMPTS {
            if attempt == 1 {
                let snapshot = self.snapshot().await?;
                let targets = work.targets().into_iter().filter_map(|name| snapshot.object(name));
                _turn = self.writers.turn(targets.map(|table| table.id)).await;
            }
            match self.attempt(work).await {
                Err(error) if error.kind() == ErrorKind::Conflict => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("a statement gave up without a reason")))
    }

    async fn attempt(&self, work: Work<'_>) -> Result<u64> {
        let snapshot = self.snapshot().await?;
        let (rows, written) = self.compute(&self.planner(snapshot.clone()), work).await?;
        self.commit_changes(snapshot.version, written).await?;
        Ok(rows)
    }

    /// Computes a statement and writes its segments. Gives the number of rows for its answer.
    pub(super) async fn compute(&self, planner: &Planner, work: Work<'_>) -> Result<(u64, Vec<Written>)> {
        let computed = match work {
            Work::Insert(insert) => vec![self.compute_insert(planner, insert, &[]).await?],
            Work::Copy(insert, rows) => {
                vec![self.compute_insert(planner, insert, &[(COPIED_ROWS, rows.clone())]).await?]
            }
            Work::Rows(table, rows) => vec![self.compute_rows(planner, table, rows).await?],
            Work::Change(change) => self.compute_change(planner, change).await?,
        };
        let rows = computed.iter().map(|change| change.rows).sum();
        let mut written = Vec::new();
        for Computed { table, spool, depends_on_table, .. } in computed {
            let segments = spool.finish(&self.warehouse).await?;
            written.push(Written { table: table.id, segments, depends_on_table });
        }
        Ok((rows, written))
    }

    /// Writes the rows of a table that does not exist yet; whoever creates it names the segments.
    pub async fn first_rows(
        &self,
        planner: &Planner,
        table: Arc<Object>,
        state: SessionState,
        logical: LogicalPlan,
    ) -> Result<Vec<NewSegment>> {
        let layout = Layout { new: true, ..Layout::default() };
        let computed = self.apply(planner, table, Plan { logical, state, layout }, false).await?;
        computed.spool.finish(&self.warehouse).await
    }

    /// Names all changes in one commit. `version`: the one that they were computed from.
    pub(super) async fn commit_changes(&self, version: Version, written: Vec<Written>) -> Result<()> {
        let (mut requires, mut actions, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for Written { table, segments, depends_on_table } in written {
            if depends_on_table {
                requires.push(Requirement::TableUnchangedSince { table, version });
            }
            if !segments.is_empty() {
                actions.push(Action::AddSegments { table, segments });
                changed.push(table);
            }
        }
        if !actions.is_empty() {
            transact(&self.warehouse, requires, actions).await?;
        }
        for table in changed {
            self.touched.add(table);
        }
        Ok(())
    }

    async fn compute_change(&self, planner: &Planner, change: &Change) -> Result<Vec<Computed>> {
        let tables: Vec<(&str, Option<Position>)> = match change {
            Change::Update(update) => vec![(&update.target.table, update.target.position)],
            Change::Delete(delete) => vec![(&delete.target.table, delete.target.position)],
            Change::Merge(merge) => vec![(&merge.target.table, merge.target.position)],
            Change::Truncate(tables) => tables.iter().map(|table| (table.as_str(), None)).collect(),
        };
        let mut computed = Vec::new();
        for (name, position) in tables {
            let table = changeable(planner, name, position)?;
            let plan = self.plan_change(planner, change, &table).await?;
            computed.push(self.apply(planner, table, plan, true).await?);
        }
        Ok(computed)
    }

    /// Plans the change of one table.
    async fn plan_change(&self, planner: &Planner, change: &Change, table: &Arc<Object>) -> Result<Plan> {
        let columns = TableColumns::of(table)?;
        let query = match change {
            Change::Update(update) => change::update(update, &columns)?,
            Change::Delete(delete) => change::delete(delete, &columns)?,
            Change::Merge(merge) => change::merge(merge, &columns)?,
            Change::Truncate(_) => {
                let target = Target { table: table.name.clone(), alias: None, position: None };
                let all = crate::sql::statement::Delete { target, using: Vec::new(), condition: None };
                change::delete(&all, &columns)?
            }
        };
        let ChangeQuery { query, layout } = query;
        let planned = planner.query(&query, Mode::Batch).await?;
        let logical = finish::finish(planner, &planned.state, planned.logical, &columns, layout)?;
        Ok(Plan { logical, state: planned.state, layout })
    }

    /// The plan of a change: the rows before and after.
    pub async fn change_query(&self, change: &Change) -> Result<LogicalPlan> {
        Ok(self.explained(change).await?.logical)
    }

    async fn explained(&self, change: &Change) -> Result<Plan> {
        let planner = self.planner(self.snapshot().await?);
        let target = match change {
            Change::Update(update) => &update.target,
            Change::Delete(delete) => &delete.target,
            Change::Merge(merge) => &merge.target,
            Change::Truncate(_) => return Err(Error::sql("TRUNCATE has no plan to explain")),
        };
        let table = changeable(&planner, &target.table, target.position)?;
        self.plan_change(&planner, change, &table).await
    }

    /// The plan of a change as text, for EXPLAIN.
    pub async fn change_plan(&self, change: &Change) -> Result<String> {
        let plan = self.explained(change).await?;
        let physical = plan.state.create_physical_plan(&plan.logical).await?;
        Ok(datafusion::physical_plan::displayable(physical.as_ref()).indent(false).to_string())
    }
}

/// PostgreSQL's command tag of a change of so many rows.
pub(super) fn tag(change: &Change, rows: u64) -> String {
    match change {
        Change::Update(_) => format!("UPDATE {rows}"),
        Change::Delete(_) => format!("DELETE {rows}"),
        Change::Merge(_) => format!("MERGE {rows}"),
        Change::Truncate(_) => "TRUNCATE TABLE".into(),
    }
}

/// The stored table of that name, unless it is one from which no row may be taken.
fn changeable(planner: &Planner, name: &str, position: Option<Position>) -> Result<Arc<Object>> {
    let table = planner.object(name, position)?;
    refuse_views(&table).map_err(|error| error.at(position))?;
    let refused = match table.kind {
        ObjectKind::Connector => Some((
            "is behind a connector, which only takes new rows",
            "copy it into a table without connector and change that",
        )),
        _ if table.insert_only => Some(("is APPEND ONLY: its rows are never changed", "create it without APPEND ONLY")),
        _ => None,
    };
    if let Some((why, hint)) = refused {
        return Err(Error::sql(format!("the table {name} {why}")).hint(hint).at(position));
    }
    refuse_second_writer(planner, &table).map_err(|error| error.at(position))?;
    Ok(table)
}

fn refuse_views(table: &Object) -> Result<()> {
    match table.kind {
        ObjectKind::Table | ObjectKind::Connector => Ok(()),
        ObjectKind::View | ObjectKind::MaterializedView => {
            Err(Error::sql(format!("{} is a view and cannot be written", table.name))
                .hint("change the tables that it reads"))
        }
        ObjectKind::Function => Err(Error::sql(format!("{} is a function", table.name))),
    }
}

/// A continuous writer of a keyed table knows its rows by heart.
fn refuse_second_writer(planner: &Planner, table: &Object) -> Result<()> {
    match writer_of(&planner.snapshot, table.id).filter(|_| !table.key.is_empty()) {
        None => Ok(()),
        Some(job) => Err(Error::sql(format!("the keyed table {} is written by the job {}", table.name, job.name))
            .hint(format!("DROP JOB {} first: a keyed table has one writer at a time", job.name))),
    }
}
