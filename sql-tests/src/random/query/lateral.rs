//! LATERAL: queries of the row beside which they stand; and DISTINCT ON, the first row of each group.

use super::from::{From, scope};
use super::{Queries, Query, direction, named, named_like};
use crate::random::expression::{Scope, expression, predicate};
use crate::random::schema::Type;

impl Queries<'_> {
    /// A source joined with a query that reads its columns.
    pub(super) fn lateral(&mut self, left: From, depth: usize) -> From {
        let alias = self.alias();
        let query = self.of_row(&left.scope, depth);
        let names = query.columns.iter().map(|column| (column.name.as_str(), column.kind));
        let right = scope(&alias, names);
        let columns = left.scope.columns.iter().chain(&right.columns).cloned().collect();
        let sql = match self.dice.below(5) {
            0 | 1 => format!("{} CROSS JOIN LATERAL ({}) AS {alias}", left.sql, query.sql),
            2 | 3 => format!("{} LEFT JOIN LATERAL ({}) AS {alias} ON TRUE", left.sql, query.sql),
            _ => format!("{} JOIN LATERAL ({}) AS {alias} ON {}", left.sql, query.sql, {
                predicate(self.dice, &Scope { columns: right.columns.clone() }, 1)
            }),
        };
        From { sql, scope: Scope { columns } }
    }

    /// A query that reads columns of `outer`.
    fn of_row(&mut self, outer: &Scope, depth: usize) -> Query {
        if self.dice.chance(10) {
            let items: Vec<_> = outer.pick(self.dice).into_iter().collect();
            let items: Vec<_> =
                items.into_iter().map(|(_, kind)| (expression(self.dice, outer, kind, 2), kind)).collect();
            let items = if items.is_empty() { vec![("1".to_owned(), Type::BigInt)] } else { items };
            let (list, columns) = named(&items);
            return Query { sql: format!("SELECT {list}"), columns };
        }
        let source = self.source(depth.min(1));
        let within = &source.scope;
        let comparison = if self.dice.chance(80) { "=" } else { *self.dice.pick(&["<", ">=", "<>"]) };
        let mut condition = self.equality(within, outer, comparison).unwrap_or_else(|| "TRUE".into());
        if self.dice.chance(15)
            && let Some(second) = self.equality(within, outer, "<=")
        {
            condition = format!("{condition} AND {second}");
        }
        if self.dice.chance(30) {
            condition = format!("{condition} AND {}", predicate(self.dice, within, 1));
        }
        let from = format!("FROM {} WHERE {condition}", source.sql);
        let items = self.items(within, false);
        let (list, columns) = named(&items);
        match self.dice.below(10) {
            // Top-N per row.
            0..=4 => {
                let offset = if self.dice.chance(25) { " OFFSET 1" } else { "" };
                let order = self.order(within);
                let limit = self.dice.between(1, 3);
                // Names that are none of the source's: ORDER BY would not know which of the two is meant.
                let (list, columns) = named_like("x", &items);
                Query { sql: format!("SELECT {list} {from} {order} LIMIT {limit}{offset}"), columns }
            }
            5 | 6 => {
                let argument = expression(self.dice, within, Type::BigInt, 1);
                let function = *self.dice.pick(&["SUM", "MIN", "MAX", "COUNT"]);
                let items = [("COUNT(*)".to_owned(), Type::BigInt), (format!("{function}({argument})"), Type::BigInt)];
                let (list, columns) = named(&items);
                Query { sql: format!("SELECT {list} {from}"), columns }
            }
            7 => match within.pick(self.dice) {
                Some((group, kind)) => {
                    let items = [(group.clone(), kind), ("COUNT(*)".to_owned(), Type::BigInt)];
                    let (list, columns) = named(&items);
                    Query { sql: format!("SELECT {list} {from} GROUP BY {group}"), columns }
                }
                None => Query { sql: format!("SELECT {list} {from}"), columns },
            },
            8 => Query { sql: format!("SELECT DISTINCT {list} {from}"), columns },
            _ => Query { sql: format!("SELECT {list} {from}"), columns },
        }
    }

    /// SELECT DISTINCT ON one or two columns, by an order that may leave rows equal.
    pub(super) fn distinct_on(&mut self, depth: usize) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from.scope, depth);
        let (list, columns) = named_like("x", &self.items(&from.scope, false));
        let mut keys: Vec<String> = from.scope.usable().into_iter().map(|(sql, _)| sql.to_owned()).collect();
        self.dice.shuffle(&mut keys);
        let count = self.dice.weighted(&[(70, 1), (30, 2)]);
        let others = keys.split_off(count.min(keys.len()));
        if keys.is_empty() {
            return Query { sql: format!("SELECT {list} FROM {}{filter}", from.sql), columns };
        }
        let mut order: Vec<String> = Vec::new();
        if self.dice.chance(85) {
            let later = others.into_iter().take(self.dice.below(3));
            order = keys.iter().cloned().chain(later).map(|key| format!("{key}{}", direction(self.dice))).collect();
        }
        let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
        let sql = format!("SELECT DISTINCT ON ({}) {list} FROM {}{filter}{order}", keys.join(", "), from.sql);
        Query { sql, columns }
    }
}
