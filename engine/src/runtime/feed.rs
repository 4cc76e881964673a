//! Brings the rows of stored tables into a pipeline: first their history, then the changes of every later version.
//!
//! What is read is staged; the next epoch takes all that is staged. All tables advance together: staged rows always
//! belong to whole versions, so an epoch never sees a part of a commit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::{Clock, JobStatus, ObjectId, ObjectKind, Snapshot, Version};
use futures::StreamExt;
use futures::stream::BoxStream;
use storage::Warehouse;
use storage::scan::changes_since;
use tokio::sync::{Notify, mpsc, watch};

use crate::change::{Changes, consolidate};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::coordinator::Event;
use crate::runtime::dataflow::NodeId;

/// Rows that may be staged before the feed waits for an epoch to take them.
const MAX_STAGED_ROWS: usize = 256 * 1024;

/// A feed and how far it is.
#[derive(Debug, Clone)]
pub struct Feed {
    /// The node.
    pub node: NodeId,
    /// What it reads.
    pub table: ObjectId,
    /// The version up to which its job has read the table; `None`: nothing yet.
    pub from: Option<Version>,
    /// Later changes come from a node of the pipeline.
    pub live: bool,
}

/// Rows that wait for the next epoch.
#[derive(Debug, Default)]
pub struct Staged {
    /// Changes, and the nodes that want them.
    pub changes: Vec<(Vec<NodeId>, Changes)>,
    /// All tables are staged up to this version.
    pub through: Version,
    rows: usize,
    /// When the oldest rows were staged, by the monotonic clock.
    since: Option<Duration>,
}

/// Shared between the feed, which fills it, and the pipeline, which takes it.
#[derive(Debug)]
pub struct Stage {
    staged: Mutex<Staged>,
    taken: Notify,
    clock: Arc<dyn Clock>,
}

