//! The command line: what users and scripts may write, with the defaults in one place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where tables live unless `-w` says otherwise.
const DEFAULT_WAREHOUSE: &str = "./warehouse";

/// Where `frazil server` speaks HTTP unless it is told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// Where workers join a coordinator unless it is told otherwise.
const DEFAULT_CLUSTER: &str = "127.0.0.1:7433";

/// The most tasks a job can be split into: rows are spread over 256 virtual nodes, and a task owns at least one.
const MAX_PARALLELISM: i64 = 256;

/// Frazil: a streaming warehouse. Continuous SQL queries whose results are Apache Iceberg tables.
#[derive(Debug, Parser)]
#[command(name = "frazil", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; without it, `sql`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// `frazil -c ...` is `frazil sql -c ...`.
    #[command(flatten)]
    pub sql: SqlArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Execute SQL: interactively on a terminal, or from -c, -f or standard input.
    Sql(SqlArgs),
    /// Execute a file and run its jobs: until the inputs end, or until SIGINT or SIGTERM.
    Run(RunArgs),
    /// Serve a warehouse: resume its jobs, answer clients over the PostgreSQL protocol and HTTP, until SIGINT or SIGTERM.
    Server(ServerArgs),
    /// Serve a warehouse as `server` does, with jobs that run on the slots of workers.
    Coordinator(CoordinatorArgs),
    /// Run slots of a coordinator's jobs, until SIGINT or SIGTERM: then they are moved to other workers first.
    Worker(WorkerArgs),
    /// Hand a file to a server, which runs its jobs from then on.
    Submit(SubmitArgs),
}

/// Arguments of `frazil sql`.
#[derive(Debug, Clone, Args)]
pub struct SqlArgs {
    /// Directory or URL of the warehouse; a directory is created if it is missing.
    #[arg(short, long, default_value = DEFAULT_WAREHOUSE)]
    pub warehouse: String,
    /// Where the warehouse's catalog is, unless in the warehouse: an SQLite file, or postgres://user@host/database?schema=name. Of no
    /// meaning with --server: a server knows its own.
    #[arg(long, value_name = "URL", env = "FRAZIL_CATALOG", hide_env_values = true)]
    pub catalog: Option<CatalogUrl>,
    /// URL of a server that executes the statements, such as http://127.0.0.1:8080, instead of opening a warehouse.
    #[arg(short, long, value_name = "URL", conflicts_with = "warehouse")]
    pub server: Option<String>,
    /// User of the server, whose password is in FRAZIL_PASSWORD, unless the URL names both.
    #[arg(short = 'U', long, env = "FRAZIL_USER")]
    pub user: Option<String>,
    /// Execute these statements, separated by `;`, and exit. Relative paths in them start at the current directory.
    #[arg(short, long, value_name = "SQL", conflicts_with = "file")]
    pub command: Option<String>,
    /// Execute the statements of this file and exit. Relative paths in them start at the file's directory.
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// Arguments of `frazil run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The file. Relative paths in it start at the file's directory.
    pub file: PathBuf,
    /// Directory or URL of the warehouse; a directory is created if it is missing.
    #[arg(short, long, default_value = DEFAULT_WAREHOUSE)]
    pub warehouse: String,
    /// Where the warehouse's catalog is, unless in the warehouse: an SQLite file, or postgres://user@host/database?schema=name.
    #[arg(long, value_name = "URL", env = "FRAZIL_CATALOG", hide_env_values = true)]
    pub catalog: Option<CatalogUrl>,
    /// Tasks per job; the number of cores unless given. May differ from run to run.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MAX_PARALLELISM))]
    pub parallelism: Option<u16>,
    /// How often results are committed, such as `1s` or `250ms`.
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    pub commit_interval: Duration,
}

