//! Calls with OVER: functions, partitions, orders and frames.
//!
//! Orders may leave rows equal where the engine says which of them comes first (docs/sql/over.md, "Ties").

use super::{Queries, direction};
use crate::random::expression::{Scope, expression, predicate};
use crate::random::schema::Type;

/// How often a window function is which.
const CALLS: &[(usize, Call)] = &[
    (6, Call::Number("ROW_NUMBER()")),
    (6, Call::Number("RANK()")),
    (6, Call::Number("DENSE_RANK()")),
    (3, Call::Share("PERCENT_RANK()")),
    (3, Call::Share("CUME_DIST()")),
    (7, Call::Tiles),
    (16, Call::Neighbour),
    (14, Call::Place),
    (32, Call::Aggregate),
];

#[derive(Debug, Clone, Copy)]
enum Call {
    Number(&'static str),
    Share(&'static str),
    Tiles,
    /// LAG and LEAD.
    Neighbour,
    /// FIRST_VALUE, LAST_VALUE and NTH_VALUE.
    Place,
    Aggregate,
}

/// An order with a frame, each with a space before it, and what is known about them.
struct Frame {
    order: String,
    frame: String,
    /// Whether the frame counts single rows.
    rows: bool,
    /// Whether the frame begins where the partition does.
    from_start: bool,
}

impl Queries<'_> {
    /// An expression with OVER.
    pub(super) fn window_call(&mut self, scope: &Scope) -> (String, Type) {
        let partition = self.partition(scope);
        let order = self.order(scope);
        let number = |call: String| (format!("CAST({call} OVER ({partition}{order}) AS BIGINT)"), Type::BigInt);
        match self.dice.weighted(CALLS) {
            Call::Number(call) => number(call.to_owned()),
            Call::Share(call) => (format!("{call} OVER ({partition}{order})"), Type::Opaque),
            Call::Tiles => number(format!("NTILE({})", self.dice.between(1, 4))),
            Call::Neighbour => {
                let (argument, kind) = self.argument(scope);
                let name = *self.dice.pick(&["LAG", "LEAD"]);
                let offset = match self.dice.below(5) {
                    0 | 1 => String::new(),
                    2 => ", 0".to_owned(),
                    3 => format!(", {}", self.dice.between(1, 3)),
                    _ => {
                        format!(", {}, {}", self.dice.between(1, 2), expression(self.dice, &Scope::default(), kind, 0))
                    }
                };
                // An offset of 0 has no meaning among the rows that are not NULL.
                let nulls = if offset == ", 0" { "" } else { self.ignore_nulls() };
                (format!("{name}({argument}{offset}){nulls} OVER ({partition}{order})"), kind)
            }
            Call::Place => {
                let (argument, kind) = self.argument(scope);
                let frame = self.frame(scope);
                let call = match self.dice.below(3) {
                    0 => format!("FIRST_VALUE({argument})"),
                    1 => format!("LAST_VALUE({argument})"),
                    _ => format!("NTH_VALUE({argument}, {})", self.dice.between(1, 3)),
                };
                let nulls = self.ignore_nulls();
                // Over frames of peers nothing says which of them is first: such calls are refused.
                let Frame { order, frame, .. } = if frame.rows { frame } else { self.rows_frame(scope) };
                (format!("{call}{nulls} OVER ({partition}{order}{frame})"), kind)
            }
            Call::Aggregate => self.window_aggregate(scope, &partition),
        }
    }

    fn window_aggregate(&mut self, scope: &Scope, partition: &str) -> (String, Type) {
        let Frame { order, frame, from_start, rows } = self.frame(scope);
        let filter = if self.dice.chance(20) {
            format!(" FILTER (WHERE {})", predicate(self.dice, scope, 1))
        } else {
            String::new()
        };
        let (argument, kind) = self.argument(scope);
        let over = format!("{filter} OVER ({partition}{order}{frame})");
        let big = expression(self.dice, scope, Type::BigInt, 1);
        match self.dice.below(12) {
            0 => (format!("COUNT(*){over}"), Type::BigInt),
            1 => (format!("COUNT({argument}){over}"), Type::BigInt),
            2 | 3 if kind != Type::Bool => (format!("{}({argument}){over}", self.dice.pick(&["MIN", "MAX"])), kind),
            4 if kind.is_number() && kind != Type::Int => {
                let distinct = if self.dice.chance(20) { "DISTINCT " } else { "" };
                (format!("SUM({distinct}{argument}){over}"), kind)
            }
            5 if kind.is_number() => (format!("AVG({argument}){over}"), Type::Opaque),
            6 => (format!("{}(DISTINCT {big}){over}", self.dice.pick(&["COUNT", "SUM"])), Type::BigInt),
            7 => (format!("{}({big}){over}", self.dice.pick(&["STDDEV", "VAR_POP"])), Type::Opaque),
            8 if from_start && rows => (format!("ARRAY_AGG({big}){over}"), Type::List),
            9 => {
                let condition = expression(self.dice, scope, Type::Bool, 1);
                (format!("{}({condition}){over}", self.dice.pick(&["BOOL_AND", "BOOL_OR"])), Type::Bool)
            }
            _ => (format!("SUM({big}){over}"), Type::BigInt),
        }
    }

    fn argument(&mut self, scope: &Scope) -> (String, Type) {
        let Some((column, kind)) = scope.pick(self.dice) else { return ("1".into(), Type::BigInt) };
        (if self.dice.chance(70) { column } else { expression(self.dice, scope, kind, 1) }, kind)
    }

    fn ignore_nulls(&mut self) -> &'static str {
        if self.dice.chance(20) { " IGNORE NULLS" } else { "" }
    }

