//! What the field writes and this engine does not do (yet): refused by name, at its place, instead of being misread or ignored.

use datafusion::sql::sqlparser::ast::{
    self, Expr, Query, Select, SelectFlavor, SetExpr, Spanned, TableFactor, TableVersion, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{position, unquoted};
use crate::error::{Error, Result};

/// Sequences of words that are nowhere valid, and what to say about them.
const SEQUENCES: [(&[&str], &str, &str); 5] = [
    (&["emit", "changes"], "EMIT CHANGES is not supported", "leave it out: views always emit changes"),
    (&["for", "system_version"], "FOR SYSTEM_VERSION AS OF is not supported yet", "read the current rows"),
    (&["for", "version", "as", "of"], "FOR VERSION AS OF is not supported yet", "read the current rows"),
    (&["match_recognize"], "MATCH_RECOGNIZE is not supported", "use window functions such as LAG and LEAD"),
    (
        &["explain", "changelog_mode"],
        "EXPLAIN CHANGELOG_MODE is not supported",
        "use EXPLAIN INCREMENTAL, which shows the changes that operators emit",
    ),
];

/// Statements that exist elsewhere, by their first word.
const STATEMENTS: [(&str, &str); 13] = [
    (
        "alter",
        "ALTER is not supported but for users and owners (ALTER USER name ..., ALTER TABLE name OWNER TO user); DROP and CREATE instead",
    ),
    ("refresh", "REFRESH is not needed: materialized views are always up to date; FLUSH waits for them"),
    ("replace", "REPLACE is not supported; INSERT into a table with PRIMARY KEY replaces rows"),
    ("upsert", "UPSERT is not supported; INSERT into a table with PRIMARY KEY replaces rows"),
    ("use", "USE is not supported: there is one namespace"),
    ("analyze", "ANALYZE is not needed: statistics are kept with the data"),
    ("vacuum", "VACUUM is not needed: compaction runs by itself"),
    ("optimize", "OPTIMIZE is not needed: compaction runs by itself"),
    ("comment", "COMMENT ON is not supported yet"),
    ("prepare", "PREPARE is not supported"),
    ("call", "CALL is not supported: there are no procedures"),
    ("add", "ADD JAR is not supported"),
    ("load", "LOAD MODULE is not supported"),
];

/// Clauses that may stand where a statement should end or go on otherwise.
const CLAUSES: [(&str, &str); 15] = [
    ("returning", "RETURNING is not supported"),
    ("emit", "EMIT is not supported yet"),
    ("partitioned", "PARTITIONED BY is not supported yet"),
    ("partition", "PARTITION is not supported yet"),
    ("distributed", "DISTRIBUTED BY is not supported"),
    ("clustered", "CLUSTERED BY is not supported"),
    ("comment", "COMMENT is not supported yet"),
    ("default", "DEFAULT is not supported yet"),
    ("generated", "generated columns are not supported yet"),
    ("metadata", "METADATA columns are not supported yet"),
    ("check", "CHECK is not supported"),
    ("unique", "UNIQUE is not supported; a table can have one PRIMARY KEY"),
    ("references", "FOREIGN KEY is not supported"),
    ("foreign", "FOREIGN KEY is not supported"),
    ("collate", "COLLATE is not supported"),
];

/// What to say about a word that cannot go on here, if it starts a known clause.
pub(super) fn clause(word: &str) -> Option<&'static str> {
    CLAUSES.iter().find(|(name, _)| *name == word).map(|(_, message)| *message)
}

/// What to say about a statement that starts with this word, if it is a known one.
pub(super) fn statement(word: &str) -> Option<&'static str> {
    STATEMENTS.iter().find(|(name, _)| *name == word).map(|(_, message)| *message)
}

/// Refuses sequences of words that could otherwise be read as aliases.
pub(super) fn token_sequences(tokens: &[TokenWithSpan]) -> Result<()> {
    for start in 0..tokens.len() {
        let found = SEQUENCES.iter().find(|(words, ..)| {
            words
                .iter()
                .enumerate()
                .all(|(n, word)| tokens.get(start + n).is_some_and(|token| unquoted(&token.token) == Some(*word)))
        });
        if let Some((_, message, hint)) = found {
            // A column may well have such a name; only what follows a name or a closing parenthesis can be the clause.
            let column = start > 0 && matches!(tokens[start - 1].token, Token::Period);
            if !column {
                return Err(Error::sql(*message).hint(*hint).at(position(tokens[start].span.start)));
            }
        }
    }
    Ok(())
}

/// Refuses parts of a query that the planner would ignore or that change data.
pub(super) fn query(query: &Query) -> Result<()> {
    let unsupported = [
        (
            !query.locks.is_empty(),
            "FOR UPDATE and FOR SHARE are not supported: queries read one version and lock nothing",
        ),
        (query.for_clause.is_some(), "FOR XML and FOR JSON are not supported"),
        (query.settings.is_some(), "SETTINGS is not supported"),
        (query.format_clause.is_some(), "FORMAT is not supported"),
        (!query.pipe_operators.is_empty(), "the pipe operator |> is not supported"),
        (
            query.fetch.as_ref().is_some_and(|fetch| fetch.with_ties || fetch.percent),
            "FETCH WITH TIES and PERCENT are not supported",
        ),
    ];
    first(&unsupported, query)?;
    let mut pending = vec![query.body.as_ref()];
    while let Some(body) = pending.pop() {
        match body {
            SetExpr::SetOperation { left, right, .. } => pending.extend([left.as_ref(), right.as_ref()]),
            SetExpr::Select(select) => self::select(select)?,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                let error = Error::sql("INSERT, UPDATE, DELETE and MERGE are not supported within a query");
                return Err(error.hint("write INSERT INTO t WITH ... SELECT ...").at(position(body.span().start)));
            }
            // The grammar behind it drops what follows the name.
            SetExpr::Table(_) => {
                return Err(Error::sql("TABLE name as a query is not supported").hint("write SELECT * FROM name"));
            }
            SetExpr::Query(_) | SetExpr::Values(_) => {}
        }
    }
    Ok(())
}

