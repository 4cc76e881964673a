//! VERIFY finds what it is there to find: a row too many, one too few, one that is wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use catalog::{Action, Commit, SystemClock};
use engine::change::Changes;
use sql_tests::{MODES, Warehouse};
use storage::segment::write_segment;
use storage::types::arrow_schema;

/// Commits a change to a view behind its job's back.
async fn damage(directory: &str, view: &str, columns: Vec<i64>, weight: i64) {
    let clock = Arc::new(SystemClock::new());
    let warehouse = storage::Warehouse::open(directory, clock).await.unwrap();
    let snapshot = warehouse.catalog().snapshot(None).await.unwrap();
    let object = snapshot.object(view).unwrap();
    let arrays = columns.into_iter().map(|value| Arc::new(Int64Array::from(vec![value])) as _).collect();
    let row = RecordBatch::try_new(arrow_schema(object).unwrap(), arrays).unwrap();
    let segment = write_segment(&warehouse, object, &[Changes::weighted(row, vec![weight])], false).await.unwrap();
    let commit = Commit {
        id: warehouse.clock().uuid(),
        now_ms: warehouse.clock().now_ms(),
        requires: vec![],
        actions: vec![Action::AddSegments { table: object.id, segments: vec![segment] }],
    };
    warehouse.catalog().commit(commit).await.unwrap();
}

async fn verify(warehouse: &mut Warehouse, view: &str) -> Result<Vec<Vec<String>>, String> {
    let answer = warehouse.rows(&format!("VERIFY MATERIALIZED VIEW {view}")).await;
    answer.map(Option::unwrap_or_default).map_err(|error| error.to_string())
}

async fn play() {
    let mode = *MODES.iter().find(|mode| mode.name == "views-first").unwrap();
    let mut warehouse = Warehouse::new(mode).await.unwrap();
    for sql in [
        "CREATE TABLE t (k BIGINT, v BIGINT)",
        "CREATE MATERIALIZED VIEW sums AS SELECT k, SUM(v) AS s FROM t GROUP BY k",
        "CREATE MATERIALIZED VIEW copies AS SELECT k, v FROM t",
        "INSERT INTO t VALUES (1, 1), (1, 2), (2, 3), (2, 3), (3, 9)",
    ] {
        warehouse.rows(sql).await.unwrap();
    }
    assert_eq!(verify(&mut warehouse, "sums").await.unwrap(), [["sums", "equal", "3"]]);
    assert_eq!(verify(&mut warehouse, "copies").await.unwrap(), [["copies", "equal", "5"]]);
    let directory = warehouse.directory();

    damage(&directory, "sums", vec![7, 70], 1).await;
    let error = verify(&mut warehouse, "sums").await.unwrap_err();
    assert!(error.contains("differs from its query") && error.contains("in 1 row;"), "{error}");
    assert!(error.contains("\n+1 7 | 70"), "{error}");
    damage(&directory, "sums", vec![7, 70], -1).await;
    damage(&directory, "sums", vec![2, 6], -1).await;
    let error = verify(&mut warehouse, "sums").await.unwrap_err();
    assert!(error.contains("\n-1 2 | 6"), "{error}");
    damage(&directory, "sums", vec![2, 5], 1).await;
    let error = verify(&mut warehouse, "sums").await.unwrap_err();
    assert!(error.contains("in 2 rows;") && error.contains("\n-1 2 | 6") && error.contains("\n+1 2 | 5"), "{error}");

    // One copy of two is missing: the view is a multiset.
    damage(&directory, "copies", vec![2, 3], -1).await;
    let error = verify(&mut warehouse, "copies").await.unwrap_err();
    assert!(error.contains("\n-1 2 | 3"), "{error}");
}

#[test]
fn differences_are_found() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(play());
}
