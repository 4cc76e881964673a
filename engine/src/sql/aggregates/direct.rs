//! The incremental operator's accumulators in batch queries.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::scalar::ScalarValue;

use super::{Exact, execution};
use crate::change::Weights;
use crate::operator::aggregate::{self as operator, AggregateFunction, BatchFeed, insert_only_accumulator, takes_back};

/// What is needed to make accumulators of a call.
#[derive(Clone)]
struct Plan {
    function: AggregateFunction,
    name: String,
    /// The arguments, then the keys of ORDER BY.
    value: Schema,
    order: Vec<(usize, SortOptions)>,
    /// Rows where one of these is NULL are not seen.
    required: Vec<usize>,
    result: DataType,
}

impl Plan {
    fn new(
        exact: &Exact,
        name: &str,
        arguments: &[FieldRef],
        order: &[(DataType, SortOptions)],
        ignore_nulls: bool,
        result: &DataType,
    ) -> Result<Self> {
        let Some(function) = AggregateFunction::named(exact.inner.name()) else {
            return internal_err!("{} has no accumulator of its own", exact.inner.name());
        };
        let ordered = matches!(function, AggregateFunction::First | AggregateFunction::Last);
        let order = if ordered { order } else { &[] };
        let types = arguments.iter().map(|field| field.data_type()).chain(order.iter().map(|(key, _)| key));
        let fields = types.enumerate().map(|(at, value)| Field::new(format!("value{at}"), value.clone(), true));
        let required = if ordered && !ignore_nulls { vec![] } else { (0..arguments.len()).collect() };
        Ok(Self {
            function,
            name: name.to_owned(),
            value: Schema::new(fields.collect::<Vec<_>>()),
            order: order.iter().enumerate().map(|(at, (_, options))| (arguments.len() + at, *options)).collect(),
            required,
            result: result.clone(),
        })
    }

    fn of(exact: &Exact, args: &AccumulatorArgs<'_>) -> Result<Self> {
        let key =
            |key: &datafusion::physical_expr::PhysicalSortExpr| Ok((key.expr.data_type(args.schema)?, key.options));
        let order = args.order_bys.iter().map(key).collect::<Result<Vec<_>>>()?;
        Self::new(exact, args.name, args.expr_fields, &order, args.ignore_nulls, args.return_type())
    }

    fn make(&self) -> Result<Box<dyn operator::Accumulator>> {
        let made = insert_only_accumulator(&self.function, &self.name, &self.value, &self.order, &self.result);
        match made.map_err(execution)? {
            Some(accumulator) => Ok(accumulator),
            None => internal_err!("{} has no accumulator of its own", self.name),
        }
    }
}

/// The state of a call between partial and final aggregation: the accumulator's own.
pub(super) fn state_fields(exact: &Exact, args: &StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
    let options = SortOptions::default();
    let order: Vec<_> = args.ordering_fields.iter().map(|key| (key.data_type().clone(), options)).collect();
    let plan = Plan::new(exact, args.name, args.input_fields, &order, false, args.return_type())?;
    let named = |field: Field| Arc::new(field.clone().with_name(format_state_name(args.name, field.name())));
    Ok(plan.make()?.fields().into_iter().map(named).collect())
}

pub(super) fn grouped(exact: &Exact, args: &AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
    Ok(Box::new(Grouped::new(Plan::of(exact, args)?)?))
}

pub(super) fn single(exact: &Exact, args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
    let mut grouped = Grouped::new(Plan::of(exact, args)?)?;
    grouped.resize(1);
    Ok(Box::new(Single { grouped, slots: Vec::new() }))
}

/// An accumulator of all groups.
struct Grouped {
    plan: Plan,
    inner: Box<dyn operator::Accumulator>,
    groups: usize,
    slots: Vec<u32>,
}

impl Grouped {
    fn new(plan: Plan) -> Result<Self> {
        Ok(Self { inner: plan.make()?, plan, groups: 0, slots: Vec::new() })
    }

    fn resize(&mut self, groups: usize) {
        self.groups = groups.max(self.groups);
        self.inner.resize(self.groups);
    }

