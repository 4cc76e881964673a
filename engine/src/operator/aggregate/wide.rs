//! An exact sum of doubles and of products of two doubles, however far their magnitudes lie apart.
//!
//! A long accumulator (Kulisch, "Very fast and exact accumulation of products", Computing 91, 2011): a fixed-point number
//! in digits of 32 bits. Digits are kept in 64 bits, so that carries need to be passed on only once in a billion
//! additions, and only those digits exist that some summand has touched.

/// Additions after which carries are passed on: each changes a digit by less than 2^32.
const MAX_PENDING: u32 = 1 << 30;

/// `sum(digits[i] * 2^(32 * (low + i)))`; digits may be negative or too large until [`Wide::normalise`].
#[derive(Debug, Clone, Default)]
pub(super) struct Wide {
    low: i32,
    digits: Vec<i64>,
    pending: u32,
}

/// A finite double as `(negative, mantissa, exponent)`: `mantissa * 2^exponent`.
fn parts(value: f64) -> (bool, u64, i32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    match (bits >> 52) as i32 & 0x7ff {
        0 => (bits >> 63 == 1, fraction, -1074),
        biased => (bits >> 63 == 1, fraction | 1 << 52, biased - 1075),
    }
}

impl Wide {
    /// Adds `value * weight`; the value must be finite.
    pub(super) fn add(&mut self, value: f64, weight: i64) {
        let (negative, mantissa, exponent) = parts(value);
        let magnitude = u128::from(mantissa) * u128::from(weight.unsigned_abs());
        self.add_magnitude(negative != (weight < 0), magnitude, exponent);
    }

    /// Adds `left * right * weight`; the factors must be finite.
    pub(super) fn add_product(&mut self, left: f64, right: f64, weight: i64) {
        let (left_negative, left, left_exponent) = parts(left);
        let (right_negative, right, right_exponent) = parts(right);
        let negative = (left_negative != right_negative) != (weight < 0);
        let (product, exponent) = (u128::from(left) * u128::from(right), left_exponent + right_exponent);
        let weight = u128::from(weight.unsigned_abs());
        self.add_magnitude(negative, u128::from(product as u64) * weight, exponent);
        self.add_magnitude(negative, (product >> 64) * weight, exponent + 64);
    }

    /// Adds `other * factor * weight`; the factor must be finite.
    pub(super) fn add_times(&mut self, other: &Self, factor: f64, weight: i64) {
        let (negative, mantissa, exponent) = parts(factor);
        let mut other = other.clone();
        other.normalise();
        for (digit, place) in other.digits.iter().zip(other.low..) {
            let negative = (negative != (weight < 0)) != (*digit < 0);
            let product = u128::from(digit.unsigned_abs()) * u128::from(mantissa);
            let (exponent, weight) = (exponent + 32 * place, u128::from(weight.unsigned_abs()));
            self.add_magnitude(negative, u128::from(product as u64) * weight, exponent);
            self.add_magnitude(negative, (product >> 64) * weight, exponent + 64);
        }
    }

    /// Adds another sum.
    pub(super) fn add_wide(&mut self, other: &Self) {
        self.add_times(other, 1.0, 1);
    }

    fn add_magnitude(&mut self, negative: bool, magnitude: u128, exponent: i32) {
        self.add_word(negative, magnitude as u64, exponent);
        self.add_word(negative, (magnitude >> 64) as u64, exponent + 64);
    }

    fn add_word(&mut self, negative: bool, word: u64, exponent: i32) {
        if word == 0 {
            return;
        }
        let at = self.room(exponent.div_euclid(32));
        let shifted = u128::from(word) << exponent.rem_euclid(32);
        for (digit, part) in self.digits[at..at + 3].iter_mut().zip([0, 32, 64]) {
            let part = i64::from((shifted >> part) as u32);
            *digit += if negative { -part } else { part };
        }
        self.pending += 1;
        if self.pending == MAX_PENDING {
            self.normalise();
        }
    }

    /// Index of the digit at a place; it and two above it are there.
    fn room(&mut self, place: i32) -> usize {
        if self.digits.is_empty() {
            self.low = place;
        }
        if place < self.low {
            let missing = (self.low - place) as usize;
            self.digits.splice(0..0, std::iter::repeat_n(0, missing));
            self.low = place;
        }
        let at = (place - self.low) as usize;
        if self.digits.len() < at + 3 {
            self.digits.resize(at + 3, 0);
        }
        at
    }

    /// Passes carries on: every digit but the last, which bears the sign, is then in `0..2^32`. Zeros at both ends go.
    fn normalise(&mut self) {
        let mut carry = 0;
        for digit in &mut self.digits {
            *digit += carry;
            carry = *digit >> 32;
            *digit &= 0xffff_ffff;
        }
        if carry != 0 {
            self.digits.push(carry);
        }
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
        self.low = if self.digits.is_empty() { 0 } else { self.low + zeros as i32 };
        self.pending = 0;
    }

