//! Leases and fences. Time is moved by hand.

use super::{Setup, add, assert_refused};
use crate::{ErrorKind, Lease, Requirement, Result};

const TTL: i64 = 100;

fn fence(lease: &Lease) -> Vec<Requirement> {
    vec![Requirement::Fence { lease: lease.name.clone(), token: lease.token }]
}

pub(super) async fn a_lease_has_one_owner(s: Setup) -> Result<()> {
    let now = s.now();
    assert_eq!(s.a.lease("job/1", now).await?, None);
    let first = s.a.acquire_lease("job/1", "alice", None, now, TTL).await?;
    let expected = Lease { name: "job/1".into(), owner: "alice".into(), token: first.token, expires_ms: now + TTL };
    assert_eq!(first, expected);
    assert_eq!(s.b.lease("job/1", now).await?.as_ref(), Some(&first));
    let refused = s.b.acquire_lease("job/1", "bob", None, now + TTL - 1, TTL).await;
    assert!(refused.as_ref().is_err_and(|error| error.to_string().contains("alice")), "names the owner: {refused:?}");
    assert_refused(refused, ErrorKind::Fenced);
    assert_refused(s.b.acquire_lease("job/1", "bob", Some("carol"), now, TTL).await, ErrorKind::Fenced);
    // Another lease is another right.
    s.b.acquire_lease("job/2", "bob", None, now, TTL).await?;
    // The owner may take it again, and then its older token is worth nothing.
    let again = s.b.acquire_lease("job/1", "alice", None, now + 1, TTL).await?;
    assert!(again.token > first.token);
    assert_refused(s.commit_if(fence(&first), vec![]).await, ErrorKind::Fenced);
    s.commit_if(fence(&again), vec![]).await?;
    Ok(())
}

pub(super) async fn a_lapsed_lease_is_free(s: Setup) -> Result<()> {
    let now = s.now();
    let alice = s.a.acquire_lease("l", "alice", None, now, TTL).await?;
    assert_eq!(s.a.lease("l", now + TTL - 1).await?.as_ref(), Some(&alice));
    assert_eq!(s.a.lease("l", now + TTL).await?, None);
    // Nobody else took it: its holder may still commit and renew.
    s.commit_if(fence(&alice), vec![]).await?;
    s.a.renew_leases(std::slice::from_ref(&alice), now + TTL + 5, TTL).await?;
    assert_eq!(s.b.lease("l", now + TTL + 5).await?.map(|l| l.expires_ms), Some(now + 2 * TTL + 5));
    let bob = s.b.acquire_lease("l", "bob", None, now + 2 * TTL + 5, TTL).await?;
    assert!(bob.token > alice.token);
    assert_refused(s.a.renew_leases(&[alice], now, TTL).await, ErrorKind::Fenced);
    Ok(())
}

pub(super) async fn a_dead_owner_is_replaced_at_once(s: Setup) -> Result<()> {
    let now = s.now();
    let alice = s.a.acquire_lease("l", "alice", None, now, TTL).await?;
    let bob = s.b.acquire_lease("l", "bob", Some("alice"), now, TTL).await?;
    assert!(bob.token > alice.token);
    assert_refused(s.commit_if(fence(&alice), vec![]).await, ErrorKind::Fenced);
    assert_refused(s.a.acquire_lease("l", "alice", None, now, TTL).await, ErrorKind::Fenced);
    Ok(())
}

pub(super) async fn renewal_is_all_or_none(s: Setup) -> Result<()> {
    let now = s.now();
    let kept = s.a.acquire_lease("kept", "alice", None, now, TTL).await?;
    let lost = s.a.acquire_lease("lost", "alice", None, now, TTL).await?;
    s.a.renew_leases(&[kept.clone(), lost.clone()], now + 10, TTL).await?;
    s.b.acquire_lease("lost", "bob", Some("alice"), now + 10, TTL).await?;
    assert_refused(s.a.renew_leases(&[kept.clone(), lost], now + 50, TTL).await, ErrorKind::Fenced);
    assert_eq!(s.b.lease("kept", now + 50).await?.map(|l| l.expires_ms), Some(now + 10 + TTL));
    s.a.renew_leases(&[kept], now + 50, TTL).await?;
    s.a.renew_leases(&[], now + 50, TTL).await?;
    Ok(())
}

pub(super) async fn released_leases_are_free(s: Setup) -> Result<()> {
    let now = s.now();
    let alice = s.a.acquire_lease("l", "alice", None, now, TTL).await?;
    s.b.release_leases(std::slice::from_ref(&alice)).await?;
    assert_eq!(s.a.lease("l", now).await?, None);
    assert_refused(s.commit_if(fence(&alice), vec![]).await, ErrorKind::Fenced);
    assert_refused(s.a.renew_leases(std::slice::from_ref(&alice), now, TTL).await, ErrorKind::Fenced);
    let bob = s.b.acquire_lease("l", "bob", None, now, TTL).await?;
    assert!(bob.token > alice.token, "tokens grow across a release");
    // What is no longer held is not taken from the new holder.
    s.a.release_leases(&[alice]).await?;
    assert_eq!(s.a.lease("l", now).await?, Some(bob));
    Ok(())
}

pub(super) async fn zombies_are_fenced(s: Setup) -> Result<()> {
    let t = s.table("t").await?;
    let now = s.now();
    let zombie = s.a.acquire_lease("job/1", "alice", None, now, TTL).await?;
    let version = s.commit_if(fence(&zombie), vec![add(t, "t/1")]).await?;
    let heir = s.b.acquire_lease("job/1", "bob", None, now + TTL, TTL).await?;
    assert_refused(s.commit_if(fence(&zombie), vec![add(t, "t/2")]).await, ErrorKind::Fenced);
    assert_eq!(s.newest().await?.version, version);
    s.b.commit(s.request(fence(&heir), vec![add(t, "t/3")])).await?;
    let never = Requirement::Fence { lease: "job/9".into(), token: 1 };
    assert_refused(s.commit_if(vec![never], vec![]).await, ErrorKind::Fenced);
    Ok(())
}
