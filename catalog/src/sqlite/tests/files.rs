//! Files: creation, reopening, damage, sharing, failure.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::tempdir;
use uuid::Uuid;

use super::open;
use crate::conformance::{add, assert_same, object};
use crate::sqlite::{SqliteOptions, schema};
use crate::{Action, Catalog, Clock, Commit, Error, ErrorKind, ObjectId, ObjectKind, SqliteCatalog, SystemClock};

pub(super) async fn raw(path: &std::path::Path) -> SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

pub(super) fn commit(actions: Vec<Action>) -> Commit {
    Commit { id: SystemClock::new().uuid(), now_ms: 1, requires: vec![], actions }
}

pub(super) fn create(id: i64, name: &str) -> Action {
    Action::CreateObject(object(ObjectId(id), name, ObjectKind::Table, &[]))
}

async fn refused(path: &std::path::Path) -> Error {
    let error = open(path).await.err().unwrap();
    assert!(error.to_string().contains(&path.display().to_string()), "names the file: {error}");
    error
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("new/deeper/catalog.db");
    let mut lease = None;
    let mut seen: Option<Arc<crate::Snapshot>> = None;
    for (round, closing) in [true, false, true].into_iter().enumerate() {
        let catalog = open(&path).await.unwrap();
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

#[tokio::test]
async fn pragmas_are_durable_ones() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let catalog = open(&path).await.unwrap();
    for pool in [&catalog.inner.writer, &catalog.inner.reader] {
        let mut conn = pool.acquire().await.unwrap();
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *conn).await.unwrap();
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *conn).await.unwrap();
        let foreign_keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut *conn).await.unwrap();
        assert_eq!((mode.as_str(), synchronous, foreign_keys), ("wal", 2, 1));
    }
    let mut conn = raw(&path).await;
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut conn).await.unwrap();
    let format: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut conn).await.unwrap();
    assert_eq!((id, format), (schema::APPLICATION_ID, schema::FORMAT));
}

