//! Whether a commit happened: failures, repetitions, unknown outcomes.

use super::{Setup, add, assert_refused, assert_same, job, object};
use crate::{Action, Clock, ErrorKind, ObjectKind, Requirement, Result};

pub(super) async fn a_failed_commit_changes_nothing(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let id = s.a.allocate_ids(1).await?;
    let before = s.newest().await?;
    let files = s.a.referenced_files().await?;
    let good = || {
        vec![
            add(t, "t/1"),
            Action::CreateObject(object(id, "u", ObjectKind::Table, &[])),
            Action::CreateJob(job(id, "j", &[t], &[])),
        ]
    };
    for bad in [
        Action::DropObject(crate::ObjectId(999)),
        add(t, "t/1"),
        Action::CreateJob(job(id, "j", &[], &[])),
        Action::ExpireVersionsBefore(999),
    ] {
        let mut actions = good();
        actions.push(bad);
        assert!(s.commit(actions).await.is_err());
        assert_same(&before, s.newest().await?.as_ref());
    }
    let stale = vec![Requirement::DefinitionsUnchangedSince(0)];
    assert_refused(s.commit_if(stale, good()).await, ErrorKind::Conflict);
    assert_same(&before, s.newest().await?.as_ref());
    assert_eq!(s.a.referenced_files().await?, files);
    s.commit(good()).await?;
    Ok(())
}

pub(super) async fn a_repeated_commit_happens_once(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let request = s.request(vec![], vec![add(t, "t/1")]);
    let version = s.a.commit(request.clone()).await?;
    let after = s.commit(vec![add(t, "t/2")]).await?;
    assert_eq!(s.a.commit(request.clone()).await?, version);
    assert_eq!(s.b.commit(request).await?, version);
    assert_eq!(s.newest().await?.version, after);
    assert_eq!(s.state(t).await?.hot.len(), 2);
    Ok(())
}

pub(super) async fn settling_tells_or_burns(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let happened = s.request(vec![], vec![add(t, "t/1")]);
    let version = s.a.commit(happened.clone()).await?;
    assert_eq!(s.b.settle(happened.id).await?, Some(version));
    assert_eq!(s.b.settle(happened.id).await?, Some(version));

    let late = s.request(vec![], vec![add(t, "t/2")]);
    assert_eq!(s.b.settle(late.id).await?, None);
    assert_eq!(s.a.settle(late.id).await?, None);
    assert_refused(s.a.commit(late.clone()).await, ErrorKind::Conflict);
    assert_refused(s.b.commit(late).await, ErrorKind::Conflict);

    // An id whose commit was refused is not burnt.
    let mut refused = s.request(vec![Requirement::DefinitionsUnchangedSince(0)], vec![add(t, "t/3")]);
    assert_refused(s.a.commit(refused.clone()).await, ErrorKind::Conflict);
    refused.requires.clear();
    s.a.commit(refused).await?;
    assert_eq!(s.newest().await?.version, version + 1);
    assert_eq!(s.a.settle(s.clock.uuid()).await?, None);
    Ok(())
}
