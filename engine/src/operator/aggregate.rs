//! GROUP BY, incrementally: every aggregate function, DISTINCT and FILTER; and plain DISTINCT.
//!
//! Per batch every row's group is looked up once; every call then updates its dense per-group state over the whole
//! batch. What a group showed is remembered when an epoch first touches it; when the epoch closes, groups whose visible
//! row differs emit the old row with weight -1 and the new one with +1. A group exists as long as its rows' weights sum
//! to more than 0. Retractions may arrive before the insertions that they take back.
//!
//! | functions | kept per group | work per changed row |
//! | --- | --- | --- |
//! | `count`, `sum`, `avg`, `bool_*`, `bit_*`, `var*`, `stddev*`, `covar*`, `corr`, `regr_*` | a few numbers | constant |
//! | the same with DISTINCT | and its distinct values | constant |
//! | `min`, `max`, `first_value`, `last_value` of insert-only input | the value | constant |
//! | the same of retracting input | all values | amortised constant, else logarithmic |
//! | everything else | all values | the whole group, once per epoch |

mod accumulator;
mod bits;
mod boolean;
mod calls;
mod exact;
mod expiry;
mod extremum;
mod groups;
mod moments;
mod multiset;
mod order;
mod recompute;
mod saved;
mod sum;
mod wide;

use arrow::array::{Array, ArrayRef, UInt32Array, make_comparator};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{SortOptions, cast, concat, take};
use arrow::datatypes::{Schema, SchemaRef};

use crate::change::{Changes, batch};
use crate::error::{Error, Result};
use crate::operator::failure::{Failing, row_text};
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta};
use crate::watermark::Bound;
use accumulator::Feed;
use calls::{Call, Calls, Source};
use expiry::GroupExpiry;
use groups::Groups;

pub(crate) use accumulator::{Accumulator, Feed as BatchFeed, canonical};
pub(crate) use calls::insert_only_accumulator;
pub use calls::{has_own_form, takes_back};
pub use moments::Statistic;
pub(crate) use recompute::Recompute;
pub use recompute::{Argument, Recipe, check_call};

/// What is computed over the rows of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AggregateFunction {
    /// Number of rows, or of those in which no argument is NULL.
    Count,
    /// Sum of the arguments that are not NULL; NULL if there is none.
    Sum,
    /// Their average.
    Avg,
    /// The least, NaN being greater than all numbers.
    Min,
    /// The greatest.
    Max,
    /// Whether all are true.
    BoolAnd,
    /// Whether any is true.
    BoolOr,
    /// The bits that all have.
    BitAnd,
    /// The bits that any has.
    BitOr,
    /// The bits that an odd number of them has.
    BitXor,
    /// The argument in the first row, in the call's order.
    First,
    /// The argument in the last row.
    Last,
    /// Variance and its relatives, of DOUBLE.
    Statistic(Statistic),
    /// Any other function: groups are recomputed whole. The recipe's values are the call's arguments.
    Whole(Recipe),
}

impl AggregateFunction {
    /// The function that DataFusion calls so, if it has a form of its own for some types of arguments.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "bool_and" => Self::BoolAnd,
            "bool_or" => Self::BoolOr,
            "bit_and" => Self::BitAnd,
            "bit_or" => Self::BitOr,
            "bit_xor" => Self::BitXor,
            "first_value" => Self::First,
            "last_value" => Self::Last,
            other => Self::Statistic(Statistic::named(other)?),
        })
    }

    /// DataFusion's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::BoolAnd => "bool_and",
            Self::BoolOr => "bool_or",
            Self::BitAnd => "bit_and",
            Self::BitOr => "bit_or",
            Self::BitXor => "bit_xor",
            Self::First => "first_value",
            Self::Last => "last_value",
            Self::Statistic(statistic) => statistic.name(),
            Self::Whole(recipe) => recipe.function.name(),
        }
    }
}

