//! What only a server can get wrong: crashes, lost connections, clocks, foreign schemas.

use std::sync::Arc;
use std::time::Duration;

use super::server::Server;
use super::{Store, commit, connect, create, execute};
use crate::conformance::add;
use crate::sql::postgres::PostgresOptions;
use crate::{Catalog, Commit, ErrorKind, ObjectId, Result, SqlCatalog, Version};

/// What a writer was told about one commit: its path and its version, if it happened.
type Told = (String, Option<Version>);

/// Commits pairs of segments until told to stop, through crashes. Every outcome is known at last.
async fn write(catalog: SqlCatalog, name: usize, stop: tokio::sync::watch::Receiver<bool>) -> Vec<Told> {
    let mut told = Vec::new();
    while !*stop.borrow() {
        let path = format!("{name}/{}", told.len());
        let request = commit(vec![add(ObjectId(1), &format!("t/{path}")), add(ObjectId(2), &format!("u/{path}"))]);
        let outcome = outcome(&catalog, &request).await;
        if outcome.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        told.push((path, outcome));
    }
    told
}

async fn outcome(catalog: &SqlCatalog, request: &Commit) -> Option<Version> {
    match catalog.commit(request.clone()).await {
        Ok(version) => Some(version),
        Err(error) if error.kind() == ErrorKind::Unavailable => None,
        Err(error) if error.kind() == ErrorKind::Indeterminate => loop {
            match catalog.settle(request.id).await {
                Ok(settled) => break settled,
                Err(error) => assert!(error.retryable() || error.kind() == ErrorKind::Indeterminate, "{error}"),
            }
        },
        Err(error) => panic!("{error}"),
    }
}

