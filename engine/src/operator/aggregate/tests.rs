//! The law for aggregates, against the batch answers of SQL; and what random small scenarios do not reach.

use std::collections::BTreeMap;

use std::sync::Arc;

use arrow::array::{AsArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int64Type, Schema};
use proptest::prelude::*;

mod planned;

use super::*;
use crate::operator::failure::OnError;
use crate::operator::law::{Input, Law, Value, ZSet, add, rows_of, sql_oracle};

use AggregateFunction::{Avg, Count, Max, Min, Sum};

/// Columns: 0 k, 1 s, 2 x, 3 f, 4 b, 5 d, 6 t, 7 n.
fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("s", DataType::Utf8View, true),
        Field::new("x", DataType::Int32, true),
        Field::new("f", DataType::Float64, true),
        Field::new("b", DataType::Boolean, true),
        Field::new("d", DataType::Decimal128(10, 2), true),
        Field::new("t", DataType::Utf8, true),
        Field::new("n", DataType::UInt16, false),
    ]))
}

type Tested = (&'static str, AggregateFunction, bool, Option<usize>, Option<usize>, DataType);

fn numbers() -> Vec<Tested> {
    vec![
        ("count(*)", Count, false, None, None, DataType::Int64),
        ("count(x)", Count, false, Some(2), None, DataType::Int64),
        ("count(n)", Count, false, Some(7), None, DataType::Int64),
        ("count(*) FILTER (WHERE b)", Count, false, None, Some(4), DataType::Int64),
        ("sum(x)", Sum, false, Some(2), None, DataType::Int64),
        ("sum(x) FILTER (WHERE b)", Sum, false, Some(2), Some(4), DataType::Int64),
        ("sum(n)", Sum, false, Some(7), None, DataType::UInt64),
        ("sum(f)", Sum, false, Some(3), None, DataType::Float64),
        ("sum(d)", Sum, false, Some(5), None, DataType::Decimal128(20, 2)),
        ("avg(x)", Avg, false, Some(2), None, DataType::Float64),
        ("avg(f)", Avg, false, Some(3), None, DataType::Float64),
        ("avg(d)", Avg, false, Some(5), None, DataType::Decimal128(14, 6)),
    ]
}

fn sets() -> Vec<Tested> {
    vec![
        ("count(DISTINCT x)", Count, true, Some(2), None, DataType::Int64),
        ("count(DISTINCT t) FILTER (WHERE b)", Count, true, Some(6), Some(4), DataType::Int64),
        ("sum(DISTINCT x)", Sum, true, Some(2), None, DataType::Int64),
        ("avg(DISTINCT x)", Avg, true, Some(2), None, DataType::Float64),
        ("min(x)", Min, false, Some(2), None, DataType::Int32),
        ("max(x) FILTER (WHERE b)", Max, false, Some(2), Some(4), DataType::Int32),
        ("max(n)", Max, false, Some(7), None, DataType::UInt16),
        // Batch min(f) gives the greatest finite number where all values are infinite.
        ("first_value(f ORDER BY f) FILTER (WHERE f IS NOT NULL)", Min, false, Some(3), None, DataType::Float64),
        ("max(f)", Max, false, Some(3), None, DataType::Float64),
        ("min(t)", Min, false, Some(6), None, DataType::Utf8),
        ("max(s)", Max, false, Some(1), None, DataType::Utf8View),
        ("max(d)", Max, false, Some(5), None, DataType::Decimal128(10, 2)),
        ("min(b)", Min, false, Some(4), None, DataType::Boolean),
    ]
}

fn spec(group: &[usize], calls: &[Tested], insert_only: bool) -> AggregateSpec {
    let input = input();
    let mut output: Vec<Field> = group.iter().map(|column| input.field(*column).clone()).collect();
    output.extend(calls.iter().map(|call| Field::new(call.0, call.5.clone(), true)));
    let calls = calls.iter().map(|(_, function, distinct, argument, filter, _)| AggregateCall {
        distinct: *distinct,
        filter: *filter,
        ..AggregateCall::new(function.clone(), argument.iter().copied().collect())
    });
    let calls = calls.collect();
    let output = Arc::new(Schema::new(output));
    AggregateSpec {
        input,
        group: group.to_vec(),
        calls,
        output,
        insert_only,
        routed_by: None,
        failing: Failing::default(),
    }
}

fn law(group: &'static [usize], calls: Vec<Tested>, insert_only: bool) -> Law {
    law_routed_by(group, None, calls, insert_only)
}

/// `routed_by`: places in `group`.
fn law_routed_by(
    group: &'static [usize],
    routed_by: Option<&'static [usize]>,
    calls: Vec<Tested>,
    insert_only: bool,
) -> Law {
    let names: Vec<String> = group.iter().map(|column| input().field(*column).name().clone()).collect();
    let columns = names.iter().cloned().chain(calls.iter().map(|call| call.0.to_owned())).collect::<Vec<_>>();
    let mut sql = format!("SELECT {} FROM t", columns.join(", "));
    if !names.is_empty() {
        sql = format!("{sql} GROUP BY {}", names.join(", "));
    }
    let route: Vec<usize> = match routed_by {
        Some(places) => places.iter().map(|place| group[*place]).collect(),
        None => group.to_vec(),
    };
    let from = Input::new(input(), &route);
    let from = if insert_only { from.insert_only() } else { from };
    let make = move || -> Box<dyn Operator> {
        let routed_by = routed_by.map(<[usize]>::to_vec);
        let spec = AggregateSpec { routed_by, ..spec(group, &calls, insert_only) };
        let aggregate = Aggregate::new(spec, true).unwrap();
        Box::new(aggregate)
    };
    let law = Law::new(vec![from], make, sql_oracle(&[("t", input())], &sql));
    if group.is_empty() { law.single().keeps_state() } else { law }
}

#[test]
fn sums_obey_the_law() {
    law(&[0], numbers(), false).check(30);
}

#[test]
fn sets_obey_the_law() {
    law(&[0], sets(), false).check(30);
}

#[test]
fn insert_only_input_obeys_the_law() {
    law(&[1, 4], [numbers(), sets()].concat(), true).check(15);
}

#[test]
fn groups_routed_by_some_of_their_columns_obey_the_law() {
    law_routed_by(&[0, 1], Some(&[1]), [numbers(), sets()].concat(), false).check(15);
}

#[test]
fn a_global_aggregate_obeys_the_law() {
    law(&[], [numbers(), sets()].concat(), false).check(15);
}

#[test]
fn distinct_obeys_the_law() {
    law(&[3, 6, 5], vec![], false).check(40);
}

/// An aggregate over the columns `k BIGINT` and `v`, grouped by k.
fn over(value: &DataType, function: AggregateFunction, output: DataType) -> Aggregate {
    let input = Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("v", value.clone(), true)]);
    let output = Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("r", output, true)]);
    let call = AggregateCall::new(function, vec![1]);
    let (input, output) = (Arc::new(input), Arc::new(output));
    Aggregate::new(
        AggregateSpec {
            input,
            group: vec![0],
            calls: vec![call],
            output,
            insert_only: false,
            routed_by: None,
            failing: Failing::default(),
        },
        true,
    )
    .unwrap()
}

