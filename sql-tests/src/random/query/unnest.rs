//! UNNEST and series: rows made of values.

use super::Queries;
use super::from::{From, scope};
use crate::random::expression::{Scope, expression};
use crate::random::schema::Type;

impl Queries<'_> {
    /// A source joined with the elements of one of its lists, or with a series; nothing if it has no list.
    pub(super) fn unnest(&mut self, left: &From) -> Option<From> {
        let alias = self.alias();
        let lists = left.scope.of(Type::List);
        let (call, mut names) = if lists.is_empty() || self.dice.chance(15) {
            let numbers = left.scope.of(Type::BigInt);
            let end = if numbers.is_empty() { return None } else { format!("{} % 4", self.dice.pick(&numbers)) };
            (format!("GENERATE_SERIES(1, {end})"), vec!["n"])
        } else {
            (format!("UNNEST({})", self.dice.pick(&lists)), vec!["n"])
        };
        let mut ordinality = "";
        if call.starts_with("UNNEST") && self.dice.chance(30) {
            ordinality = " WITH ORDINALITY";
            names.push("place");
        }
        let named = format!("{call}{ordinality} AS {alias} ({})", names.join(", "));
        let sql = match self.dice.below(3) {
            0 if ordinality.is_empty() && call.starts_with("UNNEST") => {
                format!("{} LEFT JOIN {named} ON TRUE", left.sql)
            }
            _ => format!("{} CROSS JOIN {named}", left.sql),
        };
        // Ordinals are for the eye only: their type is not that of other numbers.
        let kinds = [Type::BigInt, Type::Opaque];
        let right = scope(&alias, names.into_iter().zip(kinds));
        Some(From { sql, scope: Scope { columns: left.scope.columns.iter().cloned().chain(right.columns).collect() } })
    }

    /// UNNEST among the items of a SELECT list.
    pub(super) fn unnested_item(&mut self, scope: &Scope) -> (String, Type) {
        (format!("UNNEST({})", expression(self.dice, scope, Type::List, 1)), Type::BigInt)
    }
}
