//! One typed column of a row store.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, BinaryViewArray, BooleanArray, GenericBinaryArray, GenericStringArray, NullArray,
    OffsetSizeTrait, StringViewArray, make_array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, Field};
use arrow::row::{RowConverter, SortField};
use storage::types::{comparable, comparable_type, from_comparable};

use super::NO_SLOT;
use super::bytes::ByteColumn;
use super::view::{ColumnView, Shape, Values, values};
use crate::error::{Error, Result};

/// A value that orders by itself: what an ordered index over one column is keyed by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderKey {
    /// Integers, decimals, times, booleans.
    Int(i128),
    /// Floats, as bits that order as numbers with NaN last.
    Float(u64),
    /// Strings, binaries and encoded values.
    Bytes(Box<[u8]>),
    /// NULL, after everything.
    Null,
}

impl OrderKey {
    /// Of an integer held as a signed one of `width` bits.
    fn int(value: i64, width: u32, unsigned: bool) -> Self {
        let bits = value as u64 & (u64::MAX >> (64 - width));
        Self::Int(if unsigned { i128::from(bits) } else { i128::from(value) })
    }

    /// Bits that order as unsigned integers the way the numbers order; zeros alike, every NaN alike and last.
    fn float(value: f64) -> Self {
        let value = if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
        let bits = value.to_bits();
        Self::Float(if bits >> 63 == 1 { !bits } else { bits | 1 << 63 })
    }
}

impl Values {
    fn order_key(&self, row: usize, unsigned: bool) -> OrderKey {
        match self {
            Values::Null => OrderKey::Null,
            Values::Bool(seen) => OrderKey::Int(i128::from(seen.value(row))),
            Values::I8(seen) => OrderKey::int(i64::from(seen[row]), 8, unsigned),
            Values::I16(seen) => OrderKey::int(i64::from(seen[row]), 16, unsigned),
            Values::I32(seen) => OrderKey::int(i64::from(seen[row]), 32, unsigned),
            Values::I64(seen) => OrderKey::int(seen[row], 64, unsigned),
            Values::I128(seen) => OrderKey::Int(seen[row]),
            Values::F32(seen) => OrderKey::float(f64::from(seen[row])),
            Values::F64(seen) => OrderKey::float(seen[row]),
            Values::Text(seen) => OrderKey::Bytes(seen.get(row, &mut [0; 16]).into()),
            Values::Encoded(seen) => OrderKey::Bytes(seen.row(row).as_ref().into()),
        }
    }
}

/// Values and validity of one column; slots are positions.
#[derive(Debug)]
pub(super) struct Column {
    data_type: DataType,
    shape: Shape,
    /// Whether integers are unsigned though held as signed ones of their width.
    unsigned: bool,
    data: Data,
    /// Bit set where the value is NULL; empty as long as no NULL was ever stored.
    nulls: Vec<u64>,
}

#[derive(Debug)]
enum Data {
    Null,
    Bool(Vec<bool>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Text(ByteColumn),
    Encoded(Box<Encoded>),
}

/// Values of any other type, as bytes in Arrow's row format (maps as lists of entries).
#[derive(Debug)]
struct Encoded {
    converter: RowConverter,
    bytes: ByteColumn,
    null: Vec<u8>,
}

impl Encoded {
    fn new(field: &Field) -> Result<Self> {
        let sort = SortField::new(comparable_type(field.data_type()));
        let refuse = || {
            Error::sql(format!("a column of type {} cannot be kept in state", field.data_type()))
                .with("column", field.name())
                .hint("select the parts of it that the query needs, or cast it to a string")
        };
        if !RowConverter::supports_fields(std::slice::from_ref(&sort)) {
            return Err(refuse());
        }
        let converter = RowConverter::new(vec![sort]).map_err(|error| refuse().because(error))?;
        let null = converter.convert_columns(&[comparable(&new_null_array(field.data_type(), 1))?])?;
        let null = null.row(0).as_ref().to_vec();
        Ok(Self { converter, bytes: ByteColumn::default(), null })
    }

    fn gather(&self, slots: &[u32], data_type: &DataType) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let value = |slot: &u32| if *slot == NO_SLOT { self.null.as_slice() } else { self.bytes.get(*slot) };
        let arrays = self.converter.convert_rows(slots.iter().map(|slot| parser.parse(value(slot))))?;
        let array = arrays.into_iter().next().ok_or_else(|| Error::internal("no column out of encoded rows"))?;
        if array.data_type() == &comparable_type(data_type) {
            return Ok(from_comparable(&array, data_type)?);
        }
        Ok(arrow::compute::cast(&array, data_type)?)
    }
}

