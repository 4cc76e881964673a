//! Rewrites executed by DataFusion against answers computed by hand.

mod nexmark;

use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::sql::functions;
use crate::sql::parse::parse;
use crate::sql::statement::Statement;

/// A session with `t(id, ts)`: minutes 0:00, 0:09:59.999999, 0:10, 1969-12-31 23:59, NULL.
async fn session() -> SessionContext {
    let config = SessionConfig::new().set_bool("datafusion.sql_parser.map_string_types_to_utf8view", true);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_type_planner(std::sync::Arc::new(crate::sql::types::QueryTypes))
        .build();
    let mut context = SessionContext::new_with_state(state);
    functions::register(&mut context).unwrap();
    let table = "CREATE TABLE t AS SELECT column1 AS id, arrow_cast(column2, 'Timestamp(Microsecond, None)') AS ts FROM (VALUES \
                 (1, '2024-01-01T00:00:00'), (2, '2024-01-01T00:09:59.999999'), (3, '2024-01-01T00:10:00'), \
                 (4, '1969-12-31T23:59:00'), (5, NULL))";
    context.sql(table).await.unwrap().collect().await.unwrap();
    context
}

async fn rows(context: &SessionContext, sql: &str) -> Result<Vec<String>, String> {
    let Statement::Query(query) = parse(sql).map_err(|error| error.to_string())?.remove(0).statement else {
        return Err("not a query".to_owned());
    };
    let run = async {
        let statement = datafusion::sql::parser::Statement::Statement(Box::new(
            datafusion::sql::sqlparser::ast::Statement::Query(Box::new(query)),
        ));
        let plan = context.state().statement_to_plan(statement).await?;
        context.execute_logical_plan(plan).await?.collect().await
    };
    let batches = run.await.map_err(|error| error.to_string())?;
    let table = pretty_format_batches(&batches).unwrap().to_string();
    let cells = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ");
    let mut rows: Vec<String> = table.lines().filter(|line| line.starts_with('|')).skip(1).map(cells).collect();
    rows.sort();
    Ok(rows)
}

const TUMBLED: [&str; 4] = [
    "1 2024-01-01T00:00:00 2024-01-01T00:10:00 2024-01-01T00:09:59.999",
    "2 2024-01-01T00:00:00 2024-01-01T00:10:00 2024-01-01T00:09:59.999",
    "3 2024-01-01T00:10:00 2024-01-01T00:20:00 2024-01-01T00:19:59.999",
    "4 1969-12-31T23:50:00 1970-01-01T00:00:00 1969-12-31T23:59:59.999",
];

#[tokio::test]
async fn tumble_in_every_spelling() {
    let context = session().await;
    let spellings = [
        "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTE))",
        "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) AS w",
        "TABLE (TUMBLE (DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '10' MINUTE)) w",
        "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTE)",
        "TUMBLE(t, ts, INTERVAL '10 minutes') AS w",
        "tumble(T, Ts, INTERVAL '600', INTERVAL '0' SECOND)",
        "TUMBLE((SELECT * FROM t WHERE id > 0), ts, INTERVAL '10' MINUTE) AS w",
        "TUMBLE(\"t\", `ts`, INTERVAL '10' MINUTE, -INTERVAL '10' MINUTE) AS w",
    ];
    for spelling in spellings {
        let sql = format!("SELECT id, window_start, window_end, window_time FROM {spelling}");
        assert_eq!(rows(&context, &sql).await.unwrap(), TUMBLED, "{sql}");
        let text = &parse(&sql).unwrap()[0].text;
        assert_eq!(&parse(text).unwrap()[0].text, text);
        assert_eq!(rows(&context, text).await.unwrap(), TUMBLED, "{text}");
    }
}

