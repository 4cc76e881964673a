//! Arrow schemas as Iceberg schemas.
//!
//! Field ids are numbered as Iceberg numbers a new table: the columns first, then the fields within them, level by
//! level. So the same columns always get the same ids.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema as IcebergSchema, StructType, Type,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::error::{Error, ErrorKind, Result};

struct Ids {
    last: i32,
}

impl Ids {
    fn next(&mut self) -> i32 {
        self.last += 1;
        self.last
    }
}

/// The Iceberg schema of storable columns. `key`: positions of the key columns; they become identifier fields if none
/// of them may be NULL or is a float (the specification allows neither).
pub fn iceberg_schema(schema: &Schema, key: &[usize]) -> Result<IcebergSchema> {
    let mut ids = Ids { last: 0 };
    let fields = struct_fields(schema.fields(), &mut ids)?;
    let identifies = |position: &usize| {
        let field = schema.field(*position);
        !field.is_nullable()
            && !field.data_type().is_nested()
            && !matches!(field.data_type(), DataType::Float32 | DataType::Float64)
    };
    let identifiers = if key.iter().all(identifies) { key } else { &[] };
    let identifiers = identifiers.iter().map(|position| fields[*position].id).collect::<Vec<_>>();
    IcebergSchema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(identifiers)
        .build()
        .map_err(|error| Error::new(ErrorKind::Invalid, "the columns make no Iceberg schema").because(error))
}

fn struct_fields(fields: &Fields, ids: &mut Ids) -> Result<Vec<NestedFieldRef>> {
    let own = fields.iter().map(|_| ids.next()).collect::<Vec<_>>();
    let field = |(field, id): (&FieldRef, i32)| {
        let field_type = iceberg_type(field.data_type(), ids)?;
        Ok(Arc::new(NestedField::new(id, field.name(), field_type, !field.is_nullable())))
    };
    fields.iter().zip(own).map(field).collect()
}

fn iceberg_type(data_type: &DataType, ids: &mut Ids) -> Result<Type> {
    let primitive = match data_type {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int32 => PrimitiveType::Int,
        DataType::Int64 => PrimitiveType::Long,
        DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            PrimitiveType::Decimal { precision: u32::from(*precision), scale: *scale as u32 }
        }
        DataType::Utf8View => PrimitiveType::String,
        DataType::BinaryView => PrimitiveType::Binary,
        DataType::Date32 => PrimitiveType::Date,
        DataType::Time64(TimeUnit::Microsecond) => PrimitiveType::Time,
        DataType::Timestamp(TimeUnit::Microsecond, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => PrimitiveType::Timestamptz,
        DataType::List(element) => {
            let id = ids.next();
            let element_type = iceberg_type(element.data_type(), ids)?;
            let element = NestedField::list_element(id, element_type, !element.is_nullable());
            return Ok(Type::List(ListType::new(Arc::new(element))));
        }
        DataType::Struct(fields) => return Ok(Type::Struct(StructType::new(struct_fields(fields, ids)?))),
        DataType::Map(entries, _) => return map_type(entries, ids),
        other => return Err(Error::internal(format!("a column of type {other} is not in a storable type"))),
    };
    Ok(Type::Primitive(primitive))
}

fn map_type(entries: &FieldRef, ids: &mut Ids) -> Result<Type> {
    let DataType::Struct(pair) = entries.data_type() else {
        return Err(Error::internal("the entries of a map are not a struct"));
    };
    let (Some(key), Some(value)) = (pair.first(), pair.get(1)) else {
        return Err(Error::internal("the entries of a map are not pairs"));
    };
    let (key_id, value_id) = (ids.next(), ids.next());
    let key_type = iceberg_type(key.data_type(), ids)?;
    let value_type = iceberg_type(value.data_type(), ids)?;
    Ok(Type::Map(MapType::new(
        Arc::new(NestedField::map_key_element(key_id, key_type)),
        Arc::new(NestedField::map_value_element(value_id, value_type, !value.is_nullable())),
    )))
}

