//! What `*`, `/`, `+` and `-` of intervals with numbers and of dates with integers become.
//!
//! A fraction of months is taken as days of a month of 30 days, a fraction of days as time, as in PostgreSQL.

use std::sync::Arc;

use arrow::array::{AsArray, Date32Array, IntervalMonthDayNanoArray};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::{Argument, Function, array};

const NANOS_PER_DAY: f64 = 86_400e9;

pub(super) fn functions() -> Vec<Function> {
    use Argument::{Date, Integer, Interval, Number};
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    vec![
        Function::new("interval_times", &[Interval, Number], interval.clone(), |args| scaled(args, times)),
        Function::new("interval_divided", &[Interval, Number], interval, |args| {
            scaled(args, |interval, divisor| {
                if divisor == 0.0 {
                    return Err(arrow::error::ArrowError::DivideByZero.into());
                }
                times(interval, 1.0 / divisor)
            })
        }),
        Function::new("date_plus_days", &[Date, Integer], DataType::Date32, |args| moved(args, 1)),
        Function::new("date_minus_days", &[Date, Integer], DataType::Date32, |args| moved(args, -1)),
    ]
}

fn out_of_range() -> DataFusionError {
    exec_datafusion_err!("the interval or date is out of range")
}

fn scaled(
    args: &ScalarFunctionArgs,
    scale: impl Fn(IntervalMonthDayNano, f64) -> Result<IntervalMonthDayNano>,
) -> Result<ColumnarValue> {
    let (intervals, factors) = (array(args, 0)?, array(args, 1)?);
    let rows = intervals.as_primitive::<IntervalMonthDayNanoType>().iter().zip(factors.as_primitive::<Float64Type>());
    let products = rows.map(|(interval, factor)| match (interval, factor) {
        (Some(interval), Some(factor)) => scale(interval, factor).map(Some),
        _ => Ok(None),
    });
    Ok(ColumnarValue::Array(Arc::new(products.collect::<Result<IntervalMonthDayNanoArray>>()?)))
}

/// The integer that a float is, if an `i32` can hold it.
fn whole(value: f64) -> Result<i32> {
    if value.abs() <= f64::from(i32::MAX) { Ok(value as i32) } else { Err(out_of_range()) }
}

fn times(interval: IntervalMonthDayNano, factor: f64) -> Result<IntervalMonthDayNano> {
    let months = f64::from(interval.months) * factor;
    let days = f64::from(interval.days) * factor + months.fract() * 30.0;
    let nanos = if factor.fract() == 0.0 && factor.abs() < 1e15 {
        // Exact, where a float would lose the last digits.
        let product = i128::from(interval.nanoseconds) * (factor as i128);
        i64::try_from(product).map_err(|_| out_of_range())?
    } else {
        let nanos = interval.nanoseconds as f64 * factor + days.fract() * NANOS_PER_DAY;
        if nanos.abs() >= 9.2e18 {
            return Err(out_of_range());
        }
        // To whole microseconds, as which times are kept.
        (nanos / 1e3).round() as i64 * 1_000
    };
    Ok(IntervalMonthDayNano::new(whole(months.trunc())?, whole(days.trunc())?, nanos))
}

fn moved(args: &ScalarFunctionArgs, sign: i64) -> Result<ColumnarValue> {
    let (dates, days) = (array(args, 0)?, array(args, 1)?);
    let rows = dates.as_primitive::<Date32Type>().iter().zip(days.as_primitive::<Int64Type>());
    let moved = rows.map(|(date, days)| match (date, days) {
        (Some(date), Some(days)) => {
            let day = days.checked_mul(sign).and_then(|days| i64::from(date).checked_add(days));
            day.and_then(|day| i32::try_from(day).ok()).map(Some).ok_or_else(out_of_range)
        }
        _ => Ok(None),
    });
    Ok(ColumnarValue::Array(Arc::new(moved.collect::<Result<Date32Array>>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_go_to_the_next_smaller_unit() {
        let month = IntervalMonthDayNano::new(1, 0, 0);
        assert_eq!(times(month, 1.5).unwrap(), IntervalMonthDayNano::new(1, 15, 0));
        let day = IntervalMonthDayNano::new(0, 1, 0);
        assert_eq!(times(day, 0.5).unwrap(), IntervalMonthDayNano::new(0, 0, 43_200_000_000_000));
        assert_eq!(times(day, -3.0).unwrap(), IntervalMonthDayNano::new(0, -3, 0));
        let nano = IntervalMonthDayNano::new(0, 0, i64::MAX / 3);
        assert_eq!(times(nano, 3.0).unwrap().nanoseconds, i64::MAX / 3 * 3);
        assert!(times(nano, 4.0).is_err());
        assert!(times(month, 1e12).is_err());
    }
}
