//! `UNNEST(...) WITH ORDINALITY`, `generate_series` and `range` in FROM, as SELECTs that unnest lists: so their arguments may be
//! columns of what stands to the left, and one plan serves both modes.
//!
//! | written | planned |
//! | --- | --- |
//! | `UNNEST(a, b) WITH ORDINALITY AS u(x, y, n)` | `LATERAL (SELECT unnest(a), unnest(b), unnest(range(1, longest + 1)) AS ordinality) AS u(x, y, n)` |
//! | `LATERAL unnest(a) AS u(x)` | `UNNEST(a) AS u(x)` |
//! | `generate_series(1, t.n) AS g(x)` | `LATERAL (SELECT unnest(generate_series(1, t.n)) AS value) AS g(x)` |

use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr, Spanned, TableFactor};

use crate::error::{Error, Position, Result};
use crate::sql::parse;

/// Rewrites a relation of FROM if it is one of these.
///
/// # Errors
/// Arguments that are no expressions.
pub fn rewrite(factor: &mut TableFactor) -> Result<()> {
    if let Some(unnest) = lateral_unnest(factor) {
        *factor = unnest;
    }
    let span = factor.span();
    let (text, alias) = match &*factor {
        TableFactor::UNNEST { array_exprs, with_ordinality: true, with_offset: false, alias, .. } => {
            let lists: Vec<String> = array_exprs.iter().map(ToString::to_string).collect();
            let lengths = lists.iter().map(|list| format!("coalesce(array_length({list}), 0)")).collect::<Vec<_>>();
            let columns = lists.iter().enumerate().map(|(n, list)| match n {
                0 => format!("unnest({list}) AS \"unnest\""),
                n => format!("unnest({list}) AS unnest_{n}"),
            });
            let longest = format!("CAST(greatest({}) AS BIGINT)", lengths.join(", "));
            let columns = columns.collect::<Vec<_>>().join(", ");
            (format!("SELECT {columns}, unnest(range(1, {longest} + 1)) AS ordinality"), alias.clone())
        }
        TableFactor::Table { name, args: Some(arguments), with_ordinality, alias, .. }
            if is_series(&name.to_string()) =>
        {
            (series(&name.to_string(), &arguments.args, *with_ordinality, factor)?, alias.clone())
        }
        TableFactor::Function { name, args, alias, .. } if is_series(&name.to_string()) => {
            (series(&name.to_string(), args, false, factor)?, alias.clone())
        }
        _ => return Ok(()),
    };
    let subquery = Box::new(parse::generated_query(&text, span)?);
    *factor = TableFactor::Derived { lateral: true, subquery, alias, sample: None };
    Ok(())
}

/// `LATERAL unnest(list)`: it may read what stands to the left anyway.
fn lateral_unnest(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Function { name, args, alias, .. } = factor else { return None };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let array_exprs = args.iter().map(plain).collect::<Option<Vec<_>>>()?;
    (name.to_string() == "unnest").then(|| TableFactor::UNNEST {
        alias: alias.clone(),
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    })
}

fn is_series(name: &str) -> bool {
    matches!(name, "generate_series" | "range")
}

fn series(name: &str, arguments: &[FunctionArg], ordinality: bool, factor: &TableFactor) -> Result<String> {
    let arguments = arguments.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.to_string()),
        other => {
            let start = factor.span().start;
            let position = (start.line > 0).then_some(Position { line: start.line, column: start.column });
            let error = Error::sql(format!("unexpected argument {other}"));
            Err(error.hint(format!("write {name}(start, stop [, step])")).at(position))
        }
    });
    let arguments = arguments.collect::<Result<Vec<_>>>()?.join(", ");
    let list = format!("{name}({arguments})");
    let number = format!(", unnest(range(1, CAST(array_length({list}) AS BIGINT) + 1)) AS ordinality");
    Ok(format!("SELECT unnest({list}) AS value{}", if ordinality { number.as_str() } else { "" }))
}
