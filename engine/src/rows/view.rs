//! A batch seen the way the row store holds rows: every column's type resolved once, values as plain slices.
//!
//! Values are kept by shape, not by type: all 64-bit integers, timestamps and durations are one shape. Floats are shapes
//! of their own since they have their own equality.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use arrow::row::Rows;

use crate::hash::mix_bytes;

/// The columns of a batch, prepared by [`super::RowStore::view`].
#[derive(Debug)]
pub struct RowView {
    pub(super) columns: Vec<ColumnView>,
}

impl RowView {
    /// Whether any column of a row is NULL: such a row equals nothing in a join.
    pub fn any_null(&self, row: usize) -> bool {
        self.columns.iter().any(|column| column.is_null(row))
    }

    /// Whether a column of a row is NULL.
    pub fn is_null(&self, column: usize, row: usize) -> bool {
        self.columns[column].is_null(row)
    }

    /// Whether some column has a NULL somewhere.
    pub fn has_nulls(&self) -> bool {
        self.columns.iter().any(|column| column.nulls.is_some())
    }
}

/// One column of a batch.
#[derive(Debug)]
pub(super) struct ColumnView {
    pub(super) values: Values,
    /// Only there if some value is NULL.
    pub(super) nulls: Option<NullBuffer>,
}

impl ColumnView {
    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    pub(super) fn is_encoded(&self) -> bool {
        matches!(self.values, Values::Encoded(_))
    }

    /// Folds the bytes of encoded values into row hashes.
    pub(super) fn hash_encoded(&self, hashes: &mut [u64]) {
        if let Values::Encoded(rows) = &self.values {
            for (hash, row) in hashes.iter_mut().zip(rows) {
                *hash = mix_bytes(*hash, row.as_ref());
            }
        }
    }
}

/// The values of a column by shape.
#[derive(Debug)]
pub(super) enum Values {
    Null,
    Bool(BooleanBuffer),
    I8(ScalarBuffer<i8>),
    I16(ScalarBuffer<i16>),
    I32(ScalarBuffer<i32>),
    I64(ScalarBuffer<i64>),
    I128(ScalarBuffer<i128>),
    F32(ScalarBuffer<f32>),
    F64(ScalarBuffer<f64>),
    Text(TextValues),
    Encoded(Rows),
}

/// Strings or binaries in one of Arrow's encodings.
#[derive(Debug)]
pub(super) enum TextValues {
    Offsets(OffsetBuffer<i32>, Buffer),
    LargeOffsets(OffsetBuffer<i64>, Buffer),
    Views(ScalarBuffer<u128>, Vec<Buffer>),
}

impl TextValues {
    /// The bytes of a value; `inline` is room for a short one.
    #[inline]
    pub(super) fn get<'a>(&'a self, row: usize, inline: &'a mut [u8; 16]) -> &'a [u8] {
        match self {
            Self::Offsets(offsets, bytes) => &bytes[offsets[row] as usize..offsets[row + 1] as usize],
            Self::LargeOffsets(offsets, bytes) => &bytes[offsets[row] as usize..offsets[row + 1] as usize],
            Self::Views(views, buffers) => {
                *inline = views[row].to_le_bytes();
                let len = views[row] as u32 as usize;
                if len <= 12 {
                    return &inline[4..4 + len];
                }
                let buffer = (views[row] >> 64) as u32 as usize;
                let offset = (views[row] >> 96) as u32 as usize;
                &buffers[buffer][offset..offset + len]
            }
        }
    }
}

/// The shape in which values of a type are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Null,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    F32,
    F64,
    Text,
    Encoded,
}

impl Shape {
    pub(super) fn of(data_type: &DataType) -> Self {
        use DataType as D;
        match data_type {
            D::Null => Self::Null,
            D::Boolean => Self::Bool,
            // Half floats are widened: rare, and without a native type of their own.
            D::Float16 | D::Float32 => Self::F32,
            D::Float64 => Self::F64,
            D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView => Self::Text,
            D::Decimal128(..) => Self::I128,
            other => match other.primitive_width() {
                Some(1) => Self::I8,
                Some(2) => Self::I16,
                Some(4) => Self::I32,
                // Intervals of days and milliseconds are two numbers, not one.
                Some(8) if !matches!(other, D::Interval(_)) => Self::I64,
                _ => Self::Encoded,
            },
        }
    }
}

/// The values of an array, of any shape but [`Shape::Encoded`].
pub(super) fn values(array: &ArrayRef, shape: Shape) -> Option<Values> {
    if Shape::of(array.data_type()) != shape {
        return None;
    }
    Some(match shape {
        Shape::Null => Values::Null,
        Shape::Bool => Values::Bool(array.as_boolean().values().clone()),
        Shape::I8 => Values::I8(native(array)),
        Shape::I16 => Values::I16(native(array)),
        Shape::I32 => Values::I32(native(array)),
        Shape::I64 => Values::I64(native(array)),
        Shape::I128 => Values::I128(native(array)),
        Shape::F32 if *array.data_type() == DataType::Float16 => {
            Values::F32(native(&arrow::compute::cast(array, &DataType::Float32).ok()?))
        }
        Shape::F32 => Values::F32(native(array)),
        Shape::F64 => Values::F64(native(array)),
        Shape::Text => Values::Text(text(array)?),
        Shape::Encoded => return None,
    })
}

/// The value buffer of a primitive array, read as a type of the same width.
fn native<T: ArrowNativeType>(array: &ArrayRef) -> ScalarBuffer<T> {
    let data = array.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

fn text(array: &ArrayRef) -> Option<TextValues> {
    Some(match array.data_type() {
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            TextValues::Offsets(array.offsets().clone(), array.values().clone())
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            TextValues::Offsets(array.offsets().clone(), array.values().clone())
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            TextValues::LargeOffsets(array.offsets().clone(), array.values().clone())
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            TextValues::LargeOffsets(array.offsets().clone(), array.values().clone())
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            TextValues::Views(array.views().clone(), array.data_buffers().to_vec())
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            TextValues::Views(array.views().clone(), array.data_buffers().to_vec())
        }
        _ => return None,
    })
}
