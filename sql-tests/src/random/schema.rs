//! Random tables: few columns of all kinds, with and without keys.

use super::dice::Dice;

/// What kind of value a column holds, as far as a query has to know to be well typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// BIGINT, and what counts and sums give.
    BigInt,
    /// INT.
    Int,
    /// DOUBLE; the values are such that sums of them are exact.
    Double,
    /// DECIMAL(12, 2).
    Decimal,
    /// VARCHAR.
    Text,
    /// BOOLEAN.
    Bool,
    /// DATE.
    Date,
    /// TIMESTAMP(3).
    Timestamp,
    /// BIGINT[].
    List,
    /// A struct of a BIGINT `x` and a VARCHAR `y`.
    Struct,
    /// Only to be looked at: a result that is not exact, or of a type that nothing is computed from.
    Opaque,
}

/// Types that a column of a table can have, more likely ones with a greater weight.
pub const TYPES: &[(usize, Type)] = &[
    (30, Type::BigInt),
    (8, Type::Int),
    (10, Type::Double),
    (8, Type::Decimal),
    (20, Type::Text),
    (6, Type::Bool),
    (5, Type::Date),
    (13, Type::Timestamp),
    (6, Type::List),
    (3, Type::Struct),
];

impl Type {
    /// How SQL names the type.
    pub fn sql(self) -> &'static str {
        match self {
            Self::BigInt | Self::Opaque => "BIGINT",
            Self::Int => "INT",
            Self::Double => "DOUBLE",
            Self::Decimal => "DECIMAL(12, 2)",
            Self::Text => "VARCHAR",
            Self::Bool => "BOOLEAN",
            Self::Date => "DATE",
            Self::Timestamp => "TIMESTAMP(3)",
            Self::List => "BIGINT[]",
            Self::Struct => "STRUCT<x BIGINT, y VARCHAR>",
        }
    }

    /// Whether it is made of other values: such cannot be told greater or smaller everywhere.
    pub fn is_nested(self) -> bool {
        matches!(self, Self::List | Self::Struct)
    }

    /// Whether sums of it can be formed.
    pub fn is_number(self) -> bool {
        matches!(self, Self::BigInt | Self::Int | Self::Double | Self::Decimal)
    }
}

/// A column of a table, view or query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Type,
}

/// A table or view that a query can read.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Places of the key's columns; empty without a key.
    pub key: Vec<usize>,
    /// Place of the time attribute, if it is a table that has one.
    pub time: Option<usize>,
}

impl Relation {
    /// The statement that creates it as a table.
    pub fn create(&self) -> String {
        let columns = self.columns.iter().map(|column| format!("{} {}", column.name, column.kind.sql()));
        let key = self.key.iter().map(|place| self.columns[*place].name.as_str()).collect::<Vec<_>>().join(", ");
        let key = if key.is_empty() { None } else { Some(format!("PRIMARY KEY ({key})")) };
        let time = self.time.map(|place| &self.columns[place].name);
        let watermark = time.map(|time| format!("WATERMARK FOR {time} AS {time} - INTERVAL '5' SECOND"));
        let parts: Vec<String> = columns.chain(key).chain(watermark).collect();
        format!("CREATE TABLE {} ({})", self.name, parts.join(", "))
    }
}

/// Makes up a table. Its first column is always a BIGINT, so that any two tables can be joined.
pub fn table(dice: &mut Dice, name: &str) -> Relation {
    let width = dice.between(2, 5);
    let mut columns = vec![Column { name: "a".into(), kind: Type::BigInt }];
    for name in ["b", "c", "d", "e"].iter().take(width - 1) {
        columns.push(Column { name: (*name).into(), kind: dice.weighted(TYPES) });
    }
    let can_be_key = |column: &Column| !matches!(column.kind, Type::Double | Type::Bool | Type::List | Type::Struct);
    let key = match dice.below(10) {
        0..=3 => vec![0],
        4 if can_be_key(&columns[1]) => vec![0, 1],
        5 if can_be_key(&columns[1]) => vec![1],
        _ => Vec::new(),
    };
    let time = columns.iter().position(|column| column.kind == Type::Timestamp).filter(|_| dice.chance(50));
    Relation { name: name.into(), columns, key, time }
}
