//! GROUP BY, incrementally: counts, sums, averages and extremums per group, DISTINCT and FILTER, and plain DISTINCT.
//!
//! Per batch every row's group is looked up once; every call then updates its dense per-group state over the whole
//! batch. What a group showed is remembered when an epoch first touches it; when the epoch closes, groups whose visible
//! row differs emit the old row with weight -1 and the new one with +1. A group exists as long as its rows' weights sum
//! to more than 0. Retractions may arrive before the insertions that they take back.

mod accumulator;
mod extremum;
mod groups;
mod multiset;
mod sum;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::change::{Changes, batch};
use crate::error::{Error, Result};
use crate::operator::{Epoch, Operator, OperatorInfo, StateDelta, StateTable};
use accumulator::{Accumulator, Count, Feed};
use extremum::{End, extremum};
use groups::Groups;
use multiset::Multiset;

/// What is computed over the rows of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AggregateFunction {
    /// Number of rows, or of those whose argument is not NULL.
    Count,
    /// Sum of the arguments that are not NULL; NULL if there is none.
    Sum,
    /// Their average.
    Avg,
    /// The least, NaN being greater than all numbers.
    Min,
    /// The greatest.
    Max,
}

/// One aggregate call. Its result type is that of its column in [`AggregateSpec::output`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateCall {
    /// What is computed.
    pub function: AggregateFunction,
    /// Over the distinct values only.
    pub distinct: bool,
    /// The argument's column in the input; none for `count(*)`.
    pub argument: Option<usize>,
    /// A boolean column of the input: only rows where it is true are seen.
    pub filter: Option<usize>,
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
}

/// Where a call's result comes from.
enum Call {
    /// The group's weight.
    Rows,
    /// An accumulator, fed with batches at `source`, or with the distinct values of a multiset.
    Own { accumulator: Box<dyn Accumulator>, source: usize, distinct: Option<usize> },
    /// The extremum of a multiset.
    End { multiset: usize, end: End },
}

/// An argument under a filter; what several calls may share.
#[derive(Clone, Copy, PartialEq)]
struct Source {
    argument: Option<usize>,
    filter: Option<usize>,
}

/// The aggregate operator.
pub struct Aggregate {
    spec: AggregateSpec,
    info: OperatorInfo,
    owns_global: bool,
    groups: Groups,
    calls: Vec<Call>,
    sources: Vec<Source>,
    /// Multisets, each with its source.
    multisets: Vec<(Multiset, usize)>,
    /// Per call, what the touched groups showed before, in pieces along the order in which they were touched.
    remembered: Vec<Vec<ArrayRef>>,
    /// Group slot per row of the batch at hand.
    slots: Vec<u32>,
    started: bool,
}

/// Names of the state tables of multisets; as many as an aggregate can have.
const MULTISETS: [&str; 16] = [
    "values_0",
    "values_1",
    "values_2",
    "values_3",
    "values_4",
    "values_5",
    "values_6",
    "values_7",
    "values_8",
    "values_9",
    "values_10",
    "values_11",
    "values_12",
    "values_13",
    "values_14",
    "values_15",
];

impl Aggregate {
    /// An aggregate without input yet. `owns_global`: this instance owns vnode 0, where a global aggregate's row is.
    ///
    /// # Errors
    /// `Sql` if a call cannot be computed over its argument's type or a type cannot be grouped by.
    pub fn new(spec: AggregateSpec, owns_global: bool) -> Result<Self> {
        if spec.output.fields().len() != spec.group.len() + spec.calls.len() {
            return Err(Error::internal("an aggregate's output has not one column per group column and call"));
        }
        let key = spec.input.project(&spec.group)?;
        let mut made = Self {
            groups: Groups::new(&key, spec.routed_by.clone())?,
            info: OperatorInfo { name: "HashAggregate", schema: spec.output.clone(), state: Vec::new() },
            owns_global,
            calls: Vec::new(),
            sources: Vec::new(),
            multisets: Vec::new(),
            remembered: vec![Vec::new(); spec.calls.len()],
            slots: Vec::new(),
            started: false,
            spec,
        };
        for call in 0..made.spec.calls.len() {
            let call = made.call(call)?;
            made.calls.push(call);
        }
        made.info.state = made.state_tables(&key)?;
        Ok(made)
    }

    /// Schema and state tables.
    pub fn info(&self) -> &OperatorInfo {
        &self.info
    }

