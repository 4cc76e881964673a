//! The current time in what an INSERT writes: the time of the epoch in which a row came, once and for all.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, cast};

use super::{Builder, temporal};
use crate::error::{Error, Result};
use crate::operator::stamp::StampSpec;
use crate::plan::Kind;
use crate::plan::clock::{Clock, as_written, clock, reads_clock};

/// The column that holds the time.
const TIME: &str = "__now";

impl Builder<'_> {
    /// A projection that reads the time.
    ///
    /// # Errors
    /// `Sql` if the result is kept up to date, or rows of the input are taken back.
    pub(super) fn stamped(
        &mut self,
        input: usize,
        exprs: &[Expr],
        input_schema: &DFSchema,
        schema: SchemaRef,
    ) -> Result<usize> {
        let before = self.properties(input).clone();
        if let Some(timed) = exprs.iter().find(|expr| reads_clock(expr) && !self.processing_time) {
            return Err(temporal::refused(timed));
        }
        if let Some(timed) = exprs.iter().find(|expr| reads_clock(expr) && !before.insert_only) {
            return Err(Error::sql(format!(
                "`{}` cannot be computed for rows that may be taken back: they would have another time then",
                as_written(timed)
            ))
            .hint("read an APPEND ONLY table or a source, and put now() below joins and aggregates"));
        }
        let time = Field::new(TIME, DataType::Timestamp(TimeUnit::Microsecond, None), true);
        let mut fields = self.schema(input).fields().to_vec();
        fields.push(Arc::new(time.clone()));
        let output: SchemaRef = Arc::new(Schema::new(fields));
        let spec = StampSpec { output: output.clone() };
        let distribution = before.distribution.clone();
        let stamp = self.push(Kind::Stamp(spec), vec![(input, distribution)], output, before);
        let time_schema = DFSchema::from_unqualified_fields(vec![time].into(), Default::default())?;
        let with_time = input_schema.join(&time_schema)?;
        let column = Expr::Column(Column::new_unqualified(TIME));
        let expressions = exprs.iter().map(|expr| {
            let replaced = expr.clone().transform_up(|e| {
                Ok(match clock(&e) {
                    Some(Clock::Now) => Transformed::yes(column.clone()),
                    Some(Clock::Today) => Transformed::yes(cast(column.clone(), DataType::Date32)),
                    None => Transformed::no(e),
                })
            })?;
            self.physical(&replaced.data, &with_time)
        });
        let expressions = expressions.collect::<Result<Vec<_>>>()?;
        Ok(self.map(stamp, None, Some(expressions), schema))
    }
}
