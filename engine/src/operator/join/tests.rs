//! The law of operators, for joins of every kind.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_plan::expressions::{Column, binary};
use proptest::prelude::*;

use super::*;
use crate::operator::law::{Input, Law, Row, Seen, Value, ZSet, add, batch_of, sql_oracle};

const KINDS: [JoinKind; 7] =
    [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full, JoinKind::Semi, JoinKind::Anti, JoinKind::Mark];

fn left() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("t", DataType::Utf8View, true),
        Field::new("x", DataType::Int32, true),
    ]))
}

fn right() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("y", DataType::Int32, true),
        Field::new("k", DataType::Int64, true),
        Field::new("t", DataType::Utf8View, true),
    ]))
}

fn joined() -> Vec<Arc<Field>> {
    left().fields().iter().chain(right().fields()).cloned().collect()
}

/// A join of `left` and `right` with all columns that its kind can give.
fn spec(kind: JoinKind, on: &[(usize, usize)]) -> JoinSpec {
    let (width, mut fields) = match kind {
        JoinKind::Semi | JoinKind::Anti => (3, joined()[..3].to_vec()),
        JoinKind::Mark => (4, joined()[..3].to_vec()),
        _ => (6, joined()),
    };
    if kind == JoinKind::Mark {
        fields.push(Arc::new(Field::new("mark", DataType::Boolean, false)));
    }
    JoinSpec {
        left: left(),
        right: right(),
        on: on.to_vec(),
        kind,
        null_equals_null: false,
        residual: None,
        output: (0..width).collect(),
        output_schema: Arc::new(Schema::new(fields)),
        left_insert_only: false,
        right_insert_only: false,
        left_unique: false,
        right_unique: false,
        broadcast: None,
    }
}

/// `left.x < right.y`.
fn less() -> Arc<dyn PhysicalExpr> {
    let schema = Schema::new(joined());
    binary(Arc::new(Column::new("x", 2)), Op::Lt, Arc::new(Column::new("y", 3)), &schema).unwrap()
}

fn projected(mut spec: JoinSpec, output: &[usize]) -> JoinSpec {
    spec.output = output.to_vec();
    spec.output_schema = Arc::new(spec_schema(&spec, output));
    spec
}

fn spec_schema(spec: &JoinSpec, output: &[usize]) -> Schema {
    let mut fields = joined();
    if spec.kind == JoinKind::Mark {
        fields[3] = Arc::new(Field::new("mark", DataType::Boolean, false));
    }
    Schema::new(output.iter().map(|column| fields[*column].clone()).collect::<Vec<_>>())
}

/// Nested loops over the totals.
fn oracle(spec: &JoinSpec, totals: &[ZSet]) -> ZSet {
    let matches = |l: &Row, r: &Row| {
        let equal = spec.on.iter().all(|(a, b)| l[*a] == r[*b] && (spec.null_equals_null || !l[*a].is_null()));
        let residual = || match (l[2].int(), r[0].int()) {
            (Some(x), Some(y)) => x < y,
            _ => false,
        };
        equal && (spec.residual.is_none() || residual())
    };
    let mut answer = ZSet::new();
    let mut give = |row: Row, weight: i64| {
        add(&mut answer, spec.output.iter().map(|column| row[*column].clone()).collect(), weight);
    };
    let nulls = || vec![Value::Null; 3];
    for (l, weight) in &totals[0] {
        let mut partners = 0;
        for (r, other) in totals[1].iter().filter(|(r, _)| matches(l, r)) {
            partners += 1;
            if spec.kind.pairs() {
                give([l.clone(), r.clone()].concat(), weight * other);
            }
        }
        match spec.kind {
            JoinKind::Left | JoinKind::Full if partners == 0 => give([l.clone(), nulls()].concat(), *weight),
            JoinKind::Semi if partners > 0 => give(l.clone(), *weight),
            JoinKind::Anti if partners == 0 => give(l.clone(), *weight),
            JoinKind::Mark => give([l.clone(), vec![Value::Bool(partners > 0)]].concat(), *weight),
            _ => {}
        }
    }
    if matches!(spec.kind, JoinKind::Right | JoinKind::Full) {
        for (r, weight) in totals[1].iter().filter(|(r, _)| !totals[0].keys().any(|l| matches(l, r))) {
            give([nulls(), r.clone()].concat(), *weight);
        }
    }
    answer
}

