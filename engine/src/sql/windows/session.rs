//! SESSION as OVER windows.
//!
//! A row begins a session if no row of its key stands within the gap before it; the start of a row's session is the last beginning
//! up to the row, its end one gap after the last row of that start. Since OVER windows follow every change, sessions grow, merge,
//! shrink and split as rows come late and go.

use super::arguments::Arguments;

/// Columns that are there only in between.
const TIME: &str = "__session_time";
const BEFORE: &str = "__session_before";

/// A query that adds `window_start` and `window_end` to the columns of the data.
pub(super) fn sql(arguments: &Arguments) -> String {
    let Arguments { data, partition, time, size: gap, .. } = arguments;
    let gap = format!("INTERVAL '{gap} microseconds'");
    let by = |more: &str| {
        let columns = partition.iter().map(String::as_str).chain(Some(more).filter(|more| !more.is_empty()));
        let columns = columns.collect::<Vec<_>>().join(", ");
        if columns.is_empty() { columns } else { format!("PARTITION BY {columns}") }
    };
    let (key, session) = (by(""), by("window_start"));
    // Rounded to a window of one microsecond, every kind of time becomes a TIMESTAMP.
    let timed = format!("SELECT *, frazil_tumble_start({time}, 1, 0) AS {TIME} FROM {data} WHERE {time} IS NOT NULL");
    let preceded = format!("SELECT *, lag({TIME}) OVER ({key} ORDER BY {TIME}) AS {BEFORE} FROM ({timed})");
    let started = format!(
        "SELECT *, max(CASE WHEN {BEFORE} + {gap} >= {TIME} THEN NULL ELSE {TIME} END) OVER ({key} ORDER BY {TIME}) \
         AS window_start FROM ({preceded})"
    );
    let ended = format!("SELECT *, max({TIME}) OVER ({session}) + {gap} AS window_end FROM ({started})");
    format!("SELECT * EXCEPT ({TIME}, {BEFORE}) FROM ({ended})")
}
