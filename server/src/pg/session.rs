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
pub const SETTINGS: [(&str, &str); 9] = [
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
    /// A statement of the transaction failed: only its end is accepted, or going back to a savepoint.
    Failed(Box<Transaction>),
}

impl State {
    /// After a failed statement.
    fn failed(self) -> Self {
        match self {
            Self::Open(transaction) => Self::Failed(transaction),
            other => other,
        }
    }
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
        if let Statement::Transaction(control) = &parsed.statement {
            return match self.control(&mut state, control).await {
                Ok(outcome) => Ok(outcome),
                Err(None) => Err(in_failed_transaction()),
                Err(Some(error)) => {
                    *state = std::mem::replace(&mut *state, State::Idle).failed();
                    Err(of_engine(&error, sql))
                }
            };
        }
        if let Statement::Show(Show::Setting(name)) = &parsed.statement
            && let Some((_, value)) = SETTINGS.iter().find(|(known, _)| known == name)
        {
            return Ok(Outcome::Setting(name.clone(), value));
        }
        let answer = match &mut *state {
            State::Idle => self.engine.execute(parsed).await,
            State::Open(transaction) => transaction.execute(parsed).await,
            State::Failed(_) => return Err(in_failed_transaction()),
        };
        match answer {
            Ok(Answer::Rows(rows)) => Ok(Outcome::Rows(rows)),
            Ok(Answer::Done(tag)) => Ok(Outcome::Done(tag)),
            Ok(Answer::Noticed { tag, notice }) => {
                tracing::debug!("{notice}");
                Ok(Outcome::Done(tag))
            }
            Err(error) => {
                *state = std::mem::replace(&mut *state, State::Idle).failed();
                Err(of_engine(&error, sql))
            }
        }
    }

    /// Whether there is a transaction, failed or not.
    pub async fn in_transaction(&self) -> bool {
        !matches!(*self.state.lock().await, State::Idle)
    }

    /// A statement was broken off: the transaction that it belongs to can only be rolled back.
    pub async fn fail(&self) {
        let mut state = self.state.lock().await;
        *state = std::mem::replace(&mut *state, State::Idle).failed();
    }

    /// `Err(None)`: the transaction has failed before.
    async fn control(&self, state: &mut State, control: &TransactionControl) -> Result<Outcome, Option<engine::Error>> {
        match (control, &mut *state) {
            (TransactionControl::Begin, State::Idle) => {
                *state = State::Open(Box::new(self.engine.begin().await?));
                Ok(Outcome::Begun)
            }
            (TransactionControl::Begin, State::Open(_)) => Ok(Outcome::Begun),
            (TransactionControl::Commit, _) => match std::mem::replace(state, State::Idle) {
                State::Open(transaction) => {
                    transaction.commit().await?;
                    Ok(Outcome::Ended("COMMIT"))
                }
                State::Idle => Ok(Outcome::Ended("COMMIT")),
                // As PostgreSQL: there is nothing to commit.
                State::Failed(_) => Ok(Outcome::Ended("ROLLBACK")),
            },
            (TransactionControl::Rollback, _) => {
                *state = State::Idle;
                Ok(Outcome::Ended("ROLLBACK"))
            }
            (TransactionControl::RollbackTo(name), State::Open(transaction) | State::Failed(transaction)) => {
                transaction.rollback_to(name)?;
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
                transaction.release(name)?;
                Ok(Outcome::Done("RELEASE".into()))
            }
            (_, State::Failed(_)) => Err(None),
            (_, State::Idle) => {
                Err(Some(engine::Error::sql("savepoints are part of a transaction").hint("BEGIN first")))
            }
        }
    }
}

fn in_failed_transaction() -> PgWireError {
    plain(IN_FAILED_TRANSACTION, "current transaction is aborted, commands ignored until end of transaction block")
}
