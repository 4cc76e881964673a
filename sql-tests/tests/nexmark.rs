//! The queries of the Nexmark benchmark as views: rows come in random order in several batches, are replaced, changed and deleted, and
//! after every batch each view equals its query.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use sql_tests::{Mode, Suite};

/// Events over all three streams.
const EVENTS: u32 = 5_000;

/// Parts in which the rows come.
const BATCHES: usize = 3;

/// Queries that cannot be planned yet, with the reason.
const WAITING: &[(&str, &str)] = &[];

/// Name, columns and key of each table, and an expression that scatters its rows.
const TABLES: [(&str, &str, &str, &str); 3] = [
    (
        "person",
        "id BIGINT, name VARCHAR, email_address VARCHAR, credit_card VARCHAR, city VARCHAR, state VARCHAR, date_time TIMESTAMP(3), extra VARCHAR",
        ", PRIMARY KEY (id)",
        "id * 31 / 7",
    ),
    (
        "auction",
        "id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra VARCHAR",
        ", PRIMARY KEY (id)",
        "id * 17 / 5 + seller",
    ),
    (
        "bid",
        "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP(3), extra VARCHAR",
        "",
        "auction * 13 / 3 + bidder * 7 + price",
    ),
];

/// Changes after all rows have come, each seen by every view before the next one.
const CHANGES: &[&str] = &[
    // Keyed tables: INSERT replaces.
    "INSERT INTO auction SELECT id, item_name, description, initial_bid, reserve, date_time, expires, seller, category % 5 + 10, extra \
     FROM auction WHERE id % 4 = 1",
    "INSERT INTO person SELECT id, name, email_address, credit_card, city, 'or', date_time, extra FROM person WHERE id % 3 = 1",
    "INSERT INTO bid SELECT auction, bidder, price + 1000, channel, url, date_time, extra FROM bid WHERE price % 11 = 3",
    "UPDATE bid SET price = price * 2, date_time = date_time + INTERVAL '3' SECOND WHERE bidder % 5 = 2",
    "DELETE FROM bid WHERE (auction + bidder) % 7 = 1",
    "UPDATE auction SET seller = seller + 1, expires = expires + INTERVAL '1' SECOND WHERE id % 5 = 3",
    "DELETE FROM auction WHERE id % 6 = 5",
    "DELETE FROM person WHERE id % 8 = 2",
];

fn query(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../benches/nexmark/{name}.sql"));
    fs::read_to_string(file).unwrap()
}

async fn play(mode: Mode, killed: bool) {
    let mut suite = Suite::new(mode).await.unwrap();
    for (name, columns, key, _) in TABLES {
        // A slow event time, so that there are many windows.
        let options =
            format!("'connector' = 'nexmark', 'table' = '{name}', 'events.num' = '{EVENTS}', 'event.rate' = '50'");
        suite.run(&format!("CREATE TABLE {name}_events ({columns}) WITH ({options})")).await.unwrap();
        suite.run(&format!("CREATE TABLE {name} ({columns}{key})")).await.unwrap();
    }
    suite.run("CREATE TABLE side_input (key BIGINT PRIMARY KEY, value VARCHAR)").await.unwrap();
    let sides: Vec<String> = (0..2000).map(|key| format!("({key}, 'side {}')", key % 7)).collect();
    suite.run(&format!("INSERT INTO side_input VALUES {}", sides.join(", "))).await.unwrap();
    for name in (0..24).map(|n| format!("q{n}")) {
        let waits = WAITING.iter().find(|(waiting, _)| *waiting == name);
        match (suite.keep(&name, &query(&name)).await, waits) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => panic!("{name} waits no longer: take it from the list"),
            (Err(error), Some((_, why))) if error.to_string().contains(why) => {}
            (Err(error), _) => panic!("{name}: {error}"),
        }
    }
    for batch in 0..BATCHES {
        for (name, _, _, scatter) in TABLES {
            let rows = format!("SELECT * FROM {name}_events WHERE ({scatter}) % {BATCHES} = {batch}");
            suite.run(&format!("INSERT INTO {name} {rows}")).await.unwrap();
        }
        if killed {
            suite.restart(batch % 3 + 1).await.unwrap();
        }
        suite.compare(&format!("batch {batch}, mode {}", mode.name)).await.unwrap();
    }
    for (number, change) in CHANGES.iter().enumerate() {
        suite.run(change).await.unwrap();
        if killed {
            suite.restart(number % 3 + 1).await.unwrap();
        }
        suite.compare(&format!("{change}, mode {}", mode.name)).await.unwrap();
    }
    assert_eq!(suite.always_empty(), Vec::<&str>::new(), "queries that find nothing test nothing");
}

fn play_in(mode: Mode, killed: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(play(mode, killed));
}

#[test]
fn with_one_task() {
    play_in(Mode::STRAIGHT, false);
}

#[test]
fn with_three_tasks_and_killed() {
    play_in(Mode { name: "3 tasks, killed", parallelism: &[3], ..Mode::STRAIGHT }, true);
}
