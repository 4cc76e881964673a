//! A commit inside its transaction: recognise its id, read the head, decide, write down the outcome.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;

use super::database::{Connection, Value};
use super::fault::{Fault, damaged};
use super::schema::{ICEBERG_CATALOG, ICEBERG_NAMESPACE};
use super::{lease, read};
use crate::error::{Error, ErrorKind};
use crate::model::*;
use crate::transition::{self, Head};

/// How long a commit's id is remembered after its version expired.
const REMEMBER_IDS_MS: i64 = 7 * 24 * 3600 * 1000;

/// What a commit's transaction came to.
pub enum Outcome {
    /// The id was committed before, as this version: nothing to do.
    Before(Version),
    /// Everything is written and becomes the head with COMMIT.
    Next(Head),
}

/// Runs a commit up to, but without, its COMMIT. `known` spares reading what it says.
pub async fn run(conn: &mut Connection<'_>, known: Option<Head>, commit: &Commit) -> Result<Outcome, Fault> {
    if let Some(version) = committed_as(conn, commit.id).await? {
        return Ok(Outcome::Before(version));
    }
    if conn.row("SELECT id FROM frazil_settled WHERE id = $1", &[commit.id.as_bytes().into()]).await?.is_some() {
        let message = "the commit was settled as not having happened, so it never may; commit anew under another id";
        return Err(Error::new(ErrorKind::Conflict, message).into());
    }
    let head = read::head(conn, known).await?;
    let mut tokens = BTreeMap::new();
    for name in transition::fenced_leases(commit) {
        if let Some(lease) = lease::held(conn, name).await? {
            tokens.insert(lease.name, lease.token);
        }
    }
    let next = transition::apply(&head, &tokens, commit)?;
    Writer { conn, head: &head, next: &next }.write(commit).await?;
    Ok(Outcome::Next(next))
}

/// See [`crate::Catalog::settle`].
pub async fn settle(conn: &mut Connection<'_>, id: Uuid) -> Result<Option<Version>, Fault> {
    let version = committed_as(conn, id).await?;
    if version.is_none() {
        let sql = "INSERT INTO frazil_settled (id) VALUES ($1) ON CONFLICT DO NOTHING";
        conn.execute(sql, &[id.as_bytes().into()]).await?;
    }
    Ok(version)
}

/// Draws `count` numbers from a sequence in `frazil_meta` and returns the first.
pub async fn draw(conn: &mut Connection<'_>, sequence: &'static str, count: i64) -> Result<i64, Fault> {
    let Some(row) = conn.row("SELECT value FROM frazil_meta WHERE key = $1", &[sequence.into()]).await? else {
        return Err(damaged("frazil_meta", sequence, "the row is missing").into());
    };
    let first: i64 = row.get(0)?;
    let Some(next) = first.checked_add(count) else {
        return Err(Error::new(ErrorKind::Invalid, "the sequence is used up").with("sequence", sequence).into());
    };
    set_meta(conn, sequence, next).await?;
    Ok(first)
}

async fn committed_as(conn: &mut Connection<'_>, id: Uuid) -> Result<Option<Version>, Fault> {
    match conn.row("SELECT version FROM frazil_commits WHERE id = $1", &[id.as_bytes().into()]).await? {
        Some(row) => Ok(Some(row.get::<i64>(0)?.unsigned_abs())),
        None => Ok(None),
    }
}

async fn set_meta(conn: &mut Connection<'_>, key: &'static str, value: i64) -> Result<(), Fault> {
    conn.execute("UPDATE frazil_meta SET value = $1 WHERE key = $2", &[value.into(), key.into()]).await?;
    Ok(())
}

/// Writes what [`transition::apply`] decided. The actions are known to be good: nothing is checked here but what only
/// history knows, ids and paths that were in use once.
struct Writer<'a, 'c> {
    conn: &'a mut Connection<'c>,
    head: &'a Head,
    next: &'a Head,
}