fn feed(aggregate: &mut Aggregate, keys: Vec<i64>, values: ArrayRef, weights: Vec<i64>) {
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(keys)), values];
    let rows = RecordBatch::try_new(aggregate.spec.input.clone(), columns).unwrap();
    aggregate.on_changes(0, Changes::weighted(rows, weights), &mut Vec::new()).unwrap();
}

fn close(aggregate: &mut Aggregate) -> Result<Vec<Changes>> {
    let mut out = Vec::new();
    aggregate.close_epoch(Epoch { number: 1, timestamp_ms: 0 }, &mut out)?;
    Ok(out)
}

#[test]
fn an_overflow_that_is_gone_by_the_end_of_the_epoch_is_none() {
    let mut sum = over(&DataType::Int64, Sum, DataType::Int64);
    let big: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX, 5]));
    feed(&mut sum, vec![1, 1, 1], big.clone(), vec![1, 1, 1]);
    feed(&mut sum, vec![1, 1], big.slice(0, 2), vec![-1, -1]);
    let out = close(&mut sum).unwrap();
    assert_eq!(out[0].rows().column(1).as_primitive::<Int64Type>().values(), &[5]);
    feed(&mut sum, vec![1], big.slice(0, 1), vec![1]);
    let error = close(&mut sum).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Data);
    assert!(error.to_string().contains("result of r does not fit the type Int64"), "{error}");
}

