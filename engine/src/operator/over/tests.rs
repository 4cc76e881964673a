//! The law of operators, for OVER windows: planned from SQL, with the batch answer of the same SQL as oracle.

mod forgetting;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Field;
use catalog::{Object, ObjectId, ObjectKind};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::operator::law::{EpochPlan, Input, Law, Row, Scenario, Seen, Value, ZSet, add, batch_of, repeated, rows_of};
use crate::plan::Kind;
use crate::plan::build::{Emission, build};
use crate::plan::ties::break_ties;

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("p", DataType::Int64, true),
        Field::new("a", DataType::Int32, true),
        Field::new("t", DataType::Utf8View, true),
    ]))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn context(rows: RecordBatch) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap();
    context.register_table("i", Arc::new(table)).unwrap();
    context
}

async fn logical(context: &SessionContext, sql: &str) -> LogicalPlan {
    break_ties(context.state().create_logical_plan(sql).await.unwrap(), &|_| None).unwrap()
}

/// What the continuous plan of a query with one window does.
fn spec(sql: &str) -> OverSpec {
    let object = Arc::new(Object {
        id: ObjectId(1),
        name: "i".into(),
        kind: ObjectKind::MaterializedView,
        sql: String::new(),
        columns: vec![],
        key: vec![],
        insert_only: false,
        properties: BTreeMap::new(),
        depends_on: vec![],
    });
    let plan = runtime().block_on(async {
        let context = context(RecordBatch::new_empty(input()));
        let state = context.state();
        let plan = state.optimize(&logical(&context, sql).await).unwrap();
        build(&state, &plan, &|_| Ok(object.clone()), plan.schema().as_arrow(), Emission::default()).unwrap()
    });
    let mut specs =
        plan.nodes.into_iter().filter_map(|node| if let Kind::Over(spec) = node.kind { Some(spec) } else { None });
    let spec = specs.next().expect("an OVER window");
    assert!(specs.next().is_none(), "more than one operator for {sql}");
    spec
}

fn batch_answer(sql: &str, seen: &Seen<'_>) -> ZSet {
    let rows = batch_of(&input(), &repeated(&seen.totals[0]));
    let batches = runtime().block_on(async {
        let context = context(rows);
        let plan = logical(&context, sql).await;
        context.execute_logical_plan(plan).await.unwrap().collect().await.unwrap()
    });
    let mut answer = ZSet::new();
    batches.iter().flat_map(rows_of).for_each(|row| add(&mut answer, row, 1));
    answer
}

fn obeys(sql: &str, cases: u32) {
    law(sql).check(cases);
}

fn law(sql: &str) -> Law {
    let spec = spec(sql);
    let rows = Input::new(input(), &spec.partition);
    let make = move || {
        let over = Over::new(&spec).unwrap();
        Box::new(over) as Box<dyn Operator>
    };
    let sql = sql.to_owned();
    Law::new(vec![rows], make, move |seen| batch_answer(&sql, seen))
}

/// Scenarios of few rows with many copies each: every epoch gives each of them another number of copies, or leaves it.
fn crowds() -> impl Strategy<Value = Scenario> {
    let copies =
        prop::collection::vec(prop_oneof![2 => Just(None), 1 => Just(Some(0)), 4 => (0_i64..24).prop_map(Some)], 6);
    let epoch = (copies, any::<bool>(), prop::option::weighted(0.6, 1_usize..4), any::<bool>());
    (1_usize..4, prop::collection::vec(epoch, 2..6)).prop_map(|(instances, drafts)| {
        let mut there = [0; 6];
        let epochs = drafts.into_iter().map(|(copies, checkpoint, restart, fold)| {
            let mut events = Vec::new();
            for (place, wanted) in copies.into_iter().enumerate() {
                let weight = wanted.unwrap_or(there[place]) - there[place];
                there[place] += weight;
                let a = if place % 3 == 2 { Value::Null } else { Value::Int(place as i64 % 3) };
                if weight != 0 {
                    events.push((vec![Value::Int(place as i64 / 3), a, Value::Text("x".into())], weight));
                }
            }
            EpochPlan { batches: vec![(0, events)], checkpoint, restart, fold }
        });
        Scenario { instances, epochs: epochs.collect() }
    })
}

#[test]
fn copies_of_a_row_keep_their_order() {
    let calls = [
        "lag(a) OVER w",
        "lag(a) OVER w, lead(a, 2) OVER w",
        "first_value(a) OVER (w ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
        "sum(a) OVER (w ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING)",
        "sum(a) OVER (w ROWS UNBOUNDED PRECEDING)",
        "row_number() OVER w, lag(a) OVER w",
        "rank() OVER w, dense_rank() OVER w",
        "count(*) OVER w",
    ];
    for calls in calls {
        for window in &WINDOWS[..3] {
            let law = law(&format!("SELECT *, {calls} FROM i WINDOW w AS ({window})"));
            let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
            if let Err(error) = TestRunner::new(config).run(&crowds(), |scenario| law.play(&scenario)) {
                panic!("{calls} OVER ({window}): {error}");
            }
        }
    }
}