/// `schema` with Iceberg's field ids noted on every field at every level, as Parquet files must carry them. The two
/// schemas must have the same shape.
pub fn with_field_ids(schema: &Schema, iceberg: &IcebergSchema) -> Result<SchemaRef> {
    Ok(Arc::new(Schema::new(fields_with_ids(schema.fields(), iceberg.as_struct().fields())?)))
}

fn fields_with_ids(fields: &Fields, iceberg: &[NestedFieldRef]) -> Result<Fields> {
    if fields.len() != iceberg.len() {
        return Err(Error::internal("the table's columns and its Iceberg schema differ"));
    }
    fields.iter().zip(iceberg).map(|(field, iceberg)| field_with_id(field, iceberg)).collect()
}

fn field_with_id(field: &Field, iceberg: &NestedFieldRef) -> Result<FieldRef> {
    let data_type = match (field.data_type(), iceberg.field_type.as_ref()) {
        (DataType::List(element), Type::List(list)) => DataType::List(field_with_id(element, &list.element_field)?),
        (DataType::Struct(fields), Type::Struct(inner)) => DataType::Struct(fields_with_ids(fields, inner.fields())?),
        (DataType::Map(entries, sorted), Type::Map(map)) => {
            let DataType::Struct(pair) = entries.data_type() else {
                return Err(Error::internal("the entries of a map are not a struct"));
            };
            let pair = fields_with_ids(pair, &[map.key_field.clone(), map.value_field.clone()])?;
            DataType::Map(Arc::new(Field::new_struct(entries.name(), pair, false)), *sorted)
        }
        (data_type, Type::Primitive(_)) if !data_type.is_nested() => data_type.clone(),
        _ => {
            return Err(
                Error::internal("the table's columns and its Iceberg schema differ").with("column", field.name())
            );
        }
    };
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_string(), iceberg.id.to_string())]);
    Ok(Arc::new(Field::new(field.name(), data_type, field.is_nullable()).with_metadata(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let entries = vec![Field::new("key", DataType::Utf8View, false), Field::new("value", DataType::Int32, true)];
        let point = vec![Field::new("x", DataType::Float64, true), Field::new("y", DataType::Float64, true)];
        Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("tags", DataType::List(Arc::new(Field::new("element", DataType::Utf8View, true))), true),
            Field::new("at", DataType::Struct(point.into()), true),
            Field::new("m", DataType::Map(Arc::new(Field::new_struct("key_value", entries, false)), false), true),
        ])
    }

    #[test]
    fn columns_are_numbered_before_what_is_in_them() {
        let iceberg = iceberg_schema(&schema(), &[0]).unwrap();
        let id = |name| iceberg.field_id_by_name(name).unwrap();
        assert_eq!([id("id"), id("tags"), id("at"), id("m")], [1, 2, 3, 4]);
        assert_eq!(iceberg.identifier_field_ids().collect::<Vec<_>>(), vec![1]);
        assert_eq!(iceberg.highest_field_id(), 9);
    }

    #[test]
    fn nullable_and_float_keys_are_no_identifiers() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Float64, false),
            Field::new("c", DataType::Int64, false),
        ]);
        for key in [vec![0], vec![1], vec![0, 2]] {
            assert_eq!(iceberg_schema(&schema, &key).unwrap().identifier_field_ids().len(), 0);
        }
        assert_eq!(iceberg_schema(&schema, &[2]).unwrap().identifier_field_ids().len(), 1);
    }

    #[test]
    fn every_level_carries_its_id() {
        let schema = schema();
        let iceberg = iceberg_schema(&schema, &[]).unwrap();
        let noted = with_field_ids(&schema, &iceberg).unwrap();
        let converted = iceberg::arrow::arrow_schema_to_schema(&Schema::new(
            noted
                .fields()
                .iter()
                .filter(|field| !matches!(field.data_type(), DataType::Map(..)))
                .cloned()
                .collect::<Fields>(),
        ))
        .unwrap();
        assert_eq!(converted.field_by_name("at.y").unwrap().id, iceberg.field_by_name("at.y").unwrap().id);
        assert_eq!(
            converted.field_by_name("tags.element").unwrap().id,
            iceberg.field_by_name("tags.element").unwrap().id
        );
    }
}
