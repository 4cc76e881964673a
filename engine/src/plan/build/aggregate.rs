//! GROUP BY and DISTINCT.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{AggregateFunction as AggregateExpr, AggregateFunctionParams, NullTreatment};
use datafusion::logical_expr::{Aggregate, AggregateUDF, Expr, GroupingSet};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::Literal;
use datafusion::scalar::ScalarValue;

use super::columns::Columns;
use super::{Builder, column, internal_schema, unsupported};
use crate::error::{Error, Position, Result};
use crate::operator::aggregate::{
    AggregateCall, AggregateFunction, AggregateSpec, Argument, Recipe, check_call, has_own_form,
};
use crate::operator::failure::Failing;
use crate::plan::{Distribution, Kind, Properties};
use crate::sql::aggregates::original;

/// More columns than these would make more than a thousand aggregates of one CUBE.
const MAX_CUBE: usize = 10;

/// Ascending, NULL last: how arguments decide where ORDER BY leaves rows equal.
const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// What is grouped by.
struct GroupingSets<'a> {
    /// All different expressions.
    expressions: Vec<&'a Expr>,
    /// The sets by places in `expressions`, ascending; none for a plain GROUP BY.
    sets: Option<Vec<Vec<usize>>>,
}

impl<'a> GroupingSets<'a> {
    fn of(group: &'a [Expr]) -> Result<Self> {
        let [Expr::GroupingSet(set)] = group else {
            return Ok(Self { expressions: group.iter().collect(), sets: None });
        };
        let expressions = set.distinct_expr();
        let places = |members: &[Expr]| {
            let place = |member: &Expr| expressions.iter().position(|expr| *expr == member);
            let places = members.iter().map(place).collect::<Option<BTreeSet<_>>>();
            places.map(|places| places.into_iter().collect::<Vec<_>>())
        };
        let sets = match set {
            GroupingSet::GroupingSets(sets) => sets.iter().map(|members| places(members)).collect(),
            GroupingSet::Rollup(members) => (0..=members.len()).rev().map(|len| places(&members[..len])).collect(),
            GroupingSet::Cube(members) if members.len() <= MAX_CUBE => {
                let chosen = |mask: usize| {
                    let members = members.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 0);
                    places(&members.map(|(_, member)| member.clone()).collect::<Vec<_>>())
                };
                (0..1_usize << members.len()).map(chosen).collect()
            }
            GroupingSet::Cube(members) => {
                return Err(unsupported(&format!("CUBE of {} columns", members.len()))
                    .hint("write GROUPING SETS with the sets that are needed"));
            }
        };
        let sets: Option<Vec<Vec<usize>>> = sets;
        let sets = sets.ok_or_else(|| Error::internal("a grouping set of unknown expressions"))?;
        Ok(Self { expressions, sets: Some(sets) })
    }
}

/// The parts of a call, by columns of the aggregate's input.
struct Parts {
    function: Arc<AggregateUDF>,
    /// Columns, and constants that are not the first argument.
    arguments: Vec<Argument>,
    distinct: bool,
    filter: Option<usize>,
    order: Vec<(usize, SortOptions)>,
    ignore_nulls: bool,
}

