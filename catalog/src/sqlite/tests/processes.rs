//! Real processes on one file: a writer that is killed in the middle loses nothing that it was told is committed,
//! leaves no half of a commit and no lock.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::tempdir;

use super::files::{commit, create};
use super::open;
use crate::conformance::add;
use crate::{Catalog, ObjectId};

/// Names the file to the child process.
const FILE: &str = "FRAZIL_TEST_CATALOG_FILE";

/// Not a test by itself: what the child process runs. It reports every version that it was told is committed.
#[tokio::test]
async fn child_that_commits_until_killed() {
    let Ok(path) = std::env::var(FILE) else { return };
    let catalog = open(Path::new(&path)).await.unwrap();
    let name = std::process::id();
    for n in 0.. {
        let both = vec![add(ObjectId(1), &format!("t/{name}/{n}")), add(ObjectId(2), &format!("u/{name}/{n}"))];
        match catalog.commit(commit(both)).await {
            Ok(version) => println!("committed {version}"),
            // On a busy machine the others may keep the lock for long: it has to be tried again then.
            Err(error) if error.kind() == crate::ErrorKind::Unavailable => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn child(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::tests::processes::child_that_commits_until_killed", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The next version that a child reports.
fn reported(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Option<u64> {
    lines.find_map(|line| line.unwrap().rsplit_once("committed ").map(|(_, version)| version.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_writers_leave_whole_commits_and_no_lock() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("catalog.db");
    let catalog = open(&path).await.unwrap();
    catalog.commit(commit(vec![create(1, "t"), create(2, "u")])).await.unwrap();
    for kills in 1..=3 {
        let mut children = [child(&path), child(&path)];
        let mut newest = 0;
        for child in &mut children {
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            for _ in 0..10 * kills {
                newest = newest.max(reported(&mut lines).unwrap());
                let seen = catalog.snapshot(None).await.unwrap();
                assert!(seen.version >= newest, "what is reported is visible");
                let counts = [1, 2].map(|id| seen.tables[&ObjectId(id)].hot.len());
                assert_eq!(counts[0], counts[1], "at version {}", seen.version);
            }
            child.kill().unwrap();
            newest = newest.max(lines.filter_map(|line| reported(&mut [line].into_iter())).last().unwrap_or(0));
            child.wait().unwrap();
        }
        let after = catalog.commit(commit(vec![])).await.unwrap();
        assert!(after > newest);
        let fresh = open(&path).await.unwrap();
        let seen = fresh.snapshot(None).await.unwrap();
        crate::conformance::assert_same(&seen, &catalog.snapshot(None).await.unwrap());
        assert_eq!(seen.tables[&ObjectId(1)].hot.len(), seen.tables[&ObjectId(2)].hot.len());
    }
}
