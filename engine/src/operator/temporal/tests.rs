//! The law for temporal filters, with the time of the epoch as an input of the oracle.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::*;
use crate::operator::law::{Input, Law, Row, Seen, ZSet};

const SECOND: i64 = 1_000_000;

fn schema() -> SchemaRef {
    let seconds = DataType::Timestamp(TimeUnit::Second, None);
    let field = |name, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![field("k", DataType::Utf8View), field("a", seconds.clone()), field("b", seconds)]))
}

fn bound(column: usize, end: End, plus: i64) -> TemporalBound {
    TemporalBound { column, end, plus, midnight: Midnight::None, then: 0 }
}

fn law(bounds: Vec<TemporalBound>, input: Input, passes: impl Fn(&Row, i64) -> bool + 'static) -> Law {
    let make = move || -> Box<dyn Operator> {
        let spec = TemporalSpec { input: schema(), bounds: bounds.clone(), route: vec![0], output: schema() };
        let operator = Temporal::new(&spec).unwrap();
        Box::new(operator)
    };
    let oracle = move |seen: &Seen<'_>| -> ZSet {
        let rows = seen.totals[0].iter().filter(|(row, _)| passes(row, seen.timestamp_ms * 1000));
        rows.map(|(row, weight)| (row.clone(), *weight)).collect()
    };
    Law::new(vec![input], make, oracle)
}

/// A column's time in microseconds.
fn time(row: &Row, column: usize) -> Option<i64> {
    row[column].int().map(|seconds| seconds * SECOND)
}

#[test]
fn rows_that_leave_with_time_obey_the_law() {
    // a > now() - INTERVAL '2' SECOND
    let passes = |row: &Row, now: i64| time(row, 1).is_some_and(|a| a > now - 2 * SECOND);
    law(vec![bound(1, End::Until, 2 * SECOND)], Input::new(schema(), &[0]), passes).check(40);
}

#[test]
fn rows_that_come_with_time_obey_the_law() {
    // a + INTERVAL '3' SECOND < now()
    let passes = |row: &Row, now: i64| time(row, 1).is_some_and(|a| a + 3 * SECOND < now);
    let bounds = vec![bound(1, End::From, 3 * SECOND + 1)];
    law(bounds.clone(), Input::new(schema(), &[0]), passes).check(40);
    law(bounds, Input::new(schema(), &[0]).insert_only(), passes).check(20);
}

#[test]
fn rows_that_come_and_leave_obey_the_law() {
    // now() BETWEEN a + INTERVAL '1' SECOND AND b + INTERVAL '4' SECOND
    let passes = |row: &Row, now: i64| {
        let span = time(row, 1).zip(time(row, 2));
        span.is_some_and(|(a, b)| now >= a + SECOND && now <= b + 4 * SECOND)
    };
    let bounds = vec![bound(1, End::From, SECOND), bound(2, End::Until, 4 * SECOND + 1)];
    law(bounds, Input::new(schema(), &[0]), passes).check(60);
}

#[test]
fn bounds_of_dates_are_at_midnight() {
    let bound = |midnight, then| TemporalBound { column: 0, end: End::From, plus: 0, midnight, then };
    assert_eq!(bound(Midnight::None, 0).moment(1500), 2, "the first whole millisecond");
    assert_eq!(bound(Midnight::None, 0).moment(-1500), -1);
    assert_eq!(bound(Midnight::Before, 0).moment(DAY + 5), DAY / 1000);
    assert_eq!(bound(Midnight::After, 0).moment(DAY + 5), 2 * DAY / 1000);
    assert_eq!(bound(Midnight::After, DAY).moment(DAY), 2 * DAY / 1000);
}
