//! Executes every example of `docs/sql/functions.md`, so that the tables there say what is true.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use sql_tests::{MODES, Warehouse};

/// The example and the result of every row of a table, in order.
fn examples(page: &str) -> Vec<(String, String)> {
    let unescape = |cell: &str| cell.replace("\\|", "|");
    page.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| function") && !line.starts_with("| ---"))
        .map(|line| {
            // A bar within a cell is written with a backslash.
            let marked = line.replace("\\|", "\u{1}");
            let cells: Vec<String> =
                marked.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "\\|")).collect();
            assert_eq!(cells.len(), 4, "{line}");
            let example = cells[1].strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
            (unescape(example.unwrap_or_else(|| panic!("no example: {line}"))), unescape(&cells[2]))
        })
        .collect()
}

#[test]
fn every_example_gives_what_the_page_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sql/functions.md");
    let examples = examples(&std::fs::read_to_string(page).unwrap());
    assert!(examples.len() > 80, "{} examples", examples.len());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let wrong: Vec<String> = runtime.block_on(async {
        let mut warehouse = Warehouse::new(MODES[0]).await.unwrap();
        let mut wrong = Vec::new();
        for (example, wanted) in &examples {
            match warehouse.rows(&format!("SELECT {example}")).await {
                Ok(Some(rows)) if rows == [[wanted.clone()]] => {}
                Ok(other) => wrong.push(format!("{example}: {other:?}, not {wanted:?}")),
                Err(error) => wrong.push(format!("{example}: {error}")),
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), examples.len(), wrong.join("\n"));
}
