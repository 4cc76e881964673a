//! When to tier or compact a table, and how. Pure.

use serde::{Deserialize, Serialize};

use crate::iceberg::FileSizes;

/// Limits that trigger tiering and compaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TieringPolicy {
    /// Tier when the hot segments hold more rows.
    pub max_hot_rows: u64,
    /// Tier when the hot segments are larger, in bytes.
    pub max_hot_bytes: u64,
    /// Tier when there are more hot segments.
    pub max_hot_segments: usize,
    /// Tier when the oldest hot segment is older, in ms.
    pub max_hot_age_ms: i64,
    /// Rewrite the whole table while its data files are smaller than this, in bytes...
    pub rewrite_below_bytes: u64,
    /// ...or smaller than this many times the change.
    pub rewrite_ratio: u64,
    /// Data files below this size, in bytes, count as small.
    pub small_file_bytes: u64,
    /// Merge small data files when there are more.
    pub max_small_files: usize,
    /// Apply deletes to the data files when there are more delete files...
    pub max_delete_files: usize,
    /// ...or when more than this percentage of the rows in data files are deleted.
    pub max_deleted_percent: u64,
    /// Bytes of data files that one compaction takes on at most: bounds the time until it can commit.
    pub max_compaction_bytes: u64,
    /// How large data files become.
    pub sizes: FileSizes,
}

impl Default for TieringPolicy {
    fn default() -> Self {
        Self {
            max_hot_rows: 1_000_000,
            max_hot_bytes: 64 << 20,
            max_hot_segments: 64,
            max_hot_age_ms: 60_000,
            rewrite_below_bytes: 64 << 20,
            rewrite_ratio: 4,
            small_file_bytes: 32 << 20,
            max_small_files: 16,
            max_delete_files: 16,
            max_deleted_percent: 20,
            max_compaction_bytes: 2 << 30,
            sizes: FileSizes::default(),
        }
    }
}

/// What the decision depends on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableStats {
    /// The hot segments only add rows, and no row replaces another.
    pub only_adds: bool,
    /// The table has Iceberg metadata.
    pub has_metadata: bool,
    /// Hot segments.
    pub hot_segments: usize,
    /// Rows in them.
    pub hot_rows: u64,
    /// Bytes of them.
    pub hot_bytes: u64,
    /// Age of the oldest of them, in ms, if known.
    pub hot_age_ms: Option<i64>,
    /// Bytes of data files.
    pub base_bytes: u64,
    /// Data files.
    pub data_files: usize,
    /// Data files below [`TieringPolicy::small_file_bytes`].
    pub small_files: usize,
    /// Delete files.
    pub delete_files: usize,
    /// Rows in data files, deleted ones included.
    pub base_rows: u64,
    /// Rows in data files that are deleted.
    pub deleted_rows: u64,
}

/// What to do with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Create the Iceberg metadata of a table without rows, so that other programs see it.
    Create,
    /// Write the hot rows as new data files.
    Append,
    /// Write all rows, hot and old, as new data files.
    Rewrite,
    /// Write the hot rows as new data files and the positions of the rows that they replace.
    Delta,
    /// Merge small data files.
    MergeSmall,
    /// Rewrite the data files with deleted rows, and merge small ones along the way.
    ApplyDeletes,
}

/// Decides what to do with a table next, if anything. `force`: tier whatever is hot.
pub fn propose(policy: &TieringPolicy, stats: &TableStats, force: bool) -> Option<Plan> {
    if force && stats.hot_segments == 0 && !stats.has_metadata {
        return Some(Plan::Create);
    }
    let full = stats.hot_rows > policy.max_hot_rows
        || stats.hot_bytes > policy.max_hot_bytes
        || stats.hot_segments > policy.max_hot_segments
        || stats.hot_age_ms.is_some_and(|age| age > policy.max_hot_age_ms);
    if stats.hot_segments > 0 && (force || full) {
        return Some(how_to_tier(policy, stats));
    }
    let deleted = stats.deleted_rows.saturating_mul(100) > stats.base_rows.saturating_mul(policy.max_deleted_percent);
    if stats.delete_files > policy.max_delete_files || deleted {
        return Some(Plan::ApplyDeletes);
    }
    (stats.small_files > policy.max_small_files).then_some(Plan::MergeSmall)
}

fn how_to_tier(policy: &TieringPolicy, stats: &TableStats) -> Plan {
    if stats.only_adds || stats.data_files == 0 {
        return Plan::Append;
    }
    let small = policy.rewrite_below_bytes.max(stats.hot_bytes.saturating_mul(policy.rewrite_ratio));
    if stats.base_bytes < small { Plan::Rewrite } else { Plan::Delta }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> TableStats {
        TableStats {
            has_metadata: true,
            hot_segments: 3,
            hot_rows: 10,
            hot_bytes: 1_000,
            data_files: 1,
            ..TableStats::default()
        }
    }

    fn proposal(stats: TableStats, force: bool) -> Option<Plan> {
        propose(&TieringPolicy::default(), &stats, force)
    }

    #[test]
    fn nothing_is_done_below_the_limits_unless_forced() {
        assert_eq!(proposal(stats(), false), None);
        assert_eq!(proposal(stats(), true), Some(Plan::Rewrite));
        assert_eq!(proposal(TableStats { hot_segments: 0, ..stats() }, true), None);
        assert_eq!(proposal(TableStats { hot_segments: 0, has_metadata: false, ..stats() }, true), Some(Plan::Create));
    }

    #[test]
    fn each_limit_triggers() {
        for full in [
            TableStats { hot_rows: 2_000_000, ..stats() },
            TableStats { hot_bytes: 100 << 20, ..stats() },
            TableStats { hot_segments: 65, ..stats() },
            TableStats { hot_age_ms: Some(60_001), ..stats() },
        ] {
            assert_eq!(proposal(full, false), Some(Plan::Rewrite));
        }
    }

    #[test]
    fn large_tables_get_deltas_and_additions_are_appended() {
        let large = TableStats { base_bytes: 1 << 30, ..stats() };
        assert_eq!(proposal(large.clone(), true), Some(Plan::Delta));
        assert_eq!(proposal(TableStats { hot_bytes: 300 << 20, ..large.clone() }, true), Some(Plan::Rewrite));
        assert_eq!(proposal(TableStats { only_adds: true, ..large }, true), Some(Plan::Append));
        assert_eq!(proposal(TableStats { data_files: 0, ..stats() }, true), Some(Plan::Append));
    }

    #[test]
    fn compaction_keeps_the_number_of_files_bounded() {
        assert_eq!(proposal(TableStats { small_files: 17, ..stats() }, false), Some(Plan::MergeSmall));
        assert_eq!(proposal(TableStats { delete_files: 17, ..stats() }, false), Some(Plan::ApplyDeletes));
        let holes = TableStats { base_rows: 100, deleted_rows: 21, ..stats() };
        assert_eq!(proposal(holes, false), Some(Plan::ApplyDeletes));
    }
}