impl Builder<'_> {
    pub(super) fn distinct(&mut self, input: usize) -> Result<usize> {
        let group = (0..self.schema(input).fields().len()).collect();
        let schema = self.schema(input).clone();
        self.push_aggregate(input, group, vec![], schema)
    }

    fn push_aggregate(
        &mut self,
        input: usize,
        group: Vec<usize>,
        calls: Vec<AggregateCall>,
        output: SchemaRef,
    ) -> Result<usize> {
        let insert_only = self.properties(input).insert_only;
        let routed_by = match &self.properties(input).distribution {
            Distribution::Hash(columns) if columns.len() < group.len() => {
                columns.iter().map(|c| group.iter().position(|g| g == c)).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        let properties = Properties {
            insert_only: insert_only && calls.is_empty() && !group.is_empty(),
            key: Some((0..group.len()).collect()),
            watermark: (0..group.len()).filter(|i| self.properties(input).watermark.contains(&group[*i])).collect(),
            distribution: match (group.len(), &routed_by) {
                (0, _) => Distribution::Single,
                (_, Some(columns)) => Distribution::Hash(columns.clone()),
                (n, None) => Distribution::Hash((0..n).collect()),
            },
        };
        let wanted = match (group.as_slice(), &routed_by) {
            ([], _) => Distribution::Single,
            (_, Some(_)) => self.properties(input).distribution.clone(),
            (columns, None) => Distribution::Hash(columns.to_vec()),
        };
        if group.is_empty() {
            self.plan.warnings.push("an aggregate without GROUP BY runs in a single task".into());
        }
        let spec = AggregateSpec {
            input: self.schema(input).clone(),
            group,
            calls,
            output: output.clone(),
            insert_only,
            routed_by,
            failing: Failing::default(),
        };
        Ok(self.push(Kind::Aggregate(spec), vec![(input, wanted)], output, properties))
    }

    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<usize> {
        let input = self.plan_node(&aggregate.input)?;
        let input_schema = aggregate.input.schema();
        let output = internal_schema(aggregate.schema.as_arrow());
        let mut columns = Columns::default();
        let sets = GroupingSets::of(&aggregate.group_expr)?;
        let mut group = Vec::new();
        for expr in &sets.expressions {
            let expr = self.physical(expr, input_schema)?;
            group.push(columns.add(expr, self.schema(input))?);
        }
        let before = group.len() + usize::from(sets.sets.is_some());
        let mut calls = Vec::new();
        for (at, expr) in aggregate.aggr_expr.iter().enumerate() {
            let result = output.field(before + at).data_type();
            calls.push(self.aggregate_call(expr, result, input, input_schema, &mut columns)?);
        }
        let input = self.columns_below(input, columns);
        match &sets.sets {
            None => self.push_aggregate(input, group, calls, output),
            Some(sets) => self.grouping_sets(input, &group, sets, &calls, &output),
        }
    }

    /// One aggregate per grouping set over the same input, with NULL for the columns that a set leaves out, and
    /// DataFusion's grouping id: a bit per group column, the last column's the lowest, 1 where it is left out.
    fn grouping_sets(
        &mut self,
        input: usize,
        group: &[usize],
        sets: &[Vec<usize>],
        calls: &[AggregateCall],
        output: &SchemaRef,
    ) -> Result<usize> {
        let mut parts = Vec::with_capacity(sets.len());
        for set in sets {
            let own = set.iter().copied().chain(group.len() + 1..output.fields().len());
            let own = Arc::new(output.project(&own.collect::<Vec<_>>())?);
            let part =
                self.push_aggregate(input, set.iter().map(|at| group[*at]).collect(), calls.to_vec(), own.clone())?;
            let id = (0..group.len()).fold(0_u64, |id, at| id << 1 | u64::from(!set.contains(&at)));
            let id = ScalarValue::UInt64(Some(id)).cast_to(output.field(group.len()).data_type())?;
            let mut expressions: Vec<Arc<dyn PhysicalExpr>> = Vec::with_capacity(output.fields().len());
            for at in 0..group.len() {
                expressions.push(match set.iter().position(|member| *member == at) {
                    Some(place) => column(&own, place),
                    None => Arc::new(Literal::new(ScalarValue::try_new_null(output.field(at).data_type())?)),
                });
            }
            expressions.push(Arc::new(Literal::new(id)));
            expressions.extend((0..calls.len()).map(|call| column(&own, set.len() + call)));
            parts.push(self.map(part, None, Some(expressions), output.clone()));
        }
        let unique = sets.iter().enumerate().all(|(at, set)| !sets[..at].contains(set));
        let properties = Properties { key: unique.then(|| (0..=group.len()).collect()), ..Properties::default() };
        let parts = parts.into_iter().map(|part| (part, Distribution::Arbitrary)).collect();
        Ok(self.push(Kind::Union, parts, output.clone(), properties))
    }

    fn aggregate_call(
        &mut self,
        expr: &Expr,
        result: &DataType,
        input: usize,
        input_schema: &DFSchema,
        columns: &mut Columns,
    ) -> Result<AggregateCall> {
        let expr = expr.clone().unalias_nested().data;
        let Expr::AggregateFunction(call) = &expr else {
            return Err(unsupported(&format!("the aggregate expression `{expr}`")));
        };
        let parts = self.parts(call, input, input_schema, columns)?;
        let call = parts.call(columns, result)?;
        if let AggregateFunction::Whole(_) = call.function {
            self.plan.warnings.push(format!("a change of a group recomputes {expr} over the whole group"));
        }
        let types: Vec<DataType> = columns.fields.iter().map(|field| field.data_type().clone()).collect();
        check_call(&call, &expr.to_string(), &types).map_err(|error| error.at(place(&expr)))?;
        Ok(call)
    }

    fn parts(
        &self,
        call: &AggregateExpr,
        input: usize,
        input_schema: &DFSchema,
        columns: &mut Columns,
    ) -> Result<Parts> {
        let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = &call.params;
        let function = original(&call.func);
        let counts = function.name() == "count";
        let mut arguments = Vec::new();
        for (at, argument) in args.iter().enumerate() {
            match argument {
                // A constant that is not NULL makes no difference to a count.
                Expr::Literal(value, _) if counts && !value.is_null() && !distinct => {}
                Expr::Literal(value, _) if !counts && at > 0 => arguments.push(Argument::Constant(value.clone())),
                argument => {
                    let argument = self.physical(argument, input_schema)?;
                    arguments.push(Argument::Column(columns.add(argument, self.schema(input))?));
                }
            }
        }
        let filter = match filter {
            Some(filter) => {
                let filter = self.physical(filter, input_schema)?;
                Some(columns.add(filter, self.schema(input))?)
            }
            None => None,
        };
        let order = self.order(order_by, input, input_schema, columns)?;
        let ignore_nulls = *null_treatment == Some(NullTreatment::IgnoreNulls);
        Ok(Parts { function, arguments, distinct: *distinct, filter, order, ignore_nulls })
    }
}

/// Where in the SQL an expression stands: at its first column.
fn place(expr: &Expr) -> Option<Position> {
    let mut found = None;
    // It never fails.
    let _ = expr.apply(|expr| {
        found = found.or(expr.spans().and_then(|spans| spans.first()));
        Ok(TreeNodeRecursion::Continue)
    });
    let start = found.map(|span| span.start).filter(|start| start.line > 0);
    start.map(|start| Position { line: start.line, column: start.column })
}

impl Parts {
    /// The call in its own form if there is one, or by recomputing groups.
    fn call(self, columns: &Columns, result: &DataType) -> Result<AggregateCall> {
        let plain = self.arguments.iter().map(|argument| match argument {
            Argument::Column(column) => Some(*column),
            Argument::Constant(_) => None,
        });
        if let (Some(function), Some(arguments)) =
            (AggregateFunction::named(self.function.name()), plain.collect::<Option<Vec<_>>>())
        {
            let types = arguments.iter().map(|column| columns.fields[*column].data_type().clone());
            if has_own_form(&function, &types.collect::<Vec<_>>(), result) {
                let Self { distinct, filter, order, ignore_nulls, .. } = self;
                return Ok(AggregateCall { function, distinct, arguments, filter, order, ignore_nulls });
            }
        }
        let mut values: Vec<usize> = Vec::new();
        let mut place = |column: usize| {
            values.iter().position(|value| *value == column).unwrap_or_else(|| {
                values.push(column);
                values.len() - 1
            })
        };
        let arguments = self.arguments.into_iter().map(|argument| match argument {
            Argument::Column(column) => Argument::Column(place(column)),
            constant => constant,
        });
        let arguments = arguments.collect();
        let within_group = self.function.supports_within_group_clause() && !self.order.is_empty();
        let mut order: Vec<_> = self.order.into_iter().map(|(column, options)| (place(column), options)).collect();
        for value in 0..values.len() {
            if !order.iter().any(|(column, _)| *column == value) {
                order.push((value, ASCENDING));
            }
        }
        let recipe = Recipe {
            function: self.function,
            arguments,
            order,
            distinct: self.distinct,
            ignore_nulls: self.ignore_nulls,
            within_group,
        };
        Ok(AggregateCall { filter: self.filter, ..AggregateCall::new(AggregateFunction::Whole(recipe), values) })
    }
}
