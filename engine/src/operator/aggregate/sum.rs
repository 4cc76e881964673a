//! `sum` and `avg` of integers, decimals, durations and floats, all exact.
//!
//! Integers are summed in 128 bits, so that a sum which overflows only between two retractions is still exact; a result
//! that does not fit its type is an error. Floats are summed exactly and rounded once, when the result is shown, so it
//! does not depend on the order of rows nor on those that came and went. NaN and infinities are counted, not added, so
//! that they can be taken back too.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Field, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::accumulator::{Accumulator, Feed, gather_i64, grow, only, state_column};
use super::exact::{ExactSums, STATE_COLUMNS};
use crate::error::{Error, Result};

/// Runs code with `$T` as the Arrow type of a data type whose values are whole numbers.
macro_rules! whole {
    ($data_type:expr, $T:ident => $body:expr, _ => $other:expr) => {
        whole!(@ $data_type, $T, $body, $other,
            DataType::Int8 => Int8Type, DataType::Int16 => Int16Type, DataType::Int32 => Int32Type,
            DataType::Int64 => Int64Type, DataType::UInt8 => UInt8Type, DataType::UInt16 => UInt16Type,
            DataType::UInt32 => UInt32Type, DataType::UInt64 => UInt64Type,
            DataType::Decimal32(..) => Decimal32Type, DataType::Decimal64(..) => Decimal64Type,
            DataType::Decimal128(..) => Decimal128Type,
            DataType::Duration(TimeUnit::Second) => DurationSecondType,
            DataType::Duration(TimeUnit::Millisecond) => DurationMillisecondType,
            DataType::Duration(TimeUnit::Microsecond) => DurationMicrosecondType,
            DataType::Duration(TimeUnit::Nanosecond) => DurationNanosecondType)
    };
    (@ $data_type:expr, $T:ident, $body:expr, $other:expr, $($pattern:pat => $type:ty),*) => {
        match $data_type {
            $($pattern => {
                type $T = $type;
                $body
            })*
            _ => $other,
        }
    };
}

/// The accumulator of `sum` or `avg` from one type to another, if there is one.
pub(super) fn sum(name: &str, average: bool, from: &DataType, to: &DataType) -> Option<Box<dyn Accumulator>> {
    match (from, to) {
        (DataType::Float32 | DataType::Float64, DataType::Float64) => {
            Some(Box::new(FloatSum { average, ..FloatSum::default() }))
        }
        (DataType::Float32 | DataType::Float64, _) => None,
        _ => {
            let factor = whole!(from, _T => factor(average, from, to)?, _ => return None);
            let (name, from, to) = (name.to_owned(), from.clone(), to.clone());
            Some(Box::new(WholeSum { name, average, from, to, factor, states: Vec::new() }))
        }
    }
}

/// What a sum is multiplied by to have the scale of the result; `None` if the types do not go together.
fn factor(average: bool, from: &DataType, to: &DataType) -> Option<i128> {
    let scale = |data_type: &DataType| match data_type {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => Some(*scale),
        _ => None,
    };
    match (scale(from), scale(to)) {
        (Some(from), Some(to)) => 10_i128.checked_pow(u32::try_from(to.checked_sub(from)?).ok()?),
        (None, None) if *to == DataType::Float64 => average.then_some(1),
        (None, None) => whole!(to, _T => Some(1), _ => None),
        _ => None,
    }
}

#[derive(Clone, Default)]
struct WholeState {
    sum: i128,
    count: i64,
}

/// Sum or average of whole numbers.
struct WholeSum {
    name: String,
    average: bool,
    from: DataType,
    to: DataType,
    factor: i128,
    states: Vec<WholeState>,
}

