//! Random changes of tables under a list of views, with kills at random places: every view must equal its own query at every step.
//!
//! `RANDOM_SEED=7 RANDOM_STEPS=1000 cargo test --workspace --test random` plays another and longer story.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use sql_tests::Warehouse;
use sql_tests::mode::Mode;

/// Two keyed tables and one without a key, small domains, so that rows meet, move and vanish all the time.
const TABLES: &[&str] = &[
    "CREATE TABLE l (id BIGINT PRIMARY KEY, k BIGINT, v BIGINT, s VARCHAR)",
    "CREATE TABLE r (id BIGINT PRIMARY KEY, k BIGINT, w BIGINT, ts TIMESTAMP(3))",
    "CREATE TABLE a (k BIGINT, v BIGINT)",
];

/// Name and query of every view; later ones may read earlier ones.
const VIEWS: &[(&str, &str)] = &[
    ("filtered", "SELECT id, v * 2 AS v2, s FROM l WHERE v > 1 OR s = 'x'"),
    (
        "grouped",
        "SELECT k, COUNT(*) AS n, COUNT(v) AS nv, SUM(v) AS sv, AVG(v) AS av, MIN(v) AS lo, MAX(v) AS hi, MAX(s) AS hs FROM l GROUP BY k",
    ),
    (
        "special",
        "SELECT k, COUNT(DISTINCT v) AS dv, COUNT(*) FILTER (WHERE s = 'x') AS xs, SUM(v) FILTER (WHERE v > 1) AS big FROM l GROUP BY k",
    ),
    ("total", "SELECT COUNT(*) AS n, SUM(v) AS sv, MIN(s) AS ls FROM l"),
    ("inserted", "SELECT k, COUNT(*) AS n, SUM(v) AS sv, MIN(v) AS lo, MAX(v) AS hi FROM a GROUP BY k"),
    ("inner_joined", "SELECT l.id, r.id AS rid, l.v, r.w FROM l JOIN r ON l.k = r.k"),
    ("left_joined", "SELECT l.id, r.id AS rid, l.s FROM l LEFT JOIN r ON l.k = r.k"),
    ("residual", "SELECT l.id, r.id AS rid FROM l LEFT JOIN r ON l.k = r.k AND l.v < r.w"),
    ("three", "SELECT l.id, r.id AS rid, a.v FROM l JOIN r ON l.k = r.k JOIN a ON a.k = l.k WHERE a.v <= r.w"),
    (
        "windows",
        "SELECT window_start, COUNT(*) AS n, MAX(w) AS hi FROM TABLE(TUMBLE(TABLE r, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start",
    ),
    (
        "hops",
        "SELECT window_start, k, SUM(w) AS sw FROM TABLE(HOP(TABLE r, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '15' SECOND)) GROUP BY window_start, k",
    ),
    (
        "ranked",
        "SELECT k, place, id, v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC, id) AS place FROM l) WHERE place <= 2",
    ),
    ("highest", "SELECT id, v FROM l ORDER BY v DESC, id LIMIT 3"),
    ("different", "SELECT DISTINCT k, s FROM l"),
    ("together", "SELECT k, v FROM l UNION ALL SELECT k, w FROM r UNION ALL SELECT k, v FROM a"),
    ("layered", "SELECT n, COUNT(*) AS groups, SUM(sv) AS sv FROM grouped GROUP BY n"),
    ("self_joined", "SELECT g.k, t.n FROM grouped g JOIN total t ON g.hi = t.n"),
];

struct Story {
    rng: TestRng,
}

impl Story {
    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    fn number(&mut self, n: u64) -> String {
        if self.below(7) == 0 { "NULL".to_owned() } else { self.below(n).to_string() }
    }

    fn text(&mut self) -> String {
        ["NULL", "'x'", "'y'", "''"][self.below(4) as usize].to_owned()
    }

    fn insert(&mut self) -> String {
        let table = ["l", "r", "a"][self.below(3) as usize];
        let rows: Vec<String> = (0..=self.below(6)).map(|_| self.row(table)).collect();
        format!("INSERT INTO {table} VALUES {}", rows.join(", "))
    }

