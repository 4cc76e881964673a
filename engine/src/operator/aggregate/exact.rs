//! Exact sums of doubles, one per group: the same whatever the order of the values and whatever came and went between.
//!
//! A sum is kept as an unevaluated pair of doubles for as long as the pair is exact, which is checked at every addition
//! (the error of a floating point addition is itself a double: Knuth's TwoSum). Most data never need more. A group
//! whose values lie too far apart gets a [`Wide`] sum, and loses it again when the pair is enough.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float64Array};
use arrow::datatypes::{DataType, Field, Float64Type};

use super::accumulator::{grow, state_column};
use super::wide::Wide;
use crate::error::{Error, ErrorKind, Result};

/// Columns of checkpointed state that [`ExactSums`] needs.
pub(super) const STATE_COLUMNS: usize = 3;

/// `high + low`, exactly; `high` is NaN where the sum is a wide one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Pair {
    high: f64,
    low: f64,
}

const WIDE: Pair = Pair { high: f64::NAN, low: 0.0 };

/// Sum and error of an addition: `left + right == sum + error` unless the sum overflows (then the error is NaN).
#[inline(always)]
fn two_sum(left: f64, right: f64) -> (f64, f64) {
    let sum = left + right;
    let part = sum - left;
    (sum, (left - (sum - part)) + (right - part))
}

/// Product and error of a multiplication, exact unless there is over- or underflow.
#[inline(always)]
fn two_product(left: f64, right: f64) -> (f64, f64) {
    let product = left * right;
    (product, left.mul_add(right, -product))
}

/// Exact sums by group slot.
#[derive(Debug, Default)]
pub(super) struct ExactSums {
    pairs: Vec<Pair>,
    wide: HashMap<u32, Wide, foldhash::fast::FixedState>,
}

impl ExactSums {
    pub(super) fn resize(&mut self, groups: usize) {
        grow(&mut self.pairs, groups);
    }

    /// Adds a finite value.
    #[inline(always)]
    pub(super) fn add(&mut self, group: u32, value: f64) {
        let pair = &mut self.pairs[group as usize];
        let (high, error) = two_sum(pair.high, value);
        if error == 0.0 {
            pair.high = high;
            return;
        }
        let (low, lost) = two_sum(pair.low, error);
        if lost == 0.0 {
            *pair = Pair { high, low };
            return;
        }
        self.add_slowly(group, value, 1);
    }

    /// Adds `value * weight`, the value being finite.
    #[inline(always)]
    pub(super) fn add_weighted(&mut self, group: u32, value: f64, weight: i64) {
        match weight {
            1 => self.add(group, value),
            -1 => self.add(group, -value),
            _ => self.add_slowly(group, value, weight),
        }
    }

    /// Adds `left * right * weight`, the factors being finite.
    #[inline(always)]
    pub(super) fn add_product(&mut self, group: u32, left: f64, right: f64, weight: i64) {
        let (product, error) = two_product(left, right);
        // Only products of this size have an error that is a double for sure.
        let plain = product.abs() > 1e-280 && product.abs() < 1e300 || left == 0.0 || right == 0.0;
        if plain && (weight == 1 || weight == -1) {
            let sign = weight as f64;
            self.add(group, sign * product);
            if error != 0.0 {
                self.add(group, sign * error);
            }
            return;
        }
        self.widen(group).add_product(left, right, weight);
    }

    #[cold]
    fn add_slowly(&mut self, group: u32, value: f64, weight: i64) {
        let pair = &mut self.pairs[group as usize];
        if !pair.high.is_nan() {
            let (high, low) = two_sum(pair.high, pair.low);
            let (product, rest) = two_product(value, weight as f64);
            let (high, error) = two_sum(high, product);
            let (low, lost) = two_sum(low, error);
            let (low, lost_too) = two_sum(low, rest);
            // A weight beyond 2^53 is not a double, and below this size the product's error is not one either.
            let plain = weight.unsigned_abs() < 1 << 53 && (value.abs() > 1e-280 || weight.abs() == 1 || value == 0.0);
            if plain && lost == 0.0 && lost_too == 0.0 {
                *pair = Pair { high, low };
                return;
            }
        }
        self.widen(group).add(value, weight);
    }

    fn widen(&mut self, group: u32) -> &mut Wide {
        let pair = std::mem::replace(&mut self.pairs[group as usize], WIDE);
        let wide = self.wide.entry(group).or_default();
        if !pair.high.is_nan() {
            wide.add(pair.high, 1);
            wide.add(pair.low, 1);
        }
        wide
    }

    /// Adds the sums of some groups of `other` to groups of this one.
    pub(super) fn merge(&mut self, groups: &[u32], other: &Self) {
        for (from, group) in groups.iter().enumerate() {
            let Pair { high, low } = other.pairs[from];
            match other.wide.get(&(from as u32)) {
                Some(wide) => self.widen(*group).add_wide(wide),
                None => {
                    self.add(*group, high);
                    self.add(*group, low);
                }
            }
        }
    }

