//! `\d` and its like: what there is, from what SHOW and DESCRIBE say.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use engine::sql::parse::quoted;
use engine::sql::statement::Statement;
use futures::TryStreamExt;
use unicode_width::UnicodeWidthStr;

use super::command::What;
use super::lex::{self, Token};
use super::names;
use crate::executor::{self, Executor};
use crate::failure::Failure;

/// How wide a definition is at most, where it can be broken.
const WIDTH: usize = 100;

/// What is shown, from top to bottom.
pub struct Description {
    /// A line above.
    pub title: Option<String>,
    /// A table.
    pub rows: SendableRecordBatchStream,
    /// Text below.
    pub definition: Option<String>,
}

/// Finds out what is asked for. `definition`: also how a table is defined.
pub async fn describe(
    executor: &Executor,
    what: What,
    pattern: Option<&str>,
    definition: bool,
) -> Result<Description, Failure> {
    let is_pattern = pattern.is_some_and(|pattern| pattern.contains(['*', '?']));
    match (what, pattern) {
        (What::All, Some(name)) if !is_pattern => relation(executor, name, definition).await,
        _ => list(executor, what, pattern).await,
    }
}

async fn list(executor: &Executor, what: What, pattern: Option<&str>) -> Result<Description, Failure> {
    let statements: &[&str] = match what {
        What::All => &["SHOW TABLES", "SHOW VIEWS"],
        What::Tables => &["SHOW TABLES"],
        What::Views => &["SHOW VIEWS"],
        What::Functions => &["SHOW FUNCTIONS"],
        What::Jobs => &["SHOW JOBS"],
        What::Users => &["SHOW USERS"],
        What::Grants => &["SHOW GRANTS"],
    };
    let mut batches = Vec::new();
    let mut schema: Option<SchemaRef> = None;
    for statement in statements {
        let rows = names::rows(executor, statement).await?;
        schema = Some(rows.schema());
        batches.extend(rows.try_collect::<Vec<_>>().await.map_err(engine::Error::from)?);
    }
    let schema = schema.unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty()));
    if let Some(pattern) = pattern {
        let pattern = pattern.to_lowercase();
        let kept = batches.iter().map(|batch| filter_record_batch(batch, &matching(batch, &pattern)));
        batches = kept.collect::<Result<_, _>>().map_err(engine::Error::from)?;
    }
    let rows = futures::stream::iter(batches.into_iter().map(Ok));
    Ok(Description { title: None, rows: Box::pin(RecordBatchStreamAdapter::new(schema, rows)), definition: None })
}

/// The rows whose first value, a name, matches.
fn matching(batch: &RecordBatch, pattern: &str) -> BooleanArray {
    let names = batch.columns().first().and_then(|column| column.as_any().downcast_ref::<StringArray>());
    let matches = |name: Option<&str>| Some(name.is_some_and(|name| matches(&name.to_lowercase(), pattern)));
    names.map_or_else(|| BooleanArray::from(vec![true; batch.num_rows()]), |names| names.iter().map(matches).collect())
}

/// Whether a name is as a pattern says, in which `*` stands for any text and `?` for any character.
fn matches(name: &str, pattern: &str) -> bool {
    let (mut name, mut pattern) = (name.chars(), pattern.chars());
    // Where to go on if the rest does not match: behind the last `*`, with one character more taken by it.
    let mut retry = None;
    loop {
        let before = (name.clone(), pattern.clone());
        match (name.next(), pattern.next()) {
            (None, None) => return true,
            (_, Some('*')) => {
                name = before.0;
                retry = Some((name.clone(), pattern.clone()));
            }
            (Some(a), Some(b)) if a == b || b == '?' => {}
            _ => {
                let Some((mut taken, rest)) = retry.take() else { return false };
                if taken.next().is_none() {
                    return false;
                }
                name = taken.clone();
                pattern = rest.clone();
                retry = Some((taken, rest));
            }
        }
    }
}

async fn relation(executor: &Executor, name: &str, definition: bool) -> Result<Description, Failure> {
    let statement = format!("DESCRIBE {name}");
    let rows = names::rows(executor, &statement).await?;
    let name = match executor::parts(&statement)?.into_iter().next().map(|part| part.statement.statement) {
        Some(Statement::Describe(name)) => name,
        _ => return Err(Failure::refused("\\d takes the name of a table or view, or a pattern")),
    };
    let mut found = names::lines(executor, "SHOW VIEWS").await?;
    let is_view = found.iter().any(|line| line[0] == name);
    if !is_view {
        found = names::lines(executor, "SHOW TABLES").await?;
    }
    let kind = found.into_iter().find(|line| line[0] == name).and_then(|line| line.into_iter().nth(1));
    let title = match kind.as_deref() {
        // The kind of a table behind a connector is the connector's name.
        Some(connector) if !is_view && connector != "table" => format!("table {name} ({connector})"),
        kind => format!("{} {name}", kind.unwrap_or("table")),
    };
    let definition = match is_view || definition {
        false => None,
        true => {
            let lines = names::lines(executor, &format!("SHOW CREATE TABLE {}", quoted(&name))).await?;
            lines.into_iter().next().and_then(|line| line.into_iter().nth(1)).map(|sql| broken(&sql))
        }
    };
    Ok(Description { title: Some(title), rows, definition })
}

