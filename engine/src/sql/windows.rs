//! Window table functions as plain SQL.
//!
//! `TUMBLE` and `HOP` in FROM, in Flink's spelling (`TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), ...))`, named arguments too) and in
//! RisingWave's (`TUMBLE(t, ts, ...)`), become a subquery over the table that adds `window_start`, `window_end` and `window_time`
//! (one millisecond before the end), all TIMESTAMP. So neither planner knows windows: they see a projection (TUMBLE) or an unnest (HOP)
//! over the functions `frazil_tumble_start` and `frazil_hop_starts`, whose arguments besides the time are literals in microseconds.
//!
//! A row belongs to the windows `start <= ts < start + size`; starts are multiples of the slide (of the size for TUMBLE) since
//! 1970-01-01 plus the offset. Rows whose time is NULL belong to no window and are dropped.

use arrow::compute::kernels::cast_utils::{IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Interval, ObjectName, Query, Spanned, TableAlias,
    TableFactor, UnaryOperator, Value,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::error::{Error, Position, Result};
use crate::sql::parse;

const TUMBLE: &str = "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTE)";
const HOP: &str =
    "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '10' MINUTE), first the slide, then the size";
/// How many windows of a HOP one row may be in.
const MAX_WINDOWS_PER_ROW: i64 = 10_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;
const MICROS_PER_MILLI: i64 = 1_000;

/// Replaces a window table function by a subquery; leaves everything else in FROM as it is.
///
/// # Errors
/// Unknown or unsupported window functions, wrong arguments: with position.
pub(super) fn rewrite(factor: &mut TableFactor) -> Result<()> {
    let Some(call) = Call::of(factor)? else { return Ok(()) };
    let subquery = Box::new(call.subquery()?);
    let alias = call.alias;
    *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
    Ok(())
}

/// A call of a window function in FROM.
struct Call {
    function: Ident,
    arguments: Vec<FunctionArg>,
    alias: Option<TableAlias>,
}

/// The arguments by name; durations in microseconds.
struct Arguments {
    /// The table as SQL: a name, or a query in parentheses.
    data: String,
    /// The time column as SQL.
    time: String,
    /// Only for HOP.
    slide: Option<i64>,
    size: i64,
    offset: i64,
}

impl Call {
    fn of(factor: &TableFactor) -> Result<Option<Self>> {
        let (name, arguments, alias) = match factor {
            TableFactor::Table { name, args: Some(arguments), alias, .. } => (name, arguments.args.clone(), alias),
            TableFactor::TableFunction { expr: Expr::Function(function), alias } => match &function.args {
                FunctionArguments::List(list) => (&function.name, list.args.clone(), alias),
                _ => (&function.name, Vec::new(), alias),
            },
            TableFactor::TableFunction { expr, .. } => {
                let error = Error::sql("TABLE(...) takes a window function").hint(format!("write TABLE({TUMBLE})"));
                return Err(error.at(position(expr.span())));
            }
            _ => return Ok(None),
        };
        let function = single_identifier(name);
        match function.map(|ident| ident.value.as_str()) {
            Some("tumble" | "hop") => {}
            Some("session" | "cumulate") => {
                let error =
                    Error::sql(format!("the window function {} is not supported yet", name.to_string().to_uppercase()));
                return Err(error.hint("use TUMBLE or HOP").at(position(name.span())));
            }
            _ if matches!(factor, TableFactor::Table { .. }) => return Ok(None),
            _ => {
                let error =
                    Error::sql(format!("the table function {name} is unknown")).hint(format!("write TABLE({TUMBLE})"));
                return Err(error.at(position(name.span())));
            }
        }
        Ok(function.cloned().map(|function| Self { function, arguments, alias: alias.clone() }))
    }

    fn hops(&self) -> bool {
        self.function.value == "hop"
    }

    fn example(&self) -> String {
        format!("write {}", if self.hops() { HOP } else { TUMBLE })
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::sql(message).hint(self.example()).at(parse::identifier_position(&self.function))
    }

    /// The SQL of the window function.
    fn subquery(&self) -> Result<Query> {
        let Arguments { data, time, slide, size, offset } = self.resolve()?;
        let starts = match slide {
            Some(slide) => format!(
                "SELECT *, unnest(frazil_hop_starts({time}, {slide}, {size}, {offset})) AS window_start FROM {data}"
            ),
            None => format!(
                "SELECT *, frazil_tumble_start({time}, {size}, {offset}) AS window_start FROM {data} WHERE {time} IS NOT NULL"
            ),
        };
        let last = size - MICROS_PER_MILLI;
        let text = format!(
            "SELECT *, window_start + INTERVAL '{size} microseconds' AS window_end, \
             window_start + INTERVAL '{last} microseconds' AS window_time FROM ({starts})"
        );
        parse::generated_query(&text, self.function.span)
    }

    /// Arguments by name, whether they were given so or in order.
    fn resolve(&self) -> Result<Arguments> {
        let order: &[&str] = if self.hops() {
            &["data", "timecol", "slide", "size", "offset"]
        } else {
            &["data", "timecol", "size", "offset"]
        };
        let mut given: Vec<Option<&Expr>> = vec![None; order.len()];
        for (n, argument) in self.arguments.iter().enumerate() {
            let (place, expression) = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => {
                    (Some(n).filter(|n| *n < order.len()), expression)
                }
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expression), .. } => {
                    let place = order.iter().position(|known| *known == name.value);
                    (
                        Some(
                            place
                                .ok_or_else(|| self.error(format!("unknown argument {}", name.value.to_uppercase())))?,
                        ),
                        expression,
                    )
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
        let slide = if self.hops() { Some(self.positive(required("slide")?, "slide")?) } else { None };
        let arguments = Arguments {
            data: self.data(required("data")?)?,
            time: self.time(required("timecol")?)?,
            slide,
            size: self.positive(required("size")?, "size")?,
            offset: argument("offset").map_or(Ok(0), |offset| self.duration(offset))?,
        };
        match arguments.slide {
            Some(slide) if arguments.size / slide > MAX_WINDOWS_PER_ROW => Err(self.error(format!(
                "every row would be in more than {MAX_WINDOWS_PER_ROW} windows: the slide is too small for the size"
            ))),
            _ => Ok(arguments),
        }
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
            Err(Error::sql(message).hint(self.example()).at(place))
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

/// Value and unit of an interval literal; nothing for `MINUTE TO SECOND`, precisions and computed values.
fn interval_text(interval: &Interval) -> Option<String> {
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
        None => value.clone(),
    })
}

fn single_identifier(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    }
}

fn position(span: Span) -> Option<Position> {
    (span.start.line > 0).then_some(Position { line: span.start.line, column: span.start.column })
}

#[cfg(test)]
mod tests;
