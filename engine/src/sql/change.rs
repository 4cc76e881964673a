//! Statements that change rows, as queries over the rows before and after.
//!
//! Every statement becomes one batch query with one row per row that it changes. Columns stand in this order, each group
//! only where [`Layout`] says so:
//!
//! | columns | what |
//! | --- | --- |
//! | `__old_0`, `__old_1`, ... | the row that goes: the table's columns |
//! | `__new_0`, `__new_1`, ... | the row that comes: the table's columns without the computed ones |
//! | `__copies` | how many equal rows are meant: where rows without key are matched with others |
//! | `__action` | what happens, see [`Action`]; NULL: nothing |
//!
//! Names that begin with two underscores are this module's own.

mod rows;
mod skeleton;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use self::rows::TableRows;
use self::skeleton::Skeleton;
use crate::error::{Error, Result};
use crate::sql::parse::quoted;
use crate::sql::statement::{
    Assignment, ConflictAction, Delete, Merge, MergeAction, MergeClause, Target, Update, When,
};
use crate::sql::table::TableColumns;

/// The name of the rows that an INSERT brings, in the statement itself.
const EXCLUDED: &str = "excluded";

/// The table in which an INSERT's query looks for these rows.
pub const NEW_ROWS: &str = "__excluded";

/// What happens to a row, as the column `__action` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The old row goes.
    Delete = 0,
    /// The old row goes, the new one comes.
    Update = 1,
    /// The new row comes.
    Insert = 2,
}

/// Which groups of columns a change query has, and what must be watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    /// There are old rows.
    pub old: bool,
    /// There are new rows.
    pub new: bool,
    /// There is `__copies`.
    pub copies: bool,
    /// There is `__action`; without it every row is deleted, updated or inserted according to the groups.
    pub action: bool,
    /// A row of the table may be found more than once, which is an error.
    pub matched: bool,
    /// Keys may come into the table that were not there, or move.
    pub keys_move: bool,
}

/// A statement as a query.
#[derive(Debug, Clone)]
pub struct ChangeQuery {
    /// The query.
    pub query: ast::Query,
    /// Its columns.
    pub layout: Layout,
}

/// `UPDATE`.
pub fn update(update: &Update, columns: &TableColumns) -> Result<ChangeQuery> {
    let joined = !update.from.is_empty();
    let mut skeleton = Skeleton::default();
    let rows = TableRows::new(&update.target, columns, joined);
    let values = rows.assigned(&mut skeleton, &update.assignments, Some(rows.name()))?;
    let new = values.iter().enumerate().map(|(place, value)| format!("{value} AS __new_{place}"));
    let list = rows.old().chain(new).chain(rows.copies()).collect::<Vec<_>>().join(", ");
    let text = select(&mut skeleton, joined, &list, &rows, &update.from, update.condition.as_ref());
    let keys_move = update.assignments.iter().any(|assignment| columns.decides_key(&assignment.column));
    let layout =
        Layout { old: true, new: true, copies: rows.grouped(), matched: joined, keys_move, ..Layout::default() };
    Ok(ChangeQuery { query: skeleton.parse(&text, span(&update.target))?, layout })
}

/// `DELETE`.
pub fn delete(delete: &Delete, columns: &TableColumns) -> Result<ChangeQuery> {
    let joined = !delete.using.is_empty();
    let mut skeleton = Skeleton::default();
    let rows = TableRows::new(&delete.target, columns, joined);
    let list = rows.old().chain(rows.copies()).collect::<Vec<_>>().join(", ");
    let text = select(&mut skeleton, joined, &list, &rows, &delete.using, delete.condition.as_ref());
    let layout = Layout { old: true, copies: rows.grouped(), ..Layout::default() };
    Ok(ChangeQuery { query: skeleton.parse(&text, span(&delete.target))?, layout })
}

/// All rows of the target joined with `others` that fulfil the condition, equal results once.
fn select(
    skeleton: &mut Skeleton,
    distinct: bool,
    list: &str,
    rows: &TableRows<'_>,
    others: &[ast::TableWithJoins],
    condition: Option<&ast::Expr>,
) -> String {
    let distinct = if distinct { "DISTINCT " } else { "" };
    let mut text = format!("SELECT {distinct}{list} FROM {}", rows.relation(""));
    for other in others {
        text.push_str(&format!(", {}", skeleton.relation(other.clone())));
    }
    if let Some(condition) = condition {
        text.push_str(&format!(" WHERE {}", skeleton.expression(condition)));
    }
    text
}

