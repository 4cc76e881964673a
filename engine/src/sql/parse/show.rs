//! EXPLAIN, SHOW and DESCRIBE.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, quoted};
use super::{Parsed, change, create, emitted_query, setting};
use crate::error::{Error, Result};
use crate::plan::build::Emission;
use crate::sql::statement::{Change, Show, Statement};

pub(super) fn explain(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "EXPLAIN [INCREMENTAL] SELECT ... | CREATE MATERIALIZED VIEW ... | INSERT ... | UPDATE ...";
    cursor.expect("explain", EXAMPLE)?;
    // Flink's long form of the same.
    cursor.accept("plan for");
    let incremental = cursor.accept("incremental");
    let kept = |on_window_close| Emission { on_window_close, processing_time: false };
    let (query, inner, emission) = match cursor.word().unwrap_or_default() {
        "insert" => {
            let (insert, text) = change::insert(cursor)?;
            (insert.query, text, Emission { on_window_close: insert.on_window_close, processing_time: true })
        }
        "create" => match create(cursor)? {
            (Statement::CreateView(view), text) => (view.query, text, kept(view.on_window_close)),
            _ => return Err(Error::sql("CREATE TABLE has no plan to explain").hint(format!("write {EXAMPLE}"))),
        },
        option @ ("analyze" | "verbose" | "estimated_cost" | "json_execution_plan" | "changelog_mode" | "format") => {
            let error = Error::sql(format!("EXPLAIN {} is not supported", option.to_uppercase()));
            return Err(error.hint(format!("write {EXAMPLE}")).at(cursor.position()));
        }
        "update" | "delete" | "merge" | "truncate" => {
            let position = cursor.position();
            let (change, text) = change::change(cursor)?;
            if incremental || matches!(change, Change::Truncate(_)) {
                let error = Error::sql("this statement has no incremental plan to explain: it runs once");
                return Err(error.hint("write EXPLAIN UPDATE ..., or EXPLAIN INCREMENTAL SELECT ...").at(position));
            }
            return Ok((Statement::ExplainChange(Box::new(change)), format!("EXPLAIN {text}")));
        }
        "select" | "values" | "with" => {
            let (query, text, on_window_close) = emitted_query(cursor)?;
            (query, text, kept(on_window_close))
        }
        _ if cursor.peek() == &Token::LParen => {
            let (query, text, on_window_close) = emitted_query(cursor)?;
            (query, text, kept(on_window_close))
        }
        _ => return Err(cursor.unexpected("a query, CREATE VIEW, INSERT, UPDATE, DELETE or MERGE", EXAMPLE)),
    };
    let text = format!("EXPLAIN {}{inner}", if incremental { "INCREMENTAL " } else { "" });
    Ok((Statement::Explain { incremental, query, emission }, text))
}

pub(super) fn show(cursor: &mut Cursor) -> Result<Parsed> {
    const EXAMPLE: &str = "SHOW TABLES | VIEWS | FUNCTIONS | JOBS | USERS | GRANTS | CREATE TABLE name | setting";
    cursor.expect("show", EXAMPLE)?;
    let position = cursor.position();
    let (show, text) = if cursor.accept("tables") {
        (Show::Tables, "SHOW TABLES".to_owned())
    } else if cursor.accept("views") || cursor.accept("materialized views") {
        (Show::Views, "SHOW VIEWS".to_owned())
    } else if cursor.accept("functions") {
        (Show::Functions, "SHOW FUNCTIONS".to_owned())
    } else if cursor.accept("jobs") {
        (Show::Jobs, "SHOW JOBS".to_owned())
    } else if cursor.accept("users") || cursor.accept("roles") {
        (Show::Users, "SHOW USERS".to_owned())
    } else if cursor.accept("grants") {
        (Show::Grants, "SHOW GRANTS".to_owned())
    } else if cursor.accept("create") {
        let kind = ["materialized view", "view", "table", "function"].into_iter().find(|kind| cursor.accept(kind));
        let Some(kind) = kind else { return Err(cursor.unexpected("TABLE or VIEW", "SHOW CREATE TABLE name")) };
        let name = cursor.name("a name")?;
        let text = format!("SHOW CREATE {} {}", kind.to_uppercase(), quoted(&name));
        let name = if kind == "function" { crate::sql::inline::object_name(&name) } else { name };
        (Show::Create(name), text)
    } else {
        match cursor.word() {
            Some(other @ ("databases" | "schemas" | "catalogs" | "columns" | "sources" | "sinks" | "indexes")) => {
                let error = Error::sql(format!("SHOW {} is not supported", other.to_uppercase())).at(position);
                return Err(error.hint(format!("write {EXAMPLE}; DESCRIBE name lists columns")));
            }
            _ => {
                let name = setting::name(cursor, EXAMPLE)?;
                let text = format!("SHOW {}", setting::text(&name));
                (Show::Setting(name), text)
            }
        }
    };
    Ok((Statement::Show(show), text))
}

pub(super) fn describe(cursor: &mut Cursor) -> Result<Parsed> {
    cursor.advance();
    if matches!(cursor.word(), Some("select" | "values" | "with")) {
        let error = Error::sql("DESCRIBE takes the name of a table or view").at(cursor.position());
        return Err(error.hint("write EXPLAIN to see the plan of a query"));
    }
    cursor.accept("table");
    let name = cursor.name("the name of a table or view")?;
    let text = format!("DESCRIBE {}", quoted(&name));
    Ok((Statement::Describe(name), text))
}
