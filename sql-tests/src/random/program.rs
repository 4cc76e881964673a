//! A program: statements that create tables and views and change data, with restarts between them; as SQL text and from it.

use std::fmt;

use super::dice::Dice;
use super::dml::{change, insert};
use super::query::Queries;
use super::schema::{Relation, table};

/// Marks a line after which the engine is killed and started again.
const RESTART: &str = "-- restart with tasks: ";
/// Marks the line that says with how many tasks the program starts.
const TASKS: &str = "-- tasks: ";

/// One step of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A statement without its semicolon.
    Statement(String),
    /// The engine is killed and opened again with so many tasks.
    Restart(usize),
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// With how many tasks it starts.
    pub tasks: usize,
    /// What happens.
    pub steps: Vec<Step>,
}

impl Program {
    /// Makes up a program: the same for the same seed.
    pub fn random(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let dice = &mut dice;
        let tables: Vec<Relation> = (0..dice.between(1, 3)).map(|n| table(dice, &format!("r{n}"))).collect();
        let mut steps: Vec<Step> = tables.iter().map(|table| Step::Statement(table.create())).collect();
        // Base tables count double: a query over a view that was refused is refused too.
        let mut relations: Vec<Relation> = tables.iter().chain(&tables).cloned().collect();
        let views = dice.between(2, 4);
        let changes = dice.between(2, 5);
        // Some data is there before any view, and views come between changes.
        for table in &tables {
            if dice.chance(60) {
                steps.push(Step::Statement(insert(dice, table, 8)));
            }
        }
        let mut rest: Vec<bool> = (0..views).map(|_| true).chain((0..changes).map(|_| false)).collect();
        dice.shuffle(&mut rest[1..]);
        for is_view in rest {
            if is_view {
                let name = format!("v{}", relations.len() - 2 * tables.len());
                let query = Queries::new(dice, &relations).query(2);
                steps.push(Step::Statement(format!("CREATE MATERIALIZED VIEW {name} AS {}", query.sql)));
                relations.push(Relation { name, columns: query.columns, key: Vec::new(), time: None });
            } else {
                steps.push(Step::Statement(change(dice, &tables)));
            }
            if dice.chance(7) {
                steps.push(Step::Restart(dice.between(1, 3)));
            }
        }
        // What was inserted must be able to leave again.
        if dice.chance(25) {
            steps.extend(tables.iter().map(|table| Step::Statement(format!("DELETE FROM {}", table.name))));
        }
        Self { tasks: dice.weighted(&[(50, 1), (25, 2), (25, 3)]), steps }
    }

    /// Reads a program from SQL text: a statement ends with a semicolon at the end of a line, `-- tasks: N` says with how many tasks
    /// it starts, and `-- restart with tasks: N` when the engine is killed. Other comments say nothing.
    pub fn parse(text: &str) -> Self {
        let mut program = Self { tasks: 1, steps: Vec::new() };
        let mut statement = String::new();
        let number = |text: &str| text.trim().parse().unwrap_or(1);
        for line in text.lines() {
            if let Some(tasks) = line.strip_prefix(RESTART) {
                program.steps.push(Step::Restart(number(tasks)));
            } else if let Some(tasks) = line.strip_prefix(TASKS) {
                program.tasks = number(tasks);
            } else if !line.starts_with("--") {
                let separator = if statement.is_empty() { "" } else { "\n" };
                statement = format!("{statement}{separator}{line}");
                if let Some(whole) = statement.strip_suffix(';') {
                    program.steps.push(Step::Statement(whole.trim().to_owned()));
                    statement.clear();
                }
            }
        }
        program
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TASKS}{}", self.tasks)?;
        for step in &self.steps {
            match step {
                Step::Statement(sql) => writeln!(f, "{sql};")?,
                Step::Restart(tasks) => writeln!(f, "{RESTART}{tasks}")?,
            }
        }
        Ok(())
    }
}

/// Name and query of a statement that creates a materialized view.
pub fn view(sql: &str) -> Option<(&str, &str)> {
    sql.strip_prefix("CREATE MATERIALIZED VIEW ")?.split_once(" AS ").map(|(name, query)| (name.trim(), query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_its_text() {
        for seed in 0..50 {
            let program = Program::random(seed);
            assert_eq!(Program::parse(&program.to_string()), program);
            assert_eq!(Program::random(seed), program);
        }
    }

    #[test]
    fn a_statement_may_have_several_lines_and_comments_around() {
        let text = "-- about it\n-- tasks: 3\nSELECT 1,\n  2;\n\n-- restart with tasks: 2\nSELECT ';';\n";
        let statement = |sql: &str| Step::Statement(sql.to_owned());
        let steps = vec![statement("SELECT 1,\n  2"), Step::Restart(2), statement("SELECT ';'")];
        assert_eq!(Program::parse(text), Program { tasks: 3, steps });
    }
}