/// Arguments of `frazil server`.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Directory or URL of the warehouse; a directory is created if it is missing.
    #[arg(short, long, default_value = DEFAULT_WAREHOUSE, env = "FRAZIL_WAREHOUSE")]
    pub warehouse: String,
    /// Where the warehouse's catalog is, unless in the warehouse: an SQLite file, or postgres://user@host/database?schema=name.
    #[arg(long, value_name = "URL", env = "FRAZIL_CATALOG", hide_env_values = true, hide_default_value = true)]
    pub catalog: Option<CatalogUrl>,
    /// Where the PostgreSQL protocol is spoken. Port 0 takes a free one, which is logged.
    #[arg(long, default_value = "127.0.0.1:5433", env = "FRAZIL_PG")]
    pub pg: SocketAddr,
    /// Where HTTP is spoken: the API and health. Port 0 takes a free one, which is logged.
    #[arg(long, default_value = "127.0.0.1:8080", env = "FRAZIL_HTTP")]
    pub http: SocketAddr,
    /// Tasks per job; the number of cores unless given.
    #[arg(long, env = "FRAZIL_PARALLELISM", value_parser = clap::value_parser!(u16).range(1..=MAX_PARALLELISM))]
    pub parallelism: Option<u16>,
    /// How often results are committed, such as `1s` or `250ms`.
    #[arg(long, default_value = "1s", env = "FRAZIL_COMMIT_INTERVAL", value_parser = parse_duration)]
    pub commit_interval: Duration,
    /// Memory that one statement may take for what it has to keep, such as 512MB: beyond it, it spills to disk or fails alone.
    #[arg(long, default_value = "1GB", env = "FRAZIL_QUERY_MEMORY", value_parser = parse_size)]
    pub query_memory: usize,
    /// How long a statement may run, such as 5min, unless a client sets statement_timeout; without it, as long as it takes.
    #[arg(long, env = "FRAZIL_STATEMENT_TIMEOUT", value_parser = parse_duration)]
    pub statement_timeout: Option<Duration>,
    /// PEM file with the certificate by which connections are encrypted: those of HTTP, and over the PostgreSQL protocol those of
    /// clients that ask for it.
    #[arg(long, env = "FRAZIL_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's key.
    #[arg(long, env = "FRAZIL_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// TOML file with these settings; options and variables go before it.
    #[arg(long, value_name = "FILE", env = "FRAZIL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print all settings with their meaning and present values, as such a file, and exit.
    #[arg(long)]
    pub print_config: bool,
}

/// Arguments of `frazil coordinator`.
#[derive(Debug, Clone, Args)]
pub struct CoordinatorArgs {
    /// What it serves, and where.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Where workers join. Port 0 takes a free one, which is logged.
    #[arg(long, default_value = DEFAULT_CLUSTER, env = "FRAZIL_LISTEN")]
    pub listen: SocketAddr,
    /// How often workers have to be heard of, such as `500ms`.
    #[arg(long, default_value = "500ms", env = "FRAZIL_HEARTBEAT", value_parser = parse_duration)]
    pub heartbeat: Duration,
    /// After how much silence a worker is lost, such as `2s`. One that ends, or whose connection closes, is lost at once.
    #[arg(long, default_value = "2s", env = "FRAZIL_HEARTBEAT_TIMEOUT", value_parser = parse_duration)]
    pub heartbeat_timeout: Duration,
    /// Start and stop worker processes here, between so many and so many of them, such as `1..8`, as the load asks for.
    #[arg(long, value_name = "MIN..MAX", env = "FRAZIL_AUTOSCALE", value_parser = parse_range)]
    pub autoscale: Option<Range>,
    /// How many slots the workers have that are started here.
    #[arg(long, default_value_t = 1, env = "FRAZIL_AUTOSCALE_SLOTS", value_parser = clap::value_parser!(u16).range(1..=MAX_PARALLELISM))]
    pub autoscale_slots: u16,
    /// Share of time that slots should work, by which the number of workers is recommended, such as `0.6`.
    #[arg(long, default_value_t = DEFAULT_TARGET, env = "FRAZIL_AUTOSCALE_TARGET", value_parser = parse_share)]
    pub autoscale_target: f64,
    /// What workers must know to join; needed if other machines can reach the address on which they do.
    #[arg(long, env = "FRAZIL_CLUSTER_SECRET", hide_env_values = true)]
    pub cluster_secret: Option<String>,
}

/// Arguments of `frazil worker`.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// Where the coordinator takes workers in, as host and port; of several, separated by commas, the one that leads.
    #[arg(short, long, value_name = "HOST:PORT", default_value = DEFAULT_CLUSTER, env = "FRAZIL_COORDINATOR", value_delimiter = ',')]
    pub coordinator: Vec<String>,
    /// How many slots it has for every job; the number of cores unless given.
    #[arg(long, env = "FRAZIL_SLOTS", value_parser = clap::value_parser!(u16).range(1..=MAX_PARALLELISM))]
    pub slots: Option<u16>,
    /// Where it takes rows from other workers. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", env = "FRAZIL_WORKER_LISTEN")]
    pub listen: SocketAddr,
    /// How other workers reach it, as host and port, if not at the address on which it listens.
    #[arg(long, value_name = "HOST:PORT", env = "FRAZIL_WORKER_ADVERTISE")]
    pub advertise: Option<String>,
    /// End when standard input does: for a worker that must not outlive whoever started it.
    #[arg(long, hide = true)]
    pub while_stdin_is_open: bool,
    /// What workers must know to join.
    #[arg(long, env = "FRAZIL_CLUSTER_SECRET", hide_env_values = true)]
    pub cluster_secret: Option<String>,
}

