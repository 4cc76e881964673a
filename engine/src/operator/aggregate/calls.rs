//! From calls to what is kept for them: an accumulator of their own, or a share in a multiset of values.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Schema};

use super::accumulator::{Accumulator, Count, gather_i64};
use super::bits::{Bits, Bitwise};
use super::boolean::{Quantifier, Truths};
use super::extremum::{End, StoredExtremum, extremum};
use super::groups::Groups;
use super::moments::Moments;
use super::multiset::Multiset;
use super::order::{ASCENDING, Order};
use super::recompute::Recompute;
use super::{AggregateCall, AggregateFunction, AggregateSpec, sum};
use crate::error::{Error, Result};

/// Where a call's result comes from.
pub(super) enum Call {
    /// The group's weight.
    Rows,
    /// An accumulator, fed with batches at `source`, or with the distinct values of a multiset.
    Own { accumulator: Box<dyn Accumulator>, source: usize, distinct: Option<usize> },
    /// A column of the extremum of a multiset.
    End { multiset: usize, end: End, column: usize },
    /// All values of a multiset.
    Whole { multiset: usize, recompute: Box<Recompute> },
}

/// Columns under a filter; what several calls may share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// The values.
    pub(super) columns: Vec<usize>,
    /// Only rows where this column is true are seen.
    filter: Option<usize>,
    /// Only rows where none of these is NULL are seen.
    required: Vec<usize>,
}

impl Source {
    /// The rows of a batch that are seen, if not all.
    pub(super) fn mask(&self, columns: &[ArrayRef]) -> Result<Option<BooleanBuffer>> {
        let mut mask = None;
        if let Some(filter) = self.filter {
            let filter = columns[filter].as_boolean_opt();
            let filter = filter.ok_or_else(|| Error::internal("the filter of an aggregate is not BOOLEAN"))?;
            mask = Some(match filter.nulls() {
                Some(nulls) => filter.values() & nulls.inner(),
                None => filter.values().clone(),
            });
        }
        for column in &self.required {
            if let Some(valid) = columns[*column].logical_nulls().filter(|nulls| nulls.null_count() > 0) {
                mask = Some(match mask {
                    Some(mask) => &mask & valid.inner(),
                    None => valid.inner().clone(),
                });
            }
        }
        Ok(mask)
    }
}

/// All that an aggregate's calls need.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) calls: Vec<Call>,
    pub(super) sources: Vec<Source>,
    /// Multisets, each with its source.
    pub(super) multisets: Vec<(Multiset, usize)>,
}

/// As many multisets as an aggregate can have.
pub(super) const MULTISETS: usize = super::saved::NAMES.len();

/// The retractable form of a function other than `count` and the extremums, if there is one for these types.
fn retractable(
    function: &AggregateFunction,
    name: &str,
    from: &[DataType],
    to: &DataType,
) -> Option<Box<dyn Accumulator>> {
    use AggregateFunction as F;
    let bits = |operation, from| Bits::new(operation, from).map(|bits| Box::new(bits) as Box<dyn Accumulator>);
    match (function, from) {
        (F::Sum, [from]) => sum::sum(name, false, from, to),
        (F::Avg, [from]) => sum::sum(name, true, from, to),
        (F::BoolAnd, [DataType::Boolean]) => Some(Box::new(Truths::new(Quantifier::All))),
        (F::BoolOr, [DataType::Boolean]) => Some(Box::new(Truths::new(Quantifier::Any))),
        (F::BitAnd, [from]) => bits(Bitwise::And, from),
        (F::BitOr, [from]) => bits(Bitwise::Or, from),
        (F::BitXor, [from]) => bits(Bitwise::Xor, from),
        (F::Statistic(statistic), from)
            if from.len() == statistic.arguments() && from.iter().all(|from| *from == DataType::Float64) =>
        {
            Some(Box::new(Moments::new(*statistic)))
        }
        _ => None,
    }
}

/// Whether a function has an accumulator that forgets rows without knowing the others.
pub fn takes_back(function: &AggregateFunction, from: &[DataType], to: &DataType) -> bool {
    retractable(function, "", from, to).is_some()
}

/// Whether a function of arguments and with a result of these types has a form of its own, so that groups need not be
/// recomputed.
pub fn has_own_form(function: &AggregateFunction, from: &[DataType], to: &DataType) -> bool {
    use AggregateFunction as F;
    match function {
        F::Count => true,
        F::Min | F::Max => from.len() == 1 && !from[0].is_nested(),
        F::First | F::Last => from.len() == 1,
        F::Whole(_) => false,
        other => retractable(other, "", from, to).is_some(),
    }
}

