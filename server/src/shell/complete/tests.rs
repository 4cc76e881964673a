//! What Tab offers in which place.

use super::super::names::Relation;
use super::*;

fn names() -> Names {
    let relation = |name: &str, kind, columns: &[&str]| Relation {
        name: name.to_owned(),
        kind,
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
    };
    Names {
        relations: vec![
            relation("flights", RelationKind::Table, &["carrier", "dest", "Delay"]),
            relation("planes", RelationKind::Table, &["tailnum", "carrier"]),
            relation("Odd name", RelationKind::Table, &["x"]),
            relation("late", RelationKind::View, &["n"]),
            relation("latest", RelationKind::MaterializedView, &["t"]),
        ],
        functions: vec!["celsius".to_owned()],
        jobs: vec!["latest".to_owned(), "import_1".to_owned()],
    }
}

/// What is offered at the `|`.
fn at(text: &str) -> Vec<String> {
    let cursor = text.find('|').unwrap();
    let text = text.replacen('|', "", 1);
    complete(&text, cursor, &names()).candidates.into_iter().map(|candidate| candidate.text).collect()
}

#[test]
fn keywords_are_written_as_they_are_begun() {
    assert_eq!(at("SEL|"), ["SELECT"]);
    assert_eq!(at("sel|"), ["select"]);
    assert_eq!(at("SELECT 1; sel|"), ["select"]);
    assert_eq!(at("  DES|"), ["DESCRIBE"]);
    assert!(at("|").contains(&"SELECT".to_owned()));
    assert_eq!(at("SELECT * FROM flights whe|"), ["when", "where"]);
    assert_eq!(at("SELECT * FROM flights WHER|"), ["WHERE"]);
}

#[test]
fn tables_stand_after_from_and_its_like() {
    for text in ["SELECT * FROM fl|", "select x from planes join FL|", "INSERT INTO fl|", "UPDATE fl|", "DESCRIBE fl|"]
    {
        assert_eq!(at(text), ["flights"], "{text}");
    }
    assert_eq!(at("SELECT * FROM flights, pl|"), ["planes"]);
    assert_eq!(at("SELECT * FROM |"), ["flights", "planes", "\"Odd name\"", "late", "latest"]);
    assert_eq!(at("SELECT * FROM TABLE(TUMBLE(TABLE fl|"), ["flights"]);
    assert_eq!(at("CREATE MATERIALIZED VIEW v AS SELECT * FROM TABLE(TUMBLE(TABLE fl|"), ["flights"]);
    assert_eq!(at("WITH flow AS (SELECT 1) SELECT * FROM fl|"), ["flow", "flights"]);
    assert_eq!(at("SUBSCRIBE TO latest|"), Vec::<String>::new());
    assert_eq!(at("EXPLAIN SELECT * FROM pl|"), ["planes"]);
}

#[test]
fn names_that_need_quotes_get_them() {
    assert_eq!(at("SELECT * FROM od|"), ["\"Odd name\""]);
    assert_eq!(at("SELECT * FROM \"Od|"), ["\"Odd name\""]);
    assert_eq!(at("SELECT * FROM \"od|"), Vec::<String>::new());
    assert_eq!(at("SELECT flights.d| FROM flights"), ["dest", "\"Delay\""]);
}

#[test]
fn columns_are_those_of_the_tables_that_are_named() {
    assert_eq!(at("SELECT carr| FROM planes"), ["carrier"]);
    assert_eq!(at("SELECT * FROM planes WHERE tai|"), ["tailnum"]);
    assert_eq!(at("SELECT | FROM planes"), ["tailnum", "carrier"]);
    assert_eq!(at("SELECT carrier, | FROM planes"), ["tailnum", "carrier"]);
    assert!(!at("SELECT de| FROM planes").contains(&"dest".to_owned()));
    // Nothing is named yet.
    assert_eq!(at("SELECT des|")[0], "dest");
    assert_eq!(at("SELECT * FROM flights WHERE dest = 1; SELECT | FROM late"), ["n"]);
    assert_eq!(at("UPDATE planes SET tai|"), ["tailnum"]);
    assert_eq!(at("INSERT INTO planes (tai|"), ["tailnum"]);
    assert_eq!(at("SELECT SUM(tai|) FROM planes"), ["tailnum"]);
}

