//! Keeps the rules of the code that no compiler checks: which crate may know which, where time comes from, what files look like.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Every crate with the crates it may depend on: each may know all below it, none above it.
const CRATES: &[(&str, &[&str])] = &[
    ("catalog", &[]),
    ("storage", &["catalog"]),
    ("engine", &["catalog", "storage"]),
    ("server", &["catalog", "storage", "engine", "sql-tests"]),
    ("sql-tests", &["catalog", "storage", "engine"]),
    ("benches", &["catalog", "storage", "engine"]),
];

/// The only file that may ask the machine for time, randomness or ids.
const CLOCK: &str = "catalog/src/clock.rs";

/// What only that file may say.
const UNREPEATABLE: &[&str] = &[
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "Uuid::now_v7",
    "Uuid::new_v4",
    "rand::rng(",
    "rand::random",
    "thread_rng",
    "from_os_rng",
    "from_entropy",
];

/// Folders of the engine that know neither SQL nor what runs them.
const LOW_IN_ENGINE: &[&str] =
    &["engine/src/operator", "engine/src/source", "engine/src/sink", "engine/src/hash.rs", "engine/src/error.rs"];

const LONGEST_FILE: usize = 1000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Path from the root, and text, of every Rust file.
fn rust_files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = CRATES.iter().map(|(name, _)| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    assert!(files.len() > CRATES.len(), "the sources were not found");
    files
}

/// The part of a file that ends up in the program: test modules stand last, or in files of their own.
fn program_text<'a>(name: &str, text: &'a str) -> &'a str {
    let tests = ["/tests/", "/tests.rs", "/operator/law/", "/operator/law.rs"];
    if tests.iter().any(|part| name.contains(part)) || name.starts_with("benches/") {
        return "";
    }
    text.find("#[cfg(test)]\nmod ").map_or(text, |tests| &text[..tests])
}

fn complain(what: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn crates_depend_downwards_only() {
    let mut wrong = Vec::new();
    for (name, allowed) in CRATES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let words = manifest.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
        for other in words.filter(|word| CRATES.iter().any(|(name, _)| name == word)) {
            if !allowed.contains(&other) {
                wrong.push(format!("{name} -> {other}"));
            }
        }
    }
    complain("dependencies that point up", wrong);
}

#[test]
fn the_list_of_crates_is_complete() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert_eq!(members, CRATES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn the_lower_modules_of_the_engine_know_none_of_the_upper_ones() {
    let upper = ["crate::plan", "crate::sql", "crate::runtime", "crate::session"];
    let low = |name: &str| LOW_IN_ENGINE.iter().any(|folder| name.starts_with(folder));
    let wrong = rust_files().into_iter().filter(|(name, _)| low(name)).flat_map(|(name, text)| {
        let found: Vec<_> = upper.iter().filter(|word| program_text(&name, &text).contains(**word)).collect();
        found.into_iter().map(|word| format!("{name} knows {word}")).collect::<Vec<_>>()
    });
    complain("modules that know what they must not know", wrong.collect());
}

#[test]
fn every_file_says_first_what_it_is() {
    let wrong = rust_files().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name);
    complain("files without //! in their first line", wrong.collect());
}

#[test]
fn no_file_is_too_long() {
    let long = |(name, text): (String, String)| {
        let lines = text.lines().count();
        (lines > LONGEST_FILE).then(|| format!("{name}: {lines}"))
    };
    complain("files of more than 1000 lines", rust_files().into_iter().filter_map(long).collect());
}

#[test]
fn time_and_randomness_come_from_the_clock() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files().iter().filter(|(name, _)| name != CLOCK) {
        for word in UNREPEATABLE.iter().filter(|word| program_text(name, text).contains(**word)) {
            wrong.push(format!("{name} says {word}"));
        }
    }
    complain("code that asks the machine for time or randomness", wrong);
}
