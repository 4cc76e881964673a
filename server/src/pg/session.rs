//! What one connection does: statements, in a transaction or each for itself, and cursors.

use std::collections::HashMap;
use std::sync::PoisonError;

use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use engine::session::{Answer, Engine, Transaction};
use engine::sql::statement::{
    CopyFrom, CopyOptions, CursorControl, ParsedStatement, RowSource, Show, Statement, TransactionControl,
};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::response::TransactionStatus;
use tokio::sync::Mutex;

use super::cursor::Cursor;
use super::error::{IN_FAILED_TRANSACTION, of_engine, plain};

/// What a statement did.
pub enum Outcome {
    /// Rows come.
    Rows(SendableRecordBatchStream),
    /// Rows of a cursor.
    Fetched(SendableRecordBatchStream),
    /// It is done, with this tag.
    Done(String),
    /// It is done, with this tag; the client should know something.
    Noticed(String, String),
    /// The value of a setting of the protocol.
    Setting(String, String),
    /// Rows of these columns are to come from the client.
    CopyIn(SchemaRef),
    /// Rows go to the client.
    CopyOut(SendableRecordBatchStream, CopyOptions),
    /// A prepared statement is to be forgotten, or all.
    Deallocated(Option<String>),
    /// All that the connection had is to be forgotten.
    Discarded,
}

/// Settings that programs ask for at the start of a connection, as PostgreSQL would answer.
pub const SETTINGS: [(&str, &str); 12] = [
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "serializable"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("max_identifier_length", "63"),
    ("search_path", "public"),
    ("server_version", super::startup::SERVER_VERSION),
    ("server_version_num", "160006"),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
    ("transaction_isolation", "serializable"),
];

/// The setting that says whether a transaction may write.
const READ_ONLY: &str = "transaction_read_only";
/// The setting of those to come.
const DEFAULT_READ_ONLY: &str = "default_transaction_read_only";

enum State {
    Idle,
    Open(Box<Transaction>),
    /// A statement of the transaction failed: only its end is accepted, or going back to a savepoint.
    Failed(Box<Transaction>),
}

impl State {
    /// After a failed statement.
    fn failed(&mut self) {
        *self = match std::mem::replace(self, Self::Idle) {
            Self::Open(transaction) => Self::Failed(transaction),
            other => other,
        };
    }
}

/// Which transactions may write.
#[derive(Debug, Clone, Copy, Default)]
struct ReadOnly {
    /// The present one.
    now: bool,
    /// Those to come.
    default: bool,
}

/// A connection's state.
pub struct Session {
    engine: Engine,
    user: String,
    state: Mutex<State>,
    cursors: Mutex<HashMap<String, Cursor>>,
    read_only: std::sync::Mutex<ReadOnly>,
}

impl Session {
    /// A session without a transaction.
    pub fn new(engine: &Engine, user: String) -> Self {
        let engine = engine.session_of(Some(user.clone()), None);
        Self {
            engine,
            user,
            state: Mutex::new(State::Idle),
            cursors: Mutex::default(),
            read_only: std::sync::Mutex::default(),
        }
    }

    /// Who the client is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The engine, with what this connection has set.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where it is, as the protocol says it.
    pub async fn status(&self) -> TransactionStatus {
        match *self.state.lock().await {
            State::Idle => TransactionStatus::Idle,
            State::Open(_) => TransactionStatus::Transaction,
            State::Failed(_) => TransactionStatus::Error,
        }
    }

    /// Executes a statement of the text `sql`.
    pub async fn execute(&self, parsed: &ParsedStatement, sql: &str) -> PgWireResult<Outcome> {
        let mut state = self.state.lock().await;
        let outcome = self.statement(&mut state, parsed, sql).await;
        if outcome.is_err() {
            state.failed();
        }
        outcome
    }

    /// A statement was broken off: the transaction that it belongs to can only be rolled back.
    pub async fn fail(&self) {
        self.state.lock().await.failed();
    }

