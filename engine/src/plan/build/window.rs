//! OVER windows, and the filters over them that make them a top-N.

use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Window};

use super::columns::Columns;
use super::limit::TopNShape;
use super::over::window_function;
use super::rank::{RankLimit, numbering, rank_column, rank_limit, window_below, window_field};
use super::{Builder, column, internal_schema};
use crate::error::{Error, Result};
use crate::operator::top_n::Rank;

impl Builder<'_> {
    pub(super) fn filter(&mut self, filter: &Filter) -> Result<usize> {
        if let Some((window, predicate)) = window_below(&filter.input, &filter.predicate)
            && let Some((column, rank)) = rank_column(window)
        {
            let limited = rank_limit(predicate, &column);
            if limited.limit.is_some() || limited.offset > 0 && rank == Rank::RowNumber {
                return self.limited_window(&filter.input, &limited);
            }
        }
        let input = self.plan_node(&filter.input)?;
        self.select(input, &filter.predicate, filter.input.schema())
    }

    /// Plans what stands between a filter on a row number and its window, with the limit put into the window.
    fn limited_window(&mut self, plan: &LogicalPlan, limit: &RankLimit) -> Result<usize> {
        match plan {
            LogicalPlan::Window(window) => self.window(window, limit),
            LogicalPlan::SubqueryAlias(alias) => self.limited_window(&alias.input, limit),
            LogicalPlan::Projection(projection) => {
                let input = self.limited_window(&projection.input, limit)?;
                let schema = internal_schema(projection.schema.as_arrow());
                self.project(input, &projection.expr, projection.input.schema(), schema)
            }
            other => Err(Error::internal(format!("{} between a row number and its filter", other.display()))),
        }
    }

    pub(super) fn window(&mut self, window: &Window, limit: &RankLimit) -> Result<usize> {
        let numbered = match window.window_expr.as_slice() {
            [expr] => {
                let function = window_function(expr)?;
                numbering(function).map(|rank| (function, rank))
            }
            _ => None,
        };
        // Ranks without a bound, and everything that is no number, are functions like others.
        let Some((function, rank)) = numbered.filter(|(_, rank)| *rank == Rank::RowNumber || limit.limit.is_some())
        else {
            return self.over(window);
        };
        let input = self.plan_node(&window.input)?;
        let input_schema = window.input.schema();
        let width = self.schema(input).fields().len();
        if limit.limit.is_none() && limit.offset == 0 && self.is_by_age(input, function, input_schema) {
            return self.numbered_by_age(input, window, limit);
        }
        let mut columns = Columns::all(self.schema(input));
        let mut partition = Vec::new();
        for expr in &function.params.partition_by {
            partition.push(columns.add(self.physical(expr, input_schema)?, self.schema(input))?);
        }
        let order = self.order(&function.params.order_by, input, input_schema, &mut columns)?;
        let shape = TopNShape {
            partition: partition.clone(),
            order,
            offset: limit.offset,
            limit: limit.limit,
            rank: Some((rank, window_field(window))),
        };
        let top = self.top_n(input, columns, shape)?;
        let input_key = self.properties(top).key.clone();
        if limit.limit.is_none() {
            self.plan.warnings.push(
                "ROW_NUMBER without an upper bound renumbers every later row of a partition: add WHERE rn <= n".into(),
            );
        }
        // Sort keys that had to be computed stand between the columns and the rank: take them out again.
        let schema = internal_schema(window.schema.as_arrow());
        let number = self.schema(top).fields().len() - 1;
        let mut node = top;
        if number != width {
            let keep = (0..width).chain([number]);
            let expressions = keep.map(|c| column(self.schema(top), c)).collect::<Vec<_>>();
            node = self.map(top, None, Some(expressions), schema.clone());
        } else {
            self.plan.nodes[top].schema = schema;
        }
        let plain = partition.iter().all(|c| *c < width) && rank == Rank::RowNumber;
        self.plan.nodes[node].properties.key = match limit.limit {
            Some(1) if plain => Some(partition),
            _ => input_key
                .filter(|key| key.iter().all(|c| *c < width))
                .or_else(|| plain.then(|| partition.iter().copied().chain([width]).collect())),
        };
        match &limit.rest {
            Some(rest) => self.select(node, rest, &window.schema),
            None => Ok(node),
        }
    }

    /// Whether rows are numbered in the order of a column that has a watermark, oldest first: then no number behind the
    /// watermark changes any more, and an OVER window forgets rows where a top-N would keep all.
    fn is_by_age(&self, input: usize, function: &WindowFunction, schema: &DFSchema) -> bool {
        let Some(Sort { expr: Expr::Column(column), asc: true, nulls_first: false }) = function.params.order_by.first()
        else {
            return false;
        };
        let timed = crate::plan::watermark::columns(&self.plan);
        schema.index_of_column(column).is_ok_and(|column| timed[input].contains(&column))
    }

    fn numbered_by_age(&mut self, input: usize, window: &Window, limit: &RankLimit) -> Result<usize> {
        let width = self.schema(input).fields().len();
        let partition = &window_function(&window.window_expr[0])?.params.partition_by;
        let columns = partition.iter().map(|expr| match expr {
            Expr::Column(column) => window.input.schema().index_of_column(column).ok(),
            _ => None,
        });
        let columns = columns.collect::<Option<Vec<_>>>();
        let node = self.over_input(input, window)?;
        if self.properties(node).key.is_none() {
            self.plan.nodes[node].properties.key = columns.map(|columns| columns.into_iter().chain([width]).collect());
        }
        match &limit.rest {
            Some(rest) => self.select(node, rest, &window.schema),
            None => Ok(node),
        }
    }
}
