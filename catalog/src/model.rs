//! What the catalog holds, as plain data: objects, tables at a version, jobs, checkpoints, leases, and the commits that change them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Number of a commit. Starts at 1, grows by one with every commit; 0 is the empty catalog.
pub type Version = u64;

/// Id of an object or a job; never reused. Both are drawn from one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(pub i64);

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// A dynamic table that users write: `CREATE TABLE` without a connector.
    Table,
    /// A table that a connector reads or writes: `CREATE TABLE ... WITH ('connector' = ...)`. Nothing of it is stored.
    Connector,
    /// A named query without storage: `CREATE VIEW`.
    View,
    /// A dynamic table that a job keeps up to date: `CREATE MATERIALIZED VIEW`.
    MaterializedView,
    /// A scalar expression with a name: `CREATE FUNCTION`. Its columns are its parameters.
    Function,
}

impl ObjectKind {
    /// Whether the store holds rows for objects of this kind.
    pub fn is_stored(self) -> bool {
        matches!(self, Self::Table | Self::MaterializedView)
    }
}

/// One column of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name as the user wrote it (unquoted names in lower case).
    pub name: String,
    /// Arrow data type, in the JSON form that `storage::types` defines. Opaque to the catalog.
    pub data_type: serde_json::Value,
    /// Whether the column may hold NULL.
    pub nullable: bool,
}

/// A named thing: table, connector table, view or materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Unique and never reused.
    pub id: ObjectId,
    /// Unique among the objects that exist at one version.
    pub name: String,
    /// What the name stands for.
    pub kind: ObjectKind,
    /// The statement that defined it, in its canonical form (as the SQL parser prints it).
    pub sql: String,
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Names of the key columns: declared PRIMARY KEY, or derived from the view's plan. Empty: the whole row is the key, with multiplicity.
    pub key: Vec<String>,
    /// No row of this table is ever retracted; readers and tiering skip every index.
    pub insert_only: bool,
    /// `WITH (...)` options and the engine's own notes (such as the watermark clause).
    pub properties: BTreeMap<String, String>,
    /// Objects that the definition reads. DROP of those is refused while this exists.
    pub depends_on: Vec<ObjectId>,
}

/// One immutable Arrow IPC file with the changes that one commit made to one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSegment {
    /// Path relative to the warehouse's root.
    pub path: String,
    /// Rows in the file, retractions included.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// No row in the file has a negative weight.
    pub insert_only: bool,
}

/// A segment as committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The file.
    #[serde(flatten)]
    pub file: NewSegment,
    /// The version whose commit added it.
    pub version: Version,
}

/// A stored table at one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// The Iceberg metadata file that is current, as an absolute location; `None` before the first tiering.
    pub metadata_location: Option<String>,
    /// Segments that the Iceberg snapshot does not contain yet, in version order. Union reads add these.
    pub hot: Vec<Segment>,
    /// Segments that are in the Iceberg snapshot but still kept for changelog readers, in version order.
    pub retained: Vec<Segment>,
    /// The version that last added rows (a segment) to the table; 0 if none did. Tiering does not count.
    pub changed: Version,
    /// Changelog reads can start at this version or later: segments at or before it may be gone.
    pub changelog_from: Version,
}

/// Somebody who connects to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Unique.
    pub name: String,
    /// May do everything.
    pub superuser: bool,
    /// What the password is checked against, in the engine's own format: never the password. `None`: nobody can come in
    /// under this name.
    pub verifier: Option<String>,
}

/// What a user may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privilege {
    /// Read an object's rows.
    Select,
    /// Add rows to it.
    Insert,
    /// Change rows of it.
    Update,
    /// Remove rows of it.
    Delete,
    /// Remove all of them.
    Truncate,
    /// Create objects and jobs.
    Create,
}

/// One privilege of one user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// What for; `None` is the one namespace that holds all objects.
    pub object: Option<ObjectId>,
    /// To whom; `None` is everybody (PUBLIC).
    pub user: Option<String>,
    /// What is allowed.
    pub privilege: Privilege,
}

