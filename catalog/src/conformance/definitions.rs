//! Objects: names, dependencies, ids.

use super::{Setup, assert_refused, job, object};
use crate::{Action, ErrorKind, JobStatus, ObjectKind, Requirement, Result};

pub(super) async fn an_empty_catalog_is_version_zero(s: Setup) -> Result<()> {
    assert_eq!(s.a.version().await?, 0);
    let snapshot = s.newest().await?;
    assert_eq!((snapshot.version, snapshot.committed_ms), (0, 0));
    assert!(snapshot.objects.is_empty() && snapshot.tables.is_empty() && snapshot.jobs.is_empty());
    assert_eq!(s.a.snapshot(Some(0)).await?.version, 0);
    assert_refused(s.a.snapshot(Some(1)).await, ErrorKind::NotFound);
    Ok(())
}

pub(super) async fn objects_come_back_as_created(s: Setup) -> Result<()> {
    let first = s.a.allocate_ids(4).await?;
    let kinds = [ObjectKind::Table, ObjectKind::Connector, ObjectKind::View, ObjectKind::MaterializedView];
    let ids = [first.0, first.0 + 1, first.0 + 2, first.0 + 3].map(crate::ObjectId);
    let objects: Vec<_> =
        ids.iter().zip(kinds).map(|(id, kind)| object(*id, &format!("o{id}"), kind, &[first])).collect();
    let version = s.commit(objects.iter().cloned().map(Action::CreateObject).collect()).await?;
    assert_eq!(version, 1);
    let snapshot = s.newest().await?;
    assert_eq!((snapshot.version, snapshot.committed_ms), (1, s.now()));
    for object in &objects {
        assert_eq!(snapshot.object(&object.name).map(|o| o.as_ref()), Some(object));
        assert_eq!(snapshot.tables.contains_key(&object.id), object.kind.is_stored());
    }
    Ok(())
}

pub(super) async fn names_are_unique_until_dropped(s: Setup) -> Result<()> {
    let old = s.table("t").await?;
    let new = s.a.allocate_ids(1).await?;
    let create = || Action::CreateObject(object(new, "t", ObjectKind::View, &[]));
    assert_refused(s.commit(vec![create()]).await, ErrorKind::AlreadyExists);
    s.commit(vec![Action::DropObject(old), create()]).await?;
    let snapshot = s.newest().await?;
    assert_eq!(snapshot.object("t").map(|o| o.id), Some(new));
    assert!(!snapshot.tables.contains_key(&old));
    assert_refused(s.commit(vec![Action::DropObject(old)]).await, ErrorKind::NotFound);
    let again = Action::CreateObject(object(old, "u", ObjectKind::Table, &[]));
    assert_refused(s.commit(vec![again]).await, ErrorKind::Invalid);
    Ok(())
}

pub(super) async fn drop_is_refused_while_something_depends(s: Setup) -> Result<()> {
    let table = s.table("t").await?;
    let view = s.a.allocate_ids(3).await?;
    let other = crate::ObjectId(view.0 + 1);
    s.commit(vec![
        Action::CreateJob(job(view, "v", &[table], &[view])),
        Action::CreateObject(object(view, "v", ObjectKind::MaterializedView, &[table])),
    ])
    .await?;
    assert_refused(s.commit(vec![Action::DropObject(table)]).await, ErrorKind::Conflict);
    // The view's own job stands in the way, unless it goes with it.
    assert_refused(s.commit(vec![Action::DropObject(view)]).await, ErrorKind::Conflict);
    s.commit(vec![Action::DropObject(view), Action::DropJob(view)]).await?;

    s.commit(vec![Action::CreateJob(job(other, "insert", &[], &[table]))]).await?;
    for status in [JobStatus::Running, JobStatus::Paused, JobStatus::Failed] {
        let set = Action::SetJobStatus { job: other, status, error: None };
        s.commit(vec![set]).await?;
        assert_refused(s.commit(vec![Action::DropObject(table)]).await, ErrorKind::Conflict);
    }
    let finish = Action::SetJobStatus { job: other, status: JobStatus::Finished, error: None };
    s.commit(vec![finish, Action::DropObject(table)]).await?;
    assert!(s.newest().await?.objects.is_empty());
    Ok(())
}

pub(super) async fn references_must_exist(s: Setup) -> Result<()> {
    let table = s.table("t").await?;
    let view = s.a.allocate_ids(1).await?;
    s.commit(vec![Action::DropObject(table)]).await?;
    let create = Action::CreateObject(object(view, "v", ObjectKind::View, &[table]));
    assert_refused(s.commit(vec![create]).await, ErrorKind::Conflict);
    assert_refused(s.commit(vec![Action::CreateJob(job(view, "j", &[table], &[]))]).await, ErrorKind::Conflict);
    assert_refused(s.commit(vec![Action::CreateJob(job(view, "j", &[], &[table]))]).await, ErrorKind::Conflict);
    Ok(())
}

pub(super) async fn changed_definitions_are_noticed(s: Setup) -> Result<()> {
    let table = s.table("t").await?;
    let planned = s.a.version().await?;
    s.commit(vec![super::add(table, "t/1")]).await?;
    s.commit_if(vec![Requirement::DefinitionsUnchangedSince(planned)], vec![]).await?;
    s.table("u").await?;
    let create = s.commit_if(vec![Requirement::DefinitionsUnchangedSince(planned)], vec![]).await;
    assert_refused(create, ErrorKind::Conflict);
    let planned = s.a.version().await?;
    s.commit(vec![Action::DropObject(table)]).await?;
    let drop = s.commit_if(vec![Requirement::DefinitionsUnchangedSince(planned)], vec![]).await;
    assert_refused(drop, ErrorKind::Conflict);
    Ok(())
}

pub(super) async fn ids_are_never_drawn_twice(s: Setup) -> Result<()> {
    let first = s.a.allocate_ids(3).await?.0;
    let second = s.b.allocate_ids(1).await?.0;
    let third = s.a.allocate_ids(1).await?.0;
    assert!(first > 0 && second >= first + 3 && third > second, "{first} {second} {third}");
    // An id that was not drawn counts as drawn once it is used.
    let used = crate::ObjectId(third + 10);
    s.commit(vec![Action::CreateObject(object(used, "t", ObjectKind::Table, &[]))]).await?;
    assert!(s.b.allocate_ids(1).await?.0 > used.0);
    Ok(())
}
