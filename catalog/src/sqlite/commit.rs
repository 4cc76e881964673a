//! A commit inside its transaction: recognise its id, read the head, decide, write down the outcome.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::fault::Fault;
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
pub async fn run(conn: &mut SqliteConnection, known: Option<Head>, commit: &Commit) -> Result<Outcome, Fault> {
    if let Some(version) = committed_as(conn, commit.id).await? {
        return Ok(Outcome::Before(version));
    }
    if is_settled(conn, commit.id).await? {
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
pub async fn settle(conn: &mut SqliteConnection, id: Uuid) -> Result<Option<Version>, Fault> {
    let version = committed_as(conn, id).await?;
    if version.is_none() {
        let sql = "INSERT OR IGNORE INTO frazil_settled (id) VALUES (?)";
        sqlx::query(sql).bind(&id.as_bytes()[..]).execute(conn).await?;
    }
    Ok(version)
}

/// Draws `count` numbers from a sequence in `frazil_meta` and returns the first.
pub async fn draw(conn: &mut SqliteConnection, sequence: &'static str, count: i64) -> Result<i64, Fault> {
    let first: i64 =
        sqlx::query_scalar("SELECT value FROM frazil_meta WHERE key = ?").bind(sequence).fetch_one(&mut *conn).await?;
    let Some(next) = first.checked_add(count) else {
        return Err(Error::new(ErrorKind::Invalid, "the sequence is used up").with("sequence", sequence).into());
    };
    set_meta(conn, sequence, next).await?;
    Ok(first)
}

async fn committed_as(conn: &mut SqliteConnection, id: Uuid) -> Result<Option<Version>, Fault> {
    let version: Option<i64> = sqlx::query_scalar("SELECT version FROM frazil_commits WHERE id = ?")
        .bind(&id.as_bytes()[..])
        .fetch_optional(conn)
        .await?;
    Ok(version.map(i64::unsigned_abs))
}

async fn is_settled(conn: &mut SqliteConnection, id: Uuid) -> Result<bool, Fault> {
    let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM frazil_settled WHERE id = ?")
        .bind(&id.as_bytes()[..])
        .fetch_optional(conn)
        .await?;
    Ok(found.is_some())
}

async fn set_meta(conn: &mut SqliteConnection, key: &'static str, value: i64) -> Result<(), Fault> {
    sqlx::query("UPDATE frazil_meta SET value = ? WHERE key = ?").bind(value).bind(key).execute(conn).await?;
    Ok(())
}

/// Writes what [`transition::apply`] decided. The actions are known to be good: nothing is checked here but what only
/// history knows, ids and paths that were in use once.
struct Writer<'a> {
    conn: &'a mut SqliteConnection,
    head: &'a Head,
    next: &'a Head,
}

impl Writer<'_> {
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

    async fn record(&mut self, commit: &Commit) -> Result<(), Fault> {
        sqlx::query("INSERT INTO frazil_commits (version, id, committed_ms) VALUES (?, ?, ?)")
            .bind(self.version()?)
            .bind(&commit.id.as_bytes()[..])
            .bind(self.next.snapshot.committed_ms)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    async fn act(&mut self, action: &Action) -> Result<(), Fault> {
        match action {
            Action::CreateObject(object) => self.create_object(object).await,
            Action::DropObject(id) => self.drop_object(*id).await,
            Action::CreateJob(job) => self.create_job(job).await,
            Action::DropJob(id) => {
                sqlx::query("DELETE FROM frazil_jobs WHERE id = ?").bind(id.0).execute(&mut *self.conn).await?;
                Ok(())
            }
            Action::AddSegments { table, segments } => self.add_segments(*table, segments).await,
            Action::SwapMetadata { table, tiered, .. } => {
                self.mark(*table, tiered, "UPDATE frazil_segments SET tiered = ? WHERE path = ? AND table_id = ?").await
            }
            Action::DropRetained { table, paths } => {
                self.mark(*table, paths, "UPDATE frazil_segments SET dropped = ? WHERE path = ? AND table_id = ?").await
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
        let version = self.version()?;
        let inserted = sqlx::query("INSERT INTO frazil_objects (id, name, body, valid_from) VALUES (?, ?, ?, ?)")
            .bind(object.id.0)
            .bind(&object.name)
            .bind(to_json(object)?)
            .bind(version)
            .execute(&mut *self.conn)
            .await;
        used_up(inserted, "the object id was in use before; draw a fresh one", object.id)?;
        self.reserve(object.id).await?;
        if object.kind.is_stored() {
            self.insert_table(object.id, None, 0).await?;
        }
        Ok(())
    }

    /// Ids that did not come from `allocate_ids` are never handed out by it later.
    async fn reserve(&mut self, id: ObjectId) -> Result<(), Fault> {
        let sql = "UPDATE frazil_meta SET value = ?1 + 1 WHERE key = 'next_id' AND value <= ?1";
        sqlx::query(sql).bind(id.0).execute(&mut *self.conn).await?;
        Ok(())
    }

    async fn insert_table(&mut self, id: ObjectId, location: Option<&str>, changelog_from: i64) -> Result<(), Fault> {
        let sql = "INSERT OR REPLACE INTO frazil_tables (table_id, metadata_location, changelog_from, valid_from) \
                   VALUES (?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(id.0)
            .bind(location)
            .bind(changelog_from)
            .bind(self.version()?)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    async fn drop_object(&mut self, id: ObjectId) -> Result<(), Fault> {
        let version = self.version()?;
        for sql in [
            "UPDATE frazil_objects SET valid_to = ? WHERE id = ?",
            "UPDATE frazil_tables SET valid_to = ? WHERE table_id = ? AND valid_to IS NULL",
            "UPDATE frazil_segments SET dropped = ? WHERE table_id = ? AND dropped IS NULL",
        ] {
            sqlx::query(sql).bind(version).bind(id.0).execute(&mut *self.conn).await?;
        }
        let sql = "DELETE FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? \
                   AND table_name = (SELECT name FROM frazil_objects WHERE id = ?)";
        sqlx::query(sql).bind(ICEBERG_CATALOG).bind(ICEBERG_NAMESPACE).bind(id.0).execute(&mut *self.conn).await?;
        Ok(())
    }

    async fn create_job(&mut self, job: &Job) -> Result<(), Fault> {
        let body = Job { checkpoint: None, ..job.clone() };
        let inserted =
            sqlx::query("INSERT INTO frazil_jobs (id, name, body, status, error, modified) VALUES (?, ?, ?, ?, ?, ?)")
                .bind(job.id.0)
                .bind(&job.name)
                .bind(to_json(&body)?)
                .bind(to_json(&job.status)?)
                .bind(&job.error)
                .bind(self.version()?)
                .execute(&mut *self.conn)
                .await;
        used_up(inserted, "the job id was in use before; draw a fresh one", job.id)?;
        self.reserve(job.id).await
    }

    async fn add_segments(&mut self, table: ObjectId, segments: &[NewSegment]) -> Result<(), Fault> {
        let version = self.version()?;
        let sql = "INSERT INTO frazil_segments (table_id, path, row_count, byte_count, insert_only, version) \
                   VALUES (?, ?, ?, ?, ?, ?)";
        for segment in segments {
            let inserted = sqlx::query(sql)
                .bind(table.0)
                .bind(&segment.path)
                .bind(signed("rows of a segment", segment.rows)?)
                .bind(signed("bytes of a segment", segment.bytes)?)
                .bind(segment.insert_only)
                .bind(version)
                .execute(&mut *self.conn)
                .await;
            used_up(inserted, "the segment is committed already; every segment is a file of its own", &segment.path)?;
        }
        Ok(())
    }

    async fn mark(&mut self, table: ObjectId, paths: &[String], sql: &'static str) -> Result<(), Fault> {
        let version = self.version()?;
        for path in paths {
            sqlx::query(sql).bind(version).bind(path).bind(table.0).execute(&mut *self.conn).await?;
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
                "UPDATE frazil_tables SET valid_to = ?1 WHERE table_id = ?2 AND valid_to IS NULL AND valid_from < ?1";
            sqlx::query(sql).bind(self.version()?).bind(id.0).execute(&mut *self.conn).await?;
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
        let sql = "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?, ?, 'exists', 'true')";
        sqlx::query(sql).bind(ICEBERG_CATALOG).bind(ICEBERG_NAMESPACE).execute(&mut *self.conn).await?;
        let sql = "INSERT INTO iceberg_tables \
                   (catalog_name, table_namespace, table_name, metadata_location, iceberg_type) \
                   VALUES (?, ?, ?, ?, 'TABLE') \
                   ON CONFLICT (catalog_name, table_namespace, table_name) DO UPDATE SET \
                   previous_metadata_location = metadata_location, metadata_location = excluded.metadata_location";
        sqlx::query(sql)
            .bind(ICEBERG_CATALOG)
            .bind(ICEBERG_NAMESPACE)
            .bind(&object.name)
            .bind(location)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
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
        let sql = "UPDATE frazil_jobs SET status = ?, error = ?, checkpoint_epoch = ?, checkpoint_version = ?, \
                   checkpoint_payload = ?, checkpoint_files = ?, modified = ? WHERE id = ?";
        sqlx::query(sql)
            .bind(to_json(&job.status)?)
            .bind(&job.error)
            .bind(epoch)
            .bind(version)
            .bind(checkpoint.map(|c| to_json(&c.payload)).transpose()?)
            .bind(checkpoint.map(|c| to_json(&c.files)).transpose()?)
            .bind(self.version()?)
            .bind(job.id.0)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// Writes down who may do what after all actions.
    async fn write_access(&mut self) -> Result<(), Fault> {
        let version = signed("version", self.next.access_changed)?;
        set_meta(self.conn, "access_version", version).await?;
        sqlx::query("UPDATE frazil_access SET body = ?")
            .bind(to_json(self.next.snapshot.access.as_ref())?)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// Forgets what only expired versions saw. Objects last: the others refer to them.
    async fn expire(&mut self, now_ms: i64) -> Result<(), Fault> {
        let oldest = signed("version", self.next.oldest)?;
        set_meta(self.conn, "oldest_version", oldest).await?;
        for sql in [
            "DELETE FROM frazil_segments WHERE dropped <= ?",
            "DELETE FROM frazil_tables WHERE valid_to <= ?",
            "DELETE FROM frazil_objects WHERE valid_to <= ?",
        ] {
            sqlx::query(sql).bind(oldest).execute(&mut *self.conn).await?;
        }
        sqlx::query("DELETE FROM frazil_commits WHERE version < ? AND committed_ms < ?")
            .bind(oldest)
            .bind(now_ms.saturating_sub(REMEMBER_IDS_MS))
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }
}

/// Turns a broken uniqueness constraint into what it means.
fn used_up<T>(written: sqlx::Result<T>, message: &'static str, what: impl std::fmt::Display) -> Result<T, Fault> {
    written.map_err(|error| match Fault::from(error) {
        fault if fault.is_constraint() => Error::new(ErrorKind::Invalid, message).with("given", what).into(),
        fault => fault,
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
