//! Statements as the engine executes them: what is left of SQL text once the dialects of the field are folded into one form.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast;

use arrow::datatypes::DataType;

use crate::error::Position;
use crate::plan::build::Emission;

mod access;
mod change;
mod stream;

pub use access::{AccessStatement, GrantOn, GrantStatement, PutUser, privilege_name};
pub use change::{
    Assignment, Change, ConflictAction, Delete, Merge, MergeAction, MergeClause, OnConflict, Target, Update, When,
};
pub use stream::{COPIED_ROWS, CopyFormat, CopyFrom, CopyOptions, CopyTo, CursorControl, RowSource, Subscribe};

/// A statement with its place and its canonical text.
#[derive(Debug, Clone)]
pub struct ParsedStatement {
    /// What to do.
    pub statement: Statement,
    /// Canonical text: what is stored in the catalog and compared to find out whether a definition changed.
    pub text: String,
    /// Where the statement starts in the text it was parsed from.
    pub position: Position,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Statement {
    /// `CREATE TABLE`, with or without connector.
    CreateTable(CreateTable),
    /// `CREATE [MATERIALIZED] VIEW name AS query`.
    CreateView(CreateView),
    /// `CREATE FUNCTION`.
    CreateFunction(CreateFunction),
    /// `DROP TABLE | VIEW | MATERIALIZED VIEW | FUNCTION | JOB`.
    Drop(Drop),
    /// `INSERT INTO table [(columns)] query`.
    Insert(Insert),
    /// `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE`.
    Change(Box<Change>),
    /// `VERIFY MATERIALIZED VIEW name`.
    Verify(String),
    /// `EXECUTE STATEMENT SET BEGIN INSERT ...; INSERT ...; END`.
    StatementSet(Vec<Insert>),
    /// SELECT, VALUES, WITH.
    Query(ast::Query),
    /// `EXPLAIN`: the batch plan of a statement's query, or its incremental plan.
    Explain {
        /// `EXPLAIN INCREMENTAL`.
        incremental: bool,
        /// The query of the explained statement.
        query: ast::Query,
        /// How the explained statement shows its result.
        emission: Emission,
    },
    /// `EXPLAIN` of a statement that changes rows: the batch plan of the rows before and after.
    ExplainChange(Box<Change>),
    /// `SHOW ...`.
    Show(Show),
    /// `DESCRIBE name`.
    Describe(String),
    /// `SET name = value`.
    Set {
        /// Lower-case name.
        name: String,
        /// Value without quotes.
        value: String,
    },
    /// `RESET name`; `None` for ALL.
    Reset(Option<String>),
    /// `COPY ... FROM STDIN`: for clients, see [`crate::session::Engine::copy_in`].
    CopyFrom(CopyFrom),
    /// `COPY ... TO STDOUT`: for clients.
    CopyTo(CopyTo),
    /// `DECLARE`, `FETCH`, `MOVE`, `CLOSE`: for clients.
    Cursor(CursorControl),
    /// `SUBSCRIBE TO name`.
    Subscribe(Subscribe),
    /// `DEALLOCATE`: a prepared statement of the connection is forgotten, or all.
    Deallocate(Option<String>),
    /// `DISCARD ALL`: settings and cursors of the connection are forgotten.
    Discard,
    /// `UNLISTEN`: there are no notifications, so nothing has to be done.
    Unlisten,
    /// `FLUSH`.
    Flush,
    /// `CREATE USER`, `GRANT` and what else is about users and their rights.
    Access(AccessStatement),
    /// `PAUSE | RESUME | RESTART | STOP JOB name`.
    Job(JobControl, String),
    /// `BEGIN`, `COMMIT`, `ROLLBACK`: for whoever has sessions, see [`crate::session::Transaction`].
    Transaction(TransactionControl),
}

/// What to do with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobControl {
    /// `PAUSE`: it stops after a last checkpoint, until it is resumed.
    Pause,
    /// `RESUME`: a paused or failed job goes on.
    Resume,
    /// `RESTART`: it stops after a checkpoint and goes on from there.
    Restart,
    /// `STOP`: it ends for good.
    Stop,
}

impl JobControl {
    /// The statement's first word.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Pause => "PAUSE",
            Self::Resume => "RESUME",
            Self::Restart => "RESTART",
            Self::Stop => "STOP",
        }
    }
}

/// Where a transaction begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionControl {
    /// `BEGIN`, `START TRANSACTION`.
    Begin {
        /// `READ ONLY` or `READ WRITE`, if it says so.
        read_only: Option<bool>,
    },
    /// `SET [SESSION CHARACTERISTICS AS] TRANSACTION`: modes of this transaction, or of those to come.
    Modes {
        /// `READ ONLY` or `READ WRITE`, if it says so.
        read_only: Option<bool>,
        /// Of those to come.
        session: bool,
    },
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `SAVEPOINT name`: a point to which the transaction can be rolled back.
    Savepoint(String),
    /// `RELEASE [SAVEPOINT] name`: the point is forgotten, and those after it.
    Release(String),
    /// `ROLLBACK TO [SAVEPOINT] name`: what came after the point is forgotten.
    RollbackTo(String),
}

