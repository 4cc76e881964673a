//! Every form, the places of errors, round trips, and that nothing makes the parser panic.

mod access;
mod grammar;
mod streams;

use arrow::datatypes::DataType;
use proptest::prelude::*;

use super::*;

fn one(text: &str) -> ParsedStatement {
    let mut statements = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0)
}

/// The canonical text, which must be its own canonical text.
fn canonical(text: &str) -> String {
    let canonical = one(text).text;
    assert_eq!(one(&canonical).text, canonical, "from {text}");
    canonical
}

/// The error's text and place.
fn fails(text: &str) -> (String, u64, u64) {
    let error = match parse(text) {
        Ok(statements) => panic!("{text} was parsed: {statements:?}"),
        Err(error) => error,
    };
    let Position { line, column } = error.position().unwrap_or_else(|| panic!("{text}: no position: {error}"));
    (error.to_string(), line, column)
}

#[test]
fn canonical_texts() {
    let expected = [
        ("select  A, b -- comment\n from /* here */ T", "SELECT a, b FROM t"),
        ("SELECT \"A\", `b c` FROM t", "SELECT \"A\", \"b c\" FROM t"),
        ("select - - 1, -(-1), not not true", "SELECT -(-1), -(-1), NOT NOT true"),
        ("select 'it''s', E'a\\n', date '2020-01-01', x::BIGINT from t", "SELECT 'it''s', E'a\\n', DATE '2020-01-01', x::BIGINT FROM t"),
        ("values (1, 'a'), (2, null)", "VALUES (1, 'a'), (2, NULL)"),
        ("(select 1) union all (select 2) order by 1 limit 3", "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 LIMIT 3"),
        ("with x as (select 1 as a) select * from x", "WITH x AS (SELECT 1 AS a) SELECT * FROM x"),
        (
            "create table if not exists T (Id bigint primary key not enforced, v string, watermark for ts as ts - interval '4' second, ts timestamp(3))
             with (Connector = 'kafka', 'topic' = 'a''b', \"bootstrap.servers\" = 'x:1', scan.startup-mode = 'earliest', parallelism = 4)",
            "CREATE TABLE t (id BIGINT NOT NULL, v VARCHAR, ts TIMESTAMP, PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) \
             WITH ('bootstrap.servers' = 'x:1', 'connector' = 'kafka', 'parallelism' = '4', 'scan.startup-mode' = 'earliest', 'topic' = 'a''b')",
        ),
        (
            "CREATE TABLE t (a INT, b INT, CONSTRAINT pk PRIMARY KEY (b, a) NOT ENFORCED)",
            "CREATE TABLE t (a INT NOT NULL, b INT NOT NULL, PRIMARY KEY (b, a))",
        ),
        ("create table \"Order\" (\"Select\" int, \"primary\" int)", "CREATE TABLE \"Order\" (\"Select\" INT, \"primary\" INT)"),
        ("create or replace materialized view V (a, b) as select 1, 2", "CREATE MATERIALIZED VIEW v (a, b) AS SELECT 1, 2"),
        ("create view if not exists v as values (1)", "CREATE VIEW v AS VALUES (1)"),
        ("drop table if exists a, B cascade", "DROP TABLE IF EXISTS a, b CASCADE"),
        ("drop view v restrict", "DROP VIEW v"),
        ("drop materialized view v", "DROP MATERIALIZED VIEW v"),
        ("drop job j", "DROP JOB j"),
        ("insert into t values (1)", "INSERT INTO t VALUES (1)"),
        ("insert into t (A, b) select 1, 2", "INSERT INTO t (a, b) SELECT 1, 2"),
        ("insert into t (select 1)", "INSERT INTO t (SELECT 1)"),
        ("insert overwrite table t values (1, default)", "INSERT OVERWRITE t VALUES (1, default)"),
        (
            "insert into t values (1) on conflict (A, b) do update set (x, Y) = (excluded.x, default), z = t.z + 1 where t.z > 0",
            "INSERT INTO t VALUES (1) ON CONFLICT (a, b) DO UPDATE SET x = excluded.x, y = DEFAULT, z = t.z + 1 WHERE t.z > 0",
        ),
        ("insert into t select * from s on conflict do nothing", "INSERT INTO t SELECT * FROM s ON CONFLICT DO NOTHING"),
        ("update T x set x.a = 1, b = default where a is null", "UPDATE t AS x SET a = 1, b = DEFAULT WHERE a IS NULL"),
        (
            "update t set a = s.a from s join r on s.i = r.i, (select 1 as z) q where q.z = t.a",
            "UPDATE t SET a = s.a FROM s JOIN r ON s.i = r.i, (SELECT 1 AS z) q WHERE q.z = t.a",
        ),
        ("delete from \"T\"", "DELETE FROM \"T\""),
        ("delete from t as x using s where s.a = x.a", "DELETE FROM t AS x USING s WHERE s.a = x.a"),
        ("truncate b, a", "TRUNCATE TABLE a, b"),
        (
            "merge into t using s as q on t.a = q.a when matched and q.b > 1 then delete when matched then update set b = q.b \
             when not matched by target then insert (a, b) values (q.a, default) when not matched by source then do nothing",
            "MERGE INTO t USING s AS q ON t.a = q.a WHEN MATCHED AND q.b > 1 THEN DELETE WHEN MATCHED THEN UPDATE SET b = q.b \
             WHEN NOT MATCHED THEN INSERT (a, b) VALUES (q.a, DEFAULT) WHEN NOT MATCHED BY SOURCE THEN DO NOTHING",
        ),
        ("explain delete from t where a = 1", "EXPLAIN DELETE FROM t WHERE a = 1"),
        ("verify materialized view V", "VERIFY MATERIALIZED VIEW v"),
        (
            "create or replace function F(X bigint, \"Y z\" varchar(3)) returns text language sql immutable as 'select x || $2'",
            "CREATE FUNCTION f(x BIGINT, \"Y z\" VARCHAR) RETURNS VARCHAR RETURN x || \"Y z\"",
        ),
        ("create function f() returns int as $$ 7 $$ language sql", "CREATE FUNCTION f() RETURNS INT RETURN 7"),
        ("drop function if exists f(int), g cascade", "DROP FUNCTION IF EXISTS f, g CASCADE"),
        ("show functions", "SHOW FUNCTIONS"),
        ("show create function F", "SHOW CREATE FUNCTION f"),
        ("create or replace table t (a int) append only", "CREATE TABLE t (a INT) APPEND ONLY"),
        (
            "create table t (a int default 1 + 1 not null, b as a * 2 > 3, c bigint not null generated always as (a) stored, d text not null default 'x')",
            "CREATE TABLE t (a INT NOT NULL DEFAULT 1 + 1, b AS a * 2 > 3, c BIGINT NOT NULL GENERATED ALWAYS AS (a), d VARCHAR NOT NULL DEFAULT 'x')",
        ),
        ("create table t as select 1", "CREATE TABLE t AS SELECT 1"),
        ("create table if not exists t (a, B) as values (1, 2)", "CREATE TABLE t (a, b) AS VALUES (1, 2)"),
        (
            "execute statement set begin insert into a select 1; insert into b select 2; end",
            "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT 2; END",
        ),
        ("begin transaction isolation level serializable, read write", "BEGIN"),
        ("start transaction read only", "BEGIN"),
        ("end", "COMMIT"),
        ("abort", "ROLLBACK"),
        ("savepoint A", "SAVEPOINT a"),
        ("rollback to savepoint a", "ROLLBACK TO a"),
        ("release a", "RELEASE a"),
        ("begin statement set; insert into a select 1; end;", "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; END"),
        ("explain select 1", "EXPLAIN SELECT 1"),
        ("explain plan for select 1", "EXPLAIN SELECT 1"),
        ("explain incremental create materialized view v as select 1", "EXPLAIN INCREMENTAL CREATE MATERIALIZED VIEW v AS SELECT 1"),
        ("explain insert into t select 1", "EXPLAIN INSERT INTO t SELECT 1"),
        ("show tables", "SHOW TABLES"),
        ("show materialized views", "SHOW VIEWS"),
        ("show jobs", "SHOW JOBS"),
        ("show create table X", "SHOW CREATE TABLE x"),
        ("show create materialized view X", "SHOW CREATE MATERIALIZED VIEW x"),
        ("show Parallelism", "SHOW parallelism"),
        ("show transaction isolation level", "SHOW transaction_isolation"),
        ("desc t", "DESCRIBE t"),
        ("describe \"T\"", "DESCRIBE \"T\""),
        ("set parallelism = 4", "SET parallelism = '4'"),
        ("SET 'pipeline.name' = 'it''s'", "SET pipeline.name = 'it''s'"),
        ("set search_path to a, b", "SET search_path = 'a, b'"),
        ("set commit_interval = 10 s", "SET commit_interval = '10s'"),
        ("set time zone 'UTC'", "SET timezone = 'UTC'"),
        ("flush", "FLUSH"),
        ("pause job J", "PAUSE JOB j"),
        ("resume materialized view v", "RESUME JOB v"),
        ("restart job \"J\"", "RESTART JOB \"J\""),
        ("stop job j", "STOP JOB j"),
    ];
    for (text, expected) in expected {
        assert_eq!(canonical(text), expected);
    }
}

#[test]
fn several_statements_with_positions() {
    let statements = parse(";; SELECT 1;\n-- a;b\n  FLUSH ;\n/* ; */ SHOW TABLES").unwrap();
    let places: Vec<_> = statements.iter().map(|s| (s.position.line, s.position.column, s.text.as_str())).collect();
    assert_eq!(places, [(1, 4, "SELECT 1"), (3, 3, "FLUSH"), (4, 9, "SHOW TABLES")]);
    assert!(parse(" -- nothing\n;").unwrap().is_empty());
    assert!(parse("").unwrap().is_empty());
}

#[test]
fn parts_of_create_table() {
    let Statement::CreateTable(table) = one(
        "CREATE TABLE t (a INT NOT NULL, b VARCHAR NULL, ts TIMESTAMP(3), WATERMARK FOR ts AS ts, PRIMARY KEY (b)) WITH (x.y = true)",
    )
    .statement
    else {
        panic!("not a table")
    };
    let columns: Vec<_> = table.columns.iter().map(|c| (c.name.as_str(), c.nullable)).collect();
    assert_eq!(columns, [("a", false), ("b", false), ("ts", true)]);
    assert_eq!(table.columns[0].data_type, Some(DataType::Int32));
    assert_eq!(table.primary_key, ["b"]);
    assert_eq!(table.watermark.unwrap().expression, "ts");
    assert_eq!(table.options.into_iter().collect::<Vec<_>>(), [("x.y".to_owned(), "true".to_owned())]);
}

#[test]
fn errors_have_places_and_say_what_to_write() {
    let expected = [
        ("SELECT 1;\nSELEC 2", "did you mean SELECT?", 2, 1),
        ("SELECT a FROM", "the end of the text", 1, 14),
        ("SELECT 1 +;", "expected an expression, found `;`", 1, 11),
        ("SELECT 'abc", "nterminated", 1, 8),
        ("SELECT 1 FROM t 2", "expected `;` or the end of the statement", 1, 17),
        ("CREATE TABLE t", "expected `(`", 1, 15),
        ("CREATE TABLE t (a)", "the type of column a", 1, 18),
        ("CREATE TABLE t (\n  a INT,\n  A INT)", "appears twice", 3, 3),
        ("CREATE TABLE t (a INT, PRIMARY KEY (b))", "PRIMARY KEY names the column b", 1, 24),
        ("CREATE TABLE t (a INT PRIMARY KEY, PRIMARY KEY (a))", "at most one PRIMARY KEY", 1, 36),
        ("CREATE TABLE t (price INT, WATERMARK FOR pric AS 1)", "did you mean price?", 1, 42),
        ("CREATE TABLE t (a INT, WATERMARK FOR a AS a)", "must be a TIMESTAMP", 1, 38),
        ("CREATE TABLE t (a INT, WATERMARK FOR a)", "expected AS", 1, 39),
        ("CREATE TABLE t (a INT CHECK (a > 0))", "CHECK is not supported", 1, 23),
        ("CREATE TABLE t (a INT UNIQUE)", "UNIQUE is not supported", 1, 23),
        ("CREATE TABLE t (a INT REFERENCES b (c))", "FOREIGN KEY is not supported", 1, 23),
        ("CREATE TABLE t (a INT, UNIQUE (a))", "UNIQUE is not supported", 1, 24),
        ("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES b (c))", "FOREIGN KEY is not supported", 1, 24),
        ("CREATE TABLE t (a INT, b INT METADATA)", "METADATA", 1, 30),
        ("CREATE TABLE t (a INT) PARTITIONED BY (a)", "PARTITIONED BY is not supported", 1, 24),
        ("CREATE TABLE t (a INT) DISTRIBUTED BY (a)", "DISTRIBUTED BY is not supported", 1, 24),
        ("CREATE TABLE t (a INT) WITH (k = 'a', k = 'b')", "given twice", 1, 39),
        ("CREATE TABLE t (a INT) WITH (k 'a')", "expected `=`", 1, 32),
        ("CREATE TABLE a.b (c INT)", "one part", 1, 15),
        ("CREATE TABLE select (c INT)", "reserved word SELECT", 1, 14),
        ("CREATE TEMPORARY TABLE t (c INT)", "CREATE TEMPORARY is not supported", 1, 8),
        ("CREATE SINK s FROM t", "INSERT INTO t", 1, 8),
        ("CREATE VIEW v AS UPDATE", "expected a query", 1, 18),
        ("CREATE VIEW v WITH (a = 1) AS SELECT 1", "options of a view", 1, 15),
        ("DROP INDEX i", "expected TABLE, VIEW", 1, 6),
        ("CREATE TABLE t (a INT DEFAULT 1 DEFAULT 2)", "one DEFAULT", 1, 33),
        ("CREATE TABLE t (a INT, b AS a NOT NULL)", "takes no NOT NULL", 1, 24),
        ("CREATE TABLE t (a INT GENERATED BY DEFAULT AS IDENTITY)", "identity columns", 1, 23),
        ("CREATE TABLE t (a, b) SELECT 1", "the type of column a", 1, 18),
        ("CREATE TABLE t (a INT PRIMARY KEY) APPEND ONLY", "cannot be APPEND ONLY", 1, 36),
        ("CREATE FUNCTION f AS 'x'", "expected `(`", 1, 19),
        ("CREATE FUNCTION f(BIGINT) RETURNS INT RETURN 1", "a name and a type", 1, 19),
        ("CREATE FUNCTION f(x INT) RETURNS INT RETURN\n y", "y is not a parameter", 2, 3),
        ("CREATE FUNCTION f(x INT) RETURNS INT AS 'x +'", "expected", 1, 41),
        ("CREATE FUNCTION f(x INT) RETURNS INT AS 'x FROM t'", "one expression without FROM", 1, 41),
        ("CREATE FUNCTION f(x INT) RETURNS INT AS '$2'", "no parameter $2", 1, 45),
        ("CREATE FUNCTION f(x INT) RETURNS INT", "expected AS or RETURN", 1, 37),
        ("CREATE FUNCTION f(x INT) RETURNS TABLE (a INT) AS 'x'", "return tables", 1, 34),
        ("UPDATE t a = 1", "expected SET", 1, 12),
        ("UPDATE t SET a = 1, a = 2", "set twice", 1, 21),
        ("UPDATE t SET s.a = 1", "s is not the table", 1, 14),
        ("UPDATE t SET (a, b) = (1)", "2 columns are set, but 1", 1, 14),
        ("UPDATE t SET (a, b) = (SELECT 1, 2)", "several columns", 1, 23),
        ("UPDATE t SET a = 1 RETURNING a", "RETURNING is not supported", 1, 20),
        ("DELETE t", "expected DELETE FROM", 1, 1),
        ("MERGE INTO t USING s ON true", "expected WHEN", 1, 29),
        ("MERGE INTO t USING s ON true WHEN MATCHED THEN INSERT (a) VALUES (1)", "INSERT is for source rows", 1, 35),
        ("MERGE INTO t USING s ON true WHEN NOT MATCHED THEN DELETE", "for rows of the target", 1, 35),
        ("MERGE INTO t USING s ON true WHEN NOT MATCHED THEN INSERT VALUES (1)", "names its columns", 1, 59),
        ("VERIFY v", "expected MATERIALIZED VIEW", 1, 8),
        ("TRUNCATE t CASCADE", "CASCADE is not supported", 1, 12),
        ("INSERT OVERWRITE t SELECT 1 ON CONFLICT DO NOTHING", "no conflicts", 1, 29),
        ("INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 1", "ON DUPLICATE KEY", 1, 26),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO", "expected UPDATE SET", 1, 40),
        ("INSERT INTO t DEFAULT VALUES", "DEFAULT VALUES", 1, 15),
        ("EXPLAIN INCREMENTAL UPDATE t SET a = 1", "no incremental plan", 1, 21),
        ("EXECUTE STATEMENT SET BEGIN INSERT OVERWRITE a SELECT 1; END", "plain INSERT INTO only", 1, 29),
        ("ALTER TABLE t ADD c INT", "ALTER is not supported", 1, 1),
        ("PAUSE VIEW v", "expected JOB", 1, 7),
        ("STOP JOB", "the job's name", 1, 9),
        ("PAUSE VIEW v", "expected JOB", 1, 7),
        ("STOP JOB", "the job's name", 1, 9),
        ("INSERT INTO t VALUES (1) RETURNING a", "RETURNING", 1, 26),
        ("INSERT INTO t PARTITION (a = 1) SELECT 1", "PARTITION", 1, 15),
        ("SELECT * FROM t FOR SYSTEM_TIME AS OF x", "FOR SYSTEM_TIME", 1, 15),
        ("SELECT a FROM t GROUP BY a EMIT ON WINDOW CLOSE", "EMIT ON WINDOW CLOSE", 1, 28),
        ("SELECT * FROM t MATCH_RECOGNIZE (PATTERN (a))", "MATCH_RECOGNIZE", 1, 17),
        ("SELECT * FROM t FOR UPDATE", "FOR UPDATE", 1, 1),
        ("SELECT * INTO x FROM t", "SELECT INTO", 1, 1),
        ("SELECT * FROM a,\n t TABLESAMPLE BERNOULLI (10)", "TABLESAMPLE", 2, 2),
        ("WITH x AS (INSERT INTO t VALUES (1)) SELECT * FROM x", "within a query", 1, 0),
        ("EXECUTE STATEMENT SET BEGIN END", "empty", 1, 29),
        ("EXECUTE STATEMENT SET BEGIN SELECT 1; END", "expected INSERT or END", 1, 29),
        ("EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; ", "expected INSERT or END", 1, 53),
        ("BEGIN STATEMENT", "expected STATEMENT SET", 1, 7),
        ("START", "expected TRANSACTION", 1, 6),
        ("ROLLBACK TO", "savepoint's name", 1, 12),
        ("EXPLAIN ANALYZE SELECT 1", "EXPLAIN ANALYZE is not supported", 1, 9),
        ("EXPLAIN DROP TABLE t", "expected a query", 1, 9),
        ("EXPLAIN CREATE TABLE t (a INT)", "no plan", 1, 1),
        ("SET a", "expected `=` or TO", 1, 6),
        ("SELECT * FROM a WHERE x = :x", "write $1", 1, 27),
        ("SELECT * FROM a WHERE x = ?", "write $1", 1, 27),
        ("INSERT INTO t TABLE s", "expected a query", 1, 15),
        ("SELECT 1 UNION TABLE s", "SELECT * FROM name", 1, 1),
        ("DESCRIBE SELECT 1", "EXPLAIN", 1, 10),
        ("SELECT TUMBLE_START(ts, INTERVAL '1' HOUR) FROM t", "window_start", 1, 8),
        ("SELECT count(*) FROM t GROUP BY\n  TUMBLE(ts, INTERVAL '1' HOUR)", "TUMBLE in an expression", 2, 3),
    ];
    for (text, part, line, column) in expected {
        let (message, at_line, at_column) = fails(text);
        assert!(message.contains(part), "{text}: {message}");
        if column > 0 {
            assert_eq!((at_line, at_column), (line, column), "{text}: {message}");
        }
    }
}

#[test]
fn names_that_look_like_clauses_are_names() {
    canonical("SELECT t.emit, conflict, version FROM t JOIN emit ON conflict = t.x");
    canonical("SELECT a.match_recognize FROM a");
    canonical("CREATE TABLE t (check_in INT, period INT, \"like\" INT, comment VARCHAR, \"default\" INT, set INT)");
    canonical("CREATE TABLE t (\"watermark\" TIMESTAMP, WATERMARK FOR \"watermark\" AS \"watermark\")");
}

#[test]
fn deep_nesting_is_an_error_and_long_chains_are_not() {
    let deep = format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500));
    assert!(fails(&deep).0.contains("nested too deeply"));
    canonical(&format!("SELECT {}1", "1 + ".repeat(3000)));
    canonical(&format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(300)));
}

