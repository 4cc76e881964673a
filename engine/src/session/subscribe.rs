//! SUBSCRIBE: the changes of a table or materialized view as they are committed.
//!
//! Rows are those of the relation, behind two columns:
//!
//! | column | type | |
//! | --- | --- | --- |
//! | `op` | VARCHAR | `insert`, `delete`, or `progress` |
//! | `version` | BIGINT | the commit that made the change |
//!
//! The changes of a version stand together, and a `progress` row (all other columns NULL) follows them: everything up to its
//! version has been sent. So a client that keeps the version of the last `progress` row with what it made of the rows before,
//! and subscribes AS OF that version when it was cut off, takes every change exactly once. While nothing changes a `progress`
//! row comes once a second: so a client knows that the line is not dead, and need not wait longer to know how things are.
//!
//! A subscriber reads segments when it asks for more, so a slow one holds back nobody. Segments are kept for changelog readers
//! for a while (`storage::tiering::RetentionPolicy`); one that falls behind further is told that its version is gone.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{Object, ObjectId, ObjectKind, Snapshot, Version};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use storage::scan::changes_since;
use storage::types::arrow_schema;
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::change::Changes;
use crate::error::{Error, ErrorKind, Result};
use crate::session::Inner;
use crate::sql::statement::Subscribe;

/// The time between two rows that only say that nothing has changed.
const IDLE: Duration = Duration::from_secs(1);

/// Names of the first two columns.
const OP: &str = "op";
const VERSION: &str = "version";

impl Inner {
    /// The columns of a subscription.
    ///
    /// # Errors
    /// `Sql` if the relation does not exist or keeps no changes.
    pub(super) async fn subscription_columns(&self, subscribe: &Subscribe) -> Result<SchemaRef> {
        let snapshot = self.snapshot().await?;
        Ok(columns(arrow_schema(&*relation(&snapshot, subscribe)?)?.as_ref()))
    }

