//! What holds for every database and needs more than one handle, or a look behind the catalog.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{Store, commit, create, execute};
use crate::conformance::{add, assert_same};
use crate::{Action, Catalog, ErrorKind};

macro_rules! everywhere {
    ($($name:ident),* $(,)?) => {
        mod file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Store::file()).await;
            })*
        }
        mod server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Store::server()).await;
            })*
        }
    };
}

everywhere! {
    what_was_committed_is_there_after_reopening,
    many_may_create_it_at_once,
    another_format_or_a_missing_part_is_corrupt,
    damaged_rows_are_corrupt,
    the_first_format_is_brought_up,
    a_commit_dropped_half_way_leaves_nothing_locked,
}

async fn what_was_committed_is_there_after_reopening(store: Store) {
    let mut lease = None;
    let mut seen: Option<Arc<crate::Snapshot>> = None;
    for (round, closing) in [true, false, true].into_iter().enumerate() {
        let catalog = store.open().await.unwrap();
        if let Some(seen) = &seen {
            assert_same(seen, &catalog.snapshot(None).await.unwrap());
            assert_eq!(catalog.lease("l", 1).await.unwrap(), lease);
        }
        let id = catalog.allocate_ids(1).await.unwrap();
        catalog.commit(commit(vec![create(id.0, &format!("t{round}")), add(id, &format!("{round}"))])).await.unwrap();
        lease = Some(catalog.acquire_lease("l", "me", None, 1, 10).await.unwrap());
        seen = Some(catalog.snapshot(None).await.unwrap());
        if closing {
            catalog.close().await;
            assert_eq!(catalog.version().await.unwrap_err().kind(), ErrorKind::Unavailable);
        }
    }
    assert_eq!(seen.unwrap().version, 3);
}

async fn many_may_create_it_at_once(store: Store) {
    let store = Arc::new(store);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let catalog = store.open().await.unwrap();
            catalog.commit(commit(vec![create(n + 1, &format!("t{n}"))])).await.unwrap()
        });
    }
    let mut versions = tasks.join_all().await;
    versions.sort();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
}

async fn another_format_or_a_missing_part_is_corrupt(store: Store) {
    let catalog = store.open().await.unwrap();
    for (sql, says) in [
        ("DROP TABLE frazil_leases", "frazil_leases"),
        ("UPDATE frazil_meta SET value = 7 WHERE key = 'format'", "version of frazil"),
    ] {
        execute(&catalog, sql).await.unwrap();
        let error = store.open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

async fn damaged_rows_are_corrupt(store: Store) {
    let catalog = store.open().await.unwrap();
    catalog.commit(commit((1..9).map(|n| create(n, &format!("t{n}"))).collect())).await.unwrap();
    execute(&catalog, "UPDATE frazil_objects SET body = '{' WHERE id = 7").await.unwrap();
    let error = store.open().await.unwrap().snapshot(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("frazil_objects"), "{error}");
}

async fn the_first_format_is_brought_up(store: Store) {
    let catalog = store.open().await.unwrap();
    catalog.commit(commit(vec![create(1, "t")])).await.unwrap();
    let before = catalog.snapshot(None).await.unwrap();
    let sqlite = matches!(store, Store::File(_)).then_some("PRAGMA user_version = 1");
    let statements = [
        "DROP TABLE frazil_access",
        "DELETE FROM frazil_meta WHERE key = 'access_version'",
        "UPDATE frazil_meta SET value = 1 WHERE key = 'format'",
    ];
    for sql in statements.into_iter().chain(sqlite) {
        // A server's catalog refuses to write to another format than its own, so this comes last.
        execute(&catalog, sql).await.unwrap();
    }
    catalog.close().await;
    for _ in 0..2 {
        let catalog = store.open().await.unwrap();
        assert_same(&before, &catalog.snapshot(None).await.unwrap());
        catalog.close().await;
    }
    let catalog = store.open().await.unwrap();
    let user = crate::User { name: "ann".into(), superuser: true, verifier: None };
    catalog.commit(commit(vec![Action::PutUser(user)])).await.unwrap();
    assert!(catalog.snapshot(None).await.unwrap().access.users.contains_key("ann"));
}

async fn a_commit_dropped_half_way_leaves_nothing_locked(store: Store) {
    let (a, b) = (store.open().await.unwrap(), store.open().await.unwrap());
    for n in 0..30_u64 {
        let actions = (0..20).map(|k| create((n * 20 + k + 1) as i64, &format!("t{n}.{k}"))).collect();
        let request = commit(actions);
        let id = request.id;
        let _ = tokio::time::timeout(Duration::from_micros(150 * n * n), a.commit(request)).await;
        let settled = b.settle(id).await.unwrap();
        let seen = b.snapshot(None).await.unwrap();
        assert_eq!(seen.object(&format!("t{n}.0")).is_some(), settled.is_some());
        assert_eq!(seen.object(&format!("t{n}.19")).is_some(), settled.is_some());
    }
    a.commit(commit(vec![])).await.unwrap();
    assert_eq!(b.settle(Uuid::nil()).await.unwrap(), None);
}