fn law(spec: JoinSpec) -> Law {
    let key = |side: usize| spec.on.iter().map(|(l, r)| if side == 0 { *l } else { *r }).collect::<Vec<_>>();
    let input = |side: usize, schema: SchemaRef, insert_only: bool, unique: bool| {
        let mut input = Input::new(schema, &key(side));
        input.insert_only = insert_only;
        input.unique = unique.then(|| key(side));
        input
    };
    let inputs = vec![
        input(0, spec.left.clone(), spec.left_insert_only, spec.left_unique),
        input(1, spec.right.clone(), spec.right_insert_only, spec.right_unique),
    ];
    let for_oracle = spec.clone();
    let make = move || {
        let join = Join::new(&spec).unwrap();
        Box::new(join) as Box<dyn Operator>
    };
    Law::new(inputs, make, move |seen| oracle(&for_oracle, seen.totals))
}

#[test]
fn every_kind_obeys_the_law() {
    for kind in KINDS {
        law(spec(kind, &[(0, 1)])).check(48);
    }
}

#[test]
fn with_a_condition_beside_the_key() {
    for kind in KINDS {
        law(JoinSpec { residual: Some(less()), ..spec(kind, &[(0, 1)]) }).check(48);
    }
}

#[test]
fn with_several_key_columns_and_null_equal_to_null() {
    for kind in KINDS {
        law(spec(kind, &[(0, 1), (1, 2)])).check(24);
        law(JoinSpec { null_equals_null: true, ..spec(kind, &[(1, 2)]) }).check(24);
    }
}

#[test]
fn without_any_key() {
    for kind in KINDS {
        law(JoinSpec { residual: Some(less()), ..spec(kind, &[]) }).check(24);
        law(spec(kind, &[])).check(16);
    }
}

/// One side in every task, the other spread over them.
#[test]
fn with_a_broadcast_side() {
    let kinds = [
        (JoinKind::Inner, 0),
        (JoinKind::Inner, 1),
        (JoinKind::Left, 1),
        (JoinKind::Right, 0),
        (JoinKind::Semi, 1),
        (JoinKind::Anti, 1),
        (JoinKind::Mark, 1),
    ];
    for (kind, side) in kinds {
        for residual in [None, Some(less())] {
            let routed_by = vec![if side == 0 { 1 } else { 0 }, 2];
            let broadcast = Some(Broadcast { side, routed_by: routed_by.clone() });
            let spec = JoinSpec { residual, broadcast, ..spec(kind, &[]) };
            let mut inputs = vec![Input::new(left(), &routed_by), Input::new(right(), &routed_by)];
            inputs[side] = inputs[side].clone().everywhere();
            let for_oracle = spec.clone();
            let make = move |instance| {
                let join = Join::instance(&spec, instance == 0).unwrap();
                Box::new(join) as Box<dyn Operator>
            };
            let oracle = move |seen: &Seen<'_>| oracle(&for_oracle, seen.totals);
            Law::per_instance(inputs, make, oracle).replicated(side).check(24);
        }
    }
}

#[test]
fn only_sides_without_lonely_rows_are_broadcast() {
    let broadcast = |side| Some(Broadcast { side, routed_by: vec![0] });
    for (kind, side) in [(JoinKind::Left, 0), (JoinKind::Full, 1), (JoinKind::Semi, 0), (JoinKind::Right, 1)] {
        assert!(Join::new(&JoinSpec { broadcast: broadcast(side), ..spec(kind, &[]) }).is_err());
    }
    assert!(Join::new(&JoinSpec { broadcast: broadcast(1), ..spec(JoinKind::Inner, &[(0, 1)]) }).is_err());
}

