//! Which Arrow types a table can hold, and how columns of the catalog, Arrow fields and Iceberg fields correspond.

mod comparable;
mod iceberg;
mod text;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use catalog::{Column, Object};

use crate::error::{Error, ErrorKind, Result};

pub use self::comparable::{RowEncoder, comparable, comparable_type, from_comparable, one_zero};
pub use self::iceberg::{iceberg_schema, with_field_ids};
pub use self::text::{from_json, to_json};

/// The time zone of stored instants.
pub const UTC: &str = "+00:00";

/// The type in which a column of this type is stored: the nearest one that Iceberg has and that loses nothing (except
/// nanoseconds, which are cut to microseconds). `Unsupported` for a type that has none.
pub fn storable(data_type: &DataType) -> Result<DataType> {
    use DataType as T;
    Ok(match data_type {
        T::Boolean => T::Boolean,
        T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 => T::Int32,
        T::Int64 | T::UInt32 | T::UInt64 => T::Int64,
        T::Float16 | T::Float32 => T::Float32,
        T::Float64 => T::Float64,
        T::Decimal32(precision, scale) | T::Decimal64(precision, scale) | T::Decimal128(precision, scale) => {
            if *scale < 0 || *scale > *precision as i8 {
                return Err(refusal(data_type, "use a scale between 0 and the precision"));
            }
            T::Decimal128(*precision, *scale)
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => T::Utf8View,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::BinaryView,
        T::Date32 | T::Date64 => T::Date32,
        T::Time32(_) | T::Time64(_) => T::Time64(TimeUnit::Microsecond),
        T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(_, Some(_)) => T::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) | T::ListView(item) | T::LargeListView(item) => {
            T::List(Arc::new(Field::new("element", storable(item.data_type())?, item.is_nullable())))
        }
        T::Struct(fields) if fields.is_empty() => {
            return Err(refusal(data_type, "give the struct at least one field"));
        }
        T::Struct(fields) => T::Struct(fields.iter().map(storable_field).collect::<Result<Fields>>()?),
        T::Map(entries, _) => storable_map(entries)?,
        T::Dictionary(_, value) => storable(value)?,
        T::RunEndEncoded(_, value) => storable(value.data_type())?,
        T::Interval(_) | T::Duration(_) => {
            return Err(refusal(data_type, "store the length as a number, for example EXTRACT(EPOCH FROM ...)"));
        }
        T::Decimal256(..) => return Err(refusal(data_type, "cast it to DECIMAL(38, ...)")),
        _ => return Err(refusal(data_type, "cast it to a type with storage, such as VARCHAR")),
    })
}

fn refusal(data_type: &DataType, advice: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("a column of type {data_type} cannot be stored: {advice}"))
}

fn storable_field(field: &FieldRef) -> Result<FieldRef> {
    let data_type = storable(field.data_type()).map_err(|error| error.with("column", field.name()))?;
    Ok(Arc::new(Field::new(field.name(), data_type, field.is_nullable())))
}

fn storable_map(entries: &FieldRef) -> Result<DataType> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(Error::internal("the entries of a map are not a struct"));
    };
    let (Some(key), Some(value)) = (fields.first(), fields.get(1)) else {
        return Err(Error::internal("the entries of a map are not pairs"));
    };
    let pair = vec![
        Field::new("key", storable(key.data_type())?, false),
        Field::new("value", storable(value.data_type())?, value.is_nullable()),
    ];
    Ok(DataType::Map(Arc::new(Field::new_struct("key_value", pair, false)), false))
}

