//! What is over is in the Iceberg tables, whoever was killed on the way there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Clock, SystemClock};
use engine::session::{Engine, EngineOptions};
use tokio::runtime::Runtime;

const FILE: &str = "
    CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '100', 'fields.n.kind' = 'sequence');
    CREATE MATERIALIZED VIEW even AS SELECT n FROM numbers WHERE n % 2 = 0;
    CREATE MATERIALIZED VIEW none AS SELECT n FROM even WHERE n < 0;
";

/// Runs the file to its end in a process of its own, that is killed before it shuts down, or not.
fn run(warehouse: &Path, killed: bool) {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let options = EngineOptions {
            warehouse: warehouse.display().to_string(),
            parallelism: 2,
            commit_interval: Duration::from_millis(20),
            base_dir: warehouse.to_owned(),
            clock,
            limits: engine::session::Limits::default(),
            cluster: None,
        };
        let engine = Engine::open(options).await.unwrap();
        engine.run(FILE).await.unwrap();
        engine.finished().await.unwrap();
        if !killed {
            engine.shutdown().await.unwrap();
        }
    });
    runtime.shutdown_background();
}

/// The tables that an Iceberg reader does not see whole.
fn unfinished(warehouse: &Path) -> Vec<String> {
    Runtime::new().unwrap().block_on(async {
        let clock = Arc::new(SystemClock::new());
        let warehouse = storage::Warehouse::open(&warehouse.display().to_string(), clock).await.unwrap();
        let snapshot = warehouse.catalog().snapshot(None).await.unwrap();
        let hot =
            snapshot.tables.iter().filter(|(_, state)| state.metadata_location.is_none() || !state.hot.is_empty());
        hot.map(|(id, _)| snapshot.objects[id].name.clone()).collect()
    })
}

#[test]
fn a_run_of_jobs_that_had_ended_tiers_what_a_killed_one_left_hot() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), true);
    assert_eq!(unfinished(directory.path()), ["even", "none"], "the killed run was too fast for this test");
    run(directory.path(), false);
    assert_eq!(unfinished(directory.path()), Vec::<String>::new());
}
