//! The command line as scripts see it: what goes to standard output, what to standard error, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frazil"));
        command.current_dir(self.directory.path()).args(args).stdin(Stdio::null());
        command
    }

    fn frazil(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.frazil(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Standard error of a command that must fail with exit code 1.
    fn fails(&self, args: &[&str]) -> String {
        let output = self.frazil(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn csv(&self, sql: &str) -> String {
        self.ok(&["--format", "csv", "-c", sql])
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(name: &str, process: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status().unwrap();
    assert!(status.success());
}

#[test]
fn rows_in_every_format() {
    let place = Place::new();
    let sql = "SELECT 1 AS one, 'a,b' AS text, CAST(NULL AS INT) AS nothing";
    assert_eq!(place.csv(sql), "one,text,nothing\n1,\"a,b\",\n");
    assert_eq!(place.ok(&["sql", "--format", "json", "-c", sql]), "{\"one\":1,\"text\":\"a,b\",\"nothing\":null}\n");
    assert_eq!(
        place.ok(&["-c", sql]),
        " one | text | nothing\n-----+------+---------\n   1 | a,b  |    NULL\n(1 row)\n"
    );
}

#[test]
fn several_statements_print_only_rows() {
    let place = Place::new();
    let sql = "CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1), (2); SELECT SUM(a) AS s FROM t; SELECT 'x' AS y;";
    assert_eq!(place.csv(sql), "s\n3\ny\nx\n");
    assert_eq!(place.csv("SELECT a FROM t ORDER BY a"), "a\n1\n2\n");
}

#[test]
fn standard_input_is_a_script() {
    let place = Place::new();
    let mut child = place.command(&["--format", "csv"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT 1 AS a; SELECT 2 AS b;").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "a\n1\nb\n2\n");
}

#[test]
fn errors_go_to_standard_error_with_a_caret_and_keep_what_came_before() {
    let place = Place::new();
    let output = place.frazil(&["--format", "csv", "-c", "SELECT 1 AS a;\nSELECT * FROM nowhere"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), "a\n1\n"));
    let error = text(&output.stderr);
    assert!(error.starts_with("error: ") && error.contains("nowhere"), "{error}");
    assert!(error.contains("2 | SELECT * FROM nowhere") && error.trim_end().ends_with('^'), "{error}");
}

#[test]
fn a_closed_standard_output_is_no_error() {
    let place = Place::new();
    let sql = "CREATE TABLE g (a BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '300000', 'rows-per-second' = '0'); SELECT * FROM g";
    let mut child =
        place.command(&["--format", "csv", "-c", sql]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((line.as_str(), output.status.code(), text(&output.stderr).as_str()), ("a\n", Some(0), ""));
}

/// A folder with a file of SQL and its data, whose paths start at that folder.
fn project(place: &Place, view: &str) -> String {
    place.write("project/data/a.csv", "id,name\n1,ada\n2,NA\n");
    let sql = format!(
        "CREATE TABLE names (id BIGINT, name VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'data/*.csv',
           'format' = 'csv', 'csv.header' = 'true', 'csv.null-literal' = 'NA');
         CREATE MATERIALIZED VIEW v AS {view};"
    );
    place.write("project/job.sql", &sql).display().to_string()
}

#[test]
fn a_bounded_run_ends_and_a_second_one_finds_it_done() {
    let place = Place::new();
    let file = project(&place, "SELECT id, name FROM names");
    for parallelism in ["1", "3"] {
        assert_eq!(place.ok(&["run", &file, "--parallelism", parallelism, "--commit-interval", "100ms"]), "");
        assert_eq!(place.csv("SELECT * FROM v ORDER BY id"), "id,name\n1,ada\n2,\n");
    }
    assert!(place.path("warehouse/catalog.db").exists());
}

#[test]
fn a_changed_definition_is_refused_and_nothing_is_lost() {
    let place = Place::new();
    let file = project(&place, "SELECT id, name FROM names");
    place.ok(&["run", &file]);
    let changed = project(&place, "SELECT id FROM names");
    let error = place.fails(&["run", &changed]);
    assert!(error.contains('v') && error.contains("hint: "), "{error}");
    assert_eq!(place.csv("SELECT COUNT(*) AS n FROM v"), "n\n2\n");
}

#[test]
fn malformed_rows_stop_the_run_with_their_place() {
    let place = Place::new();
    let file = project(&place, "SELECT id FROM names");
    place.write("project/data/b.csv", "id,name\n3,cyd\nfour,dan\n");
    let error = place.fails(&["run", &file]);
    assert!(error.contains("b.csv") && error.contains("id"), "{error}");
    // The file is repaired, and the next run succeeds.
    place.write("project/data/b.csv", "id,name\n3,cyd\n4,dan\n");
    place.ok(&["run", &file]);
    assert_eq!(place.csv("SELECT SUM(id) AS s FROM v"), "s\n10\n");
}

#[test]
fn malformed_rows_can_be_skipped_and_are_counted() {
    let place = Place::new();
    let file = project(&place, "SELECT id FROM names");
    let sql = fs::read_to_string(&file).unwrap();
    place.write("project/job.sql", &sql.replace("'csv.header'", "'format.ignore-parse-errors' = 'true', 'csv.header'"));
    place.write("project/data/b.csv", "id,name\n3,cyd\nfour,dan\nfive,\n");
    place.ok(&["run", &file]);
    assert_eq!(place.csv("SELECT SUM(id) AS s FROM v"), "s\n6\n");
    let jobs = place.csv("SHOW JOBS");
    let (names, job) = jobs.split_once('\n').unwrap();
    let skipped = names.split(',').position(|name| name == "skipped_rows").unwrap();
    assert_eq!(job.trim().split(',').nth(skipped), Some("2"), "{jobs}");
}

#[test]
fn a_damaged_catalog_is_an_error_with_its_path() {
    let place = Place::new();
    place.ok(&["-c", "CREATE TABLE t (a BIGINT)"]);
    for file in ["catalog.db-wal", "catalog.db-shm"] {
        let _ = fs::remove_file(place.path("warehouse").join(file));
    }
    place.write("warehouse/catalog.db", &"no database".repeat(1000));
    let error = place.fails(&["-c", "SELECT * FROM t"]);
    assert!(error.contains("catalog.db"), "{error}");
}

#[test]
fn missing_files_and_unknown_options_are_explained() {
    let place = Place::new();
    assert!(place.fails(&["run", "nothing.sql"]).contains("nothing.sql"));
    assert!(place.fails(&["-f", "nothing.sql"]).contains("nothing.sql"));
    let sql = "CREATE TABLE t (a BIGINT) WITH ('connector' = 'filesystem', 'path' = 'x', 'format' = 'csv', 'csv.haeder' = 'true')";
    let error = place.fails(&["-c", sql]);
    assert!(error.contains("csv.haeder") && error.contains("csv.header"), "{error}");
    assert_eq!(place.frazil(&["--no-such-flag"]).status.code(), Some(2));
}

/// An endless job, and what it has written so far.
fn endless(place: &Place) -> PathBuf {
    place.write(
        "endless.sql",
        "CREATE TABLE g (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '1000', 'fields.n.kind' = 'sequence');
         CREATE MATERIALIZED VIEW v AS SELECT COUNT(*) AS rows, MAX(n) AS last, COUNT(DISTINCT n) AS different FROM g;",
    )
}

fn wait_for_rows(place: &Place) -> Vec<u64> {
    for _ in 0..200 {
        let csv = place.frazil(&["--format", "csv", "-c", "SELECT rows, last, different FROM v"]);
        let stdout = text(&csv.stdout);
        let numbers =
            stdout.lines().nth(1).map(|line| line.split(',').map(str::parse).collect::<Result<Vec<u64>, _>>());
        match numbers {
            Some(Ok(numbers)) if numbers[0] > 0 => return numbers,
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    panic!("the view stays empty");
}

fn exit_code(child: &mut std::process::Child) -> Option<i32> {
    for _ in 0..400 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    panic!("the process does not end");
}

fn start(place: &Place, file: &Path) -> std::process::Child {
    let mut command = place.command(&["run", &file.display().to_string(), "--commit-interval", "100ms"]);
    command.stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn signals_end_a_run_after_a_last_checkpoint_and_the_next_one_goes_on() {
    let place = Place::new();
    let file = endless(&place);
    let mut before = 0;
    for name in ["TERM", "INT", "KILL"] {
        let mut run = start(&place, &file);
        let seen = loop {
            let seen = wait_for_rows(&place);
            if seen[0] > before {
                break seen;
            }
        };
        // No number came twice, however often it was interrupted. Splits are read side by side, so some may be a few
        // numbers ahead of the others.
        assert_eq!(seen[2], seen[0]);
        assert!((seen[0]..seen[0] + 1000).contains(&(seen[1] + 1)), "{seen:?}");
        before = seen[0];
        signal(name, run.id());
        let code = exit_code(&mut run);
        assert_eq!(code, if name == "KILL" { None } else { Some(0) });
    }
}

#[test]
fn a_job_runs_in_one_process_at_a_time() {
    let place = Place::new();
    let file = endless(&place);
    let mut run = start(&place, &file);
    wait_for_rows(&place);
    let second = place.frazil(&["run", &file.display().to_string()]);
    assert_eq!(second.status.code(), Some(1), "{}", text(&second.stdout));
    assert!(text(&second.stderr).contains("error: "), "{}", text(&second.stderr));
    signal("TERM", run.id());
    assert_eq!(exit_code(&mut run), Some(0));
}
