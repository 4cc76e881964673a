//! Random expressions that are well typed and never fail: nothing is divided by zero, no number grows beyond its type.

mod nested;

use super::data::{literal, value};
use super::dice::Dice;
use super::schema::Type;

/// The columns that an expression can name, as SQL, with their types.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Such as `t0.a`.
    pub columns: Vec<(String, Type)>,
}

impl Scope {
    /// The columns of a type.
    pub fn of(&self, kind: Type) -> Vec<&str> {
        self.columns.iter().filter(|(_, k)| *k == kind).map(|(sql, _)| sql.as_str()).collect()
    }

    /// The columns from which something can be computed.
    pub fn usable(&self) -> Vec<(&str, Type)> {
        self.columns.iter().filter(|(_, kind)| *kind != Type::Opaque).map(|(sql, kind)| (sql.as_str(), *kind)).collect()
    }

    /// Whether an expression names a column at all.
    pub fn names_column(&self, expression: &str) -> bool {
        self.columns.iter().any(|(name, _)| expression.contains(name.as_str()))
    }

    /// A column from which something can be computed.
    pub fn pick(&self, dice: &mut Dice) -> Option<(String, Type)> {
        let usable = self.usable();
        (!usable.is_empty()).then(|| dice.pick(&usable)).map(|(sql, kind)| ((*sql).to_owned(), *kind))
    }
}

