//! The row hash that decides vnodes: vectorised, and the same on every machine and in every version of the program.
//!
//! Vnodes are written to state files, so this function is part of the on-disk format and must never change for a job's
//! life. Folded 64x64 multiplication per word, as in wyhash (Wang Yi, 2019); equal values hash equally whatever
//! the array's encoding (Utf8 as Utf8View), NULL has a hash of its own, -0.0 hashes as 0.0 and every NaN alike.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalUnit, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use crate::error::{Error, Result};

/// Number of vnodes. Fixed: it is part of the state format.
pub const VNODES: usize = 256;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER: u64 = 0xa076_1d64_78bd_642f;
const NULL: u64 = 0xe703_7ed1_a0b4_28db;

/// Mixes one word into a running hash.
#[inline(always)]
pub fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word ^ SEED).wrapping_mul(u128::from(MULTIPLIER));
    (product as u64) ^ ((product >> 64) as u64)
}

/// Mixes a string of bytes into a running hash.
#[inline]
pub fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let mut hash = mix(hash, bytes.len() as u64);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}

/// The vnode of a row hash. Takes the high bits: the low ones index hash tables.
#[inline(always)]
pub fn vnode(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// One hash per row over all columns, in order. No column: every row hashes to 0 (vnode 0).
pub fn hash_columns(columns: &[ArrayRef], rows: usize, hashes: &mut Vec<u64>) -> Result<()> {
    hashes.clear();
    hashes.resize(rows, 0);
    for column in columns {
        hash_column(column.as_ref(), hashes)?;
    }
    Ok(())
}

fn each<T>(array: &dyn Array, hashes: &mut [u64], value: impl Fn(usize) -> T, fold: impl Fn(u64, T) -> u64) {
    if array.null_count() == 0 {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = fold(*hash, value(row));
        }
    } else {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = if array.is_null(row) { mix(*hash, NULL) } else { fold(*hash, value(row)) };
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, hashes: &mut [u64], word: impl Fn(T::Native) -> u64) {
    let values = array.as_primitive::<T>().values().clone();
    each(array, hashes, |row| word(values[row]), mix);
}

fn float_word(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

fn hash_column(array: &dyn Array, hashes: &mut [u64]) -> Result<()> {
    use arrow::datatypes as t;
    match array.data_type() {
        DataType::Null => hashes.iter_mut().for_each(|hash| *hash = mix(*hash, NULL)),
        DataType::Boolean => {
            let values = array.as_boolean();
            each(array, hashes, |row| u64::from(values.value(row)), mix);
        }
        DataType::Int8 => primitive::<Int8Type>(array, hashes, |v| i64::from(v) as u64),
        DataType::Int16 => primitive::<Int16Type>(array, hashes, |v| i64::from(v) as u64),
        DataType::Int32 => primitive::<Int32Type>(array, hashes, |v| i64::from(v) as u64),
        DataType::Int64 => primitive::<Int64Type>(array, hashes, |v| v as u64),
        DataType::UInt8 => primitive::<UInt8Type>(array, hashes, u64::from),
        DataType::UInt16 => primitive::<UInt16Type>(array, hashes, u64::from),
        DataType::UInt32 => primitive::<UInt32Type>(array, hashes, u64::from),
        DataType::UInt64 => primitive::<UInt64Type>(array, hashes, |v| v),
        DataType::Float16 => primitive::<Float16Type>(array, hashes, |v| float_word(f64::from(v))),
        DataType::Float32 => primitive::<Float32Type>(array, hashes, |v| float_word(f64::from(v))),
        DataType::Float64 => primitive::<Float64Type>(array, hashes, float_word),
        DataType::Date32 => primitive::<t::Date32Type>(array, hashes, |v| i64::from(v) as u64),
        DataType::Date64 => primitive::<t::Date64Type>(array, hashes, |v| v as u64),
        DataType::Time32(TimeUnit::Second) => primitive::<t::Time32SecondType>(array, hashes, |v| i64::from(v) as u64),
        DataType::Time32(_) => primitive::<t::Time32MillisecondType>(array, hashes, |v| i64::from(v) as u64),
        DataType::Time64(TimeUnit::Microsecond) => {
            primitive::<t::Time64MicrosecondType>(array, hashes, |v| v as u64);
        }
        DataType::Time64(_) => primitive::<t::Time64NanosecondType>(array, hashes, |v| v as u64),
        DataType::Timestamp(TimeUnit::Second, _) => primitive::<t::TimestampSecondType>(array, hashes, |v| v as u64),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            primitive::<t::TimestampMillisecondType>(array, hashes, |v| v as u64);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            primitive::<t::TimestampMicrosecondType>(array, hashes, |v| v as u64);
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            primitive::<t::TimestampNanosecondType>(array, hashes, |v| v as u64);
        }
        DataType::Duration(TimeUnit::Second) => primitive::<t::DurationSecondType>(array, hashes, |v| v as u64),
        DataType::Duration(TimeUnit::Millisecond) => {
            primitive::<t::DurationMillisecondType>(array, hashes, |v| v as u64);
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            primitive::<t::DurationMicrosecondType>(array, hashes, |v| v as u64);
        }
        DataType::Duration(TimeUnit::Nanosecond) => primitive::<t::DurationNanosecondType>(array, hashes, |v| v as u64),
        DataType::Interval(IntervalUnit::YearMonth) => {
            primitive::<t::IntervalYearMonthType>(array, hashes, |v| i64::from(v) as u64);
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            primitive::<t::IntervalMonthDayNanoType>(array, hashes, |v| {
                mix((v.months as u64) << 32 | u64::from(v.days as u32), v.nanoseconds as u64)
            });
        }
        DataType::Decimal128(..) => {
            primitive::<Decimal128Type>(array, hashes, |v| mix(v as u64, (v >> 64) as u64));
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            each(array, hashes, |row| values.value(row).as_bytes(), mix_bytes);
        }
        DataType::LargeUtf8 => {
            let values = array.as_string::<i64>();
            each(array, hashes, |row| values.value(row).as_bytes(), mix_bytes);
        }
        DataType::Utf8View => {
            let values = array.as_string_view();
            each(array, hashes, |row| values.value(row).as_bytes(), mix_bytes);
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            each(array, hashes, |row| values.value(row), mix_bytes);
        }
        DataType::LargeBinary => {
            let values = array.as_binary::<i64>();
            each(array, hashes, |row| values.value(row), mix_bytes);
        }
        DataType::BinaryView => {
            let values = array.as_binary_view();
            each(array, hashes, |row| values.value(row), mix_bytes);
        }
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            each(array, hashes, |row| values.value(row), mix_bytes);
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            hash_lists(
                list,
                list.values(),
                |row| (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize),
                hashes,
            )?;
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            hash_lists(
                list,
                list.values(),
                |row| (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize),
                hashes,
            )?;
        }
        // A map is the list of its entries, as in comparisons.
        DataType::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            hash_lists(
                map,
                &entries,
                |row| (map.value_offsets()[row] as usize, map.value_offsets()[row + 1] as usize),
                hashes,
            )?;
        }
        DataType::Struct(_) => {
            let mut fields = Vec::new();
            hash_columns(array.as_struct().columns(), array.len(), &mut fields)?;
            each(array, hashes, |row| fields[row], mix);
        }
        other => {
            return Err(Error::sql(format!("a column of type {other} cannot be part of a key"))
                .hint("leave the column out of the key, or cast it to a scalar type"));
        }
    }
    Ok(())
}

