//! An index of distinct keys: gives each key a small number, and finds the numbers of other rows' keys.
//!
//! NULL equals NULL here, as in GROUP BY. A single key column of integers or instants is kept as numbers, any other
//! key as `arrow::row` bytes.

use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::error::{Error, ErrorKind, Result};
use crate::types::RowEncoder;

/// Number of a key that is not in the index.
pub const ABSENT: u32 = u32::MAX;

#[derive(Debug)]
enum Keys {
    /// One integer column: the values, in the order of their numbers; the number of NULL.
    Words { words: Vec<i64>, null: Option<u32> },
    /// The bytes of key `i` are `bytes[ends[i - 1]..ends[i]]`.
    Rows { encoder: RowEncoder, bytes: Vec<u8>, ends: Vec<usize> },
}

/// See the module's description.
#[derive(Debug)]
pub struct KeyIndex {
    keys: Keys,
    table: HashTable<u32>,
    hasher: FixedState,
    len: u32,
}

fn words(column: &dyn Array) -> Option<Vec<i64>> {
    let narrow = |values: &[i32]| values.iter().map(|value| i64::from(*value)).collect();
    Some(match column.data_type() {
        DataType::Int32 => narrow(column.as_primitive::<Int32Type>().values()),
        DataType::Date32 => narrow(column.as_primitive::<Date32Type>().values()),
        DataType::Int64 => column.as_primitive::<Int64Type>().values().to_vec(),
        DataType::Time64(_) => column.as_primitive_opt::<Time64MicrosecondType>()?.values().to_vec(),
        DataType::Timestamp(..) => column.as_primitive_opt::<TimestampMicrosecondType>()?.values().to_vec(),
        _ => return None,
    })
}

impl KeyIndex {
    /// An empty index of keys with columns of these types. `Unsupported` if one of them cannot be compared.
    pub fn new(types: &[DataType]) -> Result<Self> {
        let keys = match types {
            [one] if words(&arrow::array::new_empty_array(one)).is_some() => {
                Keys::Words { words: Vec::new(), null: None }
            }
            _ => {
                let encoder = RowEncoder::new(types).map_err(|error| {
                    Error::new(
                        ErrorKind::Unsupported,
                        "rows with a column of this type cannot be compared; give the table a key",
                    )
                    .because(error)
                })?;
                Keys::Rows { encoder, bytes: Vec::new(), ends: Vec::new() }
            }
        };
        Ok(Self { keys, table: HashTable::new(), hasher: FixedState::default(), len: 0 })
    }

    /// Number of distinct keys.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Memory used, in bytes.
    pub fn memory(&self) -> u64 {
        let keys = match &self.keys {
            Keys::Words { words, .. } => words.capacity() * 8,
            Keys::Rows { bytes, ends, .. } => bytes.capacity() + ends.capacity() * 8,
        };
        (keys + self.table.capacity() * 5) as u64
    }

    /// Least and greatest key, for a single column of integers or instants. `None` if that says nothing.
    pub fn range(&self) -> Option<(i64, i64)> {
        match &self.keys {
            Keys::Words { words, null: None } => Some((*words.iter().min()?, *words.iter().max()?)),
            _ => None,
        }
    }

    /// Adds the keys that are not there yet; gives the number of each row's key.
    pub fn insert(&mut self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        let Self { keys, table, hasher, len } = self;
        let mut numbers = Vec::with_capacity(columns.first().map_or(0, Array::len));
        match keys {
            Keys::Words { words: known, null } => {
                let (values, column) = one_column(columns)?;
                for (row, value) in values.iter().enumerate() {
                    let number = if column.is_null(row) {
                        *null.get_or_insert_with(|| {
                            known.push(0);
                            next(len)
                        })
                    } else {
                        let hash = hasher.hash_one(*value);
                        let same = |number: &u32| known[*number as usize] == *value && Some(*number) != *null;
                        match table.find(hash, same) {
                            Some(number) => *number,
                            None => {
                                known.push(*value);
                                let number = next(len);
                                table.insert_unique(hash, number, |other| hasher.hash_one(known[*other as usize]));
                                number
                            }
                        }
                    };
                    numbers.push(number);
                }
            }
            Keys::Rows { encoder, bytes, ends } => {
                let rows = encoder.encode(columns)?;
                for row in &rows {
                    let row = row.as_ref();
                    let hash = hasher.hash_one(row);
                    let number = match table.find(hash, |number| key_bytes(bytes, ends, *number) == row) {
                        Some(number) => *number,
                        None => {
                            bytes.extend_from_slice(row);
                            ends.push(bytes.len());
                            let number = next(len);
                            table.insert_unique(hash, number, |other| hasher.hash_one(key_bytes(bytes, ends, *other)));
                            number
                        }
                    };
                    numbers.push(number);
                }
            }
        }
        Ok(numbers)
    }

