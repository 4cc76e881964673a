//! SQL types and Arrow types.
//!
//! | SQL | Arrow |
//! | --- | --- |
//! | BOOLEAN | Boolean |
//! | TINYINT, SMALLINT, INT | Int32: Iceberg has no smaller integer. A cast within a query checks the smaller range |
//! | BIGINT | Int64 |
//! | REAL, FLOAT(1..24) | Float32 |
//! | DOUBLE PRECISION, FLOAT, FLOAT(25..53) | Float64, as in PostgreSQL |
//! | DECIMAL(p, s), NUMERIC | Decimal128; p alone: s = 0; neither: (38, 10) |
//! | VARCHAR(n), CHAR(n), TEXT, STRING | Utf8View; a column's length is not enforced, a cast cuts |
//! | JSON, JSONB | Utf8View that holds JSON; not checked |
//! | UUID | Utf8View in the canonical form of 36 characters; only a cast checks it |
//! | BYTEA, BYTES, BINARY(n), VARBINARY(n) | BinaryView; the length is not enforced |
//! | DATE | Date32 |
//! | TIME(0..6) | Time64 in microseconds |
//! | TIMESTAMP(0..6) | Timestamp in microseconds; the precision of a column only says how much the user cares, a cast cuts |
//! | TIMESTAMP WITH TIME ZONE, TIMESTAMPTZ, TIMESTAMP_LTZ | Timestamp in microseconds, UTC |
//! | INTERVAL | Interval(MonthDayNano), in queries only |
//! | type[], `ARRAY<type>`, type ARRAY | List |
//! | `STRUCT<a type, ...>`, ROW(a type, ...) | Struct |
//! | `MAP<key, value>` | Map; keys are never NULL |

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{self, ArrayElemTypeDef, ExactNumberInfo, StructField, TimezoneInfo};

use crate::error::{Error, Result};
use crate::sql::parse::quoted;

/// The zone of every TIMESTAMP WITH TIME ZONE.
const UTC: &str = "+00:00";
/// Precision and scale of DECIMAL without either.
const DECIMAL: (u8, i8) = (38, 10);

/// Where a type is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In CREATE TABLE: it must be storable.
    Column,
    /// In a CAST or before a literal: small integers have their own range, and a precision of TIMESTAMP cuts.
    Query,
}

/// The Arrow type of a column declared with a SQL type.
///
/// # Errors
/// Types that cannot be stored; without position, which the caller knows.
pub fn arrow_type(sql: &ast::DataType) -> Result<DataType> {
    convert(sql, Place::Column)
}

/// Reads the types of queries for DataFusion's planner, so that they mean what they mean in CREATE TABLE.
#[derive(Debug)]
pub struct QueryTypes;

impl TypePlanner for QueryTypes {
    fn plan_type(&self, sql: &ast::DataType) -> datafusion::error::Result<Option<DataType>> {
        convert(sql, Place::Query).map(Some).map_err(|error| DataFusionError::Plan(error.to_string()))
    }
}

fn convert(sql: &ast::DataType, place: Place) -> Result<DataType> {
    use ast::DataType as S;
    Ok(match sql {
        S::Boolean | S::Bool => DataType::Boolean,
        S::TinyInt(_) if place == Place::Query => DataType::Int8,
        S::SmallInt(_) | S::Int2(_) | S::Int16 if place == Place::Query => DataType::Int16,
        S::TinyInt(_) | S::SmallInt(_) | S::Int2(_) | S::Int16 => DataType::Int32,
        S::MediumInt(_) | S::Int(_) | S::Integer(_) | S::Int4(_) | S::Int32 => DataType::Int32,
        S::BigInt(_) | S::Int8(_) | S::Int64 => DataType::Int64,
        S::Real | S::Float4 | S::Float32 => DataType::Float32,
        S::Float(info) => float(info)?,
        S::Double(_) | S::DoublePrecision | S::Float8 | S::Float64 => DataType::Float64,
        S::Decimal(info) | S::Numeric(info) | S::Dec(info) => decimal(info)?,
        S::Varchar(_) | S::Nvarchar(_) | S::CharacterVarying(_) | S::CharVarying(_) => DataType::Utf8View,
        S::Char(_) | S::Character(_) | S::Text | S::String(_) => DataType::Utf8View,
        S::JSON | S::JSONB | S::Uuid => DataType::Utf8View,
        S::Bytea | S::Bytes(_) | S::Binary(_) | S::Varbinary(_) => DataType::BinaryView,
        S::Date | S::Date32 => DataType::Date32,
        S::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            microseconds("TIME", *precision)?;
            DataType::Time64(TimeUnit::Microsecond)
        }
        S::Timestamp(precision, zone) => {
            timestamp(place, *precision, matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz))?
        }
        S::TimestampNtz(precision) | S::Datetime(precision) => timestamp(place, *precision, false)?,
        S::Custom(name, modifiers) if name.to_string() == "timestamp_ltz" => {
            let precision = modifiers.first().and_then(|modifier| modifier.parse().ok());
            timestamp(place, precision, true)?
        }
        S::Interval { fields: None, precision: None } if place == Place::Query => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        S::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => DataType::List(Arc::new(Field::new_list_field(convert(item, place)?, true))),
        S::Struct(fields, _) => DataType::Struct(struct_fields(fields, place)?),
        S::Map(key, value) => {
            let key = Field::new("key", convert(key, place)?, false);
            let value = Field::new("value", convert(value, place)?, true);
            DataType::Map(Arc::new(Field::new_struct("entries", vec![key, value], false)), false)
        }
        other => return Err(unsupported(other)),
    })
}

