//! The law of operators, for ASOF joins.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::operator::law::{Input, Law, Row, Value, ZSet, add, batch_of};

const NEAREST: [Nearest; 4] = [Nearest::NotAfter, Nearest::Before, Nearest::NotBefore, Nearest::After];

fn side(names: [&str; 3]) -> SchemaRef {
    let types = [DataType::Int64, DataType::Int64, DataType::Utf8View];
    Arc::new(Schema::new(names.into_iter().zip(types).map(|(name, of)| Field::new(name, of, true)).collect::<Vec<_>>()))
}

fn spec(nearest: Nearest, outer: bool, keyed: bool) -> AsOfSpec {
    let (left, right) = (side(["k", "ts", "a"]), side(["ts", "k", "b"]));
    let output = left.fields().iter().chain(right.fields()).cloned().collect::<Vec<_>>();
    AsOfSpec {
        left,
        right,
        on: if keyed { vec![(0, 1)] } else { vec![] },
        time: (1, 0),
        nearest,
        outer,
        output: Arc::new(Schema::new(output)),
    }
}

fn make(spec: &AsOfSpec) -> Box<dyn Operator> {
    let join = AsOf::new(spec).unwrap();
    Box::new(join)
}

/// Column by column, NULL above all.
fn compare(a: &Row, b: &Row) -> Ordering {
    let value = |a: &Value, b: &Value| a.is_null().cmp(&b.is_null()).then_with(|| a.cmp(b));
    a.iter().zip(b).map(|(a, b)| value(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// For each left row, a look at all right rows.
fn oracle(spec: &AsOfSpec, totals: &[ZSet]) -> ZSet {
    let mut answer = ZSet::new();
    for (left, weight) in &totals[0] {
        let mut best: Option<(i64, &Row)> = None;
        for right in totals[1].keys() {
            let (Some(at), Some(time)) = (left[1].int(), right[0].int()) else { continue };
            let same = spec.on.iter().all(|(l, r)| left[*l] == right[*r] && !left[*l].is_null());
            let (fits, distance) = match spec.nearest {
                Nearest::NotAfter => (at >= time, at - time),
                Nearest::Before => (at > time, at - time),
                Nearest::NotBefore => (at <= time, time - at),
                Nearest::After => (at < time, time - at),
            };
            if !same || !fits {
                continue;
            }
            let better = best
                .is_none_or(|(so_far, row)| distance < so_far || (distance == so_far && compare(right, row).is_gt()));
            if better {
                best = Some((distance, right));
            }
        }
        match best {
            Some((_, right)) => add(&mut answer, [left.clone(), right.clone()].concat(), *weight),
            None if spec.outer => add(&mut answer, [left.clone(), vec![Value::Null; 3]].concat(), *weight),
            None => {}
        }
    }
    answer
}

#[test]
fn obeys_the_law() {
    for nearest in NEAREST {
        for (outer, keyed) in [(false, true), (true, true), (true, false)] {
            let spec = spec(nearest, outer, keyed);
            let (left, right): (&[usize], &[usize]) = if keyed { (&[0], &[1]) } else { (&[], &[]) };
            let inputs = vec![Input::new(spec.left.clone(), left), Input::new(spec.right.clone(), right)];
            let for_oracle = spec.clone();
            let law = Law::new(inputs, move || make(&spec), move |seen| oracle(&for_oracle, seen.totals));
            law.check(64);
        }
    }
}

fn timed(nearest: Nearest, outer: bool, keyed: bool, insert_only: bool) -> Law {
    let spec = spec(nearest, outer, keyed);
    let (left, right): (&[usize], &[usize]) = if keyed { (&[0], &[1]) } else { (&[], &[]) };
    let inputs = [Input::new(spec.left.clone(), left), Input::new(spec.right.clone(), right)];
    let inputs = inputs.map(|input| if insert_only { input.insert_only() } else { input }).to_vec();
    let for_oracle = spec.clone();
    Law::new(inputs, move || make(&spec), move |seen| oracle(&for_oracle, seen.totals))
}

#[test]
fn forgetting_obeys_the_law() {
    for nearest in NEAREST {
        for (outer, keyed) in [(false, true), (true, true), (true, false)] {
            for insert_only in [true, false] {
                timed(nearest, outer, keyed, insert_only).timed(0, 1, 3).timed(1, 0, 1).check(32);
                timed(nearest, outer, keyed, insert_only).timed(0, 1, 0).timed(1, 0, 7).check(32);
            }
            // With the watermark of one side alone nothing is known.
            timed(nearest, outer, keyed, true).timed(1, 0, 1).check(8);
        }
    }
}

#[test]
fn state_stays_bounded() {
    let left = |k, at| (0, vec![Value::Int(k), Value::Int(at), Value::Text("l".into())]);
    let right = |k, at| (1, vec![Value::Int(at), Value::Int(k), Value::Text("r".into())]);
    let rows = [left(1, 0), left(1, 1), left(2, 2), right(1, 0), right(1, 2), right(2, 2)];
    for nearest in NEAREST {
        timed(nearest, true, true, true).timed(0, 1, 2).timed(1, 0, 2).stays_within(24, 80, &rows);
    }
}

/// Of the right side, only the last row before the watermarks is needed; of the left one, none.
#[test]
fn of_each_key_the_last_right_row_stays() {
    let spec = spec(Nearest::NotAfter, true, true);
    let mut join = AsOf::new(&spec).unwrap();
    let left = (0..20).map(|at| vec![Value::Int(1), Value::Int(at), Value::Null]).collect::<Vec<_>>();
    let right = (0..20).map(|at| vec![Value::Int(at), Value::Int(1), Value::Null]).collect::<Vec<_>>();
    join.on_changes(0, Changes::inserts(batch_of(&spec.left, &left)), &mut vec![]).unwrap();
    join.on_changes(1, Changes::inserts(batch_of(&spec.right, &right)), &mut vec![]).unwrap();
    let mut after = |times: [i64; 2]| {
        for (input, watermark) in times.into_iter().enumerate() {
            join.on_watermark(input, &[watermark::Bound { column: join.time[input], watermark }]).unwrap();
        }
        join.close_epoch(Epoch { number: 1, timestamp_ms: 0 }, &mut vec![]).unwrap();
        join.sides.each_ref().map(Side::len)
    };
    assert_eq!(after([5, 12]), [15, 16]);
    assert_eq!(after([18, 12]), [8, 9]);
    assert_eq!(after([watermark::END, watermark::END]), [0, 1]);
}

/// A right row that changes touches the left rows up to the next right row, however many there are beside.
#[test]
fn work_is_in_proportion_to_the_change() {
    let rows = |schema: &SchemaRef, key: usize, time: usize, times: &mut dyn Iterator<Item = i64>| {
        let row = |at: i64| {
            let mut row = vec![Value::Null; 3];
            (row[key], row[time]) = (Value::Int(7), Value::Int(at));
            row
        };
        Changes::inserts(batch_of(schema, &times.map(row).collect::<Vec<_>>()))
    };
    let touched = |size: i64| {
        let spec = spec(Nearest::NotAfter, true, true);
        let mut join = AsOf::new(&spec).unwrap();
        let close = |join: &mut AsOf| {
            let mut out = Vec::new();
            join.close_epoch(Epoch { number: 1, timestamp_ms: 0 }, &mut out).unwrap();
            out.iter().map(Changes::len).sum::<usize>()
        };
        // Three left rows for each right row.
        join.on_changes(0, rows(&spec.left, 0, 1, &mut (0..3 * size)), &mut vec![]).unwrap();
        join.on_changes(1, rows(&spec.right, 1, 0, &mut (0..size).map(|n| 3 * n)), &mut vec![]).unwrap();
        close(&mut join);
        let before = join.looked_at;
        join.on_changes(1, rows(&spec.right, 1, 0, &mut [30].into_iter()).negated(), &mut vec![]).unwrap();
        join.on_changes(1, rows(&spec.right, 1, 0, &mut [61].into_iter()), &mut vec![]).unwrap();
        join.on_changes(0, rows(&spec.left, 0, 1, &mut [90].into_iter()), &mut vec![]).unwrap();
        let changes = close(&mut join);
        (join.looked_at - before, changes)
    };
    assert_eq!(touched(100), touched(10_000));
    // 3 rows lose their partner for another, 2 get the new one, and one is new beside its equal.
    assert_eq!(touched(100), (6, 11));
}
