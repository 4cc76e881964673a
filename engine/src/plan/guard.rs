//! What happens when an expression of a running query cannot be computed for a row: a number that overflows, a division by
//! zero, a text that is no number.
//!
//! A batch that fails is computed again in halves until the rows that fail stand alone. By default such a row stops the job, and the
//! error shows it. With `job.on-error = 'null'` the expression is NULL there (so a condition is not true), and the row is counted.

use std::fmt::{self, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Schema};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::{Column, Literal};

use super::{IncrementalPlan, Kind};
use crate::error::{Error, ErrorKind};
use crate::operator::failure::{Failing, row_text};

pub use crate::operator::failure::{Failures, OnError};

/// Guards every expression of a plan that can fail, and the results of aggregates and windows.
pub fn guard(plan: &mut IncrementalPlan, on_error: OnError, failures: &Failures) {
    let guarded = |expression: &mut Arc<dyn PhysicalExpr>| {
        let any = expression.as_any();
        if !any.is::<Column>() && !any.is::<Literal>() {
            *expression = Arc::new(Guarded { inner: expression.clone(), on_error, failures: failures.clone() });
        }
    };
    for node in &mut plan.nodes {
        match &mut node.kind {
            Kind::Map { predicate, expressions } => {
                predicate.iter_mut().for_each(guarded);
                expressions.iter_mut().flatten().for_each(guarded);
            }
            Kind::Join(spec) => spec.residual.iter_mut().for_each(guarded),
            Kind::Aggregate(spec) => spec.failing = Failing { on_error, failures: failures.clone() },
            Kind::Over(spec) => spec.failing = Failing { on_error, failures: failures.clone() },
            _ => {}
        }
    }
}

/// An expression that finds the rows on which it fails.
#[derive(Clone)]
struct Guarded {
    inner: Arc<dyn PhysicalExpr>,
    on_error: OnError,
    failures: Failures,
}

impl Guarded {
    /// The values of a batch for which the whole failed with `error`, in order.
    fn by_halves(&self, batch: &RecordBatch, error: DataFusionError, out: &mut Vec<ArrayRef>) -> DataFusionResult<()> {
        // Anything else is a defect, and no row is to blame.
        if !matches!(error.find_root(), DataFusionError::ArrowError(..) | DataFusionError::Execution(_)) {
            return Err(error);
        }
        let rows = batch.num_rows();
        if rows <= 1 {
            if self.on_error == OnError::Stop {
                return Err(DataFusionError::External(Box::new(self.explain(batch, &error))));
            }
            self.failures.add(rows as u64);
            out.push(new_null_array(&self.inner.data_type(&batch.schema())?, rows));
            return Ok(());
        }
        let half = rows / 2;
        for part in [batch.slice(0, half), batch.slice(half, rows - half)] {
            match self.inner.evaluate(&part).and_then(|values| values.into_array(part.num_rows())) {
                Ok(values) => out.push(values),
                Err(error) => self.by_halves(&part, error, out)?,
            }
        }
        Ok(())
    }

    fn explain(&self, batch: &RecordBatch, error: &DataFusionError) -> Error {
        let expression = plain_names(&self.inner.to_string());
        Error::new(ErrorKind::Data, format!("the expression {expression} cannot be computed for a row"))
            .with("row", row_of(batch, &self.inner))
            .because(error.strip_backtrace())
            .hint(
                "change or delete the row in its table and RESUME JOB, or drop the view and create it with an expression that \
                 such rows do not break, such as TRY_CAST or CASE; SET job.on-error = 'null' before CREATE gives NULL instead",
            )
    }
}

/// The physical plan's names of columns, `a@0`, without their places.
fn plain_names(expression: &str) -> String {
    let mut parts = expression.split('@');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == part.len() {
            plain.push('@');
        }
        plain.push_str(rest);
    }
    plain
}

/// What the expression reads of the first row.
fn row_of(batch: &RecordBatch, expression: &Arc<dyn PhysicalExpr>) -> String {
    row_text(batch, collect_columns(expression).iter().map(Column::index).collect())
}

impl PhysicalExpr for Guarded {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn data_type(&self, input_schema: &Schema) -> DataFusionResult<DataType> {
        self.inner.data_type(input_schema)
    }

    fn nullable(&self, input_schema: &Schema) -> DataFusionResult<bool> {
        Ok(self.on_error == OnError::Null || self.inner.nullable(input_schema)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DataFusionResult<ColumnarValue> {
        let error = match self.inner.evaluate(batch) {
            Ok(values) => return Ok(values),
            Err(error) => error,
        };
        let mut parts = Vec::new();
        self.by_halves(batch, error, &mut parts)?;
        let parts: Vec<&dyn arrow::array::Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        match <[_; 1]>::try_from(children) {
            Ok([inner]) => Ok(Arc::new(Self { inner, on_error: self.on_error, failures: self.failures.clone() })),
            Err(_) => Err(DataFusionError::Internal("a guarded expression has one child".to_owned())),
        }
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

/// As the expression itself: a guard is no part of what a plan computes.
impl Display for Guarded {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.inner, f)
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, f)
    }
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        self.inner.as_ref() == other.inner.as_ref() && self.on_error == other.on_error
    }
}

impl Eq for Guarded {}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
        self.on_error.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, Int64Array};
    use arrow::datatypes::{Field, Int64Type};
    use datafusion::logical_expr::Operator;
    use datafusion::physical_plan::expressions::{binary, col};

    use super::*;

    fn quotient(on_error: OnError) -> (Guarded, RecordBatch) {
        let schema =
            Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Int64, true)]));
        let inner = binary(col("a", &schema).unwrap(), Operator::Divide, col("b", &schema).unwrap(), &schema).unwrap();
        let a: ArrayRef = Arc::new(Int64Array::from(vec![6, 7, 8, 9, 10]));
        let b: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), Some(0), None, Some(0), Some(5)]));
        let batch = RecordBatch::try_new(schema, vec![a, b]).unwrap();
        (Guarded { inner, on_error, failures: Failures::default() }, batch)
    }

    #[test]
    fn only_failing_rows_are_null_and_counted() {
        let (guarded, batch) = quotient(OnError::Null);
        let values = guarded.evaluate(&batch).unwrap().into_array(5).unwrap();
        let values: Vec<Option<i64>> = values.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(values, [Some(2), None, None, None, Some(2)]);
        assert_eq!(guarded.failures.count(), 2);
    }

    #[test]
    fn the_error_shows_the_expression_and_the_row() {
        let (guarded, batch) = quotient(OnError::Stop);
        let error = Error::from(guarded.evaluate(&batch).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Data);
        let text = error.to_string();
        assert!(text.contains("the expression a / b") && text.contains("a = 7, b = 0"), "{text}");
        assert!(text.contains("hint: "), "{text}");
    }

    #[test]
    fn long_values_are_shortened_and_signs_kept() {
        assert_eq!(plain_names("a@0 + b@12"), "a + b");
        assert_eq!(plain_names("x@y = 'me@example'"), "x@y = 'me@example'");
        let (guarded, batch) = quotient(OnError::Null);
        assert_eq!(guarded.evaluate(&batch.slice(0, 0)).unwrap().into_array(0).unwrap().len(), 0);
    }
}