const COMPARISONS: &[&str] = &["=", "<>", "<", "<=", ">", ">=", "=", "<", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"];

/// An expression of a type over the columns of a scope; `depth` bounds its nesting.
pub fn expression(dice: &mut Dice, scope: &Scope, kind: Type, depth: usize) -> String {
    let columns = scope.of(kind);
    if depth == 0 || dice.chance(45) {
        return match columns.is_empty() || dice.chance(12) {
            true if kind != Type::Struct && dice.chance(10) => format!("CAST(NULL AS {})", kind.sql()),
            true => typed_literal(dice, kind),
            false => (*dice.pick(&columns)).to_owned(),
        };
    }
    if dice.chance(20) {
        return branching(dice, scope, kind, depth - 1);
    }
    match kind {
        Type::BigInt | Type::Int => integer(dice, scope, kind, depth - 1),
        Type::Double => double(dice, scope, depth - 1),
        Type::Decimal => decimal(dice, scope, depth - 1),
        Type::Text => text(dice, scope, depth - 1),
        Type::Bool => predicate(dice, scope, depth - 1),
        Type::Date => match dice.below(2) {
            0 => format!("CAST({} AS DATE)", expression(dice, scope, Type::Timestamp, depth - 1)),
            _ => expression(dice, scope, kind, depth - 1),
        },
        Type::Timestamp => timestamp(dice, scope, depth - 1),
        Type::List => nested::list(dice, scope, depth - 1),
        Type::Struct => nested::structure(dice, scope, depth - 1),
        Type::Opaque => "NULL".into(),
    }
}

/// A literal that has its type without help from what stands around it.
fn typed_literal(dice: &mut Dice, kind: Type) -> String {
    let value = literal(dice, kind);
    match kind {
        Type::Int | Type::Decimal => format!("CAST({value} AS {})", kind.sql()),
        _ => value,
    }
}

fn branching(dice: &mut Dice, scope: &Scope, kind: Type, depth: usize) -> String {
    let one = expression(dice, scope, kind, depth);
    let other = expression(dice, scope, kind, depth);
    match dice.below(5) {
        1 | 3 if kind.is_nested() => one,
        0 => format!("COALESCE({one}, {other})"),
        1 => format!("NULLIF({one}, {other})"),
        2 => format!("CASE WHEN {} THEN {one} END", predicate(dice, scope, depth)),
        3 if kind != Type::Bool => {
            format!("{}({one}, {other})", dice.pick(&["GREATEST", "LEAST"]))
        }
        _ => format!("CASE WHEN {} THEN {one} ELSE {other} END", predicate(dice, scope, depth)),
    }
}

fn integer(dice: &mut Dice, scope: &Scope, kind: Type, depth: usize) -> String {
    let one = expression(dice, scope, kind, depth);
    let big = |sql: String| if kind == Type::Int { format!("CAST({sql} AS INT)") } else { sql };
    if dice.chance(25)
        && let Some(part) = nested::integer(dice, scope)
    {
        return big(part);
    }
    match dice.below(9) {
        0 | 1 => format!("({one} + {})", expression(dice, scope, kind, depth)),
        2 => format!("({one} - {})", expression(dice, scope, kind, depth)),
        3 => format!("({one} * {})", dice.pick(&["2", "3", "-1"])),
        4 => format!("({one} % {})", dice.between(2, 4)),
        5 => format!("({one} / {})", dice.between(2, 4)),
        6 => format!("ABS({one})"),
        7 if !scope.of(Type::Text).is_empty() => {
            big(format!("CHAR_LENGTH({})", expression(dice, scope, Type::Text, depth)))
        }
        8 if !scope.of(Type::Timestamp).is_empty() => {
            let time = expression(dice, scope, Type::Timestamp, depth);
            format!("CAST(EXTRACT(SECOND FROM {time}) AS {})", kind.sql())
        }
        _ => one,
    }
}

fn double(dice: &mut Dice, scope: &Scope, depth: usize) -> String {
    let one = expression(dice, scope, Type::Double, depth);
    match dice.below(5) {
        0 => format!("({one} + {})", expression(dice, scope, Type::Double, depth)),
        1 => format!("({one} - {})", expression(dice, scope, Type::Double, depth)),
        2 => format!("({one} * 0.5)"),
        3 => format!("CAST({} AS DOUBLE)", expression(dice, scope, Type::BigInt, depth)),
        _ => format!("FLOOR({one})"),
    }
}

fn decimal(dice: &mut Dice, scope: &Scope, depth: usize) -> String {
    let one = expression(dice, scope, Type::Decimal, depth);
    let sum = match dice.below(3) {
        0 => format!("{one} + {}", expression(dice, scope, Type::Decimal, depth)),
        1 => format!("{one} - {}", expression(dice, scope, Type::Decimal, depth)),
        _ => expression(dice, scope, Type::Int, depth),
    };
    format!("CAST({sum} AS DECIMAL(12, 2))")
}

fn text(dice: &mut Dice, scope: &Scope, depth: usize) -> String {
    let one = expression(dice, scope, Type::Text, depth);
    match dice.below(6) {
        0 => format!("({one} || {})", expression(dice, scope, Type::Text, depth)),
        1 => format!("UPPER({one})"),
        2 => format!("LOWER({one})"),
        3 => format!("SUBSTR({one}, {}, 1)", dice.between(1, 2)),
        4 => format!("CAST({} AS VARCHAR)", expression(dice, scope, Type::BigInt, depth)),
        _ => format!("REPLACE({one}, 'x', 'y')"),
    }
}

fn timestamp(dice: &mut Dice, scope: &Scope, depth: usize) -> String {
    let one = expression(dice, scope, Type::Timestamp, depth);
    match dice.below(3) {
        0 => format!("({one} + INTERVAL '{}' SECOND)", dice.between(1, 20)),
        1 => format!("({one} - INTERVAL '{}' SECOND)", dice.between(1, 20)),
        _ => format!("DATE_TRUNC('minute', {one})"),
    }
}

/// A condition over the columns of a scope.
pub fn predicate(dice: &mut Dice, scope: &Scope, depth: usize) -> String {
    if depth > 0 && dice.chance(30) {
        let (one, other) = (predicate(dice, scope, depth - 1), predicate(dice, scope, depth - 1));
        return match dice.below(5) {
            0 | 1 => format!("({one} AND {other})"),
            2 | 3 => format!("({one} OR {other})"),
            _ => format!("(NOT {one})"),
        };
    }
    let Some((column, kind)) = scope.pick(dice) else {
        return (*dice.pick(&["TRUE", "FALSE", "CAST(NULL AS BOOLEAN)"])).into();
    };
    let operand = expression(dice, scope, kind, depth.saturating_sub(1));
    if kind.is_nested() {
        return nested::predicate(dice, &column, &operand, kind);
    }
    match dice.below(10) {
        0 => format!("({column} IS NULL)"),
        1 => format!("({operand} IS NOT NULL)"),
        2 => {
            let values = [value(dice, kind), literal(dice, kind), literal(dice, kind)];
            format!("({column} {}IN ({}))", negation(dice), values.join(", "))
        }
        3 if kind != Type::Bool => {
            format!("({operand} {}BETWEEN {} AND {column})", negation(dice), literal(dice, kind))
        }
        4 if kind == Type::Text => {
            format!("({operand} {}LIKE {})", negation(dice), dice.pick(&["'x%'", "'%y'", "'_'", "''"]))
        }
        5 if kind == Type::Bool => format!("({operand} IS {}TRUE)", negation(dice)),
        _ if kind == Type::Bool => operand,
        6..=7 => {
            let other = expression(dice, scope, kind, depth);
            format!("({column} {} {other})", dice.pick(COMPARISONS))
        }
        _ => format!("({operand} {} {})", dice.pick(COMPARISONS), literal(dice, kind)),
    }
}

fn negation(dice: &mut Dice) -> &'static str {
    if dice.chance(25) { "NOT " } else { "" }
}