/// One aggregate call. Its result type is that of its column in [`AggregateSpec::output`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateCall {
    /// What is computed.
    pub function: AggregateFunction,
    /// Over the distinct values only.
    pub distinct: bool,
    /// The arguments' columns in the input; none for `count(*)`.
    pub arguments: Vec<usize>,
    /// A boolean column of the input: only rows where it is true are seen.
    pub filter: Option<usize>,
    /// For `First` and `Last`: columns of the input that decide the order. What they leave open the argument decides.
    pub order: Vec<(usize, SortOptions)>,
    /// For `First` and `Last`: rows where the argument is NULL are not seen.
    pub ignore_nulls: bool,
}

impl AggregateCall {
    /// A plain call of a function.
    pub fn new(function: AggregateFunction, arguments: Vec<usize>) -> Self {
        Self { function, distinct: false, arguments, filter: None, order: Vec::new(), ignore_nulls: false }
    }
}

/// What an aggregate does: everything by column number of the input.
#[derive(Debug, Clone)]
pub struct AggregateSpec {
    /// The input's columns.
    pub input: SchemaRef,
    /// The columns grouped by; none for a global aggregate, which has one row even over no input.
    pub group: Vec<usize>,
    /// The calls; none for DISTINCT.
    pub calls: Vec<AggregateCall>,
    /// The group columns, then one column per call.
    pub output: SchemaRef,
    /// The input never takes rows back: extremums need no values kept.
    pub insert_only: bool,
    /// Places in `group` of the columns whose hash routes the input; `None`: all of them. Fewer columns keep a group's
    /// rows together as well, and spare an exchange where the input is routed by them already.
    pub routed_by: Option<Vec<usize>>,
    /// What becomes of results that cannot be computed, such as a sum that does not fit its type.
    pub failing: Failing,
}

/// The aggregate operator.
pub struct Aggregate {
    spec: AggregateSpec,
    info: OperatorInfo,
    owns_global: bool,
    groups: Groups,
    calls: Calls,
    /// Per call, what the touched groups showed before, in pieces along the order in which they were touched.
    remembered: Vec<Vec<ArrayRef>>,
    /// Group slot per row of the batch at hand.
    slots: Vec<u32>,
    started: bool,
    /// Which groups a watermark will pass, once there is one.
    expiry: Option<GroupExpiry>,
}

impl Aggregate {
    /// An aggregate without input yet. `owns_global`: this instance owns vnode 0, where a global aggregate's row is.
    ///
    /// # Errors
    /// `Sql` if a call cannot be computed over its argument's type or a type cannot be grouped by.
    pub fn new(spec: AggregateSpec, owns_global: bool) -> Result<Self> {
        if spec.output.fields().len() != spec.group.len() + spec.calls.len() {
            return Err(Error::internal("an aggregate's output has not one column per group column and call"));
        }
        let calls = Calls::new(&spec)?;
        let state = saved::state_tables(&spec, &calls)?;
        Ok(Self {
            groups: Groups::new(&spec.input.project(&spec.group)?, spec.routed_by.clone())?,
            info: OperatorInfo { name: "HashAggregate", schema: spec.output.clone(), state },
            owns_global,
            calls,
            remembered: vec![Vec::new(); spec.calls.len()],
            slots: Vec::new(),
            started: false,
            expiry: None,
            spec,
        })
    }

    /// Estimate of groups held, for EXPLAIN and metrics.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// How many rows of state were looked at beyond those that changes touched: what recomputing whole groups and
    /// looking for lost extremums cost.
    pub fn visited(&self) -> u64 {
        self.calls.multisets.iter().map(|(multiset, _)| multiset.visited()).sum()
    }

    /// What is done once, after all restoring and before anything else.
    fn start(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        self.calls.multisets.iter_mut().for_each(|(multiset, _)| multiset.settle());
        for group in self.groups.all() {
            self.end(group);
        }
        if self.spec.group.is_empty() && self.owns_global && self.groups.all().is_empty() {
            let mut slots = Vec::new();
            self.groups.resolve(&[], 1, &mut slots)?;
            self.resize();
            self.groups.touch(&slots);
        }
        Ok(())
    }

    /// Ends a group if nothing is left in it.
    fn end(&mut self, group: u32) {
        let empty = self.calls.multisets.iter().all(|(multiset, _)| multiset.is_empty(group));
        if empty && self.groups.end(group) {
            self.clear(group);
        }
    }