#[test]
fn what_does_not_fit_stops_the_job_or_is_null() {
    let big: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 1, 5]));
    let mut stop = over(&DataType::Int64, Sum, DataType::Int64);
    feed(&mut stop, vec![1, 1, 2], big.clone(), vec![1, 1, 1]);
    let error = close(&mut stop).unwrap_err().to_string();
    assert!(error.contains("k = 1") && error.contains("RESUME JOB"), "{error}");

    let mut null = over(&DataType::Int64, Sum, DataType::Int64);
    null.spec.failing.on_error = OnError::Null;
    let mut output = ZSet::new();
    let mut epoch = |keys: Vec<i64>, values: ArrayRef, weights: Vec<i64>| {
        feed(&mut null, keys, values, weights);
        for changes in close(&mut null).unwrap() {
            rows_of(changes.rows())
                .into_iter()
                .enumerate()
                .for_each(|(n, row)| add(&mut output, row, changes.weight(n)));
        }
        output.keys().cloned().collect::<Vec<_>>()
    };
    let row = |key: i64, sum: Option<i64>| vec![Value::Int(key), sum.map_or(Value::Null, Value::Int)];
    assert_eq!(epoch(vec![1, 1, 2], big.clone(), vec![1, 1, 1]), [row(1, None), row(2, Some(5))]);
    // It is computed again as soon as it can be, and what was shown is what is taken back.
    assert_eq!(epoch(vec![1], big.slice(1, 1), vec![-1]), [row(1, Some(i64::MAX)), row(2, Some(5))]);
    assert_eq!(epoch(vec![1], big.slice(0, 1), vec![1]), [row(1, None), row(2, Some(5))]);
    assert!(null.spec.failing.failures.count() > 0);
}

#[test]
fn averages_of_decimals_are_cut_as_in_batch() {
    let mut average = over(&DataType::Decimal128(10, 2), Avg, DataType::Decimal128(14, 6));
    let values = Decimal128Array::from(vec![1000, 1000, 1001]).with_precision_and_scale(10, 2).unwrap();
    feed(&mut average, vec![1, 1, 1], Arc::new(values), vec![1, 1, 1]);
    let out = close(&mut average).unwrap();
    assert_eq!(out[0].rows().column(1).as_primitive::<Decimal128Type>().values(), &[10_003_333]);
}

#[test]
fn float_sums_survive_cancellation_nan_and_infinity() {
    let mut sum = over(&DataType::Float64, Sum, DataType::Float64);
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1e100, 0.1, f64::NAN, f64::INFINITY, -1e100, 0.2]));
    feed(&mut sum, vec![1; 6], values.clone(), vec![1, 3, 1, 1, 1, 1]);
    let out = close(&mut sum).unwrap();
    assert!(out[0].rows().column(1).as_primitive::<Float64Type>().value(0).is_nan());
    feed(&mut sum, vec![1; 2], values.slice(2, 2), vec![-1, -1]);
    let out = close(&mut sum).unwrap();
    assert_eq!(out[0].rows().column(1).as_primitive::<Float64Type>().value(1), 0.5);
    feed(&mut sum, vec![1; 3], Arc::new(Float64Array::from(vec![0.1, 1e100, -1e100])), vec![-3, -1, -1]);
    let out = close(&mut sum).unwrap();
    let left = out[0].rows().column(1).as_primitive::<Float64Type>().value(1);
    assert!((left - 0.2).abs() < 1e-16, "{left}");
}

#[test]
fn a_change_that_does_not_show_is_not_emitted() {
    let mut max = over(&DataType::Utf8View, Max, DataType::Utf8View);
    feed(&mut max, vec![1, 1], Arc::new(StringViewArray::from(vec!["b", "a"])), vec![1, 1]);
    assert_eq!(close(&mut max).unwrap().len(), 1);
    feed(&mut max, vec![1, 1], Arc::new(StringViewArray::from(vec!["a", "aa"])), vec![-1, 2]);
    assert!(close(&mut max).unwrap().is_empty());
}

