//! Filter and projection in one stateless pass: weights go along, untouched columns are shared, not copied.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{FilterBuilder, FilterPredicate};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::physical_plan::PhysicalExpr;

use crate::change::{Changes, Weights};
use crate::error::{Error, Result};
use crate::operator::{Operator, OperatorInfo, columns};

/// What a [`Map`] does.
#[derive(Debug, Clone)]
pub struct MapSpec {
    /// Columns of the input.
    pub input: SchemaRef,
    /// Rows for which it is not true are dropped. Over the input's columns.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// The output's columns, over the input's columns. `None`: the input's columns as they are.
    pub expressions: Option<Vec<Arc<dyn PhysicalExpr>>>,
    /// Schema of the output; must fit the expressions' types.
    pub output: SchemaRef,
}

/// Filters rows, then computes columns. Stateless.
#[derive(Debug)]
pub struct Map {
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Input columns that survive the filter.
    needed: Vec<usize>,
    needed_schema: SchemaRef,
    /// Over the needed columns.
    expressions: Option<Vec<Arc<dyn PhysicalExpr>>>,
    output: SchemaRef,
}

impl Map {
    /// An instance.
    ///
    /// # Errors
    /// `Internal` if an expression reads a column that the input does not have, or the predicate is not a condition.
    pub fn new(spec: &MapSpec) -> Result<Self> {
        if let Some(predicate) = &spec.predicate {
            let data_type = predicate.data_type(&spec.input)?;
            if data_type != DataType::Boolean {
                return Err(Error::internal("a filter needs a condition")
                    .with("type", data_type)
                    .with("filter", predicate));
            }
        }
        let (needed, expressions) = match &spec.expressions {
            None => ((0..spec.input.fields().len()).collect::<Vec<_>>(), None),
            Some(expressions) => {
                let needed = columns::read_by(expressions);
                let moved = expressions.iter().map(|expression| columns::over(expression, &needed));
                let moved = moved.collect::<Result<Vec<_>>>()?;
                (needed, Some(moved))
            }
        };
        let needed_schema = columns::schema_of(&spec.input, &needed)?;
        Ok(Self { predicate: spec.predicate.clone(), needed, needed_schema, expressions, output: spec.output.clone() })
    }

    /// Changes in, changes out.
    ///
    /// # Errors
    /// What evaluating the expressions gives, such as a division by zero.
    pub fn apply(&self, changes: Changes) -> Result<Changes> {
        let (rows, weights) = changes.into_parts();
        let mask = self.mask(&rows)?;
        let kept = mask.as_ref().map_or(rows.num_rows(), FilterPredicate::count);
        if kept == 0 {
            return Ok(Changes::empty(self.output.clone()));
        }
        let mask = mask.filter(|_| kept < rows.num_rows());
        let arrays = self.needed.iter().map(|column| {
            let array = rows.columns().get(*column).ok_or_else(|| too_narrow(*column, &rows))?;
            Ok(mask.as_ref().map(|mask| mask.filter(array)).transpose()?.unwrap_or_else(|| Arc::clone(array)))
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let weights = match (weights, &mask) {
            (Weights::Each(each), Some(mask)) => {
                let filtered = mask.filter(&Int64Array::new(each, None))?;
                Weights::Each(filtered.as_primitive::<Int64Type>().values().clone())
            }
            (weights, _) => weights,
        };
        let arrays = match &self.expressions {
            None => arrays,
            Some(expressions) => {
                let needed = columns::batch(&self.needed_schema, arrays, kept)?;
                let evaluated =
                    expressions.iter().map(|expression| Ok(expression.evaluate(&needed)?.into_array(kept)?));
                evaluated.collect::<Result<Vec<_>>>()?
            }
        };
        Ok(Changes::new(columns::batch(&self.output, arrays, kept)?, weights))
    }

    fn mask(&self, rows: &RecordBatch) -> Result<Option<FilterPredicate>> {
        let Some(predicate) = &self.predicate else { return Ok(None) };
        let mask = predicate.evaluate(rows)?.into_array(rows.num_rows())?;
        let mask = mask.as_any().downcast_ref::<BooleanArray>();
        let mask = mask.ok_or_else(|| Error::internal("a filter gave no truth values").with("filter", predicate))?;
        let builder = FilterBuilder::new(mask);
        // Turning the mask into indices pays when several columns are filtered by it.
        let builder = if self.needed.len() > 1 { builder.optimize() } else { builder };
        Ok(Some(builder.build()))
    }
}

fn too_narrow(column: usize, rows: &RecordBatch) -> Error {
    Error::internal("a batch lacks a column").with("column", column).with("columns", rows.num_columns())
}

impl Operator for Map {
    fn info(&self) -> OperatorInfo {
        OperatorInfo { name: "Map", schema: self.output.clone(), state: vec![] }
    }

    fn on_changes(&mut self, _input: usize, changes: Changes, out: &mut Vec<Changes>) -> Result<()> {
        let changes = self.apply(changes)?;
        if !changes.is_empty() {
            out.push(changes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_plan::expressions::{Column, binary, col, is_not_null, lit};

    use super::*;
    use crate::operator::law::{Input, Law, Value, ZSet, add, batch_of};

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8View, true),
            Field::new("c", DataType::Int64, true),
        ]))
    }

