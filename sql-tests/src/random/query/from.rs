//! FROM: tables, views, subqueries and constant rows, and the joins between them.

use super::Queries;
use crate::random::data::literal;
use crate::random::expression::{Scope, predicate};
use crate::random::schema::Type;

/// A FROM clause without the word, and what can be named after it.
pub(super) struct From {
    pub(super) sql: String,
    pub(super) scope: Scope,
}

/// How often sources are joined how.
const JOINS: &[(usize, Join)] = &[
    (40, Join::On("JOIN")),
    (25, Join::On("LEFT JOIN")),
    (10, Join::On("RIGHT JOIN")),
    (10, Join::On("FULL JOIN")),
    (5, Join::Inequality("JOIN")),
    (3, Join::Inequality("LEFT JOIN")),
    (4, Join::Cross),
];

/// In how many of a hundred joins a list of the left side is unnested, if there is one.
const UNNEST: usize = 25;

/// In how many of a hundred joins each row meets only the nearest one.
const NEAREST: usize = 12;

#[derive(Debug, Clone, Copy)]
enum Join {
    /// With at least one equality.
    On(&'static str),
    /// With a condition that is no equality.
    Inequality(&'static str),
    Cross,
}

impl Queries<'_> {
    /// One to three sources.
    pub(super) fn from(&mut self, depth: usize) -> From {
        let mut from = self.source(depth);
        let joins = self.dice.weighted(&[(50, 0), (38, 1), (12, 2)]);
        for _ in 0..joins {
            if self.dice.chance(12) {
                from = self.lateral(from, depth);
                continue;
            }
            if self.dice.chance(UNNEST)
                && let Some(unnested) = self.unnest(&from)
            {
                from = unnested;
                continue;
            }
            if self.dice.chance(NEAREST)
                && let Some(joined) = self.nearest(&from, depth)
            {
                from = joined;
                continue;
            }
            let right = self.source(depth.min(1));
            let join = self.dice.weighted(JOINS);
            from = self.join(from, join, right);
        }
        from
    }

    fn join(&mut self, left: From, join: Join, right: From) -> From {
        let scope = Scope { columns: left.scope.columns.iter().chain(&right.scope.columns).cloned().collect() };
        let equality = self.equality(&left.scope, &right.scope, "=");
        let sql = match (join, equality) {
            (Join::On(kind), Some(equality)) => {
                let mut condition = equality;
                if self.dice.chance(15)
                    && let Some(second) = self.equality(&left.scope, &right.scope, "=")
                {
                    condition = format!("{condition} AND {second}");
                }
                if self.dice.chance(30) {
                    condition = format!("{condition} AND {}", predicate(self.dice, &scope, 1));
                }
                format!("{} {kind} {} ON {condition}", left.sql, right.sql)
            }
            (Join::Inequality(kind), Some(_)) => {
                let comparison = *self.dice.pick(&["<", "<=", ">", "<>"]);
                let condition = self.equality(&left.scope, &right.scope, comparison).unwrap_or_else(|| "TRUE".into());
                format!("{} {kind} {} ON {condition}", left.sql, right.sql)
            }
            _ => format!("{} CROSS JOIN {}", left.sql, right.sql),
        };
        From { sql, scope }
    }

    /// A comparison of a column here with one there.
    pub(super) fn equality(&mut self, left: &Scope, right: &Scope, comparison: &str) -> Option<String> {
        let usable = left.usable().into_iter();
        let pairs: Vec<(&str, &str, Type)> = usable
            .filter(|(_, kind)| comparison == "=" || !kind.is_nested())
            .flat_map(|(l, kind)| right.of(kind).into_iter().map(move |r| (l, r, kind)))
            .collect();
        // Numbers meet more often than anything else.
        let numbers: Vec<_> = pairs.iter().filter(|(_, _, kind)| *kind == Type::BigInt).copied().collect();
        let pairs = if numbers.is_empty() || self.dice.chance(30) { pairs } else { numbers };
        (!pairs.is_empty()).then(|| {
            let (l, r, _) = self.dice.pick(&pairs);
            format!("{l} {comparison} {r}")
        })
    }

    /// Something to read from.
    pub(super) fn source(&mut self, depth: usize) -> From {
        let alias = self.alias();
        if depth > 0 && self.dice.chance(20) {
            let query = self.query(depth - 1);
            let scope = scope(&alias, query.columns.iter().map(|c| (c.name.as_str(), c.kind)));
            return From { sql: format!("({}) AS {alias}", query.sql), scope };
        }
        if self.dice.chance(3) {
            let rows: Vec<String> = (0..self.dice.between(1, 3))
                .map(|_| format!("({}, {})", literal(self.dice, Type::BigInt), literal(self.dice, Type::Text)))
                .collect();
            let scope = scope(&alias, [("a", Type::BigInt), ("b", Type::Text)]);
            return From { sql: format!("(VALUES {}) AS {alias} (a, b)", rows.join(", ")), scope };
        }
        let relation = self.dice.pick(self.relations);
        let time = relation.columns.iter().find(|column| column.kind == Type::Timestamp);
        match time {
            Some(time) if self.dice.chance(35) => self.window(&relation.clone(), &time.name.clone(), &alias),
            _ => {
                let scope = scope(&alias, relation.columns.iter().map(|c| (c.name.as_str(), c.kind)));
                From { sql: format!("{} AS {alias}", relation.name), scope }
            }
        }
    }
}

/// The columns of a source that is called so.
pub(super) fn scope<'a>(alias: &str, columns: impl IntoIterator<Item = (&'a str, Type)>) -> Scope {
    Scope { columns: columns.into_iter().map(|(name, kind)| (format!("{alias}.{name}"), kind)).collect() }
}
