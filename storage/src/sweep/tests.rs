//! The sweep deletes garbage and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use catalog::{Action, SystemClock};

use super::*;
use crate::scan::read_all;
use crate::segment::write_segment;
use crate::testing::{FaultyCatalog, change, commit, create, int_rows, printed, state, table};
use crate::tiering::{RetentionPolicy, TieringPolicy, retain, tier};

async fn paths(warehouse: &Warehouse) -> BTreeSet<String> {
    warehouse.list("").await.unwrap().into_iter().map(|file| file.path).collect()
}

#[test]
fn only_places_where_the_program_writes_are_looked_at() {
    for path in ["t-1/data/x", "a_b-12/metadata/x", "t-1/changelog/x", "_state/3/x"] {
        assert!(ours(path), "{path}");
    }
    for path in
        ["catalog.db", "catalog.db-wal", "t/data/x", "t-x/data/x", "t-1/x", "t-1/data/y/x", "_state/x", "_state/a/x"]
    {
        assert!(!ours(path), "{path}");
    }
}

#[tokio::test]
async fn garbage_goes_and_everything_else_stays() {
    let warehouse = Warehouse::in_memory(FaultyCatalog::new().await, Arc::new(SystemClock::new())).unwrap();
    let object = create(&warehouse, table(0, "t", &[("k", DataType::Int64, false)], &["k"])).await;
    let dropped = create(&warehouse, table(0, "gone", &[("k", DataType::Int64, false)], &["k"])).await;
    change(&warehouse, &dropped, &[int_rows(&dropped, 0..3)]).await;
    tier(&warehouse, dropped.id, &TieringPolicy::default(), true).await.unwrap();
    for i in 0..4 {
        change(&warehouse, &object, &[int_rows(&object, i..i + 3)]).await;
        tier(&warehouse, object.id, &TieringPolicy::default(), true).await.unwrap();
    }
    change(&warehouse, &object, &[int_rows(&object, 90..91)]).await;

    // A crash between writing and committing.
    write_segment(&warehouse, &object, &[int_rows(&object, 50..60)], false).await.unwrap();
    warehouse.put("t-9/data/half.tmp", "x".into()).await.unwrap();
    warehouse.put("_state/7/orphan.state", "x".into()).await.unwrap();
    warehouse.put("README", "not ours".into()).await.unwrap();

    let before = paths(&warehouse).await;
    let spared = sweep(&warehouse, DEFAULT_GRACE).await.unwrap();
    assert_eq!((spared.files, spared.young), (0, 3));
    assert_eq!(paths(&warehouse).await, before);

    let swept = sweep(&warehouse, Duration::ZERO).await.unwrap();
    assert_eq!(swept.files, 3);
    assert!(paths(&warehouse).await.contains("README"));
    let now = printed(&read_all(&warehouse, &object, &state(&warehouse, &object).await).await.unwrap());
    for version in 1..=warehouse.catalog().version().await.unwrap() {
        let snapshot = warehouse.catalog().snapshot(Some(version)).await.unwrap();
        for (id, state) in &snapshot.tables {
            warehouse_forgets(&warehouse);
            read_all(&warehouse, &snapshot.objects[id], state).await.unwrap();
        }
    }

    commit(&warehouse, vec![Action::DropObject(dropped.id)]).await;
    let forget = RetentionPolicy { changelog_age_ms: -1, changelog_segments: 0, version_age_ms: -1 };
    retain(&warehouse, &forget, &Default::default()).await.unwrap().unwrap();
    let swept = sweep(&warehouse, Duration::ZERO).await.unwrap();
    assert!(swept.files > 0);
    warehouse_forgets(&warehouse);
    assert_eq!(printed(&read_all(&warehouse, &object, &state(&warehouse, &object).await).await.unwrap()), now);
    assert!(paths(&warehouse).await.iter().all(|path| !path.starts_with("gone-")));
    assert_eq!(sweep(&warehouse, Duration::ZERO).await.unwrap().files, 0);
}

/// Empties the caches, so that what is read next must be on the store.
fn warehouse_forgets(warehouse: &Warehouse) {
    warehouse.segments.clear();
    warehouse.tables.clear();
    warehouse.hot.clear();
}
