//! Definitions: what CREATE and DROP change in the catalog, collected in a draft and committed in one transaction.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog::{Action, Grant, Job, JobKind, Object, ObjectId, ObjectKind, Requirement, Snapshot, TableState};

use crate::access::Rights;
use crate::error::{Error, Position, Result};
use crate::session::Inner;
use crate::session::settings::Settings;
use crate::sql::context::Planner;
use crate::sql::statement::Statement;

mod drop;
mod function;
mod job;
mod table;
mod view;

pub use job::writer_of;

/// What to do with a definition that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Refuse,
    /// The same is taken as it is, another is an error: what `run` does.
    Resume,
}

/// A definition that a statement asks for.
struct New<'a> {
    /// Name of the object.
    name: &'a str,
    /// What kind of thing it is, as DROP calls it.
    kind: &'static str,
    /// Its canonical text.
    text: &'a str,
    if_not_exists: bool,
    or_replace: bool,
    position: Position,
}

/// Rights to an object that is replaced.
struct Kept {
    name: String,
    owner: Option<String>,
    grants: Vec<Grant>,
}

/// The catalog as it will be, and the actions that make it so.
pub struct Draft {
    /// What would be read after the commit.
    pub snapshot: Snapshot,
    /// What to commit.
    pub actions: Vec<Action>,
    /// Jobs that the statements stand for, new or resumed.
    pub jobs: Vec<ObjectId>,
    /// Jobs that end.
    pub ended: Vec<ObjectId>,
    /// Where relative paths of connector tables start that the statements name, if not where they did.
    pub base_dirs: BTreeMap<ObjectId, PathBuf>,
    base_dir: Option<PathBuf>,
    /// Who asks for it; `None` is whoever has the warehouse's files.
    user: Option<String>,
    /// Rights to what is replaced, for what takes its place.
    kept: Vec<Kept>,
    existing: Existing,
    ordinals: BTreeMap<String, usize>,
}

impl Draft {
    /// A draft over a snapshot.
    pub fn new(snapshot: &Snapshot, existing: Existing) -> Self {
        Self {
            snapshot: snapshot.clone(),
            actions: vec![],
            jobs: vec![],
            ended: vec![],
            base_dirs: BTreeMap::new(),
            base_dir: None,
            user: None,
            kept: vec![],
            existing,
            ordinals: BTreeMap::new(),
        }
    }

    /// The same for statements of a session: they make objects of its user, with relative paths that start where it says.
    pub fn by(self, settings: &Settings) -> Self {
        Self { base_dir: settings.base_dir().map(Path::to_path_buf), user: settings.user(), ..self }
    }

    /// Refuses a statement that its user may not execute. What the draft has made is theirs.
    pub fn permit(&self, statement: &Statement) -> Result<()> {
        Rights::of(&self.snapshot, self.user.as_deref())?.permit(statement)
    }

    /// What must still hold when the draft is committed.
    pub fn requires(&self) -> Requirement {
        Requirement::DefinitionsUnchangedSince(self.snapshot.version)
    }

    /// Whether a definition is there already and stays; an error if it is another one that may not be replaced. With
    /// OR REPLACE the one that is there is dropped.
    fn exists(&mut self, new: &New<'_>) -> Result<bool> {
        let Some(object) = self.snapshot.object(new.name).cloned() else { return Ok(false) };
        if new.if_not_exists && self.existing == Existing::Refuse {
            return Ok(true);
        }
        if self.existing == Existing::Resume && object.sql == new.text {
            if let (ObjectKind::Connector, Some(base_dir)) = (object.kind, &self.base_dir) {
                self.base_dirs.insert(object.id, base_dir.clone());
            }
            return Ok(true);
        }
        if new.or_replace {
            let there = kind_name(object.kind);
            if there != new.kind {
                return Err(Error::sql(format!("{} is a {there}, not a {}", new.name, new.kind))
                    .at(Some(new.position))
                    .hint(format!("DROP {there} {} first, or choose another name", new.name)));
            }
            self.keep_rights(&object);
            self.drop_object(&object, false, new.position)?;
            return Ok(false);
        }
        let name = shown_name(&object);
        let error = match self.existing {
            Existing::Refuse => Error::sql(format!("{name} exists already"))
                .hint(format!("drop it first, choose another name, or write CREATE ... IF NOT EXISTS {name}")),
            Existing::Resume => Error::sql(format!("{name} exists in this warehouse with another definition"))
                .with("definition there", &object.sql)
                .hint(format!(
                    "to compute it anew: DROP it (and what depends on it) in `frazil sql`, or give the new one another name than {name}"
                )),
        };
        Err(error.at(Some(new.position)))
    }

    fn add_object(&mut self, object: Object) {
        let id = object.id;
        if object.kind.is_stored() {
            self.snapshot.tables.insert(id, Arc::new(TableState::default()));
        }
        self.actions.push(Action::CreateObject(object.clone()));
        let kept = self.kept.iter().position(|kept| kept.name == object.name).map(|place| self.kept.swap_remove(place));
        self.snapshot.objects.insert(id, Arc::new(object));
        match kept {
            None => self.own(id),
            Some(kept) => self.restore_rights(id, kept),
        }
    }

    /// An object or a job is its creator's.
    fn own(&mut self, id: ObjectId) {
        if let Some(user) = self.user.clone().filter(|user| self.snapshot.access.users.contains_key(user)) {
            self.set_owner(id, user);
        }
    }

    fn set_owner(&mut self, object: ObjectId, user: String) {
        Arc::make_mut(&mut self.snapshot.access).owners.insert(object, user.clone());
        self.actions.push(Action::SetOwner { object, user });
    }

    fn keep_rights(&mut self, object: &Object) {
        let access = &self.snapshot.access;
        let grants = access.grants.iter().filter(|grant| grant.object == Some(object.id)).cloned().collect();
        let owner = access.owners.get(&object.id).cloned();
        self.kept.push(Kept { name: object.name.clone(), owner, grants });
    }

    fn restore_rights(&mut self, object: ObjectId, kept: Kept) {
        if let Some(owner) = kept.owner {
            self.set_owner(object, owner);
        }
        let grants = kept.grants.into_iter().map(|grant| Action::Grant(Grant { object: Some(object), ..grant }));
        self.actions.extend(grants);
    }

    fn add_job(&mut self, job: Job) {
        let (id, kind) = (job.id, job.kind);
        self.actions.push(Action::CreateJob(job.clone()));
        self.jobs.push(id);
        self.snapshot.jobs.insert(id, Arc::new(job));
        // A view's job is the view's.
        if kind != JobKind::MaterializedView {
            self.own(id);
        }
    }

    /// A planner over the draft.
    fn planner(&self, inner: &Inner) -> Planner {
        let mut planner = inner.planner(Arc::new(self.snapshot.clone()));
        if !self.base_dirs.is_empty() {
            Arc::make_mut(&mut planner.base_dirs).extend(self.base_dirs.clone());
        }
        planner
    }
}

/// What DROP calls an object.
fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Table | ObjectKind::Connector => "TABLE",
        ObjectKind::View => "VIEW",
        ObjectKind::MaterializedView => "MATERIALIZED VIEW",
        ObjectKind::Function => "FUNCTION",
    }
}

/// What users call an object.
fn shown_name(object: &Object) -> &str {
    object.name.strip_suffix("()").filter(|_| object.kind == ObjectKind::Function).unwrap_or(&object.name)
}

fn distinct_ids<'a>(objects: impl Iterator<Item = &'a Arc<Object>>) -> Vec<ObjectId> {
    let mut ids: Vec<_> = objects.map(|object| object.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
