//! Arrow types as PostgreSQL types, and back.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::FieldInfo;
use pgwire::error::PgWireResult;

use super::error::of_engine;

/// In the metadata of a column: its values are arrays of OIDs.
pub const OIDS: &str = "frazil.oids";

/// The types that values can have here.
pub const KNOWN: [Type; 16] = [
    Type::BOOL,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::NUMERIC,
    Type::TEXT,
    Type::VARCHAR,
    Type::BYTEA,
    Type::DATE,
    Type::TIME,
    Type::TIMESTAMP,
    Type::TIMESTAMPTZ,
    Type::INTERVAL,
    Type::JSON,
];

/// The columns of a result as a client sees them.
pub fn fields(schema: &Schema, format: &Format) -> Vec<FieldInfo> {
    let fields = schema.fields().iter().enumerate();
    let info = |(place, field): (usize, &arrow::datatypes::FieldRef)| {
        let data_type = if field.metadata().contains_key(OIDS) { Type::OID_ARRAY } else { pg_type(field.data_type()) };
        let size = size(&data_type);
        FieldInfo::new(field.name().clone(), None, None, data_type, format_of(format, place))
            .with_type_size(size)
            .with_type_modifier(modifier(field.data_type()))
    };
    fields.map(info).collect()
}

/// The format of a column; of a client that gave too few formats, text.
fn format_of(format: &Format, place: usize) -> pgwire::api::results::FieldFormat {
    match format {
        Format::Individual(codes) if place >= codes.len() => pgwire::api::results::FieldFormat::Text,
        format => format.format_for(place),
    }
}

/// The PostgreSQL type of an Arrow type. What PostgreSQL does not have (structs with names, maps) goes as text.
pub fn pg_type(data_type: &DataType) -> Type {
    match data_type {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt32 => Type::INT8,
        DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => Type::NUMERIC,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => Type::INTERVAL,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Type::BYTEA,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            array_of(item.data_type())
        }
        DataType::Dictionary(_, value) => pg_type(value),
        _ => Type::TEXT,
    }
}

fn array_of(item: &DataType) -> Type {
    // An array of arrays has the type of its innermost elements.
    if let DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) = item {
        return array_of(inner.data_type());
    }
    array_type(&pg_type(item))
}

/// The type of arrays of a type.
pub fn array_type(item: &Type) -> Type {
    match *item {
        Type::OID => Type::OID_ARRAY,
        Type::BOOL => Type::BOOL_ARRAY,
        Type::INT2 => Type::INT2_ARRAY,
        Type::INT4 => Type::INT4_ARRAY,
        Type::INT8 => Type::INT8_ARRAY,
        Type::NUMERIC => Type::NUMERIC_ARRAY,
        Type::FLOAT4 => Type::FLOAT4_ARRAY,
        Type::FLOAT8 => Type::FLOAT8_ARRAY,
        Type::DATE => Type::DATE_ARRAY,
        Type::TIME => Type::TIME_ARRAY,
        Type::TIMESTAMP => Type::TIMESTAMP_ARRAY,
        Type::TIMESTAMPTZ => Type::TIMESTAMPTZ_ARRAY,
        Type::INTERVAL => Type::INTERVAL_ARRAY,
        Type::BYTEA => Type::BYTEA_ARRAY,
        _ => Type::TEXT_ARRAY,
    }
}

/// `pg_type.typlen`: bytes of a value, -1 if they vary.
pub fn size(data_type: &Type) -> i16 {
    match *data_type {
        Type::BOOL => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL => 16,
        _ => -1,
    }
}

/// `pg_attribute.atttypmod`: precision and scale, where they are declared.
pub fn modifier(data_type: &DataType) -> i32 {
    match data_type {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + 4
        }
        DataType::Timestamp(TimeUnit::Second, _) => 0,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 3,
        _ => -1,
    }
}

/// The columns of the answer to SHOW of a setting.
pub fn setting_columns(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8View, false)]))
}

/// The answer to SHOW of a setting: one row of one column.
pub fn setting(name: &str, value: &str) -> PgWireResult<SendableRecordBatchStream> {
    let schema = setting_columns(name);
    let column: ArrayRef = Arc::new(StringViewArray::from(vec![value]));
    let batch = RecordBatch::try_new(schema.clone(), vec![column]).map_err(|error| of_engine(&error.into(), ""))?;
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]))))
}
