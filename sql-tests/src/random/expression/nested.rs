//! Lists and structs: made, changed and taken apart.

use super::{Scope, expression};
use crate::random::dice::Dice;
use crate::random::schema::Type;

/// A list of numbers.
pub(super) fn list(dice: &mut Dice, scope: &Scope, depth: usize) -> String {
    let number = expression(dice, scope, Type::BigInt, depth);
    match dice.below(4) {
        0 => format!("MAKE_ARRAY({number}, {})", expression(dice, scope, Type::BigInt, depth)),
        1 => format!("ARRAY_APPEND({}, {number})", expression(dice, scope, Type::List, depth)),
        // Without ARRAY_CONCAT: DataFusion 53 promises one name for the elements and gives another.
        2 => format!("ARRAY_PREPEND({number}, {})", expression(dice, scope, Type::List, depth)),
        _ => expression(dice, scope, Type::List, depth),
    }
}

/// A struct of a number and a text.
pub(super) fn structure(dice: &mut Dice, scope: &Scope, depth: usize) -> String {
    let number = expression(dice, scope, Type::BigInt, depth);
    let text = expression(dice, scope, Type::Text, depth);
    format!("NAMED_STRUCT('x', {number}, 'y', {text})")
}

/// A number in a nested column, or about it.
pub(super) fn integer(dice: &mut Dice, scope: &Scope) -> Option<String> {
    let columns: Vec<_> = scope.usable().into_iter().filter(|(_, kind)| kind.is_nested()).collect();
    if columns.is_empty() {
        return None;
    }
    let (column, kind) = *dice.pick(&columns);
    Some(match kind {
        Type::Struct => format!("{column}['x']"),
        _ if dice.chance(50) => format!("{column}[{}]", dice.between(1, 2)),
        _ => format!("CAST(CARDINALITY({column}) AS BIGINT)"),
    })
}

/// A condition on a nested column.
pub(super) fn predicate(dice: &mut Dice, column: &str, operand: &str, kind: Type) -> String {
    match dice.below(4) {
        0 => format!("({column} IS NULL)"),
        1 => format!("({column} = {operand})"),
        2 if kind == Type::List => format!("ARRAY_HAS({operand}, {})", dice.below(5)),
        _ if kind == Type::List => format!("({column}[1] > {})", dice.below(4)),
        2 => format!("({column}['y'] = 'x')"),
        _ => format!("({column}['x'] < {})", dice.below(4)),
    }
}
