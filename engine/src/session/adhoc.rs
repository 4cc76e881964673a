//! Ad-hoc queries: planned in batch mode at one version, run on threads of their own, streamed back.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinError;

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
        let running = runtime.spawn(async move {
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
        let rows = futures::stream::unfold((receiver, Some(running)), |(mut receiver, mut running)| async {
            if let Some(batch) = receiver.recv().await {
                return Some((batch, (receiver, running)));
            }
            // The end of all rows, unless a defect has ended the query in the middle of them.
            let defect = running.take()?.await.err().filter(JoinError::is_panic)?;
            Some((Err(DataFusionError::Internal(format!("a query was cut off: {defect}"))), (receiver, None)))
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

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
    use datafusion::prelude::SessionContext;

    use super::*;

    /// A query that breaks off because of a defect must not look like one that has ended.
    #[tokio::test]
    async fn a_panic_is_an_error_after_the_rows_before_it() {
        let context = SessionContext::new();
        let explode = |arguments: &[ColumnarValue]| match &arguments[0] {
            ColumnarValue::Array(numbers) if numbers.len() < 100 => panic!("boom"),
            other => Ok(other.clone()),
        };
        let explode =
            create_udf("explode", vec![DataType::Int64], DataType::Int64, Volatility::Volatile, Arc::new(explode));
        context.register_udf(explode);
        let threads = QueryThreads::new(1).unwrap();
        let plan = context.sql("SELECT explode(value) FROM generate_series(1, 8200)").await.unwrap();
        let (state, plan) = plan.into_parts();
        let mut rows = threads.run(state, plan).await.unwrap();
        let mut count = 0;
        let error = loop {
            match rows.next().await {
                Some(Ok(batch)) => count += batch.num_rows(),
                Some(Err(error)) => break error,
                None => panic!("it ended as if all rows had come"),
            }
        };
        assert_eq!(count, 8192);
        assert!(error.to_string().contains("boom"), "{error}");
        assert!(rows.next().await.is_none());
    }
}