impl Writer<'_, '_> {
    async fn write(mut self, commit: &Commit) -> Result<(), Fault> {
        self.record(commit).await?;
        for action in &commit.actions {
            self.act(action).await?;
        }
        self.write_tables(&commit.actions).await?;
        self.write_jobs(&commit.actions).await?;
        if self.next.definitions_changed != self.head.definitions_changed {
            let version = signed("version", self.next.definitions_changed)?;
            set_meta(self.conn, "definitions_version", version).await?;
        }
        if self.next.access_changed != self.head.access_changed {
            self.write_access().await?;
        }
        if self.next.oldest != self.head.oldest {
            self.expire(commit.now_ms).await?;
        }
        Ok(())
    }

    fn version(&self) -> Result<i64, Fault> {
        signed("version", self.next.snapshot.version)
    }

    async fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<(), Fault> {
        self.conn.execute(sql, values).await.map(|_| ())
    }

    async fn record(&mut self, commit: &Commit) -> Result<(), Fault> {
        let values = [self.version()?.into(), commit.id.as_bytes().into(), self.next.snapshot.committed_ms.into()];
        self.execute("INSERT INTO frazil_commits (version, id, committed_ms) VALUES ($1, $2, $3)", &values).await
    }

    async fn act(&mut self, action: &Action) -> Result<(), Fault> {
        match action {
            Action::CreateObject(object) => self.create_object(object).await,
            Action::DropObject(id) => self.drop_object(*id).await,
            Action::CreateJob(job) => self.create_job(job).await,
            Action::DropJob(id) => self.execute("DELETE FROM frazil_jobs WHERE id = $1", &[id.0.into()]).await,
            Action::AddSegments { table, segments } => self.add_segments(*table, segments).await,
            Action::SwapMetadata { table, tiered, .. } => {
                self.mark(*table, tiered, "UPDATE frazil_segments SET tiered = $1 WHERE path = $2 AND table_id = $3")
                    .await
            }
            Action::DropRetained { table, paths } => {
                self.mark(*table, paths, "UPDATE frazil_segments SET dropped = $1 WHERE path = $2 AND table_id = $3")
                    .await
            }
            // Written from their outcome: by `write_jobs`, `write_access` and `expire`.
            Action::SetJobStatus { .. }
            | Action::Checkpoint { .. }
            | Action::PutUser(_)
            | Action::DropUser(_)
            | Action::SetOwner { .. }
            | Action::Grant(_)
            | Action::Revoke(_)
            | Action::ExpireVersionsBefore(_) => Ok(()),
        }
    }

    async fn create_object(&mut self, object: &Object) -> Result<(), Fault> {
        let (body, version) = (to_json(object)?, self.version()?);
        let sql = "INSERT INTO frazil_objects (id, name, body, valid_from) VALUES ($1, $2, $3, $4)";
        let values = [object.id.0.into(), (&object.name).into(), (&body).into(), version.into()];
        let inserted = self.execute(sql, &values).await;
        used_up(inserted, "the object id was in use before; draw a fresh one", object.id)?;
        self.reserve(object.id).await?;
        if object.kind.is_stored() {
            self.insert_table(object.id, None, 0).await?;
        }
        Ok(())
    }

    /// Ids that did not come from `allocate_ids` are never handed out by it later.
    async fn reserve(&mut self, id: ObjectId) -> Result<(), Fault> {
        let sql = "UPDATE frazil_meta SET value = $1 + 1 WHERE key = 'next_id' AND value <= $1";
        self.execute(sql, &[id.0.into()]).await
    }

    async fn insert_table(&mut self, id: ObjectId, location: Option<&str>, changelog_from: i64) -> Result<(), Fault> {
        let version = self.version()?;
        // Of a table that this commit created there is a row of this version already.
        let sql = "INSERT INTO frazil_tables (table_id, metadata_location, changelog_from, valid_from) \
                   VALUES ($1, $2, $3, $4) ON CONFLICT (table_id, valid_from) DO UPDATE SET \
                   metadata_location = excluded.metadata_location, changelog_from = excluded.changelog_from";
        self.execute(sql, &[id.0.into(), location.into(), changelog_from.into(), version.into()]).await
    }

