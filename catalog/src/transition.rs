//! What a commit does to the catalog, as one pure function: the head and a commit in, the next head or a refusal out.
//!
//! Every backend decides with this function inside its transaction and then only writes down the outcome, so that all
//! of them mean the same by an action and none can apply half of one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::model::*;

/// The newest state of a catalog, with what only deciding needs beside the snapshot.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Everything that exists at the newest version.
    pub snapshot: Arc<Snapshot>,
    /// The newest version that created or dropped an object; 0 if none did.
    pub definitions_changed: Version,
    /// The newest version that changed users, owners or grants; 0 if none did.
    pub access_changed: Version,
    /// The oldest version that can still be read.
    pub oldest: Version,
}

/// Decides a commit: the head after it, one version newer.
///
/// `tokens` holds the present token of every held lease that the commit's fences name; a lease that nobody holds is
/// absent. Time decides nothing here: a lease that lapsed but was not taken over still passes its fence, because
/// nobody else can have acted under it.
///
/// # Errors
/// `Fenced`, `Conflict`, `AlreadyExists`, `NotFound` and `Invalid` as documented at [`Requirement`] and [`Action`].
pub fn apply(head: &Head, tokens: &BTreeMap<String, u64>, commit: &Commit) -> Result<Head> {
    for requirement in &commit.requires {
        check(head, tokens, requirement)?;
    }
    let mut step = Step::new(head, commit);
    for action in &commit.actions {
        step.act(action)?;
    }
    step.check_references(commit)?;
    Ok(step.finish())
}

/// Names of the leases that the commit's fences ask about.
pub fn fenced_leases(commit: &Commit) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for requirement in &commit.requires {
        if let Requirement::Fence { lease, .. } = requirement {
            names.insert(lease.as_str());
        }
    }
    names
}

fn check(head: &Head, tokens: &BTreeMap<String, u64>, requirement: &Requirement) -> Result<()> {
    match requirement {
        Requirement::Fence { lease, token } => match tokens.get(lease) {
            Some(present) if present == token => Ok(()),
            Some(present) => {
                Err(Error::new(ErrorKind::Fenced, "the lease was taken over by another holder; stop this work")
                    .with("lease", lease)
                    .with("token", token)
                    .with("present token", present))
            }
            None => {
                Err(Error::new(ErrorKind::Fenced, "the lease is held by nobody; acquire it before committing under it")
                    .with("lease", lease)
                    .with("token", token))
            }
        },
        Requirement::TableUnchangedSince { table, version } => match head.snapshot.tables.get(table) {
            Some(state) if state.changed <= *version => Ok(()),
            Some(state) => Err(conflict("another commit changed the table since it was read; read it again and retry")
                .with("table", table)
                .with("read at", version)
                .with("changed at", state.changed)),
            None => Err(conflict("the table was dropped since it was read").with("table", table)),
        },
        Requirement::DefinitionsUnchangedSince(version) if head.definitions_changed <= *version => Ok(()),
        Requirement::DefinitionsUnchangedSince(version) => {
            Err(conflict("objects were created or dropped since the statement was planned; plan it again and retry")
                .with("planned at", version)
                .with("changed at", head.definitions_changed))
        }
        Requirement::AccessUnchangedSince(version) if head.access_changed <= *version => Ok(()),
        Requirement::AccessUnchangedSince(version) => {
            Err(conflict("users or their rights were changed meanwhile; look at them again and retry")
                .with("read at", version)
                .with("changed at", head.access_changed))
        }
    }
}

/// A commit half way: the next snapshot as far as the actions have built it.
struct Step {
    next: Snapshot,
    definitions_changed: Version,
    access_changed: Version,
    oldest: Version,
    dropped_jobs: HashSet<ObjectId>,
}

impl Step {
    fn new(head: &Head, commit: &Commit) -> Self {
        let mut next = Snapshot::clone(&head.snapshot);
        next.version += 1;
        next.committed_ms = next.committed_ms.max(commit.now_ms);
        let dropped_jobs = commit.actions.iter().filter_map(|action| match action {
            Action::DropJob(id) => Some(*id),
            _ => None,
        });
        Self {
            next,
            definitions_changed: head.definitions_changed,
            access_changed: head.access_changed,
            oldest: head.oldest,
            dropped_jobs: dropped_jobs.collect(),
        }
    }