    /// Estimate of groups held, for EXPLAIN and metrics.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    fn call(&mut self, at: usize) -> Result<Call> {
        let AggregateCall { function, distinct, argument, filter } = self.spec.calls[at].clone();
        let (input, output) = (self.spec.input.clone(), self.spec.output.clone());
        let field = output.field(self.spec.group.len() + at);
        let from = argument.map_or(&DataType::Null, |argument| input.field(argument).data_type());
        let refuse = |what: &str| Error::sql(format!("{what} cannot be kept up to date")).with("call", field.name());
        // A column without NULLs counts as the rows do.
        let counted = argument.filter(|argument| distinct || input.field(*argument).is_nullable());
        if function == AggregateFunction::Count && counted.is_none() && filter.is_none() {
            return Ok(Call::Rows);
        }
        let argument = if function == AggregateFunction::Count { counted } else { argument };
        let source = position(&mut self.sources, Source { argument, filter });
        let accumulator: Box<dyn Accumulator> = match function {
            AggregateFunction::Count => Box::new(Count::default()),
            AggregateFunction::Sum | AggregateFunction::Avg => {
                let average = function == AggregateFunction::Avg;
                sum::sum(field.name(), average, from, field.data_type()).ok_or_else(|| {
                    let name = if average { "avg" } else { "sum" };
                    refuse(&format!("{name} of {from} as {}", field.data_type()))
                })?
            }
            AggregateFunction::Min | AggregateFunction::Max => {
                let end = if function == AggregateFunction::Min { End::Min } else { End::Max };
                if argument.is_none() || from.is_nested() {
                    return Err(refuse(&format!("an extremum of {from}")));
                }
                if !self.spec.insert_only {
                    let multiset = self.multiset(source, from)?;
                    self.multisets[multiset].0.want(end);
                    return Ok(Call::End { multiset, end });
                }
                return Ok(Call::Own { accumulator: extremum(end, from)?, source, distinct: None });
            }
        };
        let distinct = if distinct && argument.is_some() { Some(self.multiset(source, from)?) } else { None };
        Ok(Call::Own { accumulator, source, distinct })
    }

    fn multiset(&mut self, source: usize, value: &DataType) -> Result<usize> {
        if let Some(known) = self.multisets.iter().position(|(_, other)| *other == source) {
            return Ok(known);
        }
        if self.multisets.len() == MULTISETS.len() {
            return Err(Error::sql(format!("more than {} arguments need their values kept", MULTISETS.len()))
                .hint("split the query into several with fewer DISTINCT, min and max calls, and join them"));
        }
        self.multisets.push((Multiset::new(value)?, source));
        Ok(self.multisets.len() - 1)
    }

    /// `groups`: group columns, weight, states of the calls. `values_n`: group columns and value, count.
    fn state_tables(&self, key: &Schema) -> Result<Vec<StateTable>> {
        let key: Vec<Field> = key.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let mut fields = key.clone();
        fields.push(Field::new("__rows", DataType::Int64, true));
        for (at, call) in self.calls.iter().enumerate() {
            if let Call::Own { accumulator, .. } = call {
                let named = |field: Field| {
                    let name = format!("__call{at}_{}", field.name());
                    field.with_name(name)
                };
                fields.extend(accumulator.fields().into_iter().map(named));
            }
        }
        let mut tables = vec![StateTable { name: "groups", schema: Arc::new(Schema::new(fields)), key_len: key.len() }];
        for (name, (_, source)) in MULTISETS.iter().zip(&self.multisets) {
            let argument = self.sources[*source].argument;
            let argument = argument.ok_or_else(|| Error::internal("values are kept of no argument"))?;
            let mut fields = key.clone();
            fields.push(Field::new("__value", self.spec.input.field(argument).data_type().clone(), true));
            fields.push(Field::new("__count", DataType::Int64, true));
            let schema = Arc::new(Schema::new(fields));
            tables.push(StateTable { name, schema, key_len: key.len() + 1 });
        }
        Ok(tables)
    }

    /// What is done once, after all restoring and before anything else.
    fn start(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        self.multisets.iter_mut().for_each(|(multiset, _)| multiset.settle());
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

    fn resize(&mut self) {
        let groups = self.groups.slots();
        self.multisets.iter_mut().for_each(|(multiset, _)| multiset.resize(groups));
        for call in &mut self.calls {
            if let Call::Own { accumulator, .. } = call {
                accumulator.resize(groups);
            }
        }
    }

    /// Ends a group if nothing is left in it.
    fn end(&mut self, group: u32) {
        if self.multisets.iter().all(|(multiset, _)| multiset.is_empty(group)) && self.groups.end(group) {
            self.clear(group);
        }
    }

    fn clear(&mut self, group: u32) {
        self.multisets.iter_mut().for_each(|(multiset, _)| multiset.clear(group));
        for call in &mut self.calls {
            if let Call::Own { accumulator, .. } = call {
                accumulator.clear(group);
            }
        }
    }

    /// The results of a call for the given groups.
    fn evaluate(&mut self, call: usize, groups: &[u32]) -> Result<ArrayRef> {
        let result = match &self.calls[call] {
            Call::Rows => accumulator::gather_i64(groups, |group| self.groups.weight(group as u32)),
            Call::Own { accumulator, .. } => accumulator.evaluate(groups)?,
            Call::End { multiset, end } => self.multisets[*multiset].0.extremums(*end, groups)?,
        };
        let wanted = self.spec.output.field(self.spec.group.len() + call).data_type();
        Ok(if result.data_type() == wanted { result } else { cast(&result, wanted)? })
    }

    /// Keeps what groups show now.
    fn remember(&mut self, groups: &[u32]) -> Result<()> {
        for call in 0..self.calls.len() {
            let shown = self.evaluate(call, groups)?;
            self.remembered[call].push(shown);
        }
        Ok(())
    }

    fn update(&mut self, changes: &Changes, slots: &[u32]) -> Result<()> {
        let columns = changes.rows().columns();
        let weights = changes.weights();
        let masks = self.sources.iter().map(|source| mask(*source, columns)).collect::<Result<Vec<_>>>()?;
        let argument = |source: usize| self.sources[source].argument.map(|argument| &columns[argument]);
        let mut entered = Vec::with_capacity(self.multisets.len());
        for (multiset, source) in &mut self.multisets {
            let feed = Feed::Batch { mask: masks[*source].as_ref(), weights };
            let values = argument(*source).ok_or_else(|| Error::internal("values are kept of no argument"))?;
            entered.push(multiset.update(slots, values, &feed)?);
        }
        for call in &mut self.calls {
            if let Call::Own { accumulator, source, distinct } = call {
                let feed = match distinct {
                    None => Feed::Batch { mask: masks[*source].as_ref(), weights },
                    Some(set) => Feed::Distinct { rows: &entered[*set].rows, deltas: &entered[*set].deltas },
                };
                accumulator.update(slots, argument(*source), &feed)?;
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
            let different = distinct(&take(old, &kept_at, None)?.as_ref(), &new.as_ref())?;
            different.values().set_indices().for_each(|at| differs[at] = true);
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
        (0..self.calls.len()).map(|call| self.evaluate(call, groups)).collect()
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

    fn checkpoint_values(&mut self, deltas: &mut Vec<StateDelta>) -> Result<()> {
        for (at, (multiset, _)) in self.multisets.iter_mut().enumerate() {
            let dirty = multiset.take_dirty()?;
            if dirty.groups.is_empty() {
                continue;
            }
            let mut columns = self.groups.keys(&dirty.groups)?;
            columns.extend([dirty.values, Arc::new(Int64Array::from(dirty.counts)) as ArrayRef]);
            deltas.push(StateDelta {
                table: at + 1,
                vnodes: self.groups.vnodes(&dirty.groups)?,
                rows: batch(&self.info.state[at + 1].schema, columns, dirty.groups.len())?,
                deleted: dirty.deleted,
            });
        }
        Ok(())
    }

    fn restore_groups(&mut self, delta: &StateDelta, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let (weights, mut states) = columns.split_first().ok_or_else(|| Error::internal("groups without weight"))?;
        let weights = weights.as_primitive_opt::<Int64Type>();
        let weights = weights.ok_or_else(|| Error::internal("weights of groups are not BIGINT"))?;
        for call in &mut self.calls {
            if let Call::Own { accumulator, .. } = call {
                let (own, rest) = states.split_at(accumulator.fields().len().min(states.len()));
                accumulator.restore(slots, own)?;
                states = rest;
            }
        }
        for (row, slot) in slots.iter().enumerate() {
            if !delta.deleted[row] {
                self.groups.restore(*slot, Some(weights.value(row)));
                continue;
            }
            self.groups.restore(*slot, None);
            for call in &mut self.calls {
                if let Call::Own { accumulator, .. } = call {
                    accumulator.clear(*slot);
                }
            }
        }
        Ok(())
    }
}

impl Operator for Aggregate {
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

    fn close_epoch(&mut self, _epoch: Epoch, out: &mut Vec<Changes>) -> Result<()> {
        self.start()?;
        self.multisets.iter_mut().for_each(|(multiset, _)| multiset.settle());
        let touched = self.groups.take_touched();
        for call in &mut self.calls {
            if let Call::Own { accumulator, .. } = call {
                accumulator.settle(&touched.shown);
                accumulator.settle(&touched.fresh);
            }
        }
        let changes = self.emit(&touched.shown, &touched.fresh)?;
        if !changes.is_empty() {
            out.push(changes);
        }
        touched.shown.iter().chain(&touched.fresh).for_each(|group| self.end(*group));
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Vec<StateDelta>> {
        self.start()?;
        let mut deltas = Vec::new();
        self.checkpoint_values(&mut deltas)?;
        let (slots, deleted) = self.groups.take_dirty();
        if !slots.is_empty() {
            let mut columns = self.groups.keys(&slots)?;
            columns.push(accumulator::gather_i64(&slots, |group| self.groups.weight(group as u32)));
            for call in &self.calls {
                if let Call::Own { accumulator, .. } = call {
                    columns.extend(accumulator.state(&slots)?);
                }
            }
            let ended: Vec<u32> =
                slots.iter().zip(&deleted).filter(|(_, deleted)| **deleted).map(|(s, _)| *s).collect();
            let vnodes = self.groups.vnodes(&slots)?;
            let rows = batch(&self.info.state[0].schema, columns, slots.len())?;
            deltas.push(StateDelta { table: 0, vnodes, deleted, rows });
            for group in ended {
                self.groups.forget(group);
                self.clear(group);
            }
        }
        Ok(deltas)
    }

    fn restore(&mut self, delta: StateDelta) -> Result<()> {
        let width = self.spec.group.len();
        let mut slots = Vec::new();
        let (keys, columns) = delta.rows.columns().split_at(width.min(delta.rows.num_columns()));
        self.groups.resolve(keys, delta.rows.num_rows(), &mut slots)?;
        self.resize();
        if delta.table == 0 {
            return self.restore_groups(&delta, &slots, columns);
        }
        let multiset = self.multisets.get_mut(delta.table - 1);
        let (Some((multiset, _)), [values, counts]) = (multiset, columns) else {
            return Err(Error::internal(format!("an aggregate has no state table {}", delta.table)));
        };
        let counts = counts.as_primitive_opt::<Int64Type>();
        let counts = counts.ok_or_else(|| Error::internal("counts of values are not BIGINT"))?;
        let counts = (0..slots.len()).map(|row| if delta.deleted[row] { 0 } else { counts.value(row) });
        multiset.restore(&slots, values, counts)
    }

    fn state_rows(&self) -> usize {
        self.groups.len() + self.multisets.iter().map(|(multiset, _)| multiset.len()).sum::<usize>()
    }
}

/// The rows of a batch that a source lets through, if not all: the filter is true, the argument is not NULL.
fn mask(source: Source, columns: &[ArrayRef]) -> Result<Option<BooleanBuffer>> {
    let filter = source.filter.map(|filter| {
        let filter = columns[filter].as_boolean_opt();
        let filter = filter.ok_or_else(|| Error::internal("the filter of an aggregate is not BOOLEAN"))?;
        Ok::<_, Error>(match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        })
    });
    let valid = source.argument.and_then(|argument| columns[argument].logical_nulls());
    let valid = valid.filter(|nulls| nulls.null_count() > 0);
    Ok(match (filter.transpose()?, valid) {
        (Some(filter), Some(valid)) => Some(&filter & valid.inner()),
        (Some(filter), None) => Some(filter),
        (None, valid) => valid.map(|valid| valid.inner().clone()),
    })
}

/// The position of an element, added if it is not there.
fn position<T: PartialEq>(elements: &mut Vec<T>, element: T) -> usize {
    elements.iter().position(|other| *other == element).unwrap_or_else(|| {
        elements.push(element);
        elements.len() - 1
    })
}

#[cfg(test)]
mod tests;
