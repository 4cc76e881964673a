//! Parameters of prepared statements: bytes of the wire become SQL that stands where `$1` stood.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Expr, Visit, Visitor, visit_expressions_mut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;
use pgwire::error::PgWireResult;

use engine::sql::parse::parameter;
use postgres_types::Kind;

use super::copy::elements;
use super::error::plain;
use super::numeric;
use super::types::array_type;
use crate::sqlstate::{INVALID_TEXT, NOT_SUPPORTED};

/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i64 = super::values::EPOCH_DAYS as i64;

/// A value as SQL. `None` bytes are NULL.
pub fn sql(number: usize, data_type: &Type, format: FieldFormat, bytes: Option<&[u8]>) -> PgWireResult<String> {
    let name = sql_type(data_type);
    let Some(bytes) = bytes else { return Ok(null(Some(data_type))) };
    if let Kind::Array(item) = data_type.kind() {
        return array(number, item, format, bytes);
    }
    let bad = |what: &str| plain(INVALID_TEXT, format!("the parameter ${number} is no {}: {what}", data_type.name()));
    let text = match format {
        FieldFormat::Text => std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?.to_owned(),
        FieldFormat::Binary => binary(data_type, bytes).ok_or_else(|| match name {
            Some(_) => bad("the bytes are not of that type"),
            None => plain(
                NOT_SUPPORTED,
                format!(
                    "the parameter ${number} is of type {} and cannot be read in the binary format",
                    data_type.name()
                ),
            ),
        })?,
    };
    Ok(match *data_type {
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => {
            let value: i64 = text.trim().parse().map_err(|_| bad(&format!("{text:?}")))?;
            // A plain number may stand where a cast may not, as in LIMIT.
            if value < 0 { format!("({value})") } else { value.to_string() }
        }
        Type::BOOL => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "1" | "on" | "yes" | "y" => "TRUE".into(),
            "f" | "false" | "0" | "off" | "no" | "n" => "FALSE".into(),
            _ => return Err(bad(&format!("{text:?}"))),
        },
        _ => match name {
            Some("VARCHAR") | None => quoted(&text),
            Some(name) => format!("CAST({} AS {name})", quoted(&text)),
        },
    })
}

/// NULL of a type, as far as it is known.
pub fn null(data_type: Option<&Type>) -> String {
    let name = data_type.and_then(sql_type);
    name.map_or_else(|| "NULL".to_owned(), |name| format!("CAST(NULL AS {name})"))
}

/// An array as SQL.
fn array(number: usize, item: &Type, format: FieldFormat, bytes: &[u8]) -> PgWireResult<String> {
    let name = sql_type(item).unwrap_or("VARCHAR");
    let wrong = || plain(INVALID_TEXT, format!("the parameter ${number} is no array of {}", item.name()));
    let element = |value: Option<&[u8]>| match (item.kind(), value) {
        (_, None) => Ok("NULL".to_owned()),
        (_, Some(value)) if format == FieldFormat::Text && value.starts_with(b"{") => {
            array(number, item, format, value)
        }
        (_, value) => sql(number, item, format, value),
    };
    let elements = match format {
        FieldFormat::Text => {
            let elements = elements(bytes).ok_or_else(wrong)?;
            elements.iter().map(|value| element(value.as_deref())).collect::<PgWireResult<Vec<_>>>()?
        }
        FieldFormat::Binary => {
            let elements = binary_elements(bytes).ok_or_else(wrong)?;
            elements.into_iter().map(element).collect::<PgWireResult<Vec<_>>>()?
        }
    };
    Ok(format!("CAST(ARRAY[{}] AS {name}[])", elements.join(", ")))
}

/// The elements of an array of one dimension in the binary format (`array_recv`); of none for an empty one.
fn binary_elements(bytes: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let word = |at: usize| Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let count = match word(0)? {
        0 => return Some(Vec::new()),
        1 => usize::try_from(word(12)?).ok()?,
        _ => return None,
    };
    // Dimensions, whether there are NULLs, the elements' type; length and lower bound of the dimension.
    let mut at = 20;
    let mut elements = Vec::new();
    for _ in 0..count {
        let length = word(at)?;
        at += 4;
        elements.push(match usize::try_from(length) {
            Ok(length) => {
                let value = bytes.get(at..at.checked_add(length)?)?;
                at += length;
                Some(value)
            }
            Err(_) => None,
        });
    }
    Some(elements)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The name of a type in our SQL; `None` if the value says by itself what it is, or is of a type we do not know.
fn sql_type(data_type: &Type) -> Option<&'static str> {
    Some(match *data_type {
        Type::BOOL => "BOOLEAN",
        Type::INT2 | Type::INT4 => "INT",
        Type::INT8 | Type::OID => "BIGINT",
        Type::FLOAT4 => "REAL",
        Type::FLOAT8 => "DOUBLE",
        Type::NUMERIC => "NUMERIC",
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR | Type::JSON | Type::JSONB | Type::UUID => {
            "VARCHAR"
        }
        Type::BYTEA => "BYTEA",
        Type::DATE => "DATE",
        Type::TIME => "TIME",
        Type::TIMESTAMP => "TIMESTAMP",
        Type::TIMESTAMPTZ => "TIMESTAMP WITH TIME ZONE",
        Type::INTERVAL => "INTERVAL",
        _ => return None,
    })
}