    /// Begins a transaction for the statements of one text, unless there is one.
    pub async fn begin_implicit(&self) -> PgWireResult<bool> {
        let mut state = self.state.lock().await;
        if !matches!(*state, State::Idle) {
            return Ok(false);
        }
        *state = State::Open(Box::new(self.engine.begin().await.map_err(|error| of_engine(&error, ""))?));
        self.modes(|modes| modes.now = modes.default);
        Ok(true)
    }

    /// Ends what [`Self::begin_implicit`] began.
    pub async fn end_implicit(&self, commit: bool) -> PgWireResult<()> {
        let mut state = self.state.lock().await;
        match std::mem::replace(&mut *state, State::Idle) {
            State::Open(transaction) if commit => transaction.commit().await.map_err(|error| of_engine(&error, "")),
            _ => Ok(()),
        }
    }

    /// Inserts the rows that a client sends.
    pub async fn copy_in(&self, copy: &CopyFrom, rows: SendableRecordBatchStream) -> engine::Result<u64> {
        let mut state = self.state.lock().await;
        let copied = match &mut *state {
            State::Open(transaction) => transaction.copy_in(copy, rows).await,
            _ => self.engine.copy_in(copy, rows).await,
        };
        if copied.is_err() {
            state.failed();
        }
        copied
    }

    /// The columns of a statement about cursors, if it gives rows.
    pub async fn columns_of(&self, control: &CursorControl) -> Option<SchemaRef> {
        match control {
            CursorControl::Fetch { name, skip: false, .. } => self.cursor_columns(name).await,
            _ => None,
        }
    }

    /// The columns of a cursor. In the protocol it is a portal like others.
    pub async fn cursor_columns(&self, name: &str) -> Option<SchemaRef> {
        self.cursors.lock().await.get(name).map(Cursor::columns)
    }

    /// Closes a cursor, if there is one of that name.
    pub async fn close_cursor(&self, name: &str) {
        self.cursors.lock().await.remove(name);
    }

    async fn statement(&self, state: &mut State, parsed: &ParsedStatement, sql: &str) -> PgWireResult<Outcome> {
        let failed = |error: engine::Error| of_engine(&error, sql);
        if let Statement::Transaction(control) = &parsed.statement {
            return self.control(state, control, sql).await;
        }
        if matches!(state, State::Failed(_)) {
            return Err(in_failed_transaction());
        }
        self.refuse_writing(state, &parsed.statement)?;
        match &parsed.statement {
            Statement::Show(Show::Setting(name)) => {
                if let Some(value) = self.setting(name) {
                    return Ok(Outcome::Setting(name.clone(), value));
                }
            }
            Statement::Set { name, value } if name == DEFAULT_READ_ONLY => {
                let on = matches!(value.to_ascii_lowercase().as_str(), "on" | "true" | "1" | "yes");
                self.modes(|modes| modes.default = on);
                return Ok(Outcome::Done("SET".into()));
            }
            Statement::Reset(name) if name.as_deref().is_none_or(|name| name == DEFAULT_READ_ONLY) => {
                self.modes(|modes| modes.default = false);
                if name.is_some() {
                    return Ok(Outcome::Done("RESET".into()));
                }
            }
            Statement::CopyFrom(copy) => {
                let columns = match state {
                    State::Open(transaction) => transaction.copy_columns(copy),
                    _ => self.engine.copy_columns(copy).await,
                };
                return Ok(Outcome::CopyIn(columns.map_err(failed)?));
            }
            Statement::CopyTo(copy) => {
                let rows = self.rows(state, &copy.rows, parsed, sql).await?;
                return Ok(Outcome::CopyOut(rows, copy.options.clone()));
            }
            Statement::Cursor(control) => return self.cursor(state, control, parsed, sql).await,
            Statement::Deallocate(name) => return Ok(Outcome::Deallocated(name.clone())),
            Statement::Discard => {
                if matches!(state, State::Open(_)) {
                    return Err(plain("25001", "DISCARD ALL cannot run inside a transaction block"));
                }
                self.cursors.lock().await.clear();
                self.modes(|modes| *modes = ReadOnly::default());
                self.engine.execute(parsed).await.map_err(failed)?;
                return Ok(Outcome::Discarded);
            }
            _ => {}
        }
        Ok(match self.run(state, parsed).await.map_err(failed)? {
            Answer::Rows(rows) => Outcome::Rows(rows),
            Answer::Done(tag) => Outcome::Done(tag),
            Answer::Noticed { tag, notice } => Outcome::Noticed(tag, notice),
        })
    }

