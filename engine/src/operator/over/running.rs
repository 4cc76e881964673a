//! Aggregates over all rows up to the current one, continued from where nothing has changed.
//!
//! DataFusion's accumulators do the work. What they hold is noted at some places of a partition, so that a change is followed
//! from there on and not from the first row: the cost is the rows behind the change and at most [`GRID`] rows before it.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::window::PlainAggregateWindowExpr;
use datafusion::scalar::ScalarValue;

use super::call::WindowCall;
use super::partition::Partition;
use super::reach::{Reach, Sorted};
use crate::error::{Error, ErrorKind, Result};
use crate::operator::failure::{Failing, OnError};

/// About so many rows lie between two places where accumulators are noted.
const GRID: usize = 64;
/// Aggregates whose accumulators hold a few numbers, give them without losing them, and take them back.
const CONTINUABLE: [&str; 26] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "var",
    "var_pop",
    "stddev",
    "stddev_pop",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "covar_samp",
    "covar_pop",
    "corr",
    "regr_slope",
    "regr_intercept",
    "regr_count",
    "regr_r2",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
];

/// Whether an aggregate, not DISTINCT, can be continued from a noted state.
pub fn continues(aggregate: &AggregateFunctionExpr) -> bool {
    let numbers = |fields: Vec<arrow::datatypes::FieldRef>| fields.iter().all(|field| !field.data_type().is_nested());
    CONTINUABLE.contains(&aggregate.fun().name())
        && !aggregate.is_distinct()
        && aggregate.state_fields().is_ok_and(numbers)
}

/// What all running aggregates of an operator hold after the first `at` rows of a partition.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub at: usize,
    states: Vec<Vec<ScalarValue>>,
}

impl Snapshot {
    pub(super) fn new(at: usize, states: Vec<Vec<ScalarValue>>) -> Self {
        Self { at, states }
    }

    pub(super) fn states(&self) -> &[Vec<ScalarValue>] {
        &self.states
    }
}

/// What becomes of results that cannot be computed.
pub(super) struct OnFailure<'a> {
    pub failing: &'a Failing,
    /// The error of a function for one of the rows that results are wanted for.
    pub explain: &'a dyn Fn(&WindowCall, usize, Error) -> Error,
}

/// One aggregate on its way through a partition.
struct Running<'a> {
    call: &'a WindowCall,
    aggregate: &'a AggregateFunctionExpr,
    accumulator: Box<dyn Accumulator>,
    arguments: Vec<ArrayRef>,
    filter: Option<BooleanArray>,
    /// Peers have one result.
    by_peers: bool,
    results: Vec<ScalarValue>,
}

impl<'a> Running<'a> {
    fn new(call: &'a WindowCall, batch: &RecordBatch) -> Result<Self> {
        let aggregate = aggregate_of(call)?;
        let arguments = aggregate.expressions();
        let arguments = arguments.iter().map(|argument| argument.evaluate(batch)?.into_array(batch.num_rows()));
        let filter = match &call.filter {
            Some(filter) => Some(filter.evaluate(batch)?.into_array(batch.num_rows())?.as_boolean().clone()),
            None => None,
        };
        Ok(Self {
            call,
            aggregate,
            accumulator: aggregate.create_accumulator()?,
            arguments: arguments.collect::<Result<_, _>>()?,
            filter,
            by_peers: matches!(call.ahead, Reach::Peers(_)),
            results: Vec::new(),
        })
    }

    fn resume(&mut self, state: &[ScalarValue]) -> Result<()> {
        let arrays = state.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>, _>>()?;
        Ok(self.accumulator.merge_batch(&arrays)?)
    }

    fn update(&mut self, from: usize, rows: usize) -> Result<()> {
        let slices = self.arguments.iter().map(|array| array.slice(from, rows));
        let slices: Vec<ArrayRef> = match &self.filter {
            None => slices.collect(),
            Some(filter) => {
                let filter = filter.slice(from, rows);
                slices.map(|slice| arrow::compute::filter(&slice, &filter)).collect::<Result<_, _>>()?
            }
        };
        if slices.first().is_none_or(|slice| !slice.is_empty()) {
            self.accumulator.update_batch(&slices)?;
        }
        Ok(())
    }

    /// Takes a group of peers; results are wanted of its last `wanted` rows.
    fn take(&mut self, from: usize, rows: usize, wanted: usize, failing: &OnFailure<'_>) -> Result<()> {
        if self.by_peers {
            self.update(from, rows)?;
            if wanted > 0 {
                let value = self.value(failing)?;
                self.results.resize(self.results.len() + wanted, value);
            }
            return Ok(());
        }
        self.update(from, rows - wanted)?;
        for row in from + rows - wanted..from + rows {
            self.update(row, 1)?;
            let value = self.value(failing)?;
            self.results.push(value);
        }
        Ok(())
    }

