//! Cursors: results that a client takes piece by piece.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::Fuse;
use futures::{FutureExt, StreamExt, stream};

/// The rest of a result.
pub struct Cursor {
    /// A client may fetch beyond the end again and again.
    rows: Fuse<SendableRecordBatchStream>,
    /// Rows of a batch of which the first were taken.
    left: Option<RecordBatch>,
    /// The result has no end: a fetch takes what there is.
    endless: bool,
    /// It outlives its transaction.
    kept: bool,
}

impl Cursor {
    /// A cursor before the first row.
    pub fn new(rows: SendableRecordBatchStream, endless: bool, kept: bool) -> Self {
        Self { rows: rows.fuse(), left: None, endless, kept }
    }

    /// The columns of its rows.
    pub fn columns(&self) -> SchemaRef {
        self.rows.get_ref().schema()
    }

    /// Whether it outlives its transaction.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// Up to `count` rows, or all that are left; of a result without end at least one, then as many as are there.
    pub async fn fetch(&mut self, count: Option<u64>) -> engine::Result<(SendableRecordBatchStream, usize)> {
        let mut wanted = count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let mut taken = Vec::new();
        let mut number = 0;
        while wanted > 0 {
            let batch = match self.left.take() {
                Some(batch) => Some(batch),
                None if self.endless && number > 0 => self.rows.next().now_or_never().flatten().transpose()?,
                None => self.rows.next().await.transpose()?,
            };
            let Some(batch) = batch else { break };
            let here = batch.num_rows().min(wanted);
            if here < batch.num_rows() {
                self.left = Some(batch.slice(here, batch.num_rows() - here));
            }
            taken.push(batch.slice(0, here));
            wanted -= here;
            number += here;
        }
        let schema = self.columns();
        let rows = RecordBatchStreamAdapter::new(schema, stream::iter(taken.into_iter().map(Ok)));
        Ok((Box::pin(rows), number))
    }
}
