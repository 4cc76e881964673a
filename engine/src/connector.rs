//! From the options of `CREATE TABLE ... WITH ('connector' = ...)` to something that can be read or written.
//!
//! Everything that can be known to be wrong before rows flow is refused here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use catalog::Clock;

use crate::error::{Error, Result};
use crate::options::Options;
use crate::sink::SinkFactory;
use crate::sink::blackhole::Blackhole;
use crate::sink::print::PrintFactory;
use crate::source::Source;
use crate::source::datagen::Datagen;
use crate::source::filesystem::Filesystem;
use crate::source::nexmark::Nexmark;

/// A connector table, ready to be opened.
#[derive(Debug, Clone)]
pub struct ConnectorTable {
    /// The connector's name.
    pub connector: &'static str,
    /// How to read it, if it can be read.
    pub source: Option<Arc<dyn Source>>,
    /// How to write it, if it can be written.
    pub sink: Option<Arc<dyn SinkFactory>>,
}

impl ConnectorTable {
    fn source_only(connector: &'static str, source: impl Source + 'static) -> Self {
        Self { connector, source: Some(Arc::new(source)), sink: None }
    }

    fn sink_only(connector: &'static str, sink: impl SinkFactory + 'static) -> Self {
        Self { connector, source: None, sink: Some(Arc::new(sink)) }
    }

    /// The source, or an error that says that `table` cannot be read.
    pub fn readable(&self, table: &str) -> Result<Arc<dyn Source>> {
        self.source.clone().ok_or_else(|| {
            Error::sql(format!("the table {table} cannot be read: its connector '{}' only writes", self.connector))
                .hint("select from the query that feeds it, or from a table without a connector")
        })
    }

    /// The sink, or an error that says that `table` cannot be written.
    pub fn writable(&self, table: &str) -> Result<Arc<dyn SinkFactory>> {
        self.sink.clone().ok_or_else(|| {
            Error::sql(format!("the table {table} cannot be written: its connector '{}' only reads", self.connector))
                .hint("insert into a table without a connector (its files are Iceberg tables), or into 'print' or 'blackhole'")
        })
    }
}

/// Makes a connector table from its `WITH` options. Relative paths start at `base_dir`.
///
/// # Errors
/// `Option` for names and values of options, `Sql` for columns that the connector does not have, `Unavailable` for a
/// bounded source's missing or unreadable files, `Data` for files whose columns are not those declared.
pub fn create(
    properties: &BTreeMap<String, String>,
    schema: SchemaRef,
    clock: Arc<dyn Clock>,
    base_dir: &Path,
) -> Result<ConnectorTable> {
    let options = Options::parse(properties)?;
    let name = options.connector();
    match name {
        "filesystem" => Ok(ConnectorTable::source_only(name, Filesystem::create(&options, schema, base_dir)?)),
        "nexmark" => Ok(ConnectorTable::source_only(name, Nexmark::create(&options, schema, clock)?)),
        "datagen" => Ok(ConnectorTable::source_only(name, Datagen::create(&options, schema, clock)?)),
        "print" => {
            let identifier = options.text("print-identifier").map(str::to_string);
            Ok(ConnectorTable::sink_only(name, PrintFactory::new(identifier)))
        }
        "blackhole" => Ok(ConnectorTable::sink_only(name, Blackhole)),
        other => Err(Error::internal(format!("the connector '{other}' is listed but not made"))),
    }
}
