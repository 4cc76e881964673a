//! Which columns expressions read, so that operators carry, filter and gather only those.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::Column;

use crate::change::Weights;
use crate::error::{Error, Result};

/// Indices of the columns that any of the expressions reads, ascending.
pub(super) fn read_by(expressions: &[Arc<dyn PhysicalExpr>]) -> Vec<usize> {
    let columns = expressions.iter().flat_map(collect_columns).map(|column| column.index());
    columns.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The expression over a batch that consists only of `columns` (ascending indices of the full batch).
pub(super) fn over(expression: &Arc<dyn PhysicalExpr>, columns: &[usize]) -> Result<Arc<dyn PhysicalExpr>> {
    let moved = Arc::clone(expression).transform_up(|node| {
        let Some(column) = node.as_any().downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        // Every column that the expression reads is in the list, by how callers make it; a wrong index fails on evaluation.
        let index = columns.binary_search(&column.index()).unwrap_or(usize::MAX);
        Ok(Transformed::yes(Arc::new(Column::new(column.name(), index)) as Arc<dyn PhysicalExpr>))
    });
    Ok(moved.data()?)
}

/// The schema of only these columns.
pub(super) fn schema_of(schema: &SchemaRef, columns: &[usize]) -> Result<SchemaRef> {
    let fields = columns.iter().map(|column| {
        let field = schema.fields().get(*column).cloned();
        field.ok_or_else(|| Error::internal(format!("there is no column {column} in {schema}")))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// A batch of columns, which may be none.
pub(super) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| {
        Error::internal("an operator's columns do not fit its schema").with("schema", schema).because(error)
    })
}

/// `Ones` where every weight is 1.
pub(super) fn compact(weights: Vec<i64>) -> Weights {
    if weights.iter().all(|weight| *weight == 1) { Weights::Ones } else { Weights::Each(weights.into()) }
}

/// The array in another encoding of the same values, if it is not in that one already.
pub(super) fn encoded_as(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type { Ok(array) } else { Ok(arrow::compute::cast(&array, data_type)?) }
}

/// Columns of a state table: `key` first, then the given columns under names made unique, then `extra`.
pub(super) fn state_schema(key: &[(&str, DataType)], fields: &[FieldRef], extra: &[(&str, DataType)]) -> SchemaRef {
    let plain = |(name, data_type): &(&str, DataType)| Arc::new(Field::new(*name, data_type.clone(), true));
    let named = fields.iter().enumerate().map(|(index, field)| {
        let twice = fields.iter().filter(|other| other.name() == field.name()).count() > 1;
        let name = if twice { format!("{}_{index}", field.name()) } else { field.name().clone() };
        Arc::new(Field::new(name, field.data_type().clone(), true))
    });
    let key = key.iter().map(|(name, data_type)| Arc::new(Field::new(*name, data_type.clone(), false)));
    Arc::new(Schema::new(key.chain(named).chain(extra.iter().map(plain)).collect::<Vec<_>>()))
}
