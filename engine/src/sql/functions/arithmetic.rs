//! `+`, `-` and `*` that fail on overflow instead of wrapping.
//!
//! Integers are checked against their type, decimals against the 38 digits that the widest one has.

use std::any::Any;

use arrow::array::{Array, ArrayRef, AsArray, Datum};
use arrow::compute::kernels::numeric::{add, mul, neg, sub};
use arrow::datatypes::{DataType, Decimal128Type};
use arrow::error::ArrowError;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

/// The precision at which a decimal can grow no more.
const MAX_PRECISION: u8 = 38;

/// One checked operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checked {
    /// `None`: the sign.
    op: Option<Operator>,
    signature: Signature,
}

impl Checked {
    /// The checked form of an operation on operands of these types, if it can overflow.
    pub fn binary(op: Operator, left: &DataType, right: &DataType) -> Option<Self> {
        if !matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply) {
            return None;
        }
        let integers = left == right && left.is_integer();
        let decimals = matches!((left, right), (DataType::Decimal128(..), DataType::Decimal128(..)));
        let overflows = integers || decimals && full(op, left, right);
        overflows.then(|| Self { op: Some(op), signature: Signature::user_defined(Volatility::Immutable) })
    }

    /// The checked sign.
    pub fn negation() -> Self {
        Self { op: None, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn text(&self, args: &[String]) -> String {
        match (self.op, args) {
            (Some(op), [left, right]) => format!("{left} {op} {right}"),
            (_, args) => format!("(- {})", args.join(", ")),
        }
    }
}

/// Whether the result has all digits there are, so that not even its type rules an overflow out.
fn full(op: Operator, left: &DataType, right: &DataType) -> bool {
    let result = BinaryTypeCoercer::new(left, &op, right).get_result_type();
    matches!(result, Ok(DataType::Decimal128(MAX_PRECISION, _)))
}

impl ScalarUDFImpl for Checked {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        match self.op {
            Some(Operator::Plus) => "checked_add",
            Some(Operator::Minus) => "checked_subtract",
            Some(_) => "checked_multiply",
            None => "checked_negate",
        }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.text(&args.iter().map(ToString::to_string).collect::<Vec<_>>()))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.text(&args.iter().map(|arg| arg.schema_name().to_string()).collect::<Vec<_>>()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match (self.op, arg_types) {
            (Some(op), [left, right]) => BinaryTypeCoercer::new(left, &op, right).get_result_type(),
            (None, [operand]) => Ok(operand.clone()),
            _ => exec_err!("{} has {} operands", self.name(), arg_types.len()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match (self.op, args.args.as_slice()) {
            (Some(op), [left, right]) => {
                let kernel = match op {
                    Operator::Plus => add,
                    Operator::Minus => sub,
                    _ => mul,
                };
                binary(left, right, |left, right| within_precision(kernel(left, right)?))
            }
            (None, [ColumnarValue::Array(operand)]) => Ok(ColumnarValue::Array(neg(operand)?)),
            (None, [ColumnarValue::Scalar(operand)]) => {
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&neg(&operand.to_array()?)?, 0)?))
            }
            (_, operands) => exec_err!("{} has {} operands", self.name(), operands.len()),
        }
    }
}

fn within_precision(array: ArrayRef) -> Result<ArrayRef, ArrowError> {
    if let DataType::Decimal128(precision, _) = array.data_type() {
        array.as_primitive::<Decimal128Type>().validate_decimal_precision(*precision)?;
    }
    Ok(array)
}

/// Applies a kernel to arrays and scalars as they come.
fn binary(
    left: &ColumnarValue,
    right: &ColumnarValue,
    kernel: impl Fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError>,
) -> Result<ColumnarValue> {
    use ColumnarValue::{Array, Scalar};
    Ok(match (left, right) {
        (Array(left), Array(right)) => Array(kernel(left, right)?),
        (Scalar(left), Array(right)) => Array(kernel(&left.to_scalar()?, right)?),
        (Array(left), Scalar(right)) => Array(kernel(left, &right.to_scalar()?)?),
        (Scalar(left), Scalar(right)) => {
            Scalar(ScalarValue::try_from_array(&kernel(&left.to_scalar()?, &right.to_scalar()?)?, 0)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array};

    use super::*;

    fn apply(op: Operator, left: ColumnarValue, right: ColumnarValue) -> Result<ColumnarValue> {
        binary(&left, &right, |left, right| {
            within_precision(match op {
                Operator::Plus => add(left, right)?,
                _ => mul(left, right)?,
            })
        })
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let max: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MAX), None]));
        let one = || ColumnarValue::Scalar(ScalarValue::Int64(Some(1)));
        assert!(apply(Operator::Plus, ColumnarValue::Array(max.clone()), one()).is_err());
        let none: ArrayRef = Arc::new(Int64Array::from(vec![None::<i64>]));
        assert!(apply(Operator::Plus, ColumnarValue::Array(none), one()).is_ok());
    }

    #[test]
    fn decimals_have_38_digits() {
        let big = Decimal128Array::from(vec![9 * 10_i128.pow(37)]).with_precision_and_scale(38, 0).unwrap();
        let big = ColumnarValue::Array(Arc::new(big));
        assert!(apply(Operator::Plus, big.clone(), big).is_err());
    }

    #[test]
    fn only_what_can_overflow_is_checked() {
        let decimal = |precision| DataType::Decimal128(precision, 2);
        assert!(Checked::binary(Operator::Plus, &DataType::Int32, &DataType::Int32).is_some());
        assert!(Checked::binary(Operator::Plus, &DataType::Float64, &DataType::Float64).is_none());
        assert!(Checked::binary(Operator::Divide, &DataType::Int64, &DataType::Int64).is_none());
        assert!(Checked::binary(Operator::Plus, &decimal(10), &decimal(10)).is_none());
        assert!(Checked::binary(Operator::Plus, &decimal(38), &decimal(10)).is_some());
        assert!(Checked::binary(Operator::Multiply, &decimal(20), &decimal(20)).is_some());
    }
}
