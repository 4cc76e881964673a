//! Text to values: timestamps in the ISO-8601 forms that files hold, typed column builders, and SQL names of types.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanBuilder, PrimitiveBuilder, StringViewArray, StringViewBuilder,
};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::{Parser, parse_decimal};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use crate::error::Result;

/// The name by which SQL calls a type.
pub(crate) fn sql_name(data_type: &DataType) -> impl fmt::Display {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_string(),
        DataType::Int8 => "TINYINT".to_string(),
        DataType::Int16 => "SMALLINT".to_string(),
        DataType::Int32 => "INT".to_string(),
        DataType::Int64 => "BIGINT".to_string(),
        DataType::Float32 => "REAL".to_string(),
        DataType::Float64 => "DOUBLE".to_string(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_string(),
        DataType::Date32 | DataType::Date64 => "DATE".to_string(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_string(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_string(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_string(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        other => other.to_string(),
    }
}

/// Days from 1970-01-01 of a date of the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Count years from March, so that the leap day is the last of its year.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let until_year = y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400);
    let until_month = (153 * m + 2) / 5;
    until_year + until_month + day - 719_469
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A number of exactly `n` digits at the start of `text`, and what follows it.
fn digits(text: &[u8], n: usize) -> Option<(i64, &[u8])> {
    let (head, rest) = text.split_at_checked(n)?;
    let value = head.iter().try_fold(0, |v, b| b.is_ascii_digit().then(|| v * 10 + i64::from(b - b'0')))?;
    Some((value, rest))
}

fn skip(text: &[u8], byte: u8) -> Option<&[u8]> {
    text.strip_prefix(&[byte])
}

/// Reads `2013-01-01`, `2013-01-01 10:00`, `2013-01-01T10:00:00.123456Z`, `... 10:00:00+02:00` as microseconds since the
/// Unix epoch. Digits after the sixth of a fraction are cut off; an offset is converted to UTC.
pub(crate) fn parse_timestamp(text: &[u8]) -> Option<i64> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(skip(rest, b'-')?, 2)?;
    let (day, rest) = digits(skip(rest, b'-')?, 2)?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let date = days(year, month, day) * 86_400_000_000;
    let rest = match rest {
        [] => return Some(date),
        [b'T' | b't' | b' ', rest @ ..] => rest,
        _ => return None,
    };
    let (micros, rest) = parse_time(rest)?;
    Some(date + micros - parse_offset(rest)?)
}

/// `HH:MM[:SS[.fraction]]` as microseconds since midnight, and what follows.
fn parse_time(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hour, rest) = digits(text, 2)?;
    let (minute, mut rest) = digits(skip(rest, b':')?, 2)?;
    let (mut second, mut micros) = (0, 0);
    if let Some(seconds) = skip(rest, b':') {
        (second, rest) = digits(seconds, 2)?;
        if let Some(fraction) = skip(rest, b'.') {
            let length = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if length == 0 {
                return None;
            }
            let (value, _) = digits(fraction, length.min(6))?;
            micros = value * 10_i64.pow(6 - length.min(6) as u32);
            rest = &fraction[length..];
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((((hour * 60 + minute) * 60 + second) * 1_000_000 + micros, rest))
}

/// Nothing, `Z`, `UTC`, `+02:00`, `-0530` or `+02` as microseconds east of UTC.
fn parse_offset(text: &[u8]) -> Option<i64> {
    let text = skip(text, b' ').unwrap_or(text);
    let (sign, rest) = match text {
        [] | [b'Z' | b'z'] | b"UTC" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = digits(rest, 2)?;
    let rest = skip(rest, b':').unwrap_or(rest);
    let (minutes, rest) = if rest.is_empty() { (0, rest) } else { digits(rest, 2)? };
    (rest.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000_000)
}

/// Reads a timestamp column that was decoded as text. `None`: some value is not a timestamp.
pub(crate) fn timestamps(text: &StringViewArray) -> Option<ArrayRef> {
    let mut builder = PrimitiveBuilder::<TimestampMicrosecondType>::with_capacity(text.len());
    for value in text {
        match value {
            Some(value) => builder.append_value(parse_timestamp(value.trim().as_bytes())?),
            None => builder.append_null(),
        }
    }
    Some(Arc::new(builder.finish()))
}

/// Builds one column from text fields.
pub trait TextColumn: Send {
    /// Adds a value or NULL. `false`: the text is no value of the type; then NULL was added.
    fn append(&mut self, text: Option<&[u8]>) -> bool;

    /// The values so far; the builder is empty afterwards.
    fn finish(&mut self) -> Result<ArrayRef>;

    /// Whether an empty field is a value and not NULL.
    fn takes_empty(&self) -> bool {
        false
    }
}

struct Primitive<T: ArrowPrimitiveType, F> {
    builder: PrimitiveBuilder<T>,
    parse: F,
    data_type: DataType,
}

impl<T: ArrowPrimitiveType, F: Fn(&str) -> Option<T::Native> + Send> TextColumn for Primitive<T, F> {
    fn append(&mut self, text: Option<&[u8]>) -> bool {
        let value = text.map(|text| std::str::from_utf8(text.trim_ascii()).ok().and_then(&self.parse));
        self.builder.append_option(value.flatten());
        value.is_none_or(|v| v.is_some())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let array: ArrayRef = Arc::new(self.builder.finish());
        Ok(if array.data_type() == &self.data_type { array } else { cast(&array, &self.data_type)? })
    }
}

struct Booleans(BooleanBuilder);

impl TextColumn for Booleans {
    fn append(&mut self, text: Option<&[u8]>) -> bool {
        let is =
            |text: &[u8], words: &[&str]| words.iter().any(|w| text.trim_ascii().eq_ignore_ascii_case(w.as_bytes()));
        let value = text.map(|text| match text {
            text if is(text, &["true", "t", "1", "yes"]) => Some(true),
            text if is(text, &["false", "f", "0", "no"]) => Some(false),
            _ => None,
        });
        self.0.append_option(value.flatten());
        value.is_none_or(|v| v.is_some())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(self.0.finish()))
    }
}

struct Texts {
    builder: StringViewBuilder,
    data_type: DataType,
}

impl TextColumn for Texts {
    fn append(&mut self, text: Option<&[u8]>) -> bool {
        let value = text.map(|text| std::str::from_utf8(text).ok());
        self.builder.append_option(value.flatten());
        value.is_none_or(|v| v.is_some())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let array: ArrayRef = Arc::new(self.builder.finish());
        Ok(if array.data_type() == &self.data_type { array } else { cast(&array, &self.data_type)? })
    }

    fn takes_empty(&self) -> bool {
        true
    }
}

fn primitive<T: ArrowPrimitiveType>(
    data_type: &DataType,
    parse: impl Fn(&str) -> Option<T::Native> + Send + 'static,
) -> Box<dyn TextColumn> {
    // A decimal's builder must know precision and scale from the start; other types follow from `T`.
    let builder = match data_type {
        DataType::Decimal128(..) => PrimitiveBuilder::<T>::new().with_data_type(data_type.clone()),
        _ => PrimitiveBuilder::<T>::new(),
    };
    Box::new(Primitive { builder, parse, data_type: data_type.clone() })
}

/// A builder for a type, or `None` if text fields cannot hold it.
pub fn text_column(data_type: &DataType) -> Option<Box<dyn TextColumn>> {
    let column = match data_type {
        DataType::Boolean => Box::new(Booleans(BooleanBuilder::new())) as Box<dyn TextColumn>,
        DataType::Int8 => primitive::<Int8Type>(data_type, |text| text.parse().ok()),
        DataType::Int16 => primitive::<Int16Type>(data_type, |text| text.parse().ok()),
        DataType::Int32 => primitive::<Int32Type>(data_type, |text| text.parse().ok()),
        DataType::Int64 => primitive::<Int64Type>(data_type, |text| text.parse().ok()),
        DataType::UInt8 => primitive::<UInt8Type>(data_type, |text| text.parse().ok()),
        DataType::UInt16 => primitive::<UInt16Type>(data_type, |text| text.parse().ok()),
        DataType::UInt32 => primitive::<UInt32Type>(data_type, |text| text.parse().ok()),
        DataType::UInt64 => primitive::<UInt64Type>(data_type, |text| text.parse().ok()),
        DataType::Float32 => primitive::<Float32Type>(data_type, |text| text.parse().ok()),
        DataType::Float64 => primitive::<Float64Type>(data_type, |text| text.parse().ok()),
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            primitive::<Decimal128Type>(data_type, move |text| {
                parse_decimal::<Decimal128Type>(text, precision, scale).ok()
            })
        }
        DataType::Date32 => primitive::<Date32Type>(data_type, Date32Type::parse),
        DataType::Time64(TimeUnit::Microsecond) => {
            primitive::<Time64MicrosecondType>(data_type, Time64MicrosecondType::parse)
        }
        DataType::Timestamp(..) => {
            primitive::<TimestampMicrosecondType>(data_type, |text| parse_timestamp(text.as_bytes()))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Box::new(Texts { builder: StringViewBuilder::new(), data_type: data_type.clone() })
        }
        _ => return None,
    };
    Some(column)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    fn micros(rfc3339: &str) -> i64 {
        DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_micros()
    }

    #[test]
    fn timestamps_in_all_forms() {
        for (text, same) in [
            ("2013-01-01T10:00:00Z", "2013-01-01T10:00:00Z"),
            ("2013-01-01 10:00:00", "2013-01-01T10:00:00Z"),
            ("2013-01-01", "2013-01-01T00:00:00Z"),
            ("2013-01-01 10:05", "2013-01-01T10:05:00Z"),
            ("2013-01-01T10:00:00.1", "2013-01-01T10:00:00.1Z"),
            ("2013-01-01T10:00:00.123456789Z", "2013-01-01T10:00:00.123456Z"),
            ("2013-01-01T10:00:00+02:00", "2013-01-01T08:00:00Z"),
            ("2013-01-01 10:00:00 -0530", "2013-01-01T15:30:00Z"),
            ("2013-01-01 10:00:00+02", "2013-01-01T08:00:00Z"),
            ("2013-01-01 10:00:00 UTC", "2013-01-01T10:00:00Z"),
            ("1969-12-31 23:59:59.999999", "1969-12-31T23:59:59.999999Z"),
            ("2000-02-29 00:00:00", "2000-02-29T00:00:00Z"),
        ] {
            assert_eq!(parse_timestamp(text.as_bytes()), Some(micros(same)), "{text}");
        }
    }

    #[test]
    fn what_is_no_timestamp() {
        for text in [
            "",
            "2013",
            "2013-1-1",
            "2013-13-01",
            "2013-02-29",
            "1900-02-29",
            "2013-01-01T",
            "2013-01-01T24:00:00",
            "2013-01-01T10:60:00",
            "2013-01-01T10:00:00.",
            "2013-01-01T10:00:00 CET",
            "2013-01-01T10:00:00+2",
            "2013-01-01x10:00:00",
            "1436918400000",
            "2013-01-01T10:00:00ZZ",
        ] {
            assert_eq!(parse_timestamp(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_day_is_the_calendar_s(day in -700_000_i64..2_900_000) {
            let date = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + chrono::Duration::days(day);
            let text = date.format("%Y-%m-%d").to_string();
            prop_assert_eq!(parse_timestamp(text.as_bytes()), Some(day * 86_400_000_000));
        }
    }

    #[test]
    fn columns_from_text() {
        for (data_type, good, bad) in [
            (DataType::Boolean, "TRUE", "ja"),
            (DataType::Int8, "-128", "128"),
            (DataType::Int64, " 9223372036854775807", "1.5"),
            (DataType::UInt32, "1", "-1"),
            (DataType::Float64, "1e3", "x"),
            (DataType::Decimal128(6, 2), "12.34", "a"),
            (DataType::Date32, "2024-02-29", "2023-02-29"),
            (DataType::Time64(TimeUnit::Microsecond), "10:11:12", "noon"),
            (DataType::Timestamp(TimeUnit::Microsecond, None), "2013-01-01T10:00:00Z", "yesterday"),
            (DataType::Timestamp(TimeUnit::Millisecond, None), "2013-01-01T10:00:00Z", "yesterday"),
        ] {
            let mut column = text_column(&data_type).unwrap();
            assert!(column.append(Some(good.as_bytes())), "{data_type}");
            assert!(!column.append(Some(bad.as_bytes())), "{data_type}");
            assert!(column.append(None));
            let array = column.finish().unwrap();
            assert_eq!(array.data_type(), &data_type);
            assert_eq!((array.len(), array.null_count(), array.is_null(0)), (3, 2, false));
        }
        assert!(text_column(&DataType::Binary).is_none());
        let mut text = text_column(&DataType::Utf8View).unwrap();
        assert!(text.append(Some(b"")) && !text.append(Some(b"\xff")) && text.takes_empty());
    }
}