#[tokio::test]
async fn tumble_keeps_all_columns_and_groups() {
    let context = session().await;
    let sql = "SELECT * FROM TUMBLE(t, ts, INTERVAL '10' MINUTE, INTERVAL '3' MINUTE) w WHERE w.id = 1";
    let expected = "1 2024-01-01T00:00:00 2023-12-31T23:53:00 2024-01-01T00:03:00 2024-01-01T00:02:59.999";
    assert_eq!(rows(&context, sql).await.unwrap(), [expected]);
    let sql = "SELECT window_start, window_end, count(*) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY)) \
               GROUP BY window_start, window_end";
    let expected = ["1969-12-31T00:00:00 1970-01-01T00:00:00 1", "2024-01-01T00:00:00 2024-01-02T00:00:00 3"];
    assert_eq!(rows(&context, sql).await.unwrap(), expected);
}

#[tokio::test]
async fn hop_in_every_spelling() {
    let context = session().await;
    let spellings = [
        "TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' MINUTE, INTERVAL '10' MINUTE))",
        "TABLE(HOP(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '5' MINUTES, SIZE => INTERVAL '10' MINUTES)) AS w",
        "HOP(t, ts, INTERVAL '5' MINUTE, INTERVAL '10' MINUTE) AS w",
    ];
    let expected = [
        "1 2023-12-31T23:55:00 2024-01-01T00:05:00 2024-01-01T00:04:59.999",
        "1 2024-01-01T00:00:00 2024-01-01T00:10:00 2024-01-01T00:09:59.999",
        "2 2024-01-01T00:00:00 2024-01-01T00:10:00 2024-01-01T00:09:59.999",
        "2 2024-01-01T00:05:00 2024-01-01T00:15:00 2024-01-01T00:14:59.999",
        "3 2024-01-01T00:05:00 2024-01-01T00:15:00 2024-01-01T00:14:59.999",
        "3 2024-01-01T00:10:00 2024-01-01T00:20:00 2024-01-01T00:19:59.999",
        "4 1969-12-31T23:50:00 1970-01-01T00:00:00 1969-12-31T23:59:59.999",
        "4 1969-12-31T23:55:00 1970-01-01T00:05:00 1970-01-01T00:04:59.999",
    ];
    for spelling in spellings {
        let sql = format!("SELECT id, window_start, window_end, window_time FROM {spelling}");
        assert_eq!(rows(&context, &sql).await.unwrap(), expected, "{sql}");
    }
}

#[tokio::test]
async fn hop_with_gaps_with_remainders_and_over_a_cte() {
    let context = session().await;
    // A slide longer than the size leaves gaps: 0:09:59.999999 and 23:59 are in none of the windows of 5 minutes.
    let sql = "SELECT id, window_start FROM HOP(t, ts, INTERVAL '10' MINUTE, INTERVAL '5' MINUTE)";
    assert_eq!(rows(&context, sql).await.unwrap(), ["1 2024-01-01T00:00:00", "3 2024-01-01T00:10:00"]);
    // A size that is no multiple of the slide.
    let sql = "WITH c AS (SELECT id, ts FROM t WHERE id = 3) \
               SELECT window_start, count(*) FROM HOP(c, ts, INTERVAL '4' MINUTE, INTERVAL '10' MINUTE) GROUP BY 1";
    let expected = ["2024-01-01T00:04:00 1", "2024-01-01T00:08:00 1"];
    assert_eq!(rows(&context, sql).await.unwrap(), expected);
}

