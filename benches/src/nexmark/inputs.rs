//! The three tables of Nexmark, as generators or as files that the engine's own generator filled once; and the side input of q13.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::LineDelimitedWriter;
use catalog::SystemClock;
use engine::session::{Answer, Engine, EngineOptions};
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::{Args, SourceKind};

/// Name and columns of each table. The watermark is that of Flink's Nexmark.
const TABLES: [(&str, &str); 3] = [
    (
        "person",
        "id BIGINT, name VARCHAR, email_address VARCHAR, credit_card VARCHAR, city VARCHAR, state VARCHAR, date_time TIMESTAMP(3), extra VARCHAR, WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND",
    ),
    (
        "auction",
        "id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra VARCHAR, WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND",
    ),
    (
        "bid",
        "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP(3), extra VARCHAR, WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND",
    ),
];

/// Rows per file: many files, so that any number of tasks finds work.
const ROWS_PER_FILE: usize = 1 << 20;

/// Rows per row group of Parquet files.
const ROWS_PER_GROUP: usize = 1 << 17;

/// The bounded table of q13, the same from every source.
const SIDE_INPUT: &str = "CREATE TABLE side_input (key BIGINT, value VARCHAR) WITH ('connector' = 'datagen', 'number-of-rows' = '10000', \
     'rows-per-second' = '0', 'fields.key.kind' = 'sequence', 'fields.key.start' = '0', 'fields.key.end' = '9999');\n";

/// Definitions of the tables.
#[derive(Debug)]
pub struct Inputs {
    ddl: String,
}

impl Inputs {
    /// Makes the files unless they are there already.
    pub async fn prepare(args: &Args) -> anyhow::Result<Self> {
        let format = match args.source {
            SourceKind::InProcess => return Ok(Self { ddl: generators(args.events, "") }),
            SourceKind::Parquet => Format::Parquet,
            SourceKind::Json => Format::Json,
        };
        let directory = args.cache.join(format!("{}-{}", format.name(), args.events));
        if !directory.exists() {
            // A generation that was interrupted must not look like a complete one.
            let unfinished = args.cache.join(format!("_{}-{}", format.name(), args.events));
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).with_context(|| format!("cannot empty {}", unfinished.display()))?;
            }
            generate(args.events, format, &unfinished).await.context("cannot generate the events")?;
            fs::rename(&unfinished, &directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        Ok(Self { ddl: files(format, &directory) })
    }

    /// `CREATE TABLE` statements.
    pub fn ddl(&self) -> &str {
        &self.ddl
    }
}

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Parquet,
    Json,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Json => "json",
        }
    }
}

fn generators(events: u64, more: &str) -> String {
    let table = |(name, columns)| {
        format!(
            "CREATE TABLE {name} ({columns}) WITH ('connector' = 'nexmark', 'table' = '{name}', 'events.num' = '{events}'{more});\n"
        )
    };
    TABLES.map(table).concat() + SIDE_INPUT
}

fn files(format: Format, directory: &Path) -> String {
    let table = |(name, columns)| {
        let path = directory.join(name).display().to_string().replace('\'', "''");
        let format = format.name();
        format!(
            "CREATE TABLE {name} ({columns}) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = '{format}');\n"
        )
    };
    TABLES.map(table).concat() + SIDE_INPUT
}

/// Reads the generator's tables as any query would and writes what comes.
async fn generate(events: u64, format: Format, directory: &Path) -> anyhow::Result<()> {
    let warehouse = tempfile::tempdir()?;
    let engine = Engine::open(EngineOptions {
        warehouse: warehouse.path().display().to_string(),
        parallelism: 1,
        commit_interval: Duration::from_secs(1),
        base_dir: warehouse.path().to_path_buf(),
        clock: Arc::new(SystemClock::new()),
        limits: engine::session::Limits::default(),
        cluster: None,
    })
    .await?;
    // One split: the files are in the order of event time.
    for statement in engine.parse(&generators(events, ", 'splits' = '1'"))? {
        engine.execute(&statement).await?;
    }
    for (table, _) in TABLES {
        for statement in engine.parse(&format!("SELECT * FROM {table}"))? {
            let Answer::Rows(mut rows) = engine.execute(&statement).await? else { continue };
            let mut files = Files::new(directory.join(table), format, rows.schema())?;
            while let Some(batch) = rows.next().await {
                files.write(&batch?)?;
            }
            files.close()?;
        }
    }
    engine.shutdown().await?;
    Ok(())
}

/// A directory that is filled file by file.
struct Files {
    directory: PathBuf,
    format: Format,
    schema: SchemaRef,
    current: Option<(Writer, usize)>,
    count: usize,
}

enum Writer {
    Parquet(Box<ArrowWriter<File>>),
    Json(LineDelimitedWriter<BufWriter<File>>),
}

impl Files {
    fn new(directory: PathBuf, format: Format, schema: SchemaRef) -> anyhow::Result<Self> {
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self { directory, format, schema, current: None, count: 0 })
    }

    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let (writer, rows) = match &mut self.current {
            Some(current) => current,
            None => {
                let path = self.directory.join(format!("{:05}.{}", self.count, self.format.name()));
                let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
                self.count += 1;
                self.current.insert((Writer::new(self.format, file, &self.schema)?, 0))
            }
        };
        writer.write(batch)?;
        *rows += batch.num_rows();
        if *rows >= ROWS_PER_FILE { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> anyhow::Result<()> {
        self.current.take().map_or(Ok(()), |(writer, _)| writer.close())
    }
}

impl Writer {
    fn new(format: Format, file: File, schema: &SchemaRef) -> anyhow::Result<Self> {
        Ok(match format {
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_max_row_group_row_count(Some(ROWS_PER_GROUP));
                let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.build()))?;
                Self::Parquet(Box::new(writer))
            }
            Format::Json => Self::Json(LineDelimitedWriter::new(BufWriter::new(file))),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        match self {
            Self::Parquet(writer) => writer.write(batch)?,
            Self::Json(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Parquet(writer) => {
                writer.close()?;
            }
            Self::Json(mut writer) => {
                writer.finish()?;
                writer.into_inner().flush()?;
            }
        }
        Ok(())
    }
}
