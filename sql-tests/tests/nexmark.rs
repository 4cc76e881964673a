//! The queries of the Nexmark benchmark, maintained, give what the same queries give when asked at the end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use sql_tests::{MODES, Mode, Warehouse};

const EVENTS: u32 = 20_000;

const TABLES: [(&str, &str); 3] = [
    (
        "person",
        "id BIGINT, name VARCHAR, email_address VARCHAR, credit_card VARCHAR, city VARCHAR, state VARCHAR, date_time TIMESTAMP(3), extra VARCHAR",
    ),
    (
        "auction",
        "id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra VARCHAR",
    ),
    (
        "bid",
        "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP(3), extra VARCHAR",
    ),
];

async fn rows(warehouse: &mut Warehouse, sql: &str) -> Vec<Vec<String>> {
    let mut rows = warehouse.rows(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")).unwrap();
    rows.sort();
    rows
}

async fn check(mode: Mode) {
    let mut warehouse = Warehouse::new(mode).await.unwrap();
    for (name, columns) in TABLES {
        // A slow event time, so that there are many windows.
        let options =
            format!("'connector' = 'nexmark', 'table' = '{name}', 'events.num' = '{EVENTS}', 'event.rate' = '200'");
        warehouse.rows(&format!("CREATE TABLE {name} ({columns}) WITH ({options})")).await.unwrap();
    }
    for query in ["q0", "q1", "q2", "q3", "q4", "q5", "q7", "q8", "q9"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../benches/nexmark/{query}.sql"));
        let sql = fs::read_to_string(file).unwrap();
        warehouse
            .rows(&format!("CREATE MATERIALIZED VIEW {query} AS {sql}"))
            .await
            .unwrap_or_else(|e| panic!("{query}: {e}"));
        let maintained = rows(&mut warehouse, &format!("SELECT * FROM {query}")).await;
        let batch = rows(&mut warehouse, &sql).await;
        assert!(!batch.is_empty(), "{query} finds nothing: it tests nothing");
        assert_eq!(maintained.len(), batch.len(), "{query}, mode {}", mode.name);
        let difference = maintained.iter().zip(&batch).find(|(one, other)| one != other);
        assert_eq!(difference, None, "{query}, mode {}", mode.name);
    }
}

fn check_in(name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(check(*MODES.iter().find(|mode| mode.name == name).unwrap()));
}

#[test]
fn with_one_task() {
    check_in("views-first");
}

#[test]
fn with_three_tasks() {
    check_in("views-first-3-tasks");
}

#[test]
fn killed() {
    check_in("killed");
}
