//! OVER windows and the top-N queries made of them.

use super::{Queries, Query, direction, named};
use crate::random::expression::{Scope, expression};
use crate::random::schema::{Column, Type};

impl Queries<'_> {
    /// The first rows of each partition.
    pub(super) fn top(&mut self, depth: usize) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from.scope, depth);
        let items = self.items(&from.scope, false);
        let partition = self.partition(&from.scope);
        let order = self.total_order(&from.scope);
        let (list, mut columns) = named(&items);
        let alias = self.alias();
        let function = self.dice.weighted(&[(70, "ROW_NUMBER()"), (15, "RANK()"), (15, "DENSE_RANK()")]);
        let numbered =
            format!("SELECT {list}, {function} OVER ({partition}{order}) AS place FROM {}{filter}", from.sql);
        let bound = match self.dice.below(4) {
            0 => "place = 1".to_owned(),
            1 => format!("place < {}", self.dice.between(2, 4)),
            2 => format!("place BETWEEN 2 AND {}", self.dice.between(2, 4)),
            _ => format!("place <= {}", self.dice.between(1, 3)),
        };
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let mut outer = names.join(", ");
        if self.dice.chance(50) {
            outer = format!("{outer}, CAST(place AS BIGINT) AS c{}", columns.len());
            columns.push(Column { name: format!("c{}", columns.len()), kind: Type::BigInt });
        }
        Query { sql: format!("SELECT {outer} FROM ({numbered}) AS {alias} WHERE {bound}"), columns }
    }

    /// Rows beside what windows around them give.
    pub(super) fn over(&mut self, depth: usize) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from.scope, depth);
        let mut items = self.items(&from.scope, false);
        for _ in 0..self.dice.weighted(&[(70, 1), (30, 2)]) {
            let call = self.window_call(&from.scope);
            items.push(call);
        }
        let (list, columns) = named(&items);
        Query { sql: format!("SELECT {list} FROM {}{filter}", from.sql), columns }
    }

    fn window_call(&mut self, scope: &Scope) -> (String, Type) {
        let partition = self.partition(scope);
        let total = self.total_order(scope);
        let (column, kind) = scope.pick(self.dice).unwrap_or(("1".into(), Type::BigInt));
        let argument = if self.dice.chance(70) { column.clone() } else { expression(self.dice, scope, kind, 1) };
        let number = format!("CAST({} AS BIGINT)", expression(self.dice, scope, Type::BigInt, 1));
        let peers = format!("ORDER BY {column}{}", direction(self.dice));
        let frame = self.frame();
        match self.dice.below(12) {
            0 => (format!("CAST(ROW_NUMBER() OVER ({partition}{total}) AS BIGINT)"), Type::BigInt),
            1 => (format!("CAST(RANK() OVER ({partition}{peers}) AS BIGINT)"), Type::BigInt),
            2 => (format!("CAST(DENSE_RANK() OVER ({partition}{peers}) AS BIGINT)"), Type::BigInt),
            3 => (format!("PERCENT_RANK() OVER ({partition}{peers})"), Type::Opaque),
            4 => {
                (format!("CAST(NTILE({}) OVER ({partition}{total}) AS BIGINT)", self.dice.between(1, 3)), Type::BigInt)
            }
            5 => (format!("LAG({argument}) OVER ({partition}{total})"), kind),
            6 => (format!("LEAD({argument}, {}) OVER ({partition}{total})", self.dice.between(1, 2)), kind),
            7 => {
                let name = *self.dice.pick(&["FIRST_VALUE", "LAST_VALUE"]);
                (format!("{name}({argument}) OVER ({partition}{total}{frame})"), kind)
            }
            8 => (format!("SUM({number}) OVER ({partition}{total}{frame})"), Type::BigInt),
            9 => (format!("SUM({number}) OVER ({partition}{peers})"), Type::BigInt),
            10 => (format!("COUNT(*) OVER ({partition})"), Type::BigInt),
            _ => (format!("MAX({number}) OVER ({partition}{total}{frame})"), Type::BigInt),
        }
    }

    fn partition(&mut self, scope: &Scope) -> String {
        match scope.pick(self.dice) {
            Some((column, _)) if self.dice.chance(75) => format!("PARTITION BY {column} "),
            _ => String::new(),
        }
    }

    /// ORDER BY all columns: rows that are told apart by nothing are the same row.
    fn total_order(&mut self, scope: &Scope) -> String {
        let mut columns: Vec<&str> = scope.usable().into_iter().map(|(sql, _)| sql).collect();
        self.dice.shuffle(&mut columns);
        let order: Vec<String> = columns.iter().map(|column| format!("{column}{}", direction(self.dice))).collect();
        if order.is_empty() { "ORDER BY 1".into() } else { format!("ORDER BY {}", order.join(", ")) }
    }

    fn frame(&mut self) -> &'static str {
        const FRAMES: &[&str] = &[
            "",
            " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
            " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
            " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
            " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
            " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
        ];
        FRAMES[self.dice.below(FRAMES.len())]
    }
}
