//! Event time in a slot: what is late, how far each split is, and the watermarks of every node.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, BooleanArray, Int64Array, UInt32Array};
use arrow::compute::kernels::cmp::lt;

use crate::change::Changes;
use crate::error::Result;
use crate::plan::watermark::follow;
use crate::runtime::dataflow::{Dataflow, NodeId, Role, TimedInput};
use crate::runtime::watermark::Seen;
use crate::watermark::{Bound, END, NONE, is_ordinal, ordinals};

/// How far a split is in event time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SplitTime {
    /// The greatest event time read from it.
    pub latest: Option<i64>,
    /// Since when (ms since the Unix epoch) it has given nothing.
    pub idle_since: Option<i64>,
}

impl SplitTime {
    /// When (ms since the Unix epoch) it counts as idle, if it has begun to be.
    fn idle_at(&self, timeout: Option<Duration>) -> Option<i64> {
        let timeout = i64::try_from(timeout?.as_millis()).unwrap_or(i64::MAX);
        Some(self.idle_since?.saturating_add(timeout))
    }
}

/// Changes with the late rows taken out.
pub(super) struct Sifted {
    /// What is on time.
    pub changes: Changes,
    /// The greatest event time of all.
    pub latest: Option<i64>,
    /// What is late.
    pub late: Option<Changes>,
}

/// A slot's view of event time.
pub(super) struct SlotTime {
    /// By node, the timed input that it reads.
    inputs: Vec<Option<usize>>,
    /// Greatest event times of stored tables, by timed input.
    latest: Vec<Option<i64>>,
    /// What nodes that pass watermarks on late got last.
    held_back: Vec<Vec<Bound>>,
}

impl SlotTime {
    pub(super) fn new(flow: &Dataflow) -> Self {
        let inputs = (0..flow.nodes.len()).map(|node| flow.timed.iter().position(|timed| timed.node == node));
        Self {
            inputs: inputs.collect(),
            latest: vec![None; flow.timed.len()],
            held_back: vec![vec![]; flow.nodes.len()],
        }
    }

    /// The timed input that a source or feed reads.
    pub(super) fn input_of(&self, node: NodeId) -> Option<usize> {
        self.inputs[node]
    }

    /// Whether the rows of a source or feed have event times.
    pub(super) fn has_column(&self, flow: &Dataflow, node: NodeId) -> bool {
        self.inputs[node].is_some_and(|input| flow.timed[input].column.is_some())
    }

    /// Takes late rows out of what was read: those with a smaller time than the watermark. Rows without time are never late.
    pub(super) fn sift(
        &mut self,
        flow: &Dataflow,
        node: NodeId,
        changes: Changes,
        watermarks: &[i64],
    ) -> Result<Sifted> {
        let on_time = |changes, latest| Ok(Sifted { changes, latest, late: None });
        let Some((input, column)) = self.inputs[node].and_then(|input| Some((input, flow.timed[input].column?))) else {
            return on_time(changes, None);
        };
        let times = ordinals(changes.rows().column(column))?;
        let latest = arrow::compute::max(&times);
        let watermark = watermarks.get(input).copied().unwrap_or(NONE);
        let earliest = arrow::compute::min(&times);
        if earliest.is_none_or(|earliest| earliest >= watermark) {
            return on_time(changes, latest);
        }
        let behind: BooleanArray = lt(&times, &Int64Array::new_scalar(watermark))?;
        let is_late = |row: &u32| behind.is_valid(*row as usize) && behind.value(*row as usize);
        let (late, rest): (Vec<u32>, Vec<u32>) = (0..changes.len() as u32).partition(is_late);
        let late = changes.take(&UInt32Array::from(late))?;
        Ok(Sifted { changes: changes.take(&UInt32Array::from(rest))?, latest, late: Some(late) })
    }

