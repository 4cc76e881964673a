//! What changed about one table, and when: for people who look at it, not for readers of its rows.

use super::database::{Connection, Row};
use super::fault::Fault;
use crate::model::*;

/// See [`crate::Catalog::table_versions`].
pub async fn table_versions(
    conn: &mut Connection<'_>,
    table: ObjectId,
    limit: u32,
) -> Result<Vec<TableVersion>, Fault> {
    let wanted = [table.0.into(), i64::from(limit).into()];
    let sql = "SELECT version, committed_ms, row_sum FROM \
               (SELECT version, CAST(sum(row_count) AS BIGINT) AS row_sum FROM frazil_segments \
               WHERE table_id = $1 AND dropped IS NULL GROUP BY version ORDER BY version DESC LIMIT $2) AS added \
               LEFT JOIN frazil_commits USING (version)";
    let mut all = Vec::new();
    for row in conn.rows(sql, &wanted).await? {
        let rows = row.get::<i64>(2)?.unsigned_abs();
        all.push(version(&row, TableVersionChange::Segments { rows })?);
    }
    // A row whose pointer is that of the row before was made by a dropped segment.
    let sql = "SELECT version, committed_ms, location FROM \
               (SELECT min(valid_from) AS version, metadata_location AS location FROM frazil_tables \
               WHERE table_id = $1 AND metadata_location IS NOT NULL GROUP BY metadata_location \
               ORDER BY version DESC LIMIT $2) AS moved LEFT JOIN frazil_commits USING (version)";
    for row in conn.rows(sql, &wanted).await? {
        let location = row.get(2)?;
        all.push(version(&row, TableVersionChange::Metadata { location })?);
    }
    all.sort_by_key(|version| std::cmp::Reverse(version.version));
    Ok(all)
}

fn version(row: &Row, change: TableVersionChange) -> Result<TableVersion, Fault> {
    Ok(TableVersion { version: row.get::<i64>(0)?.unsigned_abs(), committed_ms: row.get(1)?, change })
}