/// The accumulator that computes a call without DISTINCT where rows never leave, over `value`: the arguments, then the
/// columns of `order`. Batch queries use it too.
pub(crate) fn insert_only_accumulator(
    function: &AggregateFunction,
    name: &str,
    value: &Schema,
    order: &[(usize, arrow::compute::SortOptions)],
    to: &DataType,
) -> Result<Option<Box<dyn Accumulator>>> {
    use AggregateFunction as F;
    let types: Vec<DataType> = value.fields().iter().map(|field| field.data_type().clone()).collect();
    Ok(match (function, types.as_slice()) {
        (F::Min, [from]) if !from.is_nested() => Some(extremum(End::Min, from)?),
        (F::Max, [from]) if !from.is_nested() => Some(extremum(End::Max, from)?),
        (F::First | F::Last, [_, ..]) => {
            let end = if *function == F::First { End::Min } else { End::Max };
            Some(Box::new(StoredExtremum::new(end, value, total_order(order, 1), 0)?))
        }
        (F::Min | F::Max | F::Count, _) => None,
        (other, from) => retractable(other, name, from, to),
    })
}

/// The order by given columns, and by the first `arguments` columns where those leave rows equal.
fn total_order(order: &[(usize, arrow::compute::SortOptions)], arguments: usize) -> Order {
    let mut columns = order.to_vec();
    for argument in 0..arguments {
        if !columns.iter().any(|(column, _)| *column == argument) {
            columns.push((argument, ASCENDING));
        }
    }
    Order::new(columns)
}

impl Calls {
    /// The results of a call for the given groups.
    pub(super) fn evaluate(&mut self, call: usize, groups: &Groups, slots: &[u32]) -> Result<ArrayRef> {
        let Calls { calls, multisets, .. } = self;
        match &calls[call] {
            Call::Rows => Ok(gather_i64(slots, |group| groups.weight(group as u32))),
            Call::Own { accumulator, .. } => accumulator.evaluate(slots),
            Call::End { multiset, end, column } => multisets[*multiset].0.extremums(*end, slots, *column),
            Call::Whole { multiset, recompute } => recompute.evaluate(&multisets[*multiset].0.all(slots)?),
        }
    }