    fn finish(self) -> Head {
        Head {
            snapshot: Arc::new(self.next),
            definitions_changed: self.definitions_changed,
            access_changed: self.access_changed,
            oldest: self.oldest,
        }
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::CreateObject(object) => self.create_object(object),
            Action::DropObject(id) => self.drop_object(*id),
            Action::CreateJob(job) => self.create_job(job),
            Action::DropJob(id) => self.drop_job(*id),
            Action::SetJobStatus { job, status, error } => {
                let job = self.job(*job)?;
                job.status = *status;
                job.error = error.clone().filter(|_| *status == JobStatus::Failed);
                Ok(())
            }
            Action::Checkpoint { job, epoch, payload, files } => self.checkpoint(*job, *epoch, payload, files),
            Action::AddSegments { table, segments } => self.add_segments(*table, segments),
            Action::SwapMetadata { table, expected, location, tiered } => {
                self.swap_metadata(*table, expected.as_deref(), location, tiered)
            }
            Action::DropRetained { table, paths } => self.drop_retained(*table, paths),
            Action::PutUser(user) => self.put_user(user),
            Action::DropUser(name) => self.drop_user(name),
            Action::SetOwner { object, user } => self.set_owner(*object, user),
            Action::Grant(grant) => self.grant(grant),
            Action::Revoke(grant) => {
                self.access().grants.remove(grant);
                Ok(())
            }
            Action::ExpireVersionsBefore(version) => self.expire_before(*version),
        }
    }

    fn create_object(&mut self, object: &Object) -> Result<()> {
        if object.name.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "an object needs a name").with("id", object.id));
        }
        if let Some(present) = self.next.object(&object.name) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("\"{}\" exists already", object.name))
                .with("id of the present one", present.id));
        }
        if self.next.objects.contains_key(&object.id) {
            return Err(Error::new(ErrorKind::Invalid, "the object id is in use; draw a fresh one")
                .with("id", object.id)
                .with("object", &object.name));
        }
        if object.kind.is_stored() {
            self.next.tables.insert(object.id, Arc::default());
        }
        self.next.objects.insert(object.id, Arc::new(object.clone()));
        self.definitions_changed = self.next.version;
        Ok(())
    }

    fn drop_object(&mut self, id: ObjectId) -> Result<()> {
        let Some(object) = self.next.objects.get(&id) else {
            return Err(Error::new(ErrorKind::NotFound, "there is no such object").with("object", id));
        };
        if let Some(reader) = self.next.objects.values().find(|o| o.id != id && o.depends_on.contains(&id)) {
            return Err(conflict(format!(
                "\"{}\" cannot be dropped: \"{}\" depends on it; drop that first",
                object.name, reader.name
            )));
        }
        let own_and_dropped = |job: &Job| job.id == id && self.dropped_jobs.contains(&id);
        let uses = |job: &Job| job.id == id || job.inputs.contains(&id) || job.targets.contains(&id);
        let blocks = |job: &&Arc<Job>| job.status != JobStatus::Finished && uses(job) && !own_and_dropped(job);
        if let Some(job) = self.next.jobs.values().find(blocks) {
            return Err(conflict(format!(
                "\"{}\" cannot be dropped: job \"{}\" uses it; drop that first",
                object.name, job.name
            )));
        }
        self.next.objects.remove(&id);
        self.next.tables.remove(&id);
        self.definitions_changed = self.next.version;
        self.forget_rights(id);
        Ok(())
    }

    fn drop_job(&mut self, id: ObjectId) -> Result<()> {
        if self.next.jobs.remove(&id).is_none() {
            return Err(no_job(id));
        }
        // A view's rights go with the view.
        if !self.next.objects.contains_key(&id) {
            self.forget_rights(id);
        }
        Ok(())
    }

    fn create_job(&mut self, job: &Job) -> Result<()> {
        if let Some(present) = self.next.job(&job.name) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("job \"{}\" exists already", job.name))
                .with("id of the present one", present.id));
        }
        if self.next.jobs.contains_key(&job.id) {
            return Err(Error::new(ErrorKind::Invalid, "the job id is in use; draw a fresh one")
                .with("id", job.id)
                .with("job", &job.name));
        }
        self.next.jobs.insert(job.id, Arc::new(Job { checkpoint: None, ..job.clone() }));
        Ok(())
    }

    fn checkpoint(&mut self, id: ObjectId, epoch: u64, payload: &serde_json::Value, files: &[String]) -> Result<()> {
        let version = self.next.version;
        let job = self.job(id)?;
        if let Some(present) = job.checkpoint.as_ref().filter(|present| present.epoch >= epoch) {
            return Err(conflict("the job has a checkpoint of this epoch or a later one")
                .with("job", &job.name)
                .with("epoch", epoch)
                .with("present epoch", present.epoch));
        }
        job.checkpoint = Some(Checkpoint { epoch, version, payload: payload.clone(), files: files.to_vec() });
        Ok(())
    }

    fn add_segments(&mut self, id: ObjectId, segments: &[NewSegment]) -> Result<()> {
        let version = self.next.version;
        let insert_only = self.next.objects.get(&id).is_some_and(|object| object.insert_only);
        if let Some(segment) = segments.iter().find(|segment| insert_only && !segment.insert_only) {
            return Err(Error::new(ErrorKind::Invalid, "the segment retracts rows, but its table is insert-only")
                .with("table", id)
                .with("segment", &segment.path));
        }
        let table = self.table(id)?;
        for file in segments {
            table.hot.push(Segment { file: file.clone(), version });
            table.changed = version;
        }
        Ok(())
    }

    fn swap_metadata(&mut self, id: ObjectId, expected: Option<&str>, location: &str, tiered: &[String]) -> Result<()> {
        let table = self.table(id)?;
        if table.metadata_location.as_deref() != expected {
            return Err(conflict("another commit moved the table's Iceberg metadata; rebase on it and retry")
                .with("table", id)
                .with("expected", expected.unwrap_or("none"))
                .with("present", table.metadata_location.as_deref().unwrap_or("none")));
        }
        table.metadata_location = Some(location.to_owned());
        let moved = take(&mut table.hot, tiered)
            .map_err(|path| conflict("the tiered segment is not hot").with("table", id).with("segment", path))?;
        table.retained.extend(moved);
        sort_retained(&mut table.retained);
        Ok(())
    }

    fn drop_retained(&mut self, id: ObjectId, paths: &[String]) -> Result<()> {
        let table = self.table(id)?;
        let gone = take(&mut table.retained, paths)
            .map_err(|path| conflict("the segment is not retained").with("table", id).with("segment", path))?;
        let newest = gone.iter().map(|segment| segment.version).max().unwrap_or(0);
        table.changelog_from = table.changelog_from.max(newest);
        Ok(())
    }

    fn expire_before(&mut self, version: Version) -> Result<()> {
        if version > self.next.version {
            return Err(Error::new(ErrorKind::Invalid, "the newest version cannot be expired")
                .with("expire before", version)
                .with("newest", self.next.version));
        }
        self.oldest = self.oldest.max(version);
        Ok(())
    }

    fn access(&mut self) -> &mut Access {
        self.access_changed = self.next.version;
        Arc::make_mut(&mut self.next.access)
    }

    fn put_user(&mut self, user: &User) -> Result<()> {
        if user.name.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "a user needs a name"));
        }
        self.access().users.insert(user.name.clone(), user.clone());
        Ok(())
    }

    fn drop_user(&mut self, name: &str) -> Result<()> {
        if let Some((id, _)) = self.next.access.owners.iter().find(|(_, owner)| *owner == name) {
            let owned = self.next.objects.get(id).map(|object| &object.name);
            let owned = owned.or_else(|| self.next.jobs.get(id).map(|job| &job.name));
            let owned = owned.map_or_else(|| id.to_string(), Clone::clone);
            return Err(conflict(format!(
                "\"{name}\" cannot be dropped: \"{owned}\" is theirs; give it to another user or drop it first"
            )));
        }
        if self.access().users.remove(name).is_none() {
            return Err(no_user(name));
        }
        self.access().grants.retain(|grant| grant.user.as_deref() != Some(name));
        Ok(())
    }

    fn set_owner(&mut self, id: ObjectId, user: &str) -> Result<()> {
        self.check_user(Some(user))?;
        if !self.next.jobs.contains_key(&id) {
            self.check_object(id)?;
        }
        self.access().owners.insert(id, user.to_owned());
        Ok(())
    }

    fn grant(&mut self, grant: &Grant) -> Result<()> {
        self.check_user(grant.user.as_deref())?;
        grant.object.map_or(Ok(()), |id| self.check_object(id))?;
        self.access().grants.insert(grant.clone());
        Ok(())
    }

    fn check_object(&self, id: ObjectId) -> Result<()> {
        match self.next.objects.contains_key(&id) {
            true => Ok(()),
            false => Err(conflict("the object does not exist (any more)").with("object", id)),
        }
    }

    fn check_user(&self, name: Option<&str>) -> Result<()> {
        match name {
            Some(name) if !self.next.access.users.contains_key(name) => Err(no_user(name)),
            _ => Ok(()),
        }
    }

    /// What was dropped is nobody's.
    fn forget_rights(&mut self, id: ObjectId) {
        let access = &self.next.access;
        if access.owners.contains_key(&id) || access.grants.iter().any(|grant| grant.object == Some(id)) {
            self.access().owners.remove(&id);
            self.access().grants.retain(|grant| grant.object != Some(id));
        }
    }

    fn table(&mut self, id: ObjectId) -> Result<&mut TableState> {
        match self.next.tables.get_mut(&id) {
            Some(table) => Ok(Arc::make_mut(table)),
            None if self.next.objects.contains_key(&id) => {
                Err(Error::new(ErrorKind::Invalid, "objects of this kind hold no rows").with("object", id))
            }
            None => {
                Err(Error::new(ErrorKind::NotFound, "there is no such table; it may have been dropped")
                    .with("table", id))
            }
        }
    }

    fn job(&mut self, id: ObjectId) -> Result<&mut Job> {
        self.next.jobs.get_mut(&id).map(Arc::make_mut).ok_or_else(|| no_job(id))
    }

    /// What this commit created must refer only to what exists after it: a table that another session dropped
    /// meanwhile is a conflict. Checked last, so that a job may be created before the view that it writes.
    fn check_references(&self, commit: &Commit) -> Result<()> {
        let dangling = |ids: &[ObjectId]| ids.iter().copied().find(|id| !self.next.objects.contains_key(id));
        for action in &commit.actions {
            let (name, missing) = match action {
                Action::CreateObject(o) if self.next.objects.contains_key(&o.id) => (&o.name, dangling(&o.depends_on)),
                Action::CreateJob(j) if self.next.jobs.contains_key(&j.id) => {
                    (&j.name, dangling(&j.inputs).or_else(|| dangling(&j.targets)))
                }
                _ => continue,
            };
            if let Some(missing) = missing {
                return Err(conflict(format!("\"{name}\" refers to an object that does not exist (any more)"))
                    .with("object", missing));
            }
        }
        Ok(())
    }
}

