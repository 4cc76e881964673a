//! Who may do what: what a statement needs, and whether a user has it. Pure functions of a catalog snapshot.
//!
//! As in PostgreSQL, the owner of an object may do anything with it, superusers with all of them, and others what they were
//! granted. A view reads with the rights of its owner. Without users in the warehouse everything is allowed to everybody.

mod needs;
pub mod password;
#[cfg(test)]
mod tests;

use catalog::{Access, Object, ObjectId, ObjectKind, Privilege, Snapshot};

use self::needs::Need;
use crate::error::{Error, ErrorKind, Position, Result};
use crate::sql::statement::{Statement, privilege_name};

/// What one user may do.
#[derive(Clone, Copy)]
pub struct Rights<'a> {
    snapshot: &'a Snapshot,
    /// `None`: everything.
    user: Option<&'a str>,
}

impl<'a> Rights<'a> {
    /// The rights of a user; `None` is whoever has the warehouse's files.
    ///
    /// # Errors
    /// `Denied` if the warehouse has users, but none of this name.
    pub fn of(snapshot: &'a Snapshot, user: Option<&'a str>) -> Result<Self> {
        let users = &snapshot.access.users;
        let user = match user.filter(|_| !users.is_empty()) {
            None => None,
            Some(name) => match users.get(name) {
                Some(user) => (!user.superuser).then_some(name),
                None => {
                    let message = format!("there is no user named {name} (any more)");
                    return Err(Error::new(ErrorKind::Denied, message).hint("connect anew as a user of this warehouse"));
                }
            },
        };
        Ok(Self { snapshot, user })
    }

    /// Refuses a statement that needs more. What it names and is not there is left to whoever plans it.
    ///
    /// # Errors
    /// `Denied`, with the place in the SQL if it is known.
    pub fn permit(self, statement: &Statement) -> Result<()> {
        if self.user.is_none() {
            return Ok(());
        }
        needs::of(statement).iter().try_for_each(|need| self.meets(need))
    }

    fn meets(self, need: &Need) -> Result<()> {
        match need {
            Need::Privilege(privilege, name, position) => match self.snapshot.object(name) {
                Some(object) => self.demand(*privilege, object, *position),
                None => Ok(()),
            },
            Need::Replacing(name) => match self.snapshot.object(name).filter(|object| !object.key.is_empty()) {
                Some(object) if !self.has(Privilege::Update, object) => {
                    let message =
                        format!("permission denied to replace rows of {name}, as an INSERT does if it has a key");
                    let hint = format!("write ON CONFLICT DO NOTHING, or let a superuser GRANT UPDATE ON {name}");
                    Err(Error::new(ErrorKind::Denied, message).hint(hint))
                }
                _ => Ok(()),
            },
            Need::Create => self.create(),
            Need::Own(name) => match self.snapshot.object(name) {
                Some(object) if !self.owns(object.id) => Err(self.not_owner(name)),
                _ => Ok(()),
            },
            Need::OwnJob(name) => match self.snapshot.job(name) {
                Some(job) if !self.owns(job.id) => Err(self.not_owner(&format!("job {name}"))),
                _ => Ok(()),
            },
            Need::Superuser(what) => Err(denied(format!("permission denied to {what}: only superusers may"))),
            Need::BeUser(name) if self.user == Some(name) => Ok(()),
            Need::BeUser(name) => Err(denied(format!("permission denied to change the user {name}"))),
        }
    }

    /// Whether rows of an object may be read.
    pub fn may_read(self, object: &Object) -> bool {
        self.has(Privilege::Select, object)
    }

    /// Refuses the creation of objects and jobs, unless it is allowed.
    ///
    /// # Errors
    /// `Denied`.
    pub fn create(self) -> Result<()> {
        match self.user {
            Some(user) if !granted(&self.snapshot.access, None, user, Privilege::Create) => {
                Err(denied("permission denied to create objects and jobs")
                    .hint(format!("a superuser can: GRANT CREATE ON SCHEMA public TO {user}")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses the use of an object, unless it is allowed.
    ///
    /// # Errors
    /// `Denied`, at `position`.
    pub fn demand(self, privilege: Privilege, object: &Object, position: Option<Position>) -> Result<()> {
        if self.has(privilege, object) {
            return Ok(());
        }
        let (what, name) = (privilege_name(privilege), &object.name);
        // A view that may be read, over something that its owner may not (any more).
        if privilege == Privilege::Select && self.allowed(privilege, object) {
            let message = format!("permission denied for {name}: its owner may not read all that it reads");
            return Err(denied(message).at(position));
        }
        let user = self.user.unwrap_or_default();
        Err(denied(format!("permission denied for {name}: {what} is needed"))
            .hint(format!("its owner or a superuser can: GRANT {what} ON {name} TO {user}"))
            .at(position))
    }

    fn has(self, privilege: Privilege, object: &Object) -> bool {
        self.allowed(privilege, object) && (privilege != Privilege::Select || self.view_reads(object))
    }

    fn allowed(self, privilege: Privilege, object: &Object) -> bool {
        match self.user {
            None => true,
            // Functions read nothing but what they are given.
            Some(_) if object.kind == ObjectKind::Function => true,
            Some(user) => self.owns(object.id) || granted(&self.snapshot.access, Some(object.id), user, privilege),
        }
    }

    /// Whether a view's owner may read what it reads. A materialized view has read it when it was created.
    fn view_reads(self, object: &Object) -> bool {
        if object.kind != ObjectKind::View {
            return true;
        }
        let Some(owner) = self.snapshot.access.owners.get(&object.id) else { return true };
        let Ok(owner) = Rights::of(self.snapshot, Some(owner)) else { return false };
        object.depends_on.iter().filter_map(|id| self.snapshot.objects.get(id)).all(|read| owner.may_read(read))
    }

    /// Whether an object or job is the user's.
    pub fn owns(self, id: ObjectId) -> bool {
        self.user.is_none_or(|user| self.snapshot.access.owners.get(&id).is_some_and(|owner| owner == user))
    }

    fn not_owner(self, name: &str) -> Error {
        let error = denied(format!("permission denied: {name} belongs to another user"));
        error.hint("its owner or a superuser can do this")
    }
}

fn granted(access: &Access, object: Option<ObjectId>, user: &str, privilege: Privilege) -> bool {
    let to = |user: Option<&str>| {
        access.grants.contains(&catalog::Grant { object, user: user.map(str::to_owned), privilege })
    };
    to(Some(user)) || to(None)
}

fn denied(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Denied, message)
}

/// Whether somebody is left who can manage users: a superuser who can connect, unless there are no users at all.
pub fn is_manageable(access: &Access) -> bool {
    access.users.is_empty() || access.users.values().any(|user| user.superuser && user.verifier.is_some())
}
