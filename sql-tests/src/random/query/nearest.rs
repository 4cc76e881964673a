//! Joins with the nearest row of a key: ASOF and, in event time, temporal ones.

use super::Queries;
use super::from::{From, scope};
use crate::random::expression::Scope;
use crate::random::schema::Type;

impl Queries<'_> {
    /// A source joined with the nearest row of another one; nothing if they have no columns for it.
    pub(super) fn nearest(&mut self, left: &From, depth: usize) -> Option<From> {
        if self.dice.chance(40)
            && let Some(temporal) = self.temporal(left)
        {
            return Some(temporal);
        }
        let right = self.source(depth.min(1));
        let condition = self.equality(&left.scope, &right.scope, "=")?;
        // Any type whose values follow each other will do for a time.
        let mut pairs = Vec::new();
        for (l, kind) in left.scope.usable() {
            if matches!(kind, Type::BigInt | Type::Int | Type::Timestamp | Type::Date | Type::Double | Type::Decimal) {
                pairs.extend(right.scope.of(kind).into_iter().map(|r| (l, r)));
            }
        }
        if pairs.is_empty() {
            return None;
        }
        let (l, r) = self.dice.pick(&pairs);
        let comparison = *self.dice.pick(&[">=", ">=", ">", "<=", "<"]);
        let kind = if self.dice.chance(40) { "LEFT ASOF JOIN" } else { "ASOF JOIN" };
        let sql = format!("{} {kind} {} MATCH_CONDITION ({l} {comparison} {r}) ON {condition}", left.sql, right.sql);
        Some(From { sql, scope: both(&left.scope, &right.scope) })
    }

    /// A join with the version of a row that was valid at a time of the left side.
    fn temporal(&mut self, left: &From) -> Option<From> {
        let versioned: Vec<_> = self.relations.iter().filter(|relation| relation.time.is_some()).collect();
        let times = left.scope.of(Type::Timestamp);
        if versioned.is_empty() || times.is_empty() {
            return None;
        }
        let table = *self.dice.pick(&versioned);
        let time = *self.dice.pick(&times);
        let alias = self.alias();
        let right = scope(&alias, table.columns.iter().map(|column| (column.name.as_str(), column.kind)));
        let condition = self.equality(&left.scope, &right, "=")?;
        let kind = if self.dice.chance(40) { "LEFT JOIN" } else { "JOIN" };
        let sql = format!("{} {kind} {} FOR SYSTEM_TIME AS OF {time} AS {alias} ON {condition}", left.sql, table.name);
        Some(From { sql, scope: both(&left.scope, &right) })
    }
}

fn both(left: &Scope, right: &Scope) -> Scope {
    Scope { columns: left.columns.iter().chain(&right.columns).cloned().collect() }
}
