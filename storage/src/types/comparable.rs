//! Values as comparable bytes: Arrow's row format, which knows no maps, with maps taken as lists of their entries.
//!
//! So two maps are equal if they have the same entries in the same order. Floats that are columns of their own compare as
//! groups do: -0.0 is 0.0, and every NaN is the same.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, make_array};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float32Type, Float64Type};
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::Result;

/// Turns rows of certain types into bytes that are equal where the rows are.
#[derive(Debug)]
pub struct RowEncoder {
    converter: RowConverter,
}

impl RowEncoder {
    /// An encoder of rows with columns of these types. An error if one of them has no comparable form (unions).
    pub fn new<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<Self> {
        let fields = types.into_iter().map(|data_type| SortField::new(comparable_type(data_type))).collect();
        Ok(Self { converter: RowConverter::new(fields)? })
    }

    /// The bytes of rows given by their columns.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Rows> {
        let columns = columns.iter().map(|column| comparable(&one_zero(column))).collect::<Result<Vec<_>>>()?;
        Ok(self.converter.convert_columns(&columns)?)
    }
}

/// Floats with one zero and one NaN; anything else as it is.
pub fn one_zero(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
        ),
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
        ),
        _ => array.clone(),
    }
}

/// The type with every map in it replaced by the list of its entries, which has the same layout in memory.
pub fn comparable_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Map(entries, _) => DataType::List(comparable_field(entries)),
        DataType::List(item) => DataType::List(comparable_field(item)),
        DataType::LargeList(item) => DataType::LargeList(comparable_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(comparable_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(comparable_field).collect::<Fields>()),
        other => other.clone(),
    }
}

fn comparable_field(field: &FieldRef) -> FieldRef {
    let data_type = comparable_type(field.data_type());
    if data_type == *field.data_type() {
        return field.clone();
    }
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

/// The array as one of its [`comparable_type`]; nothing is copied.
pub fn comparable(array: &ArrayRef) -> Result<ArrayRef> {
    as_type(array, &comparable_type(array.data_type()))
}

/// An array of a [`comparable_type`] as one of the type that it stands for; nothing is copied.
pub fn from_comparable(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    as_type(array, data_type)
}

fn as_type(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array.clone());
    }
    Ok(make_array(relabelled(array.to_data(), data_type)?))
}

/// The same buffers under another type of the same layout.
fn relabelled(data: ArrayData, data_type: &DataType) -> Result<ArrayData> {
    if data.data_type() == data_type {
        return Ok(data);
    }
    let children: Vec<&DataType> = match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        _ => vec![],
    };
    let inner = data.child_data().iter().cloned().zip(children);
    let inner = inner.map(|(child, data_type)| relabelled(child, data_type)).collect::<Result<Vec<_>>>()?;
    Ok(data.into_builder().data_type(data_type.clone()).child_data(inner).build()?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Builder, ListBuilder, MapBuilder, StringBuilder};

    use super::*;

    fn maps() -> ArrayRef {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        for entries in
            [Some(vec![("a", Some(1)), ("b", None)]), None, Some(vec![]), Some(vec![("a", Some(1)), ("b", None)])]
        {
            let present = entries.is_some();
            for (key, value) in entries.unwrap_or_default() {
                maps.keys().append_value(key);
                maps.values().append_option(value);
            }
            maps.append(present).unwrap();
        }
        Arc::new(maps.finish())
    }

    #[test]
    fn maps_are_compared_by_their_entries_and_come_back() {
        let maps = maps();
        let encoder = RowEncoder::new([maps.data_type()]).unwrap();
        let rows = encoder.encode(std::slice::from_ref(&maps)).unwrap();
        assert_eq!(rows.row(0), rows.row(3));
        assert_ne!(rows.row(0), rows.row(2));
        assert_ne!(rows.row(1), rows.row(2));
        let back = from_comparable(&comparable(&maps).unwrap(), maps.data_type()).unwrap();
        assert_eq!(&back, &maps);
        let sliced = maps.slice(1, 3);
        assert_eq!(&from_comparable(&comparable(&sliced).unwrap(), maps.data_type()).unwrap(), &sliced);
    }

    #[test]
    fn lists_of_maps_too() {
        let mut lists = ListBuilder::new(MapBuilder::new(None, StringBuilder::new(), Int32Builder::new()));
        for _ in 0..2 {
            lists.values().keys().append_value("k");
            lists.values().values().append_value(7);
            lists.values().append(true).unwrap();
            lists.append(true);
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let rows = RowEncoder::new([lists.data_type()]).unwrap().encode(std::slice::from_ref(&lists)).unwrap();
        assert_eq!(rows.row(0), rows.row(1));
        assert_eq!(&from_comparable(&comparable(&lists).unwrap(), lists.data_type()).unwrap(), &lists);
    }

    #[test]
    fn there_is_one_zero_and_one_nan() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
        let rows = RowEncoder::new([floats.data_type()]).unwrap().encode(&[floats]).unwrap();
        assert_eq!(rows.row(0), rows.row(1));
        assert_eq!(rows.row(2), rows.row(3));
    }
}
