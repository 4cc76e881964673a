//! Definitions: what CREATE and DROP change in the catalog, collected in a draft and committed in one transaction.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog::{Action, Job, Object, ObjectId, ObjectKind, Requirement, Snapshot, TableState};

use crate::error::{Error, Position, Result};
use crate::session::Inner;
use crate::sql::context::Planner;

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
            existing,
            ordinals: BTreeMap::new(),
        }
    }

    /// The same for statements whose relative paths start somewhere else than the engine's.
    pub fn with_base_dir(self, base_dir: Option<&Path>) -> Self {
        Self { base_dir: base_dir.map(Path::to_path_buf), ..self }
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
        self.snapshot.objects.insert(id, Arc::new(object));
    }

    fn add_job(&mut self, job: Job) {
        self.actions.push(Action::CreateJob(job.clone()));
        self.jobs.push(job.id);
        self.snapshot.jobs.insert(job.id, Arc::new(job));
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