    /// Changes as they come, without end.
    ///
    /// # Errors
    /// `Sql` if the relation does not exist or keeps no changes, or if the version is not one to begin at.
    pub(super) async fn subscribe(&self, subscribe: &Subscribe) -> Result<SendableRecordBatchStream> {
        let snapshot = self.snapshot().await?;
        let object = relation(&snapshot, subscribe)?;
        let schema = columns(arrow_schema(&object)?.as_ref());
        let start = subscribe.version.unwrap_or(snapshot.version);
        if start > snapshot.version {
            return Err(Error::sql(format!("there is no version {start} yet: the newest is {}", snapshot.version))
                .hint("subscribe without AS OF VERSION")
                .at(subscribe.position));
        }
        if subscribe.snapshot && subscribe.version.is_some_and(|version| version != snapshot.version) {
            return Err(Error::sql("WITH SNAPSHOT gives the newest rows, so it cannot start at an older version")
                .hint("leave out AS OF VERSION, or WITH SNAPSHOT")
                .at(subscribe.position));
        }
        let from = snapshot.tables.get(&object.id).map_or(0, |table| table.changelog_from);
        if start < from {
            return Err(too_old(&object, start, from).at(subscribe.position));
        }
        let first = match subscribe.snapshot {
            false => None,
            true => {
                let (scan, state) = self.planner(snapshot.clone()).scan(&object).await?;
                Some(self.adhoc.run(state, scan).await?)
            }
        };
        let inner = self.this.upgrade().ok_or_else(|| Error::internal("the engine is gone"))?;
        let follower = Follower {
            schema: schema.clone(),
            table: object.id,
            at: start,
            first,
            told: false,
            ready: VecDeque::new(),
            versions: self.versions.clone(),
            due: Box::pin(tokio::time::sleep(IDLE)),
            inner,
        };
        let rows = futures::stream::try_unfold(follower, |mut follower| async move {
            let batch = follower.next().await.map_err(|e| datafusion::error::DataFusionError::External(Box::new(e)))?;
            Ok(batch.map(|batch| (batch, follower)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

fn relation(snapshot: &Snapshot, subscribe: &Subscribe) -> Result<Arc<Object>> {
    let name = &subscribe.relation;
    let wrong = |message: String, hint: &str| Err(Error::sql(message).hint(hint).at(subscribe.position));
    match snapshot.object(name) {
        None => wrong(format!("there is no table or view named {name}"), "SHOW TABLES and SHOW VIEWS list them"),
        Some(object) if object.kind.is_stored() => Ok(object.clone()),
        Some(object) if object.kind == ObjectKind::View => {
            wrong(format!("{name} is computed when it is read and has no changes"), "make it a MATERIALIZED VIEW")
        }
        Some(_) => wrong(format!("no changes of {name} are kept"), "subscribe to a materialized view over it"),
    }
}

fn too_old(object: &Object, version: Version, from: Version) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the changes of {} after version {version} are no longer kept", object.name),
    )
    .with("kept after version", from)
    .hint("read the relation anew: SUBSCRIBE TO ... WITH SNAPSHOT")
}

/// The columns of a subscription to a relation.
fn columns(relation: &Schema) -> SchemaRef {
    let own = [Field::new(OP, DataType::Utf8View, false), Field::new(VERSION, DataType::Int64, false)];
    let rest = relation.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(own.into_iter().chain(rest).collect::<Vec<_>>()))
}

/// A subscriber's place in the changelog.
struct Follower {
    inner: Arc<Inner>,
    schema: SchemaRef,
    table: ObjectId,
    /// Everything up to this version has been given out.
    at: Version,
    /// The rows of the first version, if they were asked for.
    first: Option<SendableRecordBatchStream>,
    /// That `at` is reached has been said.
    told: bool,
    /// Batches of versions that are read and not given out yet.
    ready: VecDeque<RecordBatch>,
    versions: watch::Receiver<Version>,
    /// When to say that nothing has changed.
    due: Pin<Box<Sleep>>,
}

impl Follower {
    /// The next rows. `None`: the relation was dropped.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if let Some(first) = &mut self.first {
                match first.next().await {
                    Some(rows) => {
                        let rows = rows?;
                        let count = rows.num_rows();
                        return self.rows("insert", self.at, rows.columns(), count).map(Some);
                    }
                    None => self.first = None,
                }
            }
            if !self.told {
                self.told = true;
                self.due = Box::pin(tokio::time::sleep(IDLE));
                return self.progress(self.at).map(Some);
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for versions after the one reached, and reads the next that changed the relation. `false`: it was dropped.
    async fn read(&mut self) -> Result<bool> {
        let inner = self.inner.clone();
        let snapshot = inner.snapshot().await?;
        let (Some(object), Some(table)) = (snapshot.objects.get(&self.table), snapshot.tables.get(&self.table)) else {
            return Ok(false);
        };
        if table.changed <= self.at {
            let reached = snapshot.version;
            let news = self.versions.wait_for(|version| *version > reached);
            // Versions that change other relations must not put off what is due.
            return tokio::select! {
                news = news => Ok(news.is_ok()),
                () = &mut self.due => {
                    (self.at, self.told) = (reached, false);
                    Ok(true)
                }
            };
        }
        let changes = changes_since(inner.warehouse.clone(), object, table, self.at);
        let mut changes = changes.map_err(|error| match error.kind() {
            storage::ErrorKind::NotFound => too_old(object, self.at, table.changelog_from),
            _ => error.into(),
        })?;
        let Some(next) = changes.next().await else {
            self.at = snapshot.version;
            return Ok(true);
        };
        let (version, changes) = next?;
        for changes in changes {
            self.expand(version, &changes)?;
        }
        self.at = version;
        self.told = false;
        Ok(true)
    }

    /// Makes rows of changes: as many as their weights say.
    fn expand(&mut self, version: Version, changes: &Changes) -> Result<()> {
        for (op, sign) in [("delete", -1), ("insert", 1)] {
            let mut rows = Vec::new();
            for row in 0..changes.len() {
                let weight = changes.weight(row) * sign;
                rows.extend(std::iter::repeat_n(row as u32, usize::try_from(weight).unwrap_or(0)));
            }
            if !rows.is_empty() {
                let chosen = take_record_batch(changes.rows(), &UInt32Array::from(rows))?;
                let batch = self.rows(op, version, chosen.columns(), chosen.num_rows())?;
                self.ready.push_back(batch);
            }
        }
        Ok(())
    }

    fn rows(&self, op: &str, version: Version, columns: &[ArrayRef], count: usize) -> Result<RecordBatch> {
        let ops: ArrayRef = Arc::new(std::iter::repeat_n(Some(op), count).collect::<StringViewArray>());
        let versions: ArrayRef = Arc::new(Int64Array::from(vec![version as i64; count]));
        let fields = self.schema.fields().iter().skip(2).zip(columns);
        let rest = fields.map(|(field, column)| Ok(arrow::compute::cast(column, field.data_type())?));
        let columns = [Ok(ops), Ok(versions)].into_iter().chain(rest).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    fn progress(&self, version: Version) -> Result<RecordBatch> {
        let nulls = self.schema.fields().iter().skip(2).map(|field| new_null_array(field.data_type(), 1));
        self.rows("progress", version, &nulls.collect::<Vec<_>>(), 1)
    }
}
