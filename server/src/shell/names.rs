//! The names that there are, for completion: fetched in the background, so that nobody waits for them while typing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datafusion::execution::SendableRecordBatchStream;
use engine::session::Answer;
use engine::sql::parse::quoted;
use engine::sql::statement::Statement;
use futures::StreamExt;

use crate::executor::{self, Executor};
use crate::failure::Failure;
use crate::output::Values;

/// How long a completion waits for names that are being fetched: as long as nobody notices.
const PATIENCE: Duration = Duration::from_millis(300);

/// Columns are fetched of so many tables and views; of more it would take long.
const DESCRIBED: usize = 1_000;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A table, stored or behind a connector.
    Table,
    /// A view of either kind.
    View,
    /// A view that is kept.
    MaterializedView,
}

impl RelationKind {
    /// Whether a relation of the other kind may stand where this one is wanted.
    pub fn offers(self, other: Self) -> bool {
        self == other || (self == Self::View && other == Self::MaterializedView)
    }
}

/// A table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Names of its columns.
    pub columns: Vec<String>,
}

/// All names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Tables and views.
    pub relations: Vec<Relation>,
    /// Functions that were created.
    pub functions: Vec<String>,
    /// Jobs.
    pub jobs: Vec<String>,
}

/// The names as they were when they were last fetched.
#[derive(Default)]
pub struct KnownNames {
    state: Mutex<State>,
    fetched: Condvar,
}

#[derive(Default)]
struct State {
    names: Arc<Names>,
    /// Fetches under way.
    fetching: usize,
}

impl KnownNames {
    /// The names. If they are being fetched, it may take a moment, but not longer.
    pub fn get(&self) -> Arc<Names> {
        let waited = self.fetched.wait_timeout_while(self.state(), PATIENCE, |state| state.fetching > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.names.clone()
    }

    /// Fetches them in the background. What cannot be fetched is not offered, and nobody is told.
    pub fn refresh(self: &Arc<Self>, executor: &Arc<Executor>) -> tokio::task::JoinHandle<()> {
        self.state().fetching += 1;
        let fetch = Fetch(self.clone());
        let executor = executor.clone();
        tokio::spawn(async move {
            if let Ok(names) = names(&executor).await {
                fetch.0.state().names = Arc::new(names);
            }
            drop(fetch);
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch under way, until it is dropped: also when it is aborted.
struct Fetch(Arc<KnownNames>);

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.state().fetching -= 1;
        self.0.fetched.notify_all();
    }
}

/// Whether a statement can change the names that there are.
pub fn redefines(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::CreateTable(_)
            | Statement::CreateView(_)
            | Statement::CreateFunction(_)
            | Statement::Drop(_)
            | Statement::Insert(_)
            | Statement::StatementSet(_)
            | Statement::Job(..)
    )
}

async fn names(executor: &Executor) -> Result<Names, Failure> {
    let mut relations = Vec::new();
    for statement in ["SHOW TABLES", "SHOW VIEWS"] {
        for mut line in lines(executor, statement).await? {
            let kind = match line.get(1).map(String::as_str) {
                Some("view") => RelationKind::View,
                Some("materialized view") => RelationKind::MaterializedView,
                _ => RelationKind::Table,
            };
            relations.push(Relation { name: std::mem::take(&mut line[0]), kind, columns: Vec::new() });
        }
    }
    for relation in relations.iter_mut().take(DESCRIBED) {
        // One that was dropped meanwhile has none.
        let columns = lines(executor, &format!("DESCRIBE {}", quoted(&relation.name))).await.unwrap_or_default();
        relation.columns = first_of_each(columns);
    }
    let functions = first_of_each(lines(executor, "SHOW FUNCTIONS").await?);
    let jobs = first_of_each(lines(executor, "SHOW JOBS").await?);
    Ok(Names { relations, functions, jobs })
}

fn first_of_each(lines: Vec<Vec<String>>) -> Vec<String> {
    lines.into_iter().filter_map(|line| line.into_iter().next()).collect()
}

/// The rows of a statement as text; NULL is empty. Every row has a value at least.
pub async fn lines(executor: &Executor, statement: &str) -> Result<Vec<Vec<String>>, Failure> {
    let mut lines = Vec::new();
    let mut rows = rows(executor, statement).await?;
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(engine::Error::from)?;
        let values = Values::new(&batch).map_err(Failure::output)?;
        let text = |column, row| values.get(column, row).map_or_else(String::new, |value| value.to_string());
        let line = |row| (0..values.width()).map(|column| text(column, row)).collect::<Vec<_>>();
        lines.extend((0..batch.num_rows()).map(line).filter(|line| !line.is_empty()));
    }
    Ok(lines)
}

/// The rows of a single statement that has some.
pub async fn rows(executor: &Executor, statement: &str) -> Result<SendableRecordBatchStream, Failure> {
    let parts = executor::parts(statement)?;
    let [part] = parts.as_slice() else { return Err(Failure::refused("expected a single name")) };
    match executor.execute(part, statement).await? {
        Answer::Rows(rows) => Ok(rows),
        Answer::Done(_) | Answer::Noticed { .. } => Err(Failure::refused("expected rows")),
    }
}
