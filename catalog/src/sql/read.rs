//! From rows to snapshots: whole ones at any version, and the newest one by what changed since an older head.
//!
//! Every function reads within the transaction that its caller opened.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::database::{Connection, Row};
use super::fault::{Fault, damaged};
use crate::model::*;
use crate::transition::{Head, sort_retained};

/// What `frazil_meta` says that readers need.
#[derive(Debug, Clone, Copy)]
pub struct Meta {
    /// The oldest version that can be read.
    pub oldest: Version,
    /// The newest version that created or dropped an object.
    pub definitions_changed: Version,
    /// The newest version that changed users, owners or grants.
    pub access_changed: Version,
}

/// Reads the newest version, NULL if there was no commit.
pub const NEWEST: &str = "SELECT max(version) FROM frazil_commits";

/// What the row of [`NEWEST`] says; 0 if there was no commit.
pub fn newest(row: Option<Row>) -> Result<Version, Fault> {
    let newest: Option<i64> = row.map_or(Ok(None), |row| row.get(0))?;
    Ok(unsigned(newest.unwrap_or(0)))
}

/// The newest version; 0 if there was no commit.
pub async fn newest_version(conn: &mut Connection<'_>) -> Result<Version, Fault> {
    newest(conn.row(NEWEST, &[]).await?)
}

/// The version that was the newest at a time, expired or not.
pub async fn version_at(conn: &mut Connection<'_>, at_ms: i64) -> Result<Option<Version>, Fault> {
    let sql =
        "SELECT version FROM frazil_commits WHERE committed_ms <= $1 ORDER BY committed_ms DESC, version DESC LIMIT 1";
    match conn.row(sql, &[at_ms.into()]).await? {
        Some(row) => Ok(Some(unsigned(row.get(0)?))),
        None => Ok(None),
    }
}

/// See [`Meta`].
pub async fn meta(conn: &mut Connection<'_>) -> Result<Meta, Fault> {
    let mut values = BTreeMap::new();
    for row in conn.rows("SELECT key, value FROM frazil_meta", &[]).await? {
        values.insert(row.get::<String>(0)?, row.get::<i64>(1)?);
    }
    let get = |key: &'static str| match values.get(key) {
        Some(value) => Ok(unsigned(*value)),
        None => Err(damaged("frazil_meta", key, "the row is missing")),
    };
    Ok(Meta {
        oldest: get("oldest_version")?,
        definitions_changed: get("definitions_version")?,
        access_changed: get("access_version")?,
    })
}

/// The head. If `known` is an older one, only what changed since is read.
pub async fn head(conn: &mut Connection<'_>, known: Option<Head>) -> Result<Head, Fault> {
    let newest = newest_version(conn).await?;
    let known = match known {
        Some(head) if head.snapshot.version == newest => return Ok(head),
        known => known.filter(|head| head.snapshot.version < newest),
    };
    let meta = meta(conn).await?;
    let snapshot = match known {
        // What was removed since and expired already has left no row to tell of it.
        Some(head) if head.snapshot.version >= meta.oldest => advance(conn, &head, newest, meta).await?,
        _ => snapshot(conn, newest).await?,
    };
    Ok(Head {
        snapshot: Arc::new(snapshot),
        definitions_changed: meta.definitions_changed,
        access_changed: meta.access_changed,
        oldest: meta.oldest,
    })
}

/// Everything at a version. Its jobs and rights are the newest.
pub async fn snapshot(conn: &mut Connection<'_>, version: Version) -> Result<Snapshot, Fault> {
    Ok(Snapshot {
        version,
        committed_ms: committed_ms(conn, version).await?,
        objects: objects(conn, version).await?,
        tables: tables(conn, version).await?,
        jobs: jobs(conn, 0).await?,
        access: Arc::new(access(conn).await?),
    })
}

/// The snapshot at the newest version, from the one of an older head.
async fn advance(conn: &mut Connection<'_>, from: &Head, newest: Version, meta: Meta) -> Result<Snapshot, Fault> {
    let old = &from.snapshot;
    let objects = match meta.definitions_changed > old.version {
        true => objects(conn, newest).await?,
        false => old.objects.clone(),
    };
    let mut tables = old.tables.clone();
    tables.retain(|id, _| objects.contains_key(id));
    advance_pointers(conn, &mut tables, old.version).await?;
    advance_segments(conn, &mut tables, old.version).await?;
    let mut jobs_now = jobs(conn, old.version).await?;
    for id in job_ids(conn).await? {
        if let (false, Some(job)) = (jobs_now.contains_key(&id), old.jobs.get(&id)) {
            jobs_now.insert(id, Arc::clone(job));
        }
    }
    let access = match meta.access_changed > old.version {
        true => Arc::new(access(conn).await?),
        false => old.access.clone(),
    };
    let committed_ms = committed_ms(conn, newest).await?;
    Ok(Snapshot { version: newest, committed_ms, objects, tables, jobs: jobs_now, access })
}

