//! Users: who they are, what they own, what they were granted. Decided over a snapshot, committed on condition that nobody
//! else has changed rights meanwhile.

use catalog::{Access, Action, Grant, ObjectId, ObjectKind, Privilege, Requirement, Snapshot, User};

use crate::access::is_manageable;
use crate::access::password::Verifier;
use crate::error::{Error, Result};
use crate::runtime::commit::transact;
use crate::session::settings::Settings;
use crate::session::{Answer, Engine, Inner};
use crate::sql::statement::{AccessStatement, GrantOn, GrantStatement, PutUser, Statement};

/// Privileges on a table or view.
const ON_OBJECTS: [Privilege; 5] =
    [Privilege::Select, Privilege::Insert, Privilege::Update, Privilege::Delete, Privilege::Truncate];

/// What is to be committed, and what to say about it.
struct Decided {
    actions: Vec<Action>,
    tag: &'static str,
    notice: Option<String>,
}

impl Decided {
    fn new(tag: &'static str, actions: Vec<Action>) -> Self {
        Self { actions, tag, notice: None }
    }
}

impl Engine {
    /// Who may do what, now.
    pub async fn access(&self) -> Result<std::sync::Arc<Access>> {
        Ok(self.inner.snapshot().await?.access.clone())
    }

    /// The user of this session; `None` for whoever has the warehouse's files.
    pub fn user(&self) -> Option<String> {
        self.settings.user()
    }
}

impl Inner {
    /// Refuses a statement that the session's user may not execute.
    pub(super) async fn permit(&self, statement: &Statement, settings: &Settings) -> Result<()> {
        match settings.user() {
            None => Ok(()),
            Some(user) => crate::access::Rights::of(&*self.snapshot().await?, Some(&user))?.permit(statement),
        }
    }

    /// Executes a statement about users.
    pub(super) async fn change_access(&self, statement: &AccessStatement, settings: &Settings) -> Result<Answer> {
        let snapshot = self.snapshot().await?;
        let decided = match statement {
            AccessStatement::PutUser(user) => put_user(&snapshot, user, self.warehouse.clock().uuid().as_bytes())?,
            AccessStatement::DropUsers { names, if_exists } => drop_users(&snapshot, names, *if_exists)?,
            AccessStatement::Grant(grant) => self::grant(&snapshot, grant)?,
            AccessStatement::SetOwner { name, is_job, user } => set_owner(&snapshot, name, *is_job, user)?,
            AccessStatement::Reassign { from, to } => reassign(&snapshot, from, to)?,
        };
        if !decided.actions.is_empty() {
            let unchanged = Requirement::AccessUnchangedSince(snapshot.version);
            transact(&self.warehouse, vec![unchanged], decided.actions).await?;
        }
        // Whoever creates the first user goes on as that user: from now on nobody else is anybody.
        if let (true, AccessStatement::PutUser(user)) = (snapshot.access.users.is_empty(), statement) {
            settings.become_user(&user.name);
        }
        Ok(match decided.notice {
            Some(notice) => Answer::Noticed { tag: decided.tag.into(), notice },
            None => Answer::Done(decided.tag.into()),
        })
    }
}

