//! Plays every file of `slt/` in every mode, one test per mode.
//!
//! `SLT=join cargo test --workspace --test slt` plays only the files whose names contain `join`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use sql_tests::{MODES, play};

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let wanted = std::env::var("SLT").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "slt"))
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no file matches {wanted:?}");
    files
}

/// Plays all files, so that one run shows all that is wrong.
fn play_all(mode: &str) {
    let mode = *MODES.iter().find(|m| m.name == mode).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let failures: Vec<String> = files()
        .iter()
        .filter_map(|file| runtime.block_on(play(file, mode)).err())
        .map(|error| format!("{error:#}"))
        .collect();
    assert!(failures.is_empty(), "{} failed:\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn batch() {
    play_all("batch");
}

#[test]
fn views_first() {
    play_all("views-first");
}

#[test]
fn views_first_3_tasks() {
    play_all("views-first-3-tasks");
}

#[test]
fn views_last() {
    play_all("views-last");
}

#[test]
fn views_last_3_tasks() {
    play_all("views-last-3-tasks");
}

#[test]
fn killed() {
    play_all("killed");
}

#[test]
fn restored() {
    play_all("restored");
}

#[test]
fn workers() {
    play_all("workers");
}

#[test]
fn workers_come_and_go() {
    play_all("workers-come-and-go");
}

#[test]
fn one_by_one() {
    play_all("one-by-one");
}

#[test]
fn reversed() {
    play_all("reversed");
}

#[test]
fn emptied() {
    play_all("emptied");
}

#[test]
fn every_mode_is_played() {
    let source = include_str!("slt.rs");
    for mode in MODES {
        assert!(source.contains(&format!("play_all(\"{}\")", mode.name)), "{} is not played", mode.name);
    }
}
