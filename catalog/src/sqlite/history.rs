//! What changed about one table, and when: for people who look at it, not for readers of its rows.

use sqlx::SqliteConnection;

use super::fault::Fault;
use crate::model::*;

/// See [`crate::Catalog::table_versions`].
pub async fn table_versions(
    conn: &mut SqliteConnection,
    table: ObjectId,
    limit: u32,
) -> Result<Vec<TableVersion>, Fault> {
    let sql = "SELECT version, committed_ms, rows FROM \
               (SELECT version, sum(row_count) AS rows FROM frazil_segments WHERE table_id = ? AND dropped IS NULL \
               GROUP BY version ORDER BY version DESC LIMIT ?) LEFT JOIN frazil_commits USING (version)";
    let segments: Vec<(i64, Option<i64>, i64)> =
        sqlx::query_as(sql).bind(table.0).bind(limit).fetch_all(&mut *conn).await?;
    // A row whose pointer is that of the row before was made by a dropped segment.
    let sql = "SELECT version, committed_ms, location FROM \
               (SELECT min(valid_from) AS version, metadata_location AS location FROM frazil_tables \
               WHERE table_id = ? AND metadata_location IS NOT NULL GROUP BY metadata_location \
               ORDER BY version DESC LIMIT ?) LEFT JOIN frazil_commits USING (version)";
    let pointers: Vec<(i64, Option<i64>, String)> =
        sqlx::query_as(sql).bind(table.0).bind(limit).fetch_all(conn).await?;
    let version =
        |(version, committed_ms), change| TableVersion { version: i64::unsigned_abs(version), committed_ms, change };
    let rows = segments
        .into_iter()
        .map(|(number, at, rows)| version((number, at), TableVersionChange::Segments { rows: rows.unsigned_abs() }));
    let locations = pointers
        .into_iter()
        .map(|(number, at, location)| version((number, at), TableVersionChange::Metadata { location }));
    let mut all: Vec<_> = rows.chain(locations).collect();
    all.sort_by_key(|version| std::cmp::Reverse(version.version));
    Ok(all)
}