async fn committed_ms(conn: &mut Connection<'_>, version: Version) -> Result<i64, Fault> {
    let sql = "SELECT committed_ms FROM frazil_commits WHERE version = $1";
    match conn.row(sql, &[signed(version).into()]).await? {
        Some(row) => row.get(0),
        None if version == 0 => Ok(0),
        None => Err(damaged("frazil_commits", version, "the row is missing").into()),
    }
}

type Objects = BTreeMap<ObjectId, Arc<Object>>;
type Tables = BTreeMap<ObjectId, Arc<TableState>>;
type Jobs = BTreeMap<ObjectId, Arc<Job>>;

async fn objects(conn: &mut Connection<'_>, version: Version) -> Result<Objects, Fault> {
    let sql = "SELECT id, body FROM frazil_objects WHERE valid_from <= $1 AND (valid_to IS NULL OR valid_to > $1)";
    let mut objects = BTreeMap::new();
    for row in conn.rows(sql, &[signed(version).into()]).await? {
        let id = row.get(0)?;
        objects.insert(ObjectId(id), Arc::new(from_json("frazil_objects", id, &row.get::<String>(1)?)?));
    }
    Ok(objects)
}

async fn tables(conn: &mut Connection<'_>, version: Version) -> Result<Tables, Fault> {
    let mut tables = BTreeMap::<ObjectId, TableState>::new();
    let sql = "SELECT table_id, metadata_location, changelog_from FROM frazil_tables \
               WHERE valid_from <= $1 AND (valid_to IS NULL OR valid_to > $1)";
    for row in conn.rows(sql, &[signed(version).into()]).await? {
        let (id, metadata_location, changelog_from) = pointer(&row)?;
        // Segments that were dropped count as changes as well, and none is newer than `changelog_from`.
        let state = TableState { metadata_location, changelog_from, changed: changelog_from, ..TableState::default() };
        tables.insert(id, state);
    }
    let sql = "SELECT table_id, path, row_count, byte_count, insert_only, version, tiered, dropped FROM frazil_segments \
               WHERE version <= $1 AND (dropped IS NULL OR dropped > $1) ORDER BY id";
    for row in conn.rows(sql, &[signed(version).into()]).await? {
        let row = SegmentRow::read(&row)?;
        let Some(table) = tables.get_mut(&row.table) else {
            return Err(damaged("frazil_segments", &row.segment.file.path, "its table does not exist").into());
        };
        table.changed = table.changed.max(row.segment.version);
        match row.tiered {
            Some(tiered) if tiered <= version => table.retained.push(row.segment),
            _ => table.hot.push(row.segment),
        }
    }
    for table in tables.values_mut() {
        sort_retained(&mut table.retained);
    }
    Ok(tables.into_iter().map(|(id, state)| (id, Arc::new(state))).collect())
}

/// Takes over the pointers and changelog starts that changed after `since`, and the tables that were created.
async fn advance_pointers(conn: &mut Connection<'_>, tables: &mut Tables, since: Version) -> Result<(), Fault> {
    let sql = "SELECT table_id, metadata_location, changelog_from FROM frazil_tables \
               WHERE valid_from > $1 AND valid_to IS NULL";
    for row in conn.rows(sql, &[signed(since).into()]).await? {
        let (id, metadata_location, changelog_from) = pointer(&row)?;
        let table = Arc::make_mut(tables.entry(id).or_default());
        table.metadata_location = metadata_location;
        table.changelog_from = changelog_from;
        table.changed = table.changed.max(table.changelog_from);
    }
    Ok(())
}

fn pointer(row: &Row) -> Result<(ObjectId, Option<String>, Version), Fault> {
    Ok((ObjectId(row.get(0)?), row.get(1)?, unsigned(row.get(2)?)))
}

/// Takes over the segments that were added, tiered or dropped after `since`.
async fn advance_segments(conn: &mut Connection<'_>, tables: &mut Tables, since: Version) -> Result<(), Fault> {
    let sql = "SELECT table_id, path, row_count, byte_count, insert_only, version, tiered, dropped FROM frazil_segments \
               WHERE id IN (SELECT id FROM frazil_segments WHERE version > $1 \
               UNION SELECT id FROM frazil_segments WHERE tiered > $1 \
               UNION SELECT id FROM frazil_segments WHERE dropped > $1) ORDER BY id";
    let mut touched = BTreeMap::<ObjectId, Vec<SegmentRow>>::new();
    for row in conn.rows(sql, &[signed(since).into()]).await? {
        let row = SegmentRow::read(&row)?;
        touched.entry(row.table).or_default().push(row);
    }
    for (id, rows) in touched {
        // A table that was dropped since is gone from `tables`; its segments are told of as dropped.
        let Some(table) = tables.get_mut(&id) else { continue };
        let table = Arc::make_mut(table);
        remove_known(table, &rows, since);
        for row in rows {
            table.changed = table.changed.max(row.segment.version);
            match (row.dropped, row.tiered) {
                (true, _) => {}
                (false, Some(_)) => table.retained.push(row.segment),
                (false, None) => table.hot.push(row.segment),
            }
        }
        sort_retained(&mut table.retained);
    }
    Ok(())
}

