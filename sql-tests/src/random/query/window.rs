//! Window table functions over tables, views and queries.

use super::Queries;
use super::from::{From, scope};
use crate::random::expression::predicate;
use crate::random::schema::{Relation, Type};

impl Queries<'_> {
    /// A window table function over a table or view, by its column `time`.
    pub(super) fn window(&mut self, relation: &Relation, time: &str, alias: &str) -> From {
        let name = &relation.name;
        let columns = || relation.columns.iter().map(|c| (c.name.as_str(), c.kind));
        // A query in place of the table.
        let within = self.alias();
        let filter = predicate(self.dice, &scope(&within, columns()), 1);
        let of = if self.dice.chance(20) {
            format!("(SELECT * FROM {name} AS {within} WHERE {filter})")
        } else {
            name.clone()
        };
        let call = match self.dice.below(8) {
            0 => format!("TABLE(TUMBLE(TABLE {name}, DESCRIPTOR({time}), INTERVAL '10' SECOND))"),
            1 => format!("TUMBLE({of}, {time}, INTERVAL '20' SECOND)"),
            2 => format!("TABLE(HOP(TABLE {name}, DESCRIPTOR({time}), INTERVAL '10' SECOND, INTERVAL '20' SECOND))"),
            3 => format!("HOP({of}, {time}, INTERVAL '5' SECOND, INTERVAL '15' SECOND)"),
            4 | 5 => format!("CUMULATE({of}, {time}, INTERVAL '5' SECOND, INTERVAL '20' SECOND)"),
            _ => {
                let keys: Vec<&str> = columns().filter(|(_, kind)| *kind != Type::Opaque).map(|(key, _)| key).collect();
                let key = match self.dice.chance(75) {
                    true => format!(" PARTITION BY {}", self.dice.pick(&keys)),
                    false => String::new(),
                };
                format!("SESSION({of}{key}, {time}, INTERVAL '{}' SECOND)", self.dice.pick(&["3", "8"]))
            }
        };
        let bounds = [("window_start", Type::Timestamp), ("window_end", Type::Timestamp)];
        From { sql: format!("{call} AS {alias}"), scope: scope(alias, columns().chain(bounds)) }
    }
}
