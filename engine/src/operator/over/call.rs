//! One window function: what it is evaluated by, on which rows it depends, and where its evaluation can begin.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::UInt64Type;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_plan::PhysicalExpr;

use super::reach::{Gap, Reach, Sorted};
use crate::error::{Error, Result};

/// Where the evaluation of a function can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first row within reach.
    Reach,
    /// So many first rows of the partition are evaluated along, since every result may come from them.
    Head(usize),
    /// `row_number()`: at any row, going on from the row before.
    Position,
    /// `rank()`: at the first of a row's peers, going on from the peers before.
    Rank,
    /// `dense_rank()`: at the first of a row's peers, going on from the row before.
    DenseRank,
    /// An aggregate from the first row to the current one, going on from what is noted of the rows before.
    Running,
}

/// A window function of an [`super::Over`].
#[derive(Clone)]
pub struct WindowCall {
    /// DataFusion's evaluator, over columns of the operator's input.
    pub function: Arc<dyn WindowExpr>,
    /// How far back a result looks.
    pub behind: Reach,
    /// How far ahead a result looks.
    pub ahead: Reach,
    /// Where evaluation can begin. All but `Reach` and `Head` depend on every row before, whatever `behind` says.
    pub start: Start,
    /// Condition of a running aggregate's rows.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Columns that are read.
    pub reads: Vec<usize>,
}

/// Equal for equal calls, which what DataFusion prints of its evaluators is not: by this equal nodes of a plan are found.
impl fmt::Debug for WindowCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments: Vec<String> = self.function.expressions().iter().map(ToString::to_string).collect();
        let filter = self.filter.as_ref().map(ToString::to_string);
        f.debug_struct("WindowCall")
            .field("function", &self.function.name())
            .field("arguments", &arguments)
            .field("frame", &self.function.get_window_frame().to_string())
            .field("behind", &self.behind)
            .field("ahead", &self.ahead)
            .field("start", &self.start)
            .field("filter", &filter)
            .field("reads", &self.reads)
            .finish()
    }
}

impl WindowCall {
    /// Whether every change makes the function be evaluated over the whole partition.
    pub fn is_whole(&self) -> bool {
        self.start == Start::Reach && (self.behind == Reach::All || self.ahead == Reach::All)
    }

    /// The rows whose results may change.
    pub(super) fn affected(&self, sorted: &Sorted<'_>, gap: Gap) -> Result<Range<usize>> {
        let local = match self.start {
            Start::Reach => true,
            Start::Head(rows) => gap.at >= rows,
            Start::Position | Start::Rank | Start::DenseRank | Start::Running => false,
        };
        sorted.affected(gap, if local { &self.behind } else { &Reach::All }, &self.ahead)
    }

    /// The rows to evaluate for the results of some rows; head rows not counted. Not for running aggregates.
    pub(super) fn context(&self, sorted: &Sorted<'_>, rows: &Range<usize>) -> Result<Range<usize>> {
        let start = match self.start {
            Start::Reach => sorted.first(rows.start, &self.behind)?,
            Start::Head(head) => sorted.first(rows.start, &self.behind)?.max(head.min(rows.start)),
            Start::Position | Start::Running => rows.start,
            Start::Rank | Start::DenseRank => sorted.peers_start(rows.start),
        };
        let end = match self.start {
            Start::Reach | Start::Head(_) => sorted.end(rows.end - 1, &self.ahead)?,
            _ => rows.end,
        };
        Ok(start..end.max(rows.end))
    }

    /// The results of some rows. `batch` holds the context's rows, `head` the partition's first rows; numbers
    /// go on from `before`.
    pub(super) fn evaluate(
        &self,
        batch: &RecordBatch,
        context: &Range<usize>,
        rows: &Range<usize>,
        head: &RecordBatch,
        before: u64,
    ) -> Result<ArrayRef> {
        let skip = rows.start - context.start;
        match self.start {
            Start::Head(wanted) => {
                let head = head.slice(0, wanted.min(context.start));
                let batch = concat_batches(&batch.schema(), [&head, batch])?;
                Ok(self.function.evaluate(&batch)?.slice(head.num_rows() + skip, rows.len()))
            }
            Start::Reach | Start::Running => Ok(self.function.evaluate(batch)?.slice(skip, rows.len())),
            Start::Position | Start::Rank | Start::DenseRank => self.counted(batch, skip, rows, before),
        }
    }

    /// Numbers that go on from `from`.
    fn counted(&self, batch: &RecordBatch, skip: usize, rows: &Range<usize>, from: u64) -> Result<ArrayRef> {
        let numbers = self.function.evaluate(batch)?.slice(skip, rows.len());
        let numbers = numbers.as_primitive_opt::<UInt64Type>().ok_or_else(|| {
            Error::internal("a rank that is no BIGINT UNSIGNED").with("function", self.function.name())
        })?;
        let numbers: UInt64Array = numbers.unary(|number| number + from);
        Ok(Arc::new(numbers))
    }
}