    async fn drop_object(&mut self, id: ObjectId) -> Result<(), Fault> {
        let version = self.version()?;
        for sql in [
            "UPDATE frazil_objects SET valid_to = $1 WHERE id = $2",
            "UPDATE frazil_tables SET valid_to = $1 WHERE table_id = $2 AND valid_to IS NULL",
            "UPDATE frazil_segments SET dropped = $1 WHERE table_id = $2 AND dropped IS NULL",
        ] {
            self.execute(sql, &[version.into(), id.0.into()]).await?;
        }
        let sql = "DELETE FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 \
                   AND table_name = (SELECT name FROM frazil_objects WHERE id = $3)";
        self.execute(sql, &[ICEBERG_CATALOG.into(), ICEBERG_NAMESPACE.into(), id.0.into()]).await
    }

    async fn create_job(&mut self, job: &Job) -> Result<(), Fault> {
        let body = to_json(&Job { checkpoint: None, ..job.clone() })?;
        let (status, version) = (to_json(&job.status)?, self.version()?);
        let sql = "INSERT INTO frazil_jobs (id, name, body, status, error, modified) VALUES ($1, $2, $3, $4, $5, $6)";
        let values = [
            job.id.0.into(),
            (&job.name).into(),
            (&body).into(),
            (&status).into(),
            job.error.as_deref().into(),
            version.into(),
        ];
        let inserted = self.execute(sql, &values).await;
        used_up(inserted, "the job id was in use before; draw a fresh one", job.id)?;
        self.reserve(job.id).await
    }

