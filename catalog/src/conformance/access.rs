//! Users, owners and grants: always the newest, and gone with what they are about.

use super::{Setup, assert_refused, job};
use crate::{Access, Action, ErrorKind, Grant, ObjectId, Privilege, Requirement, Result, User};

fn user(name: &str) -> User {
    User { name: name.to_owned(), superuser: name == "root", verifier: Some(format!("{name}'s")) }
}

fn grant(object: Option<ObjectId>, user: Option<&str>, privilege: Privilege) -> Grant {
    Grant { object, user: user.map(str::to_owned), privilege }
}

impl Setup {
    /// Who may do what, having checked that both handles read the same.
    async fn access(&self) -> Result<Access> {
        Ok(self.newest().await?.access.as_ref().clone())
    }
}

pub(super) async fn users_and_grants_come_back(s: Setup) -> Result<()> {
    assert_eq!(s.access().await?, Access::default());
    let table = s.table("t").await?;
    let grants = [
        grant(Some(table), Some("ann"), Privilege::Select),
        grant(Some(table), None, Privilege::Insert),
        grant(None, Some("ann"), Privilege::Create),
    ];
    let mut actions = vec![Action::PutUser(user("root")), Action::PutUser(user("ann"))];
    actions.extend(grants.iter().cloned().map(Action::Grant));
    actions.push(Action::SetOwner { object: table, user: "ann".to_owned() });
    s.commit(actions).await?;
    let access = s.access().await?;
    assert_eq!(access.users.values().collect::<Vec<_>>(), [&user("ann"), &user("root")]);
    assert_eq!(access.grants, grants.iter().cloned().collect());
    assert_eq!(access.owners.get(&table).map(String::as_str), Some("ann"));

    // Twice is as once, and what is not there can be taken back.
    s.commit(vec![Action::Grant(grants[0].clone()), Action::Revoke(grants[1].clone())]).await?;
    s.commit(vec![Action::Revoke(grants[1].clone())]).await?;
    let without: Vec<_> = [&grants[0], &grants[2]].into_iter().cloned().collect();
    assert_eq!(s.access().await?.grants, without.into_iter().collect());
    // Another form of the same user.
    let locked = User { verifier: None, ..user("ann") };
    s.commit(vec![Action::PutUser(locked.clone())]).await?;
    assert_eq!(s.access().await?.users.get("ann"), Some(&locked));
    Ok(())
}

pub(super) async fn rights_are_always_the_newest(s: Setup) -> Result<()> {
    let table = s.table("t").await?;
    let version = s.commit(vec![Action::PutUser(user("ann"))]).await?;
    s.commit(vec![Action::Grant(grant(Some(table), Some("ann"), Privilege::Select))]).await?;
    let before = s.a.snapshot(Some(version - 1)).await?;
    assert_eq!(*before.access, s.access().await?);
    assert_eq!(before.access.grants.len(), 1);
    Ok(())
}

pub(super) async fn rights_go_with_what_they_are_about(s: Setup) -> Result<()> {
    let (table, other) = (s.table("t").await?, s.table("u").await?);
    let insert = s.a.allocate_ids(1).await?;
    s.commit(vec![
        Action::PutUser(user("ann")),
        Action::PutUser(user("bob")),
        Action::CreateJob(job(insert, "j", &[], &[other])),
        Action::SetOwner { object: table, user: "ann".to_owned() },
        Action::SetOwner { object: insert, user: "ann".to_owned() },
        Action::Grant(grant(Some(table), Some("bob"), Privilege::Select)),
        Action::Grant(grant(Some(other), Some("bob"), Privilege::Select)),
        Action::Grant(grant(Some(other), None, Privilege::Select)),
    ])
    .await?;
    assert_refused(s.commit(vec![Action::DropUser("ann".to_owned())]).await, ErrorKind::Conflict);
    s.commit(vec![Action::DropObject(table)]).await?;
    let access = s.access().await?;
    assert!(!access.owners.contains_key(&table) && access.grants.iter().all(|grant| grant.object == Some(other)));
    // The job is still hers.
    assert_refused(s.commit(vec![Action::DropUser("ann".to_owned())]).await, ErrorKind::Conflict);
    s.commit(vec![Action::DropJob(insert), Action::DropUser("ann".to_owned())]).await?;
    s.commit(vec![Action::DropUser("bob".to_owned())]).await?;
    let access = s.access().await?;
    assert!(access.users.is_empty() && access.owners.is_empty());
    assert_eq!(access.grants, [grant(Some(other), None, Privilege::Select)].into_iter().collect());
    Ok(())
}

pub(super) async fn nonsense_about_rights_is_refused(s: Setup) -> Result<()> {
    let table = s.table("t").await?;
    let own = |object| Action::SetOwner { object, user: "ann".to_owned() };
    let select = |object| Action::Grant(grant(Some(object), None, Privilege::Select));
    assert_refused(s.commit(vec![own(table)]).await, ErrorKind::NotFound);
    let to_nobody = Action::Grant(grant(Some(table), Some("ann"), Privilege::Select));
    assert_refused(s.commit(vec![to_nobody]).await, ErrorKind::NotFound);
    assert_refused(s.commit(vec![Action::DropUser("ann".to_owned())]).await, ErrorKind::NotFound);
    assert_refused(s.commit(vec![Action::PutUser(user(""))]).await, ErrorKind::Invalid);
    s.commit(vec![Action::PutUser(user("ann")), Action::DropObject(table)]).await?;
    assert_refused(s.commit(vec![own(table)]).await, ErrorKind::Conflict);
    assert_refused(s.commit(vec![select(table)]).await, ErrorKind::Conflict);
    Ok(())
}

pub(super) async fn changed_rights_are_noticed(s: Setup) -> Result<()> {
    let version = s.commit(vec![Action::PutUser(user("ann"))]).await?;
    let unchanged = || vec![Requirement::AccessUnchangedSince(version)];
    s.table("t").await?;
    let version = s.commit_if(unchanged(), vec![Action::PutUser(user("bob"))]).await?;
    assert_refused(s.commit_if(unchanged(), vec![Action::PutUser(user("eve"))]).await, ErrorKind::Conflict);
    let newer = vec![Requirement::AccessUnchangedSince(version)];
    s.commit_if(newer, vec![Action::DropUser("bob".to_owned())]).await?;
    Ok(())
}
