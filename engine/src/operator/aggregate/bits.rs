//! `bit_and`, `bit_or` and `bit_xor`: how many values have each bit set, which can be taken back.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Builder, ListBuilder, PrimitiveArray, downcast_integer};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Int64Type};

use super::accumulator::{Accumulator, Feed, gather_i64, grow, only, state_column};
use crate::error::{Error, Result};

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bitwise {
    And,
    Or,
    Xor,
}

/// Counts of set bits for values of a type.
pub(super) struct Bits {
    operation: Bitwise,
    data_type: DataType,
    width: usize,
    /// Values of each group.
    values: Vec<i64>,
    /// Values with each bit set: `width` counts per group.
    set: Vec<i64>,
}

impl Bits {
    /// Nothing if values of the type are no integers.
    pub(super) fn new(operation: Bitwise, data_type: &DataType) -> Option<Self> {
        let width = data_type.is_integer().then(|| data_type.primitive_width())?? * 8;
        Some(Self { operation, data_type: data_type.clone(), width, values: Vec::new(), set: Vec::new() })
    }

    fn add<T: ArrowPrimitiveType>(&mut self, groups: &[u32], argument: &ArrayRef, feed: &Feed<'_>)
    where
        T::Native: Into<i128>,
    {
        let values = argument.as_primitive::<T>().values();
        let width = self.width;
        feed.each(groups.len(), |row, weight| {
            let group = groups[row] as usize;
            self.values[group] += weight;
            let word: i128 = values[row].into();
            let mut word = word as u64 & (u64::MAX >> (64 - width));
            let set = &mut self.set[group * width..(group + 1) * width];
            while word != 0 {
                set[word.trailing_zeros() as usize] += weight;
                word &= word - 1;
            }
        });
    }

    fn word(&self, group: u32) -> Option<u64> {
        let group = group as usize;
        let values = self.values[group];
        let has = |count: i64| match self.operation {
            Bitwise::And => count == values,
            Bitwise::Or => count != 0,
            Bitwise::Xor => count % 2 != 0,
        };
        let set = &self.set[group * self.width..(group + 1) * self.width];
        let word = || set.iter().enumerate().fold(0, |word, (bit, count)| word | u64::from(has(*count)) << bit);
        (values != 0).then(word)
    }

    fn array<T: ArrowPrimitiveType>(&self, groups: &[u32]) -> ArrayRef
    where
        T::Native: TryFrom<i128>,
    {
        // A word's sign is that of its type, so that the conversion always succeeds.
        let unused = 64 - self.width;
        let signed = self.data_type.is_signed_integer();
        let value = |word: u64| if signed { i128::from((word << unused) as i64 >> unused) } else { i128::from(word) };
        let values =
            groups.iter().map(|group| self.word(*group).and_then(|word| T::Native::try_from(value(word)).ok()));
        Arc::new(values.collect::<PrimitiveArray<T>>())
    }
}

impl Accumulator for Bits {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.values, groups);
        grow(&mut self.set, groups * self.width);
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], feed: &Feed<'_>) -> Result<()> {
        let argument = only(arguments)?;
        if *argument.data_type() != self.data_type {
            return Err(Error::internal(format!("bits of {} got {}", self.data_type, argument.data_type())));
        }
        macro_rules! add {
            ($type:ty) => {
                self.add::<$type>(groups, argument, feed)
            };
        }
        downcast_integer! {
            self.data_type => (add),
            _ => return Err(Error::internal("bits of what is no integer"))
        }
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        self.values[group as usize] = 0;
        self.set[group as usize * self.width..(group as usize + 1) * self.width].fill(0);
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        macro_rules! array {
            ($type:ty) => {
                Ok(self.array::<$type>(groups))
            };
        }
        downcast_integer! {
            self.data_type => (array),
            _ => Err(Error::internal("bits of what is no integer"))
        }
    }

    fn fields(&self) -> Vec<Field> {
        let item = Field::new_list_field(DataType::Int64, true);
        vec![Field::new("count", DataType::Int64, true), Field::new("bits", DataType::List(Arc::new(item)), true)]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut bits = ListBuilder::new(Int64Builder::new());
        for group in groups {
            let group = *group as usize;
            bits.values().append_slice(&self.set[group * self.width..(group + 1) * self.width]);
            bits.append(true);
        }
        Ok(vec![gather_i64(groups, |group| self.values[group]), Arc::new(bits.finish())])
    }

    fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        groups.iter().for_each(|group| self.clear(*group));
        self.merge(groups, columns)
    }

    fn merge(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let values = state_column(columns, 0)?.as_primitive::<Int64Type>();
        let bits = state_column(columns, 1)?.as_list::<i32>();
        for (row, group) in groups.iter().enumerate() {
            let group = *group as usize;
            self.values[group] += values.value(row);
            let counts = bits.value(row);
            let counts = counts.as_primitive::<Int64Type>().values();
            let set = &mut self.set[group * self.width..(group + 1) * self.width];
            set.iter_mut().zip(counts).for_each(|(own, count)| *own += count);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        (self.values.capacity() + self.set.capacity()) * 8
    }
}
