//! Connector tables in batch queries: a table provider that reads every split once, from its beginning to its end or to
//! where a job has read it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result as DataFusionResult, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

use crate::error::{Error, Result};
use crate::source::{Read, Source, Split, SplitPosition};

/// Rows asked for at once.
const BATCH_ROWS: usize = 8 * 1024;

/// A source as a table of a batch query.
///
/// A source that follows new files gives what exists when the query is planned.
#[derive(Debug)]
pub struct SourceTable {
    source: Arc<dyn Source>,
    /// Where to end, by split; splits that are not named are not read.
    until: Option<Positions>,
}

/// Where to end, by split.
pub type Positions = Arc<BTreeMap<String, SplitPosition>>;

impl SourceTable {
    /// # Errors
    /// `Sql` for a source that never ends.
    pub fn new(source: Arc<dyn Source>) -> Result<Self> {
        if !source.bounded() && source.monitor_interval().is_none() {
            return Err(Error::sql(
                "a batch query over this table would never end: its source generates rows for ever",
            )
            .hint("bound it ('number-of-rows' or 'events.num'), or read it by a materialized view or INSERT INTO"));
        }
        Ok(Self { source, until: None })
    }

    /// What a job has read that stands at these positions.
    ///
    /// # Errors
    /// `Sql` for a source that would not give the same rows again.
    pub fn up_to(source: Arc<dyn Source>, until: Positions) -> Result<Self> {
        if !source.repeatable() {
            return Err(Error::sql(
                "this connector does not give the same rows twice, so nothing can be compared with them",
            )
            .hint("its rows depend on the clock (kind 'now')"));
        }
        let source = source.unpaced().unwrap_or(source);
        Ok(Self { source, until: Some(until) })
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.source.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let splits = match &self.until {
            Some(until) => until.keys().map(|id| Split { id: id.clone() }).collect(),
            None => {
                let source = self.source.clone();
                let listed = tokio::task::spawn_blocking(move || source.splits()).await;
                listed.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(external)?
            }
        };
        let schema = self.source.schema();
        let projection = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let schema = Arc::new(schema.project(&projection)?);
        let partition = |splits| {
            let (source, schema, projection) = (self.source.clone(), schema.clone(), projection.clone());
            let until = self.until.clone();
            Arc::new(SplitGroup { source, splits, until, projection, schema, limit }) as Arc<dyn PartitionStream>
        };
        let groups = deal(splits, state.config().target_partitions());
        let partitions = groups.into_iter().map(partition).collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema.clone(), partitions, None, Vec::new(), false, limit)?))
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = self.source.estimated_rows()?;
        let mut statistics = Statistics::new_unknown(&self.source.schema());
        statistics.num_rows = Precision::Inexact(usize::try_from(rows).ok()?);
        Some(statistics)
    }
}

/// Deals splits to at most `groups` groups (at least one), as evenly as their number allows.
fn deal(splits: Vec<Split>, groups: usize) -> Vec<Vec<Split>> {
    let groups = groups.min(splits.len()).max(1);
    let mut dealt = vec![Vec::new(); groups];
    for (i, split) in splits.into_iter().enumerate() {
        dealt[i % groups].push(split);
    }
    dealt
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The splits that one partition reads, one after the other.
#[derive(Debug)]
struct SplitGroup {
    source: Arc<dyn Source>,
    splits: Vec<Split>,
    until: Option<Positions>,
    projection: Vec<usize>,
    schema: SchemaRef,
    limit: Option<usize>,
}

impl PartitionStream for SplitGroup {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(self.schema.clone(), 2);
        let sender = stream.tx();
        let (source, splits) = (self.source.clone(), self.splits.clone());
        let (projection, limit, until) = (self.projection.clone(), self.limit, self.until.clone());
        stream.spawn_blocking(move || {
            let mut take = |batch| sender.blocking_send(Ok(batch)).is_ok();
            match until {
                None => read_all(source.as_ref(), &splits, &projection, limit, &mut take),
                Some(until) => read_until(source.as_ref(), &until, &splits, &projection, &mut take),
            }
            .map_err(external)
        });
        stream.build()
    }
}

/// Reads splits to their end, until `limit` rows are given or `take` wants no more.
fn read_all(
    source: &dyn Source,
    splits: &[Split],
    projection: &[usize],
    limit: Option<usize>,
    take: &mut impl FnMut(RecordBatch) -> bool,
) -> Result<()> {
    let mut remaining = limit.unwrap_or(usize::MAX);
    for split in splits {
        let mut reader = source.open(split, SplitPosition::default(), projection)?;
        while remaining > 0 {
            match reader.read(BATCH_ROWS.min(remaining))? {
                Read::Rows(batch) => {
                    remaining = remaining.saturating_sub(batch.num_rows());
                    if !take(batch) {
                        return Ok(());
                    }
                }
                // This thread may block; the query is waiting for exactly this.
                Read::Idle(time) => std::thread::sleep(time),
                Read::End => break,
            }
        }
    }
    Ok(())
}

/// Reads splits from their beginning to the given positions, until `take` wants no more.
///
/// A position counts records, a reader is asked for rows, and malformed records are no rows: a read that goes too far is
/// repeated for fewer rows from where it began.
fn read_until(
    source: &dyn Source,
    until: &BTreeMap<String, SplitPosition>,
    splits: &[Split],
    projection: &[usize],
    take: &mut impl FnMut(RecordBatch) -> bool,
) -> Result<()> {
    for split in splits {
        let end = until.get(&split.id).copied().unwrap_or_default();
        let mut reader = source.open(split, SplitPosition::default(), projection)?;
        let mut rows = BATCH_ROWS;
        loop {
            let before = reader.position();
            let left = end.rows.saturating_sub(before.rows);
            if left == 0 {
                break;
            }
            let wanted = rows.min(usize::try_from(left).unwrap_or(BATCH_ROWS));
            match reader.read(wanted)? {
                Read::Rows(_) if reader.position().rows > end.rows => {
                    if wanted == 1 {
                        // What is left up to the end are malformed records.
                        break;
                    }
                    rows = wanted / 2;
                    reader = source.open(split, before, projection)?;
                }
                Read::Rows(batch) => {
                    rows = BATCH_ROWS.min(rows.saturating_mul(2));
                    if !take(batch) {
                        return Ok(());
                    }
                }
                Read::Idle(time) => std::thread::sleep(time),
                Read::End => break,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
