//! Statements that change the rows of a table once: UPDATE, DELETE, MERGE, TRUNCATE, and INSERT's clause for conflicts.

use datafusion::sql::sqlparser::ast;

use crate::error::Position;

/// A statement that changes rows, other than INSERT.
#[derive(Debug, Clone)]
pub enum Change {
    /// `UPDATE`.
    Update(Update),
    /// `DELETE FROM`.
    Delete(Delete),
    /// `MERGE INTO`.
    Merge(Box<Merge>),
    /// `TRUNCATE [TABLE] a, b`.
    Truncate(Vec<String>),
}

/// The table that a statement changes.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name.
    pub table: String,
    /// The name by which expressions call it, if it is another.
    pub alias: Option<String>,
    /// Where it is named.
    pub position: Option<Position>,
}

impl Target {
    /// The name by which expressions call it.
    pub fn called(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.table)
    }
}

/// `column = value`.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The column.
    pub column: String,
    /// The value; `None` for DEFAULT.
    pub value: Option<ast::Expr>,
    /// Where the column is named.
    pub position: Option<Position>,
}

/// `UPDATE target SET ... [FROM ...] [WHERE ...]`.
#[derive(Debug, Clone)]
pub struct Update {
    /// What is changed.
    pub target: Target,
    /// What to set.
    pub assignments: Vec<Assignment>,
    /// What the target is joined with.
    pub from: Vec<ast::TableWithJoins>,
    /// Which rows.
    pub condition: Option<ast::Expr>,
}

/// `DELETE FROM target [USING ...] [WHERE ...]`.
#[derive(Debug, Clone)]
pub struct Delete {
    /// What is changed.
    pub target: Target,
    /// What the target is joined with.
    pub using: Vec<ast::TableWithJoins>,
    /// Which rows.
    pub condition: Option<ast::Expr>,
}

/// `MERGE INTO target USING source ON condition WHEN ...`.
#[derive(Debug, Clone)]
pub struct Merge {
    /// What is changed.
    pub target: Target,
    /// What it is joined with.
    pub source: ast::TableFactor,
    /// How.
    pub on: ast::Expr,
    /// What to do; of the clauses that fit a row the first counts.
    pub clauses: Vec<MergeClause>,
}

/// `WHEN ... [AND condition] THEN ...`.
#[derive(Debug, Clone)]
pub struct MergeClause {
    /// Which rows.
    pub when: When,
    /// Which of them.
    pub condition: Option<ast::Expr>,
    /// What to do.
    pub action: MergeAction,
}

/// Which rows a clause of MERGE is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// `MATCHED`: rows of the target with a source row.
    Matched,
    /// `NOT MATCHED [BY TARGET]`: source rows without a row of the target.
    NotMatched,
    /// `NOT MATCHED BY SOURCE`: rows of the target without a source row.
    NotMatchedBySource,
}

/// What a clause of MERGE does.
#[derive(Debug, Clone)]
pub enum MergeAction {
    /// `UPDATE SET ...`.
    Update(Vec<Assignment>),
    /// `DELETE`.
    Delete,
    /// `INSERT [(columns)] VALUES (...)`, or `INSERT DEFAULT VALUES` with nothing assigned.
    Insert(Vec<Assignment>),
    /// `DO NOTHING`.
    Nothing,
}

/// `ON CONFLICT [(key)] DO ...`.
#[derive(Debug, Clone)]
pub struct OnConflict {
    /// The key columns, if they are named.
    pub key: Vec<String>,
    /// What to do with a row whose key is there already.
    pub action: ConflictAction,
    /// Where the clause stands.
    pub position: Option<Position>,
}

/// What to do with a row whose key is there already.
#[derive(Debug, Clone)]
pub enum ConflictAction {
    /// `DO NOTHING`.
    Nothing,
    /// `DO UPDATE SET ... [WHERE ...]`; the new row is called `excluded`.
    Update {
        /// What to set.
        assignments: Vec<Assignment>,
        /// Which rows.
        condition: Option<Box<ast::Expr>>,
    },
}