    async fn run(&self, state: &mut State, parsed: &ParsedStatement) -> engine::Result<Answer> {
        match state {
            State::Open(transaction) => transaction.execute(parsed).await,
            _ => self.engine.execute(parsed).await,
        }
    }

    /// The rows of a query or subscription.
    async fn rows(
        &self,
        state: &mut State,
        source: &RowSource,
        parsed: &ParsedStatement,
        sql: &str,
    ) -> PgWireResult<SendableRecordBatchStream> {
        let statement = match source {
            RowSource::Query(query) => Statement::Query(query.as_ref().clone()),
            RowSource::Subscribe(subscribe) => Statement::Subscribe(subscribe.clone()),
        };
        let parsed = ParsedStatement { statement, text: parsed.text.clone(), position: parsed.position };
        match self.run(state, &parsed).await.map_err(|error| of_engine(&error, sql))? {
            Answer::Rows(rows) => Ok(rows),
            Answer::Done(_) | Answer::Noticed { .. } => Err(plain("XX000", "a query gave no rows")),
        }
    }

    async fn cursor(
        &self,
        state: &mut State,
        control: &CursorControl,
        parsed: &ParsedStatement,
        sql: &str,
    ) -> PgWireResult<Outcome> {
        let mut cursors = self.cursors.lock().await;
        let missing = |name: &str| plain("34000", format!("cursor \"{name}\" does not exist"));
        match control {
            CursorControl::Declare { name, hold, rows } => {
                let endless = matches!(rows, RowSource::Subscribe(_));
                if matches!(state, State::Idle) && !hold && !endless {
                    return Err(plain("25P01", "DECLARE CURSOR can only be used in transaction blocks"));
                }
                if cursors.contains_key(name) {
                    return Err(plain("42P03", format!("cursor \"{name}\" already exists")));
                }
                let rows = self.rows(state, rows, parsed, sql).await?;
                let kept = *hold || matches!(state, State::Idle);
                cursors.insert(name.clone(), Cursor::new(rows, endless, kept));
                Ok(Outcome::Done("DECLARE CURSOR".into()))
            }
            CursorControl::Fetch { name, count, skip } => {
                let cursor = cursors.get_mut(name).ok_or_else(|| missing(name))?;
                let (rows, number) = cursor.fetch(*count).await.map_err(|error| of_engine(&error, sql))?;
                Ok(if *skip { Outcome::Done(format!("MOVE {number}")) } else { Outcome::Fetched(rows) })
            }
            CursorControl::Close(Some(name)) => {
                cursors.remove(name).ok_or_else(|| missing(name))?;
                Ok(Outcome::Done("CLOSE CURSOR".into()))
            }
            CursorControl::Close(None) => {
                cursors.clear();
                Ok(Outcome::Done("CLOSE CURSOR ALL".into()))
            }
        }
    }