    async fn add_segments(&mut self, table: ObjectId, segments: &[NewSegment]) -> Result<(), Fault> {
        let version = self.version()?;
        let sql = "INSERT INTO frazil_segments (table_id, path, row_count, byte_count, insert_only, version) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        for segment in segments {
            let values = [
                table.0.into(),
                (&segment.path).into(),
                signed("rows of a segment", segment.rows)?.into(),
                signed("bytes of a segment", segment.bytes)?.into(),
                i64::from(segment.insert_only).into(),
                version.into(),
            ];
            let inserted = self.execute(sql, &values).await;
            used_up(inserted, "the segment is committed already; every segment is a file of its own", &segment.path)?;
        }
        Ok(())
    }

    async fn mark(&mut self, table: ObjectId, paths: &[String], sql: &'static str) -> Result<(), Fault> {
        let version = self.version()?;
        for path in paths {
            self.execute(sql, &[version.into(), path.into(), table.0.into()]).await?;
        }
        Ok(())
    }

    /// Writes pointers and changelog starts as they are after all actions, for the tables that still exist.
    async fn write_tables(&mut self, actions: &[Action]) -> Result<(), Fault> {
        let touched = actions.iter().filter_map(|action| match action {
            Action::SwapMetadata { table, .. } | Action::DropRetained { table, .. } => Some(*table),
            _ => None,
        });
        for id in touched.collect::<BTreeSet<_>>() {
            let Some(state) = self.next.snapshot.tables.get(&id) else { continue };
            let location = state.metadata_location.as_deref();
            let before = self.head.snapshot.tables.get(&id);
            let sql =
                "UPDATE frazil_tables SET valid_to = $1 WHERE table_id = $2 AND valid_to IS NULL AND valid_from < $1";
            self.execute(sql, &[self.version()?.into(), id.0.into()]).await?;
            self.insert_table(id, location, signed("version", state.changelog_from)?).await?;
            if let Some(location) =
                location.filter(|_| before.is_none_or(|b| b.metadata_location != state.metadata_location))
            {
                self.publish(id, location).await?;
            }
        }
        Ok(())
    }

    /// Shows the pointer to other Iceberg programs.
    async fn publish(&mut self, id: ObjectId, location: &str) -> Result<(), Fault> {
        let Some(object) = self.next.snapshot.objects.get(&id) else { return Ok(()) };
        let (catalog, namespace) = (ICEBERG_CATALOG.into(), ICEBERG_NAMESPACE.into());
        let sql = "INSERT INTO iceberg_namespace_properties VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING";
        self.execute(sql, &[catalog, namespace]).await?;
        let sql = "INSERT INTO iceberg_tables \
                   (catalog_name, table_namespace, table_name, metadata_location, iceberg_type) \
                   VALUES ($1, $2, $3, $4, 'TABLE') \
                   ON CONFLICT (catalog_name, table_namespace, table_name) DO UPDATE SET \
                   previous_metadata_location = iceberg_tables.metadata_location, \
                   metadata_location = excluded.metadata_location";
        self.execute(sql, &[catalog, namespace, (&object.name).into(), location.into()]).await
    }

    /// Writes status and checkpoint as they are after all actions, for the jobs that still exist.
    async fn write_jobs(&mut self, actions: &[Action]) -> Result<(), Fault> {
        let touched = actions.iter().filter_map(|action| match action {
            Action::SetJobStatus { job, .. } | Action::Checkpoint { job, .. } => Some(*job),
            _ => None,
        });
        for id in touched.collect::<BTreeSet<_>>() {
            let next = self.next;
            if let Some(job) = next.snapshot.jobs.get(&id) {
                self.write_job(job).await?;
            }
        }
        Ok(())
    }

    async fn write_job(&mut self, job: &Job) -> Result<(), Fault> {
        let checkpoint = job.checkpoint.as_ref();
        let epoch = checkpoint.map(|c| signed("epoch", c.epoch)).transpose()?;
        let version = checkpoint.map(|c| signed("version", c.version)).transpose()?;
        let payload = checkpoint.map(|c| to_json(&c.payload)).transpose()?;
        let files = checkpoint.map(|c| to_json(&c.files)).transpose()?;
        let status = to_json(&job.status)?;
        let sql = "UPDATE frazil_jobs SET status = $1, error = $2, checkpoint_epoch = $3, checkpoint_version = $4, \
                   checkpoint_payload = $5, checkpoint_files = $6, modified = $7 WHERE id = $8";
        let values = [
            (&status).into(),
            job.error.as_deref().into(),
            epoch.into(),
            version.into(),
            payload.as_deref().into(),
            files.as_deref().into(),
            self.version()?.into(),
            job.id.0.into(),
        ];
        self.execute(sql, &values).await
    }

    /// Writes down who may do what after all actions.
    async fn write_access(&mut self) -> Result<(), Fault> {
        let version = signed("version", self.next.access_changed)?;
        set_meta(self.conn, "access_version", version).await?;
        let body = to_json(self.next.snapshot.access.as_ref())?;
        self.execute("UPDATE frazil_access SET body = $1", &[(&body).into()]).await
    }

    /// Forgets what only expired versions saw. Objects last: the others refer to them.
    async fn expire(&mut self, now_ms: i64) -> Result<(), Fault> {
        let oldest = signed("version", self.next.oldest)?;
        set_meta(self.conn, "oldest_version", oldest).await?;
        for sql in [
            "DELETE FROM frazil_segments WHERE dropped <= $1",
            "DELETE FROM frazil_tables WHERE valid_to <= $1",
            "DELETE FROM frazil_objects WHERE valid_to <= $1",
        ] {
            self.execute(sql, &[oldest.into()]).await?;
        }
        let remembered = now_ms.saturating_sub(REMEMBER_IDS_MS);
        let sql = "DELETE FROM frazil_commits WHERE version < $1 AND committed_ms < $2";
        self.execute(sql, &[oldest.into(), remembered.into()]).await
    }
}

/// Turns a broken uniqueness constraint into what it means.
fn used_up<T>(written: Result<T, Fault>, message: &'static str, what: impl std::fmt::Display) -> Result<T, Fault> {
    written.map_err(|fault| match fault.is_duplicate() {
        true => Error::new(ErrorKind::Invalid, message).with("given", what).into(),
        false => fault,
    })
}

fn to_json<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::Invalid, "the value cannot be written as JSON").because(error).into())
}

fn signed(what: &'static str, value: u64) -> Result<i64, Fault> {
    i64::try_from(value)
        .map_err(|_| Error::new(ErrorKind::Invalid, format!("{what} is out of range")).with("value", value).into())
}
