//! Several statements as one: BEGIN ... COMMIT.
//!
//! A transaction reads the version at which it began, and what its own statements have changed: their segments are written
//! at once and hang on the tables of a snapshot that only the transaction sees. COMMIT names all of them in one commit of
//! the catalog, on condition that nobody has changed meanwhile what they were computed from; ROLLBACK forgets them, and the
//! sweep removes the files. Views show what is committed: they follow afterwards.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use catalog::{ObjectKind, Segment, Snapshot};
use datafusion::execution::SendableRecordBatchStream;

use super::change::{Work, Written, sent_rows, tag};
use crate::error::{Error, ErrorKind, Result};
use crate::session::{Answer, Engine, Inner, timeout};
use crate::sql::context::Mode;
use crate::sql::statement::{CopyFrom, ParsedStatement, Statement};

/// An open transaction. Dropping it rolls it back.
pub struct Transaction {
    engine: Engine,
    /// The version at which it began.
    base: Arc<Snapshot>,
    /// That version with the transaction's own changes.
    own: Arc<Snapshot>,
    written: Vec<Written>,
    savepoints: Vec<Savepoint>,
}

/// A point to which a transaction can go back.
struct Savepoint {
    name: String,
    own: Arc<Snapshot>,
    /// How many changes came before it.
    written: usize,
}

impl Engine {
    /// Begins a transaction at the newest version.
    pub async fn begin(&self) -> Result<Transaction> {
        let base = self.inner.snapshot().await?;
        Ok(Transaction { engine: self.clone(), own: base.clone(), base, written: Vec::new(), savepoints: Vec::new() })
    }
}

impl Transaction {
    /// Executes a query, INSERT, UPDATE, DELETE, MERGE, TRUNCATE or SET.
    ///
    /// # Errors
    /// `Sql` for statements that are no part of transactions, and for tables that know none (behind a connector); else as
    /// [`Engine::execute`].
    pub async fn execute(&mut self, parsed: &ParsedStatement) -> Result<Answer> {
        let at = Some(parsed.position);
        let limit = self.engine.timeout();
        timeout::limited(limit, self.statement(parsed))
            .await
            .map_err(|error| if error.kind() == ErrorKind::Sql { error.at(at) } else { error })
    }

    /// See [`Engine::copy_in`].
    pub async fn copy_in(&mut self, copy: &CopyFrom, rows: SendableRecordBatchStream) -> Result<u64> {
        self.refuse_connector(&copy.insert.table)?;
        let inner = self.engine.inner.clone();
        inner.permit(&Statement::CopyFrom(copy.clone()), &self.engine.settings).await?;
        self.change(&inner, Work::Copy(&copy.insert, &sent_rows(rows)?)).await
    }

    /// See [`Engine::copy_columns`].
    pub fn copy_columns(&self, copy: &CopyFrom) -> Result<SchemaRef> {
        let inner = &self.engine.inner;
        inner.copy_columns(&inner.planner(self.own.clone()), copy)
    }

    /// Makes all changes visible, at once.
    ///
    /// # Errors
    /// `Conflict` if somebody else has changed a table from which a change was computed: nothing is committed then.
    pub async fn commit(self) -> Result<()> {
        let changed = !self.written.is_empty();
        self.engine.inner.commit_changes(self.base.version, self.written).await?;
        if changed { self.engine.inner.flush_if_asked(&self.engine.settings).await } else { Ok(()) }
    }

    /// `SAVEPOINT`. A name can be given again: the newest counts.
    pub fn savepoint(&mut self, name: &str) {
        let (own, written) = (self.own.clone(), self.written.len());
        self.savepoints.push(Savepoint { name: name.to_owned(), own, written });
    }

    /// `RELEASE`.
    ///
    /// # Errors
    /// `Sql` if there is no such savepoint.
    pub fn release(&mut self, name: &str) -> Result<()> {
        let place = self.place_of(name)?;
        self.savepoints.truncate(place);
        Ok(())
    }

    /// `ROLLBACK TO`: the savepoint itself stays.
    ///
    /// # Errors
    /// `Sql` if there is no such savepoint.
    pub fn rollback_to(&mut self, name: &str) -> Result<()> {
        let place = self.place_of(name)?;
        self.savepoints.truncate(place + 1);
        let Savepoint { own, written, .. } = &self.savepoints[place];
        self.own = own.clone();
        self.written.truncate(*written);
        Ok(())
    }

    fn place_of(&self, name: &str) -> Result<usize> {
        let place = self.savepoints.iter().rposition(|savepoint| savepoint.name == name);
        place.ok_or_else(|| Error::sql(format!("there is no savepoint named {name}")))
    }

    async fn statement(&mut self, parsed: &ParsedStatement) -> Result<Answer> {
        let inner = self.engine.inner.clone();
        inner.permit(&parsed.statement, &self.engine.settings).await?;
        match &parsed.statement {
            Statement::Query(query) => {
                let planned = inner.planner(self.own.clone()).query(query, Mode::Batch).await?;
                Ok(Answer::Rows(inner.adhoc.run(planned.state, planned.logical).await?))
            }
            Statement::Insert(insert) => {
                self.refuse_connector(&insert.table)?;
                if inner.is_continuous(insert).await? {
                    return Err(Error::sql(
                        "an INSERT from an input without end is a job, and no part of a transaction",
                    )
                    .hint("COMMIT first"));
                }
                Ok(Answer::Done(format!("INSERT 0 {}", self.change(&inner, Work::Insert(insert)).await?)))
            }
            Statement::Change(change) => {
                Ok(Answer::Done(tag(change, self.change(&inner, Work::Change(change)).await?)))
            }
            Statement::Set { .. }
            | Statement::Reset(_)
            | Statement::Unlisten
            | Statement::Subscribe(_)
            | Statement::Show(_)
            | Statement::Describe(_)
            | Statement::Explain { .. }
            | Statement::ExplainChange(_) => inner.execute(parsed, &self.engine.settings).await,
            _ => Err(Error::sql("this statement is no part of a transaction").hint("COMMIT or ROLLBACK first")),
        }
    }

    fn refuse_connector(&self, table: &str) -> Result<()> {
        match self.own.object(table) {
            Some(object) if object.kind == ObjectKind::Connector => {
                Err(Error::sql(format!("{table} is behind a connector, which knows no transactions"))
                    .hint("COMMIT or ROLLBACK first"))
            }
            _ => Ok(()),
        }
    }

    async fn change(&mut self, inner: &Inner, work: Work<'_>) -> Result<u64> {
        let (rows, written) = inner.compute(&inner.planner(self.own.clone()), work).await?;
        let mut own = Snapshot::clone(&self.own);
        for Written { table, segments, .. } in &written {
            let mut state = own.tables.get(table).map(|state| state.as_ref().clone()).unwrap_or_default();
            let version = self.base.version;
            state.hot.extend(segments.iter().map(|file| Segment { file: file.clone(), version }));
            own.tables.insert(*table, Arc::new(state));
        }
        self.own = Arc::new(own);
        self.written.extend(written);
        Ok(rows)
    }
}
