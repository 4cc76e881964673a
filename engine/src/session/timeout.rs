//! Statements that end when their time is up.

use std::future::Future;
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};

use crate::error::{Error, ErrorKind, Result};
use crate::session::Answer;

/// Runs a statement; what is left of its time when it answers is for its rows.
///
/// # Errors
/// `Unavailable` when the time is up. What the statement has not committed by then is not done.
pub(super) async fn limited(limit: Option<Duration>, work: impl Future<Output = Result<Answer>>) -> Result<Answer> {
    let Some(limit) = limit else { return work.await };
    // One timer for both, so that no clock has to be asked.
    let mut timer = Box::pin(tokio::time::sleep(limit));
    let answer = tokio::select! {
        answer = work => answer?,
        () = &mut timer => return Err(over(limit)),
    };
    let Answer::Rows(rows) = answer else { return Ok(answer) };
    let schema = rows.schema();
    let rows = stream::unfold(Some((rows, timer)), move |state| async move {
        let (mut rows, mut timer): (SendableRecordBatchStream, _) = state?;
        tokio::select! {
            batch = rows.next() => Some((batch?, Some((rows, timer)))),
            () = &mut timer => Some((Err(DataFusionError::External(Box::new(over(limit)))), None)),
        }
    });
    Ok(Answer::Rows(Box::pin(RecordBatchStreamAdapter::new(schema, rows))))
}

fn over(limit: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the statement was ended by its statement_timeout of {limit:?}"))
        .hint("SET statement_timeout = 0 takes the limit away")
}
