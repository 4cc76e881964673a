//! The starts or ends of the windows that a time is in.

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
        Function::new("frazil_hop_starts", &[Time, Integer, Integer, Integer], starts.clone(), hop_starts),
        Function::new("frazil_cumulate_ends", &[Time, Integer, Integer, Integer], starts, cumulate_ends),
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
    let starts = all_starts(array(args, 0)?.as_primitive(), slide, size, offset)?;
    Ok(ColumnarValue::Array(Arc::new(starts)))
}

fn cumulate_ends(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (step, size, offset) = (positive(args, 1)?, positive(args, 2)?, literal(args, 3)?);
    let ends = all_ends(array(args, 0)?.as_primitive(), step, size, offset)?;
    Ok(ColumnarValue::Array(Arc::new(ends)))
}

/// By row the ends of all windows that contain its time and start with the size's multiple before it, ascending; none for
/// NULL. The size is a multiple of the step.
fn all_ends(times: &TimestampMicrosecondArray, step: i64, size: i64, offset: i64) -> Result<ListArray> {
    let mut ends: Vec<i64> = Vec::new();
    let mut lengths = Vec::with_capacity(times.len());
    for time in times {
        let before = ends.len();
        if let Some(time) = time {
            let start = floor(time, size, offset).ok_or_else(|| out_of_range(time))?;
            let last = start.checked_add(size).ok_or_else(|| out_of_range(time))?;
            let mut end = start + ((time - start) / step + 1) * step;
            while end <= last {
                ends.push(end);
                end = end.checked_add(step).ok_or_else(|| out_of_range(time))?;
            }
        }
        lengths.push(ends.len() - before);
    }
    list(ends, lengths)
}

fn list(times: Vec<i64>, lengths: Vec<usize>) -> Result<ListArray> {
    let values = TimestampMicrosecondArray::from(times);
    Ok(ListArray::try_new(Arc::new(item()), OffsetBuffer::from_lengths(lengths), Arc::new(values), None)?)
}

/// By row the starts of all windows that contain its time, ascending; none for NULL.
fn all_starts(times: &TimestampMicrosecondArray, slide: i64, size: i64, offset: i64) -> Result<ListArray> {
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
    list(starts, lengths)
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
    use arrow::array::Array as _;

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

        #[test]
        fn hop_finds_exactly_the_windows_that_contain_the_time(
            times in proptest::collection::vec(proptest::option::of(-200i64..200), 0..8),
            slide in 1i64..30,
            size in 1i64..60,
            offset in -50i64..50,
        ) {
            let starts = all_starts(&TimestampMicrosecondArray::from(times.clone()), slide, size, offset).unwrap();
            prop_assert_eq!(starts.len(), times.len());
            for (found, time) in starts.iter().zip(times) {
                let found: Vec<i64> = found.unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec();
                let contains = |start: &i64| {
                    time.is_some_and(|time| *start <= time && time < start + size) && (start - offset).rem_euclid(slide) == 0
                };
                let expected: Vec<i64> = (-300..300).filter(contains).collect();
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn cumulate_finds_exactly_the_windows_that_contain_the_time(
            times in proptest::collection::vec(proptest::option::of(-200i64..200), 0..8),
            step in 1i64..30,
            steps in 1i64..6,
            offset in -50i64..50,
        ) {
            let size = step * steps;
            let ends = all_ends(&TimestampMicrosecondArray::from(times.clone()), step, size, offset).unwrap();
            for (found, time) in ends.iter().zip(times) {
                let found: Vec<i64> = found.unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec();
                let expected: Vec<i64> = time.map_or(vec![], |time| {
                    let start = floor(time, size, offset).unwrap();
                    (1..=steps).map(|n| start + n * step).filter(|end| time < *end).collect()
                });
                prop_assert_eq!(found, expected);
            }
        }
    }
}
