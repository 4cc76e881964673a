//! WATERMARK clauses and the option `late.table`: what they say, checked when a table is created.

use std::sync::Arc;

use arrow::compute::kernels::cast_utils::{IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config};
use arrow::datatypes::IntervalMonthDayNano;
use catalog::{Object, ObjectKind};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};

use super::context::Planner;
use super::table::physical_schema;
use super::windows::interval_text;
use crate::error::{Error, Result};
use crate::operator::join::micros;
use crate::options::LATE_TABLE;
use crate::plan::watermark::{COLUMN, EXPRESSION};

/// How far the watermark is behind the greatest time of its column, in microseconds.
///
/// # Errors
/// `Sql` for anything but `ts` and `ts - INTERVAL '...'`.
pub fn delay(column: &str, expression: &str) -> Result<i64> {
    let refuse = |why: &str| {
        let hint = format!("write WATERMARK FOR {column} AS {column} - INTERVAL '5' SECOND");
        Err(Error::sql(format!("the watermark {expression} cannot be kept: {why}")).hint(hint))
    };
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(name) if name.value == column);
    match super::parse::stored_expression(expression)? {
        expr if is_column(&expr) => Ok(0),
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(&left) => {
            let Expr::Interval(interval) = right.as_ref() else { return refuse("it subtracts no INTERVAL literal") };
            let Some(text) = interval_text(interval) else { return refuse("the INTERVAL is no plain literal") };
            match parse_interval_month_day_nano_config(&text, IntervalParseConfig::new(IntervalUnit::Second)) {
                Ok(IntervalMonthDayNano { months, .. }) if months != 0 => {
                    refuse("months and years have no fixed length")
                }
                Ok(span) => match micros(&ScalarValue::IntervalMonthDayNano(Some(span))) {
                    Some(delay) if delay >= 0 => Ok(delay),
                    Some(_) => refuse("it runs ahead of the times that were read"),
                    None => refuse("time is kept in microseconds"),
                },
                Err(_) => refuse("the INTERVAL cannot be read"),
            }
        }
        _ => refuse("it must be the column itself, or the column minus an INTERVAL"),
    }
}

impl Planner {
    /// How far a table's watermark is behind its event time, in microseconds, if it has a WATERMARK clause.
    pub fn delay(&self, object: &Object) -> Result<Option<i64>> {
        let clause = object.properties.get(COLUMN).zip(object.properties.get(EXPRESSION));
        clause.map(|(column, expression)| delay(column, expression)).transpose()
    }

    /// The table that takes a connector's late rows.
    ///
    /// # Errors
    /// `Sql` if there is no such table, or it does not have the same columns.
    pub fn late_table(&self, object: &Object) -> Result<Option<Arc<Object>>> {
        let Some(name) = object.properties.get(LATE_TABLE) else { return Ok(None) };
        let table = self.object(name, None)?;
        let refuse = |what: String| Err(Error::sql(what).hint(format!("CREATE TABLE {name} with these columns first")));
        if !object.properties.contains_key(COLUMN) {
            return Err(Error::sql(format!("'{LATE_TABLE}' without a WATERMARK clause: no row is ever late"))
                .hint("add WATERMARK FOR ts AS ts - INTERVAL '5' SECOND"));
        }
        if table.kind != ObjectKind::Table || !table.key.is_empty() {
            return refuse(format!("{name} cannot take late rows: it must be a table without connector and key"));
        }
        let types = |object: &Object| -> Result<Vec<_>> {
            let schema = physical_schema(object)?;
            Ok(schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect())
        };
        if types(&table)? != types(object)? {
            return refuse(format!("{name} cannot take late rows: its columns are not those of {}", object.name));
        }
        Ok(Some(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays() {
        assert_eq!(delay("ts", "ts").unwrap(), 0);
        assert_eq!(delay("ts", "ts - INTERVAL '5' SECOND").unwrap(), 5_000_000);
        assert_eq!(delay("ts", "ts - INTERVAL '1 day 2 hours'").unwrap(), 93_600_000_000);
        for (refused, why) in [
            ("ts - INTERVAL '1' MONTH", "no fixed length"),
            ("ts + INTERVAL '1' SECOND", "or the column minus"),
            ("ts - INTERVAL '-1' SECOND", "ahead"),
            ("other", "or the column minus"),
            ("ts - 5", "no INTERVAL"),
        ] {
            let error = delay("ts", refused).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("WATERMARK FOR ts AS"), "{error}");
        }
    }
}
