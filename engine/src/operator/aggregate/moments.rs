//! Variance, standard deviation, covariance, correlation and linear regression, from exact sums.
//!
//! Kept are the number of rows and the exact sums of x, y, x², y² and xy. A result is computed from the values' deviations from
//! their rounded mean, whose sums follow exactly from the kept ones; only the last few operations round. So results do
//! not depend on the order of rows nor on those that came and went, and suffer no cancellation. A NaN or an
//! infinity among the values makes every result but the count NaN.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};

use super::accumulator::{Accumulator, Feed, gather_i64, grow, state_column};
use super::exact::{ExactSums, STATE_COLUMNS};
use super::wide::Wide;
use crate::error::{Error, Result};

/// What is computed, under its name in SQL. Of two arguments the first is y, the second x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// `var_pop`
    VarPop,
    /// `var_samp`
    VarSamp,
    /// `stddev_pop`
    StddevPop,
    /// `stddev_samp`
    StddevSamp,
    /// `covar_pop`
    CovarPop,
    /// `covar_samp`
    CovarSamp,
    /// `corr`
    Corr,
    /// `regr_slope`
    RegrSlope,
    /// `regr_intercept`
    RegrIntercept,
    /// `regr_count`
    RegrCount,
    /// `regr_r2`
    RegrR2,
    /// `regr_avgx`
    RegrAvgX,
    /// `regr_avgy`
    RegrAvgY,
    /// `regr_sxx`
    RegrSxx,
    /// `regr_syy`
    RegrSyy,
    /// `regr_sxy`
    RegrSxy,
}

/// DataFusion's names.
const NAMES: [(&str, Statistic); 16] = [
    ("var_pop", Statistic::VarPop),
    ("var", Statistic::VarSamp),
    ("stddev_pop", Statistic::StddevPop),
    ("stddev", Statistic::StddevSamp),
    ("covar_pop", Statistic::CovarPop),
    ("covar_samp", Statistic::CovarSamp),
    ("corr", Statistic::Corr),
    ("regr_slope", Statistic::RegrSlope),
    ("regr_intercept", Statistic::RegrIntercept),
    ("regr_count", Statistic::RegrCount),
    ("regr_r2", Statistic::RegrR2),
    ("regr_avgx", Statistic::RegrAvgX),
    ("regr_avgy", Statistic::RegrAvgY),
    ("regr_sxx", Statistic::RegrSxx),
    ("regr_syy", Statistic::RegrSyy),
    ("regr_sxy", Statistic::RegrSxy),
];

impl Statistic {
    /// The statistic that DataFusion calls so (aliases are resolved before).
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, statistic)| *statistic)
    }

    /// DataFusion's name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, statistic)| *statistic == self).map_or("", |(name, _)| name)
    }

    /// Number of arguments.
    pub(super) fn arguments(self) -> usize {
        match self {
            Self::VarPop | Self::VarSamp | Self::StddevPop | Self::StddevSamp => 1,
            _ => 2,
        }
    }

    /// The sums that it needs.
    fn sums(self) -> &'static [Sum] {
        match self {
            Self::VarPop | Self::VarSamp | Self::StddevPop | Self::StddevSamp => &[Sum::Y, Sum::YY],
            Self::CovarPop | Self::CovarSamp | Self::RegrSxy => &[Sum::X, Sum::Y, Sum::XY],
            Self::Corr | Self::RegrR2 => &[Sum::X, Sum::Y, Sum::XX, Sum::YY, Sum::XY],
            Self::RegrSlope | Self::RegrIntercept => &[Sum::X, Sum::Y, Sum::XX, Sum::XY],
            Self::RegrCount => &[],
            Self::RegrAvgX => &[Sum::X],
            Self::RegrAvgY => &[Sum::Y],
            Self::RegrSxx => &[Sum::X, Sum::XX],
            Self::RegrSyy => &[Sum::Y, Sum::YY],
        }
    }
}

/// 2^-64: brings a sum of any number of doubles into the range of doubles.
const SMALL: f64 = 1.0 / (u64::MAX as f64);

/// A kept sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sum {
    X,
    Y,
    XX,
    YY,
    XY,
}

