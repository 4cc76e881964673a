//! The law of operators, for OVER windows that forget rows behind a watermark.

use super::*;

/// Ordered by the column that has the watermark.
const BY_TIME: [&str; 4] =
    ["PARTITION BY p ORDER BY a", "PARTITION BY p ORDER BY a DESC", "ORDER BY a, t DESC", "ORDER BY a DESC, p"];

/// Rows of `a` more than `delay` behind the greatest are late.
fn timed(sql: &str, insert_only: bool, delay: i64) -> Law {
    let spec = spec(sql);
    let rows = Input::new(input(), &spec.partition);
    let rows = if insert_only { rows.insert_only() } else { rows };
    let make = move || {
        let over = Over::new(&spec).unwrap();
        Box::new(over) as Box<dyn Operator>
    };
    let sql = sql.to_owned();
    Law::new(vec![rows], make, move |seen| batch_answer(&sql, seen)).timed(0, 1, delay)
}

fn obeys(calls: &str, window: &str, cases: u32) {
    let sql = format!("SELECT *, {calls} FROM i WINDOW w AS ({window})");
    for (insert_only, delay) in [(true, 2), (false, 3), (false, 7)] {
        timed(&sql, insert_only, delay).check(cases);
    }
}

#[test]
fn neighbours_and_numbers() {
    let calls = [
        "lag(a) OVER w",
        "lag(t, 2, 'none') OVER w, lead(a) OVER w",
        "lead(t, 3) OVER w",
        "row_number() OVER w, lag(a) OVER w",
        "rank() OVER w, dense_rank() OVER w",
        "row_number() OVER w, lag(a, 2) OVER w, lead(a) OVER w",
        "first_value(t) OVER w, lag(a) OVER w",
        "max(t) OVER w, dense_rank() OVER w",
    ];
    for calls in calls {
        for window in BY_TIME {
            obeys(calls, window, 6);
        }
    }
}

#[test]
fn frames() {
    let frames = [
        "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
        "ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING",
        "ROWS BETWEEN 3 PRECEDING AND 2 PRECEDING",
        "RANGE BETWEEN 2 PRECEDING AND CURRENT ROW",
        "RANGE BETWEEN 1 PRECEDING AND 3 FOLLOWING",
        "RANGE BETWEEN CURRENT ROW AND CURRENT ROW",
        "GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
        "GROUPS BETWEEN 1 PRECEDING AND 2 FOLLOWING",
        "GROUPS BETWEEN CURRENT ROW AND 1 FOLLOWING",
    ];
    for frame in frames {
        for window in &BY_TIME[..2] {
            let calls = "sum(a) OVER w, count(*) OVER w, max(t) OVER w";
            obeys(calls, &format!("{window} {frame}"), 5);
        }
    }
    for frame in ["ROWS UNBOUNDED PRECEDING", "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING"] {
        let window = format!("PARTITION BY p ORDER BY a {frame}");
        obeys("first_value(t) OVER w, last_value(t) OVER w", &window, 5);
        obeys("nth_value(t, 2) OVER w, first_value(a) OVER w", &window, 5);
    }
}

#[test]
fn running_aggregates() {
    let calls = [
        "sum(a) OVER w, count(*) OVER w, max(t) OVER w",
        "avg(a) OVER w, count(t) FILTER (WHERE (a > 0) IS TRUE) OVER w, min(p) OVER w",
        "bool_or(a > 3) OVER w, bit_xor(a) OVER w, rank() OVER w",
    ];
    for calls in calls {
        for window in
            ["PARTITION BY p ORDER BY a", "PARTITION BY p, t ORDER BY a ROWS UNBOUNDED PRECEDING", "ORDER BY a"]
        {
            obeys(calls, window, 8);
        }
    }
    obeys(
        "lag(a, 2) OVER w, nth_value(a, 2) OVER w, sum(a) OVER w",
        "PARTITION BY p ORDER BY a ROWS UNBOUNDED PRECEDING",
        12,
    );
    obeys("dense_rank() OVER w, rank() OVER w, sum(a) OVER w", "PARTITION BY p ORDER BY a, t", 12);
}

/// What looks at every row, or where rows without time stand next to old ones: nothing is freed, and nothing breaks.
#[test]
fn windows_that_free_nothing() {
    for window in ["PARTITION BY p ORDER BY a NULLS FIRST", "PARTITION BY p ORDER BY a DESC NULLS LAST"] {
        obeys("lag(a) OVER w, lead(t) OVER w", window, 6);
    }
    obeys("lag(a) OVER w, ntile(2) OVER w", BY_TIME[0], 6);
    obeys("row_number() OVER w, lag(a) OVER w", "PARTITION BY p ORDER BY t, a", 6);
}