/// Equality of values as groups see it.
trait Same: Copy {
    fn same(self, other: Self) -> bool;
}

macro_rules! same_integer {
    ($($native:ty),*) => {$(
        impl Same for $native {
            #[inline(always)]
            fn same(self, other: Self) -> bool {
                self == other
            }
        }
    )*};
}
same_integer!(bool, i8, i16, i32, i64, i128);

macro_rules! same_float {
    ($($native:ty),*) => {$(
        impl Same for $native {
            #[inline(always)]
            fn same(self, other: Self) -> bool {
                self == other || (self.is_nan() && other.is_nan())
            }
        }
    )*};
}
same_float!(f32, f64);

fn put<T: Copy + Default>(own: &mut Vec<T>, slots: &[u32], rows: &[u32], value: impl Fn(usize) -> T) {
    for (slot, row) in slots.iter().zip(rows) {
        let slot = *slot as usize;
        if slot == own.len() {
            own.push(value(*row as usize));
        } else {
            if slot > own.len() {
                own.resize(slot + 1, T::default());
            }
            own[slot] = value(*row as usize);
        }
    }
}

fn collect<T: Copy + Default>(own: &[T], slots: &[u32]) -> Vec<T> {
    slots.iter().map(|slot| own.get(*slot as usize).copied().unwrap_or_default()).collect()
}

/// Runs code with `$own` (stored) bound for every fixed-width shape, and `$seen` (from the view) if given.
macro_rules! fixed {
    ($data:expr, $own:ident => $body:expr, $($rest:tt)*) => {
        match $data {
            Data::I8($own) => $body,
            Data::I16($own) => $body,
            Data::I32($own) => $body,
            Data::I64($own) => $body,
            Data::I128($own) => $body,
            Data::F32($own) => $body,
            Data::F64($own) => $body,
            $($rest)*
        }
    };
    ($data:expr, $values:expr, ($own:ident, $seen:ident) => $body:expr, $($rest:tt)*) => {
        match ($data, $values) {
            (Data::I8($own), Values::I8($seen)) => $body,
            (Data::I16($own), Values::I16($seen)) => $body,
            (Data::I32($own), Values::I32($seen)) => $body,
            (Data::I64($own), Values::I64($seen)) => $body,
            (Data::I128($own), Values::I128($seen)) => $body,
            (Data::F32($own), Values::F32($seen)) => $body,
            (Data::F64($own), Values::F64($seen)) => $body,
            $($rest)*
        }
    };
}

impl Column {
    pub(super) fn new(field: &Field) -> Result<Self> {
        let data_type = field.data_type().clone();
        let shape = Shape::of(&data_type);
        let data = match shape {
            Shape::Null => Data::Null,
            Shape::Bool => Data::Bool(Vec::new()),
            Shape::I8 => Data::I8(Vec::new()),
            Shape::I16 => Data::I16(Vec::new()),
            Shape::I32 => Data::I32(Vec::new()),
            Shape::I64 => Data::I64(Vec::new()),
            Shape::I128 => Data::I128(Vec::new()),
            Shape::F32 => Data::F32(Vec::new()),
            Shape::F64 => Data::F64(Vec::new()),
            Shape::Text => Data::Text(ByteColumn::default()),
            Shape::Encoded => Data::Encoded(Box::new(Encoded::new(field)?)),
        };
        let unsigned = data_type.is_unsigned_integer();
        Ok(Self { data_type, shape, unsigned, data, nulls: Vec::new() })
    }

    pub(super) fn view(&self, array: &ArrayRef) -> Result<ColumnView> {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let seen = match &self.data {
            Data::Encoded(own) if *array.data_type() == self.data_type => {
                Some(Values::Encoded(own.converter.convert_columns(&[comparable(array)?])?))
            }
            _ => values(array, self.shape),
        };
        let seen = seen.ok_or_else(|| {
            let (got, want) = (array.data_type(), &self.data_type);
            Error::internal(format!("a column of type {got} where the row store has {want}"))
        })?;
        Ok(ColumnView { values: seen, nulls })
    }

