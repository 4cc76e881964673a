//! GROUP BY and aggregates.

use super::{Queries, Query, named};
use crate::random::expression::{Scope, expression, predicate};
use crate::random::schema::Type;

/// Aggregates with one argument: what they take, and the type of the result if it is not that of the argument.
const FUNCTIONS: &[(usize, Function)] = &[
    (12, Function::Count),
    (14, Function::Sum),
    (8, Function::Avg),
    (12, Function::Same("MIN")),
    (12, Function::Same("MAX")),
    (3, Function::Bool("BOOL_AND")),
    (3, Function::Bool("BOOL_OR")),
    (4, Function::Inexact("STDDEV")),
    (3, Function::Inexact("VAR_POP")),
    (3, Function::Bits("BIT_XOR")),
    (2, Function::Bits("BIT_OR")),
    (3, Function::List),
    (4, Function::Texts),
    (3, Function::Ordered("FIRST_VALUE")),
    (3, Function::Ordered("LAST_VALUE")),
    (3, Function::Median),
];

/// In how many of a hundred aggregates with groups there are GROUPING SETS.
const GROUPING_SETS: usize = 12;

#[derive(Debug, Clone, Copy)]
enum Function {
    Count,
    Sum,
    Avg,
    /// Of any type, and gives that type.
    Same(&'static str),
    Bool(&'static str),
    /// Of numbers; compared with a tolerance.
    Inexact(&'static str),
    Bits(&'static str),
    List,
    Texts,
    Ordered(&'static str),
    Median,
}

impl Queries<'_> {
    /// SELECT with aggregates, with or without groups.
    pub(super) fn aggregate(&mut self, depth: usize) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from.scope, depth);
        let groups = self.groups(&from.scope);
        let calls: Vec<(String, Type)> = (0..self.dice.between(1, 3)).map(|_| self.call(&from.scope)).collect();
        let results = Scope { columns: groups.iter().chain(&calls).cloned().collect() };
        let mut items = results.columns.clone();
        if self.dice.chance(25)
            && let Some((_, kind)) = results.pick(self.dice)
        {
            items.push((expression(self.dice, &results, kind, 2), kind));
        }
        let (list, columns) = named(&items);
        let group_by = self.group_by(&groups);
        let having = match self.dice.below(30) {
            0..=6 => format!(" HAVING {}", predicate(self.dice, &results, 1)),
            7 => {
                // An aggregate of this query cannot stand in another one.
                let plain = groups.iter().filter(|(sql, _)| !sql.contains([' ', '(']));
                let groups = Scope { columns: plain.cloned().collect() };
                self.subquery(&groups, depth).map_or_else(String::new, |condition| format!(" HAVING {condition}"))
            }
            _ => String::new(),
        };
        Query { sql: format!("SELECT {list} FROM {}{filter}{group_by}{having}", from.sql), columns }
    }

    /// Expressions to group by. Each names a column: a bare number would be read as a place in the SELECT list.
    fn groups(&mut self, scope: &Scope) -> Vec<(String, Type)> {
        let mut groups: Vec<(String, Type)> = Vec::new();
        for _ in 0..self.dice.weighted(&[(15, 0), (55, 1), (30, 2)]) {
            let Some((column, kind)) = scope.pick(self.dice) else { break };
            let computed = expression(self.dice, scope, kind, 1);
            let group = if scope.names_column(&computed) && self.dice.chance(30) { computed } else { column };
            if !groups.iter().any(|(known, _)| *known == group) {
                groups.push((group, kind));
            }
        }
        groups
    }

    fn group_by(&mut self, groups: &[(String, Type)]) -> String {
        let list: Vec<&str> = groups.iter().map(|(sql, _)| sql.as_str()).collect();
        if list.is_empty() {
            return String::new();
        }
        let all = list.join(", ");
        if !self.dice.chance(GROUPING_SETS) {
            return format!(" GROUP BY {all}");
        }
        match self.dice.below(3) {
            0 => format!(" GROUP BY ROLLUP ({all})"),
            1 => format!(" GROUP BY CUBE ({all})"),
            _ if list.len() > 1 => format!(" GROUP BY GROUPING SETS (({all}), ({}), ())", list[0]),
            _ => format!(" GROUP BY GROUPING SETS (({all}), ())"),
        }
    }

    /// An aggregate over a scope, perhaps with DISTINCT and FILTER.
    fn call(&mut self, scope: &Scope) -> (String, Type) {
        let filter = if self.dice.chance(18) {
            format!(" FILTER (WHERE {})", predicate(self.dice, scope, 1))
        } else {
            String::new()
        };
        let Some((call, kind)) = self.function(scope) else { return (format!("COUNT(*){filter}"), Type::BigInt) };
        (format!("{call}{filter}"), kind)
    }

    fn function(&mut self, scope: &Scope) -> Option<(String, Type)> {
        if self.dice.chance(18) {
            return None;
        }
        let function = self.dice.weighted(FUNCTIONS);
        let distinct = if self.dice.chance(18) { "DISTINCT " } else { "" };
        let numbers: Vec<Type> = scope.usable().iter().map(|(_, kind)| *kind).filter(|kind| kind.is_number()).collect();
        let any = scope.pick(self.dice).map(|(_, kind)| kind)?;
        let number = (!numbers.is_empty()).then(|| *self.dice.pick(&numbers));
        let kind = match function {
            Function::Sum | Function::Avg | Function::Inexact(_) | Function::Median => number?,
            Function::Bool(_) => Type::Bool,
            Function::Bits(_) => Type::BigInt,
            Function::Texts => Type::Text,
            Function::Same(_) if any == Type::Bool => Type::BigInt,
            _ => any,
        };
        let argument = expression(self.dice, scope, kind, 1);
        // A bare number in ORDER BY would be read as a place.
        let argument = match function {
            Function::List | Function::Ordered(_) if !scope.names_column(&argument) => return None,
            _ => argument,
        };
        Some(match function {
            Function::Count => (format!("COUNT({distinct}{argument})"), Type::BigInt),
            Function::Sum => {
                let kind = if kind == Type::Int { Type::BigInt } else { kind };
                (format!("SUM({distinct}{argument})"), kind)
            }
            // The division makes it a number that cannot be told exactly.
            Function::Avg => (format!("AVG({distinct}{argument})"), Type::Opaque),
            Function::Same(name) | Function::Bool(name) | Function::Bits(name) => (format!("{name}({argument})"), kind),
            Function::Inexact(name) => (format!("{name}({argument})"), Type::Opaque),
            Function::Median => (format!("MEDIAN({argument})"), Type::Opaque),
            Function::List => {
                let kind = if kind == Type::BigInt { Type::List } else { Type::Opaque };
                (format!("ARRAY_AGG({distinct}{argument} ORDER BY {argument})"), kind)
            }
            Function::Texts => (format!("STRING_AGG({distinct}{argument}, ',' ORDER BY {argument})"), kind),
            Function::Ordered(name) => (format!("{name}({argument} ORDER BY {argument})"), kind),
        })
    }
}