    /// Takes note of the rows that were staged for an epoch.
    pub(super) fn staged(&mut self, latest: &[Option<i64>]) {
        for (known, new) in self.latest.iter_mut().zip(latest) {
            *known = (*known).max(*new);
        }
    }

    /// What was seen of a stored table.
    pub(super) fn table(&self, input: usize) -> Seen {
        self.latest[input].map_or(Seen::Nothing, Seen::Time)
    }

    /// The watermarks of every node's output in the epoch that starts, after those of the epoch before.
    pub(super) fn bounds(&mut self, flow: &Dataflow, watermarks: &[i64], backfilling: bool) -> Arc<[Vec<Bound>]> {
        let mut bounds: Vec<Vec<Bound>> = Vec::with_capacity(flow.nodes.len());
        for (place, node) in flow.nodes.iter().enumerate() {
            let live_view = |from: &NodeId| self.inputs[*from].is_none();
            let reads_history = backfilling && node.is_leaf() && node.inputs.iter().any(|(from, _)| live_view(from));
            let own = match self.inputs[place] {
                Some(input) => leaf(&flow.timed[input], flow, watermarks.get(input).copied().unwrap_or(NONE)),
                None if reads_history => vec![],
                None => {
                    let inputs: Vec<&[Bound]> = node.inputs.iter().map(|(from, _)| bounds[*from].as_slice()).collect();
                    follow(&node.rules, &inputs)
                }
            };
            bounds.push(match node.passes_late() {
                true => std::mem::replace(&mut self.held_back[place], own),
                false => own,
            });
        }
        bounds.into()
    }
}

/// The watermarks of a source or of a feed's own rows.
fn leaf(timed: &TimedInput, flow: &Dataflow, watermark: i64) -> Vec<Bound> {
    let node = &flow.nodes[timed.node];
    match (watermark, timed.column) {
        (END, _) => {
            let fields = node.schema.fields().iter().enumerate();
            let bound = |(column, _)| Bound { column, watermark: END };
            fields.filter(|(_, field)| is_ordinal(field.data_type())).map(bound).collect()
        }
        (NONE, _) | (_, None) => vec![],
        (watermark, Some(column)) => {
            // A feed puts its columns in the order in which they are wanted.
            let place = match &node.role {
                Role::Feed { projection } => projection.iter().position(|c| *c == column),
                _ => Some(column),
            };
            place.map(|column| Bound { column, watermark }).into_iter().collect()
        }
    }
}

/// What is seen of a connector by its splits: whether each is being read, and how far it is.
pub(super) fn of_splits(
    splits: impl Iterator<Item = (bool, SplitTime)>,
    bounded: bool,
    idle_timeout: Option<Duration>,
    now_ms: i64,
) -> Seen {
    let is_idle = |time: &SplitTime| time.idle_at(idle_timeout).is_some_and(|at| at <= now_ms);
    let (read, past): (Vec<_>, Vec<_>) = splits.partition(|(open, _)| *open);
    if read.is_empty() {
        let latest = past.iter().filter_map(|(_, time)| time.latest).max();
        return match bounded {
            true => Seen::Ended,
            false if !past.is_empty() && past.iter().all(|(_, time)| is_idle(time)) => Seen::Idle,
            false => Seen::Past(latest.unwrap_or(NONE)),
        };
    }
    let active = read.iter().filter(|(_, time)| !is_idle(time)).map(|(_, time)| time.latest);
    match active.min() {
        None => Seen::Idle,
        Some(None) => Seen::Nothing,
        Some(Some(time)) => Seen::Time(time),
    }
}

/// When an input all of whose splits are read to their end will count as idle. (Splits that are being read are asked again
/// anyway.)
pub(super) fn idle_at(splits: impl Iterator<Item = (bool, SplitTime)>, idle_timeout: Option<Duration>) -> Option<i64> {
    let moments: Option<Vec<i64>> =
        splits.map(|(open, time)| if open { None } else { time.idle_at(idle_timeout) }).collect();
    moments?.into_iter().max()
}