    /// The number of each row's key, or [`ABSENT`].
    pub fn find(&self, columns: &[ArrayRef]) -> Result<Vec<u32>> {
        match &self.keys {
            Keys::Words { words: known, null } => {
                let (values, column) = one_column(columns)?;
                let nulls = column.null_count() > 0;
                let find = |(row, value): (usize, &i64)| {
                    if nulls && column.is_null(row) {
                        return null.unwrap_or(ABSENT);
                    }
                    let same = |number: &u32| known[*number as usize] == *value && Some(*number) != *null;
                    self.table.find(self.hasher.hash_one(*value), same).copied().unwrap_or(ABSENT)
                };
                Ok(values.iter().enumerate().map(find).collect())
            }
            Keys::Rows { encoder, bytes, ends } => {
                let rows = encoder.encode(columns)?;
                let find = |row: arrow::row::Row<'_>| {
                    let row = row.as_ref();
                    let same = |number: &u32| key_bytes(bytes, ends, *number) == row;
                    self.table.find(self.hasher.hash_one(row), same).copied().unwrap_or(ABSENT)
                };
                Ok(rows.iter().map(find).collect())
            }
        }
    }
}

fn next(len: &mut u32) -> u32 {
    let number = *len;
    *len += 1;
    number
}

fn key_bytes<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &bytes[start..ends[number]]
}

fn one_column(columns: &[ArrayRef]) -> Result<(Vec<i64>, &ArrayRef)> {
    let column = columns.first().ok_or_else(|| Error::internal("a key without columns"))?;
    let values = words(column).ok_or_else(|| Error::internal("a key column of another type"))?;
    Ok((values, column))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn equal_keys_have_equal_numbers() {
        let ints = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let text = |values: Vec<Option<&str>>| Arc::new(StringViewArray::from(values)) as ArrayRef;
        let mut one = KeyIndex::new(&[DataType::Int64]).unwrap();
        assert_eq!(one.insert(&[ints(vec![Some(5), None, Some(0), Some(5), None])]).unwrap(), [0, 1, 2, 0, 1]);
        assert_eq!(one.find(&[ints(vec![Some(0), Some(1), None])]).unwrap(), [2, ABSENT, 1]);
        assert_eq!(one.range(), None);
        let mut two = KeyIndex::new(&[DataType::Int64, DataType::Utf8View]).unwrap();
        let keys = [ints(vec![Some(1), Some(1), None, Some(1)]), text(vec![Some("a"), None, Some("a"), Some("a")])];
        assert_eq!(two.insert(&keys).unwrap(), [0, 1, 2, 0]);
        assert_eq!(two.find(&[ints(vec![None]), text(vec![Some("a")])]).unwrap(), [2]);
        assert_eq!((one.len(), two.len()), (3, 3));
    }

    #[test]
    fn null_is_not_zero() {
        let mut index = KeyIndex::new(&[DataType::Int64]).unwrap();
        index.insert(&[Arc::new(Int64Array::from(vec![None::<i64>])) as ArrayRef]).unwrap();
        assert_eq!(index.find(&[Arc::new(Int64Array::from(vec![0])) as ArrayRef]).unwrap(), [ABSENT]);
        index.insert(&[Arc::new(Int64Array::from(vec![-3, 9])) as ArrayRef]).unwrap();
        assert_eq!(index.len(), 3);
    }
}