    /// A statement that changes rows that are there.
    fn change(&mut self) -> String {
        let (n, m) = (self.number(4), self.number(4));
        match self.below(12) {
            0 => format!("UPDATE l SET v = {n}, s = {} WHERE k = {m}", self.text()),
            1 => format!("UPDATE l SET v = v + 1, k = {n} WHERE id < {}", self.below(6)),
            2 => format!("UPDATE r SET w = w + 1, ts = ts + INTERVAL '7' SECOND WHERE k IS NULL OR w = {n}"),
            3 => format!("UPDATE a SET v = {n} WHERE k = {m}"),
            4 => {
                "UPDATE a SET v = g.n FROM (SELECT k, COUNT(*) AS n FROM l GROUP BY k) AS g WHERE a.k = g.k".to_owned()
            }
            5 => "UPDATE l SET id = 11 - id".to_owned(),
            6 => format!("DELETE FROM l WHERE v = {n} OR id < {}", self.below(3)),
            7 => format!("DELETE FROM r USING l WHERE l.id = r.id AND l.v = {n}"),
            8 => format!("DELETE FROM a WHERE k = {n} AND v IS DISTINCT FROM {m}"),
            9 => format!(
                "MERGE INTO l USING r ON l.id = r.id WHEN MATCHED AND r.w = {n} THEN DELETE WHEN MATCHED THEN UPDATE SET v = r.w \
                 WHEN NOT MATCHED THEN INSERT (id, k) VALUES (r.id, r.k)"
            ),
            10 => format!(
                "INSERT INTO l (id, k, v) VALUES ({}, {n}, {m}) ON CONFLICT (id) DO UPDATE SET v = excluded.v, k = l.k WHERE l.v > 0",
                self.below(12)
            ),
            _ => match self.below(4) {
                0 => "TRUNCATE TABLE a".to_owned(),
                1 => "INSERT OVERWRITE a SELECT k, w FROM r".to_owned(),
                2 => "INSERT OVERWRITE l SELECT id, k, v, s FROM l WHERE v > 1".to_owned(),
                _ => format!("DELETE FROM a WHERE k < {}", self.below(4)),
            },
        }
    }

    fn row(&mut self, table: &str) -> String {
        let (id, k, v) = (self.below(12), self.number(4), self.number(4));
        match table {
            "l" => format!("({id}, {k}, {v}, {})", self.text()),
            "r" => format!("({id}, {k}, {v}, TIMESTAMP '2024-01-01 00:00:{:02}')", self.below(60)),
            _ => format!("({k}, {v})"),
        }
    }
}

/// Sorted rows, and the statement in the error.
async fn rows(warehouse: &mut Warehouse, sql: &str) -> Vec<Vec<String>> {
    let mut rows = warehouse.rows(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).unwrap_or_default();
    rows.sort();
    rows
}

async fn play(seed: u64, steps: u64, mode: Mode) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut story = Story { rng: TestRng::from_seed(RngAlgorithm::ChaCha, &bytes) };
    let mut warehouse = Warehouse::new(mode).await.unwrap();
    let mut told = Vec::new();
    for table in TABLES {
        rows(&mut warehouse, table).await;
    }
    let mut views = VIEWS.iter();
    for step in 0..steps {
        // Views appear one by one, so that each has some history to be filled from.
        if let Some((name, query)) = views.next() {
            rows(&mut warehouse, &format!("CREATE MATERIALIZED VIEW {name} AS {query}")).await;
            told.push((name, query));
        }
        let statement = if story.below(2) == 0 { story.insert() } else { story.change() };
        rows(&mut warehouse, &statement).await;
        if story.below(4) == 0 {
            warehouse.restart().await.unwrap();
        }
        for (name, query) in &told {
            let maintained = rows(&mut warehouse, &format!("SELECT * FROM {name}")).await;
            let asked = rows(&mut warehouse, query).await;
            assert_eq!(maintained, asked, "{name} after step {step} of seed {seed}, mode {}: {statement}", mode.name);
        }
        if step % 5 == 4 {
            for (name, _) in &told {
                rows(&mut warehouse, &format!("VERIFY MATERIALIZED VIEW {name}")).await;
            }
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn play_with(parallelism: &'static [usize], name: &'static str) {
    let mode = Mode { name, parallelism, ..Mode::STRAIGHT };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(play(number("RANDOM_SEED", 1), number("RANDOM_STEPS", 25), mode));
}

#[test]
fn one_task() {
    play_with(&[1], "one task");
}

#[test]
fn one_two_and_three_tasks_in_turn() {
    play_with(&[3, 1, 2], "tasks in turn");
}