/// Lists by their length and the hashes of their elements; `range` gives where a row's elements are.
fn hash_lists(
    array: &dyn Array,
    elements: &ArrayRef,
    range: impl Fn(usize) -> (usize, usize),
    hashes: &mut [u64],
) -> Result<()> {
    let mut inner = Vec::new();
    hash_columns(std::slice::from_ref(elements), elements.len(), &mut inner)?;
    each(array, hashes, range, |hash, (start, end)| {
        inner[start..end].iter().fold(mix(hash, (end - start) as u64), |hash, element| mix(hash, *element))
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, ListArray, StringArray, StringViewArray, StructArray};
    use arrow::datatypes::{Field, Int32Type as I32};

    use super::*;

    fn hashes(columns: &[ArrayRef]) -> Vec<u64> {
        let mut hashes = Vec::new();
        hash_columns(columns, columns[0].len(), &mut hashes).unwrap();
        hashes
    }

    #[test]
    fn the_function_is_frozen() {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(-1), None]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["", "a", "12345678", "123456789"]));
        let got = hashes(&[ints, text]);
        assert_eq!(got.iter().map(|hash| vnode(*hash)).collect::<Vec<_>>(), FROZEN);
    }

    const FROZEN: [u8; 4] = [102, 224, 244, 248];

    #[test]
    fn equal_values_hash_equally_in_every_encoding() {
        let plain: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("a longer string than twelve")]));
        let view: ArrayRef =
            Arc::new(StringViewArray::from(vec![Some("x"), None, Some("a longer string than twelve")]));
        assert_eq!(hashes(&[plain]), hashes(&[view]));
        let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0]));
        let got = hashes(&[zeros]);
        assert_eq!(got[0], got[1]);
    }

    #[test]
    fn nested_values_are_frozen_too() {
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<I32, _, _>(vec![
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
            Some(vec![Some(1), None]),
        ]));
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 1]));
        let item = Arc::new(Field::new("l", list.data_type().clone(), true));
        let number = Arc::new(Field::new("n", DataType::Int64, true));
        let both: ArrayRef = Arc::new(StructArray::from(vec![(item, list.clone()), (number, ints)]));
        let got = hashes(&[list.clone(), both.clone()]);
        assert_eq!(got[0], got[3]);
        assert_eq!(got.iter().map(|hash| vnode(*hash)).collect::<Vec<_>>(), FROZEN_NESTED);
        let sliced = hashes(&[list.slice(1, 3), both.slice(1, 3)]);
        assert_eq!(sliced, got[1..]);
    }

    const FROZEN_NESTED: [u8; 4] = [141, 15, 125, 141];

    #[test]
    fn small_integers_spread_over_all_vnodes() {
        let ints: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
        let mut counts = [0_u32; VNODES];
        for hash in hashes(&[ints]) {
            counts[usize::from(vnode(hash))] += 1;
        }
        assert!(counts.iter().all(|count| (200..600).contains(count)), "{counts:?}");
    }
}
