//! Rows on their way to a client.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::{FutureExt, SinkExt, StreamExt};
use pgwire::api::portal::Format;
use pgwire::api::results::FieldInfo;
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage as Message;
use pgwire::messages::data::{DataRow, RowDescription};
use pgwire::messages::extendedquery::PortalSuspended;
use pgwire::messages::response::CommandComplete;

use super::cancel::Cancelled;
use super::codec::Client;
use super::error::of_engine;
use super::types::fields;
use super::values;

/// A result, as far as it is not sent.
pub struct Rows {
    batches: SendableRecordBatchStream,
    columns: Arc<Vec<FieldInfo>>,
    /// Rows that are encoded.
    encoded: VecDeque<DataRow>,
    tag: &'static str,
    /// Whether the tag ends with the number of rows.
    counted: bool,
}

/// Whether a result has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    All,
    /// As many rows as were asked for; there may be more.
    Enough,
}

impl Rows {
    /// The result of a query.
    pub fn new(batches: SendableRecordBatchStream, format: &Format) -> Self {
        let columns = Arc::new(fields(&batches.schema(), format));
        Self { batches, columns, encoded: VecDeque::new(), tag: "SELECT", counted: true }
    }

    /// The same under another command tag.
    pub fn tagged(self, tag: &'static str, counted: bool) -> Self {
        Self { tag, counted, ..self }
    }

    /// Tells a client which columns come.
    pub async fn describe(&mut self, client: &mut Client) -> PgWireResult<()> {
        Ok(client.feed(description(&self.columns)).await?)
    }

    /// Sends rows: all, or up to `most`. What is ready is sent on before it waits for more.
    ///
    /// # Errors
    /// If the rest cannot be computed, or if it is cancelled.
    pub async fn send(&mut self, client: &mut Client, most: Option<usize>, cancelled: Cancelled) -> PgWireResult<Sent> {
        let cancelled = cancelled.wait();
        tokio::pin!(cancelled);
        let mut count = 0;
        loop {
            while let Some(row) = self.encoded.pop_front() {
                client.feed(Message::DataRow(row)).await?;
                count += 1;
                if most == Some(count) {
                    client.feed(Message::PortalSuspended(PortalSuspended::new())).await?;
                    return Ok(Sent::Enough);
                }
            }
            let Some(batch) = next_batch(client, &mut self.batches, cancelled.as_mut()).await? else { break };
            self.encoded.extend(values::rows(&batch, &self.columns).map_err(|error| of_engine(&error.into(), ""))?);
        }
        let tag = if self.counted { format!("{} {count}", self.tag) } else { self.tag.to_owned() };
        client.feed(Message::CommandComplete(CommandComplete::new(tag))).await?;
        Ok(Sent::All)
    }
}

/// The next batch of a result. What is ready is sent on before it waits for more.
///
/// # Errors
/// If it cannot be computed, or if the statement is cancelled.
pub async fn next_batch(
    client: &mut Client,
    batches: &mut SendableRecordBatchStream,
    mut cancelled: Pin<&mut impl Future<Output = ()>>,
) -> PgWireResult<Option<RecordBatch>> {
    // A result whose batches are always ready is cancelled, too.
    if cancelled.as_mut().now_or_never().is_some() {
        return Err(PgWireError::QueryCanceled);
    }
    let batch = match batches.next().now_or_never() {
        Some(batch) => batch,
        None => {
            client.flush().await?;
            tokio::select! {
                batch = batches.next() => batch,
                () = cancelled => return Err(PgWireError::QueryCanceled),
            }
        }
    };
    batch.transpose().map_err(|error| of_engine(&error.into(), ""))
}

/// The message that says which columns come.
pub fn description(columns: &[FieldInfo]) -> Message {
    Message::RowDescription(RowDescription::new(columns.iter().map(Into::into).collect()))
}

/// Says that a statement is done.
pub async fn done(client: &mut Client, tag: String) -> PgWireResult<()> {
    Ok(client.feed(Message::CommandComplete(CommandComplete::new(tag))).await?)
}