#[tokio::test]
async fn cumulate_in_every_spelling() {
    let context = session().await;
    let spellings = [
        "TABLE(CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' MINUTE, INTERVAL '10' MINUTE))",
        "TABLE(CUMULATE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), STEP => INTERVAL '5' MINUTES, SIZE => INTERVAL '10' MINUTES)) AS w",
        "CUMULATE(t, ts, INTERVAL '5' MINUTE, INTERVAL '10' MINUTE) AS w",
    ];
    let expected = [
        "1 2024-01-01T00:00:00 2024-01-01T00:05:00 2024-01-01T00:04:59.999",
        "1 2024-01-01T00:00:00 2024-01-01T00:10:00 2024-01-01T00:09:59.999",
        "2 2024-01-01T00:00:00 2024-01-01T00:10:00 2024-01-01T00:09:59.999",
        "3 2024-01-01T00:10:00 2024-01-01T00:15:00 2024-01-01T00:14:59.999",
        "3 2024-01-01T00:10:00 2024-01-01T00:20:00 2024-01-01T00:19:59.999",
        "4 1969-12-31T23:50:00 1970-01-01T00:00:00 1969-12-31T23:59:59.999",
    ];
    for spelling in spellings {
        let sql = format!("SELECT id, window_start, window_end, window_time FROM {spelling}");
        assert_eq!(rows(&context, &sql).await.unwrap(), expected, "{sql}");
        let text = &parse(&sql).unwrap()[0].text;
        assert_eq!(rows(&context, text).await.unwrap(), expected, "{text}");
    }
}

#[tokio::test]
async fn session_in_every_spelling() {
    let context = session().await;
    let spellings = [
        "TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' MINUTE))",
        "TABLE(SESSION(DATA => TABLE t PARTITION BY (k), TIMECOL => DESCRIPTOR(ts), GAP => INTERVAL '1' MINUTE)) AS w",
        "SESSION(t PARTITION BY k, ts, INTERVAL '1' MINUTE) w",
        "SESSION(t PARTITION BY k, k, ts, INTERVAL '60 seconds') w",
        "SESSION((SELECT * FROM t), ts, INTERVAL '1' MINUTE) w",
    ];
    let expected = [
        "1 2024-01-01T00:00:00 2024-01-01T00:01:00 2024-01-01T00:00:59.999",
        "2 2024-01-01T00:09:59.999999 2024-01-01T00:11:00 2024-01-01T00:10:59.999",
        "3 2024-01-01T00:09:59.999999 2024-01-01T00:11:00 2024-01-01T00:10:59.999",
        "4 1969-12-31T23:59:00 1970-01-01T00:00:00 1969-12-31T23:59:59.999",
    ];
    context.sql("CREATE VIEW tk AS SELECT *, 1 AS k FROM t").await.unwrap();
    for spelling in spellings {
        let spelling = spelling.replace(" t ", " tk ").replace("(t ", "(tk ").replace(" t)", " tk)");
        let sql = format!("SELECT id, window_start, window_end, window_time FROM {spelling}");
        assert_eq!(rows(&context, &sql).await.unwrap(), expected, "{sql}");
        let text = &parse(&sql).unwrap()[0].text;
        assert_eq!(&parse(text).unwrap()[0].text, text);
        assert_eq!(rows(&context, text).await.unwrap(), expected, "{text}");
    }
}

#[tokio::test]
async fn windows_join_and_nest() {
    let context = session().await;
    let sql = "SELECT a.id, b.id FROM TUMBLE(t, ts, INTERVAL '10' MINUTE) a JOIN TUMBLE(t, ts, INTERVAL '10' MINUTE) b \
               ON a.window_start = b.window_start AND a.id < b.id";
    assert_eq!(rows(&context, sql).await.unwrap(), ["1 2"]);
    let sql = "SELECT max(n) FROM (SELECT window_end, count(*) AS n FROM HOP(t, ts, INTERVAL '5' MINUTE, INTERVAL '10' MINUTE) \
               GROUP BY window_end)";
    assert_eq!(rows(&context, sql).await.unwrap(), ["2"]);
}

