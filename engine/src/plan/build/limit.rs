//! ORDER BY with LIMIT and OFFSET: the first rows of the input or of each partition.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, Sort, SortExpr};

use super::columns::Columns;
use super::{Builder, column, internal_schema, unsupported};
use crate::error::{Error, Result};
use crate::operator::top_n::{Rank, TopNSpec};
use crate::plan::{Distribution, Kind, Properties};

/// Which rows of a partition are wanted.
pub(super) struct TopNShape {
    pub(super) partition: Vec<usize>,
    pub(super) order: Vec<(usize, SortOptions)>,
    pub(super) offset: usize,
    pub(super) limit: Option<usize>,
    /// How the rows are numbered, and the column for it.
    pub(super) rank: Option<(Rank, Field)>,
}

impl Builder<'_> {
    pub(super) fn order(
        &self,
        order_by: &[SortExpr],
        input: usize,
        schema: &DFSchema,
        columns: &mut Columns,
    ) -> Result<Vec<(usize, SortOptions)>> {
        order_by
            .iter()
            .map(|sort| {
                let column = columns.add(self.physical(&sort.expr, schema)?, self.schema(input))?;
                Ok((column, SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first }))
            })
            .collect()
    }

    pub(super) fn top_n(&mut self, input: usize, columns: Columns, shape: TopNShape) -> Result<usize> {
        let TopNShape { partition, order, offset, limit, rank } = shape;
        let input = self.columns_below(input, columns);
        let schema = self.schema(input).clone();
        let properties = self.properties(input).clone();
        let output = match &rank {
            Some((_, field)) => Arc::new(Schema::new(
                schema.fields().iter().cloned().chain([Arc::new(field.clone())]).collect::<Vec<_>>(),
            )),
            None => schema.clone(),
        };
        let distribution = match partition.as_slice() {
            [] => Distribution::Single,
            columns => Distribution::Hash(columns.to_vec()),
        };
        if partition.is_empty() {
            self.plan.warnings.push("ORDER BY ... LIMIT over the whole input runs in a single task".into());
        }
        let spec = TopNSpec {
            input: schema,
            partition,
            order,
            offset,
            limit,
            rank: rank.map_or(Rank::None, |(rank, _)| rank),
            output: output.clone(),
            insert_only: properties.insert_only,
        };
        let properties = Properties {
            insert_only: false,
            key: properties.key,
            watermark: properties.watermark,
            distribution: distribution.clone(),
        };
        Ok(self.push(Kind::TopN(spec), vec![(input, distribution)], output, properties))
    }

    /// An ORDER BY alone means nothing for a table that is kept; with a limit it is a top-N.
    pub(super) fn sort(&mut self, sort: &Sort) -> Result<usize> {
        match sort.fetch {
            None => self.plan_node(&sort.input),
            Some(fetch) => self.sorted_limit(sort, 0, Some(fetch)),
        }
    }

    pub(super) fn limit(&mut self, limit: &Limit) -> Result<usize> {
        let skip = constant(limit.skip.as_deref())?.unwrap_or(0);
        let fetch = constant(limit.fetch.as_deref())?;
        self.limited(&limit.input, skip, fetch)
    }

    /// Plans what stands between a limit and its sort, with the limit put into the sort.
    fn limited(&mut self, plan: &LogicalPlan, offset: usize, limit: Option<usize>) -> Result<usize> {
        match plan {
            LogicalPlan::Sort(sort) => self.sorted_limit(sort, offset, limit),
            LogicalPlan::SubqueryAlias(alias) => self.limited(&alias.input, offset, limit),
            LogicalPlan::Projection(projection) => {
                let input = self.limited(&projection.input, offset, limit)?;
                let schema = internal_schema(projection.schema.as_arrow());
                self.project(input, &projection.expr, projection.input.schema(), schema)
            }
            _ => Err(unsupported("LIMIT without ORDER BY")
                .hint("say which rows are wanted: add ORDER BY over columns that decide it")),
        }
    }

    fn sorted_limit(&mut self, sort: &Sort, offset: usize, limit: Option<usize>) -> Result<usize> {
        let input = self.plan_node(&sort.input)?;
        let width = self.schema(input).fields().len();
        let mut columns = Columns::all(self.schema(input));
        let order = self.order(&sort.expr, input, sort.input.schema(), &mut columns)?;
        let shape = TopNShape { partition: vec![], order, offset, limit, rank: None };
        let top = self.top_n(input, columns, shape)?;
        if self.schema(top).fields().len() == width {
            return Ok(top);
        }
        let expressions = (0..width).map(|c| column(self.schema(top), c)).collect::<Vec<_>>();
        let schema = internal_schema(sort.input.schema().as_arrow());
        Ok(self.map(top, None, Some(expressions), schema))
    }
}

fn constant(expr: Option<&Expr>) -> Result<Option<usize>> {
    match expr {
        None => Ok(None),
        Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::UInt64)? {
            ScalarValue::UInt64(value) => Ok(value.map(|v| v as usize)),
            other => Err(Error::sql(format!("LIMIT and OFFSET must be whole numbers, not {other}"))),
        },
        Some(other) => Err(unsupported(&format!("LIMIT or OFFSET by the expression `{other}`"))),
    }
}
