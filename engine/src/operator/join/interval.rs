//! How far two rows that match can be apart in time: what equalities and conditions such as
//! `l.ts BETWEEN r.ts - INTERVAL '1' HOUR AND r.ts + INTERVAL '5' MINUTE` say about a column of either side.
//!
//! With it a row can be forgotten once the other side's watermark has passed all that it could match.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator as SqlOperator;
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::{BinaryExpr, Column, Literal};

use super::JoinSpec;
use crate::watermark::is_ordinal;

/// `least <= left - right <= greatest` for every matching pair of rows, in the units of both columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Column of the left input.
    pub left: usize,
    /// Column of the right input, of the same type.
    pub right: usize,
    /// The least difference, if there is one.
    pub least: Option<i64>,
    /// The greatest difference, if there is one.
    pub greatest: Option<i64>,
}

impl Interval {
    /// The watermark behind which rows of the side (0 left, 1 right) match nothing that is still to come, from the
    /// watermark of the other side's column.
    pub fn passed(&self, side: usize, other: i64) -> Option<i64> {
        match side {
            0 => self.least.map(|least| shifted(other, least)),
            _ => self.greatest.map(|greatest| shifted(other, greatest.saturating_neg())),
        }
    }
}

/// A watermark moved by a span of time.
fn shifted(watermark: i64, by: i64) -> i64 {
    if watermark == crate::watermark::END { watermark } else { watermark.saturating_add(by) }
}

/// All that the join says about pairs of columns whose values are ordered as numbers: from its equalities, then from its
/// condition.
pub fn intervals(spec: &JoinSpec) -> Vec<Interval> {
    let mut found: Vec<Interval> = Vec::new();
    for (left, right) in &spec.on {
        let (l, r) = (spec.left.field(*left).data_type(), spec.right.field(*right).data_type());
        if is_ordinal(l) && l == r {
            found.push(Interval { left: *left, right: *right, least: Some(0), greatest: Some(0) });
        }
    }
    let conditions = spec.residual.as_ref().map(|residual| split_conjunction(bare(residual))).unwrap_or_default();
    for (left, right, least, greatest) in conditions.into_iter().filter_map(|condition| difference(spec, condition)) {
        let known = found.iter().position(|interval| (interval.left, interval.right) == (left, right));
        let place = known.unwrap_or_else(|| {
            found.push(Interval { left, right, least: None, greatest: None });
            found.len() - 1
        });
        let interval = &mut found[place];
        interval.least = interval.least.max(least);
        interval.greatest = match (interval.greatest, greatest) {
            (Some(known), Some(new)) => Some(known.min(new)),
            (known, new) => known.or(new),
        };
    }
    found
}

/// An expression without what only watches over it: a wrapper that shows itself as what it wraps.
pub fn bare(expression: &Arc<dyn PhysicalExpr>) -> &Arc<dyn PhysicalExpr> {
    match expression.children()[..] {
        [inner] if inner.to_string() == expression.to_string() => bare(inner),
        _ => expression,
    }
}

/// Left column, right column (of its input), least and greatest difference that one comparison says.
fn difference(spec: &JoinSpec, condition: &Arc<dyn PhysicalExpr>) -> Option<(usize, usize, Option<i64>, Option<i64>)> {
    let comparison = condition.as_any().downcast_ref::<BinaryExpr>()?;
    let width = spec.left.fields().len();
    let (mut one, mut other, mut op) = (term(comparison.left())?, term(comparison.right())?, *comparison.op());
    if one.0 >= width {
        (one, other, op) = (other, one, op.swap()?);
    }
    let ((left, plus_left), (right, plus_right)) = (one, (other.0.checked_sub(width)?, other.1));
    let data_type = spec.left.fields().get(left)?.data_type();
    let same = data_type == spec.right.fields().get(right)?.data_type();
    // Offsets are in microseconds.
    let unit = arrow::datatypes::TimeUnit::Microsecond;
    if !same || !matches!(data_type, arrow::datatypes::DataType::Timestamp(of, _) if *of == unit) {
        return None;
    }
    // left + plus_left op right + plus_right
    let apart = plus_right.checked_sub(plus_left)?;
    match op {
        SqlOperator::GtEq | SqlOperator::Gt => Some((left, right, Some(apart), None)),
        SqlOperator::LtEq | SqlOperator::Lt => Some((left, right, None, Some(apart))),
        SqlOperator::Eq => Some((left, right, Some(apart), Some(apart))),
        _ => None,
    }
}

/// A column plus or minus a fixed span of time: its index, and the span in microseconds.
fn term(expression: &Arc<dyn PhysicalExpr>) -> Option<(usize, i64)> {
    if let Some(column) = expression.as_any().downcast_ref::<Column>() {
        return Some((column.index(), 0));
    }
    let sum = expression.as_any().downcast_ref::<BinaryExpr>()?;
    match sum.op() {
        SqlOperator::Plus => {
            let (base, span) = match span(sum.right()) {
                Some(span) => (sum.left(), span),
                None => (sum.right(), span(sum.left())?),
            };
            let (column, plus) = term(base)?;
            Some((column, plus.checked_add(span)?))
        }
        SqlOperator::Minus => {
            let (column, plus) = term(sum.left())?;
            Some((column, plus.checked_sub(span(sum.right())?)?))
        }
        _ => None,
    }
}

fn span(expression: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    micros(expression.as_any().downcast_ref::<Literal>()?.value())
}

/// An interval of fixed length in microseconds; nothing for months, whose length varies, and for parts of microseconds.
pub fn micros(value: &ScalarValue) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    match value {
        ScalarValue::IntervalMonthDayNano(Some(span)) if span.months == 0 && span.nanoseconds % 1000 == 0 => {
            i64::from(span.days).checked_mul(DAY)?.checked_add(span.nanoseconds / 1000)
        }
        ScalarValue::IntervalDayTime(Some(span)) => {
            i64::from(span.days).checked_mul(DAY)?.checked_add(i64::from(span.milliseconds).checked_mul(1000)?)
        }
        ScalarValue::DurationSecond(Some(n)) => n.checked_mul(1_000_000),
        ScalarValue::DurationMillisecond(Some(n)) => n.checked_mul(1000),
        ScalarValue::DurationMicrosecond(Some(n)) => Some(*n),
        ScalarValue::DurationNanosecond(Some(n)) if n % 1000 == 0 => Some(n / 1000),
        _ => None,
    }
}
