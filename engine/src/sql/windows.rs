//! Window table functions as plain SQL.
//!
//! `TUMBLE`, `HOP`, `CUMULATE` and `SESSION` in FROM, in Flink's spelling (`TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), ...))`, named
//! arguments too) and in RisingWave's (`TUMBLE(t, ts, ...)`), become a subquery over the table that adds `window_start`, `window_end`
//! and `window_time` (one millisecond before the end), all TIMESTAMP. So neither planner knows windows: they see a projection
//! (TUMBLE), an unnest (HOP, CUMULATE) or OVER windows (SESSION), with the functions of `functions/window.rs`, whose arguments
//! besides the time are literals in microseconds.
//!
//! A row belongs to the windows `start <= ts < end`. Starts are multiples of the slide (HOP) or the size (TUMBLE, CUMULATE) since
//! 1970-01-01 plus the offset. Windows of CUMULATE with the same start end one step after the other, up to the size. A SESSION
//! holds rows of the same key that follow each other within the gap, and ends one gap after the last of them. Rows whose time is
//! NULL belong to no window and are dropped.

mod arguments;
mod session;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArguments, Ident, ObjectName, Query, Spanned, TableAlias, TableFactor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::error::{Error, Position, Result};
use crate::sql::parse;
use arguments::Arguments;
pub(super) use arguments::interval_text;

const TUMBLE: &str = "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTE)";
const MICROS_PER_MILLI: i64 = 1_000;

/// A window function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "tumble" => Self::Tumble,
            "hop" => Self::Hop,
            "cumulate" => Self::Cumulate,
            "session" => Self::Session,
            _ => return None,
        })
    }

    /// How it is written.
    fn example(self) -> &'static str {
        match self {
            Self::Tumble => TUMBLE,
            Self::Hop => {
                "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '10' MINUTE), first the slide, then the size"
            }
            Self::Cumulate => {
                "CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '10' MINUTE), first the step, then the size"
            }
            Self::Session => "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '10' MINUTE)",
        }
    }
}

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
    kind: Kind,
    arguments: Vec<FunctionArg>,
    alias: Option<TableAlias>,
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
        if let Some((function, kind)) = function.and_then(|ident| Some((ident.clone(), Kind::of(&ident.value)?))) {
            return Ok(Some(Self { function, kind, arguments, alias: alias.clone() }));
        }
        if matches!(factor, TableFactor::Table { .. }) {
            return Ok(None);
        }
        let error = Error::sql(format!("the table function {name} is unknown")).hint(format!("write TABLE({TUMBLE})"));
        Err(error.at(position(name.span())))
    }

    fn error(&self, message: impl Into<String>) -> Error {
        let hint = format!("write {}", self.kind.example());
        Error::sql(message).hint(hint).at(parse::identifier_position(&self.function))
    }

    /// The SQL of the window function.
    fn subquery(&self) -> Result<Query> {
        let arguments = self.resolve()?;
        let Arguments { data, time, step, size, offset, .. } = &arguments;
        let ends = format!("window_start + INTERVAL '{size} microseconds' AS window_end");
        let text = match self.kind {
            Kind::Tumble => format!(
                "SELECT *, {ends} FROM (SELECT *, frazil_tumble_start({time}, {size}, {offset}) AS window_start \
                 FROM {data} WHERE {time} IS NOT NULL)"
            ),
            Kind::Hop => format!(
                "SELECT *, {ends} FROM (SELECT *, unnest(frazil_hop_starts({time}, {step}, {size}, {offset})) \
                 AS window_start FROM {data})"
            ),
            Kind::Cumulate => format!(
                "SELECT *, unnest(frazil_cumulate_ends({time}, {step}, {size}, {offset})) AS window_end \
                 FROM (SELECT *, frazil_tumble_start({time}, {size}, {offset}) AS window_start FROM {data})"
            ),
            Kind::Session => session::sql(&arguments),
        };
        let text =
            format!("SELECT *, window_end - INTERVAL '{MICROS_PER_MILLI} microseconds' AS window_time FROM ({text})");
        parse::generated_query(&text, self.function.span)
    }
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
