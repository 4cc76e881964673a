//! SQL types and Arrow types.
//!
//! | SQL | Arrow |
//! | --- | --- |
//! | BOOLEAN | Boolean |
//! | TINYINT, SMALLINT, INT | Int32: Iceberg has no smaller integer |
//! | BIGINT | Int64 |
//! | REAL, FLOAT(1..24) | Float32 |
//! | DOUBLE PRECISION, FLOAT, FLOAT(25..53) | Float64, as in PostgreSQL |
//! | DECIMAL(p, s), NUMERIC | Decimal128; p alone: s = 0; neither: (38, 10) |
//! | VARCHAR(n), CHAR(n), TEXT, STRING | Utf8View; the length is not enforced |
//! | BYTEA, BYTES, BINARY(n), VARBINARY(n) | BinaryView; the length is not enforced |
//! | DATE | Date32 |
//! | TIME(0..6) | Time64 in microseconds |
//! | TIMESTAMP(0..6) | Timestamp in microseconds; the precision only says how much the user cares |
//! | TIMESTAMP WITH TIME ZONE, TIMESTAMPTZ, TIMESTAMP_LTZ | Timestamp in microseconds, UTC |
//! | type[], `ARRAY<type>` | List |

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::sql::sqlparser::ast::{self, ArrayElemTypeDef, ExactNumberInfo, TimezoneInfo};

use crate::error::{Error, Result};

/// The zone of every TIMESTAMP WITH TIME ZONE.
const UTC: &str = "+00:00";
/// Precision and scale of DECIMAL without either.
const DECIMAL: (u8, i8) = (38, 10);

/// The Arrow type of a column declared with a SQL type.
///
/// # Errors
/// Types that cannot be stored; without position, which the caller knows.
pub fn arrow_type(sql: &ast::DataType) -> Result<DataType> {
    use ast::DataType as S;
    Ok(match sql {
        S::Boolean | S::Bool => DataType::Boolean,
        S::TinyInt(_) | S::SmallInt(_) | S::Int2(_) | S::Int(_) | S::Integer(_) | S::Int4(_) | S::Int32 => {
            DataType::Int32
        }
        S::BigInt(_) | S::Int8(_) | S::Int64 => DataType::Int64,
        S::Real | S::Float4 | S::Float32 => DataType::Float32,
        S::Float(info) => float(info)?,
        S::Double(_) | S::DoublePrecision | S::Float8 | S::Float64 => DataType::Float64,
        S::Decimal(info) | S::Numeric(info) | S::Dec(info) => decimal(info)?,
        S::Varchar(_) | S::Nvarchar(_) | S::CharacterVarying(_) | S::CharVarying(_) => DataType::Utf8View,
        S::Char(_) | S::Character(_) | S::Text | S::String(_) => DataType::Utf8View,
        S::Bytea | S::Bytes(_) | S::Binary(_) | S::Varbinary(_) => DataType::BinaryView,
        S::Date | S::Date32 => DataType::Date32,
        S::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            microseconds("TIME", *precision)?;
            DataType::Time64(TimeUnit::Microsecond)
        }
        S::Timestamp(precision, zone) => {
            microseconds("TIMESTAMP", *precision)?;
            timestamp(matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz))
        }
        S::TimestampNtz(precision) | S::Datetime(precision) => {
            microseconds("TIMESTAMP", *precision)?;
            timestamp(false)
        }
        S::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => DataType::List(Arc::new(Field::new_list_field(arrow_type(item)?, true))),
        S::Custom(name, modifiers) if is_local_timestamp(name) => {
            microseconds("TIMESTAMP_LTZ", precision_of(modifiers))?;
            timestamp(true)
        }
        other => return Err(unsupported(other)),
    })
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
        DataType::List(item) => format!("{}[]", sql_name(item.data_type())),
        other => other.to_string(),
    }
}

/// Changes a type within a query to one that the planner reads as [`arrow_type`] does: FLOAT is 8 bytes wide, TIMESTAMP has
/// microseconds, and the spellings of other engines are known. A written precision of TIMESTAMP is kept (rounded up to one Arrow has),
/// because a cast to it truncates.
pub(super) fn for_planner(sql: &mut ast::DataType) {
    use ast::DataType as S;
    let replacement = match sql {
        S::Float(info) if matches!(float(info), Ok(DataType::Float32)) => S::Real,
        S::Float(_) | S::Float64 => S::DoublePrecision,
        S::Float32 => S::Real,
        S::Timestamp(precision, zone) => S::Timestamp(Some(arrow_precision(*precision)), *zone),
        S::TimestampNtz(precision) | S::Datetime(precision) => {
            S::Timestamp(Some(arrow_precision(*precision)), TimezoneInfo::None)
        }
        S::Custom(name, modifiers) if is_local_timestamp(name) => {
            S::Timestamp(Some(arrow_precision(precision_of(modifiers))), TimezoneInfo::WithTimeZone)
        }
        S::Bytes(_) | S::Binary(_) | S::Varbinary(_) => S::Bytea,
        S::Int32 => S::Int(None),
        S::Int64 => S::BigInt(None),
        S::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => return for_planner(item),
        _ => return,
    };
    *sql = replacement;
}

/// The next precision that Arrow has a unit for.
fn arrow_precision(precision: Option<u64>) -> u64 {
    match precision {
        Some(0) => 0,
        Some(1..=3) => 3,
        None | Some(4..=6) => 6,
        Some(_) => 9,
    }
}

fn timestamp(with_zone: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, with_zone.then(|| UTC.into()))
}

fn is_local_timestamp(name: &ast::ObjectName) -> bool {
    name.to_string() == "timestamp_ltz"
}

fn precision_of(modifiers: &[String]) -> Option<u64> {
    modifiers.first().and_then(|modifier| modifier.parse().ok())
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

fn unsupported(other: &ast::DataType) -> Error {
    use ast::DataType as S;
    let error = Error::sql(format!("the type {} is not supported", other.to_string().to_uppercase()));
    match other {
        S::JSON | S::JSONB | S::Uuid | S::Clob(_) | S::Enum(..) => error.hint("use VARCHAR"),
        S::Blob(_) => error.hint("use BYTEA"),
        S::Interval { .. } => error.hint("use BIGINT with a count of milliseconds"),
        S::Time(..) => error.hint("use TIME without time zone"),
        S::Custom(name, _) => {
            let known =
                ["bigint", "int", "varchar", "boolean", "double", "timestamp", "decimal", "date", "text", "string"];
            let name = name.to_string();
            match known.iter().min_by_key(|known| strsim::osa_distance(known, &name)) {
                Some(known) if strsim::osa_distance(known, &name) <= 2 => {
                    error.hint(format!("did you mean {}?", known.to_uppercase()))
                }
                _ => error.hint(
                    "use BOOLEAN, INT, BIGINT, REAL, DOUBLE, DECIMAL(p, s), VARCHAR, BYTEA, DATE, TIME or TIMESTAMP",
                ),
            }
        }
        _ => {
            error.hint("use BOOLEAN, INT, BIGINT, REAL, DOUBLE, DECIMAL(p, s), VARCHAR, BYTEA, DATE, TIME or TIMESTAMP")
        }
    }
}

#[cfg(test)]
mod tests;
