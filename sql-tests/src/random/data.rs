//! Random values and rows: small domains, so that rows meet, repeat and vanish, and many NULLs.

use super::dice::Dice;
use super::schema::{Relation, Type};

/// A literal of a type, sometimes NULL.
pub fn value(dice: &mut Dice, kind: Type) -> String {
    if dice.chance(15) { "NULL".into() } else { literal(dice, kind) }
}

/// A literal of a type, never NULL. Floating-point numbers are multiples of a quarter: whatever the order in which they
/// are added, the sum is the same.
pub fn literal(dice: &mut Dice, kind: Type) -> String {
    match kind {
        Type::BigInt | Type::Int | Type::Opaque => match dice.below(12) {
            0 => "-1".into(),
            1 => dice.between(10, 99).to_string(),
            n => (n % 5).to_string(),
        },
        Type::Double => {
            // What is no number, too great for one, or equal to another one that looks different.
            if dice.chance(12) {
                let special = dice.pick(&["NaN", "Infinity", "-Infinity", "-0.0", "-0.0"]);
                return format!("CAST('{special}' AS DOUBLE)");
            }
            let quarters = dice.below(20);
            let sign = if quarters > 0 && dice.chance(15) { "-" } else { "" };
            format!("{sign}{}.{:02}", quarters / 4, quarters % 4 * 25)
        }
        Type::Decimal => {
            let sign = if dice.chance(15) { "-" } else { "" };
            format!("{sign}{}.{:02}", dice.below(4), dice.below(4) * 33)
        }
        Type::Text => (*dice.pick(&["''", "'x'", "'y'", "'xy'", "'Z'", "'a b'", "'ß'"])).into(),
        Type::Bool => (*dice.pick(&["TRUE", "FALSE"])).into(),
        Type::Date => format!("DATE '2024-01-{:02}'", dice.between(1, 5)),
        Type::List => {
            let items: Vec<String> = (0..dice.below(4)).map(|_| element(dice, Type::BigInt)).collect();
            format!("CAST(ARRAY[{}] AS BIGINT[])", items.join(", "))
        }
        Type::Struct => {
            format!("NAMED_STRUCT('x', {}, 'y', {})", element(dice, Type::BigInt), element(dice, Type::Text))
        }
        Type::Timestamp => format!("TIMESTAMP '2024-01-01 00:00:{:02}'", dice.below(60)),
    }
}

/// A part of a nested value: with its type even if it is NULL.
fn element(dice: &mut Dice, kind: Type) -> String {
    if dice.chance(15) { format!("CAST(NULL AS {})", kind.sql()) } else { literal(dice, kind) }
}

/// A row of a table, in parentheses.
pub fn row(dice: &mut Dice, table: &Relation) -> String {
    let values = table.columns.iter().enumerate().map(|(place, column)| match table.key.contains(&place) {
        // Keys are never NULL, and few, so that rows replace each other.
        true if matches!(column.kind, Type::BigInt | Type::Int) => dice.below(8).to_string(),
        true => literal(dice, column.kind),
        false => value(dice, column.kind),
    });
    format!("({})", values.collect::<Vec<_>>().join(", "))
}