/// `MERGE`.
pub fn merge(merge: &Merge, columns: &TableColumns) -> Result<ChangeQuery> {
    let mut skeleton = Skeleton::default();
    let rows = TableRows::new(&merge.target, columns, true);
    let source = source_name(&merge.source)?;
    if source == rows.name() {
        return Err(Error::sql(format!("both tables of the MERGE are called {source}"))
            .hint(format!("give one of them an alias: MERGE INTO {source} AS t USING {source} AS s"))
            .at(merge.target.position));
    }
    let clauses = clauses(&mut skeleton, merge, &rows, &quoted(&source));
    let actions: String =
        clauses.iter().map(|(test, clause)| format!(" WHEN {test} THEN {}", action(clause))).collect();
    let mut values: Vec<String> = vec![String::new(); columns.given().count()];
    for (test, clause) in &clauses {
        let row = match &clause.action {
            MergeAction::Update(assignments) => rows.assigned(&mut skeleton, assignments, Some(rows.name()))?,
            MergeAction::Insert(assignments) => rows.assigned(&mut skeleton, assignments, None)?,
            MergeAction::Delete | MergeAction::Nothing => vec!["NULL".to_owned(); values.len()],
        };
        for (value, new) in values.iter_mut().zip(row) {
            value.push_str(&format!(" WHEN {test} THEN {new}"));
        }
    }
    let new = values.iter().enumerate().map(|(place, value)| format!("CASE{value} END AS __new_{place}"));
    let list = rows.old().chain(new).chain(rows.copies()).collect::<Vec<_>>().join(", ");
    let needs = |when: When| merge.clauses.iter().any(|clause| clause.when == when);
    let join = match (needs(When::NotMatched), needs(When::NotMatchedBySource)) {
        (false, false) => "JOIN",
        (false, true) => "LEFT JOIN",
        (true, false) => "RIGHT JOIN",
        (true, true) => "FULL JOIN",
    };
    let text = format!(
        "SELECT {list}, CASE{actions} END AS __action FROM {} {join} (SELECT *, TRUE AS __in_source FROM {}) AS {} ON {}",
        rows.relation(", TRUE AS __in_target"),
        skeleton.relation(ast::TableWithJoins { relation: merge.source.clone(), joins: Vec::new() }),
        quoted(&source),
        skeleton.expression(&merge.on),
    );
    let moves = |clause: &MergeClause| match &clause.action {
        MergeAction::Insert(_) => true,
        MergeAction::Update(assignments) => assignments.iter().any(|a| columns.decides_key(&a.column)),
        MergeAction::Delete | MergeAction::Nothing => false,
    };
    let layout = Layout {
        old: true,
        new: true,
        copies: rows.grouped(),
        action: true,
        matched: true,
        keys_move: merge.clauses.iter().any(moves),
    };
    Ok(ChangeQuery { query: skeleton.parse(&text, span(&merge.target))?, layout })
}

/// For every clause the condition that a row is its, given that it is no earlier one's.
fn clauses<'a>(
    skeleton: &mut Skeleton,
    merge: &'a Merge,
    rows: &TableRows<'_>,
    source: &str,
) -> Vec<(String, &'a MergeClause)> {
    let target = quoted(rows.name());
    let mut clauses = Vec::new();
    for clause in &merge.clauses {
        let present = match clause.when {
            When::Matched => format!("{target}.__in_target IS NOT NULL AND {source}.__in_source IS NOT NULL"),
            When::NotMatched => format!("{target}.__in_target IS NULL"),
            When::NotMatchedBySource => format!("{source}.__in_source IS NULL"),
        };
        let test = match &clause.condition {
            // Not AND: the condition may fail on rows that it is not about.
            Some(condition) => format!("CASE WHEN {present} THEN {} ELSE FALSE END", skeleton.expression(condition)),
            None => present,
        };
        clauses.push((test, clause));
    }
    clauses
}