    /// The results of a call for the given groups. Where one cannot be computed it is NULL, if that is wanted.
    fn evaluate(&mut self, call: usize, groups: &[u32]) -> Result<ArrayRef> {
        let field = self.spec.output.field(self.spec.group.len() + call);
        let keys = &self.groups;
        let explain = |group: &u32, error: Error| {
            let fields = self.spec.output.fields()[..self.spec.group.len()].to_vec();
            let rows = keys.keys(&[*group]).and_then(|keys| batch(&Schema::new(fields).into(), keys, 1));
            let text = rows.map(|rows| row_text(&rows, (0..rows.num_columns()).collect())).unwrap_or_default();
            let error = if text.is_empty() { error } else { error.with("group", text) };
            error.hint(
                "change or delete rows in their table and RESUME JOB, or drop the view and create it over a wider type; \
                 SET job.on-error = 'null' before CREATE gives NULL instead",
            )
        };
        let calls = &mut self.calls;
        let mut compute = |groups: &[u32]| {
            let result = calls.evaluate(call, keys, groups)?;
            let same = result.data_type() == field.data_type();
            Ok(if same { result } else { cast(&result, field.data_type())? })
        };
        self.spec.failing.results(groups, field.data_type(), &mut compute, &explain)
    }

    /// Keeps what groups show now.
    fn remember(&mut self, groups: &[u32]) -> Result<()> {
        for call in 0..self.remembered.len() {
            let shown = self.evaluate(call, groups)?;
            self.remembered[call].push(shown);
        }
        Ok(())
    }

    fn update(&mut self, changes: &Changes, slots: &[u32]) -> Result<()> {
        let columns = changes.rows().columns();
        let weights = changes.weights();
        let Calls { calls, sources, multisets } = &mut self.calls;
        let masks = sources.iter().map(|source| source.mask(columns)).collect::<Result<Vec<_>>>()?;
        let values = |source: &Source| source.columns.iter().map(|column| columns[*column].clone()).collect();
        let values: Vec<Vec<ArrayRef>> = sources.iter().map(values).collect();
        let mut entered = Vec::with_capacity(multisets.len());
        for (multiset, source) in multisets {
            let feed = Feed::Batch { mask: masks[*source].as_ref(), weights };
            entered.push(multiset.update(slots, &values[*source], &feed)?);
        }
        for call in calls {
            if let Call::Own { accumulator, source, distinct } = call {
                let feed = match distinct {
                    None => Feed::Batch { mask: masks[*source].as_ref(), weights },
                    Some(set) => Feed::Distinct { rows: &entered[*set].rows, deltas: &entered[*set].deltas },
                };
                accumulator.update(slots, &values[*source], &feed)?;
            }
        }
        Ok(())
    }

    /// The changes of the epoch's touched groups.
    fn emit(&mut self, shown: &[u32], fresh: &[u32]) -> Result<Changes> {
        let (mut kept, mut ended) = (Vec::new(), Vec::new());
        for (at, group) in shown.iter().enumerate() {
            if self.groups.visible(*group) { &mut kept } else { &mut ended }.push(at as u32);
        }
        let old = self.take_remembered()?;
        let pick = |at: &[u32]| at.iter().map(|at| shown[*at as usize]).collect::<Vec<_>>();
        let kept_groups = pick(&kept);
        let new = self.evaluate_all(&kept_groups)?;
        let kept_at = UInt32Array::from(kept.clone());
        let mut differs = vec![false; kept.len()];
        for (old, new) in old.iter().zip(&new) {
            let old = take(old, &kept_at, None)?;
            different(&old, new)?.set_indices().for_each(|at| differs[at] = true);
        }
        let inserted: Vec<u32> = (0..kept.len() as u32).filter(|at| differs[*at as usize]).collect();
        let mut retracted = ended;
        retracted.extend(inserted.iter().map(|at| kept[*at as usize]));
        let fresh: Vec<u32> = fresh.iter().copied().filter(|group| self.groups.visible(*group)).collect();

        let mut groups = pick(&retracted);
        groups.extend(inserted.iter().map(|at| kept_groups[*at as usize]));
        groups.extend(&fresh);
        let mut columns = self.groups.keys(&groups)?;
        let fresh = self.evaluate_all(&fresh)?;
        let (retracted_at, inserted_at) = (UInt32Array::from(retracted), UInt32Array::from(inserted));
        for ((old, new), fresh) in old.iter().zip(&new).zip(&fresh) {
            if shown.is_empty() {
                columns.push(fresh.clone());
                continue;
            }
            let (old, new) = (take(old, &retracted_at, None)?, take(new, &inserted_at, None)?);
            columns.push(concat(&[old.as_ref(), new.as_ref(), fresh.as_ref()])?);
        }
        let rows = batch(&self.spec.output, columns, groups.len())?;
        if retracted_at.is_empty() {
            return Ok(Changes::inserts(rows));
        }
        let weights = (0..groups.len()).map(|row| if row < retracted_at.len() { -1 } else { 1 }).collect();
        Ok(Changes::weighted(rows, weights))
    }

