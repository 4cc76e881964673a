//! Ad-hoc queries: planned in batch mode at one version, run on threads of their own, streamed back.

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind, Result};
use crate::session::{Answer, Inner};
use crate::sql::context::Mode;

/// Batches that a query may be ahead of its reader.
const AHEAD: usize = 2;

/// Threads that run queries and nothing else.
pub struct QueryThreads {
    runtime: Option<tokio::runtime::Runtime>,
}

impl QueryThreads {
    /// Starts `threads` threads.
    pub fn new(threads: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(|e| Error::new(ErrorKind::Unavailable, "threads for queries cannot be started").because(e))?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs a plan; rows come as they are computed. Dropping the stream ends the query.
    pub async fn run(&self, state: SessionState, logical: LogicalPlan) -> Result<SendableRecordBatchStream> {
        let runtime = self.runtime.as_ref().ok_or_else(|| Error::internal("the threads for queries are gone"))?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (planned, plan) = tokio::sync::oneshot::channel::<datafusion::error::Result<_>>();
        runtime.spawn(async move {
            let started = async {
                let physical = state.create_physical_plan(&logical).await?;
                let schema = physical.schema();
                Ok((execute_stream(physical, state.task_ctx())?, schema))
            };
            match started.await {
                Err(error) => drop(planned.send(Err(error))),
                Ok((mut rows, schema)) => {
                    let _ = planned.send(Ok(schema));
                    loop {
                        let batch = tokio::select! {
                            batch = rows.next() => batch,
                            // Nobody waits any more, perhaps long before the first row.
                            () = sender.closed() => None,
                        };
                        let Some(batch) = batch else { break };
                        if sender.send(batch).await.is_err() {
                            break;
                        }
                    }
                }
            }
        });
        let schema = plan.await.map_err(|e| Error::internal("a query ended while it was planned").because(e))??;
        let rows = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|batch| (batch, receiver))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        // Waiting for the threads is not allowed where an engine is usually dropped: in a task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Inner {
    /// SELECT, VALUES, WITH.
    pub async fn query(&self, query: &ast::Query) -> Result<Answer> {
        let planner = self.planner(self.snapshot().await?);
        let planned = planner.query(query, Mode::Batch).await?;
        Ok(Answer::Rows(self.adhoc.run(planned.state, planned.logical).await?))
    }

    /// Runs a plan to its end.
    pub async fn collect(&self, state: SessionState, logical: LogicalPlan) -> Result<Vec<arrow::array::RecordBatch>> {
        let mut rows = self.adhoc.run(state, logical).await?;
        let mut batches = Vec::new();
        while let Some(batch) = rows.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// Rows that are already there, as an answer.
pub fn rows(batch: arrow::array::RecordBatch) -> Answer {
    let schema = batch.schema();
    let stream = futures::stream::iter([Ok(batch)]);
    Answer::Rows(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), stream)))
}
