//! OVER windows and the top-N queries made of them.

use super::{Queries, Query, named};
use crate::random::schema::{Column, Type};

impl Queries<'_> {
    /// The first rows of each partition.
    pub(super) fn top(&mut self, depth: usize) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from.scope, depth);
        let items = self.items(&from.scope, false);
        let partition = self.partition(&from.scope);
        let order = self.order(&from.scope);
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
        if self.dice.chance(20) {
            let bound = bound.replacen("place", &format!("{function} OVER ({partition}{order})"), 1);
            return Query { sql: format!("SELECT {list} FROM {}{filter} QUALIFY {bound}", from.sql), columns };
        }
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
        let mut named_window = String::new();
        if self.dice.chance(15) {
            named_window = format!(" WINDOW w AS ({}{})", self.partition(&from.scope), self.order(&from.scope));
            items.push(("COUNT(*) OVER w".into(), Type::BigInt));
            items.push(("CAST(ROW_NUMBER() OVER w AS BIGINT)".into(), Type::BigInt));
        }
        let (list, columns) = named(&items);
        Query { sql: format!("SELECT {list} FROM {}{filter}{named_window}", from.sql), columns }
    }
}
