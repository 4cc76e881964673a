//! ASOF joins and event-time temporal joins.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, UserDefinedLogicalNodeCore, build_join_schema};

use crate::operator::asof::Nearest;

/// Every left row with the one right row of equal key columns that is nearest in time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsOfJoin {
    left: LogicalPlan,
    right: LogicalPlan,
    on: Vec<(Column, Column)>,
    time: (Column, Column),
    nearest: Nearest,
    outer: bool,
    schema: DFSchemaRef,
}

impl AsOfJoin {
    /// Joins by columns of equal types; the output has all left and all right columns.
    ///
    /// # Errors
    /// If both sides have a column of the same name and relation.
    pub fn try_new(
        left: LogicalPlan,
        right: LogicalPlan,
        on: Vec<(Column, Column)>,
        time: (Column, Column),
        nearest: Nearest,
        outer: bool,
    ) -> Result<Self> {
        let kind = if outer { JoinType::Left } else { JoinType::Inner };
        let schema: DFSchema = build_join_schema(left.schema(), right.schema(), &kind)?;
        Ok(Self { left, right, on, time, nearest, outer, schema: Arc::new(schema) })
    }

    /// Both inputs.
    pub fn sides(&self) -> (&LogicalPlan, &LogicalPlan) {
        (&self.left, &self.right)
    }

    /// Places of the key columns in their inputs.
    ///
    /// # Errors
    /// If an input has lost a column.
    pub fn on(&self) -> Result<Vec<(usize, usize)>> {
        self.on.iter().map(|on| self.places(on)).collect()
    }

    /// Places of the time columns in their inputs.
    ///
    /// # Errors
    /// If an input has lost a column.
    pub fn time(&self) -> Result<(usize, usize)> {
        self.places(&self.time)
    }

    fn places(&self, (left, right): &(Column, Column)) -> Result<(usize, usize)> {
        Ok((self.left.schema().index_of_column(left)?, self.right.schema().index_of_column(right)?))
    }

    /// Which right row is taken.
    pub fn nearest(&self) -> Nearest {
        self.nearest
    }

    /// Whether left rows without a partner are given.
    pub fn outer(&self) -> bool {
        self.outer
    }
}

/// Plans have no meaningful order; DataFusion asks for one.
impl PartialOrd for AsOfJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for AsOfJoin {
    fn name(&self) -> &str {
        "AsOfJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let pairs = self.on.iter().chain([&self.time]);
        pairs.flat_map(|(left, right)| [Expr::Column(left.clone()), Expr::Column(right.clone())]).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.outer { "Left" } else { "Inner" };
        write!(f, "AsOfJoin: {kind} {} {} {}", self.time.0, self.nearest.comparison(), self.time.1)?;
        self.on.iter().try_for_each(|(left, right)| write!(f, ", {left} = {right}"))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut exprs = exprs.into_iter();
        let mut pairs = Vec::with_capacity(self.on.len() + 1);
        for _ in 0..=self.on.len() {
            pairs.push((super::column(exprs.next())?, super::column(exprs.next())?));
        }
        let time = pairs.pop().unwrap_or_else(|| self.time.clone());
        let mut inputs = inputs.into_iter();
        let left = inputs.next().unwrap_or_else(|| self.left.clone());
        let right = inputs.next().unwrap_or_else(|| self.right.clone());
        Self::try_new(left, right, pairs, time, self.nearest, self.outer)
    }

    /// All right columns are needed whatever is read of them: of several rows at the same time they decide which counts.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let left = output_columns.iter().copied().filter(|column| *column < width).collect();
        Some(vec![left, (0..self.right.schema().fields().len()).collect()])
    }
}
