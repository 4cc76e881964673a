//! One run of one query: a fresh warehouse, the statements that a user would write, the time until the last commit.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use arrow::datatypes::{DataType, Schema};
use catalog::{Clock, SystemClock};
use engine::session::{Answer, Engine, EngineOptions};
use serde::Serialize;
use tempfile::TempDir;

use crate::inputs::Inputs;
use crate::queries::Query;
use crate::{Args, Sink};

/// What is printed.
#[derive(Debug, Serialize)]
pub struct Measurement {
    /// Name of the query.
    pub query: &'static str,
    /// Events over all three streams, read by the query or not.
    pub events: u64,
    /// From the first statement to the last commit.
    pub seconds: f64,
    /// Events per second.
    pub events_per_sec: f64,
    /// Checkpoints committed.
    pub checkpoints: u64,
    /// Changes written to the table or sink.
    pub rows_out: u64,
}

/// Runs a query once.
pub async fn run(args: &Args, inputs: &Inputs, query: &Query) -> anyhow::Result<Measurement> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let warehouse = Warehouse::new(args, query)?;
    let engine = Engine::open(EngineOptions {
        warehouse: warehouse.path.display().to_string(),
        parallelism: args.parallelism(),
        commit_interval: args.commit_interval(),
        base_dir: std::env::current_dir()?,
        clock: Arc::clone(&clock),
        limits: engine::session::Limits::default(),
        cluster: None,
    })
    .await?;
    for statement in engine.parse(inputs.ddl())? {
        engine.execute(&statement).await?;
    }
    let sql = format!("{}{}", inputs.ddl(), with_sink(args, &engine, query).await?);
    let start = clock.monotonic();
    engine.run(&sql).await?;
    engine.finished().await?;
    let seconds = clock.monotonic().saturating_sub(start).as_secs_f64();
    let progress = engine.progress();
    engine.shutdown().await?;
    Ok(Measurement {
        query: query.name,
        events: args.events,
        seconds,
        events_per_sec: args.events as f64 / seconds,
        checkpoints: progress.checkpoints,
        rows_out: progress.rows_out,
    })
}

/// A warehouse of one run: gone afterwards unless it was asked for.
struct Warehouse {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl Warehouse {
    fn new(args: &Args, query: &Query) -> anyhow::Result<Self> {
        if let Some(keep) = &args.keep {
            let path = keep.join(query.name);
            if path.exists() {
                std::fs::remove_dir_all(&path).with_context(|| format!("cannot empty {}", path.display()))?;
            }
            return Ok(Self { path, _temporary: None });
        }
        // Beside the inputs, and so on a disk, where the default for temporary files is often memory.
        std::fs::create_dir_all(&args.cache).with_context(|| format!("cannot make {}", args.cache.display()))?;
        let temporary = tempfile::tempdir_in(&args.cache)?;
        Ok(Self { path: temporary.path().join("warehouse"), _temporary: Some(temporary) })
    }
}

/// The query with what takes its result.
async fn with_sink(args: &Args, engine: &Engine, query: &Query) -> anyhow::Result<String> {
    let default = if query.stateless { Sink::Blackhole } else { Sink::Table };
    Ok(match args.sink.unwrap_or(default) {
        Sink::Table => format!("CREATE MATERIALIZED VIEW {} AS\n{};\n", query.name, query.sql),
        Sink::Blackhole => {
            let schema = schema(engine, query.sql).await?;
            let columns = columns(&schema)?;
            format!(
                "CREATE TABLE {0} ({columns}) WITH ('connector' = 'blackhole');\nINSERT INTO {0}\n{1};\n",
                query.name, query.sql
            )
        }
    })
}

async fn schema(engine: &Engine, sql: &str) -> anyhow::Result<Arc<Schema>> {
    for statement in engine.parse(&format!("SELECT * FROM (\n{sql}\n) LIMIT 0"))? {
        if let Answer::Rows(rows) = engine.execute(&statement).await? {
            return Ok(rows.schema());
        }
    }
    bail!("the query has no schema")
}

/// Columns of a result as `CREATE TABLE` has them.
fn columns(schema: &Schema) -> anyhow::Result<String> {
    let column = |field: &Arc<arrow::datatypes::Field>| {
        let sql_type = match field.data_type() {
            DataType::Int32 => "INT",
            DataType::Int64 => "BIGINT",
            DataType::Float64 => "DOUBLE",
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "VARCHAR",
            DataType::Timestamp(..) => "TIMESTAMP(3)",
            DataType::Boolean => "BOOLEAN",
            DataType::Decimal128(precision, scale) => {
                return Ok(format!("\"{}\" DECIMAL({precision}, {scale})", field.name()));
            }
            other => bail!("no SQL type for {other} of column {}", field.name()),
        };
        Ok(format!("\"{}\" {sql_type}", field.name()))
    };
    Ok(schema.fields().iter().map(column).collect::<anyhow::Result<Vec<_>>>()?.join(", "))
}