/// Retained segments are in the order of their versions and, because those of one version may be tiered in any order,
/// of their paths: every way of arriving at a state gives the same one.
pub(crate) fn sort_retained(segments: &mut [Segment]) {
    segments.sort_unstable_by(|a, b| (a.version, &a.file.path).cmp(&(b.version, &b.file.path)));
}

/// Takes the segments of these paths out, in their order in `from`; the first path that is not there is the error.
fn take(from: &mut Vec<Segment>, paths: &[String]) -> Result<Vec<Segment>, String> {
    let mut wanted = HashSet::with_capacity(paths.len());
    for path in paths {
        if !wanted.insert(path.as_str()) {
            return Err(path.clone());
        }
    }
    let (taken, rest): (Vec<_>, Vec<_>) =
        std::mem::take(from).into_iter().partition(|segment| wanted.remove(segment.file.path.as_str()));
    *from = rest;
    match paths.iter().find(|path| wanted.contains(path.as_str())) {
        Some(missing) => Err(missing.clone()),
        None => Ok(taken),
    }
}

fn conflict(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, message)
}

fn no_user(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no user named \"{name}\""))
}

fn no_job(id: ObjectId) -> Error {
    Error::new(ErrorKind::NotFound, "there is no such job; it may have been dropped").with("job", id)
}