/// Words of the grammar in any order reach far into the parser.
fn soup() -> impl Strategy<Value = String> {
    let words = "SELECT FROM WHERE GROUP BY ORDER LIMIT AS a b t \"Q\" `x` 1 2.5 'it''s' E'\\n' , , ( ( ) ) ; . * + - - / = < > || :: [ ] => \
                 CREATE TABLE VIEW MATERIALIZED OR REPLACE IF NOT EXISTS PRIMARY KEY WATERMARK FOR WITH INT BIGINT VARCHAR TIMESTAMP \
                 DECIMAL ARRAY INSERT INTO VALUES EXECUTE STATEMENT SET BEGIN END EXPLAIN INCREMENTAL SHOW DESCRIBE DROP CASCADE FLUSH \
                 TUMBLE HOP DESCRIPTOR TABLE INTERVAL MINUTE '10' DATA SIZE SLIDE UNION ALL JOIN ON LEFT CASE WHEN THEN ELSE CAST NULL \
                 IN BETWEEN AND LIKE IS OVER PARTITION ROWS RANGE UNBOUNDED PRECEDING LATERAL UNNEST EXTRACT count sum -- /* */ $1 $$ ? : @ # ~ ! % ^ & | { }";
    let words: Vec<&'static str> = words.split_whitespace().collect();
    proptest::collection::vec(proptest::sample::select(words), 0..30).prop_map(|words| words.join(" "))
}

