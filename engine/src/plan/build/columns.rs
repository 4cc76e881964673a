//! Columns that an operator needs of its input: those that are there, and those that a projection has to compute.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::physical_plan::PhysicalExpr;

use super::{column, column_index};
use crate::error::Result;

/// Columns that an operator needs of its input: those that are there, and those to be computed.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) expressions: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) fields: Vec<Field>,
}

impl Columns {
    pub(super) fn all(schema: &SchemaRef) -> Self {
        Self {
            expressions: (0..schema.fields().len()).map(|c| column(schema, c)).collect(),
            fields: schema.fields().iter().map(|f| f.as_ref().clone()).collect(),
        }
    }

    /// The place of an expression, which is added if it is not there.
    pub(super) fn add(&mut self, expression: Arc<dyn PhysicalExpr>, input: &Schema) -> Result<usize> {
        if let Some(place) = self.expressions.iter().position(|e| e == &expression) {
            return Ok(place);
        }
        let name = match column_index(&expression) {
            Some(column) => input.field(column).name().clone(),
            None => expression.to_string(),
        };
        self.fields.push(Field::new(name, expression.data_type(input)?, true));
        self.expressions.push(expression);
        Ok(self.fields.len() - 1)
    }
}
