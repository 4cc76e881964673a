//! Group commit: INSERTs of a few rows, by many connections into one table, share segments and commits.
//!
//! Rows that are computed wait for the table's turn. Whoever gets it writes everything that waits by then, in one commit, and
//! tells the others. So a lone INSERT is as quick as without company, and the more there are, the more share what a commit
//! costs. Each is acknowledged when its own rows are durable.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use catalog::{Object, ObjectId, ObjectKind};
use datafusion::sql::sqlparser::ast::SetExpr;
use tokio::sync::oneshot;

use super::spool::Spool;
use super::{Computed, Work, refuse_second_writer};
use crate::change::Changes;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::build::internal_schema;
use crate::session::Inner;
use crate::sql::context::{Mode, Planner, relations};
use crate::sql::statement::{Insert, InsertMode};
use crate::sql::table::physical_schema;

/// More rows than these are not gathered for one commit.
const MAX_ROWS: usize = 64 * 1024;

/// Rows of one statement.
struct Waiting {
    rows: RecordBatch,
    done: oneshot::Sender<Result<()>>,
}

/// What waits, by table.
#[derive(Default)]
pub struct Groups(Mutex<HashMap<ObjectId, Vec<Waiting>>>);

impl Groups {
    fn push(&self, table: ObjectId, waiting: Waiting) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(table).or_default().push(waiting);
    }

    /// Everything that waits for a table, up to [`MAX_ROWS`].
    fn take(&self, table: ObjectId) -> Vec<Waiting> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = all.get_mut(&table) else { return Vec::new() };
        let mut rows = 0;
        let fits = |waiting: &&Waiting| {
            rows += waiting.rows.num_rows();
            rows <= MAX_ROWS
        };
        let count = waiting.iter().take_while(fits).count().max(1).min(waiting.len());
        let taken = waiting.drain(..count).collect();
        if waiting.is_empty() {
            all.remove(&table);
        }
        taken
    }
}

/// Whether the rows of an INSERT stand in the statement itself, and are few enough to wait for others in memory.
fn shares_commits(insert: &Insert, table: &Object) -> bool {
    let few = matches!(insert.query.body.as_ref(), SetExpr::Values(values) if values.rows.len() <= MAX_ROWS);
    few && matches!(insert.mode, InsertMode::Upsert)
        && table.kind == ObjectKind::Table
        && relations(&insert.query).is_empty()
}

impl Inner {
    /// Runs an INSERT whose rows stand in the statement itself, together with others. `None` if it is another INSERT.
    pub(super) async fn grouped_insert(&self, insert: &Insert) -> Result<Option<u64>> {
        let planner = self.planner(self.snapshot().await?);
        let table = planner.object(&insert.table, None)?;
        if !shares_commits(insert, &table) {
            return Ok(None);
        }
        refuse_second_writer(&planner, &table)?;
        let planned = planner.inserted(insert, &table, Mode::Batch, &[]).await?;
        let rows = self.rows(&table, planned.state, planned.logical).await?;
        let count = rows.num_rows() as u64;
        let (done, outcome) = oneshot::channel();
        self.groups.push(table.id, Waiting { rows, done });
        let inner = self.this.upgrade().ok_or_else(|| Error::internal("the engine is gone"))?;
        // A client that goes away must not take along those whose rows are written with its own.
        tokio::spawn(async move {
            let _turn = inner.writers.turn([table.id].into_iter()).await;
            let group = inner.groups.take(table.id);
            if !group.is_empty() {
                inner.commit_group(table.id, group).await;
            }
        });
        outcome.await.map_err(|e| Error::internal("an INSERT was lost").because(e))??;
        Ok(Some(count))
    }

    async fn commit_group(&self, table: ObjectId, group: Vec<Waiting>) {
        let rows: Vec<_> = group.iter().map(|waiting| waiting.rows.clone()).collect();
        let Err(error) = self.work(Work::Rows(table, &rows)).await else {
            group.into_iter().for_each(|waiting| drop(waiting.done.send(Ok(()))));
            return;
        };
        let of_one = matches!(error.kind(), ErrorKind::Data | ErrorKind::Sql);
        for waiting in group {
            // One of several may be at fault: the others shall not suffer from it. Whatever else went wrong did so for all,
            // and rows of which nobody knows whether they were committed must not be inserted again.
            let outcome = match of_one && rows.len() > 1 {
                true => self.work(Work::Rows(table, std::slice::from_ref(&waiting.rows))).await.map(drop),
                false => Err(Error::new(error.kind(), error.to_string())),
            };
            let _ = waiting.done.send(outcome);
        }
    }

    /// Computes what becomes of a table by rows that have its columns.
    pub(super) async fn compute_rows(
        &self,
        planner: &Planner,
        table: ObjectId,
        rows: &[RecordBatch],
    ) -> Result<Computed> {
        let Some(table) = planner.snapshot.objects.get(&table).cloned() else {
            return Err(Error::sql("the table was dropped meanwhile"));
        };
        let rows = concat_batches(&internal_schema(physical_schema(&table)?.as_ref()), rows)?;
        if !table.key.is_empty() {
            return self.upsert(planner, table, rows).await;
        }
        let count = rows.num_rows() as u64;
        let mut spool = Spool::new(table.clone());
        spool.add(&self.warehouse, Changes::inserts(rows)).await?;
        Ok(Computed { table, spool, rows: count, depends_on_table: false })
    }
}