impl Stage {
    /// Nothing is staged.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { staged: Mutex::default(), taken: Notify::new(), clock }
    }

    /// Everything staged, and up to which version that is; and how long the oldest rows have waited.
    pub fn take(&self) -> (Staged, Duration) {
        let mut staged = self.lock();
        let through = staged.through;
        let taken = std::mem::replace(&mut *staged, Staged { through, ..Staged::default() });
        self.taken.notify_one();
        let waited = taken.since.map(|since| self.clock.monotonic().saturating_sub(since));
        (taken, waited.unwrap_or_default())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Staged> {
        // Nothing can panic while it is held, so a poisoned lock still guards whole data.
        self.staged.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Stages everything at once: an epoch takes all of it or nothing.
    fn push(&self, read: Vec<(&[NodeId], Vec<Changes>)>, through: Option<Version>) {
        let mut staged = self.lock();
        for (nodes, changes) in read {
            for changes in changes.into_iter().filter(|c| !c.is_empty()) {
                staged.rows += changes.len();
                staged.since.get_or_insert_with(|| self.clock.monotonic());
                staged.changes.push((nodes.to_vec(), changes));
            }
        }
        if let Some(through) = through {
            staged.through = through;
        }
    }

    async fn room(&self) {
        while self.lock().rows >= MAX_STAGED_ROWS {
            self.taken.notified().await;
        }
    }
}

/// Feeds that read the same table from the same version.
struct Group {
    table: ObjectId,
    from: Option<Version>,
    nodes: Vec<NodeId>,
    /// Those of `nodes` that have no live input.
    watching: Vec<NodeId>,
}

fn groups(feeds: &[Feed]) -> Vec<Group> {
    let mut groups: BTreeMap<(ObjectId, Option<Version>), Group> = BTreeMap::new();
    for feed in feeds {
        let group = groups.entry((feed.table, feed.from)).or_insert_with(|| Group {
            table: feed.table,
            from: feed.from,
            nodes: vec![],
            watching: vec![],
        });
        group.nodes.push(feed.node);
        if !feed.live {
            group.watching.push(feed.node);
        }
    }
    groups.into_values().collect()
}

/// Reads history up to `start`, then follows the catalog until nothing can change any more.
pub async fn run(
    warehouse: Arc<Warehouse>,
    feeds: Vec<Feed>,
    start: Arc<Snapshot>,
    stage: Arc<Stage>,
    events: mpsc::UnboundedSender<Event>,
    mut versions: watch::Receiver<Version>,
) -> Result<()> {
    let groups = groups(&feeds);
    for group in &groups {
        match group.from {
            None => backfill(&warehouse, &start, group, &stage, &events).await?,
            Some(from) => {
                let mut versions = changes(&warehouse, &start, group.table, from)?;
                let mut pending: Vec<Changes> = Vec::new();
                loop {
                    let version = versions.next().await.transpose()?;
                    let ended = version.is_none();
                    pending.extend(version.into_iter().flat_map(|(_, changes)| changes));
                    if !pending.is_empty()
                        && (ended || pending.iter().map(Changes::len).sum::<usize>() >= MAX_STAGED_ROWS)
                    {
                        stage.room().await;
                        stage.push(vec![(&group.nodes, vec![settled(std::mem::take(&mut pending))?])], None);
                        let _ = events.send(Event::InputReady);
                    }
                    if ended {
                        break;
                    }
                }
            }
        }
    }
    stage.push(vec![], Some(start.version));
    let _ = events.send(Event::BackfillDone);
    let _ = events.send(Event::InputReady);

    let mut through = start.version;
    let mut snapshot = start;
    loop {
        let watched = groups.iter().filter(|g| !g.watching.is_empty() && can_change(&snapshot, g.table));
        if watched.count() == 0 {
            let _ = events.send(Event::StagedEnded);
            return Ok(());
        }
        if versions.wait_for(|version| *version > through).await.is_err() {
            return Ok(());
        }
        stage.room().await;
        snapshot = warehouse.catalog().snapshot(None).await?;
        let mut read = Vec::new();
        for group in groups.iter().filter(|group| !group.watching.is_empty()) {
            let mut versions = changes(&warehouse, &snapshot, group.table, through)?;
            while let Some(version) = versions.next().await {
                let (_, changes) = version?;
                read.push((group.watching.as_slice(), changes));
            }
        }
        through = snapshot.version;
        let any = !read.is_empty();
        stage.push(read, Some(through));
        if any {
            let _ = events.send(Event::InputReady);
        }
    }
}

/// What is left of many versions' changes: a row that came and went in between is never seen. So a job that stopped at a row
/// that it could not compute goes on once that row is gone.
fn settled(changes: Vec<Changes>) -> Result<Changes> {
    match changes.first().map(|first| first.rows().schema()) {
        Some(schema) => consolidate(&schema, &changes),
        None => Err(Error::internal("changes of no version")),
    }
}

/// Whether anybody may still write the table.
fn can_change(snapshot: &Snapshot, table: ObjectId) -> bool {
    match snapshot.objects.get(&table) {
        None => false,
        Some(object) if object.kind == ObjectKind::MaterializedView => {
            snapshot.jobs.get(&table).is_some_and(|job| job.status != JobStatus::Finished)
        }
        Some(_) => true,
    }
}

/// Changes, one item per version.
type VersionStream = BoxStream<'static, storage::error::Result<(Version, Vec<Changes>)>>;

/// The changes after `from` that the snapshot contains, by version.
fn changes(warehouse: &Arc<Warehouse>, snapshot: &Snapshot, table: ObjectId, from: Version) -> Result<VersionStream> {
    let (Some(object), Some(state)) = (snapshot.objects.get(&table), snapshot.tables.get(&table)) else {
        return Err(Error::sql("a table that a running job reads was dropped").with("table", table));
    };
    if state.changed <= from {
        return Ok(futures::stream::empty().boxed());
    }
    if from < state.changelog_from {
        return Err(Error::new(ErrorKind::Conflict, "the changes that a job has still to read are gone")
            .with("table", &object.name)
            .with("read up to version", from)
            .with("kept from version", state.changelog_from)
            .hint("the job was away for longer than changelogs are kept: drop it and create it again"));
    }
    Ok(changes_since(warehouse.clone(), object, state, from)?)
}

async fn backfill(
    warehouse: &Arc<Warehouse>,
    snapshot: &Snapshot,
    group: &Group,
    stage: &Stage,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<()> {
    let (Some(object), Some(state)) = (snapshot.objects.get(&group.table), snapshot.tables.get(&group.table)) else {
        return Ok(());
    };
    let mut rows = crate::runtime::state::stream(warehouse, object, state).await?;
    while let Some(batch) = rows.next().await {
        stage.room().await;
        stage.push(vec![(&group.nodes, vec![Changes::inserts(batch?)])], None);
        let _ = events.send(Event::InputReady);
    }
    Ok(())
}
