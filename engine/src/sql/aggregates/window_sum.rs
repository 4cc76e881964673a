//! `sum` of whole numbers over windows: DataFusion's wraps around where the result does not fit its type.
//!
//! Sums are kept in 128 bits, so that one which does not fit is an error for the rows that show it, and for no others.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion::scalar::ScalarValue;

use crate::error::Error;

/// The function in place of DataFusion's `sum`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct WindowSum {
    inner: Arc<AggregateUDF>,
}

impl WindowSum {
    /// In place of a function over an argument of this type, if it is one that wraps around.
    pub(super) fn of(function: &Arc<AggregateUDF>, argument: &DataType) -> Option<AggregateUDF> {
        let wraps = matches!(argument, DataType::Int64 | DataType::UInt64 | DataType::Decimal128(..));
        let own = function.inner().as_any().is::<Self>();
        let sum = function.name() == "sum" && wraps && !own;
        sum.then(|| AggregateUDF::new_from_impl(Self { inner: function.clone() }))
    }
}

impl AggregateUDFImpl for WindowSum {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |part: &str, of| Arc::new(Field::new(format!("{}[{part}]", args.name), of, true));
        Ok(vec![field("high", DataType::Int64), field("low", DataType::UInt64), field("count", DataType::Int64)])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Sum { of: args.return_field.data_type().clone(), sum: 0, count: 0 }))
    }
}

/// A sum, and of how many numbers.
#[derive(Debug)]
struct Sum {
    of: DataType,
    sum: i128,
    count: i64,
}

impl Sum {
    fn add(&mut self, values: &[ArrayRef], weight: i64) -> Result<()> {
        let [values] = values else { return Err(DataFusionError::Internal("sum takes one argument".into())) };
        match values.data_type() {
            DataType::Int64 => self.add_all(values.as_primitive::<Int64Type>(), weight),
            DataType::UInt64 => self.add_all(values.as_primitive::<UInt64Type>(), weight),
            DataType::Decimal128(..) => self.add_all(values.as_primitive::<Decimal128Type>(), weight),
            other => return Err(DataFusionError::Internal(format!("a sum of {other} over a window"))),
        }
        Ok(())
    }

    fn add_all<T: ArrowPrimitiveType>(&mut self, values: &PrimitiveArray<T>, weight: i64)
    where
        T::Native: Into<i128>,
    {
        let sum = values.iter().flatten().fold(0_i128, |sum, value| sum.wrapping_add(value.into()));
        self.sum = self.sum.wrapping_add(sum.wrapping_mul(i128::from(weight)));
        self.count += weight * (values.len() - values.null_count()) as i64;
    }

    fn overflow(&self) -> DataFusionError {
        let error = Error::data(format!("the result of sum does not fit the type {}", self.of))
            .hint("cast the argument to a wider type, such as DECIMAL(38, 0) or DOUBLE");
        DataFusionError::External(Box::new(error))
    }
}

impl Accumulator for Sum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = (self.count != 0).then_some(self.sum);
        let fits = |fits: bool| if fits { Ok(()) } else { Err(self.overflow()) };
        Ok(match &self.of {
            DataType::Decimal128(precision, scale) => {
                let limit = 10_i128.pow(u32::from(*precision));
                fits(sum.is_none_or(|sum| sum < limit && sum > -limit))?;
                ScalarValue::Decimal128(sum, *precision, *scale)
            }
            DataType::UInt64 => ScalarValue::UInt64(sum.map(u64::try_from).transpose().map_err(|_| self.overflow())?),
            _ => ScalarValue::Int64(sum.map(i64::try_from).transpose().map_err(|_| self.overflow())?),
        })
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (high, low) = ((self.sum >> 64) as i64, self.sum as u64);
        Ok(vec![ScalarValue::from(high), ScalarValue::from(low), ScalarValue::from(self.count)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [high, low, count] = states else {
            return Err(DataFusionError::Internal("the state of sum has three columns".into()));
        };
        let (high, low) = (high.as_primitive::<Int64Type>(), low.as_primitive::<UInt64Type>());
        for ((high, low), count) in
            high.values().iter().zip(low.values()).zip(count.as_primitive::<Int64Type>().values())
        {
            self.sum = self.sum.wrapping_add(i128::from(*high) << 64 | i128::from(*low));
            self.count += count;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, UInt64Array};

    use super::*;

    fn sum(of: DataType) -> Sum {
        Sum { of, sum: 0, count: 0 }
    }

    fn values(values: &[Option<i64>]) -> Vec<ArrayRef> {
        vec![Arc::new(Int64Array::from(values.to_vec()))]
    }

    #[test]
    fn a_sum_that_fits_again_is_given_again() {
        let mut sum = sum(DataType::Int64);
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Int64(None));
        sum.update_batch(&values(&[Some(i64::MAX), None, Some(2)])).unwrap();
        assert!(sum.evaluate().unwrap_err().to_string().contains("does not fit the type Int64"));
        sum.retract_batch(&values(&[Some(i64::MAX), None])).unwrap();
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Int64(Some(2)));
    }

    #[test]
    fn states_hold_all_that_there_is() {
        for numbers in [[Some(i64::MIN), Some(-1)], [Some(i64::MAX), Some(i64::MAX)], [Some(-5), None]] {
            let (mut one, mut other) = (sum(DataType::Int64), sum(DataType::Int64));
            one.update_batch(&values(&numbers)).unwrap();
            let state = one.state().unwrap().iter().map(|value| value.to_array().unwrap()).collect::<Vec<_>>();
            other.merge_batch(&state).unwrap();
            assert_eq!((one.sum, one.count), (other.sum, other.count));
        }
    }

    #[test]
    fn unsigned_numbers_and_decimals_have_their_limits() {
        let mut unsigned = sum(DataType::UInt64);
        unsigned.update_batch(&[Arc::new(UInt64Array::from(vec![u64::MAX]))]).unwrap();
        assert_eq!(unsigned.evaluate().unwrap(), ScalarValue::UInt64(Some(u64::MAX)));
        unsigned.update_batch(&[Arc::new(UInt64Array::from(vec![1]))]).unwrap();
        assert!(unsigned.evaluate().is_err());
        let mut decimal = sum(DataType::Decimal128(2, 0));
        decimal.sum = 99;
        decimal.count = 1;
        assert_eq!(decimal.evaluate().unwrap(), ScalarValue::Decimal128(Some(99), 2, 0));
        decimal.sum = 100;
        assert!(decimal.evaluate().is_err());
    }
}