    /// What the aggregate gives now; NULL if that cannot be computed and is not to stop the job.
    fn value(&mut self, failing: &OnFailure<'_>) -> Result<ScalarValue> {
        match self.accumulator.evaluate().map_err(Error::from) {
            Err(error) if error.kind() == ErrorKind::Data => {
                if failing.failing.on_error == OnError::Stop {
                    return Err((failing.explain)(self.call, self.results.len(), error));
                }
                failing.failing.failures.add(1);
                Ok(ScalarValue::try_new_null(self.aggregate.field().data_type())?)
            }
            value => value,
        }
    }

    fn finish(self) -> Result<ArrayRef> {
        let field = self.aggregate.field();
        if self.results.is_empty() {
            return Ok(arrow::array::new_empty_array(field.data_type()));
        }
        Ok(ScalarValue::iter_to_array(self.results)?)
    }
}

pub(super) fn aggregate_of(call: &WindowCall) -> Result<&AggregateFunctionExpr> {
    let plain = call.function.as_any().downcast_ref::<PlainAggregateWindowExpr>();
    let plain = plain.ok_or_else(|| Error::internal("a running aggregate that is none"))?;
    Ok(plain.get_aggregate_expr())
}

/// Forgets what was noted behind the first row that changed, and says from where to go on.
pub(super) fn resume_at(partition: &mut Partition, first: usize) -> usize {
    let kept = partition.snapshots.partition_point(|snapshot| snapshot.at <= first);
    partition.snapshots.truncate(kept);
    partition.snapshots.last().or(partition.base.as_ref()).map_or(0, |snapshot| snapshot.at)
}

/// What running aggregates hold after some first rows of a partition, of which `batch` has those behind a snapshot.
pub(super) fn after(
    calls: &[&WindowCall],
    from: Option<&Snapshot>,
    batch: &RecordBatch,
) -> Result<Vec<Vec<ScalarValue>>> {
    let of_call = |(place, call): (usize, &&WindowCall)| {
        let mut running = Running::new(call, batch)?;
        if let Some(from) = from {
            running.resume(&from.states[place])?;
        }
        running.update(0, batch.num_rows())?;
        Ok(running.accumulator.state()?)
    };
    calls.iter().enumerate().map(of_call).collect()
}

/// The results of running aggregates for the rows from `first` to the end of a partition. `batch` are its rows from the last
/// snapshot on, or behind those that were forgotten; new snapshots are added.
pub(super) fn evaluate(
    calls: &[&WindowCall],
    sorted: &Sorted<'_>,
    base: Option<&Snapshot>,
    snapshots: &mut Vec<Snapshot>,
    batch: &RecordBatch,
    first: usize,
    failing: &OnFailure<'_>,
) -> Result<Vec<ArrayRef>> {
    let mut all = calls.iter().map(|call| Running::new(call, batch)).collect::<Result<Vec<_>>>()?;
    let from = snapshots.last().or(base);
    let start = from.map_or(0, |snapshot| snapshot.at);
    if let Some(snapshot) = from {
        all.iter_mut().zip(&snapshot.states).try_for_each(|(running, state)| running.resume(state))?;
    }
    let by_peers = all.iter().any(|running| running.by_peers);
    let mut at = start;
    while at < sorted.len() {
        let end = if by_peers { sorted.peers_end(at) } else { at + 1 };
        // Rows that come at the end are most likely: the group of peers there may still grow.
        if by_peers && end == sorted.len() {
            note(snapshots, at, &mut all)?;
        }
        let wanted = end - first.clamp(at, end);
        all.iter_mut().try_for_each(|running| running.take(at - start, end - at, wanted, failing))?;
        let before = snapshots.last().map_or(0, |snapshot| snapshot.at);
        if end - before >= GRID || !by_peers && end == sorted.len() {
            note(snapshots, end, &mut all)?;
        }
        at = end;
    }
    all.into_iter().map(Running::finish).collect()
}

/// Notes what the aggregates hold, in place of the last note if that one is not far from the one before.
fn note(snapshots: &mut Vec<Snapshot>, at: usize, all: &mut [Running<'_>]) -> Result<()> {
    let last = snapshots.last().map_or(0, |snapshot| snapshot.at);
    if at <= last {
        return Ok(());
    }
    let before = snapshots.len().checked_sub(2).map_or(0, |place| snapshots[place].at);
    if !snapshots.is_empty() && last - before < GRID {
        snapshots.pop();
    }
    let states = all.iter_mut().map(|running| running.accumulator.state()).collect::<Result<_, _>>()?;
    snapshots.push(Snapshot { at, states });
    Ok(())
}
