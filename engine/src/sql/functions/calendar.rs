//! Functions between times and texts by pattern, and arithmetic in calendar units.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int64Array, StringViewBuilder, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::pattern::Pattern;
use super::{Argument, Function, array};

const MICROSECONDS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

pub(super) fn functions() -> Vec<Function> {
    use Argument::{Instant, Integer, Number, Text, Time};
    let field = |name, body| Function::new(name, &[Time], DataType::Int64, body);
    vec![
        Function::new("to_char", &[Time, Text], DataType::Utf8View, to_char),
        Function { optional: 1, ..Function::new("to_date", &[Instant, Text], DataType::Date32, to_date) },
        Function { optional: 1, ..Function::new("to_timestamp", &[Instant, Text], MICROSECONDS, to_timestamp) },
        Function::new("date_ceil", &[Text, Time], MICROSECONDS, date_ceil),
        Function::new("timestampadd", &[Text, Integer, Time], MICROSECONDS, timestampadd),
        Function::new("timestampdiff", &[Text, Time, Time], DataType::Int64, timestampdiff),
        Function::new(
            "make_timestamp",
            &[Integer, Integer, Integer, Integer, Integer, Number],
            MICROSECONDS,
            make_timestamp,
        ),
        field("dayofweek", |args| calendar_field(args, |time| time.weekday().num_days_from_sunday() + 1)),
        field("dayofyear", |args| calendar_field(args, |time| time.ordinal())),
        field("week", |args| calendar_field(args, |time| time.iso_week().week())),
    ]
}

/// A time as its calendar date and time of day.
fn calendar(micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| exec_datafusion_err!("the time {micros} us has no calendar date"))
}

fn micros(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_micros()
}

/// What is no date or time is an error.
fn checked_cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })?)
}

fn out_of_range() -> datafusion::error::DataFusionError {
    exec_datafusion_err!("the time is out of range")
}

fn calendar_field(args: &ScalarFunctionArgs, field: impl Fn(&DateTime<Utc>) -> u32) -> Result<ColumnarValue> {
    let times = array(args, 0)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let fields = times.iter().map(|time| time.map(|time| Ok(i64::from(field(&calendar(time)?)))).transpose());
    Ok(ColumnarValue::Array(Arc::new(fields.collect::<Result<Int64Array>>()?)))
}

/// Patterns by row; the one of the row before is kept.
#[derive(Default)]
struct Patterns<'a>(Option<(&'a str, Pattern)>);

impl<'a> Patterns<'a> {
    fn of(&mut self, text: &'a str, read: fn(&str) -> Result<Pattern>) -> Result<&Pattern> {
        if self.0.as_ref().is_none_or(|(known, _)| *known != text) {
            self.0 = Some((text, read(text)?));
        }
        self.0.as_ref().map(|(_, pattern)| pattern).ok_or_else(out_of_range)
    }
}

fn to_char(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (times, patterns) = (array(args, 0)?, array(args, 1)?);
    let mut known = Patterns::default();
    let mut texts = StringViewBuilder::with_capacity(args.number_rows);
    let mut text = String::new();
    for (time, pattern) in times.as_primitive::<TimestampMicrosecondType>().iter().zip(patterns.as_string_view()) {
        let (Some(time), Some(pattern)) = (time, pattern) else {
            texts.append_null();
            continue;
        };
        text.clear();
        let pattern = known.of(pattern, Pattern::postgres)?;
        pattern.write(&mut text, &calendar(time)?).map_err(|error| exec_datafusion_err!("to_char: {error}"))?;
        texts.append_value(&text);
    }
    Ok(ColumnarValue::Array(Arc::new(texts.finish())))
}

/// Texts read by patterns, row by row.
fn read(args: &ScalarFunctionArgs) -> Result<Vec<Option<NaiveDateTime>>> {
    let (texts, patterns) = (array(args, 0)?, array(args, 1)?);
    let mut known = Patterns::default();
    let texts = texts.as_string_view().iter().zip(patterns.as_string_view());
    texts
        .map(|(text, pattern)| match (text, pattern) {
            (Some(text), Some(pattern)) => known.of(pattern, Pattern::reading)?.read(text).map(Some),
            _ => Ok(None),
        })
        .collect()
}

fn to_date(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let given = array(args, 0)?;
    if args.args.len() == 1 || given.data_type() == &MICROSECONDS {
        return Ok(ColumnarValue::Array(checked_cast(&given, &DataType::Date32)?));
    }
    let epoch = NaiveDate::default();
    let days = read(args)?.into_iter().map(|time| {
        let days = time.map(|time| time.date().signed_duration_since(epoch).num_days());
        days.map(|days| i32::try_from(days).map_err(|_| out_of_range())).transpose()
    });
    Ok(ColumnarValue::Array(Arc::new(days.collect::<Result<Date32Array>>()?)))
}

