//! Plays one file in one mode.

use std::path::Path;

use anyhow::{Context, bail};
use sqllogictest::{DefaultColumnType, MakeConnection, Record, RecordOutput, Runner, StatementExpect};

use crate::compare::difference;
use crate::mode::{Mode, Views};
use crate::order::{Records, arrange, rewrite};
use crate::warehouse::Warehouse;

/// Plays a file in a mode; the error says which record gave another answer.
pub async fn play(file: &Path, mode: Mode) -> anyhow::Result<()> {
    let place = || format!("{} (mode {})", file.display(), mode.name);
    let records = sqllogictest::parse_file(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut runner = Runner::new(|| Warehouse::new(mode));
    runner.add_label(mode.name);
    if mode.views != Views::Plain {
        runner.add_label("incremental");
    }
    let records = rewrite(arrange(records, mode.views), mode.rows);
    for record in &records {
        if let Err(error) = runner.run_async(record.clone()).await {
            bail!("{}: {}", place(), error.display(false));
        }
    }
    if mode.emptied {
        empty(&mut runner, &records).await.with_context(place)?;
    }
    runner.shutdown_async().await;
    Ok(())
}

/// Deletes all rows of all tables; then every view must be what its query gives. Not in files that end with a job that has failed.
async fn empty<M>(runner: &mut Runner<Warehouse, M>, records: &Records) -> anyhow::Result<()>
where
    M: MakeConnection<Conn = Warehouse>,
{
    if ask(runner, "SHOW JOBS").await?.iter().flatten().any(|cell| cell == "failed") {
        return Ok(());
    }
    for table in ask(runner, "SHOW TABLES").await? {
        if let [name, kind, ..] = table.as_slice()
            && kind == "table"
        {
            delete_all(runner, name).await?;
        }
    }
    for view in ask(runner, "SHOW VIEWS").await? {
        let [name, kind, ..] = view.as_slice() else { continue };
        let query = records.iter().rev().find_map(|record| query_of(record, name)).filter(|query| is_timeless(query));
        let (true, Some(query)) = (kind == "materialized view", query) else { continue };
        let found = ask(runner, &format!("SELECT * FROM \"{name}\"")).await?;
        // Where batch fails and the view has NULL instead, there is nothing to compare.
        let Ok(wanted) = ask(runner, &query).await else { continue };
        if let Some(difference) = difference(&found, &wanted) {
            bail!("after all rows were deleted, {name} is not its query: {difference}");
        }
    }
    Ok(())
}

/// Deletes all rows of a table, unless it only ever takes rows or belongs to a job.
async fn delete_all<M>(runner: &mut Runner<Warehouse, M>, table: &str) -> anyhow::Result<()>
where
    M: MakeConnection<Conn = Warehouse>,
{
    let records = sqllogictest::parse::<DefaultColumnType>(&format!("statement ok\nDELETE FROM \"{table}\"\n"))?;
    for record in records {
        if let Err(error) = runner.run_async(record).await {
            let text = error.display(false).to_string();
            let excused = ["APPEND ONLY", "written by"].iter().any(|reason| text.contains(reason));
            anyhow::ensure!(excused, "{text}");
        }
    }
    Ok(())
}

/// The rows of a query.
async fn ask<M>(runner: &mut Runner<Warehouse, M>, sql: &str) -> anyhow::Result<Vec<Vec<String>>>
where
    M: MakeConnection<Conn = Warehouse>,
{
    let mut rows = Vec::new();
    // An empty line would end the query.
    let sql = sql.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n");
    for record in sqllogictest::parse::<DefaultColumnType>(&format!("query T\n{sql}\n----\n"))? {
        match runner.apply_record(record).await {
            RecordOutput::Query { error: Some(error), .. } => bail!("{sql}: {error}"),
            RecordOutput::Query { rows: found, .. } => rows = found,
            _ => {}
        }
    }
    Ok(rows)
}

/// The query of a materialized view, if this statement creates it.
fn query_of(record: &Record<DefaultColumnType>, name: &str) -> Option<String> {
    let Record::Statement { sql, expected: StatementExpect::Ok, .. } = record else { return None };
    let words: Vec<&str> = sql.split_whitespace().collect();
    let create = words.get(..3)?.join(" ").eq_ignore_ascii_case("CREATE MATERIALIZED VIEW");
    let named = words.get(3)?.split('(').next()?.trim_matches('"').eq_ignore_ascii_case(name);
    let start = sql.to_ascii_lowercase().split_whitespace().position(|word| word == "as")?;
    (create && named).then(|| words[start + 1..].join(" "))
}

/// Whether a query gives the same whenever it is asked for, and gives it at once.
fn is_timeless(query: &str) -> bool {
    let query = query.to_ascii_lowercase();
    !["now()", "current_", "localtime", "proctime", "emit on"].iter().any(|word| query.contains(word))
}
