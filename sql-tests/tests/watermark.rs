//! Event time over input that does not end: windows close as files appear, late rows go to their own table, and nothing is
//! given twice or lost when the program dies in between.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use sql_tests::Warehouse;
use sql_tests::mode::Mode;

const PATIENCE: Duration = Duration::from_secs(60);

struct Story {
    warehouse: Warehouse,
    files: tempfile::TempDir,
}

impl Story {
    async fn new(parallelism: &'static [usize]) -> Self {
        let mode = Mode { name: "watermark", parallelism, ..Mode::STRAIGHT };
        Self { warehouse: Warehouse::new(mode).await.unwrap(), files: tempfile::tempdir().unwrap() }
    }

    fn directory(&self) -> &Path {
        self.files.path()
    }

    async fn rows(&mut self, sql: &str) -> Vec<String> {
        let rows = self.warehouse.rows(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).unwrap_or_default();
        let mut rows: Vec<String> = rows.into_iter().map(|row| row.join(" ")).collect();
        rows.sort();
        rows
    }

    /// A file of seconds after midnight and keys appears in a table's directory.
    fn write(&self, table: &str, name: &str, rows: &[(u32, &str)]) {
        let directory = self.directory().join(table);
        std::fs::create_dir_all(&directory).unwrap();
        let line = |(second, key): &(u32, &str)| format!("2024-01-01 00:{:02}:{:02},{key}\n", second / 60, second % 60);
        let text: String = rows.iter().map(line).collect();
        let hidden = directory.join(format!("_{name}"));
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, directory.join(name)).unwrap();
    }

    async fn source(&mut self, table: &str, options: &str) {
        let path = self.directory().join(table);
        std::fs::create_dir_all(&path).unwrap();
        let sql = format!(
            "CREATE TABLE {table} (ts TIMESTAMP(3), k VARCHAR, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) WITH \
             ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv', 'source.monitor-interval' = '20 ms'{options})",
            path.display()
        );
        self.rows(&sql).await;
    }

    async fn until(&mut self, sql: &str, expected: &[&str]) {
        let start = Instant::now();
        loop {
            let rows = self.rows(sql).await;
            if rows == expected {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{sql} gives {rows:?} instead of {expected:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

const WINDOWS: &str = "CREATE MATERIALIZED VIEW closed AS SELECT window_start, k, COUNT(*) AS n \
                       FROM TABLE(TUMBLE(TABLE e, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, k \
                       EMIT ON WINDOW CLOSE";

async fn windows_close(parallelism: &'static [usize]) {
    let mut story = Story::new(parallelism).await;
    story.rows("CREATE TABLE late (ts TIMESTAMP(3), k VARCHAR)").await;
    story.source("e", ", 'late.table' = 'late'").await;
    story.rows(WINDOWS).await;
    story.rows("CREATE MATERIALIZED VIEW seen AS SELECT COUNT(*) AS n FROM e").await;
    story.rows("CREATE MATERIALIZED VIEW above AS SELECT k, SUM(n) AS n FROM closed GROUP BY k").await;
    story.write("e", "1.csv", &[(1, "a"), (3, "b"), (4, "a"), (6, "a"), (8, "a")]);
    // The watermark is at 6: the window that starts at 0 is final, the next is not.
    let first = ["2024-01-01 00:00:00 a 2", "2024-01-01 00:00:00 b 1"];
    story.until("SELECT * FROM closed", &first).await;
    story.until("SELECT * FROM above", &["a 2", "b 1"]).await;
    assert!(story.rows("SELECT * FROM late").await.is_empty());

    story.warehouse.restart().await.unwrap();
    // What comes for the window that is final is late; what comes for the open one is not, however old.
    story.write("e", "2.csv", &[(2, "a"), (7, "b"), (13, "a")]);
    let second = ["2024-01-01 00:00:05 a 2", "2024-01-01 00:00:05 b 1"];
    story.until("SELECT * FROM closed", &[&first[..], &second].concat()).await;
    story.until("SELECT * FROM late", &["2024-01-01 00:00:02 a"]).await;
    story.until("SELECT * FROM seen", &["7"]).await;
    story.until("SELECT * FROM above", &["a 4", "b 2"]).await;
    let jobs = story.rows("SHOW JOBS").await;
    for row in jobs.iter().filter(|row| !row.starts_with("above ")) {
        assert!(row.contains(" 1 NULL"), "a late row was not counted, or counted twice: {row}");
    }

    for _ in 0..3 {
        story.warehouse.restart().await.unwrap();
    }
    story.write("e", "3.csv", &[(60, "c")]);
    let third = ["2024-01-01 00:00:10 a 1"];
    story.until("SELECT * FROM closed", &[&first[..], &second, &third].concat()).await;
    // A view that comes later finds the history of what is final, and goes on from there.
    story
        .rows("CREATE MATERIALIZED VIEW later AS SELECT window_start, SUM(n) AS n FROM closed GROUP BY window_start")
        .await;
    story.write("e", "4.csv", &[(61, "c"), (70, "c")]);
    let sums = ["2024-01-01 00:00:00 3", "2024-01-01 00:00:05 3", "2024-01-01 00:00:10 1", "2024-01-01 00:01:00 2"];
    story.until("SELECT * FROM later", &sums).await;
}

async fn idle_input() {
    let mut story = Story::new(&[2]).await;
    story.source("e", ", 'source.idle-timeout' = '100 ms'").await;
    story.source("f", ", 'source.idle-timeout' = '100 ms'").await;
    story
        .rows(
            "CREATE MATERIALIZED VIEW both AS SELECT window_start, COUNT(*) AS n FROM TUMBLE((SELECT * FROM e UNION ALL \
             SELECT * FROM f), ts, INTERVAL '5' SECOND) GROUP BY window_start EMIT ON WINDOW CLOSE",
        )
        .await;
    story.write("f", "1.csv", &[(1, "a"), (2, "a")]);
    story.write("e", "1.csv", &[(3, "a"), (20, "a")]);
    // Nothing comes from f any more, so what e says counts.
    story.until("SELECT * FROM both", &["2024-01-01 00:00:00 3"]).await;
}

/// A table without connector: the rows that a FLUSH waits for have closed their windows when it returns.
async fn table() {
    let mut story = Story::new(&[2, 1, 3]).await;
    story
        .rows("CREATE TABLE e (ts TIMESTAMP(3), k VARCHAR, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) APPEND ONLY")
        .await;
    story
        .rows("INSERT INTO e VALUES (TIMESTAMP '2024-01-01 00:00:01', 'a'), (TIMESTAMP '2024-01-01 00:00:04', 'b')")
        .await;
    story.rows(WINDOWS).await;
    story.rows("CREATE MATERIALIZED VIEW above AS SELECT k, SUM(n) AS n FROM closed GROUP BY k").await;
    assert!(story.rows("SELECT * FROM closed").await.is_empty());
    story.rows("INSERT INTO e VALUES (TIMESTAMP '2024-01-01 00:00:08', 'a')").await;
    let first = ["2024-01-01 00:00:00 a 1", "2024-01-01 00:00:00 b 1"];
    assert_eq!(story.rows("SELECT * FROM closed").await, first);
    assert_eq!(story.rows("SELECT * FROM above").await, ["a 1", "b 1"]);
    story.warehouse.restart().await.unwrap();
    story
        .rows("INSERT INTO e VALUES (TIMESTAMP '2024-01-01 00:00:02', 'a'), (TIMESTAMP '2024-01-01 00:00:20', 'a')")
        .await;
    let second = ["2024-01-01 00:00:05 a 1"];
    assert_eq!(story.rows("SELECT * FROM closed").await, [&first[..], &second].concat());
    assert_eq!(story.rows("SELECT * FROM above").await, ["a 2", "b 1"]);
}

/// What OVER windows and ASOF joins hold does not grow with what comes, and views stay what their queries are.
async fn state_is_freed() {
    let mut story = Story::new(&[2, 1, 3]).await;
    for sql in [
        "CREATE TABLE e (ts TIMESTAMP(3), k VARCHAR, x BIGINT, WATERMARK FOR ts AS ts - INTERVAL '10' SECOND) APPEND ONLY",
        "CREATE TABLE r (ts TIMESTAMP(3), k VARCHAR, rate BIGINT, WATERMARK FOR ts AS ts - INTERVAL '10' SECOND) APPEND ONLY",
        "CREATE MATERIALIZED VIEW before AS SELECT *, LAG(x) OVER (PARTITION BY k ORDER BY ts) AS b FROM e",
        "CREATE MATERIALIZED VIEW recent AS SELECT *, SUM(x) OVER (PARTITION BY k ORDER BY ts \
         RANGE BETWEEN INTERVAL '10' SECOND PRECEDING AND CURRENT ROW) AS s FROM e",
        "CREATE MATERIALIZED VIEW so_far AS SELECT *, SUM(x) OVER (PARTITION BY k ORDER BY ts) AS s FROM e",
        "CREATE MATERIALIZED VIEW numbered AS SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) AS n FROM e",
        "CREATE MATERIALIZED VIEW changed AS SELECT k, COUNT(*) AS n FROM (SELECT k, x, LAG(x) OVER (PARTITION BY k ORDER BY \
         ts) AS b FROM (SELECT k, x, ts FROM recent WHERE s > 0)) WHERE x IS DISTINCT FROM b GROUP BY k",
        "CREATE MATERIALIZED VIEW priced AS SELECT e.k, e.ts, x * rate AS v FROM e LEFT JOIN r FOR SYSTEM_TIME AS OF e.ts ON e.k = r.k",
        "CREATE MATERIALIZED VIEW next AS SELECT e.k, e.ts, rate FROM e ASOF JOIN r MATCH_CONDITION (e.ts < r.ts) ON e.k = r.k",
    ] {
        story.rows(sql).await;
    }
    let views = ["before", "recent", "so_far", "numbered", "changed", "priced", "next"];
    for round in 0..24_u64 {
        // Each round begins before the last one ends, so that rows come out of order.
        let rows = (0..30_u64).map(|row| {
            let second = round * 20 + (row * 7) % 27;
            let key = ["a", "b", "c"][row as usize % 3];
            format!("(TIMESTAMP '2024-01-01 00:{:02}:{:02}', '{key}', {})", second / 60, second % 60, (row * round) % 5)
        });
        let rows = rows.collect::<Vec<_>>();
        story.rows(&format!("INSERT INTO e VALUES {}", rows.join(", "))).await;
        story.rows(&format!("INSERT INTO r VALUES {}", rows[..9].join(", "))).await;
        if round % 6 == 5 {
            for view in views {
                story.rows(&format!("VERIFY MATERIALIZED VIEW {view}")).await;
                let held = story.warehouse.state_rows(view).await.unwrap();
                assert!((1..=60).contains(&held), "{view} holds {held} rows of state after round {round}");
            }
            story.warehouse.restart().await.unwrap();
        }
    }
}

/// VERIFY does not call a view wrong that left out late rows, which stay in their table.
async fn late_rows_are_no_fault() {
    let mut story = Story::new(&[2]).await;
    for sql in [
        "CREATE TABLE e (ts TIMESTAMP(3), k VARCHAR, WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) APPEND ONLY",
        "CREATE MATERIALIZED VIEW counts AS SELECT k, COUNT(*) AS n FROM e GROUP BY k",
        "CREATE MATERIALIZED VIEW others AS SELECT k, COUNT(*) AS n FROM e WHERE k <> 'b' GROUP BY k",
        "INSERT INTO e VALUES (TIMESTAMP '2024-01-01 00:00:09', 'a')",
        "FLUSH",
    ] {
        story.rows(sql).await;
    }
    assert_eq!(story.rows("VERIFY MATERIALIZED VIEW counts").await, ["counts equal 1"]);
    story.rows("INSERT INTO e VALUES (TIMESTAMP '2024-01-01 00:00:01', 'b')").await;
    let error = story.warehouse.rows("VERIFY MATERIALIZED VIEW counts").await.unwrap_err();
    assert_eq!(error.kind(), engine::ErrorKind::Unavailable, "{error}");
    let text = error.to_string();
    assert!(text.contains("1 late row was left out") && text.contains("\n-1 b | 1"), "{text}");
    // The late row makes no difference here; and for a new view it is history.
    assert_eq!(story.rows("VERIFY MATERIALIZED VIEW others").await, ["others equal 1"]);
    story.rows("CREATE MATERIALIZED VIEW later AS SELECT k, COUNT(*) AS n FROM e GROUP BY k").await;
    assert_eq!(story.rows("VERIFY MATERIALIZED VIEW later").await, ["later equal 2"]);
}

#[test]
fn late_rows_are_not_missed() {
    run(late_rows_are_no_fault());
}

#[test]
fn what_watermarks_have_passed_is_no_state() {
    run(state_is_freed());
}

#[test]
fn a_flush_closes_windows() {
    run(table());
}

fn run(story: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(story);
}

#[test]
fn windows_close_once_with_one_task() {
    run(windows_close(&[1]));
}

#[test]
fn windows_close_once_with_three_tasks_and_other_numbers() {
    run(windows_close(&[3, 1, 2]));
}

#[test]
fn an_idle_input_holds_nothing_back() {
    run(idle_input());
}