#[test]
fn partitions_of_a_time() {
    for calls in ["sum(p) OVER w, count(*) OVER w", "lag(t) OVER (w ORDER BY p), ntile(2) OVER (w ORDER BY p)"] {
        obeys(calls, "PARTITION BY a", 8);
    }
    obeys("max(p) OVER w", "PARTITION BY a, t", 8);
}

fn row(p: i64, a: i64, t: &str) -> (usize, Row) {
    (0, vec![Value::Int(p), Value::Int(a), Value::Text(t.into())])
}

#[test]
fn state_stays_bounded() {
    let rows = [row(1, 0, "a"), row(1, 1, "b"), row(2, 1, "c"), row(2, 2, "d"), row(1, 2, "e")];
    let windows = [
        "lag(a) OVER (PARTITION BY p ORDER BY a)",
        "lead(a, 2) OVER (PARTITION BY p ORDER BY a)",
        "lag(a) OVER (PARTITION BY p ORDER BY a DESC)",
        "sum(a) OVER (PARTITION BY p ORDER BY a ROWS 2 PRECEDING)",
        "sum(a) OVER (PARTITION BY p ORDER BY a RANGE 3 PRECEDING)",
        "sum(a) OVER (PARTITION BY p ORDER BY a DESC RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
        "max(a) OVER (PARTITION BY p ORDER BY a GROUPS 1 PRECEDING)",
        "first_value(t) OVER (PARTITION BY p ORDER BY a)",
        "row_number() OVER (PARTITION BY p ORDER BY a), lag(a) OVER (PARTITION BY p ORDER BY a)",
        "dense_rank() OVER (PARTITION BY p ORDER BY a)",
        "sum(p) OVER (PARTITION BY a)",
        "sum(a) OVER (PARTITION BY p ORDER BY a), count(*) OVER (PARTITION BY p ORDER BY a)",
        "avg(a) OVER (ORDER BY a ROWS UNBOUNDED PRECEDING)",
    ];
    for calls in windows {
        timed(&format!("SELECT *, {calls} FROM i"), true, 2).stays_within(20, 60, &rows);
    }
}

/// A key that nothing more comes for leaves nothing behind where frames are spans of time.
#[test]
fn keys_that_fell_silent_are_forgotten() {
    let spec = spec("SELECT *, sum(a) OVER (PARTITION BY p ORDER BY a RANGE 3 PRECEDING) FROM i");
    let mut over = Over::new(&spec).unwrap();
    for epoch in 1..100_i64 {
        let rows = [row(epoch, epoch, "a").1, row(epoch, epoch + 1, "a").1];
        over.on_changes(0, Changes::inserts(batch_of(&input(), &rows)), &mut vec![]).unwrap();
        over.on_watermark(0, &[Bound { column: 1, watermark: epoch }]).unwrap();
        over.close_epoch(Epoch { number: epoch as u64, timestamp_ms: 0 }, &mut vec![]).unwrap();
        assert!(
            over.state_rows() <= 12 && over.keys.len() <= 6,
            "{} rows, {} keys",
            over.state_rows(),
            over.keys.len()
        );
    }
    over.on_watermark(0, &[Bound { column: 1, watermark: crate::watermark::END }]).unwrap();
    over.close_epoch(Epoch { number: 100, timestamp_ms: 0 }, &mut vec![]).unwrap();
    assert_eq!((over.state_rows(), over.keys.len()), (0, 0));
}

/// Freeing costs what is freed: partitions that the watermark does not touch are not looked at.
#[test]
fn what_is_freed_is_what_a_later_change_cannot_see() {
    let mut over = Over::new(&spec("SELECT *, lag(a) OVER (PARTITION BY p ORDER BY a) FROM i")).unwrap();
    let mut out = Vec::new();
    let rows = (0..10).map(|a| row(1, a, "x").1).collect::<Vec<_>>();
    over.on_changes(0, Changes::inserts(batch_of(&input(), &rows)), &mut out).unwrap();
    over.on_watermark(0, &[Bound { column: 1, watermark: 8 }]).unwrap();
    over.close_epoch(Epoch { number: 1, timestamp_ms: 0 }, &mut out).unwrap();
    // 7, that a row at 8 looks back at, and what is not behind the watermark.
    assert_eq!(over.state_rows(), 3);
    assert_eq!(change(&mut over, vec![Value::Int(1), Value::Int(8), Value::Text("x".into())], -1), (2, 3));
}
