//! GROUP BY and DISTINCT.

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{AggregateFunction as AggregateExpr, AggregateFunctionParams};
use datafusion::logical_expr::{Aggregate, Expr};

use super::columns::Columns;
use super::{Builder, internal_schema, unsupported};
use crate::error::Result;
use crate::operator::aggregate::{AggregateCall, AggregateFunction, AggregateSpec};
use crate::plan::{Distribution, Kind, Properties};

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
        };
        Ok(self.push(Kind::Aggregate(spec), vec![(input, wanted)], output, properties))
    }

    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<usize> {
        if aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
            return Err(unsupported("GROUPING SETS, ROLLUP and CUBE")
                .hint("write one GROUP BY per grouping set and combine them by UNION ALL"));
        }
        let input = self.plan_node(&aggregate.input)?;
        let input_schema = aggregate.input.schema();
        let output = internal_schema(aggregate.schema.as_arrow());
        let mut columns = Columns::default();
        let mut group = Vec::new();
        for expr in &aggregate.group_expr {
            let expr = self.physical(expr, input_schema)?;
            group.push(columns.add(expr, self.schema(input))?);
        }
        let mut calls = Vec::new();
        for expr in &aggregate.aggr_expr {
            calls.push(self.aggregate_call(expr, input, input_schema, &mut columns)?);
        }
        let input = self.columns_below(input, columns);
        self.push_aggregate(input, group, calls, output)
    }

    fn aggregate_call(
        &self,
        expr: &Expr,
        input: usize,
        input_schema: &DFSchema,
        columns: &mut Columns,
    ) -> Result<AggregateCall> {
        let expr = expr.clone().unalias_nested().data;
        let Expr::AggregateFunction(AggregateExpr { func, params }) = &expr else {
            return Err(unsupported(&format!("the aggregate expression `{expr}`")));
        };
        let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = params;
        let function = match func.name() {
            "count" => AggregateFunction::Count,
            "sum" => AggregateFunction::Sum,
            "avg" => AggregateFunction::Avg,
            "min" => AggregateFunction::Min,
            "max" => AggregateFunction::Max,
            other => {
                return Err(unsupported(&format!("the aggregate function {other}"))
                    .hint("count, sum, avg, min and max can be kept incrementally"));
            }
        };
        if !order_by.is_empty() || null_treatment.is_some() {
            return Err(unsupported(&format!("ORDER BY or a treatment of NULLs inside {}", func.name())));
        }
        let argument = match args.as_slice() {
            [Expr::Literal(value, _)] if !value.is_null() && function == AggregateFunction::Count && !distinct => None,
            [argument] => {
                let argument = self.physical(argument, input_schema)?;
                Some(columns.add(argument, self.schema(input))?)
            }
            _ => return Err(unsupported(&format!("{} of {} arguments", func.name(), args.len()))),
        };
        let filter = match filter {
            Some(filter) => {
                let filter = self.physical(filter, input_schema)?;
                Some(columns.add(filter, self.schema(input))?)
            }
            None => None,
        };
        Ok(AggregateCall { function, distinct: *distinct, argument, filter })
    }
}
