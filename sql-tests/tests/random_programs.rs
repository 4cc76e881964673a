//! Random programs: every view equals its query after every change, restart and kill (see `src/random.rs`).
//!
//! `FRAZIL_RANDOM_PROGRAMS=10000 cargo test --workspace --test random_programs -- --nocapture` plays so many;
//! `FRAZIL_RANDOM_FILE=case.sql` plays the program in a file and says what it did.
//! `FRAZIL_RANDOM_SEED=7` starts with another seed, and with `FRAZIL_RANDOM_PROGRAMS=1` plays only that program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sql_tests::random::{Failure, Program, Reasons, Report, play, shrink};

/// Programs that are played when nobody says how many.
const PROGRAMS: u64 = 1_000;
/// After so many failures no further program begins: each costs time to shrink.
const FAILURES: usize = 6;
/// Programs that are played at most to make a failing one smaller.
const SHRINKING: usize = 250;
/// Of so many views at most one may be refused.
const REFUSED: usize = 20;
/// A reason that is found so often or less is reported with a statement.
const RARE: usize = 5;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Writes a small failing program to a file and says what is wrong with it.
fn report_failure(seed: u64, program: &Program, failure: &Failure) -> String {
    let comment: String = failure.detail.lines().map(|line| format!("-- {line}\n")).collect();
    let text = format!("-- seed {seed}, step {}: {}\n{comment}{program}", failure.step, failure.what);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("random-failures");
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join(format!("{seed}.sql"));
    fs::write(&file, &text).unwrap();
    format!("{text}-- in {}: keep it in sql-tests/random-cases when it is mended", file.display())
}

/// The commonest reasons first.
fn reasons(title: &str, counts: &Reasons) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    // What is rare may be worth a look.
    let example = |count: usize, sql: &str| if count <= RARE { format!("\n         {sql}") } else { String::new() };
    let line = |(reason, (count, sql)): &(&String, &(usize, String))| {
        format!("\n  {count:6} {reason}{}", example(*count, sql))
    };
    format!("\n{title}: {}{}", sum(counts), sorted.iter().take(40).map(line).collect::<String>())
}

fn sum(counts: &Reasons) -> usize {
    counts.values().map(|(count, _)| count).sum()
}

fn summary(programs: u64, report: &Report) -> String {
    format!(
        "{programs} programs, {} views, {} changes, {} comparisons of {} rows{}{}{}",
        report.views,
        report.changes,
        report.checks,
        report.rows,
        reasons("views refused", &report.refused),
        reasons("changes refused", &report.refused_changes),
        reasons("queries without an answer in batch", &report.without_answer),
    )
}

#[test]
fn every_view_equals_its_query() {
    let (first, programs) = (number("FRAZIL_RANDOM_SEED", 1), number("FRAZIL_RANDOM_PROGRAMS", PROGRAMS));
    let threads = std::thread::available_parallelism().map_or(2, usize::from) * 2;
    let (next, played, failed) = (AtomicU64::new(first), AtomicU64::new(0), AtomicUsize::new(0));
    let (total, failures) = (Mutex::new(Report::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) < FAILURES {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + programs {
                        break;
                    }
                    let program = Program::random(seed);
                    match runtime().block_on(play(&program)) {
                        Ok(report) => total.lock().unwrap().add(&report),
                        Err(failure) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            println!("seed {seed} fails: {}: {}", failure.what, failure.detail);
                            let (small, failure) = runtime().block_on(shrink(program, failure, SHRINKING));
                            let text = report_failure(seed, &small, &failure);
                            println!("{text}");
                            failures.lock().unwrap().push(text);
                        }
                    }
                    let done = played.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(100) {
                        println!("{}\n", summary(done, &total.lock().unwrap()));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let total = total.into_inner().unwrap();
    println!("{}", summary(played.into_inner(), &total));
    assert!(failures.is_empty(), "{} programs fail:\n\n{}", failures.len(), failures.join("\n\n"));
    // A generator of queries that are all refused tests nothing. Those do not count that only read what was refused.
    let own = |reason: &str| !reason.starts_with("there is no table or view");
    let refused: usize = total.refused.iter().filter(|(reason, _)| own(reason)).map(|(_, (count, _))| count).sum();
    assert!(refused * REFUSED <= total.views, "{refused} views were refused, only {} created", total.views);
    assert!(total.rows > total.checks, "views are empty: {} rows in {} comparisons", total.rows, total.checks);
}

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("random-cases");
    let files = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "sql")).collect();
    files.sort();
    files
}

/// Programs that once failed.
#[test]
fn kept_cases_hold() {
    let wrong: Vec<String> = cases()
        .iter()
        .filter_map(|file| {
            let program = Program::parse(&fs::read_to_string(file).unwrap());
            match runtime().block_on(play(&program)) {
                // What is refused proves nothing.
                Ok(report) if !report.refused.is_empty() => {
                    Some(format!("{}: {}", file.display(), reasons("views refused", &report.refused)))
                }
                Ok(_) => None,
                Err(failure) => Some(format!("{}, step {}: {}", file.display(), failure.step, failure.detail)),
            }
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A program by hand: what was refused in it, and why, is printed.
#[test]
fn a_file_holds() {
    let Ok(file) = std::env::var("FRAZIL_RANDOM_FILE") else { return };
    match runtime().block_on(play(&Program::parse(&fs::read_to_string(&file).unwrap()))) {
        Ok(report) => println!("{}", summary(1, &report)),
        Err(failure) => panic!("{file}, step {}: {}", failure.step, failure.detail),
    }
}