fn select(select: &Select) -> Result<()> {
    // On the right side of a join it is a temporal join.
    for from in &select.from {
        if let TableFactor::Table { version: Some(_), .. } = &from.relation {
            let error = Error::sql("FOR SYSTEM_TIME AS OF outside of a join (time travel) is not supported yet");
            return Err(error.hint("read the current rows").at(position(from.relation.span().start)));
        }
    }
    let unsupported = [
        (select.into.is_some(), "SELECT INTO is not supported; use INSERT INTO ... SELECT or CREATE MATERIALIZED VIEW"),
        (select.top.is_some(), "TOP is not supported; use LIMIT"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW is not supported; use unnest"),
        (select.prewhere.is_some(), "PREWHERE is not supported; use WHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY is not supported; use WITH RECURSIVE"),
        (!select.cluster_by.is_empty(), "CLUSTER BY is not supported"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY is not supported"),
        (!select.sort_by.is_empty(), "SORT BY is not supported; use ORDER BY"),
        (select.value_table_mode.is_some(), "SELECT AS STRUCT and AS VALUE are not supported"),
        (select.flavor != SelectFlavor::Standard, "FROM before SELECT is not supported"),
    ];
    first(&unsupported, select)
}

/// Refuses what may stand in FROM but is not done.
pub(super) fn table_factor(factor: &TableFactor) -> Result<()> {
    let message = match factor {
        TableFactor::Table { with_hints, .. } if !with_hints.is_empty() => {
            "hints (WITH after a table's name) are not supported"
        }
        TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
            "TABLESAMPLE is not supported; filter with random()"
        }
        TableFactor::Table { version: Some(version), .. } if !matches!(version, TableVersion::ForSystemTimeAsOf(_)) => {
            "time travel is not supported yet; read the current rows"
        }
        TableFactor::Table { partitions, .. } if !partitions.is_empty() => {
            "PARTITION (...) is not supported; use WHERE"
        }
        TableFactor::Pivot { .. } => "PIVOT is not supported; use aggregates with FILTER (WHERE ...)",
        TableFactor::Unpivot { .. } => "UNPIVOT is not supported; use UNION ALL",
        TableFactor::MatchRecognize { .. } => "MATCH_RECOGNIZE is not supported",
        TableFactor::JsonTable { .. } | TableFactor::OpenJsonTable { .. } => "JSON_TABLE is not supported",
        TableFactor::XmlTable { .. } => "XMLTABLE is not supported",
        _ => return Ok(()),
    };
    Err(Error::sql(message).at(position(factor.span().start)))
}

/// Refuses window functions of the old style, `GROUP BY TUMBLE(ts, INTERVAL ...)`, placeholders other than `$1`, and fields of
/// numbers: `1 . a`, which would read as `1.` under an alias without the spaces.
pub(super) fn expression(expression: &Expr) -> Result<()> {
    if let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), span }) = expression
        && name.strip_prefix('$').is_none_or(|digits| digits.parse::<u16>().is_err())
    {
        let error = Error::sql(format!("the placeholder {name} is not supported")).hint("write $1, $2, ...");
        return Err(error.at(position(span.start)));
    }
    if let Expr::CompoundFieldAccess { root, .. } = expression
        && let Expr::Value(ValueWithSpan { value: Value::Number(..), span }) = root.as_ref()
    {
        return Err(Error::sql("a number has no fields").at(position(span.start)));
    }
    let Expr::Function(ast::Function { name, args, .. }) = expression else { return Ok(()) };
    let Some(ident) = name.0.first().and_then(|part| part.as_ident()).filter(|_| name.0.len() == 1) else {
        return Ok(());
    };
    // DataFusion does not count their arguments before it computes them.
    let none = matches!(args, ast::FunctionArguments::List(list) if list.args.is_empty());
    if none && matches!(ident.value.as_str(), "first_value" | "last_value" | "nth_value") {
        return Err(Error::sql(format!("{} needs an argument", ident.value)).at(position(ident.span.start)));
    }
    let (head, tail) = ident.value.split_once('_').unwrap_or((&ident.value, "start"));
    let window = matches!(head, "tumble" | "hop" | "session" | "cumulate")
        && matches!(tail, "start" | "end" | "rowtime" | "proctime");
    if !window {
        return Ok(());
    }
    let message = format!("{} in an expression (a group window) is not supported", ident.value.to_uppercase());
    let hint = "use the table function and group by its columns: SELECT window_start, window_end, count(*) FROM \
                TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTE) GROUP BY window_start, window_end";
    Err(Error::sql(message).hint(hint).at(position(ident.span.start)))
}

fn first(unsupported: &[(bool, &'static str)], at: &impl Spanned) -> Result<()> {
    match unsupported.iter().find(|(found, _)| *found) {
        Some((_, message)) => Err(Error::sql(*message).at(position(at.span().start))),
        None => Ok(()),
    }
}
