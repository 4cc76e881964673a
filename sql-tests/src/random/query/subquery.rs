//! Conditions, with subqueries in them.

use super::Queries;
use crate::random::expression::{Scope, predicate};
use crate::random::schema::Type;

impl Queries<'_> {
    /// What stands after WHERE.
    pub(super) fn condition(&mut self, scope: &Scope, depth: usize) -> String {
        if !self.dice.chance(30) {
            return predicate(self.dice, scope, 2);
        }
        match self.subquery(scope, depth) {
            Some(subquery) if self.dice.chance(50) => format!("{} AND {subquery}", predicate(self.dice, scope, 1)),
            Some(subquery) => subquery,
            None => predicate(self.dice, scope, 2),
        }
    }

    /// A condition that asks another table.
    fn subquery(&mut self, scope: &Scope, depth: usize) -> Option<String> {
        let source = self.source(depth.saturating_sub(1).min(1));
        let within = &source.scope;
        let filter = predicate(self.dice, within, 1);
        let restricted = if self.dice.chance(40) { format!(" WHERE {filter}") } else { String::new() };
        let from = &source.sql;
        let not = if self.dice.chance(40) { "NOT " } else { "" };
        Some(match self.dice.below(7) {
            0..=2 => {
                let mut correlated = self.equality(within, scope, "=")?;
                if self.dice.chance(30) {
                    correlated = format!("{correlated} AND {filter}");
                }
                if self.dice.chance(15)
                    && let Some(other) = self.equality(within, scope, "<")
                {
                    correlated = format!("{correlated} AND {other}");
                }
                format!("{not}EXISTS (SELECT 1 FROM {from} WHERE {correlated})")
            }
            3 | 4 => {
                let (column, kind) = scope.pick(self.dice)?;
                let others = within.of(kind);
                let other = if others.is_empty() { return None } else { *self.dice.pick(&others) };
                format!("{column} {not}IN (SELECT {other} FROM {from}{restricted})")
            }
            5 => {
                let column = pick(self, scope, Type::BigInt)?;
                let other = pick(self, within, Type::BigInt)?;
                let function = *self.dice.pick(&["MAX", "MIN", "COUNT", "SUM"]);
                let comparison = *self.dice.pick(&["<", ">=", "="]);
                format!("{column} {comparison} (SELECT {function}({other}) FROM {from}{restricted})")
            }
            _ => {
                let column = pick(self, scope, Type::BigInt)?;
                let other = pick(self, within, Type::BigInt)?;
                let correlated = self.equality(within, scope, "=")?;
                let function = *self.dice.pick(&["MAX", "MIN", "COUNT", "SUM"]);
                let comparison = *self.dice.pick(&["<", ">=", "="]);
                format!("{column} {comparison} (SELECT {function}({other}) FROM {from} WHERE {correlated})")
            }
        })
    }
}

fn pick(queries: &mut Queries<'_>, scope: &Scope, kind: Type) -> Option<String> {
    let columns = scope.of(kind);
    (!columns.is_empty()).then(|| (*queries.dice.pick(&columns)).to_owned())
}
