//! What every backend of [`Catalog`] must do, as cases that a backend's tests run against it.
//!
//! Each case gets an empty catalog behind two handles: of one file or server if the backend has such, else clones. A
//! case answers with the catalog's own error if an operation fails that should not, and panics where the catalog
//! breaks its contract. This module is code for tests; no part of the program calls it.

mod access;
mod concurrency;
mod definitions;
mod history;
mod jobs;
mod leases;
mod outcomes;
mod tables;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::{
    Action, Catalog, Clock, Column, Commit, ErrorKind, Job, JobKind, JobStatus, ManualClock, NewSegment, Object,
    ObjectId, ObjectKind, Requirement, Result, Snapshot, TableState, Version,
};

/// The time at which every case starts, in ms since the Unix epoch.
pub const START_MS: i64 = 1_000_000;

/// An empty catalog behind two handles, and a clock that stands still.
#[derive(Debug, Clone)]
pub struct Setup {
    /// One handle.
    pub a: Arc<dyn Catalog>,
    /// Another, which shares nothing with the first but the data, if the backend can do that.
    pub b: Arc<dyn Catalog>,
    /// Time and ids.
    pub clock: Arc<ManualClock>,
}

/// A case at work.
pub type Running = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// One demand on a catalog.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What is demanded.
    pub name: &'static str,
    /// Tries it on an empty catalog.
    pub run: fn(Setup) -> Running,
}

macro_rules! cases {
    ($($case:path),* $(,)?) => {
        &[$(Case { name: stringify!($case), run: |setup| Box::pin($case(setup)) }),*]
    };
}

/// All of them.
pub const CASES: &[Case] = cases![
    definitions::an_empty_catalog_is_version_zero,
    definitions::objects_come_back_as_created,
    definitions::names_are_unique_until_dropped,
    definitions::drop_is_refused_while_something_depends,
    definitions::references_must_exist,
    definitions::changed_definitions_are_noticed,
    definitions::ids_are_never_drawn_twice,
    access::users_and_grants_come_back,
    access::rights_are_always_the_newest,
    access::rights_go_with_what_they_are_about,
    access::nonsense_about_rights_is_refused,
    access::changed_rights_are_noticed,
    tables::segments_are_hot_then_retained_then_gone,
    tables::swaps_compare_and_set,
    tables::a_changed_table_is_noticed,
    tables::nonsense_about_tables_is_refused,
    tables::two_tables_change_together,
    jobs::checkpoints_only_advance,
    jobs::status_and_error_are_kept,
    jobs::names_are_unique_among_jobs,
    history::pinned_reads_do_not_move,
    history::jobs_are_always_the_newest,
    history::expired_versions_are_gone,
    history::versions_are_found_by_time,
    history::versions_of_a_table_are_listed,
    history::files_in_use_are_listed,
    outcomes::a_failed_commit_changes_nothing,
    outcomes::a_repeated_commit_happens_once,
    outcomes::settling_tells_or_burns,
    leases::a_lease_has_one_owner,
    leases::a_lapsed_lease_is_free,
    leases::a_dead_owner_is_replaced_at_once,
    leases::renewal_is_all_or_none,
    leases::released_leases_are_free,
    leases::zombies_are_fenced,
    concurrency::handles_see_each_other,
    concurrency::compare_and_set_loses_no_update,
    concurrency::appends_do_not_conflict,
    concurrency::reads_stay_whole_while_commits_go_on,
    concurrency::one_contender_gets_the_lease,
    concurrency::ids_drawn_at_once_differ,
];

/// Runs every case, each on a fresh catalog from `fresh`.
///
/// # Errors
/// The first error of an operation that should have succeeded, with the case's name.
///
/// # Panics
/// If the catalog breaks its contract.
pub async fn run_all<F, R>(fresh: F) -> Result<()>
where
    F: Fn() -> R,
    R: Future<Output = Result<(Arc<dyn Catalog>, Arc<dyn Catalog>)>>,
{
    for (number, case) in CASES.iter().enumerate() {
        let (a, b) = fresh().await?;
        let clock = Arc::new(ManualClock::new(START_MS.unsigned_abs(), number as u64 + 1));
        (case.run)(Setup { a, b, clock }).await.map_err(|error| error.with("case", case.name))?;
    }
    Ok(())
}

impl Setup {
    fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    fn request(&self, requires: Vec<Requirement>, actions: Vec<Action>) -> Commit {
        Commit { id: self.clock.uuid(), now_ms: self.now(), requires, actions }
    }

