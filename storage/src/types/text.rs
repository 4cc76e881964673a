//! The JSON form of an Arrow data type, as it is written in the catalog.
//!
//! A type without parts is a string: `"int64"`, `"decimal128(10,2)"`, `"timestamp(us)"`, `"timestamp(us,+00:00)"`. A
//! type with parts is an object with one entry: `{"list": field}`, `{"struct": [field, ...]}`, `{"map": field}` and so
//! on, where a field is `{"name": ..., "type": ..., "nullable": ...}`. It is our own form because that of the Arrow
//! library is not promised to stay the same, and the catalog outlives the library's versions.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};

/// The JSON form of a type. Every Arrow type except unions and run-end encoding has one.
pub fn to_json(data_type: &DataType) -> Result<Value> {
    if let Some(name) = plain_name(data_type) {
        return Ok(Value::String(name));
    }
    Ok(match data_type {
        DataType::List(field) => json!({ "list": field_to_json(field)? }),
        DataType::LargeList(field) => json!({ "large_list": field_to_json(field)? }),
        DataType::FixedSizeList(field, size) => json!({ "fixed_size_list": [field_to_json(field)?, size] }),
        DataType::Struct(fields) => {
            json!({ "struct": fields.iter().map(field_to_json).collect::<Result<Vec<_>>>()? })
        }
        DataType::Map(entries, _) => json!({ "map": field_to_json(entries)? }),
        DataType::Dictionary(key, value) => json!({ "dictionary": [to_json(key)?, to_json(value)?] }),
        other => {
            return Err(Error::new(ErrorKind::Unsupported, format!("a column of type {other} cannot be declared")));
        }
    })
}

/// The type that a JSON form stands for.
pub fn from_json(value: &Value) -> Result<DataType> {
    let unknown = || Error::new(ErrorKind::Corrupt, format!("the catalog holds an unknown data type: {value}"));
    if let Value::String(name) = value {
        return plain_type(name).ok_or_else(unknown);
    }
    let (tag, part) = value.as_object().and_then(|object| object.iter().next()).ok_or_else(unknown)?;
    let item = |i: usize| part.get(i).ok_or_else(unknown);
    Ok(match tag.as_str() {
        "list" => DataType::List(field_from_json(part)?),
        "large_list" => DataType::LargeList(field_from_json(part)?),
        "fixed_size_list" => {
            let size = item(1)?.as_i64().and_then(|size| i32::try_from(size).ok()).ok_or_else(unknown)?;
            DataType::FixedSizeList(field_from_json(item(0)?)?, size)
        }
        "struct" => {
            let fields = part.as_array().ok_or_else(unknown)?;
            DataType::Struct(fields.iter().map(field_from_json).collect::<Result<Fields>>()?)
        }
        "map" => DataType::Map(field_from_json(part)?, false),
        "dictionary" => DataType::Dictionary(Box::new(from_json(item(0)?)?), Box::new(from_json(item(1)?)?)),
        _ => return Err(unknown()),
    })
}

fn field_to_json(field: &FieldRef) -> Result<Value> {
    Ok(json!({ "name": field.name(), "type": to_json(field.data_type())?, "nullable": field.is_nullable() }))
}

fn field_from_json(value: &Value) -> Result<FieldRef> {
    let unknown = || Error::new(ErrorKind::Corrupt, format!("the catalog holds an unknown field: {value}"));
    let name = value.get("name").and_then(Value::as_str).ok_or_else(unknown)?;
    let nullable = value.get("nullable").and_then(Value::as_bool).ok_or_else(unknown)?;
    let data_type = from_json(value.get("type").ok_or_else(unknown)?)?;
    Ok(Arc::new(Field::new(name, data_type, nullable)))
}

const PLAIN: [(&str, DataType); 23] = [
    ("null", DataType::Null),
    ("boolean", DataType::Boolean),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("uint64", DataType::UInt64),
    ("float16", DataType::Float16),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("date32", DataType::Date32),
    ("date64", DataType::Date64),
    ("utf8", DataType::Utf8),
    ("large_utf8", DataType::LargeUtf8),
    ("utf8_view", DataType::Utf8View),
    ("binary", DataType::Binary),
    ("large_binary", DataType::LargeBinary),
    ("binary_view", DataType::BinaryView),
    ("interval(year_month)", DataType::Interval(IntervalUnit::YearMonth)),
    ("interval(day_time)", DataType::Interval(IntervalUnit::DayTime)),
];

const UNITS: [(&str, TimeUnit); 4] = [
    ("s", TimeUnit::Second),
    ("ms", TimeUnit::Millisecond),
    ("us", TimeUnit::Microsecond),
    ("ns", TimeUnit::Nanosecond),
];

