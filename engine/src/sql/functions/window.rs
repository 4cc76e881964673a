//! The starts of the windows that a time is in.

use std::sync::Arc;

use arrow::array::{AsArray, ListArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};
use datafusion::scalar::ScalarValue;

use super::{Argument, Function, array, scalar};

const MICROSECONDS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

pub(super) fn functions() -> Vec<Function> {
    use Argument::{Integer, Time};
    let starts = DataType::List(Arc::new(item()));
    vec![
        Function {
            monotonic: true,
            ..Function::new("frazil_tumble_start", &[Time, Integer, Integer], MICROSECONDS, tumble_start)
        },
        Function::new("frazil_hop_starts", &[Time, Integer, Integer, Integer], starts, hop_starts),
    ]
}

fn item() -> Field {
    Field::new_list_field(MICROSECONDS, true)
}

fn tumble_start(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (size, offset) = (positive(args, 1)?, literal(args, 2)?);
    let times = array(args, 0)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let starts: TimestampMicrosecondArray =
        times.try_unary(|time| floor(time, size, offset).ok_or_else(|| out_of_range(time)))?;
    Ok(ColumnarValue::Array(Arc::new(starts)))
}

fn hop_starts(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (slide, size, offset) = (positive(args, 1)?, positive(args, 2)?, literal(args, 3)?);
    let times = array(args, 0)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let per_row = usize::try_from(size / slide + 1).map_err(|error| exec_datafusion_err!("{error}"))?;
    let mut starts: Vec<i64> = Vec::with_capacity(times.len().saturating_mul(per_row.min(64)));
    let mut lengths = Vec::with_capacity(times.len());
    for time in times {
        let before = starts.len();
        if let Some(time) = time {
            // The first start that is later than time - size is one slide after the last one that is not.
            let range = time
                .checked_sub(size)
                .and_then(|end| floor(end, slide, offset))
                .and_then(|last_outside| last_outside.checked_add(slide));
            let mut start = range.ok_or_else(|| out_of_range(time))?;
            while start <= time {
                starts.push(start);
                start = start.checked_add(slide).ok_or_else(|| out_of_range(time))?;
            }
        }
        lengths.push(starts.len() - before);
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    let values = TimestampMicrosecondArray::from(starts);
    Ok(ColumnarValue::Array(Arc::new(ListArray::try_new(Arc::new(item()), offsets, Arc::new(values), None)?)))
}

/// The greatest `offset + k * step` that is not after `time`; rounds down before 1970 too.
fn floor(time: i64, step: i64, offset: i64) -> Option<i64> {
    let since = time.checked_sub(offset)?;
    since.checked_sub(since.rem_euclid(step))?.checked_add(offset)
}

fn out_of_range(time: i64) -> arrow::error::ArrowError {
    arrow::error::ArrowError::ComputeError(format!("the time {time} us is too far from 1970 for a window"))
}

fn literal(args: &ScalarFunctionArgs, n: usize) -> Result<i64> {
    match scalar(args, n) {
        Some(ScalarValue::Int64(Some(value))) => Ok(*value),
        _ => exec_err!("argument {} of a window must be a literal in microseconds", n + 1),
    }
}

fn positive(args: &ScalarFunctionArgs, n: usize) -> Result<i64> {
    match literal(args, n)? {
        value if value > 0 => Ok(value),
        value => exec_err!("size and slide of a window must be more than zero, found {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn floor_rounds_down_before_1970_and_with_offsets() {
        assert_eq!(floor(0, 10, 0), Some(0));
        assert_eq!(floor(-1, 10, 0), Some(-10));
        assert_eq!(floor(-10, 10, 0), Some(-10));
        assert_eq!(floor(12, 10, 3), Some(3));
        assert_eq!(floor(2, 10, 3), Some(-7));
        assert_eq!(floor(i64::MIN, 10, 0), None);
    }

    proptest! {
        #[test]
        fn the_window_contains_the_time(time in -1_000_000i64..1_000_000, step in 1i64..1000, offset in -2000i64..2000) {
            let start = floor(time, step, offset).unwrap();
            prop_assert!(start <= time && time < start + step);
            prop_assert_eq!((start - offset).rem_euclid(step), 0);
        }
    }
}
