//! Watermarks: how far event time is, as a number per column.
//!
//! A watermark `w` of a column promises that no change of a row with a smaller value in that column comes any more. (Rows
//! whose value is NULL are outside of the promise.) It is counted in the units of the column, so microseconds for a
//! TIMESTAMP and days for a DATE; [`END`] stands above all values and means that no change at all comes any more.
//! The idea is that of the Dataflow Model (Akidau et al., VLDB 2015).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};

use crate::error::{Error, Result};

/// The watermark of an input that has ended.
pub const END: i64 = i64::MAX;

/// The watermark of an input of which nothing is known yet.
pub const NONE: i64 = i64::MIN;

/// The watermark of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The column.
    pub column: usize,
    /// No change with a smaller value comes any more.
    pub watermark: i64,
}

/// Whether columns of this type can have a watermark: their values are ordered as whole numbers are.
pub fn is_ordinal(data_type: &DataType) -> bool {
    data_type.is_signed_integer() || matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// The values of a column as the numbers that watermarks are compared with.
///
/// # Errors
/// `Internal` for a type that is not ordinal.
pub fn ordinals(column: &ArrayRef) -> Result<Int64Array> {
    let numbers = match column.data_type() {
        DataType::Int64 => column.clone(),
        DataType::Date32 => cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?,
        data_type if is_ordinal(data_type) => cast(column, &DataType::Int64)?,
        other => return Err(Error::internal(format!("a column of type {other} has no watermark"))),
    };
    let numbers = numbers.as_primitive_opt::<Int64Type>();
    numbers.cloned().ok_or_else(|| Error::internal("the numbers of a column are no BIGINT"))
}

/// A column of one row that holds the number as a value of the type; nothing if it is out of the type's range.
pub fn from_ordinal(data_type: &DataType, number: i64) -> Option<ArrayRef> {
    let column: ArrayRef = match data_type {
        DataType::Date32 => Arc::new(Int32Array::from(vec![i32::try_from(number).ok()?])),
        _ => Arc::new(Int64Array::from(vec![number])),
    };
    let column = cast(&column, data_type).ok()?;
    column.is_valid(0).then_some(column)
}

/// A number of a column of this type as milliseconds since the Unix epoch; nothing if it is no time, or [`END`] or [`NONE`].
pub fn to_ms(data_type: &DataType, number: i64) -> Option<i64> {
    if number == END || number == NONE {
        return None;
    }
    match data_type {
        DataType::Timestamp(TimeUnit::Second, _) => number.checked_mul(1_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => Some(number),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(number.div_euclid(1_000)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(number.div_euclid(1_000_000)),
        DataType::Date32 => number.checked_mul(86_400_000),
        _ => None,
    }
}

/// The least of some numbers of a column, or of the elements of a column of lists; nothing if there is none.
pub fn least(column: &ArrayRef) -> Option<i64> {
    let numbers = match column.as_list_opt::<i32>() {
        Some(lists) => ordinals(lists.values()).ok()?,
        None => ordinals(column).ok()?,
    };
    arrow::compute::min(&numbers)
}

/// The watermark of a column among several.
pub fn of(bounds: &[Bound], column: usize) -> Option<i64> {
    bounds.iter().find(|bound| bound.column == column).map(|bound| bound.watermark)
}
