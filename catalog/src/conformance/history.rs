//! Reads at older versions, expiry, and what expiry leaves to the sweep.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{START_MS, Setup, add, assert_refused, assert_same, checkpoint, job, strings, swap};
use crate::{Action, ErrorKind, Result, TableVersion, TableVersionChange};

pub(super) async fn pinned_reads_do_not_move(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let mut seen = vec![s.newest().await?];
    for actions in [
        vec![add(t, "t/1")],
        vec![add(t, "t/2")],
        vec![swap(t, None, "m1", &["t/1"])],
        vec![swap(t, Some("m1"), "m2", &["t/2"])],
        vec![Action::DropRetained { table: t, paths: strings(&["t/1"]) }],
        vec![Action::DropObject(t)],
    ] {
        s.commit(actions).await?;
        seen.push(s.newest().await?);
    }
    for old in &seen {
        assert_same(old, s.a.snapshot(Some(old.version)).await?.as_ref());
        assert_same(old, s.b.snapshot(Some(old.version)).await?.as_ref());
    }
    assert_eq!(s.b.snapshot(Some(0)).await?.objects.len(), 0);
    assert_refused(s.b.snapshot(Some(seen.len() as u64 + 1)).await, ErrorKind::NotFound);
    Ok(())
}

pub(super) async fn jobs_are_always_the_newest(s: Setup) -> Result<()> {
    let id = s.a.allocate_ids(1).await?;
    let created = s.commit(vec![Action::CreateJob(job(id, "j", &[], &[]))]).await?;
    s.a.snapshot(None).await?;
    s.commit(vec![checkpoint(id, 1, &[])]).await?;
    for handle in [&s.a, &s.b] {
        let pinned = handle.snapshot(Some(created)).await?;
        assert_eq!(pinned.version, created);
        assert_eq!(pinned.jobs[&id].checkpoint.as_ref().map(|c| c.epoch), Some(1));
    }
    Ok(())
}

pub(super) async fn expired_versions_are_gone(s: Setup) -> Result<()> {
    let (t, u) = (s.table("t").await?, s.table("u").await?);
    s.commit(vec![add(t, "t/1"), add(u, "u/1")]).await?;
    s.commit(vec![swap(t, None, "m1", &["t/1"])]).await?;
    s.commit(vec![Action::DropObject(u)]).await?;
    let kept = s.newest().await?;
    let newest = s.commit(vec![Action::ExpireVersionsBefore(kept.version)]).await?;
    for handle in [&s.a, &s.b] {
        assert_refused(handle.snapshot(Some(kept.version - 1)).await, ErrorKind::NotFound);
        assert_refused(handle.snapshot(Some(0)).await, ErrorKind::NotFound);
        assert_same(&kept, handle.snapshot(Some(kept.version)).await?.as_ref());
    }
    // Expiry does not go back, and the newest version always stays.
    s.commit(vec![Action::ExpireVersionsBefore(1)]).await?;
    assert_refused(s.b.snapshot(Some(1)).await, ErrorKind::NotFound);
    assert_refused(s.commit(vec![Action::ExpireVersionsBefore(newest + 10)]).await, ErrorKind::Invalid);
    Ok(())
}

pub(super) async fn versions_are_found_by_time(s: Setup) -> Result<()> {
    assert_eq!(s.a.version_at(START_MS).await?, 0);
    s.table("t").await?;
    s.clock.advance(Duration::from_millis(10));
    s.table("u").await?;
    s.table("w").await?;
    assert_eq!(s.a.version_at(START_MS - 1).await?, 0);
    assert_eq!(s.b.version_at(START_MS).await?, 1);
    assert_eq!(s.b.version_at(START_MS + 9).await?, 1);
    assert_eq!(s.a.version_at(START_MS + 10).await?, 3);
    // A clock that is late makes no hole in the order.
    let mut late = s.request(vec![], vec![]);
    late.now_ms = START_MS;
    s.a.commit(late).await?;
    assert_eq!(s.newest().await?.committed_ms, START_MS + 10);
    assert_eq!(s.a.version_at(START_MS + 10).await?, 4);
    s.commit(vec![Action::ExpireVersionsBefore(3)]).await?;
    assert_refused(s.a.version_at(START_MS).await, ErrorKind::NotFound);
    Ok(())
}

