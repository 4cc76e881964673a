//! How many single-row INSERTs a server takes: many connections insert rows one by one, each a statement of its own, while two
//! views on views follow. Every acknowledged row must be there once in the end, also when the server is killed meanwhile.
//!
//!     cargo build --release && cargo run --release -p benches --bin inserts -- --connections 200 --seconds 60 [--kill-after 30]
//!
//! Prints one JSON object: rows acknowledged, rows per second, percentiles of the time that an INSERT took in ms.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Serialize;
use tokio_postgres::NoTls;

/// See the module.
#[derive(Debug, Parser)]
struct Args {
    /// Connections that insert at the same time.
    #[arg(long, default_value_t = 200)]
    connections: i64,
    /// How long they do.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Kill the server after so many seconds (SIGKILL) and start it again.
    #[arg(long)]
    kill_after: Option<u64>,
    /// Rows of the table have a key.
    #[arg(long)]
    keyed: bool,
    /// The program; by default the one beside this.
    #[arg(long)]
    frazil: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    connections: i64,
    keyed: bool,
    killed: bool,
    seconds: f64,
    acknowledged: usize,
    rows_per_sec: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// A running server; it ends with this.
struct Server {
    program: PathBuf,
    warehouse: PathBuf,
    port: u16,
    http: u16,
    process: Child,
}

impl Server {
    fn start(program: PathBuf, warehouse: PathBuf, port: u16, http: u16) -> Result<Self> {
        let process = Self::spawn(&program, &warehouse, port, http)?;
        Ok(Self { program, warehouse, port, http, process })
    }

    fn spawn(program: &PathBuf, warehouse: &PathBuf, port: u16, http: u16) -> Result<Child> {
        let mut command = Command::new(program);
        command.arg("server").arg("-w").arg(warehouse);
        command.args(["--pg", &format!("127.0.0.1:{port}"), "--http", &format!("127.0.0.1:{http}")]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command.spawn().with_context(|| format!("cannot start {}", program.display()))
    }

    fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = Self::spawn(&self.program, &self.warehouse, self.port, self.http)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connect(port: u16) -> Result<tokio_postgres::Client> {
    let config = format!("host=127.0.0.1 port={port} user=bench dbname=frazil");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Tries until the server is there.
async fn connect_patiently(port: u16) -> Result<tokio_postgres::Client> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match connect(port).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Inserts rows until it is told to stop. Returns those that were acknowledged, those of which nothing is known, and times.
async fn insert(port: u16, connection: i64, over: Arc<AtomicBool>) -> Result<(Vec<i64>, Vec<i64>, Vec<f64>)> {
    let (mut acknowledged, mut unknown, mut times) = (Vec::new(), Vec::new(), Vec::new());
    let mut number = 0;
    'connected: while !over.load(Ordering::Relaxed) {
        let client = connect_patiently(port).await?;
        let Ok(statement) = client.prepare("INSERT INTO events VALUES ($1, $2, $3)").await else { continue };
        while !over.load(Ordering::Relaxed) {
            let key = connection * 10_000_000 + number;
            number += 1;
            let start = Instant::now();
            match client.execute(&statement, &[&key, &(key % 100), &1_i64]).await {
                Ok(_) => {
                    times.push(start.elapsed().as_secs_f64() * 1000.0);
                    acknowledged.push(key);
                }
                Err(error) if error.is_closed() || error.as_db_error().is_none() => {
                    unknown.push(key);
                    continue 'connected;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok((acknowledged, unknown, times))
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let beside = std::env::current_exe()?.with_file_name("frazil");
    let directory = tempfile::tempdir()?;
    let free = || Ok::<_, std::io::Error>(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
    let (port, http) = (free()?, free()?);
    let program = args.frazil.clone().unwrap_or(beside);
    let mut server = Server::start(program, directory.path().join("warehouse"), port, http)?;
    let client = connect_patiently(port).await?;
    let key = if args.keyed { " PRIMARY KEY" } else { "" };
    client.batch_execute(&format!("CREATE TABLE events (k BIGINT{key}, grp BIGINT, v BIGINT);")).await?;
    client
        .batch_execute(
            "CREATE MATERIALIZED VIEW sums AS SELECT grp, count(*) AS n, sum(v) AS total FROM events GROUP BY grp;",
        )
        .await?;
    client
        .batch_execute("CREATE MATERIALIZED VIEW totals AS SELECT sum(n) AS n, sum(total) AS total FROM sums;")
        .await?;
    drop(client);

    let over = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let inserting: Vec<_> =
        (0..args.connections).map(|connection| tokio::spawn(insert(port, connection, over.clone()))).collect();
    if let Some(seconds) = args.kill_after {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        server.kill_and_restart()?;
    }
    tokio::time::sleep(Duration::from_secs(args.seconds).saturating_sub(start.elapsed())).await;
    over.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut unknown, mut times) = (HashSet::new(), HashSet::new(), Vec::new());
    for task in inserting {
        let (known, lost, took) = task.await??;
        acknowledged.extend(known);
        unknown.extend(lost);
        times.extend(took);
    }
    let seconds = start.elapsed().as_secs_f64();

    let client = connect_patiently(port).await?;
    client.batch_execute("FLUSH").await?;
    let rows: Vec<i64> = client.query("SELECT k FROM events", &[]).await?.iter().map(|row| row.get(0)).collect();
    let distinct: HashSet<i64> = rows.iter().copied().collect();
    ensure!(distinct.len() == rows.len(), "{} rows are there more than once", rows.len() - distinct.len());
    let lost = acknowledged.difference(&distinct).count();
    ensure!(lost == 0, "{lost} acknowledged rows are lost");
    let strange = distinct.iter().filter(|key| !acknowledged.contains(*key) && !unknown.contains(*key)).count();
    ensure!(strange == 0, "{strange} rows are there that nobody inserted");
    let totals = client.query_one("SELECT n::BIGINT, total::BIGINT FROM totals", &[]).await?;
    let expected = rows.len() as i64;
    ensure!((totals.get::<_, i64>(0), totals.get::<_, i64>(1)) == (expected, expected), "the views do not follow");

    times.sort_by(f64::total_cmp);
    let percentile = |part: f64| times.get(((times.len() as f64 * part) as usize).min(times.len() - 1)).copied();
    let report = Report {
        connections: args.connections,
        keyed: args.keyed,
        killed: args.kill_after.is_some(),
        seconds,
        acknowledged: acknowledged.len(),
        rows_per_sec: acknowledged.len() as f64 / seconds,
        p50_ms: percentile(0.5).unwrap_or_default(),
        p99_ms: percentile(0.99).unwrap_or_default(),
        max_ms: percentile(1.0).unwrap_or_default(),
    };
    #[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
    {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}
