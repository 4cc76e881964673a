//! The law of operators, for joins of every kind.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_plan::expressions::{Column, binary};
use proptest::prelude::*;

use super::*;
use crate::operator::law::{Input, Law, Row, Value, ZSet, add};

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
        let info = join.info();
        (Box::new(join) as Box<dyn Operator>, info)
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
            law(spec).check(6);
        }
    }
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