impl WholeSum {
    fn add<T: ArrowPrimitiveType>(&mut self, groups: &[u32], argument: &ArrayRef, feed: &Feed<'_>)
    where
        T::Native: Into<i128>,
    {
        let values = argument.as_primitive::<T>().values();
        feed.each(groups.len(), |row, weight| {
            let state = &mut self.states[groups[row] as usize];
            state.sum = state.sum.wrapping_add(values[row].into().wrapping_mul(i128::from(weight)));
            state.count += weight;
        });
    }

    fn array<T: ArrowPrimitiveType>(&self, groups: &[u32]) -> Result<ArrayRef>
    where
        T::Native: TryFrom<i128>,
    {
        let limit = match self.to {
            DataType::Decimal32(precision, _)
            | DataType::Decimal64(precision, _)
            | DataType::Decimal128(precision, _) => 10_i128.pow(u32::from(precision)),
            _ => i128::MAX,
        };
        let value = |group: &u32| {
            let WholeState { sum, count } = self.states[*group as usize];
            if count == 0 {
                return Ok(None);
            }
            let scaled = sum.checked_mul(self.factor).ok_or_else(|| self.overflow())?;
            let value = if self.average { scaled / i128::from(count) } else { scaled };
            if value >= limit || value <= -limit {
                return Err(self.overflow());
            }
            T::Native::try_from(value).map(Some).map_err(|_| self.overflow())
        };
        let values = groups.iter().map(value).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(values.into_iter().collect::<PrimitiveArray<T>>().with_data_type(self.to.clone())))
    }

    fn overflow(&self) -> Error {
        Error::data(format!("the result of {} does not fit the type {}", self.name, self.to))
            .hint("cast the argument to a wider type, such as DECIMAL(38, 0) or DOUBLE")
    }
}

impl Accumulator for WholeSum {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.states, groups);
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], feed: &Feed<'_>) -> Result<()> {
        let argument = only(arguments)?;
        if *argument.data_type() != self.from {
            return Err(Error::internal(format!("{} got {} for {}", self.name, argument.data_type(), self.from)));
        }
        whole!(self.from, T => self.add::<T>(groups, argument, feed), _ => ());
        Ok(())
    }

    fn clear(&mut self, group: u32) {
        self.states[group as usize] = WholeState::default();
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        if self.to == DataType::Float64 {
            let value = |group: &u32| {
                let WholeState { sum, count } = self.states[*group as usize];
                (count != 0).then(|| sum as f64 / count as f64)
            };
            return Ok(Arc::new(groups.iter().map(value).collect::<Float64Array>()));
        }
        whole!(self.to, T => self.array::<T>(groups), _ => Err(self.overflow()))
    }

    fn fields(&self) -> Vec<Field> {
        vec![Field::new("sum", DataType::Decimal128(38, 0), true), Field::new("count", DataType::Int64, true)]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let sums = Decimal128Array::from_iter_values(groups.iter().map(|group| self.states[*group as usize].sum));
        let sums = sums.with_data_type(DataType::Decimal128(38, 0));
        Ok(vec![Arc::new(sums), gather_i64(groups, |group| self.states[group].count)])
    }

    fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let sums = state_column(columns, 0)?.as_primitive::<Decimal128Type>();
        let counts = state_column(columns, 1)?.as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            self.states[*group as usize] = WholeState { sum: sums.value(row), count: counts.value(row) };
        }
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let sums = state_column(columns, 0)?.as_primitive::<Decimal128Type>();
        let counts = state_column(columns, 1)?.as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            let state = &mut self.states[*group as usize];
            state.sum = state.sum.wrapping_add(sums.value(row));
            state.count += counts.value(row);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<WholeState>()
    }
}

/// How many values of a group are not finite.
#[derive(Clone, Copy, Default, PartialEq)]
struct Specials {
    nan: i64,
    positive: i64,
    negative: i64,
}

/// Sum or average of floats.
#[derive(Default)]
struct FloatSum {
    average: bool,
    sums: ExactSums,
    /// All values counted, those that are not finite too.
    counts: Vec<i64>,
    specials: HashMap<u32, Specials, foldhash::fast::FixedState>,
}

