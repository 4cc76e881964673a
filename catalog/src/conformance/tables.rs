//! Stored tables: segments, Iceberg pointers, changelog starts.

use super::{Setup, add, assert_refused, object, paths, segment, strings, swap};
use crate::{Action, ErrorKind, NewSegment, ObjectKind, Requirement, Result};

pub(super) async fn segments_are_hot_then_retained_then_gone(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let two = Action::AddSegments { table: t, segments: vec![segment("t/b"), segment("t/a")] };
    let v1 = s.commit(vec![two]).await?;
    let v2 = s.commit(vec![add(t, "t/c")]).await?;
    let state = s.state(t).await?;
    assert_eq!(paths(&state.hot), ["t/b", "t/a", "t/c"], "in version order, then as given");
    assert_eq!((state.hot[0].version, state.hot[2].version), (v1, v2));
    assert_eq!(state.hot[0].file, segment("t/b"));
    assert_eq!((state.changed, state.changelog_from, state.metadata_location), (v2, 0, None));

    // Tiered in an order of its own: `retained` is in version order all the same.
    s.commit(vec![swap(t, None, "s3://m/1", &["t/c"])]).await?;
    s.commit(vec![swap(t, Some("s3://m/1"), "s3://m/2", &["t/a"])]).await?;
    let state = s.state(t).await?;
    assert_eq!((paths(&state.hot), paths(&state.retained)), (vec!["t/b"], vec!["t/a", "t/c"]));
    assert_eq!((state.changed, state.changelog_from), (v2, 0), "tiering is no change");
    assert_eq!(state.metadata_location.as_deref(), Some("s3://m/2"));

    s.commit(vec![Action::DropRetained { table: t, paths: strings(&["t/a"]) }]).await?;
    let state = s.state(t).await?;
    assert_eq!((paths(&state.hot), paths(&state.retained)), (vec!["t/b"], vec!["t/c"]));
    assert_eq!((state.changed, state.changelog_from), (v2, v1));
    s.commit(vec![Action::DropRetained { table: t, paths: strings(&["t/c"]) }]).await?;
    let state = s.state(t).await?;
    assert_eq!((state.changed, state.changelog_from), (v2, v2));
    Ok(())
}

pub(super) async fn swaps_compare_and_set(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    s.commit(vec![add(t, "t/1"), add(t, "t/2")]).await?;
    assert_refused(s.commit(vec![swap(t, Some("m0"), "m1", &[])]).await, ErrorKind::Conflict);
    s.commit(vec![swap(t, None, "m1", &["t/1"])]).await?;
    assert_refused(s.commit(vec![swap(t, None, "m2", &[])]).await, ErrorKind::Conflict);
    assert_refused(s.commit(vec![swap(t, Some("m1"), "m2", &["t/1"])]).await, ErrorKind::Conflict);
    assert_refused(s.commit(vec![swap(t, Some("m1"), "m2", &["t/2", "t/2"])]).await, ErrorKind::Conflict);
    let state = s.state(t).await?;
    assert_eq!(state.metadata_location.as_deref(), Some("m1"));
    assert_eq!((paths(&state.hot), paths(&state.retained)), (vec!["t/2"], vec!["t/1"]));
    // Two steps of one commit build on each other.
    s.commit(vec![add(t, "t/3"), swap(t, Some("m1"), "m2", &["t/2"]), swap(t, Some("m2"), "m3", &["t/3"])]).await?;
    let state = s.state(t).await?;
    assert_eq!(state.metadata_location.as_deref(), Some("m3"));
    assert_eq!((paths(&state.hot), paths(&state.retained)), (vec![], vec!["t/1", "t/2", "t/3"]));
    Ok(())
}

pub(super) async fn a_changed_table_is_noticed(s: Setup) -> Result<()> {
    let (t, u) = (s.table("t").await?, s.table("u").await?);
    let read = s.a.version().await?;
    let unchanged = || vec![Requirement::TableUnchangedSince { table: t, version: read }];
    s.commit(vec![add(u, "u/1")]).await?;
    s.commit(vec![swap(t, None, "m1", &[])]).await?;
    s.commit_if(unchanged(), vec![add(t, "t/1")]).await?;
    assert_refused(s.commit_if(unchanged(), vec![add(t, "t/2")]).await, ErrorKind::Conflict);
    let changed = s.state(t).await?.changed;
    let at = |version| vec![Requirement::TableUnchangedSince { table: t, version }];
    assert_refused(s.commit_if(at(changed - 1), vec![]).await, ErrorKind::Conflict);
    s.commit_if(at(changed), vec![]).await?;
    // Still so when the segment itself is forgotten.
    s.commit(vec![swap(t, Some("m1"), "m2", &["t/1"])]).await?;
    let last = s.commit(vec![Action::DropRetained { table: t, paths: strings(&["t/1"]) }]).await?;
    s.commit(vec![Action::ExpireVersionsBefore(last)]).await?;
    assert_eq!(s.state(t).await?.changed, changed);
    assert_refused(s.commit_if(unchanged(), vec![]).await, ErrorKind::Conflict);
    s.commit(vec![Action::DropObject(t)]).await?;
    assert_refused(s.commit_if(unchanged(), vec![]).await, ErrorKind::Conflict);
    Ok(())
}

pub(super) async fn nonsense_about_tables_is_refused(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let view = s.a.allocate_ids(2).await?;
    let log = crate::ObjectId(view.0 + 1);
    let mut insert_only = object(log, "log", ObjectKind::Table, &[]);
    insert_only.insert_only = true;
    s.commit(vec![
        Action::CreateObject(object(view, "v", ObjectKind::View, &[])),
        Action::CreateObject(insert_only),
        add(t, "t/1"),
    ])
    .await?;
    assert_refused(s.commit(vec![add(view, "v/1")]).await, ErrorKind::Invalid);
    assert_refused(s.commit(vec![add(crate::ObjectId(999), "x/1")]).await, ErrorKind::NotFound);
    assert_refused(s.commit(vec![add(t, "t/1")]).await, ErrorKind::Invalid);
    assert_refused(s.commit(vec![add(log, "t/1")]).await, ErrorKind::Invalid);
    let retracting = NewSegment { insert_only: false, ..segment("log/1") };
    let add_retracting = |table| Action::AddSegments { table, segments: vec![retracting.clone()] };
    assert_refused(s.commit(vec![add_retracting(log)]).await, ErrorKind::Invalid);
    s.commit(vec![add_retracting(t)]).await?;
    let unknown = Action::DropRetained { table: t, paths: strings(&["t/1"]) };
    assert_refused(s.commit(vec![unknown]).await, ErrorKind::Conflict);
    Ok(())
}

pub(super) async fn two_tables_change_together(s: Setup) -> Result<()> {
    let (t, u) = (s.table("t").await?, s.table("u").await?);
    let before = s.newest().await?;
    let half_bad = vec![add(t, "t/1"), swap(u, Some("nothing"), "m", &[])];
    assert_refused(s.commit(half_bad).await, ErrorKind::Conflict);
    super::assert_same(&before, s.newest().await?.as_ref());
    let version = s.commit(vec![add(t, "t/1"), add(u, "u/1")]).await?;
    let snapshot = s.newest().await?;
    assert!([t, u].iter().all(|id| snapshot.tables[id].changed == version));
    Ok(())
}
