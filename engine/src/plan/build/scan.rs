//! Leaves: tables, connectors and constant rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableScan};

use super::{Builder, internal_schema};
use crate::error::Result;
use crate::plan::{Distribution, Kind, Properties};

impl Builder<'_> {
    pub(super) fn scan(&mut self, scan: &TableScan) -> Result<usize> {
        let object = (self.resolve)(scan)?;
        let full = scan.source.schema();
        let projection = scan.projection.clone().unwrap_or_else(|| (0..full.fields().len()).collect());
        let schema = internal_schema(&full.project(&projection)?);
        let at = |name: &String| projection.iter().position(|column| full.field(*column).name() == name);
        // A connector's declared key is not enforced by anybody, so nothing may be built on it.
        let key = (object.kind.is_stored() && !object.key.is_empty())
            .then(|| object.key.iter().map(at).collect::<Option<Vec<_>>>())
            .flatten();
        let watermark = object.properties.get("frazil.watermark.column").and_then(at).into_iter().collect();
        let properties = Properties {
            insert_only: object.insert_only || !object.kind.is_stored(),
            key,
            watermark,
            distribution: Distribution::Arbitrary,
        };
        let node = self.push(Kind::Scan { object, projection }, vec![], schema, properties);
        match conjunction(scan.filters.iter().cloned()) {
            Some(predicate) => self.select(node, &predicate, &scan.projected_schema),
            None => Ok(node),
        }
    }

    pub(super) fn values(&mut self, rows: &[Vec<Expr>], schema: SchemaRef) -> Result<usize> {
        let mut columns = Vec::new();
        let empty = DFSchema::empty();
        for (column, field) in schema.fields().iter().enumerate() {
            let mut values = Vec::with_capacity(rows.len());
            for row in rows {
                let constant = self.physical(&row[column], &empty)?;
                let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
                let one = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
                let value = constant.evaluate(&one)?.into_array(1)?;
                values.push(ScalarValue::try_from_array(&value, 0)?.cast_to(field.data_type())?);
            }
            columns.push(if values.is_empty() {
                arrow::array::new_empty_array(field.data_type())
            } else {
                ScalarValue::iter_to_array(values)?
            });
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        let properties = Properties { insert_only: true, ..Properties::default() };
        Ok(self.push(Kind::Values(batch), vec![], schema, properties))
    }
}
