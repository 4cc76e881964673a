//! Rows from an Arrow IPC stream that a server sends, and the error that may end it (see `http/statements/arrow.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::root_as_message;
use bytes::{Buf, Bytes, BytesMut};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use engine::error::{Error, ErrorKind};

use super::refusal;

/// The marker and the length before a message.
const PREFIX: usize = 8;

/// The rows of an answer. Dropping the stream closes the connection, and so ends the query.
pub async fn rows(response: reqwest::Response) -> engine::Result<SendableRecordBatchStream> {
    let mut frames = Frames { response, buffer: BytesMut::new() };
    let Frame::Message(first) = frames.next().await? else { return Err(damaged("it does not begin with a schema")) };
    let schema = schema(&first)?;
    let mut decoder = Decoder { frames, decoder: StreamDecoder::new(), ready: VecDeque::new(), over: false };
    decoder.feed(first)?;
    let rows = futures::stream::unfold(decoder, |mut decoder| async {
        let batch = decoder.next().await.map_err(|error| DataFusionError::External(Box::new(error))).transpose()?;
        Some((batch, decoder))
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

fn schema(message: &[u8]) -> engine::Result<SchemaRef> {
    let message = root_as_message(&message[PREFIX..]).map_err(|error| damaged(&error.to_string()))?;
    let schema = message.header_as_schema().ok_or_else(|| damaged("it does not begin with a schema"))?;
    Ok(Arc::new(fb_to_schema(schema)))
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the server's answer cannot be read: {why}"))
}

/// A part of the stream.
enum Frame {
    /// A message with what stands before and after it.
    Message(Bytes),
    /// The marker of the end.
    End(Bytes),
}

/// Cuts a body into frames.
struct Frames {
    response: reqwest::Response,
    buffer: BytesMut,
}

impl Frames {
    async fn next(&mut self) -> engine::Result<Frame> {
        self.fill(PREFIX).await?;
        let mut prefix = &self.buffer[..PREFIX];
        let (marker, length) = (prefix.get_u32_le(), prefix.get_i32_le());
        if marker != u32::MAX {
            return Err(damaged("a message has no marker"));
        }
        if length == 0 {
            return Ok(Frame::End(self.buffer.split_to(PREFIX).freeze()));
        }
        let end = PREFIX + usize::try_from(length.unsigned_abs()).unwrap_or(0);
        self.fill(end).await?;
        if length < 0 {
            let body = serde_json::from_slice(&self.buffer[PREFIX..end]);
            return Err(refusal::of_stream(&body.map_err(|error| damaged(&error.to_string()))?));
        }
        let message = root_as_message(&self.buffer[PREFIX..end]).map_err(|error| damaged(&error.to_string()))?;
        let body = usize::try_from(message.bodyLength()).map_err(|_| damaged("a message has no length"))?;
        self.fill(end + body).await?;
        Ok(Frame::Message(self.buffer.split_to(end + body).freeze()))
    }

    /// Reads until so many bytes are there.
    async fn fill(&mut self, bytes: usize) -> engine::Result<()> {
        while self.buffer.len() < bytes {
            let read = self.response.chunk().await;
            match read.map_err(|source| refusal::broken(self.response.url().as_str(), source))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Err(damaged("it ends too early")),
            }
        }
        Ok(())
    }
}

struct Decoder {
    frames: Frames,
    decoder: StreamDecoder,
    /// Batches that are decoded and not yet given out.
    ready: VecDeque<RecordBatch>,
    over: bool,
}

impl Decoder {
    async fn next(&mut self) -> engine::Result<Option<RecordBatch>> {
        while self.ready.is_empty() && !self.over {
            let frame = self.frames.next().await;
            self.over = !matches!(frame, Ok(Frame::Message(_)));
            match frame? {
                // A message without body is decoded with the bytes after it: the marker of the end is fed, too.
                Frame::Message(bytes) | Frame::End(bytes) => self.feed(bytes)?,
            }
        }
        Ok(self.ready.pop_front())
    }

    fn feed(&mut self, bytes: Bytes) -> engine::Result<()> {
        let mut buffer = Buffer::from(bytes);
        while !buffer.is_empty() {
            self.ready.extend(self.decoder.decode(&mut buffer).map_err(|error| damaged(&error.to_string()))?);
        }
        Ok(())
    }
}
