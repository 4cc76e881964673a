//! Conditions on the current time: which conjuncts of a filter are such, and the operator that keeps them.
//!
//! Kept are comparisons of an expression of the row with `now()` or `current_date`, on either side plus or minus an
//! INTERVAL. (Comparisons of a difference of times with an INTERVAL have become such before.)

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Between, BinaryExpr, Cast, Expr, Operator as SqlOperator};

use super::Builder;
use super::columns::Columns;
use crate::error::{Error, Result};
use crate::operator::join::micros;
use crate::operator::temporal::{End, Midnight, TemporalBound, TemporalSpec};
use crate::plan::clock::{Clock, as_written, clock, reads_clock};
use crate::plan::{Distribution, Kind, Properties};

const DAY: i64 = 86_400_000_000;

/// `row op clock + plus`.
struct Comparison {
    row: Expr,
    op: SqlOperator,
    clock: Clock,
    plus: i64,
}

/// A filter apart: conditions on the time, and all others.
pub(super) struct Conditions {
    temporal: Vec<Comparison>,
    pub(super) rest: Option<Expr>,
}

/// Takes a filter apart.
///
/// # Errors
/// `Sql` if the time is read in another way than in a comparison that can be kept.
pub(super) fn conditions(predicate: &Expr) -> Result<Conditions> {
    let (timed, rest): (Vec<_>, Vec<_>) = split_conjunction_owned(predicate.clone()).into_iter().partition(reads_clock);
    let mut temporal = Vec::new();
    for condition in timed {
        match parts(&condition) {
            Some(comparisons) => temporal.extend(comparisons),
            None => return Err(refused(&condition)),
        }
    }
    Ok(Conditions { temporal, rest: conjunction(rest) })
}

/// The error for a use of the time that cannot be kept.
pub(super) fn refused(expr: &Expr) -> Error {
    Error::sql(format!("`{}` cannot be kept up to date as time passes", as_written(expr))).hint(
        "in a continuous query now() and current_date may be compared in WHERE or HAVING with an expression of the row, \
         as in ts > now() - INTERVAL '1' HOUR; join such conditions by AND, and use intervals of fixed length, no months",
    )
}

fn parts(condition: &Expr) -> Option<Vec<Comparison>> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => Some(vec![comparison(left, *op, right)?]),
        Expr::Between(Between { expr, negated: false, low, high }) => {
            Some(vec![comparison(expr, SqlOperator::GtEq, low)?, comparison(expr, SqlOperator::LtEq, high)?])
        }
        _ => None,
    }
}

fn comparison(left: &Expr, op: SqlOperator, right: &Expr) -> Option<Comparison> {
    if !matches!(op, SqlOperator::Gt | SqlOperator::GtEq | SqlOperator::Lt | SqlOperator::LtEq | SqlOperator::Eq) {
        return None;
    }
    let (left, op, right) = if reads_clock(left) { (left, op, right) } else { (right, op.swap()?, left) };
    if reads_clock(right) {
        return None;
    }
    // clock + plus op row
    let (clock, plus) = time(left)?;
    Some(Comparison { row: right.clone(), op: op.swap()?, clock, plus })
}

/// The time, plus or minus a fixed span.
fn time(expr: &Expr) -> Option<(Clock, i64)> {
    use arrow::datatypes::DataType::{Date32, Timestamp};
    match expr {
        Expr::Alias(alias) => time(&alias.expr),
        Expr::Cast(Cast { expr, data_type }) => match (time(expr)?, data_type) {
            // The date of another time than now would be another comparison.
            ((Clock::Now, 0), Date32) => Some((Clock::Today, 0)),
            ((Clock::Now, _), Date32) => None,
            (time, Date32 | Timestamp(_, None)) => Some(time),
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: SqlOperator::Plus, right }) => {
            let (time, span) = match time(left) {
                Some(time) => (time, span(right)?),
                None => (time(right)?, span(left)?),
            };
            whole((time.0, time.1.checked_add(span)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: SqlOperator::Minus, right }) => {
            let (clock, plus) = time(left)?;
            whole((clock, plus.checked_sub(span(right)?)?))
        }
        other => Some((clock(other)?, 0)),
    }
}