pub(super) async fn versions_of_a_table_are_listed(s: Setup) -> Result<()> {
    let (t, u) = (s.table("t").await?, s.table("u").await?);
    let first = s.commit(vec![add(t, "t/1"), add(t, "t/2"), add(u, "u/1")]).await?;
    s.clock.advance(Duration::from_millis(5));
    let second = s.commit(vec![add(t, "t/3")]).await?;
    let tiered = s.commit(vec![swap(t, None, "m1", &["t/1", "t/2"])]).await?;
    let rows = |version, at, rows| TableVersion {
        version,
        committed_ms: Some(at),
        change: TableVersionChange::Segments { rows },
    };
    let metadata = TableVersion {
        version: tiered,
        committed_ms: Some(START_MS + 5),
        change: TableVersionChange::Metadata { location: "m1".to_owned() },
    };
    let all = vec![metadata.clone(), rows(second, START_MS + 5, 3), rows(first, START_MS, 6)];
    assert_eq!(s.a.table_versions(t, 10).await?, all);
    assert_eq!(s.b.table_versions(t, 10).await?, all);
    assert_eq!(s.b.table_versions(t, 1).await?, all[..2]);
    // What is dropped is forgotten, and a pointer that stays is not named again.
    s.commit(vec![Action::DropRetained { table: t, paths: strings(&["t/1", "t/2"]) }]).await?;
    assert_eq!(s.a.table_versions(t, 10).await?, all[..2]);
    assert_eq!(s.a.table_versions(u, 10).await?, [rows(first, START_MS, 3)]);
    Ok(())
}

pub(super) async fn files_in_use_are_listed(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let j = s.a.allocate_ids(1).await?;
    s.commit(vec![Action::CreateJob(job(j, "j", &[t], &[])), checkpoint(j, 1, &["old"])]).await?;
    s.commit(vec![add(t, "t/1"), add(t, "t/2"), checkpoint(j, 2, &["p", "q"])]).await?;
    s.commit(vec![swap(t, None, "m1", &["t/1"])]).await?;
    let version = s.commit(vec![swap(t, Some("m1"), "m2", &["t/2"]), add(t, "t/3")]).await?;
    let files = s.b.referenced_files().await?;
    assert_eq!(files.version, version);
    assert_eq!(files.segments, set(&["t/1", "t/2", "t/3"]));
    assert_eq!(files.metadata, set(&["m1", "m2"]));
    assert_eq!(files.checkpoints, set(&["p", "q"]));

    // What only older versions see stays until those expire.
    let dropped = s.commit(vec![Action::DropRetained { table: t, paths: strings(&["t/1"]) }]).await?;
    assert_eq!(s.b.referenced_files().await?.segments, set(&["t/1", "t/2", "t/3"]));
    s.commit(vec![Action::ExpireVersionsBefore(dropped)]).await?;
    let files = s.b.referenced_files().await?;
    assert_eq!((files.segments, files.metadata), (set(&["t/2", "t/3"]), set(&["m2"])));

    let gone = s.commit(vec![Action::DropJob(j), Action::DropObject(t)]).await?;
    assert_eq!(s.a.referenced_files().await?.segments, set(&["t/2", "t/3"]));
    s.commit(vec![Action::ExpireVersionsBefore(gone)]).await?;
    let files = s.a.referenced_files().await?;
    assert!(files.segments.is_empty() && files.metadata.is_empty() && files.checkpoints.is_empty(), "{files:?}");
    Ok(())
}

fn set(of: &[&str]) -> BTreeSet<String> {
    strings(of).into_iter().collect()
}