    fn spec() -> MapSpec {
        let input = schema();
        let positive = binary(col("a", &input).unwrap(), Op::Gt, lit(0_i64), &input).unwrap();
        let sum = binary(col("a", &input).unwrap(), Op::Plus, col("c", &input).unwrap(), &input).unwrap();
        let output = vec![Field::new("sum", DataType::Int64, true), Field::new("b", DataType::Utf8View, true)];
        MapSpec {
            input: input.clone(),
            predicate: Some(positive),
            expressions: Some(vec![sum, col("b", &input).unwrap()]),
            output: Arc::new(Schema::new(output)),
        }
    }

    #[test]
    fn obeys_the_law() {
        let make = || {
            let map = Map::new(&spec()).unwrap();
            Box::new(map) as Box<dyn Operator>
        };
        let law = Law::new(vec![Input::new(schema(), &[0])], make, |seen| {
            let mut answer = ZSet::new();
            for (row, weight) in &seen.totals[0] {
                if row[0].int().is_some_and(|a| a > 0) {
                    let sum = row[0].int().zip(row[2].int()).map_or(Value::Null, |(a, c)| Value::Int(a + c));
                    add(&mut answer, vec![sum, row[1].clone()], *weight);
                }
            }
            answer
        });
        law.check(64);
    }

    #[test]
    fn passes_columns_without_copies_when_nothing_is_dropped() {
        let rows = batch_of(&schema(), &vec![vec![Value::Int(1), Value::Text("x".into()), Value::Null]; 3]);
        let b = rows.column(1).to_data().buffers()[0].as_ptr();
        let out = Map::new(&spec()).unwrap().apply(Changes::inserts(rows)).unwrap();
        assert!(matches!(out.weights(), Weights::Ones));
        assert_eq!(out.rows().column(1).to_data().buffers()[0].as_ptr(), b);
    }

    #[test]
    fn filters_whole_rows_without_expressions_and_counts_rows_without_columns() {
        let rows = batch_of(&schema(), &[0, 1, 2].map(|a| vec![Value::Int(a), Value::Null, Value::Null]));
        let changes = Changes::weighted(rows, vec![5, 6, -7]);
        let whole = Map::new(&MapSpec { expressions: None, output: schema(), ..spec() }).unwrap();
        let out = whole.apply(changes.clone()).unwrap();
        assert_eq!((out.len(), out.weight(0), out.weight(1)), (2, 6, -7));
        let none = MapSpec { expressions: Some(vec![]), output: Arc::new(Schema::empty()), ..spec() };
        let out = Map::new(&none).unwrap().apply(changes).unwrap();
        assert_eq!((out.len(), out.rows().num_columns(), out.weight(1)), (2, 0, -7));
    }

    #[test]
    fn refuses_what_cannot_be() {
        let not_a_condition = MapSpec { predicate: Some(col("a", &schema()).unwrap()), ..spec() };
        assert!(Map::new(&not_a_condition).unwrap_err().to_string().contains("needs a condition"));
        let no_such_column = is_not_null(Arc::new(Column::new("z", 9))).unwrap();
        assert!(Map::new(&MapSpec { expressions: Some(vec![no_such_column]), ..spec() }).is_err());
    }
}