/// Takes out of the table those of the segments that it had already at `since`.
fn remove_known(table: &mut TableState, rows: &[SegmentRow], since: Version) {
    let known = rows.iter().filter(|row| row.segment.version <= since);
    let paths: HashSet<&str> = known.map(|row| row.segment.file.path.as_str()).collect();
    if !paths.is_empty() {
        table.hot.retain(|segment| !paths.contains(segment.file.path.as_str()));
        table.retained.retain(|segment| !paths.contains(segment.file.path.as_str()));
    }
}

struct SegmentRow {
    table: ObjectId,
    segment: Segment,
    tiered: Option<Version>,
    dropped: bool,
}

impl SegmentRow {
    fn read(row: &Row) -> Result<Self, Fault> {
        let file = NewSegment {
            path: row.get(1)?,
            rows: unsigned(row.get(2)?),
            bytes: unsigned(row.get(3)?),
            insert_only: row.get::<i64>(4)? != 0,
        };
        Ok(Self {
            table: ObjectId(row.get(0)?),
            segment: Segment { file, version: unsigned(row.get(5)?) },
            tiered: row.get::<Option<i64>>(6)?.map(unsigned),
            dropped: row.get::<Option<i64>>(7)?.is_some(),
        })
    }
}

/// The jobs that were modified after `since`.
async fn jobs(conn: &mut Connection<'_>, since: Version) -> Result<Jobs, Fault> {
    let sql = "SELECT id, body, status, error, checkpoint_epoch, checkpoint_version, checkpoint_payload, checkpoint_files \
               FROM frazil_jobs WHERE modified > $1";
    let mut jobs = BTreeMap::new();
    for row in conn.rows(sql, &[signed(since).into()]).await? {
        let job = read_job(&row)?;
        jobs.insert(job.id, Arc::new(job));
    }
    Ok(jobs)
}

fn read_job(row: &Row) -> Result<Job, Fault> {
    const TABLE: &str = "frazil_jobs";
    let id: i64 = row.get(0)?;
    let mut job: Job = from_json(TABLE, id, &row.get::<String>(1)?)?;
    job.status = from_json(TABLE, id, &row.get::<String>(2)?)?;
    job.error = row.get(3)?;
    job.checkpoint = match row.get::<Option<i64>>(4)? {
        None => None,
        Some(epoch) => Some(Checkpoint {
            epoch: unsigned(epoch),
            version: unsigned(row.get(5)?),
            payload: from_json(TABLE, id, &row.get::<String>(6)?)?,
            files: from_json(TABLE, id, &row.get::<String>(7)?)?,
        }),
    };
    Ok(job)
}

async fn access(conn: &mut Connection<'_>) -> Result<Access, Fault> {
    match conn.row("SELECT body FROM frazil_access", &[]).await? {
        Some(row) => from_json("frazil_access", 1, &row.get::<String>(0)?),
        None => Err(damaged("frazil_access", 1, "the row is missing").into()),
    }
}

async fn job_ids(conn: &mut Connection<'_>) -> Result<Vec<ObjectId>, Fault> {
    let mut ids = Vec::new();
    for row in conn.rows("SELECT id FROM frazil_jobs", &[]).await? {
        ids.push(ObjectId(row.get(0)?));
    }
    Ok(ids)
}

/// See [`crate::Catalog::referenced_files`].
pub async fn referenced_files(conn: &mut Connection<'_>) -> Result<FileReferences, Fault> {
    let oldest = signed(meta(conn).await?.oldest);
    let mut files = FileReferences { version: newest_version(conn).await?, ..FileReferences::default() };
    let sql = "SELECT path FROM frazil_segments WHERE dropped IS NULL OR dropped > $1";
    for row in conn.rows(sql, &[oldest.into()]).await? {
        files.segments.insert(row.get(0)?);
    }
    let sql = "SELECT metadata_location FROM frazil_tables \
               WHERE metadata_location IS NOT NULL AND (valid_to IS NULL OR valid_to > $1)";
    for row in conn.rows(sql, &[oldest.into()]).await? {
        files.metadata.insert(row.get(0)?);
    }
    let sql = "SELECT id, checkpoint_files FROM frazil_jobs WHERE checkpoint_files IS NOT NULL";
    for row in conn.rows(sql, &[]).await? {
        files.checkpoints.extend(from_json::<Vec<String>>("frazil_jobs", row.get(0)?, &row.get::<String>(1)?)?);
    }
    Ok(files)
}

fn from_json<T: DeserializeOwned>(table: &'static str, row: i64, json: &str) -> Result<T, Fault> {
    serde_json::from_str(json).map_err(|error| damaged(table, row, error).into())
}

/// Counts are stored as signed integers; [`super::commit`] lets none in that does not fit.
fn unsigned(value: i64) -> u64 {
    value.unsigned_abs()
}

/// A version beyond the signed range was never made: the greatest number stands for it.
fn signed(version: Version) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