impl FloatSum {
    fn add<T: ArrowPrimitiveType>(&mut self, groups: &[u32], argument: &ArrayRef, feed: &Feed<'_>)
    where
        T::Native: Into<f64>,
    {
        let values = argument.as_primitive::<T>().values();
        feed.each(groups.len(), |row, weight| {
            let value: f64 = values[row].into();
            let group = groups[row];
            self.counts[group as usize] += weight;
            if value.is_finite() {
                self.sums.add_weighted(group, value, weight);
                return;
            }
            let specials = self.specials.entry(group).or_default();
            if value.is_nan() {
                specials.nan += weight;
            } else if value > 0.0 {
                specials.positive += weight;
            } else {
                specials.negative += weight;
            }
        });
    }

    fn value(&self, group: u32) -> Option<f64> {
        let count = self.counts[group as usize];
        let specials = self.specials.get(&group).copied().unwrap_or_default();
        let sum = match (specials.nan != 0, specials.positive != 0, specials.negative != 0) {
            (false, false, false) => self.sums.round(group),
            (false, true, false) => f64::INFINITY,
            (false, false, true) => f64::NEG_INFINITY,
            _ => f64::NAN.abs(),
        };
        (count != 0).then(|| if self.average { sum / count as f64 } else { sum })
    }

    fn set_specials(&mut self, group: u32, specials: Specials) {
        if specials == Specials::default() {
            self.specials.remove(&group);
        } else {
            self.specials.insert(group, specials);
        }
    }
}

impl Accumulator for FloatSum {
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups);
        grow(&mut self.counts, groups);
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], feed: &Feed<'_>) -> Result<()> {
        let argument = only(arguments)?;
        match argument.data_type() {
            DataType::Float64 => self.add::<Float64Type>(groups, argument, feed),
            DataType::Float32 => self.add::<Float32Type>(groups, argument, feed),
            other => return Err(Error::internal(format!("a sum of floats got {other}"))),
        }
        Ok(())
    }

    fn settle(&mut self, groups: &[u32]) {
        groups.iter().for_each(|group| self.sums.settle(*group));
        if !self.specials.is_empty() {
            self.specials.retain(|_, specials| *specials != Specials::default());
        }
    }

    fn clear(&mut self, group: u32) {
        self.sums.clear(group);
        self.counts[group as usize] = 0;
        self.specials.remove(&group);
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(groups.iter().map(|group| self.value(*group)).collect::<Float64Array>()))
    }

    fn fields(&self) -> Vec<Field> {
        let counts = ["count", "nan", "infinite", "negative_infinite"];
        let counts = counts.map(|name| Field::new(name, DataType::Int64, true));
        ExactSums::fields("sum").into_iter().chain(counts).collect()
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let special = |value: fn(&Specials) -> i64| {
            gather_i64(groups, |group| self.specials.get(&(group as u32)).map_or(0, value))
        };
        let mut columns = self.sums.state(groups);
        columns.push(gather_i64(groups, |group| self.counts[group]));
        columns.push(special(|specials| specials.nan));
        columns.push(special(|specials| specials.positive));
        columns.push(special(|specials| specials.negative));
        Ok(columns)
    }

    fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.sums.restore(groups, columns)?;
        let int = |at| Ok::<_, Error>(state_column(columns, STATE_COLUMNS + at)?.as_primitive::<Int64Type>());
        let (counts, nan, positive, negative) = (int(0)?, int(1)?, int(2)?, int(3)?);
        for (row, group) in groups.iter().enumerate() {
            self.counts[*group as usize] = counts.value(row);
            let specials =
                Specials { nan: nan.value(row), positive: positive.value(row), negative: negative.value(row) };
            self.set_specials(*group, specials);
        }
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let mut other = Self::default();
        other.resize(groups.len());
        let own: Vec<u32> = (0..groups.len() as u32).collect();
        other.restore(&own, columns)?;
        self.sums.merge(groups, &other.sums);
        for (group, count) in groups.iter().zip(&other.counts) {
            self.counts[*group as usize] += count;
        }
        for (row, more) in &other.specials {
            let specials = self.specials.entry(groups[*row as usize]).or_default();
            specials.nan += more.nan;
            specials.positive += more.positive;
            specials.negative += more.negative;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sums.bytes() + self.counts.capacity() * 8 + self.specials.capacity() * 32
    }
}
