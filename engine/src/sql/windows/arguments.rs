//! The arguments of a window table function, by name or in order.

use arrow::compute::kernels::cast_utils::{IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Interval, Spanned, UnaryOperator, Value,
};

use super::{Call, Kind, MICROS_PER_MILLI, position};
use crate::error::{Error, Result};
use crate::sql::parse;

/// How many windows of a HOP or CUMULATE one row may be in.
const MAX_WINDOWS_PER_ROW: i64 = 10_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The arguments by name; durations in microseconds.
pub(super) struct Arguments {
    /// The table as SQL: a name, or a query in parentheses.
    pub(super) data: String,
    /// What SESSION keeps apart: columns as SQL.
    pub(super) partition: Vec<String>,
    /// The time column as SQL.
    pub(super) time: String,
    /// The slide of HOP, the step of CUMULATE; else 0.
    pub(super) step: i64,
    /// The size, or the gap of SESSION.
    pub(super) size: i64,
    pub(super) offset: i64,
}

impl Kind {
    /// The names of its arguments, in order.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Tumble => &["data", "timecol", "size", "offset"],
            Self::Hop => &["data", "timecol", "slide", "size", "offset"],
            Self::Cumulate => &["data", "timecol", "step", "size", "offset"],
            Self::Session => &["data", "timecol", "gap"],
        }
    }
}

impl Call {
    /// Arguments by name, whether they were given so or in order.
    pub(super) fn resolve(&self) -> Result<Arguments> {
        let order = self.kind.arguments();
        let mut given: Vec<Option<&Expr>> = vec![None; order.len()];
        let mut partition = None;
        let mut places = 0..;
        for argument in &self.arguments {
            if let Some(columns) = partition_by(argument) {
                partition = Some(columns);
                continue;
            }
            let in_order = places.next().filter(|place| *place < order.len());
            let (place, expression) = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => (in_order, expression),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expression), .. } => {
                    let place = order.iter().position(|known| *known == name.value);
                    let unknown = || self.error(format!("unknown argument {}", name.value.to_uppercase()));
                    (Some(place.ok_or_else(unknown)?), expression)
                }
                other => return Err(self.error(format!("unexpected argument {other}"))),
            };
            match place.map(|place| &mut given[place]) {
                Some(slot) if slot.is_none() => *slot = Some(expression),
                Some(_) => return Err(self.error("an argument is given twice")),
                None => return Err(self.error("too many arguments")),
            }
        }
        let argument =
            |name: &str| given.iter().zip(order).find(|(_, known)| **known == name).and_then(|(given, _)| *given);
        let required =
            |name: &str| argument(name).ok_or_else(|| self.error(format!("{} is missing", name.to_uppercase())));
        let positive = |name: &str| self.positive(required(name)?, name);
        let (step, size) = match self.kind {
            Kind::Tumble => (0, positive("size")?),
            Kind::Hop => (positive("slide")?, positive("size")?),
            Kind::Cumulate => (positive("step")?, positive("size")?),
            Kind::Session => (0, positive("gap")?),
        };
        if step > 0 && size / step > MAX_WINDOWS_PER_ROW {
            let name = order.get(2).copied().unwrap_or_default();
            return Err(self.error(format!(
                "every row would be in more than {MAX_WINDOWS_PER_ROW} windows: the {name} is too small for the size"
            )));
        }
        if self.kind == Kind::Cumulate && size % step != 0 {
            return Err(self.error("the size of CUMULATE must be a multiple of its step"));
        }
        if partition.is_some() && self.kind != Kind::Session {
            return Err(self.error("only SESSION takes PARTITION BY: group by the columns instead"));
        }
        Ok(Arguments {
            data: self.data(required("data")?)?,
            partition: partition
                .unwrap_or(Ok(vec![]))
                .map_err(|other| self.error(format!("PARTITION BY takes columns here, found {other}")))?,
            time: self.time(required("timecol")?)?,
            step,
            size,
            offset: argument("offset").map_or(Ok(0), |offset| self.duration(offset))?,
        })
    }

    fn data(&self, expression: &Expr) -> Result<String> {
        match expression {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Subquery(_) => Ok(expression.to_string()),
            other => Err(self.error(format!("expected a table, found {other}")).at(position(other.span()))),
        }
    }

    fn time(&self, expression: &Expr) -> Result<String> {
        let column = match expression {
            Expr::Function(descriptor) if descriptor.name.to_string() == "descriptor" => match &descriptor.args {
                FunctionArguments::List(list) => match list.args.as_slice() {
                    [FunctionArg::Unnamed(FunctionArgExpr::Expr(column @ Expr::Identifier(_)))] => Some(column),
                    _ => None,
                },
                _ => None,
            },
            Expr::Identifier(_) => Some(expression),
            _ => None,
        };
        match column {
            Some(column) => Ok(column.to_string()),
            None => Err(self.error(format!("expected the time column, found {expression}"))),
        }
    }

    fn positive(&self, expression: &Expr, name: &str) -> Result<i64> {
        let duration = self.duration(expression)?;
        if duration <= 0 {
            return Err(self.error(format!("the {name} of a window must be more than zero")));
        }
        Ok(duration)
    }

    /// An interval literal in microseconds. Days have 24 hours; months have no fixed length.
    fn duration(&self, expression: &Expr) -> Result<i64> {
        let fail = |message: String| {
            let place = position(expression.span()).or_else(|| parse::identifier_position(&self.function));
            Err(Error::sql(message).hint(format!("write {}", self.kind.example())).at(place))
        };
        let interval = match expression {
            Expr::Interval(interval) => interval,
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => return self.duration(expr).map(|micros| -micros),
            other => return fail(format!("expected an INTERVAL literal, found {other}")),
        };
        let Some(text) = interval_text(interval) else {
            return fail(format!("{expression} is not a plain INTERVAL literal"));
        };
        let parsed = match parse_interval_month_day_nano_config(&text, IntervalParseConfig::new(IntervalUnit::Second)) {
            Ok(parsed) => parsed,
            Err(error) => return fail(format!("{expression} is not an interval: {error}")),
        };
        if parsed.months != 0 {
            return fail(format!("{expression}: windows of months or years are not supported, their length varies"));
        }
        if parsed.nanoseconds % MICROS_PER_MILLI != 0 {
            return fail(format!("{expression}: time is kept in microseconds"));
        }
        Ok(i64::from(parsed.days) * MICROS_PER_DAY + parsed.nanoseconds / MICROS_PER_MILLI)
    }
}

/// The columns of `PARTITION BY`, which the parser sees as a function; or what is none.
fn partition_by(argument: &FunctionArg) -> Option<Result<Vec<String>, String>> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(function))) = argument else { return None };
    if function.name.to_string() != parse::PARTITION_BY {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else { return Some(Ok(vec![])) };
    let column = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(column @ Expr::Identifier(_))) => Ok(column.to_string()),
        other => Err(other.to_string()),
    };
    Some(list.args.iter().map(column).collect())
}

/// Value and unit of an interval literal; nothing for `MINUTE TO SECOND`, precisions and computed values.
pub(in crate::sql) fn interval_text(interval: &Interval) -> Option<String> {
    let Interval {
        value,
        leading_field,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    } = interval
    else {
        return None;
    };
    let Expr::Value(value) = value.as_ref() else { return None };
    let (Value::SingleQuotedString(value) | Value::Number(value, _)) = &value.value else { return None };
    Some(match leading_field {
        Some(unit) => format!("{value} {unit}"),
        None if value.contains(':') => parse::with_time(value).unwrap_or_else(|| value.clone()),
        None => value.clone(),
    })
}
