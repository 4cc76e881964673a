//! What one connection does: statements, in a transaction or each for itself.

use datafusion::execution::SendableRecordBatchStream;
use engine::session::{Answer, Engine, Transaction};
use engine::sql::statement::{ParsedStatement, Show, Statement, TransactionControl};
use pgwire::error::{PgWireError, PgWireResult};
use tokio::sync::Mutex;

use super::error::{IN_FAILED_TRANSACTION, of_engine, plain};

/// What a statement did.
pub enum Outcome {
    /// Rows come.
    Rows(SendableRecordBatchStream),
    /// It is done, with this tag.
    Done(String),
    /// A transaction has begun.
    Begun,
    /// A transaction has ended, with this tag.
    Ended(&'static str),
    /// The value of a setting of the protocol.
    Setting(String, &'static str),
}

/// Settings that programs ask for at the start of a connection, as PostgreSQL would answer.
const SETTINGS: [(&str, &str); 9] = [
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, MDY"),
    ("max_identifier_length", "63"),
    ("search_path", "public"),
    ("server_version", super::connection::SERVER_VERSION),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
    ("transaction_isolation", "serializable"),
    ("transaction_read_only", "off"),
];

enum State {
    Idle,
    Open(Box<Transaction>),
    /// A statement of the transaction failed: only its end is accepted.
    Failed,
}

/// A connection's state.
pub struct Session {
    engine: Engine,
    state: Mutex<State>,
}

impl Session {
    /// A session without a transaction.
    pub fn new(engine: Engine) -> Self {
        Self { engine, state: Mutex::new(State::Idle) }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Executes a statement of the text `sql`.
    pub async fn execute(&self, parsed: &ParsedStatement, sql: &str) -> PgWireResult<Outcome> {
        let mut state = self.state.lock().await;
        if let Statement::Transaction(control) = parsed.statement {
            return self.control(&mut state, control).await.map_err(|error| of_engine(&error, sql));
        }
        if let Statement::Show(Show::Setting(name)) = &parsed.statement
            && let Some((_, value)) = SETTINGS.iter().find(|(known, _)| known == name)
        {
            return Ok(Outcome::Setting(name.clone(), value));
        }
        let answer = match &mut *state {
            State::Idle => self.engine.execute(parsed).await,
            State::Open(transaction) => transaction.execute(parsed).await,
            State::Failed => return Err(in_failed_transaction()),
        };
        match answer {
            Ok(Answer::Rows(rows)) => Ok(Outcome::Rows(rows)),
            Ok(Answer::Done(tag)) => Ok(Outcome::Done(tag)),
            Ok(Answer::Noticed { tag, notice }) => {
                tracing::debug!("{notice}");
                Ok(Outcome::Done(tag))
            }
            Err(error) => {
                if !matches!(*state, State::Idle) {
                    *state = State::Failed;
                }
                Err(of_engine(&error, sql))
            }
        }
    }

    async fn control(&self, state: &mut State, control: TransactionControl) -> engine::Result<Outcome> {
        match control {
            TransactionControl::Begin => {
                if matches!(state, State::Idle) {
                    *state = State::Open(Box::new(self.engine.begin().await?));
                }
                Ok(Outcome::Begun)
            }
            TransactionControl::Commit => match std::mem::replace(state, State::Idle) {
                State::Open(transaction) => transaction.commit().await.map(|()| Outcome::Ended("COMMIT")),
                State::Idle => Ok(Outcome::Ended("COMMIT")),
                // As PostgreSQL: there is nothing to commit.
                State::Failed => Ok(Outcome::Ended("ROLLBACK")),
            },
            TransactionControl::Rollback => {
                *state = State::Idle;
                Ok(Outcome::Ended("ROLLBACK"))
            }
        }
    }
}

fn in_failed_transaction() -> PgWireError {
    plain(IN_FAILED_TRANSACTION, "current transaction is aborted, commands ignored until end of transaction block")
}
