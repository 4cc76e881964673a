//! Doing what the policy proposes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Action, Commit, ErrorKind as CatalogErrorKind, Object, ObjectId, TableState, Version};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionContext;
use datafusion::prelude::SessionConfig;
use futures::TryStreamExt;
use iceberg::spec::DataFile;
use tracing::{debug, info};

use super::policy::{Plan, TableStats, TieringPolicy, propose};
use super::positions;
use crate::error::{Error, ErrorKind, Result};
use crate::iceberg::{self as cold, BaseFile, DataFileWriter, LoadedTable, TableChange};
use crate::scan::{DynamicTable, load_hot};
use crate::segment::read_segment;
use crate::sweep::DEFAULT_GRACE;
use crate::warehouse::Warehouse;

/// Attempts before giving up against other writers of the same table.
const ATTEMPTS: usize = 8;

/// Tiers or compacts one table if the policy says so; at most one step per call, so call it until it returns `None`.
///
/// Returns the version of the commit, or `None` if there was nothing to do. `force`: tier whatever is hot.
/// `Conflict` if other writers kept winning.
pub async fn tier(
    warehouse: &Arc<Warehouse>,
    table: ObjectId,
    policy: &TieringPolicy,
    force: bool,
) -> Result<Option<Version>> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match attempt(warehouse, table, policy, force).await {
            Err(error) if error.kind() == ErrorKind::Conflict => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| Error::internal("no attempt was made")))
}

/// What one attempt works on.
struct Work<'a> {
    warehouse: &'a Arc<Warehouse>,
    object: Arc<Object>,
    state: Arc<TableState>,
    base: Option<Arc<LoadedTable>>,
    policy: &'a TieringPolicy,
}

async fn attempt(
    warehouse: &Arc<Warehouse>,
    table: ObjectId,
    policy: &TieringPolicy,
    force: bool,
) -> Result<Option<Version>> {
    let snapshot = warehouse.catalog().snapshot(None).await?;
    let (Some(object), Some(state)) = (snapshot.objects.get(&table), snapshot.tables.get(&table)) else {
        return Err(Error::new(ErrorKind::NotFound, "the table does not exist").with("table", table));
    };
    let base = match &state.metadata_location {
        Some(location) => Some(LoadedTable::load(warehouse, location).await?),
        None => None,
    };
    let work = Work { warehouse, object: object.clone(), state: state.clone(), base, policy };
    let mut stats = work.stats();
    let mut plan = propose(policy, &stats, force);
    if let (None, Some(oldest)) = (plan, state.hot.first()) {
        stats.hot_age_ms = Some(age_ms(warehouse, oldest.version).await?);
        plan = propose(policy, &stats, force);
    }
    let Some(plan) = plan else { return Ok(None) };
    let done = work.execute(plan).await;
    done.map(Some).map_err(|error| error.with("table", &object.name))
}

/// How long ago a version was committed. One that is forgotten is old.
async fn age_ms(warehouse: &Warehouse, version: Version) -> Result<i64> {
    match warehouse.catalog().snapshot(Some(version)).await {
        Ok(snapshot) => Ok(warehouse.clock().now_ms() - snapshot.committed_ms),
        Err(error) if error.kind() == CatalogErrorKind::NotFound => Ok(i64::MAX),
        Err(error) => Err(error.into()),
    }
}