fn plain_name(data_type: &DataType) -> Option<String> {
    if let Some((name, _)) = PLAIN.iter().find(|(_, plain)| plain == data_type) {
        return Some((*name).to_string());
    }
    Some(match data_type {
        DataType::Interval(_) => "interval(month_day_nano)".to_string(),
        DataType::Time32(unit) => format!("time32({})", unit_name(unit)),
        DataType::Time64(unit) => format!("time64({})", unit_name(unit)),
        DataType::Duration(unit) => format!("duration({})", unit_name(unit)),
        DataType::Timestamp(unit, None) => format!("timestamp({})", unit_name(unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp({},{zone})", unit_name(unit)),
        DataType::FixedSizeBinary(size) => format!("fixed_size_binary({size})"),
        DataType::Decimal32(precision, scale) => format!("decimal32({precision},{scale})"),
        DataType::Decimal64(precision, scale) => format!("decimal64({precision},{scale})"),
        DataType::Decimal128(precision, scale) => format!("decimal128({precision},{scale})"),
        DataType::Decimal256(precision, scale) => format!("decimal256({precision},{scale})"),
        _ => return None,
    })
}

fn unit_name(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

fn plain_type(name: &str) -> Option<DataType> {
    if let Some((_, plain)) = PLAIN.iter().find(|(plain, _)| *plain == name) {
        return Some(plain.clone());
    }
    let (base, arguments) = name.strip_suffix(')')?.split_once('(')?;
    let unit = |name: &str| UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, unit)| *unit);
    let decimal = || {
        let (precision, scale) = arguments.split_once(',')?;
        Some((precision.parse::<u8>().ok()?, scale.parse::<i8>().ok()?))
    };
    Some(match base {
        "interval" if arguments == "month_day_nano" => DataType::Interval(IntervalUnit::MonthDayNano),
        "time32" => DataType::Time32(unit(arguments)?),
        "time64" => DataType::Time64(unit(arguments)?),
        "duration" => DataType::Duration(unit(arguments)?),
        "timestamp" => match arguments.split_once(',') {
            Some((name, zone)) => DataType::Timestamp(unit(name)?, Some(zone.into())),
            None => DataType::Timestamp(unit(arguments)?, None),
        },
        "fixed_size_binary" => DataType::FixedSizeBinary(arguments.parse().ok()?),
        "decimal32" => decimal().map(|(p, s)| DataType::Decimal32(p, s))?,
        "decimal64" => decimal().map(|(p, s)| DataType::Decimal64(p, s))?,
        "decimal128" => decimal().map(|(p, s)| DataType::Decimal128(p, s))?,
        "decimal256" => decimal().map(|(p, s)| DataType::Decimal256(p, s))?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back() {
        let item = Arc::new(Field::new("item", DataType::Utf8View, true));
        let entries = Field::new_struct(
            "entries",
            vec![Field::new("key", DataType::Int32, false), Field::new("value", DataType::Float64, true)],
            false,
        );
        let mut types = PLAIN.iter().map(|(_, plain)| plain.clone()).collect::<Vec<_>>();
        for (_, unit) in UNITS {
            types.push(DataType::Timestamp(unit, None));
            types.push(DataType::Timestamp(unit, Some("+00:00".into())));
            types.push(DataType::Duration(unit));
        }
        types.extend([
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Time32(TimeUnit::Second),
            DataType::Time64(TimeUnit::Microsecond),
            DataType::FixedSizeBinary(16),
            DataType::Decimal32(9, 2),
            DataType::Decimal64(18, 2),
            DataType::Decimal128(38, -2),
            DataType::Decimal256(76, 10),
            DataType::List(item.clone()),
            DataType::LargeList(item.clone()),
            DataType::FixedSizeList(item.clone(), 3),
            DataType::Struct(vec![item.as_ref().clone(), Field::new("b", DataType::Date32, false)].into()),
            DataType::Map(Arc::new(entries), false),
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        ]);
        for data_type in types {
            let json = to_json(&data_type).unwrap();
            assert_eq!(from_json(&json).unwrap(), data_type, "{json}");
        }
    }

    #[test]
    fn the_form_is_frozen() {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Decimal128(10, 2), true)));
        assert_eq!(
            to_json(&list).unwrap().to_string(),
            r#"{"list":{"name":"item","nullable":true,"type":"decimal128(10,2)"}}"#
        );
        let stamp = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        assert_eq!(to_json(&stamp).unwrap(), json!("timestamp(us,+00:00)"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [r#""int65""#, r#""decimal128(1)""#, "{}", r#"{"list":1}"#, "3"] {
            let error = from_json(&serde_json::from_str(text).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
        }
    }
}
