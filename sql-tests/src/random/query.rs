//! Random queries. Each is well typed, and its answer is the same however it is computed: where an order decides, it is an
//! order of all that can be seen.

mod aggregate;
mod call;
mod from;
mod lateral;
mod nearest;
mod over;
mod set;
mod subquery;
mod unnest;
mod window;

use super::dice::Dice;
use super::expression::{Scope, expression};
use super::schema::{Column, Relation, TYPES, Type};

/// A query with the columns of its result.
#[derive(Debug, Clone)]
pub struct Query {
    /// Its text.
    pub sql: String,
    /// Columns of its result.
    pub columns: Vec<Column>,
}

/// How often a query has which shape.
const SHAPES: &[(usize, Shape)] = &[
    (26, Shape::Project),
    (36, Shape::Aggregate),
    (7, Shape::Top),
    (14, Shape::Over),
    (7, Shape::DistinctOn),
    (7, Shape::Limit),
    (10, Shape::Set),
    (5, Shape::With),
];

#[derive(Debug, Clone, Copy)]
enum Shape {
    Project,
    Aggregate,
    Top,
    Over,
    DistinctOn,
    Limit,
    Set,
    With,
}

/// Makes up queries over some tables and views.
pub struct Queries<'a> {
    dice: &'a mut Dice,
    relations: &'a [Relation],
    aliases: usize,
}

impl<'a> Queries<'a> {
    /// `relations` must not be empty.
    pub fn new(dice: &'a mut Dice, relations: &'a [Relation]) -> Self {
        Self { dice, relations, aliases: 0 }
    }

    /// A query; `depth` bounds how deep queries nest.
    pub fn query(&mut self, depth: usize) -> Query {
        match self.dice.weighted(SHAPES) {
            Shape::Aggregate => self.aggregate(depth),
            Shape::Top => self.top(depth),
            Shape::Over => self.over(depth),
            Shape::DistinctOn => self.distinct_on(depth),
            Shape::Limit => self.limit(depth),
            Shape::Set => self.set_operation(depth),
            Shape::With if depth > 0 => self.with(depth),
            Shape::Project | Shape::With => self.project(None, depth),
        }
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases - 1)
    }

    /// SELECT ... FROM ... WHERE, with these types if they are given.
    fn project(&mut self, types: Option<&[Type]>, depth: usize) -> Query {
        let from = self.from(depth);
        let filter = self.filter(&from.scope, depth);
        let distinct = if self.dice.chance(15) { "DISTINCT " } else { "" };
        let mut items = match types {
            Some(types) => {
                types.iter().map(|kind| (expression(self.dice, &from.scope, *kind, 2), *kind)).collect::<Vec<_>>()
            }
            None => self.items(&from.scope, distinct.is_empty()),
        };
        if types.is_none() && !from.scope.of(Type::List).is_empty() && self.dice.chance(15) {
            let item = self.unnested_item(&from.scope);
            items.push(item);
        } else if types.is_none() && self.dice.chance(12) {
            items.extend(self.asked(&from.scope, depth));
        }
        // UNNEST in the list does not know a column of the input from an item of that name.
        let letter = if items.iter().any(|(sql, _)| sql.starts_with("UNNEST")) { "u" } else { "c" };
        let (list, columns) = named_like(letter, &items);
        Query { sql: format!("SELECT {distinct}{list} FROM {}{filter}", from.sql), columns }
    }

    /// A subquery as a value.
    fn asked(&mut self, scope: &Scope, depth: usize) -> Option<(String, Type)> {
        if self.dice.chance(60) {
            return self.scalar(scope, depth);
        }
        let condition = self.subquery(scope, depth)?;
        Some(match self.dice.chance(50) {
            true => (format!("({condition})"), Type::Bool),
            false => (format!("CASE WHEN {condition} THEN 1 ELSE 0 END"), Type::BigInt),
        })
    }

    /// One to four expressions.
    fn items(&mut self, scope: &Scope, opaque: bool) -> Vec<(String, Type)> {
        let looked_at = scope.of(Type::Opaque);
        let mut items = Vec::new();
        for _ in 0..self.dice.between(1, 4) {
            items.push(match scope.pick(self.dice) {
                Some(column) if self.dice.chance(60) => column,
                Some((_, kind)) => (expression(self.dice, scope, kind, 2), kind),
                None => {
                    let kind = self.dice.weighted(TYPES);
                    (expression(self.dice, scope, kind, 1), kind)
                }
            });
        }
        if opaque && !looked_at.is_empty() && self.dice.chance(50) {
            items.push(((*self.dice.pick(&looked_at)).to_owned(), Type::Opaque));
        }
        items
    }

    /// A WHERE clause, or nothing.
    fn filter(&mut self, scope: &Scope, depth: usize) -> String {
        if self.dice.chance(50) { format!(" WHERE {}", self.condition(scope, depth)) } else { String::new() }
    }

    /// ORDER BY all columns, LIMIT, perhaps OFFSET.
    fn limit(&mut self, depth: usize) -> Query {
        let Query { sql, columns } = self.project(None, depth);
        if columns.iter().any(|column| column.kind == Type::Opaque) {
            return Query { sql, columns };
        }
        let mut order: Vec<String> =
            columns.iter().map(|column| format!("{}{}", column.name, direction(self.dice))).collect();
        self.dice.shuffle(&mut order);
        let offset = if self.dice.chance(30) { format!(" OFFSET {}", self.dice.below(4)) } else { String::new() };
        let sql = format!("{sql} ORDER BY {} LIMIT {}{offset}", order.join(", "), self.dice.between(1, 6));
        Query { sql, columns }
    }

    /// A query over a common table expression that it may read twice.
    fn with(&mut self, depth: usize) -> Query {
        let inner = self.query(depth - 1);
        let name = self.alias();
        let cte = Relation { name: name.clone(), columns: inner.columns.clone(), key: Vec::new(), time: None };
        let relations: Vec<Relation> = self.relations.iter().cloned().chain([cte.clone(), cte.clone(), cte]).collect();
        let mut outer = Queries { dice: self.dice, relations: &relations, aliases: self.aliases };
        let query = outer.project(None, 0);
        self.aliases = outer.aliases;
        Query { sql: format!("WITH {name} AS ({}) {}", inner.sql, query.sql), columns: query.columns }
    }
}

fn direction(dice: &mut Dice) -> &'static str {
    const DIRECTIONS: &[&str] = &["", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST"];
    DIRECTIONS[dice.below(DIRECTIONS.len())]
}

/// A SELECT list that names its items c0, c1, ...
fn named(items: &[(String, Type)]) -> (String, Vec<Column>) {
    named_like("c", items)
}

/// A SELECT list that names its items by a letter and their number.
fn named_like(letter: &str, items: &[(String, Type)]) -> (String, Vec<Column>) {
    let columns: Vec<_> =
        items.iter().enumerate().map(|(n, (_, kind))| Column { name: format!("{letter}{n}"), kind: *kind }).collect();
    let list: Vec<_> =
        items.iter().zip(&columns).map(|((sql, _), column)| format!("{sql} AS {}", column.name)).collect();
    (list.join(", "), columns)
}