fn action(clause: &MergeClause) -> String {
    match &clause.action {
        MergeAction::Update(_) => (Action::Update as i32).to_string(),
        MergeAction::Delete => (Action::Delete as i32).to_string(),
        MergeAction::Insert(_) => (Action::Insert as i32).to_string(),
        MergeAction::Nothing => "NULL".to_owned(),
    }
}

/// The name by which a source is called.
fn source_name(source: &ast::TableFactor) -> Result<String> {
    let (alias, name) = match source {
        ast::TableFactor::Table { alias, name, .. } => (alias, name.0.last().and_then(|part| part.as_ident())),
        ast::TableFactor::Derived { alias, .. } => (alias, None),
        _ => {
            return Err(Error::sql("the source of a MERGE is a table or a query").hint("write USING (SELECT ...) AS s"));
        }
    };
    let ident = alias.as_ref().map(|alias| &alias.name).or(name);
    ident.map(|ident| ident.value.clone()).ok_or_else(|| {
        Error::sql("the source of the MERGE has no name").hint("write USING (SELECT ...) AS s ON t.id = s.id")
    })
}

/// An INSERT into a keyed table. The rows are read from a table called [`NEW_ROWS`] with all columns of the target and
/// every key once. `on_conflict`: `None` replaces the row that is there.
pub fn insert(target: &Target, columns: &TableColumns, on_conflict: Option<&ConflictAction>) -> Result<ChangeQuery> {
    let mut skeleton = Skeleton::default();
    let rows = TableRows::new(target, columns, false);
    let name = quoted(rows.name());
    let on: Vec<_> = columns.key.iter().map(|key| format!("{EXCLUDED}.{0} = {name}.{0}", quoted(key))).collect();
    let on = on.join(" AND ");
    let excluded = || columns.given().map(|column| format!("{EXCLUDED}.{}", quoted(&column.name)));
    let here = format!("{name}.__in_target IS NOT NULL");
    let (values, action) = match on_conflict {
        None => (
            excluded().collect::<Vec<_>>(),
            format!("CASE WHEN {here} THEN {} ELSE {} END", Action::Update as i32, Action::Insert as i32),
        ),
        Some(ConflictAction::Nothing) => {
            (excluded().collect(), format!("CASE WHEN {name}.__in_target IS NULL THEN {} END", Action::Insert as i32))
        }
        Some(ConflictAction::Update { assignments, condition }) => {
            let set = rows.assigned(&mut skeleton, assignments, Some(rows.name()))?;
            let case = |(new, set): (String, String)| format!("CASE WHEN {here} THEN {set} ELSE {new} END");
            let values = excluded().zip(set).map(case).collect();
            let applies = match condition {
                Some(condition) => {
                    format!("CASE WHEN {here} THEN {} ELSE FALSE END", skeleton.expression(condition))
                }
                None => here.clone(),
            };
            let insert = format!("WHEN {name}.__in_target IS NULL THEN {}", Action::Insert as i32);
            (values, format!("CASE WHEN {applies} THEN {} {insert} END", Action::Update as i32))
        }
    };
    let new = values.iter().enumerate().map(|(place, value)| format!("{value} AS __new_{place}"));
    let list = rows.old().chain(new).collect::<Vec<_>>().join(", ");
    let text = format!(
        "SELECT {list}, {action} AS __action FROM {NEW_ROWS} AS {EXCLUDED} LEFT JOIN {} ON {on}",
        rows.relation(", TRUE AS __in_target"),
    );
    let assigned = |assignments: &[Assignment]| assignments.iter().any(|a| columns.decides_key(&a.column));
    let keys_move = matches!(on_conflict, Some(ConflictAction::Update { assignments, .. }) if assigned(assignments));
    let layout = Layout { old: true, new: true, action: true, keys_move, ..Layout::default() };
    Ok(ChangeQuery { query: skeleton.parse(&text, span(target))?, layout })
}

/// What a statement's own text claims to cover.
fn span(target: &Target) -> Span {
    let start = target.position.map_or(Location::empty(), |p| Location { line: p.line, column: p.column });
    Span::new(start, start)
}