/// A statement in lines: one per clause of its outermost query, and more where one would be too long.
fn broken(sql: &str) -> String {
    in_clauses(sql).lines().map(wrapped).collect::<Vec<_>>().join("\n")
}

/// A clause in lines that are not too long, as far as commas between its items allow.
fn wrapped(clause: &str) -> String {
    let mut text = String::with_capacity(clause.len());
    // The columns and options of a table are in parentheses, the items of a query are not.
    let outermost = usize::from(clause.starts_with("CREATE") || clause.starts_with("WITH ("));
    let (mut depth, mut line, mut item) = (0_usize, String::new(), String::new());
    for token in lex::tokens(clause) {
        item.push_str(token.text);
        depth = match token.text {
            "(" => depth + 1,
            ")" => depth.saturating_sub(1),
            _ => depth,
        };
        if depth > outermost || !token.is_symbol(",") {
            continue;
        }
        if !line.is_empty() && line.width() + item.width() > WIDTH {
            text.push_str(&line);
            line = format!("\n   {item}");
        } else {
            line.push_str(&item);
        }
        item.clear();
    }
    if line.width() + item.width() > WIDTH && !line.is_empty() {
        line = format!("{line}\n   {item}");
    } else {
        line.push_str(&item);
    }
    text + &line
}

fn in_clauses(sql: &str) -> String {
    const CLAUSES: [&str; 12] = [
        "SELECT",
        "FROM",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "EMIT",
        "WITH",
    ];
    let mut text = String::with_capacity(sql.len());
    let mut depth = 0_usize;
    let mut within_join = false;
    let tokens = lex::tokens(sql);
    for (i, token) in tokens.iter().enumerate() {
        depth = match token.text {
            "(" => depth + 1,
            ")" => depth.saturating_sub(1),
            _ => depth,
        };
        let joins = !within_join && begins_join(&tokens[i..]);
        if depth == 0 && text.ends_with(' ') && (joins || CLAUSES.iter().any(|clause| token.is_word(clause))) {
            text.pop();
            text.push('\n');
        }
        if token.counts() {
            within_join = (within_join || joins) && !token.is_word("JOIN");
        }
        text.push_str(token.text);
    }
    text
}

/// Whether a join begins here, with its side if it has one.
fn begins_join(tokens: &[Token<'_>]) -> bool {
    let mut words = tokens.iter().take(3).filter(|token| token.counts());
    let Some(first) = words.next() else { return false };
    let has_side = ["LEFT", "RIGHT", "FULL", "INNER", "CROSS", "ASOF"].iter().any(|side| first.is_word(side));
    first.is_word("JOIN") || has_side && words.any(|word| word.is_word("JOIN") || word.is_word("OUTER"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (name, pattern) in [
            ("flights", "flights"),
            ("flights", "fl*"),
            ("flights", "*s"),
            ("flights", "f?i*t?"),
            ("", "*"),
            ("aab", "*ab"),
        ] {
            assert!(matches(name, pattern), "{name} {pattern}");
        }
        for (name, pattern) in [("flights", "flight"), ("flights", "?"), ("flights", "*x*"), ("", "?"), ("ab", "a*bb")]
        {
            assert!(!matches(name, pattern), "{name} {pattern}");
        }
    }

    #[test]
    fn definitions_have_a_line_per_clause() {
        assert_eq!(
            broken(
                "CREATE VIEW v AS SELECT a, (SELECT 1 FROM b) AS x FROM t LEFT OUTER JOIN u ON t.k = u.k JOIN w ON left(a, 1) = 'x' WHERE c = ' FROM ' GROUP BY a"
            ),
            "CREATE VIEW v AS\nSELECT a, (SELECT 1 FROM b) AS x\nFROM t\nLEFT OUTER JOIN u ON t.k = u.k\nJOIN w ON left(a, 1) = 'x'\nWHERE c = ' FROM '\nGROUP BY a"
        );
        let item = "a".repeat(40);
        let wide = format!("SELECT {item}, f({item}, {item}), b FROM t");
        assert_eq!(broken(&wide), format!("SELECT {item},\n    f({item}, {item}), b\nFROM t"));
        assert_eq!(broken("CREATE TABLE t (a INT) WITH ('x' = 'y')"), "CREATE TABLE t (a INT)\nWITH ('x' = 'y')");
    }
}