fn struct_fields(fields: &[StructField], place: Place) -> Result<Fields> {
    let mut made: Vec<Field> = Vec::with_capacity(fields.len());
    for field in fields {
        let Some(name) = field.field_name.as_ref().map(|name| name.value.clone()) else {
            return Err(Error::sql("a field of a STRUCT has no name").hint("write STRUCT<name TYPE, ...>"));
        };
        if made.iter().any(|other| *other.name() == name) {
            return Err(Error::sql(format!("the field {name} appears twice in a STRUCT")));
        }
        made.push(Field::new(name, convert(&field.field_type, place)?, true));
    }
    Ok(made.into())
}

/// How a stored type is written in SQL, such that [`arrow_type`] gives it back.
pub fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE PRECISION".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time64(_) => "TIME".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        DataType::Interval(_) => "INTERVAL".to_owned(),
        DataType::List(item) => format!("{}[]", sql_name(item.data_type())),
        DataType::Struct(fields) => {
            let field = |field: &FieldRef| format!("{} {}", quoted(field.name()), sql_name(field.data_type()));
            format!("STRUCT<{}>", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                format!("MAP<{}, {}>", sql_name(pair[0].data_type()), sql_name(pair[1].data_type()))
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

/// In a query the next precision that Arrow has a unit for: a cast to it cuts.
fn timestamp(place: Place, precision: Option<u64>, with_zone: bool) -> Result<DataType> {
    let unit = match (place, precision) {
        (Place::Query, Some(0)) => TimeUnit::Second,
        (Place::Query, Some(1..=3)) => TimeUnit::Millisecond,
        (Place::Query, Some(7..=9)) => TimeUnit::Nanosecond,
        _ => {
            microseconds("TIMESTAMP", precision)?;
            TimeUnit::Microsecond
        }
    };
    Ok(DataType::Timestamp(unit, with_zone.then(|| UTC.into())))
}

fn microseconds(name: &str, precision: Option<u64>) -> Result<()> {
    match precision {
        Some(precision) if precision > 6 => {
            let error = Error::sql(format!("{name}({precision}) is not supported: time is kept in microseconds"));
            Err(error.hint(format!("write {name}(6) or {name}(3)")))
        }
        _ => Ok(()),
    }
}

fn float(info: &ExactNumberInfo) -> Result<DataType> {
    match info {
        ExactNumberInfo::Precision(1..=24) => Ok(DataType::Float32),
        ExactNumberInfo::None | ExactNumberInfo::Precision(25..=53) => Ok(DataType::Float64),
        _ => {
            Err(Error::sql("the precision of FLOAT must be between 1 and 53 bits")
                .hint("write REAL or DOUBLE PRECISION"))
        }
    }
}

fn decimal(info: &ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => return Ok(DataType::Decimal128(DECIMAL.0, DECIMAL.1)),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let valid =
        (1..=38).contains(&precision) && scale >= 0 && u64::try_from(scale).is_ok_and(|scale| scale <= precision);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if valid => Ok(DataType::Decimal128(precision, scale)),
        _ => {
            let error = Error::sql(format!("DECIMAL({precision}, {scale}) is not supported"));
            Err(error.hint("the precision is 1 to 38, the scale 0 to the precision, such as DECIMAL(38, 10)"))
        }
    }
}

const KNOWN: &str = "use BOOLEAN, INT, BIGINT, REAL, DOUBLE, DECIMAL(p, s), VARCHAR, JSON, UUID, BYTEA, DATE, TIME, TIMESTAMP, \
                     TYPE[], STRUCT<name TYPE, ...> or MAP<KEY, VALUE>";

fn unsupported(other: &ast::DataType) -> Error {
    use ast::DataType as S;
    let error = Error::sql(format!("the type {} is not supported", other.to_string().to_uppercase()));
    match other {
        S::Clob(_) | S::Enum(..) => error.hint("use VARCHAR"),
        S::Blob(_) => error.hint("use BYTEA"),
        S::Interval { .. } => {
            error.hint("store the number of seconds: EXTRACT(EPOCH FROM i) as DOUBLE, and i = x * INTERVAL '1' SECOND")
        }
        S::Time(..) => error.hint("use TIME without time zone"),
        S::Custom(name, _) => {
            let known =
                ["bigint", "int", "varchar", "boolean", "double", "timestamp", "decimal", "date", "text", "string"];
            let name = name.to_string();
            match known.iter().min_by_key(|known| strsim::osa_distance(known, &name)) {
                Some(known) if strsim::osa_distance(known, &name) <= 2 => {
                    error.hint(format!("did you mean {}?", known.to_uppercase()))
                }
                _ => error.hint(KNOWN),
            }
        }
        _ => error.hint(KNOWN),
    }
}

#[cfg(test)]
mod tests;
