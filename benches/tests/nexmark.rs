//! The Nexmark benchmark itself: every source feeds the same events, and every line has the promised form.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const EVENTS: u64 = 3_000;

fn nexmark(cache: &Path, more: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_nexmark"))
        .args(["--events", &EVENTS.to_string(), "--parallelism", "2", "--cache"])
        .arg(cache)
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Name and number of rows of each query.
fn results(lines: &[Value]) -> Vec<(String, u64)> {
    lines.iter().map(|line| (line["query"].as_str().unwrap().to_owned(), line["rows_out"].as_u64().unwrap())).collect()
}

#[test]
fn every_query_runs_from_every_source() {
    let cache = tempfile::tempdir().unwrap();
    let parquet = nexmark(cache.path(), &[]);
    let names: Vec<_> = results(&parquet).into_iter().map(|(name, _)| name).collect();
    let wanted: Vec<_> = (0..24).map(|n| format!("q{n}")).collect();
    assert_eq!(names, wanted);
    for line in &parquet {
        assert_eq!(line["events"], EVENTS, "{line}");
        assert!(line["seconds"].as_f64().unwrap() > 0.0 && line["events_per_sec"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["checkpoints"].as_u64().unwrap() > 0, "{line}");
    }
    // Only inserts: how the input was cut into epochs does not show in the number of changes.
    for source in ["json", "in-process"] {
        let other = nexmark(cache.path(), &["--source", source, "--queries", "q0,q1,q2,q3"]);
        assert_eq!(results(&other), results(&parquet)[..4], "{source}");
    }
    assert_eq!(results(&parquet)[0].1, EVENTS * 92 / 100);
}

#[test]
fn results_can_go_into_a_table_that_is_kept() {
    let cache = tempfile::tempdir().unwrap();
    let kept = cache.path().join("kept");
    let more = ["--source", "in-process", "--queries", "q0", "--sink", "table", "--keep", kept.to_str().unwrap()];
    assert_eq!(results(&nexmark(cache.path(), &more)), [("q0".to_owned(), EVENTS * 92 / 100)]);
    assert!(kept.join("q0").join("catalog.db").exists());
}