    fn evaluate_all(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        (0..self.remembered.len()).map(|call| self.evaluate(call, groups)).collect()
    }

    fn take_remembered(&mut self) -> Result<Vec<ArrayRef>> {
        let first = self.spec.group.len();
        let mut columns = Vec::with_capacity(self.remembered.len());
        for (call, pieces) in self.remembered.iter_mut().enumerate() {
            let pieces = std::mem::take(pieces);
            let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
            columns.push(match pieces.as_slice() {
                [] => arrow::array::new_empty_array(self.spec.output.field(first + call).data_type()),
                pieces => concat(pieces)?,
            });
        }
        Ok(columns)
    }
}

impl Operator for Aggregate {
    fn info(&self) -> OperatorInfo {
        self.info.clone()
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, _out: &mut Vec<Changes>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.start()?;
        if self.spec.insert_only && !changes.is_insert_only() {
            return Err(Error::internal("an aggregate over insert-only input was given a retraction"));
        }
        let mut slots = std::mem::take(&mut self.slots);
        let keys: Vec<ArrayRef> = self.spec.group.iter().map(|column| changes.rows().column(*column).clone()).collect();
        self.groups.resolve(&keys, changes.len(), &mut slots)?;
        self.resize();
        let first = self.groups.touch(&slots).to_vec();
        if !first.is_empty() {
            self.remember(&first)?;
        }
        self.groups.add(&slots, changes.weights());
        self.update(&changes, &slots)?;
        self.slots = slots;
        Ok(())
    }

    fn on_watermark(&mut self, _input: usize, bounds: &[Bound]) -> Result<()> {
        self.advance(bounds)
    }

    fn close_epoch(&mut self, _epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        self.start()?;
        self.calls.multisets.iter_mut().for_each(|(multiset, _)| multiset.settle());
        let touched = self.groups.take_touched();
        for accumulator in self.calls.accumulators_mut() {
            accumulator.settle(&touched.shown);
            accumulator.settle(&touched.fresh);
        }
        let changes = self.emit(&touched.shown, &touched.fresh)?;
        if !changes.is_empty() {
            out.push(changes);
        }
        self.expire_later(&touched.fresh)?;
        touched.shown.iter().chain(&touched.fresh).for_each(|group| self.end(*group));
        self.expire()
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        self.start()?;
        self.save()
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        self.load(&delta)
    }

    fn state_rows(&self) -> usize {
        self.groups.len() + self.calls.multisets.iter().map(|(multiset, _)| multiset.len()).sum::<usize>()
    }

    fn state_bytes(&self) -> usize {
        self.groups.bytes() + self.calls.bytes()
    }
}

/// Where two arrays differ: NULL equals NULL, NaN equals NaN.
fn different(left: &ArrayRef, right: &ArrayRef) -> Result<BooleanBuffer> {
    if !left.data_type().is_nested() {
        return Ok(distinct(&left.as_ref(), &right.as_ref())?.values().clone());
    }
    let compare = make_comparator(left, right, SortOptions::default())?;
    Ok(BooleanBuffer::collect_bool(left.len(), |row| compare(row, row).is_ne()))
}

#[cfg(test)]
mod tests;