#[test]
fn what_was_never_put_in_shows_once_it_is_made_good() {
    let mut max = over(&DataType::Int64, Max, DataType::Int64);
    feed(&mut max, vec![1], Arc::new(Int64Array::from(vec![7])), vec![-1]);
    assert!(close(&mut max).unwrap().is_empty());
    feed(&mut max, vec![1], Arc::new(Int64Array::from(vec![7])), vec![2]);
    let out = close(&mut max).unwrap();
    assert_eq!(out[0].rows().column(1).as_primitive::<Int64Type>().values(), &[7]);
}

#[test]
fn the_global_row_comes_once_and_only_from_its_owner() {
    let calls = || vec![numbers()[0].clone(), numbers()[4].clone()];
    let mut owner = Aggregate::new(spec(&[], &calls(), false), true).unwrap();
    let mut other = Aggregate::new(spec(&[], &calls(), false), false).unwrap();
    assert!(close(&mut other).unwrap().is_empty());
    assert!(other.checkpoint().unwrap().is_empty());
    let out = close(&mut owner).unwrap();
    assert_eq!((out.len(), out[0].len(), out[0].weight(0)), (1, 1, 1));
    assert_eq!(out[0].rows().column(0).as_primitive::<Int64Type>().value(0), 0);
    assert!(out[0].rows().column(1).is_null(0));
    let deltas = owner.checkpoint().unwrap();
    let mut moved = Aggregate::new(spec(&[], &calls(), false), true).unwrap();
    deltas.into_iter().for_each(|delta| moved.restore(delta).unwrap());
    assert!(close(&mut moved).unwrap().is_empty());
    assert!(moved.checkpoint().unwrap().is_empty());
}

/// Not a test: prints what a row costs. Run by hand, optimised.
#[test]
#[ignore]
fn cost_per_row() {
    let input = Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("v", DataType::Int64, false)]);
    let output = ["k", "count", "sum", "max"].map(|name| Field::new(name, DataType::Int64, true));
    let calls = [(Count, vec![]), (Sum, vec![1]), (Max, vec![1])];
    let calls = calls.map(|(function, arguments)| AggregateCall::new(function, arguments)).to_vec();
    for (keys, retractions, insert_only) in [
        (1_000, 0, true),
        (600_000, 0, true),
        (1_000, 0, false),
        (600_000, 0, false),
        (1_000, 10, false),
        (600_000, 10, false),
    ] {
        let (input, output) = (Arc::new(input.clone()), Arc::new(Schema::new(output.to_vec())));
        let spec = AggregateSpec {
            input: input.clone(),
            group: vec![0],
            calls: calls.clone(),
            output,
            insert_only,
            routed_by: None,
            failing: Failing::default(),
        };
        let mut aggregate = Aggregate::new(spec, true).unwrap();
        let mut seed = 1_u64;
        let mut random = || {
            seed = crate::hash::mix(seed, 7);
            (seed >> 1) as i64
        };
        let mut batches = Vec::new();
        let mut sent: Vec<(i64, i64)> = Vec::new();
        for _ in 0..400 {
            let mut rows = Vec::new();
            for _ in 0..5_000 {
                if retractions > 0 && !sent.is_empty() && random() % 100 < retractions {
                    let at = random() as usize % sent.len();
                    let (k, v) = sent.swap_remove(at);
                    rows.push((k, v, -1));
                } else {
                    let row = (random() % keys, random() % 1_000_000);
                    sent.push(row);
                    rows.push((row.0, row.1, 1));
                }
            }
            let k: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
            let v: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
            let batch = RecordBatch::try_new(input.clone(), vec![k, v]).unwrap();
            let weights = rows.iter().map(|row| row.2).collect();
            batches.push(if insert_only { Changes::inserts(batch) } else { Changes::weighted(batch, weights) });
        }
        let start = std::time::Instant::now();
        let (mut update, mut emitted) = (std::time::Duration::ZERO, 0);
        for epoch in batches.chunks(20) {
            let start = std::time::Instant::now();
            epoch.iter().for_each(|batch| aggregate.on_changes(0, batch.clone(), &mut Vec::new()).unwrap());
            update += start.elapsed();
            emitted += close(&mut aggregate).unwrap().iter().map(Changes::len).sum::<usize>();
        }
        let rows = 2_000_000.0;
        let (update, all) = (update.as_nanos() as f64 / rows, start.elapsed().as_nanos() as f64 / rows);
        println!(
            "{keys} keys, {retractions} % retractions, insert-only {insert_only}: {update:.1} ns/row, with epochs {all:.1}, {emitted} emitted"
        );
    }
}