const WINDOWS: [&str; 4] = [
    "PARTITION BY p ORDER BY a",
    "PARTITION BY p ORDER BY a DESC NULLS LAST",
    "ORDER BY a, t DESC",
    "PARTITION BY p, t ORDER BY a",
];

#[test]
fn numbers_and_ranks() {
    for window in WINDOWS {
        obeys(&format!("SELECT *, rank() OVER w, dense_rank() OVER w FROM i WINDOW w AS ({window})"), 8);
        obeys(
            &format!(
                "SELECT *, percent_rank() OVER w, cume_dist() OVER w, rank() OVER w FROM i WINDOW w AS ({window})"
            ),
            4,
        );
        obeys(&format!("SELECT *, row_number() OVER w, ntile(3) OVER w FROM i WINDOW w AS ({window})"), 4);
        obeys(&format!("SELECT *, row_number() OVER w, lag(a) OVER w FROM i WINDOW w AS ({window})"), 8);
    }
}

#[test]
fn neighbours() {
    for window in WINDOWS {
        obeys(
            &format!(
                "SELECT *, lag(t, 2, 'none') OVER w, lead(a) OVER w, lag(a, -1) OVER w FROM i WINDOW w AS ({window})"
            ),
            8,
        );
        obeys(
            &format!(
                "SELECT *, lag(a) IGNORE NULLS OVER w, lead(a, 2) IGNORE NULLS OVER w FROM i WINDOW w AS ({window})"
            ),
            4,
        );
    }
    obeys("SELECT *, lag(t) OVER () FROM i", 4);
}

#[test]
fn aggregates_over_every_frame() {
    let frames = [
        "ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
        "ROWS BETWEEN 3 PRECEDING AND 2 PRECEDING",
        "ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING",
        "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
        "RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING",
        "RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING",
        "RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING",
        "RANGE BETWEEN 2 PRECEDING AND CURRENT ROW",
        "RANGE BETWEEN CURRENT ROW AND CURRENT ROW",
        "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        "RANGE BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING",
        "GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
        "GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
        "GROUPS BETWEEN 1 FOLLOWING AND 2 FOLLOWING",
        "GROUPS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
    ];
    for frame in frames {
        for window in &WINDOWS[..2] {
            // Over other frames min and avg stand below a projection, which this test does not see.
            let more = if frame.contains("UNBOUNDED PRECEDING") { "min(t) OVER w, avg(a) OVER w, " } else { "" };
            let sql = format!(
                "SELECT *, sum(a) OVER w, count(*) OVER w, max(a) OVER w, max(t) OVER w, {more}\
                 count(t) FILTER (WHERE (a > 0) IS TRUE) OVER w FROM i WINDOW w AS ({window} {frame})"
            );
            obeys(&sql, 3);
        }
    }
}

#[test]
fn aggregates_over_all_rows_and_distinct_ones() {
    obeys("SELECT *, sum(a) OVER (), count(*) OVER () FROM i", 4);
    obeys("SELECT *, max(t) OVER w, count(DISTINCT a) OVER w FROM i WINDOW w AS (PARTITION BY p)", 6);
    obeys("SELECT *, count(DISTINCT t) OVER w, median(a) OVER w FROM i WINDOW w AS (PARTITION BY p ORDER BY a)", 6);
    obeys("SELECT *, array_agg(t) OVER w FROM i WINDOW w AS (PARTITION BY p ORDER BY a ROWS UNBOUNDED PRECEDING)", 6);
}