/// A value in the binary format as text.
pub fn binary(data_type: &Type, bytes: &[u8]) -> Option<String> {
    fn word<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
    let moment = |micros: i64| {
        let micros = micros.checked_add(EPOCH_DAYS * 86_400_000_000)?;
        Some(chrono::DateTime::from_timestamp_micros(micros)?.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string())
    };
    Some(match *data_type {
        Type::BOOL => (word::<1>(bytes)?[0] != 0).to_string(),
        Type::INT2 => i16::from_be_bytes(word(bytes)?).to_string(),
        Type::INT4 => i32::from_be_bytes(word(bytes)?).to_string(),
        Type::OID => u32::from_be_bytes(word(bytes)?).to_string(),
        Type::INT8 => i64::from_be_bytes(word(bytes)?).to_string(),
        Type::FLOAT4 => f32::from_be_bytes(word(bytes)?).to_string(),
        Type::FLOAT8 => f64::from_be_bytes(word(bytes)?).to_string(),
        Type::NUMERIC => numeric::read(bytes)?,
        Type::BYTEA => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{digits}")
        }
        Type::DATE => {
            let days = i64::from(i32::from_be_bytes(word(bytes)?)) + EPOCH_DAYS;
            chrono::DateTime::from_timestamp(days.checked_mul(86_400)?, 0)?.format("%Y-%m-%d").to_string()
        }
        Type::TIME => {
            let micros = i64::from_be_bytes(word(bytes)?);
            let time = chrono::NaiveTime::from_num_seconds_from_midnight_opt(
                u32::try_from(micros.div_euclid(1_000_000)).ok()?,
                u32::try_from(micros.rem_euclid(1_000_000)).ok()? * 1_000,
            )?;
            time.format("%H:%M:%S%.6f").to_string()
        }
        Type::TIMESTAMP => moment(i64::from_be_bytes(word(bytes)?))?,
        Type::TIMESTAMPTZ => format!("{}+00:00", moment(i64::from_be_bytes(word(bytes)?))?),
        Type::INTERVAL => {
            let micros = i64::from_be_bytes(word(bytes.get(..8)?)?);
            let days = i32::from_be_bytes(word(bytes.get(8..12)?)?);
            let months = i32::from_be_bytes(word(bytes.get(12..)?)?);
            format!("{months} months {days} days {micros} microseconds")
        }
        Type::UUID => uuid::Uuid::from_bytes(word(bytes)?).to_string(),
        // A version number stands before the text.
        Type::JSONB => String::from_utf8(bytes.strip_prefix(&[1])?.to_vec()).ok()?,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR | Type::JSON | Type::UNKNOWN => {
            String::from_utf8(bytes.to_vec()).ok()?
        }
        _ => match data_type.kind() {
            Kind::Array(item) => array_text(item, bytes)?,
            _ => return None,
        },
    })
}

/// An array in the binary format as text: `{"1",NULL,"x"}`.
fn array_text(item: &Type, bytes: &[u8]) -> Option<String> {
    let element = |element: Option<&[u8]>| match element {
        None => Some("NULL".to_owned()),
        Some(bytes) => Some(format!("\"{}\"", binary(item, bytes)?.replace('\\', "\\\\").replace('"', "\\\""))),
    };
    let elements = binary_elements(bytes)?.into_iter().map(element).collect::<Option<Vec<_>>>()?;
    Some(format!("{{{}}}", elements.join(",")))
}

/// The types that parameters have by how a text uses them, whatever it is about: by casts and as numbers of rows.
pub fn stated(sql: &str) -> BTreeMap<usize, Type> {
    let mut stated = Stated::default();
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap_or_default();
    let _ = statements.visit(&mut stated);
    stated.0
}

#[derive(Default)]
struct Stated(BTreeMap<usize, Type>);

impl Stated {
    fn state(&mut self, expr: &Expr, data_type: Type) {
        if let Some(number) = parameter(expr) {
            self.0.insert(number, data_type);
        }
    }
}

impl Visitor for Stated {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr, data_type, .. } = expr
            && let Some(data_type) = named(data_type)
        {
            self.state(expr, data_type);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        if let Some(ast::LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
            limit
                .iter()
                .chain(offset.as_ref().map(|offset| &offset.value))
                .for_each(|rows| self.state(rows, Type::INT8));
        }
        ControlFlow::Continue(())
    }
}

/// A text in which `x = ANY($1)` is `x = $1`, and the numbers of such parameters: they are arrays of what `x` is. `None` if there
/// are none.
pub fn elements_of_any(sql: &str) -> Option<(String, BTreeSet<usize>)> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
    let mut numbers = BTreeSet::new();
    let _ = visit_expressions_mut(&mut statements, |expr| {
        if let Expr::AnyOp { left, compare_op, right, .. } = expr
            && let Some(number) = parameter(right)
        {
            numbers.insert(number);
            *expr = Expr::BinaryOp { left: left.clone(), op: compare_op.clone(), right: right.clone() };
        }
        ControlFlow::<()>::Continue(())
    });
    let [statement] = statements.as_slice() else { return None };
    (!numbers.is_empty()).then(|| (statement.to_string(), numbers))
}