/// Pairs that are looked at for one changed row do not grow with the state, but with the rows of the same key.
#[test]
fn work_is_in_proportion_to_the_change() {
    let rows = |schema: &SchemaRef, key: usize, range: std::ops::Range<i64>| {
        let row = |n: i64| {
            let mut row = vec![Value::Null; 3];
            row[key] = Value::Int(n);
            row
        };
        Changes::inserts(batch_of(schema, &range.map(row).collect::<Vec<_>>()))
    };
    let visited = |kind: JoinKind, size: i64| {
        let mut join = Join::new(&spec(kind, &[(0, 1)])).unwrap();
        let close = |join: &mut Join| join.close_epoch(Epoch { number: 1, timestamp_ms: 0 }, &mut vec![]).unwrap();
        join.on_changes(0, rows(&left(), 0, 0..size), &mut vec![]).unwrap();
        join.on_changes(1, rows(&right(), 1, 0..size), &mut vec![]).unwrap();
        close(&mut join);
        let before = join.visited;
        join.on_changes(0, rows(&left(), 0, 5..6).negated(), &mut vec![]).unwrap();
        join.on_changes(1, rows(&right(), 1, 7..8).negated(), &mut vec![]).unwrap();
        join.on_changes(1, rows(&right(), 1, size..size + 1), &mut vec![]).unwrap();
        close(&mut join);
        join.visited - before
    };
    for kind in KINDS {
        assert_eq!(visited(kind, 100), 2, "{kind:?}");
        assert_eq!(visited(kind, 10_000), 2, "{kind:?}");
    }
}

#[test]
fn with_columns_projected_away() {
    for kind in KINDS {
        let output: &[usize] = if kind.pairs() { &[4, 1] } else { &[1] };
        law(projected(spec(kind, &[(0, 1)]), output)).check(32);
        law(projected(JoinSpec { residual: Some(less()), ..spec(kind, &[(0, 1)]) }, output)).check(32);
        law(projected(spec(kind, &[(0, 1)]), &[])).check(16);
    }
    law(projected(spec(JoinKind::Mark, &[(0, 1)]), &[3])).check(16);
}

#[test]
fn with_insert_only_and_unique_sides() {
    for kind in KINDS {
        for flags in 1..16 {
            let flag = |bit: u8| flags & bit != 0;
            let spec = JoinSpec {
                left_insert_only: flag(1),
                right_insert_only: flag(2),
                left_unique: flag(4),
                right_unique: flag(8),
                ..spec(kind, &[(0, 1)])
            };
            law(spec).check(4);
        }
    }
}

/// The kinds as SQL writes them, to hold the oracle above to account.
#[test]
fn agrees_with_sql() {
    let queries = [
        (JoinKind::Left, "select * from l left join r on l.k = r.k and l.x < r.y"),
        (JoinKind::Full, "select * from l full join r on l.k = r.k and l.x < r.y"),
        (JoinKind::Semi, "select * from l where exists (select 1 from r where l.k = r.k and l.x < r.y)"),
        (JoinKind::Anti, "select * from l where not exists (select 1 from r where l.k = r.k and l.x < r.y)"),
    ];
    for (kind, sql) in queries {
        let spec = JoinSpec { residual: Some(less()), ..spec(kind, &[(0, 1)]) };
        let make = move || {
            let join = Join::new(&spec).unwrap();
            Box::new(join) as Box<dyn Operator>
        };
        let inputs = vec![Input::new(left(), &[0]), Input::new(right(), &[1])];
        Law::new(inputs, make, sql_oracle(&[("l", left()), ("r", right())], sql)).check(4);
    }
}