impl Sum {
    fn name(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::Y => "y",
            Self::XX => "xx",
            Self::YY => "yy",
            Self::XY => "xy",
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Rows {
    count: i64,
    /// Rows in which a value is not finite.
    special: i64,
}

/// One statistic of all groups.
pub(super) struct Moments {
    statistic: Statistic,
    rows: Vec<Rows>,
    sums: Vec<(Sum, ExactSums)>,
}

/// Sum of one variable as it is needed for deviations from the mean.
struct Centred {
    sum: Wide,
    /// The mean, rounded.
    centre: f64,
    /// The sum of deviations from it: what rounding it made of 0.
    rest: f64,
}

impl Centred {
    fn new(sum: Wide, count: i64) -> Self {
        let rest = |centre: f64| {
            let mut rest = sum.clone();
            rest.add(centre, -count);
            rest.round()
        };
        let n = count as f64;
        let mut rough = sum.clone().round() / n;
        if !rough.is_finite() {
            // The sum is larger than any double, but no mean is.
            let mut small = Wide::default();
            small.add_times(&sum, SMALL, 1);
            rough = small.round() / n / SMALL;
        }
        let centre = rough + rest(rough) / n;
        let rest = rest(centre);
        Self { sum, centre, rest }
    }
}

/// `sum((a - mean(a)) * (b - mean(b)))` from the sum of products.
fn deviations(mut products: Wide, a: &Centred, b: &Centred, count: i64) -> f64 {
    products.add_times(&a.sum, b.centre, -1);
    products.add_times(&b.sum, a.centre, -1);
    products.add_product(a.centre, b.centre, count);
    products.round() - a.rest * (b.rest / count as f64)
}

impl Moments {
    pub(super) fn new(statistic: Statistic) -> Self {
        let sums = statistic.sums().iter().map(|sum| (*sum, ExactSums::default())).collect();
        Self { statistic, rows: Vec::new(), sums }
    }

    fn sum(&self, wanted: Sum, group: u32) -> Wide {
        let found = self.sums.iter().find(|(sum, _)| *sum == wanted);
        found.map_or_else(Wide::default, |(_, sums)| sums.wide(group))
    }

    fn value(&self, group: u32) -> Option<f64> {
        use Statistic as S;
        let Rows { count, special } = self.rows[group as usize];
        let least = match self.statistic {
            S::VarSamp | S::StddevSamp | S::CovarSamp | S::Corr | S::RegrSlope | S::RegrIntercept | S::RegrR2 => 2,
            _ => 1,
        };
        if count < least {
            return None;
        }
        if special != 0 {
            return Some(f64::NAN.abs());
        }
        let n = count as f64;
        let centred = |sum| Centred::new(self.sum(sum, group), count);
        let mean = |sum| centred(sum).centre + 0.0;
        let square = |sum, squares| {
            let centred = centred(sum);
            let sum = deviations(self.sum(squares, group), &centred, &centred, count);
            if sum < 0.0 { 0.0 } else { sum }
        };
        let sxx = || square(Sum::X, Sum::XX);
        let syy = || square(Sum::Y, Sum::YY);
        let sxy = || deviations(self.sum(Sum::XY, group), &centred(Sum::X), &centred(Sum::Y), count) + 0.0;
        Some(match self.statistic {
            S::VarPop => syy() / n,
            S::VarSamp => syy() / (n - 1.0),
            S::StddevPop => (syy() / n).sqrt(),
            S::StddevSamp => (syy() / (n - 1.0)).sqrt(),
            S::CovarPop => sxy() / n,
            S::CovarSamp => sxy() / (n - 1.0),
            S::Corr => {
                let (sxx, syy) = (sxx(), syy());
                let product = sxx * syy;
                // One root loses less than two, if the product is within range.
                let scale = if product.is_normal() { product.sqrt() } else { sxx.sqrt() * syy.sqrt() };
                return (sxx != 0.0 && syy != 0.0).then(|| (sxy() / scale).clamp(-1.0, 1.0));
            }
            S::RegrSlope => return Some(sxx()).filter(|sxx| *sxx != 0.0).map(|sxx| sxy() / sxx),
            S::RegrIntercept => {
                let slope = Some(sxx()).filter(|sxx| *sxx != 0.0).map(|sxx| sxy() / sxx);
                return slope.map(|slope| mean(Sum::Y) - slope * mean(Sum::X));
            }
            S::RegrR2 => {
                let (sxx, syy, sxy) = (sxx(), syy(), sxy());
                return (sxx != 0.0 && syy != 0.0).then(|| ((sxy / sxx) * (sxy / syy)).clamp(0.0, 1.0));
            }
            S::RegrCount => n,
            S::RegrAvgX => mean(Sum::X),
            S::RegrAvgY => mean(Sum::Y),
            S::RegrSxx => sxx(),
            S::RegrSyy => syy(),
            S::RegrSxy => sxy(),
        })
    }
}

impl Accumulator for Moments {
    fn resize(&mut self, groups: usize) {
        grow(&mut self.rows, groups);
        self.sums.iter_mut().for_each(|(_, sums)| sums.resize(groups));
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], feed: &Feed<'_>) -> Result<()> {
        let floats = |at: usize| {
            let values = arguments.get(at).and_then(|argument| argument.as_primitive_opt::<Float64Type>());
            values.map(|values| values.values()).ok_or_else(|| Error::internal("statistics are computed of DOUBLE"))
        };
        let ys = floats(0)?;
        let xs = if self.statistic.arguments() == 1 { ys } else { floats(1)? };
        let rows = &mut self.rows;
        feed.each(groups.len(), |row, weight| {
            let state = &mut rows[groups[row] as usize];
            state.count += weight;
            if !xs[row].is_finite() || !ys[row].is_finite() {
                state.special += weight;
            }
        });
        for (sum, sums) in &mut self.sums {
            feed.each(groups.len(), |row, weight| {
                let (group, x, y) = (groups[row], xs[row], ys[row]);
                if !x.is_finite() || !y.is_finite() {
                    return;
                }
                match sum {
                    Sum::X => sums.add_weighted(group, x, weight),
                    Sum::Y => sums.add_weighted(group, y, weight),
                    Sum::XX => sums.add_product(group, x, x, weight),
                    Sum::YY => sums.add_product(group, y, y, weight),
                    Sum::XY => sums.add_product(group, x, y, weight),
                }
            });
        }
        Ok(())
    }

    fn settle(&mut self, groups: &[u32]) {
        for (_, sums) in &mut self.sums {
            groups.iter().for_each(|group| sums.settle(*group));
        }
    }

    fn clear(&mut self, group: u32) {
        self.rows[group as usize] = Rows::default();
        self.sums.iter_mut().for_each(|(_, sums)| sums.clear(group));
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        if self.statistic == Statistic::RegrCount {
            let counts = groups.iter().map(|group| self.rows[*group as usize].count as u64);
            return Ok(Arc::new(UInt64Array::from_iter_values(counts)));
        }
        Ok(Arc::new(groups.iter().map(|group| self.value(*group)).collect::<Float64Array>()))
    }

    fn fields(&self) -> Vec<Field> {
        let int = |name| Field::new(name, DataType::Int64, true);
        let mut fields = vec![int("count"), int("special")];
        self.sums.iter().for_each(|(sum, _)| fields.extend(ExactSums::fields(sum.name())));
        fields
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = vec![
            gather_i64(groups, |group| self.rows[group].count),
            gather_i64(groups, |group| self.rows[group].special),
        ];
        self.sums.iter().for_each(|(_, sums)| columns.extend(sums.state(groups)));
        Ok(columns)
    }

    fn restore(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let counts = state_column(columns, 0)?.as_primitive::<Int64Type>();
        let specials = state_column(columns, 1)?.as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            self.rows[*group as usize] = Rows { count: counts.value(row), special: specials.value(row) };
        }
        for (at, (_, sums)) in self.sums.iter_mut().enumerate() {
            let first = 2 + at * STATE_COLUMNS;
            state_column(columns, first + STATE_COLUMNS - 1)?;
            sums.restore(groups, &columns[first..first + STATE_COLUMNS])?;
        }
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let mut other = Self::new(self.statistic);
        other.resize(groups.len());
        let own: Vec<u32> = (0..groups.len() as u32).collect();
        other.restore(&own, columns)?;
        for (group, more) in groups.iter().zip(&other.rows) {
            let rows = &mut self.rows[*group as usize];
            rows.count += more.count;
            rows.special += more.special;
        }
        for ((_, sums), (_, more)) in self.sums.iter_mut().zip(&other.sums) {
            sums.merge(groups, more);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.rows.capacity() * 16 + self.sums.iter().map(|(_, sums)| sums.bytes()).sum::<usize>()
    }
}