fn to_timestamp(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let given = array(args, 0)?;
    let times: TimestampMicrosecondArray = match given.data_type() {
        DataType::Float64 => given
            .as_primitive::<Float64Type>()
            .iter()
            .map(|seconds| {
                let micros = seconds.map(|seconds| (seconds * 1e6).round());
                match micros {
                    // The bounds of what an i64 holds and a calendar knows.
                    Some(micros) if !(-8e18..8e18).contains(&micros) => {
                        exec_err!("to_timestamp: the time is out of range")
                    }
                    Some(micros) => Ok(Some(micros as i64)),
                    None => Ok(None),
                }
            })
            .collect::<Result<_>>()?,
        DataType::Utf8View if args.args.len() > 1 => read(args)?.into_iter().map(|time| time.map(micros)).collect(),
        _ => {
            return Ok(ColumnarValue::Array(checked_cast(&given, &MICROSECONDS)?));
        }
    };
    Ok(ColumnarValue::Array(Arc::new(times)))
}

/// A unit of the calendar: so many months, or so many microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Months(u32),
    Micros(i64),
}

const SECOND: i64 = 1_000_000;

fn unit(name: &str) -> Result<Unit> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("sql_tsi_").unwrap_or(&name);
    Ok(match name.strip_suffix('s').unwrap_or(name) {
        "year" => Unit::Months(12),
        "quarter" => Unit::Months(3),
        "month" => Unit::Months(1),
        "week" => Unit::Micros(7 * 86_400 * SECOND),
        "day" => Unit::Micros(86_400 * SECOND),
        "hour" => Unit::Micros(3_600 * SECOND),
        "minute" => Unit::Micros(60 * SECOND),
        "second" => Unit::Micros(SECOND),
        "millisecond" => Unit::Micros(1_000),
        "microsecond" => Unit::Micros(1),
        other => {
            return exec_err!(
                "{other:?} is no unit of time: use year, quarter, month, week, day, hour, minute, second or millisecond"
            );
        }
    })
}

fn add(time: i64, unit: Unit, count: i64) -> Result<i64> {
    match unit {
        Unit::Micros(size) => count.checked_mul(size).and_then(|span| time.checked_add(span)).ok_or_else(out_of_range),
        Unit::Months(size) => {
            let months = count.checked_mul(i64::from(size)).ok_or_else(out_of_range)?;
            let span = Months::new(u32::try_from(months.unsigned_abs()).map_err(|_| out_of_range())?);
            let from = calendar(time)?;
            let moved = if months < 0 { from.checked_sub_months(span) } else { from.checked_add_months(span) };
            Ok(moved.ok_or_else(out_of_range)?.timestamp_micros())
        }
    }
}

/// Whole units from `from` to `to`, rounded towards zero.
fn difference(from: i64, to: i64, unit: Unit) -> Result<i64> {
    match unit {
        Unit::Micros(size) => Ok(to.checked_sub(from).ok_or_else(out_of_range)? / size),
        Unit::Months(size) => {
            let (a, b) = (calendar(from)?, calendar(to)?);
            let month = |time: &DateTime<Utc>| i64::from(time.year()) * 12 + i64::from(time.month0());
            let mut months = month(&b) - month(&a);
            let within = |time: &DateTime<Utc>| (time.day(), time.time());
            if months > 0 && within(&b) < within(&a) {
                months -= 1;
            } else if months < 0 && within(&b) > within(&a) {
                months += 1;
            }
            Ok(months / i64::from(size))
        }
    }
}

fn timestampadd(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (units, counts, times) = (array(args, 0)?, array(args, 1)?, array(args, 2)?);
    let rows = units.as_string_view().iter().zip(counts.as_primitive::<Int64Type>());
    let rows = rows.zip(times.as_primitive::<TimestampMicrosecondType>());
    let moved = rows.map(|((name, count), time)| match (name, count, time) {
        (Some(name), Some(count), Some(time)) => add(time, unit(name)?, count).map(Some),
        _ => Ok(None),
    });
    Ok(ColumnarValue::Array(Arc::new(moved.collect::<Result<TimestampMicrosecondArray>>()?)))
}

