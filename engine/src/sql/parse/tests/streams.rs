//! COPY, cursors, SUBSCRIBE, and what else connections say.

use super::{canonical, fails, one};
use crate::sql::statement::{CopyFormat, CopyOptions, RowSource, Statement, TransactionControl};

#[test]
fn canonical_texts() {
    for (text, expected) in [
        ("copy T (A, \"B c\") from stdin with (format csv, header)", "COPY t (a, \"B c\") FROM STDIN"),
        ("COPY t FROM STDIN CSV HEADER DELIMITER AS ';' NULL AS ''", "COPY t FROM STDIN"),
        ("copy (select a from t) to stdout", "COPY (SELECT a FROM t) TO STDOUT"),
        ("copy (subscribe to v) to stdout (format binary)", "COPY (SUBSCRIBE TO v) TO STDOUT"),
        ("subscribe to V with snapshot", "SUBSCRIBE TO v WITH SNAPSHOT"),
        ("subscribe to v as of version 7", "SUBSCRIBE TO v AS OF VERSION 7"),
        ("declare c no scroll cursor for select 1", "DECLARE c CURSOR FOR SELECT 1"),
        ("declare c insensitive cursor with hold for subscribe to v", "DECLARE c CURSOR WITH HOLD FOR SUBSCRIBE TO v"),
        ("fetch forward 10 from c", "FETCH 10 FROM c"),
        ("fetch all in c", "FETCH ALL FROM c"),
        ("fetch c", "FETCH 1 FROM c"),
        ("move 3 c", "MOVE 3 FROM c"),
        ("close all", "CLOSE ALL"),
        ("close \"C\"", "CLOSE \"C\""),
        ("reset Commit_Interval", "RESET commit_interval"),
        ("reset all", "RESET ALL"),
        ("discard all", "DISCARD ALL"),
        ("deallocate prepare p", "DEALLOCATE p"),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

fn options(text: &str) -> CopyOptions {
    match one(text).statement {
        Statement::CopyFrom(copy) => copy.options,
        Statement::CopyTo(copy) => copy.options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn copy_has_the_defaults_of_its_format() {
    let text = options("COPY t FROM STDIN");
    assert_eq!((text.format, text.delimiter, text.null.as_str(), text.header), (CopyFormat::Text, b'\t', "\\N", false));
    let csv = options("COPY t TO STDOUT (FORMAT 'csv', HEADER true, QUOTE '''')");
    assert_eq!((csv.format, csv.delimiter, csv.null.as_str(), csv.header), (CopyFormat::Csv, b',', "", true));
    assert_eq!((csv.quote, csv.escape), (b'\'', b'\''));
    assert!(!options("COPY t TO STDOUT (FORMAT csv, HEADER false)").header);
}

#[test]
fn a_table_is_copied_out_by_a_query_of_it() {
    let Statement::CopyTo(copy) = one("COPY t (b, a) TO STDOUT").statement else { panic!("not COPY TO") };
    let RowSource::Query(query) = copy.rows else { panic!("not a query") };
    assert_eq!(query.to_string(), "SELECT b, a FROM t");
}

#[test]
fn modes_of_transactions() {
    for (text, expected) in [
        ("BEGIN READ ONLY", TransactionControl::Begin { read_only: Some(true) }),
        (
            "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
            TransactionControl::Begin { read_only: Some(false) },
        ),
        ("SET TRANSACTION READ ONLY", TransactionControl::Modes { read_only: Some(true), session: false }),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            TransactionControl::Modes { read_only: Some(true), session: true },
        ),
    ] {
        let Statement::Transaction(control) = one(text).statement else { panic!("{text}") };
        assert_eq!(control, expected, "{text}");
    }
}

#[test]
fn errors_have_places_and_say_what_to_write() {
    for (text, message, line, column) in [
        ("COPY t FROM '/tmp/x'", "not files of the server", 1, 13),
        ("COPY t TO STDIN", "expected STDOUT", 1, 11),
        ("COPY t FROM STDIN (FORMAT xml)", "text, csv or binary", 1, 27),
        ("COPY t FROM STDIN (DELIMITER 'ab')", "not one ASCII character", 1, 34),
        ("COPY t FROM STDIN (FREEZE)", "FREEZE", 1, 20),
        ("COPY t FROM STDIN (QUOTE 'x')", "are for CSV", 1, 19),
        ("SUBSCRIBE v", "expected TO", 1, 11),
        ("SUBSCRIBE TO v AS OF VERSION x", "whole number", 1, 30),
        ("DECLARE c SCROLL CURSOR FOR SELECT 1", "forward only", 1, 11),
        ("FETCH PRIOR FROM c", "forward only", 1, 7),
        ("FETCH -1 FROM c", "forward only", 1, 7),
    ] {
        let (error, at_line, at_column) = fails(text);
        assert!(error.contains(message), "{text}: {error}");
        assert_eq!((at_line, at_column), (line, column), "{text}: {error}");
    }
}