/// Every commit that somebody was told of is there once, at its version; every other is not.
async fn check(catalog: &SqlCatalog, told: &[Told]) -> Result<()> {
    let seen = catalog.snapshot(None).await?;
    for (table, prefix) in [(ObjectId(1), "t"), (ObjectId(2), "u")] {
        let hot = &seen.tables[&table].hot;
        let mut there: Vec<_> = hot.iter().map(|segment| (segment.file.path.clone(), segment.version)).collect();
        let told = told.iter().filter_map(|(path, version)| Some((format!("{prefix}/{path}"), (*version)?)));
        let mut told: Vec<_> = told.collect();
        there.sort();
        told.sort();
        assert_eq!(there, told, "of table {prefix}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_server_leaves_every_commit_whole_or_not_at_all() {
    let server = Arc::new(Server::start());
    let url = server.fresh();
    let catalog = connect(&url).await.unwrap();
    catalog.commit(commit(vec![create(1, "t"), create(2, "u")])).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut writers = tokio::task::JoinSet::new();
    for name in 0..4 {
        let catalog = connect(&url).await.unwrap();
        writers.spawn(write(catalog, name, stopped.clone()));
    }
    for round in 0..4 {
        tokio::time::sleep(Duration::from_millis(400 + 37 * round)).await;
        let server = Arc::clone(&server);
        let restart = move || {
            server.crash();
            server.resume();
        };
        tokio::task::spawn_blocking(restart).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.send(true).unwrap();
    let told = writers.join_all().await.concat();
    let happened = told.iter().filter(|(_, version)| version.is_some()).count();
    assert!(happened > 20 && happened < told.len(), "{happened} of {} commits happened", told.len());
    check(&catalog, &told).await.unwrap();
    check(&connect(&url).await.unwrap(), &told).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_ended_are_replaced() {
    let store = Store::server();
    let catalog = store.open().await.unwrap();
    let other = Store::server().open().await.unwrap();
    catalog.commit(commit(vec![create(1, "t")])).await.unwrap();
    for n in 0..3 {
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND wait_event = 'ClientRead'";
        execute(&other, kill).await.unwrap();
        // Long enough for the connections to be asked again before they are used.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(catalog.version().await.unwrap(), n + 1);
        assert_eq!(catalog.commit(commit(vec![])).await.unwrap(), n + 2);
    }
}

#[tokio::test]
async fn a_lock_that_stays_makes_writers_give_up_but_not_readers() {
    let Store::Server(_server, url) = Store::server() else { unreachable!() };
    let options = PostgresOptions { patience: Duration::from_secs(1), ..PostgresOptions::default() };
    let catalog = SqlCatalog::connect(&url, options).await.unwrap();
    let other = connect(&url).await.unwrap();
    let locked = other.inner.database.begin_write().await.unwrap();
    let error = catalog.commit(commit(vec![])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(catalog.version().await.unwrap(), 0);
    catalog.snapshot(None).await.unwrap();
    locked.rollback().await.unwrap();
    assert_eq!(catalog.commit(commit(vec![])).await.unwrap(), 1);
}

/// The lock of a process that stands still is taken from it, and then it can commit no more.
#[tokio::test]
async fn a_writer_that_stands_still_loses_its_transaction() {
    let Store::Server(_server, url) = Store::server() else { unreachable!() };
    let options = PostgresOptions { patience: Duration::from_millis(1500), ..PostgresOptions::default() };
    let still = SqlCatalog::connect(&url, options).await.unwrap();
    let other = connect(&url).await.unwrap();
    let locked = still.inner.database.begin_write().await.unwrap();
    assert_eq!(other.commit(commit(vec![])).await.unwrap(), 1);
    assert!(locked.commit().await.is_err());
    assert_eq!(still.commit(commit(vec![])).await.unwrap(), 2);
}

#[tokio::test]
async fn leases_lapse_by_the_clock_of_the_server() {
    const TTL: i64 = 1500;
    let Store::Server(_server, url) = Store::server() else { unreachable!() };
    let catalog = SqlCatalog::connect(&url, PostgresOptions::default()).await.unwrap();
    // Two machines whose clocks are far apart, and neither is right.
    let (early, late) = (1_000, 9_000_000_000_000);
    let lease = catalog.acquire_lease("l", "early", None, early, TTL).await.unwrap();
    assert_eq!(lease.expires_ms, early + TTL);
    let held = catalog.lease("l", late).await.unwrap().unwrap();
    assert!(held.expires_ms > late && held.expires_ms <= late + TTL, "{held:?}");
    let refused = catalog.acquire_lease("l", "late", None, late, TTL).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced);
    catalog.renew_leases(std::slice::from_ref(&lease), early, TTL).await.unwrap();
    tokio::time::sleep(Duration::from_millis(TTL as u64 + 100)).await;
    assert_eq!(catalog.lease("l", early).await.unwrap(), None);
    let heir = catalog.acquire_lease("l", "late", None, late, TTL).await.unwrap();
    assert!(heir.token > lease.token);
}

#[tokio::test]
async fn tables_of_others_are_left_alone() {
    let Store::Server(server, url) = Store::server() else { unreachable!() };
    let catalog = connect(&url).await.unwrap();
    // Other tables in the schema do not matter, but one with a name of ours does.
    for sql in [
        "CREATE SCHEMA shared",
        "CREATE TABLE shared.notes (text TEXT)",
        "CREATE SCHEMA foreign_catalog",
        "CREATE TABLE foreign_catalog.iceberg_tables (catalog_name TEXT)",
    ] {
        execute(&catalog, sql).await.unwrap();
    }
    connect(&server.url("shared", "postgres").unwrap()).await.unwrap();
    let error = connect(&server.url("foreign_catalog", "postgres").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("iceberg_tables"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_opened_is_told() {
    let Store::Server(server, _) = Store::server() else { unreachable!() };
    let error = connect(&server.url("frazil", "nowhere").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no such database"), "{error}");
    let url = crate::PostgresUrl::parse("postgres://me:s3cret@127.0.0.1:1/db").unwrap();
    let error = connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
}