/// Keys and other columns of types that the other tests do not have; the key's text in two encodings.
#[test]
fn with_columns_of_many_types() {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
    let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    let fields = |text: DataType| {
        Arc::new(Schema::new(vec![
            Field::new("f", DataType::Float64, true),
            Field::new("t", text, true),
            Field::new("l", list.clone(), true),
            Field::new("d", DataType::Decimal128(10, 0), true),
            Field::new("at", time.clone(), false),
        ]))
    };
    let (left, right) = (fields(DataType::Utf8), fields(DataType::Utf8View));
    let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    let output = left.fields().iter().chain(right.fields()).map(nullable).collect::<Vec<_>>();
    for kind in [JoinKind::Inner, JoinKind::Left, JoinKind::Full] {
        let spec = JoinSpec {
            left: left.clone(),
            right: right.clone(),
            output: (0..10).collect(),
            output_schema: Arc::new(Schema::new(output.clone())),
            ..spec(kind, &[(1, 1), (0, 0)])
        };
        let make = move || {
            let join = Join::new(&spec).unwrap();
            Box::new(join) as Box<dyn Operator>
        };
        let oracle = move |totals: &[ZSet]| {
            let mut answer = ZSet::new();
            let matches = |l: &Row, r: &Row| (0..2).all(|column| l[column] == r[column] && !l[column].is_null());
            let nulls = vec![Value::Null; 5];
            for (l, weight) in &totals[0] {
                for (r, other) in totals[1].iter().filter(|(r, _)| matches(l, r)) {
                    add(&mut answer, [l.clone(), r.clone()].concat(), weight * other);
                }
                if kind != JoinKind::Inner && !totals[1].keys().any(|r| matches(l, r)) {
                    add(&mut answer, [l.clone(), nulls.clone()].concat(), *weight);
                }
            }
            for (r, weight) in totals[1].iter().filter(|(r, _)| !totals[0].keys().any(|l| matches(l, r))) {
                if kind == JoinKind::Full {
                    add(&mut answer, [nulls.clone(), r.clone()].concat(), *weight);
                }
            }
            answer
        };
        let inputs = vec![Input::new(left.clone(), &[1, 0]), Input::new(right.clone(), &[1, 0])];
        Law::new(inputs, make, move |seen| oracle(seen.totals)).check(24);
    }
}

/// Far more pairs than are gathered at once.
#[test]
fn one_key_with_many_rows_on_both_sides() {
    let rows = |schema: &SchemaRef, key: usize, value: usize, range: std::ops::Range<i64>| {
        let row = |n: i64| {
            let mut row = vec![Value::Null; 3];
            (row[key], row[value]) = (Value::Int(7), Value::Int(n));
            row
        };
        Changes::inserts(batch_of(schema, &range.map(row).collect::<Vec<_>>()))
    };
    let mut join = Join::new(&JoinSpec { residual: Some(less()), ..spec(JoinKind::Full, &[(0, 1)]) }).unwrap();
    let close = |join: &mut Join, number: u64| {
        let mut out = Vec::new();
        join.close_epoch(Epoch { number, timestamp_ms: 0 }, &mut out).unwrap();
        let weights = out.iter().flat_map(|changes| (0..changes.len()).map(|row| changes.weight(row)));
        weights
            .fold((0, 0), |(more, less), weight| if weight > 0 { (more + weight, less) } else { (more, less - weight) })
    };
    join.on_changes(0, rows(&left(), 0, 2, 0..300), &mut vec![]).unwrap();
    join.on_changes(1, rows(&right(), 1, 0, 0..300), &mut vec![]).unwrap();
    // The greatest left row and the least right row have no partner.
    assert_eq!(close(&mut join, 1), (300 * 299 / 2 + 2, 0));
    join.on_changes(0, rows(&left(), 0, 2, 0..150).negated(), &mut vec![]).unwrap();
    let gone = (0..150).map(|x| 299 - x).sum::<i64>();
    // Right rows 1 to 150 lose their last partner.
    assert_eq!(close(&mut join, 2), (150, gone));
    join.on_changes(0, rows(&left(), 0, 2, 150..300).negated(), &mut vec![]).unwrap();
    join.on_changes(1, rows(&right(), 1, 0, 0..300).negated(), &mut vec![]).unwrap();
    close(&mut join, 3);
    assert_eq!(join.state_rows(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_any_projection(kind in 0..7_usize, output in prop::collection::vec(0..6_usize, 0..6), residual: bool) {
        let kind = KINDS[kind];
        let width = match kind {
            JoinKind::Semi | JoinKind::Anti => 3,
            JoinKind::Mark => 4,
            _ => 6,
        };
        let output = output.into_iter().filter(|column| *column < width).collect::<Vec<_>>();
        let residual = residual.then(less);
        law(projected(JoinSpec { residual, ..spec(kind, &[(0, 1)]) }, &output)).check(8);
    }
}

#[test]
fn refuses_columns_that_a_kind_cannot_give() {
    let error = Join::new(&projected(spec(JoinKind::Semi, &[(0, 1)]), &[4])).unwrap_err();
    assert!(error.to_string().contains("only left columns"), "{error}");
    assert!(Join::new(&projected(spec(JoinKind::Inner, &[(0, 1)]), &[1]).clone()).is_ok());
}