#[test]
fn a_group_that_loses_its_extremum_again_and_again_is_kept_in_order() {
    let mut max = over(&DataType::Int64, Max, DataType::Int64);
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    feed(&mut max, vec![1; 1000], values.clone(), vec![1; 1000]);
    close(&mut max).unwrap();
    for top in (1..1000).rev() {
        feed(&mut max, vec![1], values.slice(top, 1), vec![-1]);
        let out = close(&mut max).unwrap();
        assert_eq!(out[0].rows().column(1).as_primitive::<Int64Type>().values(), &[top as i64, top as i64 - 1]);
    }
    assert!(max.calls.multisets[0].0.is_ordered(0));
    feed(&mut max, vec![1], values.slice(0, 1), vec![-1]);
    close(&mut max).unwrap();
    assert_eq!((max.state_rows(), max.groups.slots(), max.calls.multisets[0].0.is_ordered(0)), (0, 0, false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Groups of hundreds of values, from whose end values are taken one after the other.
    #[test]
    fn extremums_of_large_groups_are_found_again(
        epochs in prop::collection::vec(prop::collection::vec((0_i64..2, 0_i64..1000, 0_u8..5), 0..12), 1..60),
    ) {
        let mut ends = [over(&DataType::Int64, Min, DataType::Int64), over(&DataType::Int64, Max, DataType::Int64)];
        let mut model: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        let mut shown: [BTreeMap<i64, i64>; 2] = Default::default();
        let filled = (0..600).map(|at| (at % 2, at * 37 % 1000, 4)).collect();
        for steps in std::iter::once(filled).chain(epochs) {
            let mut events = Vec::new();
            for (key, value, kind) in steps {
                let (first, last) = {
                    let mut of_key = model.range((key, i64::MIN)..=(key, i64::MAX)).map(|(at, _)| at.1);
                    (of_key.next(), of_key.next_back())
                };
                let event = match (kind, first, last.or(first)) {
                    (0, Some(first), _) => (key, first, -1),
                    (1 | 2, _, Some(last)) => (key, last, -1),
                    _ => (key, value, 1),
                };
                let count = model.entry((event.0, event.1)).or_default();
                *count += event.2;
                if *count == 0 {
                    model.remove(&(event.0, event.1));
                }
                events.push(event);
            }
            for (end, shown) in ends.iter_mut().zip(&mut shown) {
                let values = Int64Array::from_iter_values(events.iter().map(|event| event.1));
                let keys = events.iter().map(|event| event.0).collect();
                feed(end, keys, Arc::new(values), events.iter().map(|event| event.2).collect());
                for changes in close(end).unwrap() {
                    let (k, r) = (changes.rows().column(0).as_primitive::<Int64Type>(), changes.rows().column(1));
                    for row in 0..changes.len() {
                        if changes.weight(row) < 0 {
                            shown.remove(&k.value(row));
                        } else {
                            shown.insert(k.value(row), r.as_primitive::<Int64Type>().value(row));
                        }
                    }
                }
            }
            for key in 0..2 {
                let mut of_key = model.range((key, i64::MIN)..=(key, i64::MAX)).map(|(at, _)| at.1);
                let first = of_key.next();
                prop_assert_eq!(shown[0].get(&key).copied(), first);
                prop_assert_eq!(shown[1].get(&key).copied(), of_key.next_back().or(first));
            }
        }
    }
}