    /// Estimate of the memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let own = self.calls.iter().map(|call| match call {
            Call::Own { accumulator, .. } => accumulator.bytes(),
            Call::Rows | Call::End { .. } | Call::Whole { .. } => 0,
        });
        own.sum::<usize>() + self.multisets.iter().map(|(multiset, _)| multiset.bytes()).sum::<usize>()
    }

    /// What the calls of an aggregate need.
    pub(super) fn new(spec: &AggregateSpec) -> Result<Self> {
        let mut made = Self::default();
        for (at, call) in spec.calls.iter().enumerate() {
            let call = made.call(spec, call, at)?;
            made.calls.push(call);
        }
        Ok(made)
    }

    fn call(&mut self, spec: &AggregateSpec, call: &AggregateCall, at: usize) -> Result<Call> {
        use AggregateFunction as F;
        let field = spec.output.field(spec.group.len() + at);
        let AggregateCall { function, arguments, filter, .. } = call;
        let types: Vec<DataType> = arguments.iter().map(|at| spec.input.field(*at).data_type().clone()).collect();
        let refuse = || {
            let types = types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Error::sql(format!("{}({types}) as {} cannot be kept up to date", function.name(), field.data_type()))
                .with("call", field.name())
        };
        // Whether a value comes once or often makes no difference to these.
        let distinct = call.distinct
            && !matches!(function, F::Min | F::Max | F::First | F::Last)
            && !matches!(function, F::BoolAnd | F::BoolOr | F::BitAnd | F::BitOr);
        match function {
            F::Count => {
                // A column without NULLs counts as the rows do.
                let nullable = |column: &usize| distinct || spec.input.field(*column).is_nullable();
                let required: Vec<usize> = arguments.iter().copied().filter(nullable).collect();
                if required.is_empty() && filter.is_none() {
                    return Ok(Call::Rows);
                }
                let columns = if distinct { arguments.clone() } else { Vec::new() };
                let source = self.source(Source { columns, filter: *filter, required });
                self.own(spec, Box::new(Count::default()), source, distinct && !arguments.is_empty())
            }
            F::Min | F::Max | F::First | F::Last => {
                let (end, argument) = match (function, arguments.as_slice()) {
                    (F::Min | F::First, [argument]) => (End::Min, *argument),
                    (F::Max | F::Last, [argument]) => (End::Max, *argument),
                    _ => return Err(refuse()),
                };
                let extremum = matches!(function, F::Min | F::Max);
                if extremum && spec.input.field(argument).data_type().is_nested() {
                    return Err(refuse());
                }
                let mut columns = vec![argument];
                let order = call.order.iter().filter(|_| !extremum);
                let order: Vec<_> =
                    order.map(|(column, options)| (position(&mut columns, *column), *options)).collect();
                let required = if extremum || call.ignore_nulls { vec![argument] } else { vec![] };
                let source = self.source(Source { columns: columns.clone(), filter: *filter, required });
                if spec.insert_only {
                    let value = spec.input.project(&columns)?;
                    let accumulator =
                        insert_only_accumulator(function, field.name(), &value, &order, field.data_type());
                    return self.own(spec, accumulator?.ok_or_else(refuse)?, source, false);
                }
                let order = total_order(&order, 1);
                let multiset = self.multiset(spec, source, Some(&order))?;
                self.multisets[multiset].0.want(end, &order);
                Ok(Call::End { multiset, end, column: 0 })
            }
            F::Whole(recipe) => {
                let source = Source { columns: arguments.clone(), filter: *filter, required: vec![] };
                let source = self.source(source);
                let recompute = Recompute::new(recipe.clone(), field.name(), &types)?;
                let multiset = self.multiset(spec, source, None)?;
                self.multisets[multiset].0.want_all();
                Ok(Call::Whole { multiset, recompute: Box::new(recompute) })
            }
            other => {
                let accumulator = retractable(other, field.name(), &types, field.data_type()).ok_or_else(refuse)?;
                let required = arguments.clone();
                let source = self.source(Source { columns: arguments.clone(), filter: *filter, required });
                self.own(spec, accumulator, source, distinct)
            }
        }
    }

    fn own(
        &mut self,
        spec: &AggregateSpec,
        accumulator: Box<dyn Accumulator>,
        source: usize,
        distinct: bool,
    ) -> Result<Call> {
        let distinct = if distinct { Some(self.multiset(spec, source, None)?) } else { None };
        Ok(Call::Own { accumulator, source, distinct })
    }

    fn source(&mut self, source: Source) -> usize {
        position(&mut self.sources, source)
    }

    fn multiset(&mut self, spec: &AggregateSpec, source: usize, order: Option<&Order>) -> Result<usize> {
        let suits =
            |(multiset, from): &(Multiset, usize)| *from == source && order.is_none_or(|order| multiset.suits(order));
        if let Some(known) = self.multisets.iter().position(suits) {
            return Ok(known);
        }
        if self.multisets.len() == MULTISETS {
            return Err(Error::sql(format!("more than {MULTISETS} different arguments need their values kept")).hint(
                "split the query into several with fewer calls of min, max, first_value, array_agg or with DISTINCT, and join them",
            ));
        }
        let value = self.sources[source].columns.iter().map(|column| spec.input.field(*column).data_type());
        self.multisets.push((Multiset::new(value)?, source));
        Ok(self.multisets.len() - 1)
    }

    /// Accumulators by the number of their call.
    pub(super) fn accumulators(&self) -> impl Iterator<Item = (usize, &dyn Accumulator)> {
        self.calls.iter().enumerate().filter_map(|(at, call)| match call {
            Call::Own { accumulator, .. } => Some((at, accumulator.as_ref())),
            _ => None,
        })
    }

    /// The same, to be changed.
    pub(super) fn accumulators_mut(&mut self) -> impl Iterator<Item = &mut Box<dyn Accumulator>> {
        self.calls.iter_mut().filter_map(|call| match call {
            Call::Own { accumulator, .. } => Some(accumulator),
            _ => None,
        })
    }
}

/// The position of an element, added if it is not there.
fn position<T: PartialEq>(elements: &mut Vec<T>, element: T) -> usize {
    elements.iter().position(|other| *other == element).unwrap_or_else(|| {
        elements.push(element);
        elements.len() - 1
    })
}