    async fn control(&self, state: &mut State, control: &TransactionControl, sql: &str) -> PgWireResult<Outcome> {
        let failed = |error: engine::Error| of_engine(&error, sql);
        match (control, &mut *state) {
            (TransactionControl::Begin { read_only }, State::Idle) => {
                *state = State::Open(Box::new(self.engine.begin().await.map_err(failed)?));
                self.modes(|modes| modes.now = read_only.unwrap_or(modes.default));
                Ok(Outcome::Done("BEGIN".into()))
            }
            (TransactionControl::Begin { .. }, State::Open(_)) => {
                Ok(Outcome::Noticed("BEGIN".into(), "there is already a transaction in progress".into()))
            }
            (TransactionControl::Modes { read_only, session }, State::Idle | State::Open(_)) => {
                self.modes(|modes| match session {
                    true => modes.default = read_only.unwrap_or(modes.default),
                    false => modes.now = read_only.unwrap_or(modes.now),
                });
                Ok(Outcome::Done("SET".into()))
            }
            (TransactionControl::Commit, _) => {
                let transaction = std::mem::replace(state, State::Idle);
                self.end_cursors().await;
                match transaction {
                    State::Open(transaction) => {
                        transaction.commit().await.map_err(failed)?;
                        Ok(Outcome::Done("COMMIT".into()))
                    }
                    State::Idle => Ok(Outcome::Noticed("COMMIT".into(), "there is no transaction in progress".into())),
                    // As PostgreSQL: there is nothing to commit.
                    State::Failed(_) => Ok(Outcome::Done("ROLLBACK".into())),
                }
            }
            (TransactionControl::Rollback, _) => {
                *state = State::Idle;
                self.end_cursors().await;
                Ok(Outcome::Done("ROLLBACK".into()))
            }
            (TransactionControl::RollbackTo(name), State::Open(transaction) | State::Failed(transaction)) => {
                transaction.rollback_to(name).map_err(failed)?;
                *state = match std::mem::replace(state, State::Idle) {
                    State::Failed(transaction) => State::Open(transaction),
                    other => other,
                };
                Ok(Outcome::Done("ROLLBACK".into()))
            }
            (TransactionControl::Savepoint(name), State::Open(transaction)) => {
                transaction.savepoint(name);
                Ok(Outcome::Done("SAVEPOINT".into()))
            }
            (TransactionControl::Release(name), State::Open(transaction)) => {
                transaction.release(name).map_err(failed)?;
                Ok(Outcome::Done("RELEASE".into()))
            }
            (_, State::Failed(_)) => Err(in_failed_transaction()),
            (_, State::Idle) => {
                Err(failed(engine::Error::sql("savepoints are part of a transaction").hint("BEGIN first")))
            }
        }
    }

    /// Cursors without HOLD go with their transaction.
    async fn end_cursors(&self) {
        self.cursors.lock().await.retain(|_, cursor| cursor.is_kept());
    }

    fn modes<T>(&self, work: impl FnOnce(&mut ReadOnly) -> T) -> T {
        work(&mut self.read_only.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The value of a setting of the protocol.
    pub fn setting(&self, name: &str) -> Option<String> {
        let onoff = |on: bool| if on { "on" } else { "off" }.to_owned();
        match name {
            "session_authorization" => Some(self.user.clone()),
            READ_ONLY => Some(onoff(self.modes(|modes| modes.now))),
            DEFAULT_READ_ONLY => Some(onoff(self.modes(|modes| modes.default))),
            _ => SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
        }
    }

    /// Fails if a statement that writes stands in a transaction that is read only.
    fn refuse_writing(&self, state: &State, statement: &Statement) -> PgWireResult<()> {
        let read_only = self.modes(|modes| if matches!(state, State::Idle) { modes.default } else { modes.now });
        let verb = match statement {
            _ if !read_only => None,
            Statement::Insert(_) | Statement::StatementSet(_) => Some("INSERT"),
            Statement::Change(_) => Some("a change of rows"),
            Statement::CopyFrom(_) => Some("COPY FROM"),
            Statement::CreateTable(_) | Statement::CreateView(_) | Statement::CreateFunction(_) => Some("CREATE"),
            Statement::Drop(_) => Some("DROP"),
            Statement::Access(_) => Some("a change of users or rights"),
            _ => None,
        };
        let refused = |verb| plain("25006", format!("cannot execute {verb} in a read-only transaction"));
        verb.map_or(Ok(()), |verb| Err(refused(verb)))
    }
}

fn in_failed_transaction() -> PgWireError {
    plain(IN_FAILED_TRANSACTION, "current transaction is aborted, commands ignored until end of transaction block")
}