    /// All additions of an epoch are in: what a pair can hold is one again.
    pub(super) fn settle(&mut self, group: u32) {
        if self.wide.is_empty() {
            return;
        }
        let Some(wide) = self.wide.get_mut(&group) else { return };
        let high = wide.round();
        if !high.is_finite() {
            return;
        }
        let mut rest = wide.clone();
        rest.add(high, -1);
        let low = rest.round();
        rest.add(low, -1);
        if rest.is_zero() {
            self.wide.remove(&group);
            self.pairs[group as usize] = Pair { high, low };
        }
    }

    pub(super) fn clear(&mut self, group: u32) {
        self.pairs[group as usize] = Pair::default();
        if !self.wide.is_empty() {
            self.wide.remove(&group);
        }
    }

    /// The double nearest to a sum; infinite if the sum is too large for any.
    pub(super) fn round(&self, group: u32) -> f64 {
        let Pair { high, low } = self.pairs[group as usize];
        if high.is_nan() { self.wide(group).round() } else { high + low + 0.0 }
    }

    /// The sum itself.
    pub(super) fn wide(&self, group: u32) -> Wide {
        if let Some(wide) = self.wide.get(&group) {
            return wide.clone();
        }
        let Pair { high, low } = self.pairs[group as usize];
        let mut wide = Wide::default();
        wide.add(high, 1);
        wide.add(low, 1);
        wide
    }

    pub(super) fn fields(name: &str) -> Vec<Field> {
        vec![
            Field::new(format!("{name}_high"), DataType::Float64, true),
            Field::new(format!("{name}_low"), DataType::Float64, true),
            Field::new(format!("{name}_digits"), DataType::Binary, true),
        ]
    }

    /// The state of the given groups: a pair, or the digits of a wide sum.
    pub(super) fn state(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let pair = |group: &u32| Some(self.pairs[*group as usize]).filter(|pair| !pair.high.is_nan());
        let digits = groups.iter().map(|group| self.wide.get(group).map(Wide::to_bytes));
        vec![
            Arc::new(groups.iter().map(|group| pair(group).map(|pair| pair.high)).collect::<Float64Array>()),
            Arc::new(groups.iter().map(|group| pair(group).map(|pair| pair.low)).collect::<Float64Array>()),
            Arc::new(digits.collect::<BinaryArray>()),
        ]
    }

    /// Puts back the state of the given groups.
    pub(super) fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let damaged = || Error::new(ErrorKind::Corrupt, "the state of an aggregate holds no exact sum");
        let float = |at| state_column(columns, at)?.as_primitive_opt::<Float64Type>().ok_or_else(damaged);
        let (high, low) = (float(0)?, float(1)?);
        let digits = state_column(columns, 2)?.as_binary_opt::<i32>().ok_or_else(damaged)?;
        for (row, group) in groups.iter().enumerate() {
            self.clear(*group);
            self.pairs[*group as usize] = if digits.is_valid(row) {
                self.wide.insert(*group, Wide::from_bytes(digits.value(row)).ok_or_else(damaged)?);
                WIDE
            } else {
                Pair { high: high.value(row), low: low.value(row) }
            };
        }
        Ok(())
    }

    /// Estimate of the memory held.
    pub(super) fn bytes(&self) -> usize {
        self.pairs.capacity() * size_of::<Pair>() + self.wide.len() * 256
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-1000_i32..1000).prop_map(|cents| f64::from(cents) / 100.0),
            2 => any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite()),
            1 => prop::sample::select(vec![1e300, -1e300, 1e-300, f64::MAX, f64::MIN_POSITIVE, -0.0, 5e-324]),
        ]
    }

    proptest! {
        #[test]
        fn sums_are_those_of_a_wide_sum(
            steps in prop::collection::vec((0_u32..2, value(), value(), -2_i64..3, any::<bool>()), 0..60),
        ) {
            let mut sums = ExactSums::default();
            sums.resize(2);
            let mut model = [Wide::default(), Wide::default()];
            for (group, left, right, weight, product) in steps {
                if product {
                    sums.add_product(group, left, right, weight);
                    model[group as usize].add_product(left, right, weight);
                } else {
                    sums.add_weighted(group, left, weight);
                    model[group as usize].add(left, weight);
                }
                sums.settle(group);
                let mut again = ExactSums::default();
                again.resize(2);
                again.restore(&[0, 1], &sums.state(&[0, 1])).unwrap();
                let mut merged = ExactSums::default();
                merged.resize(2);
                merged.merge(&[1, 0], &again);
                for (group, model) in model.iter_mut().enumerate() {
                    let want = model.round();
                    prop_assert_eq!(sums.round(group as u32).to_bits(), want.to_bits());
                    prop_assert_eq!(sums.wide(group as u32).round().to_bits(), want.to_bits());
                    prop_assert_eq!(again.round(group as u32).to_bits(), want.to_bits());
                    prop_assert_eq!(merged.round(1 - group as u32).to_bits(), want.to_bits());
                }
            }
        }
    }

    #[test]
    fn ordinary_values_need_no_wide_sum() {
        let mut sums = ExactSums::default();
        sums.resize(1);
        for at in 0..100_000 {
            sums.add(0, f64::from(at % 1009) / 100.0);
        }
        assert!(sums.wide.is_empty());
    }
}
