//! The rows of the table that a statement changes, as parts of a query's text.

use arrow::datatypes::DataType;

use super::skeleton::Skeleton;
use crate::error::Result;
use crate::sql::parse::quoted;
use crate::sql::statement::{Assignment, Target};
use crate::sql::table::{TableColumn, TableColumns};
use crate::sql::types::sql_name;

/// See the module's description.
pub struct TableRows<'a> {
    target: &'a Target,
    columns: &'a TableColumns,
    /// Equal rows are taken together, since nothing but their number tells them apart.
    grouped: bool,
}

impl<'a> TableRows<'a> {
    /// `joined`: rows are matched with others, so that each must be known again.
    pub fn new(target: &'a Target, columns: &'a TableColumns, joined: bool) -> Self {
        Self { target, columns, grouped: joined && columns.key.is_empty() }
    }

    /// What the rows are called.
    pub fn name(&self) -> &str {
        self.target.called()
    }

    /// Whether there is `__copies`.
    pub fn grouped(&self) -> bool {
        self.grouped
    }

    fn names(&self) -> impl Iterator<Item = String> {
        self.columns.all.iter().map(|column| quoted(&column.name))
    }

    /// The old row's columns with their names in the result.
    pub fn old(&self) -> impl Iterator<Item = String> {
        let name = quoted(self.name());
        self.names().enumerate().map(move |(place, column)| format!("{name}.{column} AS __old_{place}"))
    }

    /// The number of equal rows, if they are taken together.
    pub fn copies(&self) -> Option<String> {
        self.grouped.then(|| format!("{}.__copies AS __copies", quoted(self.name())))
    }

    /// What stands in FROM; `more` is added to its columns.
    pub fn relation(&self, more: &str) -> String {
        let (table, name) = (quoted(&self.target.table), quoted(self.name()));
        let columns = self.names().collect::<Vec<_>>().join(", ");
        match (self.grouped, more) {
            (false, "") => format!("{table} AS {name}"),
            (false, _) => format!("(SELECT {columns}{more} FROM {table}) AS {name}"),
            (true, _) => {
                format!("(SELECT {columns}, count(*) AS __copies{more} FROM {table} GROUP BY {columns}) AS {name}")
            }
        }
    }

    /// The values of a new row, one per column that is not computed. Columns that are not assigned keep the value in the
    /// row called `kept`, or get their default.
    pub fn assigned(
        &self,
        skeleton: &mut Skeleton,
        assignments: &[Assignment],
        kept: Option<&str>,
    ) -> Result<Vec<String>> {
        for assignment in assignments {
            self.columns.writable(&assignment.column).map_err(|error| error.at(assignment.position))?;
        }
        self.columns.given().map(|column| self.value(skeleton, column, assignments, kept)).collect()
    }

    fn value(
        &self,
        skeleton: &mut Skeleton,
        column: &TableColumn,
        assignments: &[Assignment],
        kept: Option<&str>,
    ) -> Result<String> {
        let value = match (assignments.iter().find(|a| a.column == column.name), kept) {
            (Some(Assignment { value: Some(value), .. }), _) => skeleton.expression(value),
            (None, Some(kept)) => return Ok(format!("{}.{}", quoted(kept), quoted(&column.name))),
            // DEFAULT, said or meant.
            (Some(Assignment { value: None, .. }), _) | (None, None) => match &column.default {
                Some(default) => skeleton.expression(&crate::sql::parse::stored_expression(default)?),
                None => "NULL".to_owned(),
            },
        };
        // Branches of a CASE must agree on a type. What has no name in SQL is cast by the plan.
        Ok(match cast_type(&column.data_type) {
            Some(data_type) => format!("CAST({value} AS {data_type})"),
            None => value,
        })
    }
}

/// The type as the planner reads it; `None` where its name says too little or nothing.
fn cast_type(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::List(item) if !item.data_type().is_nested() => Some(format!("{}[]", cast_type(item.data_type())?)),
        nested if nested.is_nested() => None,
        DataType::Timestamp(_, Some(_)) => None,
        DataType::Timestamp(_, None) => Some("TIMESTAMP(6)".to_owned()),
        other => Some(sql_name(other)),
    }
}