    /// PARTITION BY a column, or nothing.
    pub(super) fn partition(&mut self, scope: &Scope) -> String {
        match scope.pick(self.dice) {
            Some((column, _)) if self.dice.chance(75) => format!("PARTITION BY {column} "),
            _ => String::new(),
        }
    }

    /// ORDER BY some of the columns, or all of them.
    pub(super) fn order(&mut self, scope: &Scope) -> String {
        let mut columns: Vec<&str> = scope.usable().into_iter().map(|(sql, _)| sql).collect();
        self.dice.shuffle(&mut columns);
        if self.dice.chance(60) {
            columns.truncate(self.dice.between(1, 2));
        }
        let order: Vec<String> = columns.iter().map(|column| format!("{column}{}", direction(self.dice))).collect();
        if order.is_empty() { "ORDER BY 1".into() } else { format!("ORDER BY {}", order.join(", ")) }
    }

    /// An order and a frame of ROWS, RANGE or GROUPS, or that which stands for none.
    fn frame(&mut self, scope: &Scope) -> Frame {
        match self.dice.below(10) {
            0 => {
                // Without an order the frame is the whole partition.
                let order = if self.dice.chance(50) { String::new() } else { self.order(scope) };
                Frame { order, frame: String::new(), rows: false, from_start: true }
            }
            1..=4 => self.rows_frame(scope),
            5 | 6 => {
                let (frame, from_start) = self.bounds("GROUPS", &["1", "2"], true);
                Frame { order: self.order(scope), frame, rows: false, from_start }
            }
            _ => self.range_frame(scope),
        }
    }

    fn rows_frame(&mut self, scope: &Scope) -> Frame {
        let (frame, from_start) = self.bounds("ROWS", &["1", "2", "3"], true);
        Frame { order: self.order(scope), frame, rows: true, from_start }
    }

    /// RANGE has a single order key if it measures distances.
    fn range_frame(&mut self, scope: &Scope) -> Frame {
        const TIMES: &[&str] = &["INTERVAL '5' SECOND", "INTERVAL '20' SECOND"];
        const DAYS: &[&str] = &["INTERVAL '1' DAY", "INTERVAL '2' DAY"];
        let columns: Vec<_> = scope.usable().into_iter().map(|(sql, kind)| (sql.to_owned(), kind)).collect();
        let measured = (!columns.is_empty()).then(|| self.dice.pick(&columns).clone());
        let distances = measured.as_ref().and_then(|(_, kind)| match kind {
            Type::BigInt | Type::Int => Some(["1", "2"].as_slice()),
            Type::Double => Some(["0.5", "1.25"].as_slice()),
            Type::Timestamp => Some(TIMES),
            Type::Date => Some(DAYS),
            _ => None,
        });
        match (measured, distances) {
            (Some((column, _)), Some(distances)) => {
                let (frame, from_start) = self.bounds("RANGE", distances, false);
                let order = format!("ORDER BY {column}{}", direction(self.dice));
                Frame { order, frame, rows: false, from_start }
            }
            _ => {
                let frame = (*self.dice.pick(&[
                    " RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
                    " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
                    " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
                    " RANGE CURRENT ROW",
                ]))
                .to_owned();
                let from_start = frame.contains("UNBOUNDED PRECEDING");
                Frame { order: self.order(scope), frame, rows: false, from_start }
            }
        }
    }

    /// `unit BETWEEN start AND end`, and whether it begins with the partition. Unless `beside` the frame holds the current row.
    fn bounds(&mut self, unit: &str, distances: &[&str], beside: bool) -> (String, bool) {
        let near = distances.first().copied().unwrap_or("1");
        let far = *self.dice.pick(distances);
        let pairs = [
            ("UNBOUNDED PRECEDING".to_owned(), "CURRENT ROW".to_owned()),
            ("UNBOUNDED PRECEDING".to_owned(), "UNBOUNDED FOLLOWING".to_owned()),
            ("UNBOUNDED PRECEDING".to_owned(), format!("{far} FOLLOWING")),
            (format!("{far} PRECEDING"), "CURRENT ROW".to_owned()),
            (format!("{far} PRECEDING"), format!("{near} FOLLOWING")),
            (format!("{far} PRECEDING"), "UNBOUNDED FOLLOWING".to_owned()),
            ("CURRENT ROW".to_owned(), "CURRENT ROW".to_owned()),
            ("CURRENT ROW".to_owned(), format!("{far} FOLLOWING")),
            ("CURRENT ROW".to_owned(), "UNBOUNDED FOLLOWING".to_owned()),
            // These leave out the current row.
            ("UNBOUNDED PRECEDING".to_owned(), format!("{near} PRECEDING")),
            (format!("{far} PRECEDING"), format!("{near} PRECEDING")),
            (format!("{near} FOLLOWING"), format!("{far} FOLLOWING")),
            (format!("{near} FOLLOWING"), "UNBOUNDED FOLLOWING".to_owned()),
        ];
        let choices = if beside { pairs.len() } else { 9 };
        let (start, end) = &pairs[self.dice.below(choices)];
        (format!(" {unit} BETWEEN {start} AND {end}"), start == "UNBOUNDED PRECEDING")
    }
}
