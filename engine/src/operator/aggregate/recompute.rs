//! Functions without a form that can be taken back: the results of whole groups, by DataFusion's own accumulators.
//!
//! The rows of a group are put into one order that leaves nothing to chance: as the call's ORDER BY says, and where that
//! leaves rows equal, by the arguments. Then one accumulator is given the whole group at once. Batch
//! queries do the same, so that even functions whose answer depends on the order in which they see rows (`array_agg`
//! without ORDER BY, t-digests) give one answer everywhere.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_empty_array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::logical_expr::{Accumulator, AggregateUDF};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::{Column, Literal};
use datafusion::scalar::ScalarValue;

use super::multiset::GroupValues;
use super::{AggregateCall, AggregateFunction};
use crate::error::{Error, Result};

/// An argument of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A column of the values.
    Column(usize),
    /// A constant, such as the separator of `string_agg`.
    Constant(ScalarValue),
}

/// A call of any aggregate function over values: rows of some columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The function.
    pub function: Arc<AggregateUDF>,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// The columns of the values in the order in which they decide; must name each.
    pub order: Vec<(usize, SortOptions)>,
    /// Each different row counts once.
    pub distinct: bool,
    /// NULLs are left out.
    pub ignore_nulls: bool,
    /// Whether the order is that of WITHIN GROUP, which the function itself has to know.
    pub within_group: bool,
}

/// Computes a [`Recipe`].
#[derive(Debug)]
pub(crate) struct Recompute {
    recipe: Recipe,
    function: AggregateFunctionExpr,
    sorter: RowConverter,
}

impl Recompute {
    /// For values of the given types.
    ///
    /// # Errors
    /// `Sql` if the function does not take such arguments or values of a type cannot be put in order.
    pub(crate) fn new(recipe: Recipe, name: &str, values: &[DataType]) -> Result<Self> {
        let fields = values.iter().enumerate().map(|(at, value)| Field::new(format!("value{at}"), value.clone(), true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let column = |at: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(&format!("value{at}"), at)) };
        let arguments = recipe.arguments.iter().map(|argument| match argument {
            Argument::Column(at) => column(*at),
            Argument::Constant(value) => Arc::new(Literal::new(value.clone())),
        });
        let mut builder = AggregateExprBuilder::new(recipe.function.clone(), arguments.collect());
        if recipe.within_group {
            let order = recipe.order.iter().take(1);
            let order = order.map(|(at, options)| PhysicalSortExpr { expr: column(*at), options: *options });
            builder = builder.order_by(order.collect());
        }
        let function = builder.schema(schema).alias(name.to_owned()).with_ignore_nulls(recipe.ignore_nulls).build()?;
        // Some functions find out only here that they do not take such arguments.
        function.create_accumulator()?;
        let fields =
            recipe.order.iter().map(|(at, options)| SortField::new_with_options(values[*at].clone(), *options));
        let fields: Vec<SortField> = fields.collect();
        if !RowConverter::supports_fields(&fields) {
            return Err(Error::sql(format!("the values of {name} cannot be put in order"))
                .hint("cast the argument to a string, or take the parts of it that are needed"));
        }
        Ok(Self { sorter: RowConverter::new(fields)?, recipe, function })
    }

    /// The type of results.
    pub(crate) fn data_type(&self) -> DataType {
        self.function.field().data_type().clone()
    }

    /// The result over each of some groups.
    pub(super) fn evaluate(&self, values: &GroupValues) -> Result<ArrayRef> {
        let sorted = self.sorted(values)?;
        let (mut rows, mut ends) = (Vec::new(), Vec::with_capacity(values.ends.len()));
        let mut start = 0;
        for end in &values.ends {
            for row in &sorted[start..*end] {
                let times = if self.recipe.distinct { 1 } else { values.counts[*row as usize].max(0) };
                rows.extend(std::iter::repeat_n(*row, times as usize));
            }
            ends.push(rows.len());
            start = *end;
        }
        let arguments = self.arguments(&values.columns, &UInt32Array::from(rows))?;
        let mut results = Vec::with_capacity(ends.len());
        let mut start = 0;
        for end in ends {
            let mut accumulator = self.function.create_accumulator()?;
            results.push(fed(accumulator.as_mut(), &arguments, start, end - start)?);
            start = end;
        }
        if results.is_empty() {
            return Ok(new_empty_array(&self.data_type()));
        }
        Ok(ScalarValue::iter_to_array(results)?)
    }

    /// The result over rows that stand in any order.
    pub(crate) fn evaluate_rows(&self, columns: &[ArrayRef]) -> Result<ScalarValue> {
        let count = columns.first().map_or(0, |column| column.len());
        let values = GroupValues { columns: columns.to_vec(), counts: vec![1; count], ends: vec![count] };
        let mut rows = self.sorted(&values)?;
        if self.recipe.distinct {
            let keys = self.keys(columns)?;
            rows.dedup_by(|left, right| keys.row(*left as usize) == keys.row(*right as usize));
        }
        let arguments = self.arguments(columns, &UInt32Array::from(rows))?;
        let rows = arguments.first().map_or(0, |argument| argument.len());
        fed(self.function.create_accumulator()?.as_mut(), &arguments, 0, rows)
    }

    fn keys(&self, columns: &[ArrayRef]) -> Result<Rows> {
        let columns = self.recipe.order.iter().map(|(at, _)| columns.get(*at).cloned());
        let columns = columns.collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| Error::internal("values have not the columns of their order"))?;
        Ok(self.sorter.convert_columns(&columns)?)
    }

    /// The rows in order within each group.
    fn sorted(&self, values: &GroupValues) -> Result<Vec<u32>> {
        let keys = self.keys(&values.columns)?;
        let mut rows: Vec<u32> = (0..keys.num_rows() as u32).collect();
        let mut start = 0;
        for end in &values.ends {
            rows[start..*end].sort_unstable_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
            start = *end;
        }
        Ok(rows)
    }

    fn arguments(&self, columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
        let argument = |argument: &Argument| match argument {
            Argument::Column(at) => Ok(take(&columns[*at], rows, None)?),
            Argument::Constant(value) => Ok(value.to_array_of_size(rows.len())?),
        };
        self.recipe.arguments.iter().map(argument).collect()
    }
}

/// Finds out before anything runs whether a call can be recomputed; `types` are those of the aggregate's input.
///
/// # Errors
/// `Sql` if the function does not take such arguments or values of a type cannot be put in order.
pub fn check_call(call: &AggregateCall, name: &str, types: &[DataType]) -> Result<()> {
    if let AggregateFunction::Whole(recipe) = &call.function {
        let values: Vec<DataType> = call.arguments.iter().map(|column| types[*column].clone()).collect();
        Recompute::new(recipe.clone(), name, &values)?;
    }
    Ok(())
}

/// The result of an accumulator over a range of rows.
fn fed(accumulator: &mut dyn Accumulator, arguments: &[ArrayRef], start: usize, rows: usize) -> Result<ScalarValue> {
    if rows > 0 {
        let arguments: Vec<ArrayRef> = arguments.iter().map(|argument| argument.slice(start, rows)).collect();
        accumulator.update_batch(&arguments)?;
    }
    Ok(accumulator.evaluate()?)
}