#[test]
fn values_of_frames() {
    let frames = [
        "",
        "ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING",
        "ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING",
        "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    ];
    for frame in frames {
        let window = format!("PARTITION BY p ORDER BY a {frame}");
        obeys(&format!("SELECT *, first_value(t) OVER w FROM i WINDOW w AS ({window})"), 8);
        obeys(&format!("SELECT *, last_value(t) OVER w FROM i WINDOW w AS ({window})"), 8);
        if !frame.is_empty() {
            let sql = format!(
                "SELECT *, nth_value(t, 2) OVER w, first_value(t) IGNORE NULLS OVER w, last_value(a) IGNORE NULLS OVER w \
                 FROM i WINDOW w AS ({window})"
            );
            obeys(&sql, 6);
        }
    }
}

/// Closes an epoch with one row changed; gives how many rows were evaluated and how many changes came out.
fn change(over: &mut Over, row: Row, weight: i64) -> (usize, usize) {
    let rows = batch_of(&input(), &[row]);
    let mut out = Vec::new();
    let before = over.evaluated;
    over.on_changes(0, Changes::weighted(rows, vec![weight]), &mut out).unwrap();
    over.close_epoch(Epoch { number: 1, timestamp_ms: 0 }, &mut out).unwrap();
    (over.evaluated - before, out.iter().map(Changes::len).sum())
}

/// Rows evaluated for a row that comes and goes in the middle and one that comes at the end of a partition of `size` rows.
fn cost(sql: &str, size: i64) -> [usize; 3] {
    let mut over = Over::new(&spec(sql)).unwrap();
    let row = |a: i64, t: &str| vec![Value::Int(1), Value::Int(a), Value::Text(t.into())];
    let rows = (0..size).map(|a| row(2 * a, "x")).collect::<Vec<_>>();
    let mut out = Vec::new();
    over.on_changes(0, Changes::inserts(batch_of(&input(), &rows)), &mut out).unwrap();
    over.close_epoch(Epoch { number: 1, timestamp_ms: 0 }, &mut out).unwrap();
    let middle = row(size | 1, "new");
    [
        change(&mut over, middle.clone(), 1).0,
        change(&mut over, middle, -1).0,
        change(&mut over, row(2 * size, "new"), 1).0,
    ]
}

#[test]
fn work_does_not_grow_with_the_partition() {
    let bounded = [
        "SELECT *, lag(a) OVER w, lead(t, 3) OVER w FROM i WINDOW w AS (PARTITION BY p ORDER BY a)",
        "SELECT *, sum(a) OVER (PARTITION BY p ORDER BY a ROWS BETWEEN 5 PRECEDING AND 2 FOLLOWING) FROM i",
        "SELECT *, sum(a) OVER (PARTITION BY p ORDER BY a RANGE BETWEEN 10 PRECEDING AND 10 FOLLOWING) FROM i",
        "SELECT *, max(a) OVER (PARTITION BY p ORDER BY a GROUPS BETWEEN 3 PRECEDING AND CURRENT ROW) FROM i",
        "SELECT *, first_value(t) OVER (PARTITION BY p ORDER BY a) FROM i",
        "SELECT *, last_value(t) OVER (PARTITION BY p ORDER BY a ROWS UNBOUNDED PRECEDING) FROM i",
    ];
    for sql in bounded {
        let (small, large) = (cost(sql, 100), cost(sql, 10_000));
        assert_eq!(small, large, "{sql}");
        assert!(large.iter().all(|rows| *rows <= 40), "{sql}: {large:?}");
    }
    // What counts all rows before is evaluated from the change on: cheap at the end, where most rows come.
    let growing = [
        "SELECT *, row_number() OVER w, lag(a) OVER w FROM i WINDOW w AS (PARTITION BY p ORDER BY a)",
        "SELECT *, rank() OVER w, dense_rank() OVER w FROM i WINDOW w AS (PARTITION BY p ORDER BY a)",
        "SELECT *, sum(a) OVER w, avg(a) OVER w FROM i WINDOW w AS (PARTITION BY p ORDER BY a)",
        "SELECT *, count(*) OVER (PARTITION BY p ORDER BY a ROWS UNBOUNDED PRECEDING) FROM i",
    ];
    for sql in growing {
        let (small, large) = (cost(sql, 100), cost(sql, 10_000));
        assert!(small[2] <= 8 && large[2] <= 8, "{sql}: {small:?} {large:?}");
        assert!(large[0] <= 5_001 + 130 && large[1] <= 5_001 + 130, "{sql}: {large:?}");
    }
}

#[test]
fn only_results_that_differ_are_emitted() {
    let mut over = Over::new(&spec("SELECT *, max(a) OVER (PARTITION BY p) FROM i")).unwrap();
    let row = |p: i64, a: i64| vec![Value::Int(p), Value::Int(a), Value::Null];
    assert_eq!(change(&mut over, row(1, 5), 1).1, 1);
    assert_eq!(change(&mut over, row(1, 3), 1).1, 1);
    assert_eq!(change(&mut over, row(2, 9), 1).1, 1);
    // A new greatest value changes all rows of its partition.
    assert_eq!(change(&mut over, row(1, 7), 1).1, 1 + 2 * 2);
    assert_eq!(change(&mut over, row(1, 7), -1).1, 1 + 2 * 2);
    assert_eq!(change(&mut over, row(1, 3), -1).1, 1);
}

#[test]
fn a_row_that_is_not_there_cannot_go() {
    let mut over = Over::new(&spec("SELECT *, count(*) OVER (PARTITION BY p) FROM i")).unwrap();
    let rows = batch_of(&input(), &[vec![Value::Int(1), Value::Null, Value::Null]]);
    over.on_changes(0, Changes::weighted(rows, vec![-1]), &mut vec![]).unwrap();
    let error = over.close_epoch(Epoch { number: 1, timestamp_ms: 0 }, &mut vec![]).unwrap_err();
    assert!(error.to_string().contains("more often than it is there"), "{error}");
}