/// `CREATE TABLE`.
#[derive(Debug, Clone)]
pub struct CreateTable {
    /// Name; unquoted names are lower case.
    pub name: String,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// `OR REPLACE`.
    pub or_replace: bool,
    /// Columns in order. For `CREATE TABLE ... AS` they come from the query.
    pub columns: Vec<ColumnDefinition>,
    /// Key columns, from either form of PRIMARY KEY.
    pub primary_key: Vec<String>,
    /// `WATERMARK FOR column AS expression`.
    pub watermark: Option<Watermark>,
    /// `APPEND ONLY`: rows only ever come.
    pub append_only: bool,
    /// `AS query`: the first rows.
    pub query: Option<TableQuery>,
    /// `WITH (...)`: keys as written without quotes, values without quotes. A connector table iff it has `connector`.
    pub options: BTreeMap<String, String>,
}

/// The query of `CREATE TABLE ... AS`.
#[derive(Debug, Clone)]
pub struct TableQuery {
    /// Names for the columns, if given.
    pub columns: Vec<String>,
    /// The query, with window table functions already rewritten to plain SQL.
    pub query: ast::Query,
}

/// A column of `CREATE TABLE`.
#[derive(Debug, Clone)]
pub struct ColumnDefinition {
    /// Name.
    pub name: String,
    /// Arrow type: strings Utf8View, TIMESTAMP(any) Timestamp(Microsecond, None). `None` for a computed column without
    /// declared type: it has that of its expression.
    pub data_type: Option<DataType>,
    /// False for NOT NULL and for key columns.
    pub nullable: bool,
    /// Where the value comes from if no statement gives one.
    pub value: ColumnValue,
}

/// Where a column's value comes from. Expressions are in canonical SQL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ColumnValue {
    /// From whoever writes the row, else NULL.
    #[default]
    Given,
    /// From whoever writes the row, else `DEFAULT expression`.
    Default(String),
    /// Always `AS expression` over the other columns of the row.
    Computed(String),
}

/// `CREATE FUNCTION name(parameters) RETURNS type`: a scalar expression with a name.
#[derive(Debug, Clone)]
pub struct CreateFunction {
    /// Name.
    pub name: String,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// `OR REPLACE`.
    pub or_replace: bool,
    /// Parameters: name and type.
    pub parameters: Vec<(String, ast::DataType)>,
    /// Type of the result.
    pub returns: ast::DataType,
    /// The body, over columns named as the parameters.
    pub body: ast::Expr,
}

/// A watermark clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The event-time column.
    pub column: String,
    /// The expression, in canonical SQL.
    pub expression: String,
}

/// `CREATE [MATERIALIZED] VIEW`.
#[derive(Debug, Clone)]
pub struct CreateView {
    /// Name.
    pub name: String,
    /// `MATERIALIZED`.
    pub materialized: bool,
    /// `OR REPLACE`.
    pub or_replace: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// Names for the columns, if given.
    pub columns: Vec<String>,
    /// The query, with window table functions already rewritten to plain SQL.
    pub query: ast::Query,
    /// `EMIT ON WINDOW CLOSE`: rows are shown when they are final.
    pub on_window_close: bool,
}

/// `DROP`.
#[derive(Debug, Clone)]
pub struct Drop {
    /// What kind of object the user named.
    pub kind: DropKind,
    /// Names.
    pub names: Vec<String>,
    /// `IF EXISTS`.
    pub if_exists: bool,
    /// `CASCADE`.
    pub cascade: bool,
}

/// What DROP was told to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropKind {
    /// `DROP TABLE`.
    Table,
    /// `DROP VIEW`.
    View,
    /// `DROP MATERIALIZED VIEW`.
    MaterializedView,
    /// `DROP FUNCTION`.
    Function,
    /// `DROP JOB`: ends a continuous INSERT.
    Job,
}

/// `INSERT INTO`.
#[derive(Debug, Clone)]
pub struct Insert {
    /// Target.
    pub table: String,
    /// Columns in the order of the query's, or empty for all.
    pub columns: Vec<String>,
    /// The rows, with window table functions already rewritten to plain SQL.
    pub query: ast::Query,
    /// What becomes of the rows that are there.
    pub mode: InsertMode,
    /// `EMIT ON WINDOW CLOSE`: rows are written when they are final.
    pub on_window_close: bool,
}

/// What an INSERT does with the rows that are there.
#[derive(Debug, Clone, Default)]
pub enum InsertMode {
    /// A new row replaces the one with the same key.
    #[default]
    Upsert,
    /// `ON CONFLICT`.
    OnConflict(Box<OnConflict>),
    /// `INSERT OVERWRITE`: the new rows take the place of all.
    Overwrite,
}

/// `SHOW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Show {
    /// `SHOW TABLES`.
    Tables,
    /// `SHOW VIEWS` (materialized ones too).
    Views,
    /// `SHOW FUNCTIONS`.
    Functions,
    /// `SHOW JOBS`.
    Jobs,
    /// `SHOW USERS`.
    Users,
    /// `SHOW GRANTS`: who may do what with which table or view.
    Grants,
    /// `SHOW CREATE TABLE | VIEW name`.
    Create(String),
    /// `SHOW name` of a setting.
    Setting(String),
}
