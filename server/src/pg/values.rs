//! Values as PostgreSQL prints them, and in its binary format.
//!
//! Text: booleans `t` and `f`, floats as short as they can be read back, times without trailing zeros, `\x` before the digits of
//! BYTEA, arrays in braces, rows in parentheses. Binary: the `*_send` functions of PostgreSQL 16; dates and times count from
//! 2000-01-01.

use std::fmt::{self, Write as _};

use arrow::array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut, BytesMut};
use chrono::{Datelike, NaiveDate, Timelike};
use pgwire::api::Type;
use pgwire::api::results::{FieldFormat, FieldInfo};
use pgwire::messages::data::DataRow;

use super::numeric;
use super::types::pg_type;

/// Days from 1970-01-01 to 2000-01-01.
pub const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// Encodes the rows of a batch. `fields`: one per column, with its format.
pub fn rows(batch: &RecordBatch, fields: &[FieldInfo]) -> Result<Vec<DataRow>, ArrowError> {
    let columns = batch.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    let count = i16::try_from(columns.len())
        .map_err(|_| ArrowError::InvalidArgumentError("a result has too many columns".into()))?;
    let mut buffer = BytesMut::with_capacity(batch.num_rows() * columns.len() * 12);
    let mut encoded = Vec::with_capacity(batch.num_rows());
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        for (column, field) in columns.iter().zip(fields) {
            if is_null(column.as_ref(), row) {
                buffer.put_i32(-1);
                continue;
            }
            let start = buffer.len();
            buffer.put_i32(0);
            match field.format() {
                FieldFormat::Binary => write_binary(column.as_ref(), row, &mut buffer)?,
                FieldFormat::Text => {
                    text.clear();
                    write_text(column.as_ref(), row, &mut text)?;
                    buffer.put_slice(text.as_bytes());
                }
            }
            let length = (buffer.len() - start - 4) as i32;
            buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
        encoded.push(DataRow::new(buffer.split(), count));
    }
    Ok(encoded)
}

/// Whether a value is NULL: a column of nothing else has no marks for it.
pub fn is_null(column: &dyn Array, row: usize) -> bool {
    column.is_null(row) || column.data_type().is_null()
}

/// A column in one of the types that are written below.
pub fn plain(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let to = match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::BinaryView,
        DataType::Timestamp(TimeUnit::Microsecond, _) | DataType::Time64(TimeUnit::Microsecond) => {
            return Ok(column.clone());
        }
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Date64 => DataType::Date32,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Interval(IntervalUnit::MonthDayNano) => return Ok(column.clone()),
        DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Dictionary(_, value) => return plain(&cast(column, value)?),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => DataType::List(item.clone()),
        _ => return Ok(column.clone()),
    };
    cast(column, &to)
}