impl Work<'_> {
    fn stats(&self) -> TableStats {
        let hot = &self.state.hot;
        let files = self.base.as_ref().map_or(&[][..], |base| &base.files);
        let small = |file: &&BaseFile| file.file.file_size_in_bytes() < self.policy.small_file_bytes;
        let only_adds = hot.iter().all(|segment| segment.file.insert_only) && self.object.key.is_empty();
        TableStats {
            only_adds: self.object.insert_only || only_adds,
            has_metadata: self.base.is_some(),
            hot_segments: hot.len(),
            hot_rows: hot.iter().map(|segment| segment.file.rows).sum(),
            hot_bytes: hot.iter().map(|segment| segment.file.bytes).sum(),
            hot_age_ms: None,
            base_bytes: self.base.as_ref().map_or(0, |base| base.bytes()),
            data_files: files.len(),
            small_files: files.iter().filter(small).count(),
            delete_files: self.base.as_ref().map_or(0, |base| base.delete_files.len()),
            base_rows: files.iter().map(|file| file.file.record_count()).sum(),
            deleted_rows: self.base.as_ref().map_or(0, |base| base.deleted_rows()),
        }
    }

    async fn execute(&self, plan: Plan) -> Result<Version> {
        let started = self.warehouse.clock().monotonic();
        let change = match plan {
            Plan::Create => TableChange::default(),
            Plan::Append => self.append().await?,
            Plan::Rewrite => self.rewrite().await?,
            Plan::Delta => self.delta().await?,
            Plan::MergeSmall => self.rearrange(false).await?,
            Plan::ApplyDeletes => self.rearrange(true).await?,
        };
        self.still_there(started, &change).await?;
        let tiers = matches!(plan, Plan::Append | Plan::Rewrite | Plan::Delta);
        let (added, removed) = (change.add_data.len(), change.remove.len());
        let location = cold::commit(self.warehouse, &self.object, self.base.as_deref(), change).await?;
        let tiered =
            if tiers { self.state.hot.iter().map(|segment| segment.file.path.clone()).collect() } else { vec![] };
        let version = self.publish(location, tiered).await?;
        self.forget(tiers);
        info!(table = %self.object.name, ?plan, added, removed, version, "tiered");
        Ok(version)
    }

    /// A sweep deletes unnamed files after its grace. Work that took long makes sure that its files are not among them.
    async fn still_there(&self, started: Duration, change: &TableChange) -> Result<()> {
        if self.warehouse.clock().monotonic().saturating_sub(started) < DEFAULT_GRACE / 2 {
            return Ok(());
        }
        for file in change.add_data.iter().chain(&change.add_deletes) {
            let path = self.warehouse.path(file.file_path())?;
            if !self.warehouse.exists(path).await? {
                return Err(Error::new(ErrorKind::Conflict, "the work took so long that a sweep removed its files")
                    .with("path", path));
            }
        }
        Ok(())
    }

    async fn publish(&self, location: String, tiered: Vec<String>) -> Result<Version> {
        let commit = Commit {
            id: self.warehouse.clock().uuid(),
            now_ms: self.warehouse.clock().now_ms(),
            requires: Vec::new(),
            actions: vec![Action::SwapMetadata {
                table: self.object.id,
                expected: self.state.metadata_location.clone(),
                location,
                tiered,
            }],
        };
        commit_and_settle(self.warehouse, commit).await
    }

    /// Drops from the caches what only readers of older versions can still ask for: memory follows what tables hold, not
    /// how often they were committed to.
    fn forget(&self, tiered: bool) {
        for segment in self.state.hot.iter().filter(|_| tiered) {
            self.warehouse.segments.remove(&segment.file.path);
        }
        if let Some(location) = &self.state.metadata_location {
            self.warehouse.tables.remove(location);
        }
    }

    fn writer(&self) -> Result<DataFileWriter<'_>> {
        DataFileWriter::new(self.warehouse, &self.object, self.policy.sizes)
    }

    /// The hot rows of a table that nothing is taken from, segment by segment.
    async fn append(&self) -> Result<TableChange> {
        let mut writer = self.writer()?;
        if self.stats().only_adds {
            for segment in &self.state.hot {
                let changes = read_segment(self.warehouse, &segment.file.path).await?;
                for part in changes.iter() {
                    let rows = crate::scan::fold_hot(&self.object, &[part])?;
                    for rows in &rows.live {
                        writer.write(rows).await?;
                    }
                }
            }
        } else {
            for rows in &load_hot(self.warehouse, &self.object, &self.state.hot).await?.live {
                writer.write(rows).await?;
            }
        }
        Ok(TableChange { add_data: writer.finish().await?, ..TableChange::default() })
    }

    /// All rows anew: what a scan of the table gives.
    async fn rewrite(&self) -> Result<TableChange> {
        let table = DynamicTable::new(self.warehouse.clone(), self.object.clone(), self.state.clone())?;
        let add_data = self.write_all(stream(table).await?).await?;
        let base = self.base.as_deref();
        let data = base.map_or(&[][..], |base| &base.files).iter().map(|file| file.file.file_path().to_string());
        let deletes = base.map_or(&[][..], |base| &base.delete_files).iter().map(|file| file.file_path().to_string());
        let remove = data.chain(deletes).collect();
        Ok(TableChange { add_data, remove, ..TableChange::default() })
    }

    /// The hot rows as new files, and where in the old ones the rows are that they replace.
    async fn delta(&self) -> Result<TableChange> {
        let hot = load_hot(self.warehouse, &self.object, &self.state.hot).await?;
        let base = self.base.as_ref().ok_or_else(|| Error::internal("a delta to nothing"))?;
        let positions = positions::find(self.warehouse, &self.object, base, &hot).await?;
        debug!(table = %self.object.name, files = positions.len(), "rows to delete found");
        let deletes = cold::write_position_deletes(self.warehouse, &self.object, positions).await?;
        let mut writer = self.writer()?;
        for rows in &hot.live {
            writer.write(rows).await?;
        }
        let add_data = writer.finish().await?;
        Ok(TableChange { add_data, add_deletes: deletes.into_iter().collect(), ..TableChange::default() })
    }

    /// Small files, and with `apply_deletes` also those with deleted rows, written as few large ones.
    async fn rearrange(&self, apply_deletes: bool) -> Result<TableChange> {
        let base = self.base.as_ref().ok_or_else(|| Error::internal("nothing to compact"))?;
        let chosen = choose(&base.files, self.policy, apply_deletes);
        let holed = |file: &&BaseFile| !file.deleted.is_empty() && !chosen.contains(&file.path);
        let all_applied = !base.files.iter().any(|file| holed(&file));
        let state = TableState { hot: Vec::new(), ..self.state.as_ref().clone() };
        let table = DynamicTable::new(self.warehouse.clone(), self.object.clone(), Arc::new(state))?;
        let add_data = self.write_all(stream(table.restricted_to(chosen.clone())).await?).await?;
        let gone = base.files.iter().filter(|file| chosen.contains(&file.path));
        let mut remove = gone.map(|file| file.file.file_path().to_string()).collect::<HashSet<_>>();
        if all_applied {
            remove.extend(base.delete_files.iter().map(|file| file.file_path().to_string()));
        }
        Ok(TableChange { add_data, remove, rearranged: true, ..TableChange::default() })
    }

    async fn write_all(&self, mut rows: SendableRecordBatchStream) -> Result<Vec<DataFile>> {
        let mut writer = self.writer()?;
        while let Some(batch) = rows.try_next().await? {
            writer.write(&batch).await?;
        }
        writer.finish().await
    }
}

