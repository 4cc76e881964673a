//! An answer as an Arrow IPC stream, batch by batch as they are computed.
//!
//! The tag and the notice stand in headers. An error before the first batch is an error as of any route. A later one comes
//! after the status: in place of the next message stands the marker of a message (`FF FF FF FF`), a negative length `-n`
//! (32 bits, little endian), and the error in `n` bytes of JSON. Arrow's readers refuse such a message, so that nobody
//! takes what came before for all there is.

use std::convert::Infallible;

use ::arrow::array::RecordBatch;
use ::arrow::ipc::writer::StreamWriter;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use engine::session::{Answer, Engine};
use engine::sql::statement::ParsedStatement;
use futures::StreamExt;

use super::Failed;

/// What the client has to accept to get such a stream.
pub const MEDIA_TYPE: &str = "application/vnd.apache.arrow.stream";
/// The header with the statement's tag.
pub const TAG: HeaderName = HeaderName::from_static("x-frazil-tag");
/// The header with its notice, if there is one.
pub const NOTICE: HeaderName = HeaderName::from_static("x-frazil-notice");

/// Executes a statement and streams its rows.
pub async fn answer(engine: &Engine, statement: &ParsedStatement) -> Result<Response, Failed> {
    match engine.execute(statement).await? {
        Answer::Rows(rows) => stream(rows).await,
        Answer::Done(tag) => Ok(done(&tag, None)),
        Answer::Noticed { tag, notice } => Ok(done(&tag, Some(&notice))),
    }
}

fn done(tag: &str, notice: Option<&str>) -> Response {
    let mut response = ().into_response();
    response.headers_mut().insert(TAG, text(tag));
    if let Some(notice) = notice {
        response.headers_mut().insert(NOTICE, text(notice));
    }
    response
}

/// Text in UTF-8, which headers may hold; control characters, which they may not, become blanks.
fn text(text: &str) -> HeaderValue {
    let visible: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    HeaderValue::from_bytes(visible.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}

async fn stream(mut rows: SendableRecordBatchStream) -> Result<Response, Failed> {
    let schema = rows.schema();
    // Most queries that fail do so before their first row.
    let first = rows.next().await.transpose().map_err(engine::Error::from)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(engine::Error::from)?;
    let head = take(&mut writer);
    let state = State { first: Some(first), rows, writer, over: false };
    let rest = futures::stream::unfold(state, |mut state| async {
        let bytes = state.next().await?;
        Some((bytes, state))
    });
    let all = futures::stream::once(async { head }).chain(rest).map(Ok::<_, Infallible>);
    let mut response = Body::from_stream(all).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response.headers_mut().insert(TAG, HeaderValue::from_static("SELECT"));
    Ok(response)
}

struct State {
    /// What the rows began with, until it is sent: a batch, or their end.
    first: Option<Option<RecordBatch>>,
    rows: SendableRecordBatchStream,
    writer: StreamWriter<Vec<u8>>,
    over: bool,
}

impl State {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let batch = match self.first.take() {
            Some(first) => first.map(Ok),
            None => self.rows.next().await.map(|batch| batch.map_err(engine::Error::from)),
        };
        let written = match batch {
            Some(batch) => batch.and_then(|batch| self.writer.write(&batch).map_err(engine::Error::from)),
            None => {
                self.over = true;
                self.writer.finish().map_err(engine::Error::from)
            }
        };
        Some(match written {
            Ok(()) => take(&mut self.writer),
            Err(error) => {
                self.over = true;
                failure(error)
            }
        })
    }
}

/// What was written since the last time.
fn take(writer: &mut StreamWriter<Vec<u8>>) -> Bytes {
    std::mem::take(writer.get_mut()).into()
}

/// An error in place of a message.
fn failure(error: engine::Error) -> Bytes {
    let body = Failed::from(error).body().to_string();
    let length = i32::try_from(body.len()).unwrap_or(i32::MAX);
    let mut bytes = vec![0xff; 4];
    bytes.extend((-length).to_le_bytes());
    bytes.extend(body.as_bytes());
    bytes.into()
}
