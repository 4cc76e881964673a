//! Nexmark: runs its queries as a user's `frazil run` would and prints one JSON object per query.

mod inputs;
mod measure;
mod queries;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use crate::inputs::Inputs;
use crate::queries::Query;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs Nexmark queries and prints how fast they were, one JSON object per line.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Events over all three streams: 2 % persons, 6 % auctions, 92 % bids.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Which queries, such as `q0,q4`; all unless given.
    #[arg(long, value_delimiter = ',')]
    queries: Vec<String>,
    /// Where events come from. Files are made once and kept.
    #[arg(long, value_enum, default_value_t = SourceKind::Parquet)]
    source: SourceKind,
    /// Tasks per job; the number of cores unless given.
    #[arg(long)]
    parallelism: Option<usize>,
    /// Where results go; unless given, results as large as their inputs are thrown away and all others go into a table.
    #[arg(long, value_enum)]
    sink: Option<Sink>,
    /// Commit interval in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    commit_interval_ms: u64,
    /// Runs of each query; the fastest is printed.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Where generated files are kept.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("frazil-nexmark"))]
    cache: PathBuf,
    /// Keep the last warehouse of each query in this directory, to look at its files and tables.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Where events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SourceKind {
    /// Parquet files made before.
    Parquet,
    /// Files of JSON lines made before.
    Json,
    /// The generator, inside of the job.
    InProcess,
}

/// Where results go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sink {
    /// A dynamic table.
    Table,
    /// Nowhere.
    Blackhole,
}

impl Args {
    fn parallelism(&self) -> usize {
        self.parallelism.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn commit_interval(&self) -> Duration {
        Duration::from_millis(self.commit_interval_ms)
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let queries = queries::chosen(&args.queries)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads")?;
    runtime.block_on(async {
        let inputs = Inputs::prepare(&args).await?;
        for query in &queries {
            let best = fastest(&args, &inputs, query).await.with_context(|| format!("{} failed", query.name))?;
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&best)?)?;
        }
        Ok(())
    })
}

async fn fastest(args: &Args, inputs: &Inputs, query: &Query) -> anyhow::Result<measure::Measurement> {
    let mut best = measure::run(args, inputs, query).await?;
    for _ in 1..args.runs {
        let next = measure::run(args, inputs, query).await?;
        if next.seconds < best.seconds {
            best = next;
        }
    }
    Ok(best)
}