    /// Commits through the first handle.
    async fn commit(&self, actions: Vec<Action>) -> Result<Version> {
        self.commit_if(Vec::new(), actions).await
    }

    async fn commit_if(&self, requires: Vec<Requirement>, actions: Vec<Action>) -> Result<Version> {
        self.a.commit(self.request(requires, actions)).await
    }

    /// The newest snapshot, having checked that both handles read the same.
    async fn newest(&self) -> Result<Arc<Snapshot>> {
        let (a, b) = (self.a.snapshot(None).await?, self.b.snapshot(None).await?);
        assert_same(&a, &b);
        Ok(a)
    }

    /// Creates a table and returns its id.
    async fn table(&self, name: &str) -> Result<ObjectId> {
        let id = self.a.allocate_ids(1).await?;
        self.commit(vec![Action::CreateObject(object(id, name, ObjectKind::Table, &[]))]).await?;
        Ok(id)
    }

    /// The state of a table at the newest version.
    async fn state(&self, table: ObjectId) -> Result<TableState> {
        let snapshot = self.newest().await?;
        Ok(snapshot.tables.get(&table).map(|state| TableState::clone(state)).unwrap_or_default())
    }
}

/// Asserts that two snapshots say the same.
///
/// # Panics
/// If they do not.
pub fn assert_same(a: &Snapshot, b: &Snapshot) {
    assert_eq!((a.version, a.committed_ms), (b.version, b.committed_ms));
    assert_eq!(a.objects, b.objects, "objects at version {}", a.version);
    assert_eq!(a.tables, b.tables, "tables at version {}", a.version);
    assert_eq!(a.jobs, b.jobs, "jobs at version {}", a.version);
    assert_eq!(a.access, b.access, "rights at version {}", a.version);
}

fn assert_refused<T: Debug>(outcome: Result<T>, kind: ErrorKind) {
    match outcome {
        Ok(value) => panic!("should have been refused as {kind:?}, but gave {value:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

/// An object for tests.
pub fn object(id: ObjectId, name: &str, kind: ObjectKind, depends_on: &[ObjectId]) -> Object {
    Object {
        id,
        name: name.to_owned(),
        kind,
        sql: format!("CREATE TABLE {name} (id BIGINT PRIMARY KEY)"),
        columns: vec![Column { name: "id".to_owned(), data_type: serde_json::json!("Int64"), nullable: false }],
        key: vec!["id".to_owned()],
        insert_only: false,
        properties: BTreeMap::from([("comment".to_owned(), "it's \"quoted\" \u{1F9CA}".to_owned())]),
        depends_on: depends_on.to_vec(),
    }
}

/// A running job for tests.
pub fn job(id: ObjectId, name: &str, inputs: &[ObjectId], targets: &[ObjectId]) -> Job {
    Job {
        id,
        name: name.to_owned(),
        kind: JobKind::Insert,
        sql: format!("INSERT INTO {name} SELECT 1"),
        targets: targets.to_vec(),
        inputs: inputs.to_vec(),
        settings: BTreeMap::from([("commit_interval".to_owned(), "1s".to_owned())]),
        status: JobStatus::Running,
        error: None,
        checkpoint: None,
    }
}

/// A segment for tests.
pub fn segment(path: &str) -> NewSegment {
    NewSegment { path: path.to_owned(), rows: 3, bytes: 100, insert_only: true }
}

/// Adds one segment to a table.
pub fn add(table: ObjectId, path: &str) -> Action {
    Action::AddSegments { table, segments: vec![segment(path)] }
}

/// Moves a table's metadata pointer.
pub fn swap(table: ObjectId, expected: Option<&str>, location: &str, tiered: &[&str]) -> Action {
    Action::SwapMetadata {
        table,
        expected: expected.map(str::to_owned),
        location: location.to_owned(),
        tiered: strings(tiered),
    }
}

fn strings(of: &[&str]) -> Vec<String> {
    of.iter().map(|s| (*s).to_owned()).collect()
}

fn checkpoint(job: ObjectId, epoch: u64, files: &[&str]) -> Action {
    Action::Checkpoint { job, epoch, payload: serde_json::json!({ "epoch": epoch }), files: strings(files) }
}

fn paths(segments: &[crate::Segment]) -> Vec<&str> {
    segments.iter().map(|segment| segment.file.path.as_str()).collect()
}
