//! Which columns expressions read, so that operators carry, filter and gather only those.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::Column;

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
