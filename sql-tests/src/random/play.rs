//! Plays a program: after every step each view must equal the batch answer of its query.

use std::collections::BTreeMap;

use engine::{Error, ErrorKind};

use super::program::{Program, Step, view};
use crate::compare::difference;
use crate::mode::{Mode, Views};
use crate::warehouse::Warehouse;

/// What a program did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Views that were created.
    pub views: usize,
    /// Views that the planner refused, by its reason.
    pub refused: Reasons,
    /// Changes of tables that were made.
    pub changes: usize,
    /// Changes of tables that were refused, by the reason.
    pub refused_changes: Reasons,
    /// Comparisons of a view with its query.
    pub checks: usize,
    /// Rows that the views held in all comparisons.
    pub rows: usize,
    /// Views given up because their query fails in batch too, by the reason.
    pub without_answer: Reasons,
}

/// How often something was refused for a reason, and one statement for which it was, with all that the error says.
pub type Reasons = BTreeMap<String, (usize, String)>;

fn count(reasons: &mut Reasons, error: &Error, sql: &str) {
    reasons.entry(reason(error)).or_insert_with(|| (0, format!("{sql}\n         {error}"))).0 += 1;
}

impl Report {
    /// Adds another program's report.
    pub fn add(&mut self, other: &Self) {
        self.views += other.views;
        self.changes += other.changes;
        self.checks += other.checks;
        self.rows += other.rows;
        for (mine, others) in [
            (&mut self.refused, &other.refused),
            (&mut self.refused_changes, &other.refused_changes),
            (&mut self.without_answer, &other.without_answer),
        ] {
            for (reason, (count, sql)) in others {
                mine.entry(reason.clone()).or_insert_with(|| (0, sql.clone())).0 += count;
            }
        }
    }
}

/// What went wrong, and when.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Place of the step.
    pub step: usize,
    /// In a few words without values, such as `a difference`: a smaller program that fails so has the same fault.
    pub what: String,
    /// Everything known.
    pub detail: String,
}

/// Plays a program in a new warehouse.
///
/// # Errors
/// A view that does not equal its query, or a statement that fails and should not.
pub async fn play(program: &Program) -> Result<Report, Failure> {
    let mode = Mode { name: "random program", views: Views::BeforeData, ..Mode::STRAIGHT };
    let at = |step| move |error: Error| Failure { step, what: signature(&error), detail: error.to_string() };
    let warehouse = Warehouse::with_tasks(mode, program.tasks).await.map_err(at(0))?;
    let mut player = Player { warehouse, views: Vec::new(), report: Report::default() };
    for (place, step) in program.steps.iter().enumerate() {
        player.step(step).await.map_err(|(what, detail)| Failure { step: place, what, detail })?;
    }
    Ok(player.report)
}

struct Player {
    warehouse: Warehouse,
    /// Names and queries of the views that there are.
    views: Vec<(String, String)>,
    report: Report,
}

/// What is wrong, in short and in full.
type Wrong = (String, String);

impl Player {
    async fn step(&mut self, step: &Step) -> Result<(), Wrong> {
        match step {
            Step::Restart(tasks) => self.warehouse.restart_with(*tasks).await.map_err(|e| failed("the restart", &e))?,
            Step::Statement(sql) => {
                if let Some((name, query)) = view(sql) {
                    self.create(sql, name, query).await?;
                } else if sql.starts_with("CREATE") {
                    return self.warehouse.query(sql).await.map(|_| ()).map_err(|e| failed(sql, &e));
                } else if !self.change(sql).await? {
                    return Ok(());
                }
            }
        }
        self.compare().await
    }

    async fn create(&mut self, sql: &str, name: &str, query: &str) -> Result<(), Wrong> {
        match self.warehouse.query(sql).await {
            Ok(_) => {
                self.report.views += 1;
                self.views.push((name.to_owned(), query.to_owned()));
            }
            // What no mode can do is no difference.
            Err(error) if error.kind() == ErrorKind::Internal => return Err(failed(sql, &error)),
            Err(error) if error.kind() == ErrorKind::Sql || self.warehouse.query(query).await.is_err() => {
                count(&mut self.report.refused, &error, sql);
            }
            Err(error) => return Err(failed(sql, &error)),
        }
        Ok(())
    }

    /// Whether a change was made.
    async fn change(&mut self, sql: &str) -> Result<bool, Wrong> {
        match self.warehouse.query(sql).await {
            Ok(_) => {
                self.report.changes += 1;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::Sql | ErrorKind::Data) => {
                count(&mut self.report.refused_changes, &error, sql);
                Ok(false)
            }
            Err(error) => Err(failed(sql, &error)),
        }
    }

    async fn compare(&mut self) -> Result<(), Wrong> {
        let mut flushed = self.warehouse.query("FLUSH").await.map(|_| ());
        let mut place = 0;
        while place < self.views.len() {
            let (name, query) = self.views[place].clone();
            let wanted = match self.warehouse.query(&query).await {
                Ok(rows) => rows.unwrap_or_default(),
                // What was planned as a view must be planned as a query.
                Err(error) if error.kind() != ErrorKind::Data => return Err(failed(&query, &error)),
                Err(error) => {
                    // Nobody knows the answer, so the view may as well have failed.
                    count(&mut self.report.without_answer, &error, &query);
                    self.give_up(place).await?;
                    flushed = self.warehouse.query("FLUSH").await.map(|_| ());
                    place = 0;
                    continue;
                }
            };
            if let Err(error) = &flushed {
                return Err(failed("FLUSH", error));
            }
            let found = self.warehouse.query(&format!("SELECT * FROM {name}")).await;
            let found = found.map_err(|e| failed(&name, &e))?.unwrap_or_default();
            self.report.checks += 1;
            self.report.rows += found.len();
            if let Some(difference) = difference(&found, &wanted) {
                return Err(("a difference".into(), format!("{name} is not its query {query}: {difference}")));
            }
            place += 1;
        }
        flushed.map_err(|error| failed("FLUSH", &error))
    }

    /// Drops a view and all that read it.
    async fn give_up(&mut self, place: usize) -> Result<(), Wrong> {
        let (name, _) = self.views.remove(place);
        let sql = format!("DROP MATERIALIZED VIEW {name} CASCADE");
        self.warehouse.query(&sql).await.map_err(|e| failed(&sql, &e))?;
        let mut kept = Vec::new();
        for (name, query) in std::mem::take(&mut self.views) {
            // Whether a view is still there, whatever else is wrong.
            if self.warehouse.query(&format!("SHOW CREATE VIEW {name}")).await.is_ok() {
                kept.push((name, query));
            }
        }
        self.views = kept;
        Ok(())
    }
}

fn failed(what: &str, error: &Error) -> Wrong {
    (signature(error), format!("{what}: {error}"))
}

/// An error without what differs from case to case: names, numbers, places.
fn signature(error: &Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.len() > 3).take(8).collect::<Vec<_>>().join(" ")
}

/// The reason of a refusal, short enough to be counted.
fn reason(error: &Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    // What stands in backquotes is the case's own.
    let line = line.split('`').next().unwrap_or_default();
    line.chars()
        .take(120)
        .collect::<String>()
        .trim()
        .trim_end_matches(|c: char| c.is_ascii_digit() || c == ':')
        .to_owned()
}