/// Paths of the files that a compaction rewrites: those with deleted rows first, then small ones, smallest first.
fn choose(files: &[BaseFile], policy: &TieringPolicy, apply_deletes: bool) -> HashSet<String> {
    let holed = |file: &BaseFile| apply_deletes && !file.deleted.is_empty();
    let mut candidates = files
        .iter()
        .filter(|file| holed(file) || file.file.file_size_in_bytes() < policy.small_file_bytes)
        .collect::<Vec<_>>();
    candidates.sort_by_key(|file| (!holed(file), file.file.file_size_in_bytes()));
    let mut bytes = 0;
    let fits = |file: &&BaseFile| {
        bytes += file.file.file_size_in_bytes();
        bytes <= policy.max_compaction_bytes || bytes == file.file.file_size_in_bytes()
    };
    candidates.into_iter().take_while(fits).map(|file| file.path.clone()).collect()
}

async fn stream(table: DynamicTable) -> Result<SendableRecordBatchStream> {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    Ok(session.read_table(Arc::new(table))?.execute_stream().await?)
}

/// Commits, and finds out what happened if the answer was lost.
pub(super) async fn commit_and_settle(warehouse: &Warehouse, commit: Commit) -> Result<Version> {
    let id = commit.id;
    match warehouse.catalog().commit(commit).await {
        Ok(version) => Ok(version),
        Err(error) if error.kind() == CatalogErrorKind::Indeterminate => {
            let settled = warehouse.catalog().settle(id).await?;
            settled.ok_or_else(|| Error::new(ErrorKind::Conflict, "the commit did not happen").because(error))
        }
        Err(error) => Err(error.into()),
    }
}
