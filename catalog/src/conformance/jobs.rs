//! Jobs: status and checkpoints.

use super::{Setup, assert_refused, checkpoint, job};
use crate::{Action, Checkpoint, ErrorKind, JobStatus, Result};

pub(super) async fn checkpoints_only_advance(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let id = s.a.allocate_ids(1).await?;
    let given = Checkpoint { epoch: 9, version: 9, payload: serde_json::json!(null), files: vec![] };
    let mut created = job(id, "j", &[t], &[]);
    created.checkpoint = Some(given);
    s.commit(vec![Action::CreateJob(created)]).await?;
    assert_eq!(s.newest().await?.jobs[&id].checkpoint, None, "a new job has no checkpoint");
    let version = s.commit(vec![checkpoint(id, 5, &["_state/1", "_state/2"])]).await?;
    let expected = Checkpoint {
        epoch: 5,
        version,
        payload: serde_json::json!({ "epoch": 5 }),
        files: vec!["_state/1".to_owned(), "_state/2".to_owned()],
    };
    assert_eq!(s.newest().await?.jobs[&id].checkpoint.as_ref(), Some(&expected));
    for stale in [4, 5] {
        assert_refused(s.commit(vec![checkpoint(id, stale, &[])]).await, ErrorKind::Conflict);
    }
    assert_eq!(s.newest().await?.jobs[&id].checkpoint.as_ref(), Some(&expected));
    s.commit(vec![checkpoint(id, 6, &[])]).await?;
    s.commit(vec![Action::DropJob(id)]).await?;
    assert_refused(s.commit(vec![checkpoint(id, 7, &[])]).await, ErrorKind::NotFound);
    assert!(s.newest().await?.jobs.is_empty());
    Ok(())
}

pub(super) async fn status_and_error_are_kept(s: Setup) -> Result<()> {
    let id = s.a.allocate_ids(1).await?;
    let created = job(id, "j", &[], &[]);
    s.commit(vec![Action::CreateJob(created.clone())]).await?;
    assert_eq!(s.newest().await?.job("j").map(|j| j.as_ref()), Some(&created));
    let set = |status, error: Option<&str>| Action::SetJobStatus { job: id, status, error: error.map(str::to_owned) };
    s.commit(vec![checkpoint(id, 1, &["f"]), set(JobStatus::Failed, Some("division by zero"))]).await?;
    let failed = s.newest().await?.jobs[&id].clone();
    assert_eq!((failed.status, failed.error.as_deref()), (JobStatus::Failed, Some("division by zero")));
    s.commit(vec![set(JobStatus::Running, None)]).await?;
    let resumed = s.newest().await?.jobs[&id].clone();
    assert_eq!((resumed.status, resumed.error.as_deref()), (JobStatus::Running, None));
    assert_eq!(resumed.checkpoint, failed.checkpoint);
    assert_refused(s.commit(vec![Action::DropJob(crate::ObjectId(999))]).await, ErrorKind::NotFound);
    Ok(())
}

pub(super) async fn names_are_unique_among_jobs(s: Setup) -> Result<()> {
    s.table("j").await?;
    let first = s.a.allocate_ids(2).await?;
    let second = crate::ObjectId(first.0 + 1);
    s.commit(vec![Action::CreateJob(job(first, "j", &[], &[]))]).await?;
    let again = || Action::CreateJob(job(second, "j", &[], &[]));
    assert_refused(s.commit(vec![again()]).await, ErrorKind::AlreadyExists);
    s.commit(vec![Action::DropJob(first), again()]).await?;
    assert_eq!(s.newest().await?.job("j").map(|j| j.id), Some(second));
    Ok(())
}
