//! COPY: rows that come from a client or go to it in PostgreSQL's text, CSV and binary formats.

mod columns;
mod decode;
mod encode;
mod split;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use engine::sql::statement::{CopyFormat, CopyFrom, CopyOptions};
use futures::SinkExt;
use pgwire::error::PgWireResult;
use pgwire::messages::PgWireBackendMessage as Message;
use pgwire::messages::copy::{CopyData, CopyDone, CopyInResponse, CopyOutResponse};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::cancel::Cancelled;
use super::codec::Client;
use super::error::{of_engine, plain};
use super::reply::{done, next_batch};
use super::session::Session;
pub use columns::elements;
use decode::Decoder;
use encode::Encoder;

/// Batches that a client may be ahead of the INSERT.
const AHEAD: usize = 2;

/// Rows that are coming from a client.
pub struct CopyIn {
    sql: String,
    decoder: Decoder,
    sender: mpsc::Sender<Result<RecordBatch, DataFusionError>>,
    inserted: JoinHandle<engine::Result<u64>>,
}

impl CopyIn {
    /// Tells a client to send rows.
    pub async fn start(
        client: &mut Client,
        session: Arc<Session>,
        copy: CopyFrom,
        columns: SchemaRef,
        sql: String,
    ) -> PgWireResult<Self> {
        let decoder = Decoder::new(&copy.insert.table, columns.clone(), copy.options.clone())?;
        let format = format_code(copy.options.format);
        let count = columns.fields().len();
        let response = CopyInResponse::new(i8::from(format == 1), count as i16, vec![format; count]);
        let (sender, receiver) = mpsc::channel(AHEAD);
        let rows = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|batch| (batch, receiver))
        });
        let rows = RecordBatchStreamAdapter::new(columns, rows);
        let inserted = tokio::spawn(async move { session.copy_in(&copy, Box::pin(rows)).await });
        client.send(Message::CopyInResponse(response)).await?;
        Ok(Self { sql, decoder, sender, inserted })
    }

    /// Takes what a client sent.
    ///
    /// # Errors
    /// If it is not in the format, or no value of its column, or if the rows cannot be inserted: the COPY is over then.
    pub async fn take(&mut self, data: &[u8]) -> PgWireResult<()> {
        for batch in self.decoder.push(data)? {
            self.forward(batch).await?;
        }
        Ok(())
    }

    async fn forward(&mut self, batch: RecordBatch) -> PgWireResult<()> {
        if self.sender.send(Ok(batch)).await.is_ok() {
            return Ok(());
        }
        // The INSERT has ended before its rows did: it failed.
        Err(match (&mut self.inserted).await {
            Ok(Err(error)) => of_engine(&error, &self.sql),
            _ => plain("XX000", "COPY ended before its rows did"),
        })
    }

    /// All rows are there. Returns how many were inserted.
    pub async fn finish(mut self) -> PgWireResult<u64> {
        if let Err(error) = self.rest().await {
            // Rows that were forwarded before would be inserted otherwise.
            self.abort().await;
            return Err(error);
        }
        drop(self.sender);
        match self.inserted.await {
            Ok(inserted) => inserted.map_err(|error| of_engine(&error, &self.sql)),
            Err(_) => Err(plain("XX000", "COPY was broken off")),
        }
    }

    /// Forwards what the decoder still holds.
    async fn rest(&mut self) -> PgWireResult<()> {
        for batch in self.decoder.finish()? {
            self.forward(batch).await?;
        }
        Ok(())
    }

    /// Nothing is inserted.
    pub async fn abort(self) {
        let _ = self.sender.send(Err(DataFusionError::Execution("COPY was broken off by the client".into()))).await;
        drop(self.sender);
        let _ = self.inserted.await;
    }
}

/// Sends rows to a client.
pub async fn copy_out(
    client: &mut Client,
    mut rows: SendableRecordBatchStream,
    options: &CopyOptions,
    cancelled: Cancelled,
) -> PgWireResult<()> {
    let mut encoder = Encoder::new(rows.schema(), options.clone());
    let format = format_code(options.format);
    let count = rows.schema().fields().len();
    let response = CopyOutResponse::new(i8::from(format == 1), count as i16, vec![format; count]);
    client.feed(Message::CopyOutResponse(response)).await?;
    if let Some(head) = encoder.head() {
        client.feed(Message::CopyData(CopyData::new(head))).await?;
    }
    let cancelled = cancelled.wait();
    tokio::pin!(cancelled);
    let mut number = 0;
    while let Some(batch) = next_batch(client, &mut rows, cancelled.as_mut()).await? {
        number += batch.num_rows();
        for row in encoder.rows(&batch).map_err(|error| of_engine(&error.into(), ""))? {
            client.feed(Message::CopyData(CopyData::new(row))).await?;
        }
    }
    if let Some(tail) = encoder.tail() {
        client.feed(Message::CopyData(CopyData::new(tail))).await?;
    }
    client.feed(Message::CopyDone(CopyDone::new())).await?;
    done(client, format!("COPY {number}")).await
}

fn format_code(format: CopyFormat) -> i16 {
    i16::from(format == CopyFormat::Binary)
}