#[tokio::test]
async fn garbage_is_called_corrupt_and_left_alone() {
    let directory = tempdir().unwrap();
    for (name, bytes) in [("long", vec![b'x'; 5000]), ("short", b"hello".to_vec())] {
        let path = directory.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(refused(&path).await.kind(), ErrorKind::Corrupt);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
    let error = refused(directory.path()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "a directory: {error}");
}

#[tokio::test]
async fn another_database_is_left_alone() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("other.db");
    let mut conn = raw(&path).await;
    sqlx::query("CREATE TABLE notes (text TEXT)").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    assert_eq!(refused(&path).await.kind(), ErrorKind::Corrupt);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn another_format_or_a_missing_part_is_corrupt() {
    let directory = tempdir().unwrap();
    for (number, sql, says) in [
        (1, "PRAGMA user_version = 3", "version of frazil"),
        (2, "UPDATE frazil_meta SET value = 7 WHERE key = 'format'", "version of frazil"),
        (3, "DROP TABLE frazil_leases", "frazil_leases"),
        (4, "DELETE FROM frazil_meta", "frazil_meta"),
    ] {
        let path = directory.path().join(format!("{number}.db"));
        open(&path).await.unwrap().close().await;
        let mut conn = raw(&path).await;
        sqlx::query(sql).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        let error = refused(&path).await;
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_file_of_the_first_format_is_brought_up() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let catalog = open(&path).await.unwrap();
    catalog.commit(commit(vec![create(1, "t")])).await.unwrap();
    let before = catalog.snapshot(None).await.unwrap();
    catalog.close().await;
    let mut conn = raw(&path).await;
    for sql in [
        "DROP TABLE frazil_access",
        "DELETE FROM frazil_meta WHERE key = 'access_version'",
        "UPDATE frazil_meta SET value = 1 WHERE key = 'format'",
        "PRAGMA user_version = 1",
    ] {
        sqlx::query(sql).execute(&mut conn).await.unwrap();
    }
    conn.close().await.unwrap();
    for _ in 0..2 {
        let catalog = open(&path).await.unwrap();
        crate::conformance::assert_same(&before, &catalog.snapshot(None).await.unwrap());
        catalog.close().await;
    }
    let catalog = open(&path).await.unwrap();
    let user = crate::User { name: "ann".into(), superuser: true, verifier: None };
    catalog.commit(commit(vec![crate::Action::PutUser(user)])).await.unwrap();
    assert!(catalog.snapshot(None).await.unwrap().access.users.contains_key("ann"));
}

#[tokio::test]
async fn damaged_rows_and_pages_are_corrupt() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let catalog = open(&path).await.unwrap();
    catalog.commit(commit((1..200).map(|n| create(n, &format!("t{n}"))).collect())).await.unwrap();
    catalog.close().await;
    let mut conn = raw(&path).await;
    sqlx::query("UPDATE frazil_objects SET body = '{' WHERE id = 7").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let error = open(&path).await.unwrap().snapshot(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("frazil_objects"), "{error}");

    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    let error = match open(&path).await {
        Ok(catalog) => catalog.snapshot(None).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_create_the_file_at_once() {
    let directory = tempdir().unwrap();
    let path = Arc::new(directory.path().join("dir/catalog.db"));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let path = Arc::clone(&path);
        tasks.spawn(async move {
            let catalog = open(&path).await.unwrap();
            catalog.commit(commit(vec![create(n + 1, &format!("t{n}"))])).await.unwrap()
        });
    }
    let mut versions = tasks.join_all().await;
    versions.sort();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_lock_that_stays_makes_writers_give_up_but_not_readers() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let options = SqliteOptions { busy_timeout: Duration::from_millis(200), ..SqliteOptions::default() };
    let catalog = SqliteCatalog::open(&path, options).await.unwrap();
    let mut other = raw(&path).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = catalog.commit(commit(vec![])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.retryable());
    assert_eq!(catalog.version().await.unwrap(), 0);
    catalog.snapshot(None).await.unwrap();
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(catalog.commit(commit(vec![])).await.unwrap(), 1);
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let catalog = open(&path).await.unwrap();
    {
        let mut conn = catalog.inner.writer.acquire().await.unwrap();
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *conn).await.unwrap();
        sqlx::query(&format!("PRAGMA max_page_count = {}", pages + 1)).execute(&mut *conn).await.unwrap();
    }
    let large = || (1..500).map(|n| create(n, &format!("t{n}"))).collect::<Vec<_>>();
    let error = catalog.commit(commit(large())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert_eq!(catalog.version().await.unwrap(), 0);
    {
        let mut conn = catalog.inner.writer.acquire().await.unwrap();
        sqlx::query("PRAGMA max_page_count = 1000000").execute(&mut *conn).await.unwrap();
    }
    assert_eq!(catalog.commit(commit(large())).await.unwrap(), 1);
}

#[tokio::test]
async fn a_commit_dropped_half_way_leaves_nothing_locked() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let (a, b) = (open(&path).await.unwrap(), open(&path).await.unwrap());
    for n in 0..30_u64 {
        let actions = (0..20).map(|k| create((n * 20 + k + 1) as i64, &format!("t{n}.{k}"))).collect();
        let request = commit(actions);
        let id = request.id;
        let _ = tokio::time::timeout(Duration::from_micros(150 * n), a.commit(request)).await;
        let settled = b.settle(id).await.unwrap();
        let seen = b.snapshot(None).await.unwrap();
        assert_eq!(seen.object(&format!("t{n}.0")).is_some(), settled.is_some());
        assert_eq!(seen.object(&format!("t{n}.19")).is_some(), settled.is_some());
    }
    a.commit(commit(vec![])).await.unwrap();
    assert_eq!(b.settle(Uuid::nil()).await.unwrap(), None);
}

#[tokio::test]
async fn an_unchanged_head_is_the_same_allocation() {
    let catalog = SqliteCatalog::in_memory().await.unwrap();
    catalog.commit(commit(vec![create(1, "t"), create(2, "u")])).await.unwrap();
    let first = catalog.snapshot(None).await.unwrap();
    assert!(Arc::ptr_eq(&first, &catalog.snapshot(None).await.unwrap()));
    catalog.commit(commit(vec![add(ObjectId(1), "x")])).await.unwrap();
    let second = catalog.snapshot(None).await.unwrap();
    assert!(Arc::ptr_eq(&first.tables[&ObjectId(2)], &second.tables[&ObjectId(2)]), "untouched tables are shared");
}

#[tokio::test]
async fn ids_are_remembered_for_a_while_after_expiry() {
    let catalog = SqliteCatalog::in_memory().await.unwrap();
    let first = commit(vec![create(1, "t")]);
    catalog.commit(first.clone()).await.unwrap();
    catalog.commit(commit(vec![Action::ExpireVersionsBefore(2)])).await.unwrap();
    assert_eq!(catalog.settle(first.id).await.unwrap(), Some(1));
    let week_ms = 7 * 24 * 3600 * 1000;
    let late = Commit { now_ms: week_ms + 2, ..commit(vec![Action::ExpireVersionsBefore(3)]) };
    catalog.commit(late).await.unwrap();
    assert_eq!(catalog.settle(first.id).await.unwrap(), None);
    assert_eq!(catalog.snapshot(None).await.unwrap().version, 3);
}