/// Arguments of `frazil submit`.
#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    /// The file. Relative paths in it start at the file's directory, which the server must be able to read.
    pub file: PathBuf,
    /// URL of the server.
    #[arg(short, long, value_name = "URL", default_value = DEFAULT_SERVER, env = "FRAZIL_SERVER")]
    pub server: String,
    /// User of the server, whose password is in FRAZIL_PASSWORD, unless the URL names both.
    #[arg(short = 'U', long, env = "FRAZIL_USER")]
    pub user: Option<String>,
}

/// Where a catalog is. It may hold a password, so it is neither printed nor checked here: complaints would quote it.
#[derive(Clone)]
pub struct CatalogUrl(String);

impl From<String> for CatalogUrl {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl CatalogUrl {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for CatalogUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CatalogUrl(..)")
    }
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns and a row count; the whole result is collected first.
    Table,
    /// RFC 4180 with a header line; NULL is empty, an empty string is `""`. Printed as it is computed.
    Csv,
    /// One JSON object per line. Printed as it is computed.
    Json,
}

/// The number of tasks where the user does not say: one per core.
pub fn default_parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The commit interval of `frazil sql`, where only `SET commit_interval` can change it.
pub const DEFAULT_COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// A number and a unit: `250ms`, `1s`, `1.5s`, `2m` or `2min`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        _ => return Err("write a number and a unit (ms, s, min), such as 250ms or 1s".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    let duration = Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|e| e.to_string())?;
    if duration.is_zero() { Err("it must be longer than nothing".to_owned()) } else { Ok(duration) }
}

/// Share of time that slots should work unless the user says otherwise.
const DEFAULT_TARGET: f64 = engine::cluster::autoscale::TARGET;

/// A number above 0, and below what counts as working all the time.
fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share < engine::cluster::autoscale::SATURATED);
    share.ok_or_else(|| format!("write a number between 0 and {}", engine::cluster::autoscale::SATURATED))
}

/// A smallest and a greatest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The smallest, at least 1.
    pub min: usize,
    /// The greatest.
    pub max: usize,
}

/// `1..8`
fn parse_range(text: &str) -> Result<Range, String> {
    let ends = text.split_once("..").and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)));
    match ends {
        Some((min, max)) if 1 <= min && min <= max && max <= MAX_PARALLELISM as usize => Ok(Range { min, max }),
        _ => Err("write the smallest and the greatest number of workers, such as 1..8".to_owned()),
    }
}

/// A number and a unit: `512MB`, `1GB`.
fn parse_size(text: &str) -> Result<usize, String> {
    let size = engine::options::parse_size(text).and_then(|size| usize::try_from(size).ok());
    size.filter(|size| *size > 0).ok_or_else(|| "write a number and a unit, such as 512MB or 1GB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sql_is_what_happens_without_a_subcommand() {
        let cli = Cli::try_parse_from(["frazil", "-w", "/tmp/w", "-c", "SELECT 1", "--format", "csv"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.sql.warehouse, "/tmp/w");
        assert_eq!(cli.sql.command.as_deref(), Some("SELECT 1"));
        assert_eq!(cli.sql.format, Format::Csv);
    }

    #[test]
    fn run_has_the_documented_defaults() {
        let cli = Cli::try_parse_from(["frazil", "run", "a.sql"]).unwrap();
        let Some(Command::Run(run)) = cli.command else { panic!("not run") };
        assert_eq!((run.warehouse.as_str(), run.parallelism), ("./warehouse", None));
        assert_eq!(run.commit_interval, Duration::from_secs(1));
    }

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        for line in [
            &["frazil", "sql", "-c", "SELECT 1", "-f", "a.sql"][..],
            &["frazil", "run"],
            &["frazil", "run", "a.sql", "--parallelism", "0"],
            &["frazil", "run", "a.sql", "--parallelism", "257"],
            &["frazil", "run", "a.sql", "--commit-interval", "soon"],
            &["frazil", "--format", "xml"],
        ] {
            assert!(Cli::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_password_of_the_catalog_is_not_shown() {
        let line = ["frazil", "run", "a.sql", "--catalog", "postgres://me:s3cret@there/db"];
        let cli = Cli::try_parse_from(line).unwrap();
        assert!(!format!("{cli:?}").contains("s3cret"));
        let Some(Command::Run(run)) = cli.command else { panic!("not run") };
        assert_eq!(run.catalog.unwrap().as_str(), line[4]);
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in [("250ms", 250), ("1s", 1000), ("1.5s", 1500), ("2m", 120_000), ("2 min", 120_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "1", "s", "-1s", "1h1m", "0ms", "1.2.3s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
