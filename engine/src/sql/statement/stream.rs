//! Statements of clients that rows are streamed to or from: COPY, cursors, SUBSCRIBE.

use datafusion::sql::sqlparser::ast;

use crate::error::Position;
use crate::sql::statement::Insert;

/// `COPY table [(columns)] FROM STDIN`.
#[derive(Debug, Clone)]
pub struct CopyFrom {
    /// The same as an INSERT, whose query reads [`COPIED_ROWS`].
    pub insert: Insert,
    /// How the rows are written.
    pub options: CopyOptions,
    /// Where the table is named.
    pub position: Option<Position>,
}

/// The name under which the query of a COPY finds the rows that are copied.
pub const COPIED_ROWS: &str = "__copied";

/// `COPY table | (query) TO STDOUT`.
#[derive(Debug, Clone)]
pub struct CopyTo {
    /// The rows.
    pub rows: RowSource,
    /// How they are written.
    pub options: CopyOptions,
}

/// What gives rows to a client: at once, or for as long as it listens.
#[derive(Debug, Clone)]
pub enum RowSource {
    /// A query.
    Query(Box<ast::Query>),
    /// Changes as they come.
    Subscribe(Subscribe),
}

/// `SUBSCRIBE TO name [WITH SNAPSHOT] [AS OF VERSION n]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// A table or materialized view.
    pub relation: String,
    /// Its rows come first, as insertions.
    pub snapshot: bool,
    /// The version that the client has seen: changes after it come. `None`: the newest.
    pub version: Option<u64>,
    /// Where the relation is named.
    pub position: Option<Position>,
}

/// How COPY writes rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// The format.
    pub format: CopyFormat,
    /// Between two columns.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: String,
    /// The first line holds the columns' names.
    pub header: bool,
    /// Around values that hold what would else end them; CSV only.
    pub quote: u8,
    /// Before a quote within quotes; CSV only.
    pub escape: u8,
}

/// PostgreSQL's formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// A line per row, backslash escapes.
    Text,
    /// Comma separated values.
    Csv,
    /// Length and bytes of each value.
    Binary,
}

/// Cursors.
#[derive(Debug, Clone)]
pub enum CursorControl {
    /// `DECLARE name CURSOR FOR`.
    Declare {
        /// The cursor's name.
        name: String,
        /// `WITH HOLD`: it outlives its transaction.
        hold: bool,
        /// Where the rows come from.
        rows: RowSource,
    },
    /// `FETCH`, which gives rows, or `MOVE`, which skips them.
    Fetch {
        /// The cursor's name.
        name: String,
        /// How many rows; `None`: all that are left.
        count: Option<u64>,
        /// `MOVE`.
        skip: bool,
    },
    /// `CLOSE name`, or `CLOSE ALL`.
    Close(Option<String>),
}