/// The type that a name in SQL stands for.
fn named(data_type: &ast::DataType) -> Option<Type> {
    if let ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(item, _)) = data_type {
        return Some(array_type(&named(item)?));
    }
    let name = data_type.to_string().to_ascii_lowercase();
    // Without precision and length.
    let name = name.split('(').next().unwrap_or_default().replace('"', "");
    let name = name.trim().trim_start_matches("pg_catalog.");
    Some(match name {
        "oid" => Type::OID,
        "boolean" | "bool" => Type::BOOL,
        "smallint" | "int2" => Type::INT2,
        "int" | "integer" | "int4" => Type::INT4,
        "bigint" | "int8" => Type::INT8,
        "real" | "float4" => Type::FLOAT4,
        "double" | "double precision" | "float" | "float8" => Type::FLOAT8,
        "numeric" | "decimal" | "dec" => Type::NUMERIC,
        "text" | "varchar" | "character varying" | "string" => Type::TEXT,
        "bytea" => Type::BYTEA,
        "date" => Type::DATE,
        "time" | "time without time zone" => Type::TIME,
        "timestamp" | "timestamp without time zone" => Type::TIMESTAMP,
        "timestamptz" | "timestamp with time zone" => Type::TIMESTAMPTZ,
        "interval" => Type::INTERVAL,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_sql() {
        let text = |data_type: Type, text: &str| sql(1, &data_type, FieldFormat::Text, Some(text.as_bytes())).unwrap();
        assert_eq!(text(Type::INT8, "-5"), "(-5)");
        assert_eq!(text(Type::INT4, " 7"), "7");
        assert_eq!(text(Type::TEXT, "it's"), "'it''s'");
        assert_eq!(text(Type::UNKNOWN, "x"), "'x'");
        assert_eq!(text(Type::DATE, "2024-02-29"), "CAST('2024-02-29' AS DATE)");
        assert_eq!(text(Type::BOOL, "f"), "FALSE");
        assert_eq!(sql(1, &Type::INT8, FieldFormat::Text, None).unwrap(), "CAST(NULL AS BIGINT)");
        assert!(sql(1, &Type::INT8, FieldFormat::Text, Some(b"1; DROP TABLE t")).is_err());
    }

    #[test]
    fn uses_say_the_types_of_parameters() {
        let sql = "SELECT $1::BIGINT, CAST($2 AS NUMERIC(10, 2)), x FROM t WHERE y = $3::VARCHAR[] AND z = $4 LIMIT $5 OFFSET $6";
        let rows = [(5, Type::INT8), (6, Type::INT8)];
        let casts = [(1, Type::INT8), (2, Type::NUMERIC), (3, Type::TEXT_ARRAY)];
        assert_eq!(stated(sql), casts.into_iter().chain(rows).collect());
    }

    #[test]
    fn what_is_compared_with_any_is_found() {
        let (text, numbers) = elements_of_any("SELECT 1 FROM t WHERE k = ANY($2) AND s = $1").unwrap();
        assert_eq!((text.as_str(), numbers), ("SELECT 1 FROM t WHERE k = $2 AND s = $1", BTreeSet::from([2])));
        assert_eq!(elements_of_any("SELECT $1"), None);
    }

    #[test]
    fn arrays_in_binary_become_text() {
        let head = [1_i32, 1, 25, 3, 1, 1];
        let mut bytes: Vec<u8> = head.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend(b"\"");
        bytes.extend((-1_i32).to_be_bytes());
        bytes.extend([0, 0, 0, 1, b'\\']);
        assert_eq!(binary(&Type::TEXT_ARRAY, &bytes).unwrap(), r#"{"\"",NULL,"\\"}"#);
    }

    #[test]
    fn the_binary_format_is_read() {
        let binary = |data_type: Type, bytes: &[u8]| sql(1, &data_type, FieldFormat::Binary, Some(bytes)).unwrap();
        assert_eq!(binary(Type::INT8, &(-9_i64).to_be_bytes()), "(-9)");
        assert_eq!(binary(Type::DATE, &(-10_957_i32).to_be_bytes()), "CAST('1970-01-01' AS DATE)");
        let second = 1_000_000_i64.to_be_bytes();
        assert_eq!(binary(Type::TIMESTAMP, &second), "CAST('2000-01-01 00:00:01.000000' AS TIMESTAMP)");
        assert_eq!(binary(Type::TIME, &second), "CAST('00:00:01.000000' AS TIME)");
        assert_eq!(binary(Type::BYTEA, &[1, 0xab]), "CAST('\\x01ab' AS BYTEA)");
        assert!(sql(1, &Type::INT8, FieldFormat::Binary, Some(&[1])).is_err());
        assert!(sql(1, &Type::POINT, FieldFormat::Binary, Some(&[1])).is_err());
    }
}
