//! COPY ... FROM STDIN: rows that a client sends, as an INSERT.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::datasource::TableProvider;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::TryStreamExt;

use super::Work;
use crate::error::Result;
use crate::session::{Engine, Inner};
use crate::sql::context::Planner;
use crate::sql::scan::memory_table;
use crate::sql::statement::{CopyFrom, Statement};
use crate::sql::table::TableColumns;

impl Engine {
    /// The columns that COPY takes, in order.
    ///
    /// # Errors
    /// `Sql` if there is no such table or column, or if it cannot be written.
    pub async fn copy_columns(&self, copy: &CopyFrom) -> Result<SchemaRef> {
        self.inner.permit(&Statement::CopyFrom(copy.clone()), &self.settings).await?;
        self.inner.copy_columns(&self.inner.planner(self.inner.snapshot().await?), copy)
    }

    /// Inserts rows as they come; all of them, or none if it fails or is dropped. Gives their number.
    ///
    /// # Errors
    /// As an INSERT.
    pub async fn copy_in(&self, copy: &CopyFrom, rows: SendableRecordBatchStream) -> Result<u64> {
        let inner = &self.inner;
        inner.permit(&Statement::CopyFrom(copy.clone()), &self.settings).await?;
        inner.resume_orphans().await?;
        let planner = inner.planner(inner.snapshot().await?);
        let table = planner.object(&copy.insert.table, copy.position)?;
        // Rows of a keyed table take the place of others: should somebody else change them meanwhile, they are needed again.
        let rows = match table.key.is_empty() {
            true => sent_rows(rows)?,
            false => {
                let schema = rows.schema();
                memory_table(schema, rows.try_collect::<Vec<RecordBatch>>().await?)?
            }
        };
        let count = inner.work(Work::Copy(&copy.insert, &rows)).await?;
        inner.flush_if_asked(&self.settings).await?;
        Ok(count)
    }
}

impl Inner {
    /// See [`Engine::copy_columns`].
    pub(in crate::session) fn copy_columns(&self, planner: &Planner, copy: &CopyFrom) -> Result<SchemaRef> {
        let table = planner.object(&copy.insert.table, copy.position)?;
        super::refuse_views(&table).map_err(|error| error.at(copy.position))?;
        let columns = TableColumns::of(&table)?;
        let given = columns.given_schema();
        if copy.insert.columns.is_empty() {
            return Ok(Arc::new(given));
        }
        let named = |name: &String| {
            columns.writable(name).map_err(|error| error.at(copy.position))?;
            Ok(given.field_with_name(name)?.clone())
        };
        Ok(Arc::new(Schema::new(copy.insert.columns.iter().map(named).collect::<Result<Vec<_>>>()?)))
    }
}

/// A table whose rows come once.
pub(in crate::session) fn sent_rows(rows: SendableRecordBatchStream) -> Result<Arc<dyn TableProvider>> {
    let schema = rows.schema();
    let sent = Arc::new(Sent { schema: schema.clone(), rows: Mutex::new(Some(rows)) });
    Ok(Arc::new(StreamingTable::try_new(schema, vec![sent])?))
}

/// See [`sent_rows`].
struct Sent {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PartitionStream for Sent {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        rows.unwrap_or_else(|| {
            let gone = datafusion::common::exec_datafusion_err!("the rows were read before");
            Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter([Err(gone)])))
        })
    }
}