#[test]
fn columns_can_be_qualified() {
    assert_eq!(at("SELECT p.| FROM flights f JOIN planes AS p"), ["tailnum", "carrier"]);
    assert_eq!(at("SELECT * FROM flights f, planes p WHERE f.de|"), ["dest", "\"Delay\""]);
    assert_eq!(at("SELECT planes.tai|"), ["tailnum"]);
    assert_eq!(at("SELECT nothing.|"), Vec::<String>::new());
}

#[test]
fn functions_are_offered_in_expressions() {
    assert_eq!(at("SELECT cels|"), ["celsius("]);
    assert_eq!(at("SELECT date_tr| FROM flights"), ["date_trunc("]);
    assert_eq!(at("DROP FUNCTION |"), ["celsius"]);
}

#[test]
fn statements_about_objects_take_those_of_their_kind() {
    assert_eq!(at("DROP TABLE |"), ["flights", "planes", "\"Odd name\""]);
    assert_eq!(at("DROP TABLE IF EXISTS pl|"), ["planes"]);
    assert_eq!(at("DROP VIEW |"), ["late", "latest"]);
    assert_eq!(at("DROP MATERIALIZED VIEW |"), ["latest"]);
    assert_eq!(at("VERIFY MATERIALIZED VIEW |"), ["latest"]);
    assert_eq!(at("VER|"), ["VERIFY MATERIALIZED VIEW"]);
    assert_eq!(at("SHOW CREATE TABLE la|"), ["late", "latest"]);
    assert_eq!(at("SHOW CREATE v|"), ["view"]);
    for verb in ["PAUSE", "RESUME", "RESTART", "STOP", "DROP"] {
        assert_eq!(at(&format!("{verb} JOB |")), ["latest", "import_1"], "{verb}");
    }
    assert_eq!(at("STOP J|"), ["JOB"]);
    assert_eq!(at("CREATE TABLE |"), Vec::<String>::new());
    assert_eq!(at("CREATE VIEW v AS SELECT carr| FROM planes"), ["carrier"]);
}

#[test]
fn settings_stand_after_set() {
    for text in ["SET commit|", "show COMMIT|", "RESET commit|"] {
        assert_eq!(at(text), ["commit_interval"], "{text}");
    }
    assert_eq!(at("SHOW TA|"), ["TABLES"]);
    assert_eq!(at("RESET AL|"), ["ALL"]);
    assert_eq!(at("SET commit_interval = |"), Vec::<String>::new());
}

#[test]
fn literals_and_comments_are_left_alone() {
    for text in ["SELECT 'sel|", "SELECT 'fl|' FROM t", "-- sel|", "SELECT /* fl| */ 1", "SELECT 1 /* sel|"] {
        assert_eq!(at(text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(at("-- done\nsel|"), ["select"]);
}

#[test]
fn commands_are_completed_with_their_arguments() {
    assert_eq!(at("\\ti|"), ["\\timing"]);
    assert_eq!(at("\\d|"), ["\\dt", "\\dv", "\\df", "\\dj", "\\du", "\\dp"]);
    assert_eq!(at("\\d fl|"), ["flights"]);
    assert_eq!(at("\\d+ pl|"), ["planes"]);
    assert_eq!(at("\\dv |"), ["late", "latest"]);
    assert_eq!(at("\\dj im|"), ["import_1"]);
    assert_eq!(at("\\timing o|"), ["on", "off"]);
    assert_eq!(at("\\pset pager of|"), ["off"]);
    assert_eq!(at("\\pset p|"), ["pager"]);
    assert!(complete("\\i dir/fi", 9, &names()).path);
    assert_eq!(complete("\\i dir/fi", 9, &names()).start, 3);
}

#[test]
fn the_word_under_the_cursor_is_replaced_up_to_the_cursor() {
    let completion = complete("SELECT ca FROM flights", 9, &names());
    assert_eq!((completion.start, completion.candidates[0].text.as_str()), (7, "carrier"));
}

#[test]
fn nothing_that_can_be_typed_panics() {
    for text in ["é|", "\\é |", "SELECT \"|", "SELECT '|", "...|", ").|", ";;|;", "SELECT é.|", "DROP|", "CREATE OR |"]
    {
        at(text);
    }
    assert_eq!(complete("é", 1, &names()), Completion::default());
    assert_eq!(complete("a", 9, &names()), Completion::default());
}
