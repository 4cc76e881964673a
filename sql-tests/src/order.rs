//! Where statements of a file may change places: pure, and the only place that knows.

use sqllogictest::{DefaultColumnType, Record, StatementExpect};

use crate::mode::{Rows, Views};
use crate::rewrite::{Inserts, one_by_one, reversed};

/// Records of a file.
pub type Records = Vec<Record<DefaultColumnType>>;

/// What a statement does to the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Table,
    View,
    Data,
    /// Nothing moves past it.
    Fixed,
}

/// Sorts views before or after data within every stretch of CREATE, INSERT and other changing statements that are expected
/// to succeed.
/// All else, such as a query, ends a stretch. Tables stay first; within a kind the order of the file is kept.
pub fn arrange(records: Records, views: Views) -> Records {
    let rank = |kind| match (kind, views) {
        (Kind::Table | Kind::Fixed, _) => 0,
        (Kind::View, Views::BeforeData) | (Kind::Data, Views::AfterData) => 1,
        (Kind::View, Views::AfterData) | (Kind::Data, Views::BeforeData) => 2,
        (_, Views::Plain) => 0,
    };
    let mut arranged = Vec::with_capacity(records.len());
    let mut stretch: Vec<(Kind, Record<DefaultColumnType>)> = Vec::new();
    let flush = |stretch: &mut Vec<(Kind, Record<DefaultColumnType>)>, arranged: &mut Records| {
        stretch.sort_by_key(|(kind, _)| rank(*kind));
        arranged.extend(stretch.drain(..).map(|(_, record)| record));
    };
    for record in records {
        match kind(&record) {
            Some(Kind::Fixed) => {
                flush(&mut stretch, &mut arranged);
                arranged.push(record);
            }
            Some(kind) => stretch.push((kind, record)),
            // Comments, blank lines and conditions: conditions are kept in the records they are about.
            None => {}
        }
    }
    flush(&mut stretch, &mut arranged);
    arranged
}

/// Writes the rows of INSERT statements that are expected to succeed in another way.
pub fn rewrite(records: Records, rows: Rows) -> Records {
    let mut rewritten = Records::with_capacity(records.len());
    let mut inserts = Inserts::default();
    // Where a run of statements begins whose order does not matter.
    let mut run = 0;
    for record in records {
        let insert = match &record {
            Record::Statement { sql, expected: StatementExpect::Ok, .. } => {
                inserts.note(sql);
                kind_of_sql(sql) == Kind::Data
            }
            _ => false,
        };
        match (record, rows) {
            (Record::Statement { loc, conditions, connection, sql, expected, retry }, Rows::OneByOne) if insert => {
                rewritten.extend(one_by_one(&sql).into_iter().map(|sql| Record::Statement {
                    loc: loc.clone(),
                    conditions: conditions.clone(),
                    connection: connection.clone(),
                    sql,
                    expected: expected.clone(),
                    retry: retry.clone(),
                }));
            }
            (Record::Statement { loc, conditions, connection, sql, expected, retry }, Rows::Reversed)
                if insert && inserts.unordered(&sql) =>
            {
                let sql = reversed(&sql);
                rewritten.insert(run, Record::Statement { loc, conditions, connection, sql, expected, retry });
                continue;
            }
            (record, _) => rewritten.push(record),
        }
        run = rewritten.len();
    }
    rewritten
}

fn kind(record: &Record<DefaultColumnType>) -> Option<Kind> {
    match record {
        Record::Statement { sql, expected: StatementExpect::Ok | StatementExpect::Count(_), .. } => {
            Some(kind_of_sql(sql))
        }
        Record::Comment(_) | Record::Newline | Record::Condition(_) | Record::Connection(_) => None,
        _ => Some(Kind::Fixed),
    }
}

fn kind_of_sql(sql: &str) -> Kind {
    let words: Vec<String> = sql.split_whitespace().take(3).map(str::to_ascii_uppercase).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // A table that starts with the result of a query stays behind what it reads.
        ["CREATE", "TABLE", ..] if sql.to_ascii_uppercase().contains(" AS SELECT ") => Kind::Fixed,
        ["CREATE", "TABLE" | "FUNCTION", ..] => Kind::Table,
        ["CREATE", "VIEW", ..] | ["CREATE", "MATERIALIZED", "VIEW"] => Kind::View,
        ["INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE", ..] => Kind::Data,
        _ => Kind::Fixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# a comment
statement ok
CREATE TABLE t (a INT)

statement ok
INSERT INTO t VALUES (1)

statement ok
CREATE MATERIALIZED VIEW v AS SELECT * FROM t

statement ok
INSERT INTO t VALUES (2)

query I
SELECT * FROM v
----
1
2

statement ok
INSERT INTO t VALUES (3)

statement ok
CREATE VIEW w AS SELECT * FROM v

statement error
INSERT INTO t VALUES ('x')

statement ok
DROP VIEW w
";

    fn played(views: Views) -> Vec<String> {
        let records = arrange(sqllogictest::parse(FILE).unwrap(), views);
        let text = |record: &Record<DefaultColumnType>| match record {
            Record::Statement { sql, .. } | Record::Query { sql, .. } => sql.replace("MATERIALIZED ", ""),
            other => panic!("{other:?}"),
        };
        records.iter().map(|r| text(r).split_whitespace().filter(|w| *w != "INTO").take(5).collect()).collect()
    }

    #[test]
    fn rows_come_in_the_order_of_the_mode() {
        let file = "\
statement ok
CREATE TABLE t (a INT)

statement ok
INSERT INTO t VALUES (1), (2)

statement ok
INSERT INTO t VALUES (3)

statement ok
CREATE TABLE k (a INT PRIMARY KEY)

statement ok
INSERT INTO k VALUES (4), (5)

statement error
INSERT INTO t VALUES (6), (x)
";
        let inserted = |rows| {
            let records = rewrite(arrange(sqllogictest::parse(file).unwrap(), Views::BeforeData), rows);
            let text = |record: &Record<DefaultColumnType>| match record {
                Record::Statement { sql, .. } => {
                    sql.strip_prefix("INSERT INTO ").map(|sql| sql.replace(" VALUES ", ""))
                }
                other => panic!("{other:?}"),
            };
            records.iter().filter_map(text).collect::<Vec<_>>()
        };
        assert_eq!(inserted(Rows::Together), ["t(1), (2)", "t(3)", "k(4), (5)", "t(6), (x)"]);
        assert_eq!(inserted(Rows::OneByOne), ["t(1)", "t(2)", "t(3)", "k(4)", "k(5)", "t(6), (x)"]);
        assert_eq!(inserted(Rows::Reversed), ["t(3)", "t(2), (1)", "k(4), (5)", "t(6), (x)"]);
    }

    #[test]
    fn views_go_before_or_after_the_data_of_their_stretch() {
        let table = "CREATETABLEt(aINT)";
        let view = "CREATEVIEWvASSELECT";
        let (one, two, three) = ("INSERTtVALUES(1)", "INSERTtVALUES(2)", "INSERTtVALUES(3)");
        let (query, other, wrong, gone) = ("SELECT*FROMv", "CREATEVIEWwASSELECT", "INSERTtVALUES('x')", "DROPVIEWw");
        assert_eq!(played(Views::Plain), [table, one, view, two, query, three, other, wrong, gone]);
        assert_eq!(played(Views::BeforeData), [table, view, one, two, query, other, three, wrong, gone]);
        assert_eq!(played(Views::AfterData), [table, one, two, view, query, three, other, wrong, gone]);
    }
}