/// `schema` with every column in its storable type. The error names the column.
pub fn storable_schema(schema: &Schema) -> Result<SchemaRef> {
    let fields = schema.fields().iter().map(storable_field).collect::<Result<Fields>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// Columns for the catalog, one per field, in the types of `schema` as they are.
pub fn columns(schema: &Schema) -> Result<Vec<Column>> {
    let column = |field: &FieldRef| {
        let data_type = to_json(field.data_type()).map_err(|error| error.with("column", field.name()))?;
        Ok(Column { name: field.name().clone(), data_type, nullable: field.is_nullable() })
    };
    schema.fields().iter().map(column).collect()
}

/// The Arrow schema of an object's columns.
pub fn arrow_schema(object: &Object) -> Result<SchemaRef> {
    let field = |column: &Column| {
        let data_type = from_json(&column.data_type)
            .map_err(|error| error.with("object", &object.name).with("column", &column.name))?;
        Ok(Field::new(&column.name, data_type, column.nullable))
    };
    let fields = object.columns.iter().map(field).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// Positions of the key columns in the object's columns; empty if the whole row is the key.
pub fn key_columns(object: &Object) -> Result<Vec<usize>> {
    let position = |name: &String| {
        object.columns.iter().position(|column| column.name == *name).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("the key column {name} does not exist")).with("table", &object.name)
        })
    };
    object.key.iter().map(position).collect()
}

/// `batch` with its columns cast to those of `schema`, by position. A value that does not fit, or a NULL where none may
/// be, is an error that names the column.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    if batch.num_columns() != schema.fields().len() {
        return Err(Error::internal(format!(
            "rows have {} columns where the table has {}",
            batch.num_columns(),
            schema.fields().len()
        )));
    }
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| conform_column(column, field));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn conform_column(column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let cast = if column.data_type() == field.data_type() {
        column.clone()
    } else {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(column, field.data_type(), &options).map_err(|error| {
            Error::new(ErrorKind::Invalid, format!("a value does not fit into {}", field.data_type()))
                .with("column", field.name())
                .because(error)
        })?
    };
    if !field.is_nullable() && cast.null_count() > 0 {
        return Err(Error::new(ErrorKind::Invalid, "NULL in a column that is NOT NULL").with("column", field.name()));
    }
    Ok(cast)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray, UInt64Array};

    use super::*;

    #[test]
    fn types_are_stored_in_the_nearest_iceberg_type() {
        let cases = [
            (DataType::UInt16, DataType::Int32),
            (DataType::UInt32, DataType::Int64),
            (DataType::Float16, DataType::Float32),
            (DataType::LargeUtf8, DataType::Utf8View),
            (DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)), DataType::Utf8View),
            (DataType::FixedSizeBinary(3), DataType::BinaryView),
            (DataType::Timestamp(TimeUnit::Second, None), DataType::Timestamp(TimeUnit::Microsecond, None)),
        ];
        for (given, stored) in cases {
            assert_eq!(storable(&given).unwrap(), stored);
            assert_eq!(storable(&stored).unwrap(), stored, "storing is idempotent");
        }
        let nested = DataType::LargeList(Arc::new(Field::new("item", DataType::Int8, true)));
        let stored = storable(&nested).unwrap();
        assert_eq!(stored, DataType::List(Arc::new(Field::new("element", DataType::Int32, true))));
    }

    #[test]
    fn what_cannot_be_stored_is_refused_with_the_columns_name() {
        let schema = Schema::new(vec![Field::new("wait", DataType::Duration(TimeUnit::Second), true)]);
        let error = storable_schema(&schema).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("column: wait"), "{error}");
    }

    #[test]
    fn conforming_casts_or_says_which_column() {
        let given =
            Arc::new(Schema::new(vec![Field::new("n", DataType::UInt64, true), Field::new("s", DataType::Utf8, true)]));
        let stored = storable_schema(&given).unwrap();
        let batch = |n: Vec<u64>| {
            let s = StringArray::from(vec!["x"; n.len()]);
            RecordBatch::try_new(given.clone(), vec![Arc::new(UInt64Array::from(n)), Arc::new(s)]).unwrap()
        };
        let got = conform(&batch(vec![1, 2]), &stored).unwrap();
        assert_eq!(got.column(0).as_ref(), &Int64Array::from(vec![1, 2]) as &dyn arrow::array::Array);
        let error = conform(&batch(vec![u64::MAX]), &stored).unwrap_err();
        assert!(error.to_string().contains("column: n"), "{error}");
    }
}