fn timestampdiff(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (units, from, to) = (array(args, 0)?, array(args, 1)?, array(args, 2)?);
    let rows = units.as_string_view().iter().zip(from.as_primitive::<TimestampMicrosecondType>());
    let rows = rows.zip(to.as_primitive::<TimestampMicrosecondType>());
    let counts = rows.map(|((name, from), to)| match (name, from, to) {
        (Some(name), Some(from), Some(to)) => difference(from, to, unit(name)?).map(Some),
        _ => Ok(None),
    });
    Ok(ColumnarValue::Array(Arc::new(counts.collect::<Result<Int64Array>>()?)))
}

/// The start of the unit that a time is in.
fn floor(time: i64, unit: Unit) -> Result<i64> {
    match unit {
        // Weeks start on Monday, and the epoch was a Thursday.
        Unit::Micros(size) if size == 7 * 86_400 * SECOND => {
            let monday = 4 * 86_400 * SECOND;
            Ok(time - (time - monday).rem_euclid(size))
        }
        Unit::Micros(size) => Ok(time - time.rem_euclid(size)),
        Unit::Months(size) => {
            let at = calendar(time)?;
            let month = at.month0() / size * size + 1;
            let start = NaiveDate::from_ymd_opt(at.year(), month, 1).and_then(|day| day.and_hms_opt(0, 0, 0));
            Ok(micros(start.ok_or_else(out_of_range)?))
        }
    }
}

fn date_ceil(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (units, times) = (array(args, 0)?, array(args, 1)?);
    let rows = units.as_string_view().iter().zip(times.as_primitive::<TimestampMicrosecondType>());
    let ceilings = rows.map(|(name, time)| match (name, time) {
        (Some(name), Some(time)) => {
            let unit = unit(name)?;
            let start = floor(time, unit)?;
            if start == time { Ok(Some(time)) } else { add(start, unit, 1).map(Some) }
        }
        _ => Ok(None),
    });
    Ok(ColumnarValue::Array(Arc::new(ceilings.collect::<Result<TimestampMicrosecondArray>>()?)))
}

fn make_timestamp(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let whole = (0..5).map(|n| array(args, n)).collect::<Result<Vec<_>>>()?;
    let seconds = array(args, 5)?;
    let seconds = seconds.as_primitive::<Float64Type>();
    let made = (0..args.number_rows).map(|row| {
        if whole.iter().any(|part| part.is_null(row)) || seconds.is_null(row) {
            return Ok(None);
        }
        let part = |n: usize| whole[n].as_primitive::<Int64Type>().value(row);
        let small = |n: usize| u32::try_from(part(n)).ok();
        let time = || {
            let date = NaiveDate::from_ymd_opt(i32::try_from(part(0)).ok()?, small(1)?, small(2)?)?;
            let seconds = seconds.value(row);
            if !(0.0..60.0).contains(&seconds) {
                return None;
            }
            let time = date.and_hms_opt(small(3)?, small(4)?, 0)?;
            time.checked_add_signed(TimeDelta::microseconds((seconds * 1e6).round() as i64))
        };
        match time() {
            Some(time) => Ok(Some(micros(time))),
            None => exec_err!("make_timestamp: there is no such date and time"),
        }
    });
    Ok(ColumnarValue::Array(Arc::new(made.collect::<Result<TimestampMicrosecondArray>>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        micros(NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap())
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let january = at("2024-01-31 10:00:00");
        assert_eq!(add(january, unit("month").unwrap(), 1).unwrap(), at("2024-02-29 10:00:00"));
        assert_eq!(add(january, unit("MONTHS").unwrap(), -2).unwrap(), at("2023-11-30 10:00:00"));
        assert_eq!(add(january, unit("day").unwrap(), 1).unwrap(), at("2024-02-01 10:00:00"));
        let month = unit("month").unwrap();
        assert_eq!(difference(january, at("2024-02-29 10:00:00"), month).unwrap(), 0);
        assert_eq!(difference(january, at("2024-03-31 10:00:00"), month).unwrap(), 2);
        assert_eq!(difference(at("2024-03-31 10:00:00"), january, month).unwrap(), -2);
        assert_eq!(difference(january, at("2024-01-31 12:59:59"), unit("hour").unwrap()).unwrap(), 2);
        assert!(unit("fortnight").is_err());
        assert!(add(i64::MAX, unit("day").unwrap(), 1).is_err());
    }

    #[test]
    fn units_start_where_date_trunc_says() {
        let time = at("2015-07-05 13:04:09");
        assert_eq!(floor(time, unit("week").unwrap()).unwrap(), at("2015-06-29 00:00:00"));
        assert_eq!(floor(time, unit("quarter").unwrap()).unwrap(), at("2015-07-01 00:00:00"));
        assert_eq!(floor(-1, unit("year").unwrap()).unwrap(), at("1969-01-01 00:00:00"));
    }
}
