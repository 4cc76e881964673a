//! A set of queries kept as views over changing tables, each compared with the same query asked in batch.

use std::collections::BTreeSet;

use anyhow::{Context, bail};

use crate::compare::difference;
use crate::mode::Mode;
use crate::warehouse::Warehouse;

/// A warehouse with views that must equal their queries.
pub struct Suite {
    warehouse: Warehouse,
    views: Vec<(String, String)>,
    found: BTreeSet<String>,
}

impl Suite {
    /// An empty warehouse.
    pub async fn new(mode: Mode) -> anyhow::Result<Self> {
        Ok(Self { warehouse: Warehouse::new(mode).await?, views: Vec::new(), found: BTreeSet::new() })
    }

    /// Executes statements, each ended by a semicolon.
    pub async fn run(&self, sql: &str) -> anyhow::Result<()> {
        self.warehouse.query(sql).await.with_context(|| sql.to_owned()).map(|_| ())
    }

    /// Keeps a query as a view.
    pub async fn keep(&mut self, name: &str, query: &str) -> Result<(), engine::Error> {
        self.warehouse.query(&format!("CREATE MATERIALIZED VIEW {name} AS {query}")).await?;
        self.views.push((name.to_owned(), query.to_owned()));
        Ok(())
    }

    /// Kills the engine and opens the warehouse with another number of tasks.
    pub async fn restart(&mut self, tasks: usize) -> anyhow::Result<()> {
        self.warehouse.restart_with(tasks).await?;
        Ok(())
    }

    /// Compares every view with its query, after all that was committed before.
    ///
    /// # Errors
    /// All views that differ.
    pub async fn compare(&mut self, when: &str) -> anyhow::Result<()> {
        self.run("FLUSH").await?;
        let mut wrong = Vec::new();
        for (name, query) in &self.views {
            let wanted = self.warehouse.query(query).await.with_context(|| format!("{name} in batch"))?;
            let found = self.warehouse.query(&format!("SELECT * FROM {name}")).await?;
            let (wanted, found) = (wanted.unwrap_or_default(), found.unwrap_or_default());
            if !wanted.is_empty() {
                self.found.insert(name.clone());
            }
            wrong.extend(difference(&found, &wanted).map(|difference| format!("{name}: {difference}")));
        }
        if !wrong.is_empty() {
            bail!("{when}:\n{}", wrong.join("\n"));
        }
        Ok(())
    }

    /// Views that never had a row: they test nothing.
    pub fn always_empty(&self) -> Vec<&str> {
        self.views.iter().map(|(name, _)| name.as_str()).filter(|name| !self.found.contains(*name)).collect()
    }
}