/// Appends a value as text. It is not NULL.
pub fn write_text(array: &dyn Array, row: usize, out: &mut String) -> Result<(), ArrowError> {
    let written = match array.data_type() {
        DataType::Boolean => out.write_str(if array.as_boolean().value(row) { "t" } else { "f" }),
        DataType::Int8 => write!(out, "{}", array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => write!(out, "{}", array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => write!(out, "{}", array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => write!(out, "{}", array.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => write!(out, "{}", array.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => write!(out, "{}", array.as_primitive::<UInt32Type>().value(row)),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            float(out, f64::from(value), &format!("{value:e}"), 6)
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            float(out, value, &format!("{value:e}"), 15)
        }
        DataType::Decimal128(..) => out.write_str(&array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Utf8View => out.write_str(array.as_string_view().value(row)),
        DataType::BinaryView => hexadecimal(out, array.as_binary_view().value(row)),
        DataType::Date32 => date(out, array.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(_) => time(out, array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(_, zone) => {
            timestamp(out, array.as_primitive::<TimestampMicrosecondType>().value(row), zone.is_some())
        }
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            interval(out, value.months, value.days, value.nanoseconds / 1_000)
        }
        DataType::List(_) => return list(array, row, out),
        DataType::Struct(_) => return record(array, row, out),
        _ => {
            let options = FormatOptions::new().with_null("NULL");
            let formatter = ArrayFormatter::try_new(array, &options)?;
            write!(out, "{}", formatter.value(row))
        }
    };
    written.map_err(|_| ArrowError::CastError("a value has no text".into()))
}

/// `{1,NULL,"a b"}`.
fn list(array: &dyn Array, row: usize, out: &mut String) -> Result<(), ArrowError> {
    let items = plain(&array.as_list::<i32>().value(row))?;
    let nested = matches!(items.data_type(), DataType::List(_));
    out.push('{');
    for item in 0..items.len() {
        if item > 0 {
            out.push(',');
        }
        if items.is_null(item) {
            out.push_str("NULL");
        } else if nested {
            write_text(items.as_ref(), item, out)?;
        } else {
            let mut text = String::new();
            write_text(items.as_ref(), item, &mut text)?;
            let special = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | ',' | '"' | '\\');
            quote(out, &text, text.is_empty() || text.contains(special) || text.eq_ignore_ascii_case("null"), false);
        }
    }
    out.push('}');
    Ok(())
}

/// `(1,,"a b")`.
fn record(array: &dyn Array, row: usize, out: &mut String) -> Result<(), ArrowError> {
    out.push('(');
    for (place, column) in array.as_struct().columns().iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        let column = plain(column)?;
        if column.is_valid(row) {
            let mut text = String::new();
            write_text(column.as_ref(), row, &mut text)?;
            let special = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '"' | '\\');
            quote(out, &text, text.is_empty() || text.contains(special), true);
        }
    }
    out.push(')');
    Ok(())
}

/// Within quotes a quote is escaped by a backslash in arrays, and doubled in rows.
fn quote(out: &mut String, text: &str, needed: bool, doubled: bool) {
    if !needed {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' if doubled => out.push('"'),
            '\\' if doubled => out.push('\\'),
            '"' | '\\' => out.push('\\'),
            _ => {}
        }
        out.push(c);
    }
    out.push('"');
}

/// The shortest digits that read back as the same number; with an exponent from 10^`digits` on and below 10^-4.
fn float(out: &mut String, value: f64, shortest: &str, digits: i32) -> fmt::Result {
    if value.is_nan() {
        return out.write_str("NaN");
    }
    if value.is_infinite() {
        return out.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    if exponent < -4 || exponent >= digits {
        let direction = if exponent < 0 { '-' } else { '+' };
        return write!(out, "{sign}{mantissa}e{direction}{:02}", exponent.abs());
    }
    let plain: String = mantissa.chars().filter(|c| *c != '.').collect();
    out.write_str(sign)?;
    if exponent < 0 {
        write!(out, "0.{}{plain}", "0".repeat((-exponent - 1) as usize))
    } else {
        let whole = exponent as usize + 1;
        match plain.len() > whole {
            true => write!(out, "{}.{}", &plain[..whole], &plain[whole..]),
            false => write!(out, "{plain}{}", "0".repeat(whole - plain.len())),
        }
    }
}

fn hexadecimal(out: &mut String, bytes: &[u8]) -> fmt::Result {
    out.push_str("\\x");
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

fn date(out: &mut String, days: i32) -> fmt::Result {
    let since_common_era = days.checked_add(719_163);
    let Some(date) = since_common_era.and_then(NaiveDate::from_num_days_from_ce_opt) else {
        return write!(out, "{days} days");
    };
    calendar(out, date)?;
    out.write_str(era(date))
}

fn calendar(out: &mut String, date: NaiveDate) -> fmt::Result {
    let (_, year) = date.year_ce();
    write!(out, "{year:04}-{:02}-{:02}", date.month(), date.day())
}

fn era(date: NaiveDate) -> &'static str {
    if date.year_ce().0 { "" } else { " BC" }
}

fn time(out: &mut String, micros: i64) -> fmt::Result {
    let seconds = micros.div_euclid(1_000_000);
    write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
    fraction(out, micros.rem_euclid(1_000_000))
}

/// `.5`, `.000001`, or nothing.
fn fraction(out: &mut String, micros: i64) -> fmt::Result {
    match micros {
        0 => Ok(()),
        _ => out.write_str(format!(".{micros:06}").trim_end_matches('0')),
    }
}

fn timestamp(out: &mut String, micros: i64, with_zone: bool) -> fmt::Result {
    let Some(moment) = chrono::DateTime::from_timestamp_micros(micros) else {
        return write!(out, "{micros} microseconds");
    };
    let moment = moment.naive_utc();
    calendar(out, moment.date())?;
    write!(out, " {:02}:{:02}:{:02}", moment.hour(), moment.minute(), moment.second())?;
    fraction(out, micros.rem_euclid(1_000_000))?;
    // Sessions are in UTC.
    out.write_str(if with_zone { "+00" } else { "" })?;
    out.write_str(era(moment.date()))
}

/// `1 year 2 mons 3 days 04:05:06.7`, each part with its own sign.
fn interval(out: &mut String, months: i32, days: i32, micros: i64) -> fmt::Result {
    let mut parts = Vec::new();
    let mut negative = false;
    for (number, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if number != 0 {
            let sign = if negative && number > 0 { "+" } else { "" };
            parts.push(format!("{sign}{number} {unit}{}", if number == 1 { "" } else { "s" }));
            negative = number < 0;
        }
    }
    if micros != 0 || parts.is_empty() {
        let sign = if micros < 0 {
            "-"
        } else if negative {
            "+"
        } else {
            ""
        };
        let mut text = sign.to_owned();
        time(&mut text, micros.saturating_abs())?;
        parts.push(text);
    }
    out.write_str(&parts.join(" "))
}

/// Appends a value in the binary format of its type. It is not NULL.
fn write_binary(array: &dyn Array, row: usize, out: &mut BytesMut) -> Result<(), ArrowError> {
    match array.data_type() {
        DataType::Boolean => out.put_u8(u8::from(array.as_boolean().value(row))),
        DataType::Int8 => out.put_i16(i16::from(array.as_primitive::<Int8Type>().value(row))),
        DataType::Int16 => out.put_i16(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => out.put_i32(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => out.put_i64(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => out.put_i16(i16::from(array.as_primitive::<UInt8Type>().value(row))),
        DataType::UInt16 => out.put_i32(i32::from(array.as_primitive::<UInt16Type>().value(row))),
        DataType::UInt32 => out.put_i64(i64::from(array.as_primitive::<UInt32Type>().value(row))),
        DataType::Float32 => out.put_f32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => numeric::write(&array.as_primitive::<Decimal128Type>().value_as_string(row), out),
        DataType::Utf8View => out.put_slice(array.as_string_view().value(row).as_bytes()),
        DataType::BinaryView => out.put_slice(array.as_binary_view().value(row)),
        DataType::Date32 => out.put_i32(array.as_primitive::<Date32Type>().value(row).saturating_sub(EPOCH_DAYS)),
        DataType::Time64(_) => out.put_i64(array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(..) => {
            out.put_i64(array.as_primitive::<TimestampMicrosecondType>().value(row).saturating_sub(EPOCH_MICROS));
        }
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            out.put_i64(value.nanoseconds / 1_000);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
        DataType::List(_) => return binary_list(array, row, out),
        _ => {
            let mut text = String::new();
            write_text(array, row, &mut text)?;
            out.put_slice(text.as_bytes());
        }
    }
    Ok(())
}

/// `array_send`: dimensions, whether there are NULLs, the elements' type, each dimension's length and lower bound, elements.
fn binary_list(array: &dyn Array, row: usize, out: &mut BytesMut) -> Result<(), ArrowError> {
    let mut items = plain(&array.as_list::<i32>().value(row))?;
    let mut dimensions = vec![items.len()];
    while let DataType::List(inner) = items.data_type().clone() {
        let lists = items.as_list::<i32>();
        let length = if lists.is_empty() { 0 } else { lists.value_length(0) };
        if lists.null_count() > 0 || (0..lists.len()).any(|list| lists.value_length(list) != length) {
            return Err(ArrowError::CastError(format!(
                "an array whose inner arrays differ in length cannot be sent in the binary format; ask for text (of {inner})"
            )));
        }
        dimensions.push(length as usize);
        let (from, to) = (lists.value_offsets()[0] as usize, lists.value_offsets()[lists.len()] as usize);
        items = plain(&lists.values().slice(from, to - from))?;
    }
    let empty = dimensions.contains(&0);
    out.put_i32(if empty { 0 } else { dimensions.len() as i32 });
    out.put_i32(i32::from(items.null_count() > 0));
    out.put_u32(element_type(items.data_type()).oid());
    if empty {
        return Ok(());
    }
    for length in dimensions {
        out.put_i32(length as i32);
        out.put_i32(1);
    }
    for item in 0..items.len() {
        if items.is_null(item) {
            out.put_i32(-1);
            continue;
        }
        let start = out.len();
        out.put_i32(0);
        write_binary(items.as_ref(), item, out)?;
        let length = (out.len() - start - 4) as i32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn element_type(data_type: &DataType) -> Type {
    match data_type {
        DataType::Null => Type::TEXT,
        other => pg_type(other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryViewArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int64Array, IntervalMonthDayNanoArray,
        ListArray, StringViewArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Int32Type as I32, IntervalMonthDayNano};

    use super::*;

    fn text(array: &dyn Array) -> Vec<String> {
        let print = |row| {
            let mut out = String::new();
            write_text(array, row, &mut out).unwrap();
            out
        };
        (0..array.len()).map(print).collect()
    }

    #[test]
    fn numbers_print_as_in_postgresql() {
        let values = [1.0, -0.0, 0.1, 1e15, 123_456_789_012_345.0, 1e-5, 0.0001, 1.5e300, f64::NAN, f64::NEG_INFINITY];
        let wanted = ["1", "-0", "0.1", "1e+15", "123456789012345", "1e-05", "0.0001", "1.5e+300", "NaN", "-Infinity"];
        assert_eq!(text(&Float64Array::from(values.to_vec())), wanted);
        assert_eq!(text(&Float32Array::from(vec![0.1, 1e6, 123_456.0, 3.4e38])), ["0.1", "1e+06", "123456", "3.4e+38"]);
        assert_eq!(text(&BooleanArray::from(vec![true, false])), ["t", "f"]);
        assert_eq!(text(&BinaryViewArray::from_iter_values([[0_u8, 255]])), ["\\x00ff"]);
    }

    #[test]
    fn times_print_as_in_postgresql() {
        assert_eq!(
            text(&Date32Array::from(vec![0, -719_528, 2_932_897])),
            ["1970-01-01", "0001-01-01 BC", "10000-01-01"]
        );
        let micros = vec![0, 1_500_000, -1, 951_782_400_000_010];
        let wanted =
            ["1970-01-01 00:00:00", "1970-01-01 00:00:01.5", "1969-12-31 23:59:59.999999", "2000-02-29 00:00:00.00001"];
        assert_eq!(text(&TimestampMicrosecondArray::from(micros.clone())), wanted);
        let zoned = TimestampMicrosecondArray::from(micros).with_timezone("UTC");
        assert_eq!(text(&zoned)[1], "1970-01-01 00:00:01.5+00");
        assert_eq!(text(&Time64MicrosecondArray::from(vec![45_296_000_100])), ["12:34:56.0001"]);
        let of = |months, days, micros: i64| IntervalMonthDayNano::new(months, days, micros * 1_000);
        let intervals =
            vec![of(14, 3, 14_706_700_000), of(0, 0, 0), of(-1, 2, -1_000_000), of(0, 1, 0), of(0, 0, 360_000_000_000)];
        let wanted = ["1 year 2 mons 3 days 04:05:06.7", "00:00:00", "-1 mons +2 days -00:00:01", "1 day", "100:00:00"];
        assert_eq!(text(&IntervalMonthDayNanoArray::from(intervals)), wanted);
    }

    #[test]
    fn arrays_and_rows_print_as_in_postgresql() {
        let lists = ListArray::from_iter_primitive::<I32, _, _>([Some(vec![Some(1), None, Some(-3)]), Some(vec![])]);
        assert_eq!(text(&lists), ["{1,NULL,-3}", "{}"]);
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["plain", "a b", "", "null", "q\"\\,"]));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([5]);
        let field = Arc::new(Field::new_list_field(DataType::Utf8View, true));
        let list = ListArray::new(field, offsets, texts.clone(), None);
        assert_eq!(text(&list), [r#"{plain,"a b","","null","q\"\\,"}"#]);
        let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4), Some(5)]));
        let record = StructArray::from(vec![
            (Arc::new(Field::new("n", DataType::Int64, true)), number),
            (Arc::new(Field::new("t", DataType::Utf8View, true)), texts),
        ]);
        assert_eq!(text(&record), ["(1,plain)", "(,\"a b\")", "(3,\"\")", "(4,null)", r#"(5,"q""\\,")"#]);
    }

    #[test]
    fn binary_arrays_have_dimensions() {
        let lists = ListArray::from_iter_primitive::<I32, _, _>([Some(vec![Some(7), None])]);
        let mut out = BytesMut::new();
        write_binary(&lists, 0, &mut out).unwrap();
        let wanted: Vec<u8> = [1_i32, 1, 23, 2, 1, 4, 7, -1].iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(out[..], wanted);
    }
}
