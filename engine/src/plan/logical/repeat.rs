//! Repetition of rows: the end of INTERSECT ALL and EXCEPT ALL.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// Every row of the input as often as a column of it (BIGINT) says, without that column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repeat {
    input: LogicalPlan,
    number: Column,
    schema: DFSchemaRef,
}

impl Repeat {
    /// Repeats by the column `number`.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn try_new(input: LogicalPlan, number: Column) -> Result<Self> {
        let place = input.schema().index_of_column(&number)?;
        let fields = input.schema().iter().enumerate().filter(|(index, _)| *index != place);
        let fields = fields.map(|(_, (qualifier, field))| (qualifier.cloned(), Arc::clone(field))).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?);
        Ok(Self { input, number, schema })
    }

    /// The input.
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// Place of the column that says how often.
    ///
    /// # Errors
    /// If the input has lost the column.
    pub fn number(&self) -> Result<usize> {
        self.input.schema().index_of_column(&self.number)
    }
}

/// Plans have no meaningful order; DataFusion asks for one.
impl PartialOrd for Repeat {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for Repeat {
    fn name(&self) -> &str {
        "Repeat"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![Expr::Column(self.number.clone())]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repeat: {} times", self.number)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let number = super::column(exprs.into_iter().next())?;
        Self::try_new(inputs.into_iter().next().unwrap_or_else(|| self.input.clone()), number)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let number = self.number().ok()?;
        let below = |column: &usize| if *column < number { *column } else { *column + 1 };
        Some(vec![output_columns.iter().map(below).collect()])
    }
}
