//! Conditions and values with subqueries in them.

use super::{Queries, direction};
use crate::random::expression::{Scope, predicate};
use crate::random::schema::Type;

impl Queries<'_> {
    /// What stands after WHERE.
    pub(super) fn condition(&mut self, scope: &Scope, depth: usize) -> String {
        if !self.dice.chance(30) {
            return predicate(self.dice, scope, 2);
        }
        let Some(subquery) = self.subquery(scope, depth) else { return predicate(self.dice, scope, 2) };
        match self.dice.below(10) {
            0..=3 => format!("{} AND {subquery}", predicate(self.dice, scope, 1)),
            4 => format!("({} OR {subquery})", predicate(self.dice, scope, 1)),
            5 => format!("NOT ({subquery})"),
            6 => format!("({subquery}) IS NOT TRUE"),
            _ => subquery,
        }
    }

    /// A condition that asks another table.
    pub(super) fn subquery(&mut self, scope: &Scope, depth: usize) -> Option<String> {
        let not = if self.dice.chance(40) { "NOT " } else { "" };
        match self.dice.below(8) {
            0..=2 => {
                let rest = self.correlated(scope, depth)?;
                let (what, limit) = match self.dice.below(8) {
                    0 => ("COUNT(*)", String::new()),
                    1 => ("1", format!(" LIMIT 1 OFFSET {}", self.dice.below(3))),
                    _ => ("1", String::new()),
                };
                // Which row is left out is not seen, but LIMIT wants an order.
                let order = if limit.is_empty() { String::new() } else { format!(" ORDER BY {}", rest.order) };
                Some(format!("{not}EXISTS (SELECT {what} {}{order}{limit})", rest.sql))
            }
            3..=5 => {
                let (column, kind) = scope.pick(self.dice)?;
                let rest = if self.dice.chance(50) { self.correlated(scope, depth)? } else { self.separate(depth) };
                let other = one_of(self, &rest.scope, kind)?;
                Some(format!("{column} {not}IN (SELECT {other} {})", rest.sql))
            }
            _ => {
                let column = one_of(self, scope, Type::BigInt)?;
                let (value, _) = self.scalar(scope, depth)?;
                Some(format!("{column} {} {value}", self.dice.pick(&["<", ">=", "=", "<>"])))
            }
        }
    }

    /// A subquery that gives one value.
    pub(super) fn scalar(&mut self, scope: &Scope, depth: usize) -> Option<(String, Type)> {
        let rest = if self.dice.chance(65) { self.correlated(scope, depth)? } else { self.separate(depth) };
        let other = one_of(self, &rest.scope, Type::BigInt)?;
        let value = match self.dice.below(6) {
            0 => format!("(SELECT COUNT(*) {})", rest.sql),
            1 => format!("(SELECT COALESCE(SUM({other}), 7) {})", rest.sql),
            2 => format!("(SELECT {other} {} ORDER BY {}{} LIMIT 1)", rest.sql, rest.order, direction(self.dice)),
            _ => format!("(SELECT {}({other}) {})", self.dice.pick(&["MAX", "MIN", "COUNT", "SUM"]), rest.sql),
        };
        Some((value, Type::BigInt))
    }

    /// FROM and WHERE of a subquery that does not know the row for which it is asked.
    fn separate(&mut self, depth: usize) -> Rest {
        let source = self.source(depth.saturating_sub(1).min(1));
        let filter = predicate(self.dice, &source.scope, 1);
        let restricted = if self.dice.chance(40) { format!(" WHERE {filter}") } else { String::new() };
        self.rest(format!("FROM {}{restricted}", source.sql), source.scope)
    }

    /// FROM and WHERE of a subquery that compares its rows with that for which it is asked.
    fn correlated(&mut self, outer: &Scope, depth: usize) -> Option<Rest> {
        let source = self.source(depth.saturating_sub(1).min(1));
        let comparison = if self.dice.chance(85) { "=" } else { *self.dice.pick(&["<", "<>", "IS NOT DISTINCT FROM"]) };
        let mut condition = self.equality(&source.scope, outer, comparison)?;
        if self.dice.chance(30) {
            condition = format!("{condition} AND {}", predicate(self.dice, &source.scope, 1));
        }
        if self.dice.chance(15)
            && let Some(other) = self.equality(&source.scope, outer, "<")
        {
            condition = format!("{condition} AND {other}");
        }
        Some(self.rest(format!("FROM {} WHERE {condition}", source.sql), source.scope))
    }

    fn rest(&mut self, sql: String, scope: Scope) -> Rest {
        let order = scope.pick(self.dice).map_or_else(|| "1".to_owned(), |(column, _)| column);
        Rest { sql, scope, order }
    }
}

/// A subquery without its SELECT list.
struct Rest {
    sql: String,
    scope: Scope,
    /// A column by which its rows can be ordered.
    order: String,
}

fn one_of(queries: &mut Queries<'_>, scope: &Scope, kind: Type) -> Option<String> {
    let columns = scope.of(kind);
    (!columns.is_empty()).then(|| (*queries.dice.pick(&columns)).to_owned())
}