/// Who may do what. Without users nobody is asked who they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Users by name.
    pub users: BTreeMap<String, User>,
    /// Whose an object or a job is. One that is not here belongs to the superusers.
    pub owners: BTreeMap<ObjectId, String>,
    /// What was granted.
    pub grants: BTreeSet<Grant>,
}

/// What kind of statement a job stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Keeps a materialized view.
    MaterializedView,
    /// `INSERT INTO ... SELECT`.
    Insert,
    /// `EXECUTE STATEMENT SET`.
    StatementSet,
}

/// Whether a job should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Wants to run (and does, wherever its lease is held).
    Running,
    /// Stopped by a user, to be resumed.
    Paused,
    /// All inputs were bounded and are read to their end.
    Finished,
    /// Stopped by an error; resumed by the next `run` or by RESUME JOB.
    Failed,
}

/// One continuous dataflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Unique and never reused. A view's job has the view's id.
    pub id: ObjectId,
    /// Unique among jobs. A view's job has the view's name.
    pub name: String,
    /// What kind of statement it stands for.
    pub kind: JobKind,
    /// The statement in its canonical form.
    pub sql: String,
    /// Objects it writes.
    pub targets: Vec<ObjectId>,
    /// Objects it reads.
    pub inputs: Vec<ObjectId>,
    /// Settings at its creation, such as `commit_interval`.
    pub settings: BTreeMap<String, String>,
    /// Whether it should run.
    pub status: JobStatus,
    /// Why it failed, for `Failed`.
    pub error: Option<String>,
    /// The newest checkpoint.
    pub checkpoint: Option<Checkpoint>,
}

/// An epoch made durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The epoch it closes. Grows from checkpoint to checkpoint of a job.
    pub epoch: u64,
    /// The version whose commit wrote it.
    pub version: Version,
    /// Source positions and state handles, in the engine's own format. Opaque to the catalog.
    pub payload: serde_json::Value,
    /// Paths (relative to the warehouse's root) of every file that the payload refers to: the sweep keeps these.
    pub files: Vec<String>,
}

/// Everything that exists at one version.
///
/// Objects and tables are as of `version`; jobs, their checkpoints and the rights of users are always the newest.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The version read.
    pub version: Version,
    /// When that version was committed, in ms since the Unix epoch; 0 for the empty catalog. Never less than that of
    /// the version before, even if the clocks of two processes disagree.
    pub committed_ms: i64,
    /// Objects by id.
    pub objects: BTreeMap<ObjectId, Arc<Object>>,
    /// State of every stored table, by object id.
    pub tables: BTreeMap<ObjectId, Arc<TableState>>,
    /// Jobs by id.
    pub jobs: BTreeMap<ObjectId, Arc<Job>>,
    /// Who may do what.
    pub access: Arc<Access>,
}

impl Snapshot {
    /// The object of that name.
    pub fn object(&self, name: &str) -> Option<&Arc<Object>> {
        self.objects.values().find(|o| o.name == name)
    }

    /// The job of that name.
    pub fn job(&self, name: &str) -> Option<&Arc<Job>> {
        self.jobs.values().find(|j| j.name == name)
    }
}