    fn mask(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Option<BooleanBuffer> {
        let filter = filter.map(|filter| match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        });
        let valid = self.plan.required.iter().filter_map(|at| values[*at].logical_nulls());
        let valid = valid.filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.into_inner());
        filter.into_iter().chain(valid).reduce(|left, right| &left & &right)
    }

    fn update(
        &mut self,
        values: &[ArrayRef],
        slots: &[u32],
        filter: Option<&BooleanArray>,
        weights: &Weights,
    ) -> Result<()> {
        // Keys of ORDER BY make no difference to most functions, and then are not looked at.
        let values = &values[..self.plan.value.fields().len()];
        let mask = self.mask(values, filter);
        let feed = BatchFeed::Batch { mask: mask.as_ref(), weights };
        self.inner.update(slots, values, &feed).map_err(execution)
    }

    fn result(&self, slots: &[u32]) -> Result<ArrayRef> {
        let result = self.inner.evaluate(slots).map_err(execution)?;
        Ok(if *result.data_type() == self.plan.result { result } else { cast(&result, &self.plan.result)? })
    }

    /// Slots of the groups that are asked for.
    fn settled(&mut self, emit_to: EmitTo) -> Vec<u32> {
        let count = match emit_to {
            EmitTo::All => self.groups,
            EmitTo::First(count) => count,
        };
        let slots: Vec<u32> = (0..count as u32).collect();
        self.inner.settle(&slots);
        slots
    }

    /// Forgets the first groups; the others move up.
    fn drop_first(&mut self, count: usize) -> Result<()> {
        let rest: Vec<u32> = (count as u32..self.groups as u32).collect();
        let state = self.inner.state(&rest).map_err(execution)?;
        self.inner = self.plan.make()?;
        self.groups = rest.len();
        self.inner.resize(self.groups);
        let moved: Vec<u32> = (0..self.groups as u32).collect();
        self.inner.restore(&moved, &state).map_err(execution)
    }

    fn numbered(&mut self, groups: &[usize]) -> Vec<u32> {
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        slots.extend(groups.iter().map(|group| *group as u32));
        slots
    }
}

impl GroupsAccumulator for Grouped {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.resize(total);
        let slots = self.numbered(groups);
        self.update(values, &slots, filter, &Weights::Ones)?;
        self.slots = slots;
        Ok(())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        _filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.resize(total);
        let slots = self.numbered(groups);
        self.inner.merge(&slots, values).map_err(execution)?;
        self.slots = slots;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let slots = self.settled(emit_to);
        let result = self.result(&slots)?;
        self.drop_first(slots.len())?;
        Ok(result)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let slots = self.settled(emit_to);
        let state = self.inner.state(&slots).map_err(execution)?;
        self.drop_first(slots.len())?;
        Ok(state)
    }

    fn size(&self) -> usize {
        self.inner.bytes() + self.slots.capacity() * 4
    }
}

/// An accumulator of one group.
struct Single {
    grouped: Grouped,
    slots: Vec<u32>,
}

impl std::fmt::Debug for Single {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Single").field("name", &self.grouped.plan.name).finish_non_exhaustive()
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |values| values.len());
        self.slots.resize(rows, 0);
        self.grouped.update(values, &self.slots, None, &Weights::Ones)
    }

    /// What leaves the frame of a window.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |values| values.len());
        self.slots.resize(rows, 0);
        self.grouped.update(values, &self.slots, None, &Weights::Each(vec![-1; rows].into()))
    }

    fn supports_retract_batch(&self) -> bool {
        let value = self.grouped.plan.value.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
        takes_back(&self.grouped.plan.function, &value, &self.grouped.plan.result)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |states| states.len());
        self.grouped.inner.merge(&vec![0; rows], states).map_err(execution)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.grouped.inner.settle(&[0]);
        ScalarValue::try_from_array(&self.grouped.result(&[0])?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.grouped.inner.settle(&[0]);
        let state = self.grouped.inner.state(&[0]).map_err(execution)?;
        state.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn size(&self) -> usize {
        self.grouped.size() + self.slots.capacity() * 4
    }
}
