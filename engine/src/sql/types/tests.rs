//! Every type there and back, and what is refused.

use super::*;
use crate::sql::parse::parse;
use crate::sql::statement::Statement;

fn declared(sql: &str) -> crate::Result<DataType> {
    let text = format!("CREATE TABLE t (c {sql})");
    match parse(&text)?.remove(0).statement {
        Statement::CreateTable(table) => Ok(table.columns[0].data_type.clone().unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn types_of_the_field() {
    let us = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
    let row = |fields: &[(&str, DataType)]| {
        DataType::Struct(fields.iter().map(|(name, t)| Field::new(*name, t.clone(), true)).collect())
    };
    let map = |key, value| {
        let pair = vec![Field::new("key", key, false), Field::new("value", value, true)];
        DataType::Map(Arc::new(Field::new_struct("entries", pair, false)), false)
    };
    let expected = [
        ("BOOLEAN", DataType::Boolean),
        ("tinyint", DataType::Int32),
        ("SMALLINT", DataType::Int32),
        ("INTEGER", DataType::Int32),
        ("Bigint", DataType::Int64),
        ("REAL", DataType::Float32),
        ("FLOAT4", DataType::Float32),
        ("FLOAT(24)", DataType::Float32),
        ("FLOAT", DataType::Float64),
        ("DOUBLE", DataType::Float64),
        ("DOUBLE PRECISION", DataType::Float64),
        ("FLOAT8", DataType::Float64),
        ("DECIMAL", DataType::Decimal128(38, 10)),
        ("DECIMAL(12)", DataType::Decimal128(12, 0)),
        ("NUMERIC(12, 3)", DataType::Decimal128(12, 3)),
        ("VARCHAR", DataType::Utf8View),
        ("VARCHAR(10)", DataType::Utf8View),
        ("CHARACTER VARYING", DataType::Utf8View),
        ("CHAR(3)", DataType::Utf8View),
        ("TEXT", DataType::Utf8View),
        ("STRING", DataType::Utf8View),
        ("BYTEA", DataType::BinaryView),
        ("BYTES", DataType::BinaryView),
        ("VARBINARY(16)", DataType::BinaryView),
        ("DATE", DataType::Date32),
        ("TIME", DataType::Time64(TimeUnit::Microsecond)),
        ("TIME(3)", DataType::Time64(TimeUnit::Microsecond)),
        ("TIMESTAMP", us(None)),
        ("TIMESTAMP(3)", us(None)),
        ("TIMESTAMP(3) WITHOUT TIME ZONE", us(None)),
        ("TIMESTAMP WITH TIME ZONE", us(Some("+00:00"))),
        ("TIMESTAMP(3) WITH LOCAL TIME ZONE", us(Some("+00:00"))),
        ("TIMESTAMPTZ", us(Some("+00:00"))),
        ("TIMESTAMP_LTZ(3)", us(Some("+00:00"))),
        ("INT[]", list(DataType::Int32)),
        ("ARRAY<VARCHAR>", list(DataType::Utf8View)),
        ("ARRAY<ARRAY<BIGINT>>", list(list(DataType::Int64))),
        ("INT ARRAY", list(DataType::Int32)),
        ("JSON", DataType::Utf8View),
        ("JSONB", DataType::Utf8View),
        ("UUID", DataType::Utf8View),
        ("STRUCT<a INT, b VARCHAR>", row(&[("a", DataType::Int32), ("b", DataType::Utf8View)])),
        ("ROW(a INT, \"B c\" VARCHAR(3))", row(&[("a", DataType::Int32), ("B c", DataType::Utf8View)])),
        (
            "STRUCT<a INT[], b STRUCT<c BIGINT>>[]",
            list(row(&[("a", list(DataType::Int32)), ("b", row(&[("c", DataType::Int64)]))])),
        ),
        ("MAP<VARCHAR, BIGINT>", map(DataType::Utf8View, DataType::Int64)),
        ("MAP<INT, ARRAY<STRUCT<a INT>>>", map(DataType::Int32, list(row(&[("a", DataType::Int32)])))),
    ];
    for (sql, arrow) in expected {
        assert_eq!(declared(sql).unwrap(), arrow, "{sql}");
        assert_eq!(declared(&sql_name(&arrow)).unwrap(), arrow, "{sql}");
    }
}

#[test]
fn refused_types_say_where_and_what_instead() {
    let refused = [
        ("DECIMAL(39)", "38"),
        ("DECIMAL(5, 6)", "38"),
        ("TIMESTAMP(9)", "microseconds"),
        ("TIME WITH TIME ZONE", "without time zone"),
        ("INTERVAL", "EXTRACT(EPOCH"),
        ("STRUCT<a INT, a INT>", "twice"),
        ("BIGIN", "did you mean BIGINT?"),
        ("geometry", "TIMESTAMP"),
        ("INT UNSIGNED", "BIGINT"),
    ];
    for (sql, part) in refused {
        let error = declared(sql).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        let position = error.position().unwrap();
        assert_eq!((position.line, position.column), (1, 19), "{error}");
    }
}