/// One step of a commit. All steps of a commit take effect together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Adds an object. Fails with `AlreadyExists` if the name is taken.
    CreateObject(Object),
    /// Removes an object. Fails with `Conflict` while another object or an unfinished job depends on it. Its files become garbage.
    DropObject(ObjectId),
    /// Adds a job (its `checkpoint` is ignored). Fails with `AlreadyExists` if the name is taken.
    CreateJob(Job),
    /// Removes a job and its checkpoint.
    DropJob(ObjectId),
    /// Changes a job's status; `error` says why for `Failed`.
    SetJobStatus {
        /// The job.
        job: ObjectId,
        /// New status.
        status: JobStatus,
        /// Why, for `Failed`.
        error: Option<String>,
    },
    /// Replaces a job's checkpoint. Fails with `Conflict` unless `epoch` is greater than that of the present one.
    Checkpoint {
        /// The job.
        job: ObjectId,
        /// The epoch it closes.
        epoch: u64,
        /// See [`Checkpoint::payload`].
        payload: serde_json::Value,
        /// See [`Checkpoint::files`].
        files: Vec<String>,
    },
    /// Adds changes to a table.
    AddSegments {
        /// The table.
        table: ObjectId,
        /// The files, already durable.
        segments: Vec<NewSegment>,
    },
    /// Moves a table's Iceberg pointer: compare-and-set on the location that the writer started from.
    SwapMetadata {
        /// The table.
        table: ObjectId,
        /// The location that must be current; else `Conflict`.
        expected: Option<String>,
        /// The new location.
        location: String,
        /// Paths of the hot segments that the new snapshot contains: they leave `hot` and enter `retained`. `Conflict` if one is not hot.
        tiered: Vec<String>,
    },
    /// Drops tiered segments from the changelog: they leave `retained`; `changelog_from` grows to the newest version dropped.
    DropRetained {
        /// The table.
        table: ObjectId,
        /// Paths of the segments.
        paths: Vec<String>,
    },
    /// Adds a user, or replaces the one of that name.
    PutUser(User),
    /// Removes a user with what was granted to them. Fails with `Conflict` while they own something.
    DropUser(String),
    /// Says whose an object or a job is.
    SetOwner {
        /// The object or job.
        object: ObjectId,
        /// The user.
        user: String,
    },
    /// Allows something. What is allowed already stays so.
    Grant(Grant),
    /// Takes back what was allowed. What was not allowed stays so.
    Revoke(Grant),
    /// Forgets every version before this one: reads at older versions fail with `NotFound`, and what only they saw becomes garbage.
    ExpireVersionsBefore(Version),
}

/// What must hold, else the commit fails with `Conflict` and nothing happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Requirement {
    /// No commit after `version` added segments to the table.
    TableUnchangedSince {
        /// The table.
        table: ObjectId,
        /// The version that the writer read.
        version: Version,
    },
    /// No commit after `version` created or dropped an object.
    DefinitionsUnchangedSince(Version),
    /// No commit after `version` changed users, owners or grants.
    AccessUnchangedSince(Version),
    /// The lease is still held under this token: keeps zombies from committing.
    Fence {
        /// Name of the lease.
        lease: String,
        /// The token that its holder got.
        token: u64,
    },
}

/// One catalog transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// Names the transaction, so that an unknown outcome can be settled.
    pub id: Uuid,
    /// When, in ms since the Unix epoch.
    pub now_ms: i64,
    /// What must hold.
    pub requires: Vec<Requirement>,
    /// What to do, in order.
    pub actions: Vec<Action>,
}

/// A right that one owner holds for a while, with a token that grows with every new holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What the right is for, e.g. `job/7`.
    pub name: String,
    /// Who holds it: free text that other owners are told.
    pub owner: String,
    /// Fencing token.
    pub token: u64,
    /// When it lapses unless renewed, in ms since the Unix epoch.
    pub expires_ms: i64,
}

/// A version at which something about one table changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableVersion {
    /// The version.
    pub version: Version,
    /// When it was committed, in ms since the Unix epoch, as long as that is remembered.
    pub committed_ms: Option<i64>,
    /// What it changed.
    pub change: TableVersionChange,
}

/// What a version changed about a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableVersionChange {
    /// It added segments with so many rows, retractions included.
    Segments {
        /// Rows in them.
        rows: u64,
    },
    /// It moved the table's Iceberg pointer.
    Metadata {
        /// To this location.
        location: String,
    },
}

/// Every file that the catalog refers to, read at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileReferences {
    /// The newest version when this was read: files that later commits name are not in it.
    pub version: Version,
    /// Segments that are hot or retained at a version that can still be read, relative to the warehouse's root.
    pub segments: BTreeSet<String>,
    /// Iceberg metadata files that are current at a version that can still be read, as absolute locations. What they
    /// refer to in turn (manifests, data files) is kept as well.
    pub metadata: BTreeSet<String>,
    /// Files of the jobs' checkpoints, relative to the warehouse's root.
    pub checkpoints: BTreeSet<String>,
}
