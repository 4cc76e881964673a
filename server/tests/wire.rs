//! Plays the sqllogictest files over the PostgreSQL protocol, against a running server: the same answers as embedded.
//!
//! Values come as PostgreSQL prints them; by their types they are printed again as the files have them. Rows (STRUCT) cannot be:
//! PostgreSQL does not print the names of their fields; files say `skipif wire` there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use sql_tests::mode::{Mode, Views};
use sql_tests::order::arrange;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// What a file may say only where it has the engine's clock in its hands.
const ADVANCE: &str = "ADVANCE CLOCK";

/// A server, which ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server and a client of it.
struct Wire {
    _server: Running,
    client: tokio_postgres::Client,
    _directory: tempfile::TempDir,
}

/// An error as the engine prints it.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl From<tokio_postgres::Error> for Refused {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else { return Self(error.to_string()) };
        let detail = db.detail().map_or_else(String::new, |detail| format!(" ({detail})"));
        let hint = db.hint().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
        Self(format!("{}{detail}{hint}", db.message()))
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Wire {
    async fn start() -> Result<Self, Refused> {
        let directory = tempfile::tempdir().unwrap();
        let (pg, http) = (free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_frazil"));
        command
            .args(["server", "--commit-interval", "50ms", "--pg", &format!("127.0.0.1:{pg}")])
            .args(["--http", &format!("127.0.0.1:{http}"), "-w"])
            .arg(directory.path().join("warehouse"))
            .current_dir(slt())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let server = Running(command.spawn().unwrap());
        let config = format!("host=127.0.0.1 port={pg} user=tester dbname=frazil");
        for _ in 0..600 {
            if let Ok((client, connection)) = tokio_postgres::connect(&config, NoTls).await {
                tokio::spawn(connection);
                return Ok(Self { _server: server, client, _directory: directory });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Refused("the server does not answer".into()))
    }
}

#[async_trait]
impl sqllogictest::AsyncDB for Wire {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let first = sql.trim_start_matches('(').split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if matches!(first.as_str(), "SELECT" | "WITH" | "VALUES" | "VERIFY") {
            self.client.simple_query("FLUSH").await?;
        }
        // Only what one statement is prepared for has types.
        let types: Vec<Type> = match self.client.prepare(sql).await {
            Ok(prepared) => prepared.columns().iter().map(|column| column.type_().clone()).collect(),
            Err(_) => Vec::new(),
        };
        let (mut rows, mut count, mut described) = (Vec::new(), 0, false);
        for message in self.client.simple_query(sql).await? {
            match message {
                SimpleQueryMessage::Row(row) => {
                    let cell = |place: usize| match row.get(place) {
                        None => "NULL".to_owned(),
                        Some(text) => shown(types.get(place).unwrap_or(&Type::TEXT), text),
                    };
                    rows.push((0..row.len()).map(cell).collect::<Vec<_>>());
                }
                SimpleQueryMessage::RowDescription(_) => (described, rows) = (true, Vec::new()),
                SimpleQueryMessage::CommandComplete(rows) => count = rows,
                _ => {}
            }
        }
        Ok(match described {
            true => DBOutput::Rows { types: vec![DefaultColumnType::Any; rows.first().map_or(0, Vec::len)], rows },
            false => DBOutput::StatementComplete(count),
        })
    }

    async fn shutdown(&mut self) {}

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A value of PostgreSQL's text as the files have it.
fn shown(data_type: &Type, text: &str) -> String {
    if let Kind::Array(item) = data_type.kind() {
        let elements = elements(text).into_iter().map(|element| match element {
            None => "NULL".to_owned(),
            Some(inner) if inner.starts_with('{') => shown(data_type, &inner),
            Some(element) => shown(item, &element),
        });
        return format!("[{}]", elements.collect::<Vec<_>>().join(", "));
    }
    let arrow = match *data_type {
        Type::BOOL => return if text == "t" { "true" } else { "false" }.to_owned(),
        Type::BYTEA => return text.trim_start_matches("\\x").to_owned(),
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        _ if text.is_empty() => return "(empty)".to_owned(),
        _ => return text.to_owned(),
    };
    let one: ArrayRef = Arc::new(StringArray::from(vec![text.replace("mon", "month")]));
    let options = FormatOptions::new().with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));
    let Ok(value) = cast(&one, &arrow) else { return text.to_owned() };
    ArrayFormatter::try_new(&value, &options).unwrap().value(0).to_string()
}

/// The elements of `{1,NULL,"a b"}`; inner arrays stay text.
fn elements(text: &str) -> Vec<Option<String>> {
    let inner = &text[1..text.len() - 1];
    let (mut elements, mut element, mut depth, mut quoted, mut was_quoted) = (vec![], String::new(), 0, false, false);
    let mut chars = inner.chars();
    let finish = |element: &mut String, was_quoted: &mut bool| {
        let null = element == "NULL" && !*was_quoted;
        *was_quoted = false;
        (!null).then(|| std::mem::take(element)).or_else(|| {
            element.clear();
            None
        })
    };
    while let Some(c) = chars.next() {
        match c {
            '\\' if depth == 0 => element.extend(chars.next()),
            '"' => {
                (quoted, was_quoted) = (!quoted, true);
                if depth > 0 {
                    element.push(c);
                }
            }
            ',' if !quoted && depth == 0 => elements.push(finish(&mut element, &mut was_quoted)),
            _ => {
                depth += match c {
                    '{' if !quoted => 1,
                    '}' if !quoted => -1,
                    _ => 0,
                };
                element.push(c);
            }
        }
    }
    if !inner.is_empty() {
        elements.push(finish(&mut element, &mut was_quoted));
    }
    elements
}

fn slt() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("sql-tests/slt")
}

async fn play(file: &Path) -> Result<(), String> {
    let records = sqllogictest::parse_file(file).map_err(|error| error.to_string())?;
    let mut runner = Runner::new(Wire::start);
    for label in [Mode::STRAIGHT.name, "incremental", "wire"] {
        runner.add_label(label);
    }
    for record in arrange(records, Views::BeforeData) {
        if let Err(error) = runner.run_async(record).await {
            return Err(format!("{}: {}", file.display(), error.display(false)));
        }
    }
    runner.shutdown_async().await;
    Ok(())
}

#[test]
fn every_file_gives_the_same_answers_over_the_wire() {
    let wanted = std::env::var("SLT").unwrap_or_default();
    let files = std::fs::read_dir(slt()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "slt"));
    let files = files.filter(|file| file.to_string_lossy().contains(&wanted));
    let files: Vec<_> = files.filter(|file| !std::fs::read_to_string(file).unwrap().contains(ADVANCE)).collect();
    assert!(!files.is_empty(), "no file matches {wanted:?}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let failures: Vec<_> = files.iter().filter_map(|file| runtime.block_on(play(file)).err()).collect();
    assert!(failures.is_empty(), "{} of {} failed:\n\n{}", failures.len(), files.len(), failures.join("\n\n"));
}