fn no_user(name: &str) -> Error {
    Error::sql(format!("there is no user named {name}")).hint("SHOW USERS lists them")
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a User> {
    snapshot.access.users.get(name).ok_or_else(|| no_user(name))
}

fn put_user(snapshot: &Snapshot, put: &PutUser, salt: &[u8]) -> Result<Decided> {
    let there = snapshot.access.users.get(&put.name);
    let tag = if put.create { "CREATE ROLE" } else { "ALTER ROLE" };
    if put.create && there.is_some() {
        if put.if_not_exists {
            return Ok(Decided::new(tag, vec![]));
        }
        return Err(Error::sql(format!("the user {} already exists", put.name)).hint("write ALTER USER to change it"));
    }
    if !put.create && there.is_none() {
        return Err(no_user(&put.name));
    }
    let verifier = match &put.password {
        None => there.and_then(|user| user.verifier.clone()),
        Some(None) => None,
        Some(Some(text)) => Some(verifier(text, salt)),
    };
    let superuser = put.superuser.unwrap_or_else(|| there.is_some_and(|user| user.superuser));
    let user = User { name: put.name.clone(), superuser, verifier };
    let mut after = snapshot.access.as_ref().clone();
    after.users.insert(user.name.clone(), user.clone());
    refuse_unmanageable(&after)?;
    let mut decided = Decided::new(tag, vec![]);
    if user.verifier.is_none() {
        decided.notice = Some(format!("{} has no password and cannot connect", user.name));
    } else if snapshot.access.users.is_empty() {
        decided.notice = Some(format!(
            "from now on every connection needs a user and a password; this one goes on as {}",
            user.name
        ));
    }
    decided.actions.push(Action::PutUser(user));
    Ok(decided)
}

/// What is stored for a password; clients may send that in its place (`\password` of psql does).
fn verifier(text: &str, salt: &[u8]) -> String {
    match Verifier::parse(text) {
        Some(verifier) => verifier.to_string(),
        None => Verifier::new(text, salt).to_string(),
    }
}

fn refuse_unmanageable(after: &Access) -> Result<()> {
    if is_manageable(after) {
        return Ok(());
    }
    let error = Error::sql("one superuser with a password must remain: nobody could manage users any more");
    Err(error.hint("the first user is created by: CREATE USER name SUPERUSER PASSWORD '...'"))
}

fn drop_users(snapshot: &Snapshot, names: &[String], if_exists: bool) -> Result<Decided> {
    let mut after = snapshot.access.as_ref().clone();
    let mut decided = Decided::new("DROP ROLE", vec![]);
    for name in names {
        if after.users.remove(name).is_none() {
            if if_exists {
                continue;
            }
            return Err(no_user(name));
        }
        if let Some((id, _)) = after.owners.iter().find(|(_, owner)| *owner == name) {
            let owned = name_of(snapshot, *id);
            return Err(Error::sql(format!("{name} cannot be dropped: {owned} is theirs"))
                .hint(format!("drop it, or write REASSIGN OWNED BY {name} TO another user")));
        }
        decided.actions.push(Action::DropUser(name.clone()));
    }
    refuse_unmanageable(&after)?;
    if after.users.is_empty() && !decided.actions.is_empty() {
        decided.notice = Some("there are no users any more: whoever reaches this server may do everything".into());
    }
    Ok(decided)
}

/// What an object or a job is called.
fn name_of(snapshot: &Snapshot, id: ObjectId) -> String {
    match (snapshot.objects.get(&id), snapshot.jobs.get(&id)) {
        (Some(object), _) => object.name.clone(),
        (None, Some(job)) => format!("job {}", job.name),
        (None, None) => id.to_string(),
    }
}

fn grant(snapshot: &Snapshot, grant: &GrantStatement) -> Result<Decided> {
    let mut objects = Vec::new();
    match &grant.on {
        GrantOn::Namespace => objects.push(None),
        GrantOn::All => {
            objects.extend(snapshot.objects.values().filter(|o| o.kind != ObjectKind::Function).map(|o| Some(o.id)));
        }
        GrantOn::Objects(names) => {
            for (name, position) in names {
                let object = snapshot.object(name).filter(|object| object.kind != ObjectKind::Function);
                let object = object
                    .ok_or_else(|| Error::sql(format!("there is no table or view named {name}")).at(*position))?;
                objects.push(Some(object.id));
            }
        }
    }
    let privileges = match (&grant.privileges[..], &grant.on) {
        ([], GrantOn::Namespace) => &[Privilege::Create][..],
        ([], _) => &ON_OBJECTS,
        (named, _) => named,
    };
    let mut actions = Vec::new();
    for user in &grant.users {
        user.as_deref().map_or(Ok(()), |name| find(snapshot, name).map(drop))?;
        for object in &objects {
            actions.extend(privileges.iter().map(|privilege| {
                let right = Grant { object: *object, user: user.clone(), privilege: *privilege };
                if grant.revoke { Action::Revoke(right) } else { Action::Grant(right) }
            }));
        }
    }
    Ok(Decided::new(if grant.revoke { "REVOKE" } else { "GRANT" }, actions))
}

fn set_owner(snapshot: &Snapshot, name: &str, is_job: bool, user: &str) -> Result<Decided> {
    find(snapshot, user)?;
    let id = match is_job {
        true => snapshot.job(name).map(|job| job.id),
        false => snapshot
            .object(name)
            .or_else(|| snapshot.object(&crate::sql::inline::object_name(name)))
            .map(|object| object.id),
    };
    let what = if is_job { "job" } else { "table or view" };
    let object = id.ok_or_else(|| Error::sql(format!("there is no {what} named {name}")))?;
    Ok(Decided::new("ALTER TABLE", vec![Action::SetOwner { object, user: user.into() }]))
}

fn reassign(snapshot: &Snapshot, from: &str, to: &str) -> Result<Decided> {
    find(snapshot, from)?;
    find(snapshot, to)?;
    let owned = snapshot.access.owners.iter().filter(|(_, owner)| *owner == from);
    let actions = owned.map(|(object, _)| Action::SetOwner { object: *object, user: to.into() }).collect();
    Ok(Decided::new("REASSIGN OWNED", actions))
}

/// Rows of `SHOW USERS`: name, whether a superuser, whether they can connect.
pub(super) fn users(access: &Access) -> Vec<Vec<Option<String>>> {
    let yes = |yes: bool| Some(if yes { "yes" } else { "no" }.to_owned());
    let line = |user: &User| vec![Some(user.name.clone()), yes(user.superuser), yes(user.verifier.is_some())];
    access.users.values().map(line).collect()
}

/// Rows of `SHOW GRANTS`: object (empty for the schema), user, privilege.
pub(super) fn grants(snapshot: &Snapshot) -> Vec<Vec<Option<String>>> {
    let access = &snapshot.access;
    let owners = access.owners.iter().map(|(id, owner)| (Some(*id), owner.clone(), "OWNER"));
    let granted = access.grants.iter().map(|grant| {
        let user = grant.user.clone().unwrap_or_else(|| "PUBLIC".into());
        (grant.object, user, crate::sql::statement::privilege_name(grant.privilege))
    });
    let mut lines: Vec<_> = owners
        .chain(granted)
        .map(|(object, user, privilege)| {
            let object = object.map_or_else(|| "SCHEMA public".to_owned(), |id| name_of(snapshot, id));
            vec![Some(object), Some(user), Some(privilege.to_owned())]
        })
        .collect();
    lines.sort();
    lines
}
