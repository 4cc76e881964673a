//! The garbage sweep: deletes files that no version, checkpoint or reachable Iceberg metadata refers to.
//!
//! Garbage is what crashes before a commit, lost commits, dropped tables and forgotten versions leave behind. A file
//! is spared while it is young, because a commit in flight may be about to name it. Only files in the
//! places where this program writes are looked at; everything else in the directory is left alone.

use std::collections::HashSet;
use std::time::Duration;

use catalog::FileReferences;
use futures::stream::{self, StreamExt, TryStreamExt};
use tracing::info;

use crate::error::Result;
use crate::iceberg::Reachable;
use crate::warehouse::{FileInfo, Warehouse};

/// How old a file must be to be deleted. Longer than any commit takes between writing a file and naming it.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(15 * 60);

/// Deletions under way at once.
const CONCURRENCY: usize = 16;

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files deleted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files spared because they are young.
    pub young: u64,
}

/// Deletes garbage that is older than `grace`.
pub async fn sweep(warehouse: &Warehouse, grace: Duration) -> Result<Swept> {
    // The listing comes first: a file that is committed after it was listed is found among the references.
    let listed = warehouse.list("").await?;
    let references = warehouse.catalog().referenced_files().await?;
    let kept = kept(warehouse, references).await?;
    let now_ms = warehouse.clock().now_ms();
    let oldest_young_ms = now_ms.saturating_sub(i64::try_from(grace.as_millis()).unwrap_or(i64::MAX));
    let (garbage, young) = garbage(listed, &kept, oldest_young_ms);
    let swept = Swept { files: garbage.len() as u64, bytes: garbage.iter().map(|file| file.bytes).sum(), young };
    let deletions = stream::iter(garbage).map(|file| async move { warehouse.delete(&file.path).await });
    deletions.buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    if swept.files > 0 {
        info!(files = swept.files, bytes = swept.bytes, "swept");
    }
    Ok(swept)
}

async fn kept(warehouse: &Warehouse, references: FileReferences) -> Result<HashSet<String>> {
    let mut reachable = Reachable::default();
    for location in &references.metadata {
        reachable.add(warehouse, location).await?;
    }
    let mut kept = reachable.into_paths();
    kept.extend(references.segments);
    kept.extend(references.checkpoints);
    Ok(kept)
}

/// The files to delete, and how many would be if they were older. Pure.
fn garbage(listed: Vec<FileInfo>, kept: &HashSet<String>, oldest_young_ms: i64) -> (Vec<FileInfo>, u64) {
    let unnamed = listed.into_iter().filter(|file| ours(&file.path) && !kept.contains(&file.path));
    let (old, young): (Vec<_>, Vec<_>) = unnamed.partition(|file| file.modified_ms <= oldest_young_ms);
    (old, young.len() as u64)
}

/// Whether this program writes files there: `<table>-<id>/{metadata,data,changelog}/*` and `_state/<job>/*`.
fn ours(path: &str) -> bool {
    let parts = path.split('/').collect::<Vec<_>>();
    let numbered = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    match parts.as_slice() {
        ["_state", job, _] => numbered(job),
        [table, "metadata" | "data" | "changelog", _] => table.rsplit_once('-').is_some_and(|(_, id)| numbered(id)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
