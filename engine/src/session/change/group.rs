//! Group commit: INSERTs of a few rows, by many connections into one table, share segments and commits.
//!
//! Rows that are computed wait for the table's turn. Whoever gets it writes everything that waits by then, in one commit, and
//! tells the others. So a lone INSERT is as quick as without company, and the more there are, the more share what a commit
//! costs. Each is acknowledged when its own rows are durable.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use catalog::{ObjectId, ObjectKind};
use tokio::sync::oneshot;

use super::spool::Spool;
use super::{ATTEMPTS, Computed, Written, refuse_second_writer, refuse_views};
use crate::change::Changes;
use crate::error::{Error, ErrorKind, Result};
use crate::session::Inner;
use crate::sql::context::{Mode, name_columns, relations};
use crate::sql::statement::{Insert, InsertMode};
use crate::sql::table::{TableColumns, fitted_values};

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

impl Inner {
    /// Runs an INSERT whose rows stand in the statement itself, together with others. `None` if it is another INSERT.
    pub(super) async fn grouped_insert(&self, insert: &Insert) -> Result<Option<u64>> {
        let planner = self.planner(self.snapshot().await?);
        let table = planner.object(&insert.table, None)?;
        let plain = matches!(insert.mode, InsertMode::Upsert) && table.kind == ObjectKind::Table;
        if !plain || !relations(&insert.query).is_empty() {
            return Ok(None);
        }
        refuse_views(&table)?;
        refuse_second_writer(&planner, &table)?;
        let query = fitted_values(name_columns(&insert.query), &TableColumns::of(&table)?, &insert.columns)?;
        let planned = planner.query(&query, Mode::Batch).await?;
        if !planned.reads.is_empty() {
            return Ok(None);
        }
        let logical = planner.fit(&planned.state, planned.logical, &table, &insert.columns)?;
        let rows = self.rows(&table, planned.state, logical).await?;
        let count = rows.num_rows();
        if count > MAX_ROWS {
            return Ok(None);
        }
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
        Ok(Some(count as u64))
    }

    async fn commit_group(&self, table: ObjectId, group: Vec<Waiting>) {
        let rows: Vec<_> = group.iter().map(|waiting| waiting.rows.clone()).collect();
        let Err(error) = self.insert_rows(table, &rows).await else {
            group.into_iter().for_each(|waiting| drop(waiting.done.send(Ok(()))));
            return;
        };
        let of_one = matches!(error.kind(), ErrorKind::Data | ErrorKind::Sql);
        for waiting in group {
            // One of several may be at fault: the others shall not suffer from it. Whatever else went wrong did so for all,
            // and rows of which nobody knows whether they were committed must not be inserted again.
            let outcome = match of_one && rows.len() > 1 {
                true => self.insert_rows(table, std::slice::from_ref(&waiting.rows)).await,
                false => Err(Error::new(error.kind(), error.to_string())),
            };
            let _ = waiting.done.send(outcome);
        }
    }

    /// Inserts rows in one commit. They have the table's columns.
    async fn insert_rows(&self, table: ObjectId, rows: &[RecordBatch]) -> Result<()> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.try_insert_rows(table, rows).await {
                Err(error) if error.kind() == ErrorKind::Conflict => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("an INSERT gave up without a reason")))
    }

    async fn try_insert_rows(&self, table: ObjectId, rows: &[RecordBatch]) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let planner = self.planner(snapshot.clone());
        let Some(table) = snapshot.objects.get(&table).cloned() else {
            return Err(Error::sql("the table was dropped meanwhile"));
        };
        let Some(first) = rows.first() else { return Ok(()) };
        let rows = concat_batches(&first.schema(), rows)?;
        let computed = match table.key.is_empty() {
            true => {
                let mut spool = Spool::new(table.clone());
                spool.add(&self.warehouse, Changes::inserts(rows)).await?;
                Computed { table, spool, rows: 0, depends_on_table: false }
            }
            false => self.upsert(&planner, table, rows).await?,
        };
        let Computed { table, spool, depends_on_table, .. } = computed;
        let segments = spool.finish(&self.warehouse).await?;
        self.commit_changes(snapshot.version, vec![Written { table: table.id, segments, depends_on_table }]).await
    }
}