fn never_panics(text: &str) {
    match parse(text) {
        Ok(statements) => statements.iter().for_each(|statement| {
            let again = parse(&statement.text).unwrap_or_else(|error| panic!("{text}\n{}\n{error}", statement.text));
            assert_eq!(again.len(), 1, "{text}");
            assert_eq!(again[0].text, statement.text, "{text}");
        }),
        Err(error) => assert!(error.position().is_some(), "{text}: {error}"),
    }
}

#[test]
fn a_number_has_no_fields() {
    for text in ["SELECT 1 . group", "SELECT - 1 . a", "SELECT 1 . a . b FROM t", "SELECT a FROM t WHERE 1 . FROM"] {
        let error = parse(text).unwrap_err();
        assert!(error.to_string().contains("a number has no fields"), "{text}: {error}");
        never_panics(text);
    }
    never_panics("SELECT 1. a, 1 .5");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn token_soup_never_panics(text in soup()) {
        never_panics(&text);
    }

    #[test]
    fn select_soup_never_panics(text in soup()) {
        never_panics(&format!("SELECT {text}"));
        never_panics(&format!("SELECT a FROM t WHERE {text}"));
    }

    #[test]
    fn table_soup_never_panics(text in soup()) {
        never_panics(&format!("CREATE TABLE t ({text}"));
        never_panics(&format!("SELECT * FROM {text}"));
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_text_never_panics(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }
}
