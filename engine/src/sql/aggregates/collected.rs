//! Whole groups given to one accumulator in one order: in batch queries as in continuous ones.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{SortOptions, concat};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_plan::expressions::Literal;
use datafusion::scalar::ScalarValue;

use super::{Exact, Way, execution};
use crate::operator::aggregate::{Argument, Recipe, Recompute, canonical};

const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The columns of collected rows: arguments that are no constants, then keys of ORDER BY.
fn fields<'a>(types: impl Iterator<Item = &'a DataType>) -> Fields {
    types.enumerate().map(|(at, value)| Field::new(format!("value{at}"), value.clone(), true)).collect()
}

fn list_of(fields: &Fields) -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields.clone()), true))
}

/// The state between partial and final aggregation: a list of the group's rows.
pub(super) fn state_fields(exact: &Exact, args: &StateFieldsArgs<'_>) -> Vec<FieldRef> {
    let arguments = exact.values.iter().filter_map(|at| args.input_fields.get(*at));
    let fields = fields(arguments.chain(args.ordering_fields).map(|field| field.data_type()));
    vec![Arc::new(Field::new(format_state_name(args.name, "rows"), DataType::List(list_of(&fields)), true))]
}

pub(super) fn accumulator(exact: &Exact, args: &AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
    let mut columns = Vec::new();
    let mut arguments = Vec::new();
    for (at, expr) in args.exprs.iter().enumerate() {
        if exact.values.contains(&at) {
            arguments.push(Argument::Column(columns.len()));
            columns.push(at);
            continue;
        }
        match expr.as_any().downcast_ref::<Literal>() {
            Some(literal) => arguments.push(Argument::Constant(literal.value().clone())),
            None => return internal_err!("argument {at} of {} is no constant any more", args.name),
        }
    }
    let mut types: Vec<DataType> = columns.iter().map(|at| args.expr_fields[*at].data_type().clone()).collect();
    let mut order = Vec::new();
    for (at, key) in args.order_bys.iter().enumerate() {
        order.push((types.len(), key.options));
        types.push(key.expr.data_type(args.schema)?);
        columns.push(args.exprs.len() + at);
    }
    order.extend((0..arguments.len().min(exact.values.len())).map(|value| (value, ASCENDING)));
    let within_group = exact.inner.supports_within_group_clause() && !args.order_bys.is_empty();
    let function = match exact.way {
        Way::CollectedDirect => Arc::new(AggregateUDF::new_from_impl(Exact { way: Way::Direct, ..exact.clone() })),
        Way::Direct | Way::Collected | Way::DistinctInFrame => exact.inner.clone(),
    };
    let (distinct, ignore_nulls) = (args.is_distinct, args.ignore_nulls);
    let recipe = Recipe { function, arguments, order, distinct, ignore_nulls, within_group };
    let recompute = match Recompute::new(recipe, args.name, &types) {
        Ok(recompute) => recompute,
        Err(error) => return plan_err!("{error}"),
    };
    Ok(Box::new(Collected { recompute, columns, fields: fields(types.iter()), rows: Vec::new(), bytes: 0 }))
}

/// The rows of one group.
#[derive(Debug)]
struct Collected {
    recompute: Recompute,
    /// Where the columns of a row stand among what an update gives.
    columns: Vec<usize>,
    fields: Fields,
    /// Batches of rows.
    rows: Vec<Vec<ArrayRef>>,
    bytes: usize,
}

impl Collected {
    fn push(&mut self, columns: Vec<ArrayRef>) {
        let slice = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_default();
        self.bytes += columns.iter().map(slice).sum::<usize>();
        self.rows.push(columns);
    }

    /// All rows as one batch.
    fn all(&mut self) -> Result<Vec<ArrayRef>> {
        if self.rows.len() != 1 {
            let column = |(at, field): (usize, &FieldRef)| {
                let parts: Vec<&dyn Array> = self.rows.iter().map(|rows| rows[at].as_ref()).collect();
                if parts.is_empty() { Ok(new_empty_array(field.data_type())) } else { Ok(concat(&parts)?) }
            };
            let all = self.fields.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
            self.rows = vec![all];
        }
        Ok(self.rows[0].clone())
    }
}

impl Accumulator for Collected {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let columns = self.columns.iter().map(|at| canonical(&values[*at])).collect();
        self.push(columns);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first().and_then(|states| states.as_list_opt::<i32>()) else {
            return internal_err!("the state of a collected aggregate is no list");
        };
        for list in lists.iter().flatten().filter(|list| !list.is_empty()) {
            self.push(list.as_struct().columns().to_vec());
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let columns = self.all()?;
        self.recompute.evaluate_rows(&columns).map_err(execution)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = self.all()?;
        let rows = StructArray::try_new(self.fields.clone(), columns, None)?;
        let offsets = OffsetBuffer::from_lengths([rows.len()]);
        let list = ListArray::try_new(list_of(&self.fields), offsets, Arc::new(rows), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes
    }
}
