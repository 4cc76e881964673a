//! The queries of TPC-H as views: rows come in random order in several batches, are replaced, changed and deleted, and after every
//! batch each view equals its query. (`tests/test_tpch.py` compares the end with DuckDB.)
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use sql_tests::{Mode, Suite};
use tpchgen::csv::{CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv, SupplierCsv};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

/// Of the size that TPC-H calls 1: 6,000 lines of orders.
const SCALE: f64 = 0.001;

/// Parts in which the rows come.
const BATCHES: usize = 3;

/// Queries that cannot be planned yet, with a part of the message.
const WAITING: &[(&str, &str)] = &[];

/// An expression for each table that scatters its rows over the batches.
const SCATTER: [(&str, &str); 8] = [
    ("region", "r_regionkey"),
    ("nation", "n_nationkey * 7 / 3"),
    ("supplier", "s_suppkey * 7 / 3"),
    ("customer", "c_custkey * 31 / 7 + c_nationkey"),
    ("part", "p_partkey * 31 / 7 + p_size"),
    ("partsupp", "ps_partkey * 13 / 3 + ps_suppkey * 7 + ps_availqty"),
    ("orders", "o_orderkey * 13 / 3 + o_custkey"),
    ("lineitem", "l_orderkey * 13 / 3 + l_partkey * 7 + l_linenumber * 11"),
];

/// Rows that replace others with the same key.
const REPLACEMENTS: [&str; 3] = [
    "INSERT INTO orders SELECT o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate + INTERVAL '40' DAY, '1-URGENT', o_clerk, \
     o_shippriority, o_comment FROM orders WHERE o_orderkey % 5 = 1",
    "INSERT INTO customer SELECT c_custkey, c_name, c_address, c_nationkey, c_phone, c_acctbal - 500, 'BUILDING', c_comment \
     FROM customer WHERE c_custkey % 3 = 2",
    "INSERT INTO partsupp SELECT ps_partkey, ps_suppkey, ps_availqty / 2, ps_supplycost + 1, ps_comment FROM partsupp \
     WHERE ps_partkey % 4 = 1",
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tpch")
}

fn write(data: &Path, table: &str, header: &str, rows: impl Iterator<Item = impl Display>) {
    let lines: String = rows.map(|row| format!("{row}\n")).collect();
    fs::write(data.join(format!("{table}.csv")), format!("{header}\n{lines}")).unwrap();
}

fn generate(data: &Path) {
    write(data, "region", RegionCsv::header(), RegionGenerator::new(SCALE, 1, 1).iter().map(RegionCsv::new));
    write(data, "nation", NationCsv::header(), NationGenerator::new(SCALE, 1, 1).iter().map(NationCsv::new));
    write(data, "supplier", SupplierCsv::header(), SupplierGenerator::new(SCALE, 1, 1).iter().map(SupplierCsv::new));
    write(data, "customer", CustomerCsv::header(), CustomerGenerator::new(SCALE, 1, 1).iter().map(CustomerCsv::new));
    write(data, "part", PartCsv::header(), PartGenerator::new(SCALE, 1, 1).iter().map(PartCsv::new));
    write(data, "partsupp", PartSuppCsv::header(), PartSuppGenerator::new(SCALE, 1, 1).iter().map(PartSuppCsv::new));
    write(data, "orders", OrderCsv::header(), OrderGenerator::new(SCALE, 1, 1).iter().map(OrderCsv::new));
    write(data, "lineitem", LineItemCsv::header(), LineItemGenerator::new(SCALE, 1, 1).iter().map(LineItemCsv::new));
}

/// The statements of a file, which end with a semicolon at the end of a line.
fn statements(file: &str) -> Vec<String> {
    let text = fs::read_to_string(directory().join(file)).unwrap();
    text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

async fn play(mode: Mode, killed: bool) {
    let data = tempfile::tempdir().unwrap();
    generate(data.path());
    let mut suite = Suite::new(mode).await.unwrap();
    for table in statements("tables.sql") {
        suite.run(&table).await.unwrap();
    }
    for (table, _) in SCATTER {
        let create =
            statements("tables.sql").into_iter().find(|sql| sql.contains(&format!("TABLE {table} ("))).unwrap();
        let (_, columns) = create.split_once('(').unwrap();
        let columns = columns.split_once(", PRIMARY KEY").map_or(columns.trim_end_matches(')'), |(columns, _)| columns);
        let columns = columns.replace(" PRIMARY KEY", "");
        let path = data.path().join(format!("{table}.csv"));
        suite
            .run(&format!(
                "CREATE TABLE {table}_file ({columns}) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv', \
                 'csv.header' = 'true')",
                path.display()
            ))
            .await
            .unwrap();
    }
    for name in (1..=22).map(|n| format!("q{n}")) {
        let query = fs::read_to_string(directory().join(format!("{name}.sql"))).unwrap();
        let waits = WAITING.iter().find(|(waiting, _)| *waiting == name);
        match (suite.keep(&name, &query).await, waits) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => panic!("{name} waits no longer: take it from the list"),
            (Err(error), Some((_, why))) if error.to_string().contains(why) => {}
            (Err(error), _) => panic!("{name}: {error}"),
        }
    }
    for batch in 0..BATCHES {
        for (table, scatter) in SCATTER {
            let rows = format!("SELECT * FROM {table}_file WHERE ({scatter}) % {BATCHES} = {batch}");
            suite.run(&format!("INSERT INTO {table} {rows}")).await.unwrap();
        }
        if killed {
            suite.restart(batch % 3 + 1).await.unwrap();
        }
        suite.compare(&format!("batch {batch}, mode {}", mode.name)).await.unwrap();
    }
    let changes = REPLACEMENTS.map(str::to_owned).into_iter().chain(statements("changes.sql"));
    for (number, change) in changes.enumerate() {
        suite.run(&change).await.unwrap();
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
