//! Makes a failing program small: leaves out statements, rows, clauses and parts of expressions as long as it still fails
//! in the same way.

mod edit;
mod text;

use super::play::{Failure, play};
use super::program::{Program, Step, view};
use crate::rewrite::inserted_rows;

/// Plays a smaller program until so many have been played.
struct Search {
    plays_left: usize,
    what: String,
    best: Program,
    failure: Failure,
}

/// The smallest program found that fails as `failure` says, and how it fails. At most `plays` programs are played.
pub async fn shrink(program: Program, failure: Failure, plays: usize) -> (Program, Failure) {
    let what = failure.what.clone();
    let mut search = Search { plays_left: plays, what, best: program, failure };
    search.cut_behind().await;
    loop {
        let before = search.best.clone();
        search.statements().await;
        search.rows().await;
        search.queries().await;
        if search.best == before || search.plays_left == 0 {
            return (search.best, search.failure);
        }
    }
}

impl Search {
    /// Whether a program fails in the same way; if so it is the best so far.
    async fn fails(&mut self, program: Program) -> bool {
        if self.plays_left == 0 || program == self.best {
            return false;
        }
        self.plays_left -= 1;
        match play(&program).await {
            Err(failure) if failure.what == self.what => {
                self.best = program;
                self.failure = failure;
                true
            }
            _ => false,
        }
    }

    /// Leaves out what comes after the failure.
    async fn cut_behind(&mut self) {
        let mut program = self.best.clone();
        program.steps.truncate(self.failure.step + 1);
        program.tasks = 1;
        self.fails(program.clone()).await;
        program.tasks = self.best.tasks;
        self.fails(program).await;
    }

    /// Leaves out statements: halves, quarters, ... single ones, the last first.
    async fn statements(&mut self) {
        let mut size = self.best.steps.len() / 2;
        while size > 0 {
            let mut end = self.best.steps.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let mut program = self.best.clone();
                program.steps.drain(start..end.min(program.steps.len()));
                self.fails(program).await;
                end = start;
            }
            size /= 2;
        }
    }

    /// Leaves out rows of INSERT ... VALUES.
    async fn rows(&mut self) {
        for place in 0..self.best.steps.len() {
            let mut row = 0;
            while let Some(sql) = statement(&self.best, place).and_then(|sql| without_row(sql, row)) {
                if !self.fails_with(place, sql).await {
                    row += 1;
                }
            }
        }
    }

    /// Makes queries of views smaller.
    async fn queries(&mut self) {
        for place in 0..self.best.steps.len() {
            let mut number = 0;
            while let Some((name, query)) = statement(&self.best, place).and_then(view) {
                let Some(smaller) = edit::smaller(query, number) else { break };
                let sql = format!("CREATE MATERIALIZED VIEW {name} AS {smaller}");
                // After a success the edits have other numbers; starting anew would try the refuted ones again.
                if !self.fails_with(place, sql).await {
                    number += 1;
                }
                if self.plays_left == 0 {
                    return;
                }
            }
        }
    }

    async fn fails_with(&mut self, place: usize, sql: String) -> bool {
        let mut program = self.best.clone();
        program.steps[place] = Step::Statement(sql);
        self.fails(program).await
    }
}

fn statement(program: &Program, place: usize) -> Option<&str> {
    match program.steps.get(place) {
        Some(Step::Statement(sql)) => Some(sql),
        _ => None,
    }
}

/// An INSERT of several rows without one of them.
fn without_row(sql: &str, row: usize) -> Option<String> {
    let (head, mut rows) = inserted_rows(sql)?;
    if rows.len() < 2 || row >= rows.len() {
        return None;
    }
    rows.remove(row);
    Some(format!("{head} {}", rows.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_is_left_out() {
        assert_eq!(without_row("INSERT INTO t VALUES (1), (2)", 0).unwrap(), "INSERT INTO t VALUES (2)");
        assert_eq!(without_row("INSERT INTO t VALUES (1)", 0), None);
    }
}
