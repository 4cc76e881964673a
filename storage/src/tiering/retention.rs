//! Forgetting: tiered segments that changelog readers no longer need, and old catalog versions.

use std::collections::BTreeMap;

use catalog::{Action, Commit, ErrorKind as CatalogErrorKind, ObjectId, Segment, Version};
use serde::{Deserialize, Serialize};

use super::execute::commit_and_settle;
use crate::error::Result;
use crate::warehouse::Warehouse;

/// How long tiered segments and old versions are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetentionPolicy {
    /// Tiered segments younger than this are kept for changelog readers, in ms...
    pub changelog_age_ms: i64,
    /// ...but at most so many per table.
    pub changelog_segments: usize,
    /// Versions younger than this can be read (time travel), in ms.
    pub version_age_ms: i64,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self { changelog_age_ms: 3_600_000, changelog_segments: 4_096, version_age_ms: 24 * 3_600_000 }
    }
}

/// Which retained segments (in version order) may go: those committed at or before `old`, and those beyond the newest
/// `keep` - but none that a reader standing at version `needed` has still to read. Pure.
pub fn droppable(retained: &[Segment], old: Version, keep: usize, needed: Option<Version>) -> Vec<String> {
    let surplus = retained.len().saturating_sub(keep);
    let goes = |(i, segment): &(usize, &Segment)| {
        needed.is_none_or(|needed| segment.version <= needed) && (*i < surplus || segment.version <= old)
    };
    let mut paths = Vec::new();
    // Only from the oldest on: the changelog must have no holes.
    for (_, segment) in retained.iter().enumerate().take_while(goes) {
        paths.push(segment.file.path.clone());
    }
    paths
}

/// Drops what the policy no longer keeps, in one commit. `needed`: for each table with changelog readers, the oldest
/// version that one of them stands at. Returns the commit's version, or `None` if there was nothing to forget.
pub async fn retain(
    warehouse: &Warehouse,
    policy: &RetentionPolicy,
    needed: &BTreeMap<ObjectId, Version>,
) -> Result<Option<Version>> {
    let now_ms = warehouse.clock().now_ms();
    let snapshot = warehouse.catalog().snapshot(None).await?;
    let old = newest_at(warehouse, now_ms - policy.changelog_age_ms).await?;
    let mut actions = Vec::new();
    for (id, table) in &snapshot.tables {
        let paths = droppable(&table.retained, old, policy.changelog_segments, needed.get(id).copied());
        if !paths.is_empty() {
            actions.push(Action::DropRetained { table: *id, paths });
        }
    }
    let oldest_kept = newest_at(warehouse, now_ms - policy.version_age_ms).await?;
    if oldest_kept > 1 && exists(warehouse, oldest_kept - 1).await? {
        actions.push(Action::ExpireVersionsBefore(oldest_kept));
    }
    if actions.is_empty() {
        return Ok(None);
    }
    let commit = Commit { id: warehouse.clock().uuid(), now_ms, requires: Vec::new(), actions };
    commit_and_settle(warehouse, commit).await.map(Some)
}

/// Whether a version can still be read.
async fn exists(warehouse: &Warehouse, version: Version) -> Result<bool> {
    match warehouse.catalog().snapshot(Some(version)).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == CatalogErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The version that was the newest at a time; 0 if that one is forgotten already.
async fn newest_at(warehouse: &Warehouse, at_ms: i64) -> Result<Version> {
    match warehouse.catalog().version_at(at_ms).await {
        Ok(version) => Ok(version),
        Err(error) if error.kind() == CatalogErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use catalog::NewSegment;

    use super::*;

    fn segments(versions: &[Version]) -> Vec<Segment> {
        let segment = |version: &Version| Segment {
            file: NewSegment { path: format!("s{version}"), rows: 1, bytes: 1, insert_only: true },
            version: *version,
        };
        versions.iter().map(segment).collect()
    }

    #[test]
    fn old_and_surplus_segments_go_but_not_what_a_reader_needs() {
        let retained = segments(&[2, 4, 6, 8]);
        assert_eq!(droppable(&retained, 0, 10, None), Vec::<String>::new());
        assert_eq!(droppable(&retained, 5, 10, None), ["s2", "s4"]);
        assert_eq!(droppable(&retained, 0, 1, None), ["s2", "s4", "s6"]);
        assert_eq!(droppable(&retained, 8, 0, Some(4)), ["s2", "s4"]);
        assert_eq!(droppable(&retained, 8, 0, Some(1)), Vec::<String>::new());
    }
}
