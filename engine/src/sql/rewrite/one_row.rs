//! The check that a scalar subquery gave at most one row, where its form does not say so.
//!
//! The subquery gives a struct of its greatest value and its number of rows; this function takes the value out, and fails
//! if there were several. It stands where the value is used, not in the subquery, so that a group that nobody asks for
//! may well have several rows.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The function, applied to an expression.
pub(super) fn one_row(expr: datafusion::logical_expr::Expr) -> datafusion::logical_expr::Expr {
    let function = OneRow { signature: Signature::any(1, Volatility::Immutable) };
    Arc::new(ScalarUDF::new_from_impl(function)).call(vec![expr])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OneRow {
    signature: Signature,
}

impl ScalarUDFImpl for OneRow {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "frazil_one_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::Struct(fields)] if fields.len() == 2 => Ok(fields[0].data_type().clone()),
            _ => plan_err!("{} takes a value and a number of rows", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(rows) = args.args.first() else { return exec_err!("an argument is missing") };
        let rows = rows.to_array(args.number_rows)?;
        let rows = rows.as_struct_opt().ok_or_else(|| exec_datafusion_err!("a struct was expected"))?;
        let numbers = rows.column(1).as_primitive_opt::<Int64Type>();
        let numbers = numbers.ok_or_else(|| exec_datafusion_err!("a number of rows was expected"))?;
        let several =
            (0..rows.len()).find(|row| rows.is_valid(*row) && numbers.is_valid(*row) && numbers.value(*row) > 1);
        if let Some(row) = several {
            return exec_err!("a subquery used as an expression gave {} rows instead of one", numbers.value(row));
        }
        let values: ArrayRef = rows.column(0).clone();
        match rows.nulls() {
            None => Ok(ColumnarValue::Array(values)),
            Some(nulls) => {
                let is_null = arrow::array::BooleanArray::new(!nulls.inner(), None);
                Ok(ColumnarValue::Array(nullif(&values, &is_null)?))
            }
        }
    }
}