/// A date moves by whole days only.
fn whole((clock, plus): (Clock, i64)) -> Option<(Clock, i64)> {
    (clock == Clock::Now || plus % DAY == 0).then_some((clock, plus))
}

/// A literal span of fixed length, in microseconds; whole numbers are days.
fn span(expr: &Expr) -> Option<i64> {
    match uncast(expr) {
        Expr::Literal(ScalarValue::Int64(Some(days)), _) => days.checked_mul(DAY),
        Expr::Literal(ScalarValue::Int32(Some(days)), _) => i64::from(*days).checked_mul(DAY),
        Expr::Literal(value, _) => micros(value),
        Expr::Negative(inner) => span(inner)?.checked_neg(),
        _ => None,
    }
}

fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => uncast(&cast.expr),
        Expr::Alias(alias) => uncast(&alias.expr),
        other => other,
    }
}

/// The ends that a comparison sets to the span of time in which a row passes.
fn bounds(comparison: &Comparison, column: usize) -> Vec<TemporalBound> {
    let Some(plus) = comparison.plus.checked_neg() else { return vec![] };
    let today = comparison.clock == Clock::Today;
    let bound = |end, midnight: Midnight, then| {
        let midnight = if today { midnight } else { Midnight::None };
        TemporalBound { column, end, plus, midnight, then }
    };
    // The next time after one that still, or not yet, passes: the next microsecond, or the next day.
    let next = if today { DAY } else { 1 };
    let at_least = bound(End::Until, Midnight::Before, next);
    let at_most = bound(End::From, Midnight::After, 0);
    match comparison.op {
        SqlOperator::GtEq => vec![at_least],
        SqlOperator::Gt => vec![bound(End::Until, Midnight::After, 0)],
        SqlOperator::LtEq => vec![at_most],
        SqlOperator::Lt => vec![bound(End::From, Midnight::Before, next)],
        _ => vec![at_least, at_most],
    }
}

impl Builder<'_> {
    /// Adds the operator that keeps conditions on the time, if there are any.
    pub(super) fn temporal(&mut self, input: usize, conditions: &Conditions, schema: &DFSchema) -> Result<usize> {
        if conditions.temporal.is_empty() {
            return Ok(input);
        }
        let output = self.schema(input).clone();
        let mut columns = Columns::all(&output);
        let mut all = Vec::new();
        for comparison in &conditions.temporal {
            let row = self.physical(&comparison.row, schema)?;
            let data_type = row.data_type(&output)?;
            use arrow::datatypes::DataType::{Date32, Timestamp};
            if !matches!(data_type, Date32 | Timestamp(_, None)) {
                return Err(refused(&comparison.row).with("type", data_type));
            }
            let column = columns.add(row, &output)?;
            all.extend(bounds(comparison, column));
        }
        let before = self.properties(input).clone();
        let input = self.columns_below(input, columns);
        let (distribution, route) = self.one_place(input, output.fields().len());
        let leaves = all.iter().any(|bound| bound.end == End::Until);
        let properties = Properties {
            insert_only: before.insert_only && !leaves,
            watermark: vec![],
            distribution: distribution.clone(),
            ..before
        };
        let spec = TemporalSpec { input: self.schema(input).clone(), bounds: all, route, output: output.clone() };
        Ok(self.push(Kind::Temporal(spec), vec![(input, distribution)], output, properties))
    }

    /// How the rows of a node are routed so that equal rows (by their first `width` columns) meet in one task: as they are,
    /// if that does it.
    pub(super) fn one_place(&self, node: usize, width: usize) -> (Distribution, Vec<usize>) {
        let properties = self.properties(node);
        let schema = self.schema(node);
        let hash = |columns: Vec<usize>| (Distribution::Hash(columns.clone()), columns);
        match (&properties.distribution, &properties.key) {
            (Distribution::Single, _) => (Distribution::Single, vec![]),
            (Distribution::Hash(columns), _) if columns.iter().all(|column| *column < width) => hash(columns.clone()),
            (_, Some(key)) if !key.is_empty() && key.iter().all(|column| *column < width) => hash(key.clone()),
            _ => {
                let plain = (0..width).filter(|column| !schema.field(*column).data_type().is_nested());
                let columns: Vec<usize> = plain.collect();
                if columns.is_empty() { (Distribution::Single, vec![]) } else { hash(columns) }
            }
        }
    }
}
