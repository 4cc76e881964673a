//! Random statements that change tables.

use super::data::{literal, row, value};
use super::dice::Dice;
use super::expression::{Scope, expression, predicate};
use super::schema::Relation;

/// How often a table is changed how.
const CHANGES: &[(usize, Change)] = &[
    (55, Change::Insert),
    (14, Change::Update),
    (14, Change::Delete),
    (6, Change::OnConflict),
    (5, Change::Merge),
    (2, Change::Truncate),
    (4, Change::Copy),
];

#[derive(Debug, Clone, Copy)]
enum Change {
    Insert,
    Update,
    Delete,
    OnConflict,
    Merge,
    Truncate,
    Copy,
}

/// A statement that changes one of these tables.
pub fn change(dice: &mut Dice, tables: &[Relation]) -> String {
    let table = dice.pick(tables).clone();
    let other = dice.pick(tables).clone();
    match dice.weighted(CHANGES) {
        Change::Insert => insert(dice, &table, 6),
        Change::Update => update(dice, &table),
        Change::Delete => format!("DELETE FROM {} WHERE {}", table.name, predicate(dice, &scope(&table, ""), 1)),
        Change::OnConflict => on_conflict(dice, &table),
        Change::Merge => merge(dice, &table, &other),
        Change::Truncate => format!("TRUNCATE TABLE {}", table.name),
        Change::Copy => {
            let name = &table.name;
            format!("INSERT INTO {name} SELECT * FROM {name} WHERE {}", predicate(dice, &scope(&table, ""), 1))
        }
    }
}

/// Up to so many rows.
pub fn insert(dice: &mut Dice, table: &Relation, most: usize) -> String {
    let rows: Vec<String> = (0..dice.between(1, most)).map(|_| row(dice, table)).collect();
    format!("INSERT INTO {} VALUES {}", table.name, rows.join(", "))
}

fn scope(table: &Relation, prefix: &str) -> Scope {
    Scope { columns: table.columns.iter().map(|column| (format!("{prefix}{}", column.name), column.kind)).collect() }
}

/// `SET` of one column, which is not in the key; nothing if all are.
fn assignment(dice: &mut Dice, table: &Relation, scope: &Scope) -> Option<String> {
    let free: Vec<usize> = (0..table.columns.len()).filter(|place| !table.key.contains(place)).collect();
    if free.is_empty() {
        return None;
    }
    let column = &table.columns[*dice.pick(&free)];
    let new = if dice.chance(40) { value(dice, column.kind) } else { expression(dice, scope, column.kind, 1) };
    Some(format!("{} = {new}", column.name))
}

fn update(dice: &mut Dice, table: &Relation) -> String {
    let scope = scope(table, "");
    match assignment(dice, table, &scope) {
        Some(set) => format!("UPDATE {} SET {set} WHERE {}", table.name, predicate(dice, &scope, 1)),
        None => insert(dice, table, 3),
    }
}

fn on_conflict(dice: &mut Dice, table: &Relation) -> String {
    if table.key.is_empty() {
        return insert(dice, table, 3);
    }
    let key: Vec<&str> = table.key.iter().map(|place| table.columns[*place].name.as_str()).collect();
    let action = match assignment(dice, table, &scope(table, "excluded.")) {
        Some(set) if dice.chance(60) => format!("UPDATE SET {set}"),
        _ => "NOTHING".into(),
    };
    format!("{} ON CONFLICT ({}) DO {action}", insert(dice, table, 1), key.join(", "))
}

fn merge(dice: &mut Dice, table: &Relation, source: &Relation) -> String {
    let matched = match assignment(dice, table, &scope(table, "t.")) {
        Some(set) if dice.chance(60) => format!("UPDATE SET {set}"),
        _ => "DELETE".into(),
    };
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    // The source's first column may serve as the first of the target: both are BIGINT.
    let values: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(place, column)| if place == 0 { "s.a".into() } else { literal(dice, column.kind) })
        .collect();
    format!(
        "MERGE INTO {} AS t USING (SELECT DISTINCT a FROM {} WHERE a IS NOT NULL) AS s ON t.a = s.a \
         WHEN MATCHED THEN {matched} WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
        table.name,
        source.name,
        names.join(", "),
        values.join(", ")
    )
}
