//! UNION, INTERSECT and EXCEPT.

use super::{Queries, Query};
use crate::random::schema::{TYPES, Type};

/// How often sets are put together how.
const OPERATIONS: &[(usize, &str)] =
    &[(40, "UNION ALL"), (25, "UNION"), (12, "INTERSECT"), (12, "EXCEPT"), (5, "INTERSECT ALL"), (5, "EXCEPT ALL")];

impl Queries<'_> {
    /// Two queries of the same types put together.
    pub(super) fn set_operation(&mut self, depth: usize) -> Query {
        let types: Vec<Type> = (0..self.dice.between(1, 3)).map(|_| self.dice.weighted(TYPES)).collect();
        let left = self.project(Some(&types), depth.min(1));
        let right = self.project(Some(&types), depth.min(1));
        let operation = self.dice.weighted(OPERATIONS);
        Query { sql: format!("{} {operation} {}", left.sql, right.sql), columns: left.columns }
    }
}