    /// The nearest double, ties to even; 0 is positive; infinite if the sum is too large.
    pub(super) fn round(&mut self) -> f64 {
        self.normalise();
        let negative = self.digits.last().is_some_and(|digit| *digit < 0);
        if !negative {
            return magnitude(&self.digits, self.low);
        }
        let mut negated = Self { low: self.low, digits: self.digits.iter().map(|digit| -digit).collect(), pending: 0 };
        negated.normalise();
        -magnitude(&negated.digits, negated.low) + 0.0
    }

    /// Whether the sum is 0 exactly: what rounds to 0 may be less than the least double.
    pub(super) fn is_zero(&mut self) -> bool {
        self.normalise();
        self.digits.is_empty()
    }

    /// The sum as bytes: place of the lowest digit, then all digits, little-endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut normal = self.clone();
        normal.normalise();
        normal.low.to_le_bytes().into_iter().chain(normal.digits.iter().flat_map(|digit| digit.to_le_bytes())).collect()
    }

    /// The reverse of [`Wide::to_bytes`]; nothing if the bytes are no sum.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (low, digits) = bytes.split_first_chunk::<4>()?;
        let (digits, []) = digits.as_chunks::<8>() else { return None };
        let digits = digits.iter().map(|digit| i64::from_le_bytes(*digit)).collect();
        Some(Self { low: i32::from_le_bytes(*low), digits, pending: 0 })
    }
}

/// The double nearest to a number of normal, not negative digits without a leading 0.
fn magnitude(digits: &[i64], low: i32) -> f64 {
    let Some(top) = digits.len().checked_sub(1) else { return 0.0 };
    let digit = |back: usize| top.checked_sub(back).map_or(0, |at| digits[at] as u128);
    let leading = digit(0) << 64 | digit(1) << 32 | digit(2);
    let surplus = 64 - leading.leading_zeros() as i32;
    let word = (leading >> surplus) as u64;
    let rest = leading & ((1 << surplus) - 1) != 0 || digits[..top.saturating_sub(2)].iter().any(|digit| *digit != 0);
    let exponent = 32 * (low + top as i32 - 2) + surplus;
    // Whatever lies below only decides on which side of a tie the number is.
    let sticky = word | u64::from(rest);
    if exponent + 64 > 1024 {
        return f64::INFINITY;
    }
    let dropped = -1074 - exponent;
    if dropped <= 11 {
        return scaled(sticky as f64, exponent);
    }
    if dropped > 64 {
        return 0.0;
    }
    // Below the normal range a double has fewer bits.
    let (kept, lost) = if dropped == 64 { (0, sticky) } else { (sticky >> dropped, sticky << (64 - dropped)) };
    let half = 1_u64 << 63;
    let up = lost > half || lost == half && kept & 1 == 1;
    f64::from_bits(kept + u64::from(up))
}

/// `value * 2^exponent`, the result being a normal number.
fn scaled(value: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    let power = |exponent: i32| f64::from_bits(((exponent + 1023) as u64) << 52);
    value * power(half) * power(exponent - half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finite() -> impl Strategy<Value = f64> {
        any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite())
    }

    proptest! {
        #[test]
        fn one_value_is_itself(value in finite(), weight in 1_i64..5) {
            let mut wide = Wide::default();
            wide.add(value, weight);
            wide.add(value, 1 - weight);
            prop_assert_eq!(wide.round().to_bits(), (value + 0.0).to_bits());
            let mut again = Wide::from_bytes(&wide.to_bytes()).unwrap();
            prop_assert_eq!(again.round().to_bits(), (value + 0.0).to_bits());
        }

        #[test]
        fn two_values_are_rounded_as_the_processor_does(left in finite(), right in finite()) {
            let mut wide = Wide::default();
            wide.add(left, 1);
            wide.add(right, 1);
            prop_assert_eq!(wide.round().to_bits(), (left + right + 0.0).to_bits());
            let mut product = Wide::default();
            product.add_product(left, right, 1);
            prop_assert_eq!(product.round().to_bits(), (left * right + 0.0).to_bits());
        }

        #[test]
        fn what_was_added_can_be_taken_back(values in prop::collection::vec((finite(), finite(), -3_i64..4), 0..40)) {
            let mut wide = Wide::default();
            wide.add(0.1, 3);
            for (left, right, weight) in &values {
                wide.add(*left, *weight);
                wide.add_product(*left, *right, *weight);
            }
            let sum = wide.clone();
            for (left, right, weight) in values.iter().rev() {
                wide.add_product(*left, -right, *weight);
                wide.add(-left, *weight);
            }
            prop_assert_eq!(wide.round(), 0.1_f64.mul_add(3.0, 0.0));
            let mut twice = sum.clone();
            twice.add_times(&sum, 3.5, -2);
            twice.add_times(&sum, 6.0, 1);
            prop_assert_eq!(twice.round(), 0.0);
        }

        #[test]
        fn whole_numbers_are_summed_as_such(values in prop::collection::vec((any::<i32>(), any::<i32>()), 0..40)) {
            let mut wide = Wide::default();
            values.iter().for_each(|(a, b)| wide.add_product(f64::from(*a), f64::from(*b), 1));
            let sum: i128 = values.iter().map(|(a, b)| i128::from(*a) * i128::from(*b)).sum();
            prop_assert_eq!(wide.round(), sum as f64);
        }
    }
}