    /// The values, if they are 64-bit integers without any NULL: the fast path of key lookups.
    pub(super) fn plain_i64(&self) -> Option<&[i64]> {
        match &self.data {
            Data::I64(own) if self.nulls.is_empty() => Some(own),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn is_null(&self, slot: u32) -> bool {
        let slot = slot as usize;
        match self.data {
            Data::Null => true,
            _ => self.nulls.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1),
        }
    }

    pub(super) fn write(&mut self, slots: &[u32], view: &ColumnView, rows: &[u32]) {
        self.write_nulls(slots, view, rows);
        fixed!(&mut self.data, &view.values, (own, seen) => put(own, slots, rows, |row| seen[row]),
            (Data::Bool(own), Values::Bool(seen)) => put(own, slots, rows, |row| seen.value(row)),
            (Data::Text(own), Values::Text(seen)) => {
                for (slot, row) in slots.iter().zip(rows) {
                    let null = view.is_null(*row as usize);
                    let mut inline = [0; 16];
                    own.set(*slot, if null { &[] } else { seen.get(*row as usize, &mut inline) });
                }
            }
            (Data::Encoded(own), Values::Encoded(seen)) => {
                for (slot, row) in slots.iter().zip(rows) {
                    own.bytes.set(*slot, seen.row(*row as usize).as_ref());
                }
            }
            // Shapes were compared when the view was made.
            _ => {}
        );
    }

    fn write_nulls(&mut self, slots: &[u32], view: &ColumnView, rows: &[u32]) {
        let Some(nulls) = &view.nulls else {
            if !self.nulls.is_empty() {
                slots.iter().for_each(|slot| self.set_null(*slot, false));
            }
            return;
        };
        for (slot, row) in slots.iter().zip(rows) {
            let null = nulls.is_null(*row as usize);
            if null || !self.nulls.is_empty() {
                self.set_null(*slot, null);
            }
        }
    }

    fn set_null(&mut self, slot: u32, null: bool) {
        let (word, bit) = (slot as usize / 64, slot % 64);
        if word >= self.nulls.len() {
            if !null {
                return;
            }
            self.nulls.resize(word + 1, 0);
        }
        self.nulls[word] = self.nulls[word] & !(1 << bit) | u64::from(null) << bit;
    }

    pub(super) fn clear(&mut self, slot: u32) {
        match &mut self.data {
            Data::Text(own) => own.clear(slot),
            Data::Encoded(own) => own.bytes.clear(slot),
            _ => {}
        }
    }

    #[inline]
    pub(super) fn eq(&self, slot: u32, view: &ColumnView, row: usize) -> bool {
        if !self.nulls.is_empty() || view.nulls.is_some() {
            let (own, seen) = (self.is_null(slot), view.is_null(row));
            if own || seen {
                return own && seen;
            }
        }
        let at = slot as usize;
        fixed!(&self.data, &view.values, (own, seen) => own[at].same(seen[row]),
            (Data::Null, Values::Null) => true,
            (Data::Bool(own), Values::Bool(seen)) => own[at].same(seen.value(row)),
            (Data::Text(own), Values::Text(seen)) => own.eq(slot, seen.get(row, &mut [0; 16])),
            (Data::Encoded(own), Values::Encoded(seen)) => own.bytes.eq(slot, seen.row(row).as_ref()),
            _ => false
        )
    }

    pub(super) fn cmp(&self, left: u32, right: u32) -> Ordering {
        match (self.is_null(left), self.is_null(right)) {
            (false, false) => {}
            (own, other) => return own.cmp(&other),
        }
        let (l, r) = (left as usize, right as usize);
        match &self.data {
            Data::Text(own) => own.get(left).cmp(own.get(right)),
            Data::Encoded(own) => own.bytes.get(left).cmp(own.bytes.get(right)),
            Data::I64(own) if !self.unsigned => own[l].cmp(&own[r]),
            Data::I128(own) => own[l].cmp(&own[r]),
            _ => self.order_key(left).cmp(&self.order_key(right)),
        }
    }

    pub(super) fn cmp_row(&self, slot: u32, view: &ColumnView, row: usize) -> Ordering {
        match (self.is_null(slot), view.is_null(row)) {
            (false, false) => {}
            (own, other) => return own.cmp(&other),
        }
        match (&self.data, &view.values) {
            (Data::Text(own), Values::Text(seen)) => own.get(slot).cmp(seen.get(row, &mut [0; 16])),
            (Data::Encoded(own), Values::Encoded(seen)) => own.bytes.get(slot).cmp(seen.row(row).as_ref()),
            (_, values) => self.order_key(slot).cmp(&values.order_key(row, self.unsigned)),
        }
    }

    pub(super) fn order_key(&self, slot: u32) -> OrderKey {
        if self.is_null(slot) {
            return OrderKey::Null;
        }
        let at = slot as usize;
        match &self.data {
            Data::Null => OrderKey::Null,
            Data::Bool(own) => OrderKey::Int(i128::from(own[at])),
            Data::I8(own) => OrderKey::int(i64::from(own[at]), 8, self.unsigned),
            Data::I16(own) => OrderKey::int(i64::from(own[at]), 16, self.unsigned),
            Data::I32(own) => OrderKey::int(i64::from(own[at]), 32, self.unsigned),
            Data::I64(own) => OrderKey::int(own[at], 64, self.unsigned),
            Data::I128(own) => OrderKey::Int(own[at]),
            Data::F32(own) => OrderKey::float(f64::from(own[at])),
            Data::F64(own) => OrderKey::float(own[at]),
            Data::Text(own) => OrderKey::Bytes(own.get(slot).into()),
            Data::Encoded(own) => OrderKey::Bytes(own.bytes.get(slot).into()),
        }
    }

    pub(super) fn gather(&self, slots: &[u32], optional: bool) -> Result<ArrayRef> {
        let nulls = self.gather_nulls(slots, optional);
        fixed!(&self.data, own => primitive(&self.data_type, collect(own, slots), nulls),
            Data::Null => Ok(Arc::new(NullArray::new(slots.len()))),
            Data::Bool(own) => {
                let values = BooleanBuffer::collect_bool(slots.len(), |i| {
                    own.get(slots[i] as usize).copied().unwrap_or_default()
                });
                Ok(Arc::new(BooleanArray::new(values, nulls)))
            }
            Data::Text(own) => gather_text(own, &self.data_type, slots, nulls),
            Data::Encoded(own) => own.gather(slots, &self.data_type),
        )
    }

    fn gather_nulls(&self, slots: &[u32], optional: bool) -> Option<NullBuffer> {
        if self.nulls.is_empty() && !(optional && slots.contains(&NO_SLOT)) {
            return None;
        }
        let valid = BooleanBuffer::collect_bool(slots.len(), |i| slots[i] != NO_SLOT && !self.is_null(slots[i]));
        Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
    }

    pub(super) fn bytes(&self) -> usize {
        fixed!(&self.data, own => own.capacity() * size_of_val_of(own),
            Data::Null => 0,
            Data::Bool(own) => own.capacity(),
            Data::Text(own) => own.bytes(),
            Data::Encoded(own) => own.bytes.bytes(),
        ) + self.nulls.capacity() * 8
    }
}

fn size_of_val_of<T>(_: &[T]) -> usize {
    size_of::<T>()
}

fn primitive<T: ArrowNativeType>(data_type: &DataType, values: Vec<T>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    if *data_type == DataType::Float16 {
        let wide = primitive(&DataType::Float32, values, nulls)?;
        return Ok(arrow::compute::cast(&wide, data_type)?);
    }
    let data = ArrayData::builder(data_type.clone())
        .len(values.len())
        .add_buffer(Buffer::from_vec(values))
        .nulls(nulls)
        .build()?;
    Ok(make_array(data))
}

fn gather_text(own: &ByteColumn, data_type: &DataType, slots: &[u32], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Utf8View | DataType::BinaryView => {
            let (views, blocks) = own.gather_views(slots);
            let blocks: Vec<Buffer> = blocks.into_iter().map(Buffer::from_vec).collect();
            let views = ScalarBuffer::from(views);
            if *data_type == DataType::Utf8View {
                Arc::new(StringViewArray::try_new(views, blocks, nulls)?)
            } else {
                Arc::new(BinaryViewArray::try_new(views, blocks, nulls)?)
            }
        }
        DataType::Utf8 => {
            let (offsets, bytes) = gather_offsets::<i32>(own, slots)?;
            Arc::new(GenericStringArray::<i32>::try_new(offsets, bytes, nulls)?)
        }
        DataType::LargeUtf8 => {
            let (offsets, bytes) = gather_offsets::<i64>(own, slots)?;
            Arc::new(GenericStringArray::<i64>::try_new(offsets, bytes, nulls)?)
        }
        DataType::Binary => {
            let (offsets, bytes) = gather_offsets::<i32>(own, slots)?;
            Arc::new(GenericBinaryArray::<i32>::try_new(offsets, bytes, nulls)?)
        }
        _ => {
            let (offsets, bytes) = gather_offsets::<i64>(own, slots)?;
            Arc::new(GenericBinaryArray::<i64>::try_new(offsets, bytes, nulls)?)
        }
    })
}

fn gather_offsets<O: OffsetSizeTrait>(own: &ByteColumn, slots: &[u32]) -> Result<(OffsetBuffer<O>, Buffer)> {
    let mut bytes = Vec::new();
    let mut offsets = Vec::with_capacity(slots.len() + 1);
    offsets.push(O::usize_as(0));
    for slot in slots {
        bytes.extend_from_slice(own.get(*slot));
        let end = O::from_usize(bytes.len()).ok_or_else(|| {
            Error::data("more than 2 GiB of strings in one batch")
                .hint("use the type Utf8View or LargeUtf8 for the column")
        })?;
        offsets.push(end);
    }
    Ok((OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(bytes)))
}