#[tokio::test]
async fn functions_of_the_field() {
    let context = session().await;
    let expected = [
        ("DATE_FORMAT(TIMESTAMP '2015-07-05 13:04:09.5', 'yyyy-MM-dd HH:mm')", "2015-07-05 13:04"),
        ("DATE_FORMAT('2015-07-05 13:04:09.5', 'HH:mm:ss.SSS')", "13:04:09.500"),
        ("HOUR(TIMESTAMP '2015-07-05 13:04:09') + 1", "14"),
        ("year(DATE '2015-07-05')", "2015"),
        ("SPLIT_INDEX('http://a/b/c', '/', 3)", "b"),
        ("SPLIT_INDEX('a', '/', 3) IS NULL", "true"),
        ("REGEXP_EXTRACT('x&channel_id=12&y', '(&|^)channel_id=([^&]*)', 2)", "12"),
        ("REGEXP_EXTRACT('channel_id=12', '(&)?channel_id=([^&]*)', 2)", "12"),
        ("REGEXP_EXTRACT('channel_id=12', '(&)?channel_id=([^&]*)', 1) IS NULL", "true"),
        ("REGEXP_EXTRACT('abc', 'b.')", "bc"),
        ("COUNT_CHAR('banana', 'a')", "3"),
        ("MOD(id + 9, 4 - 1)", "1"),
        ("arrow_typeof(CAST('2020-01-01' AS TIMESTAMP))", "Timestamp(µs)"),
        ("arrow_typeof(CAST(1 AS FLOAT))", "Float64"),
    ];
    for (sql, expected) in expected {
        assert_eq!(
            rows(&context, &format!("SELECT {sql} AS c FROM t WHERE id = 1")).await.unwrap(),
            [expected],
            "{sql}"
        );
        let over_nothing = format!("SELECT {sql} AS c FROM (VALUES (1)) AS v (id)");
        assert_eq!(rows(&context, &over_nothing).await.unwrap(), [expected], "{sql}");
    }
}

#[tokio::test]
async fn wrong_arguments_are_refused_with_their_place() {
    let context = session().await;
    let refused = [
        ("SELECT *\nFROM SESSION(t, ts)", "GAP is missing", "2:6"),
        (
            "SELECT * FROM SESSION(t PARTITION BY (id + 1), ts, INTERVAL '1' MINUTE)",
            "PARTITION BY takes columns",
            "1:15",
        ),
        (
            "SELECT * FROM TABLE(CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '7' MINUTE, INTERVAL '1' HOUR))",
            "multiple of its step",
            "1:21",
        ),
        ("SELECT * FROM TUMBLE(TABLE t PARTITION BY id, DESCRIPTOR(ts), INTERVAL '1' HOUR)", "only SESSION", "1:15"),
        ("SELECT * FROM TUMBLE(t, ts, INTERVAL '1' MONTH)", "months", "1:"),
        ("SELECT * FROM TUMBLE(t, ts, INTERVAL '0' SECOND)", "more than zero", "1:15"),
        ("SELECT * FROM TUMBLE(t, ts, 10)", "expected an INTERVAL literal", "1:29"),
        ("SELECT * FROM TUMBLE(t, ts)", "SIZE is missing", "1:15"),
        ("SELECT * FROM HOP(t, ts, INTERVAL '1' MINUTE)", "SIZE is missing", "1:15"),
        ("SELECT * FROM HOP(t, ts, INTERVAL '1' SECOND, INTERVAL '9' DAY)", "too small", "1:15"),
        ("SELECT * FROM TUMBLE(t, ts + 1, INTERVAL '1' MINUTE)", "expected the time column", "1:15"),
        ("SELECT * FROM TUMBLE(t, ts, GAP => INTERVAL '1' MINUTE)", "unknown argument GAP", "1:15"),
        ("SELECT * FROM TABLE(f(1))", "unknown", "1:21"),
    ];
    for (sql, part, place) in refused {
        let error = rows(&context, sql).await.unwrap_err();
        assert!(error.contains(part) && error.contains(&format!(" at {place}")), "{sql}: {error}");
    }
    let error = rows(&context, "SELECT * FROM TUMBLE(t, id, INTERVAL '1' MINUTE)").await.unwrap_err();
    assert!(error.contains("frazil_tumble_start(TIMESTAMP"), "{error}");
}
