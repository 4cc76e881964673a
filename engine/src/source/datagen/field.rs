//! How the values of one generated column are made.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringViewBuilder, TimestampMicrosecondArray,
    make_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field as ArrowField};

use crate::error::{Error, Result};
use crate::hash::mix;
use crate::options::{Options, bad_value, parse_duration};
use crate::source::value::{parse_timestamp, sql_name};

/// 2020-01-01 00:00:00 in microseconds.
const DEFAULT_TIME: i64 = 1_577_836_800_000_000;
const DAY: i64 = 86_400_000_000;
const YEAR: i64 = 365 * DAY;
const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/// A rule for a column.
#[derive(Debug, Clone)]
pub(super) struct Field {
    data_type: DataType,
    rule: Rule,
    /// What makes this column's random values differ from another's.
    seed: u64,
    null_rate: f64,
}

/// Whole numbers stand for integers, days of dates, microseconds of timestamps.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Sequence { start: i64, step: i64, rows: Option<u64> },
    Integer { min: i64, max: i64 },
    Float { min: f64, max: f64 },
    Boolean,
    Text { length: usize },
    Now,
}

/// What kind of values a type takes.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Integer,
    Time,
    Float,
    Boolean,
    Text,
}

fn class(data_type: &DataType) -> Option<Class> {
    match data_type {
        t if t.is_integer() => Some(Class::Integer),
        DataType::Decimal128(..) | DataType::Float32 | DataType::Float64 => Some(Class::Float),
        DataType::Date32 | DataType::Timestamp(..) => Some(Class::Time),
        DataType::Boolean => Some(Class::Boolean),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Class::Text),
        _ => None,
    }
}

/// The options of one column.
struct FieldOptions<'o, 'a> {
    options: &'o Options<'a>,
    name: &'o str,
    class: Class,
}

impl FieldOptions<'_, '_> {
    fn option(&self, what: &str) -> String {
        format!("fields.{}.{what}", self.name)
    }

    fn text(&self, what: &str) -> Option<&str> {
        self.options.text(&self.option(what))
    }

    fn integer(&self, what: &str, default: i64) -> Result<i64> {
        let Some(text) = self.text(what) else { return Ok(default) };
        let (value, expected) = match self.class {
            Class::Time => (parse_timestamp(text.as_bytes()), "a timestamp such as '2020-01-01 00:00:00'"),
            _ => (text.trim().parse().ok(), "a whole number"),
        };
        value.ok_or_else(|| bad_value(&self.option(what), text, expected))
    }

    fn float(&self, what: &str, default: f64) -> Result<f64> {
        let Some(text) = self.text(what) else { return Ok(default) };
        let value = text.trim().parse().ok().filter(|v: &f64| v.is_finite());
        value.ok_or_else(|| bad_value(&self.option(what), text, "a number"))
    }

    fn step(&self, default_micros: i64) -> Result<i64> {
        let Some(text) = self.text("step") else {
            return Ok(if self.class == Class::Time { default_micros } else { 1 });
        };
        let (value, expected) = match self.class {
            Class::Time => {
                (parse_duration(text).and_then(|d| i64::try_from(d.as_micros()).ok()), "a duration such as '1 s'")
            }
            _ => (text.trim().parse().ok(), "a whole number other than 0"),
        };
        value.filter(|step| *step != 0).ok_or_else(|| bad_value(&self.option("step"), text, expected))
    }

    /// Refuses options that have no meaning for the column's rule.
    fn only(&self, allowed: &[&str]) -> Result<()> {
        for what in ["start", "end", "step", "min", "max", "length"] {
            let option = self.option(what);
            if self.options.given(&option) && !allowed.contains(&what) {
                let message = format!("the option '{option}' does not apply to this column's type and kind");
                return Err(Error::new(crate::ErrorKind::Option, message));
            }
        }
        Ok(())
    }

    fn sequence(&self, step_micros: i64) -> Result<Rule> {
        self.only(&["start", "end", "step"])?;
        let start = self.integer("start", if self.class == Class::Time { DEFAULT_TIME } else { 0 })?;
        let step = self.step(step_micros)?;
        let mut rows = None;
        if self.text("end").is_some() {
            let end = self.integer("end", 0)?;
            let distance = (i128::from(end) - i128::from(start)) / i128::from(step);
            let ordered = (i128::from(end) - i128::from(start)) * i128::from(step.signum()) >= 0;
            rows = Some(if ordered { u64::try_from(distance + 1).unwrap_or(u64::MAX) } else { 0 });
        }
        Ok(Rule::Sequence { start, step, rows })
    }

    fn random(&self, data_type: &DataType) -> Result<Rule> {
        self.only(match self.class {
            Class::Text => &["length"],
            Class::Boolean => &[],
            _ => &["min", "max"],
        })?;
        let rule = match self.class {
            Class::Boolean => Rule::Boolean,
            Class::Text => {
                let length = self.options.integer(&self.option("length")).unwrap_or(100);
                if length > 1 << 20 {
                    return Err(bad_value(&self.option("length"), &length.to_string(), "at most 1048576"));
                }
                Rule::Text { length: length as usize }
            }
            Class::Integer => {
                Rule::Integer { min: self.integer("min", 0)?, max: self.integer("max", greatest(data_type))? }
            }
            Class::Time => {
                let min = self.integer("min", DEFAULT_TIME)?;
                Rule::Integer { min, max: self.integer("max", min.saturating_add(YEAR))? }
            }
            Class::Float => Rule::Float { min: self.float("min", 0.0)?, max: self.float("max", 1.0)? },
        };
        let empty = match rule {
            Rule::Integer { min, max } => min > max,
            Rule::Float { min, max } => min > max,
            _ => false,
        };
        if empty {
            let option = self.option(if self.text("max").is_some() { "max" } else { "min" });
            let value = self.options.text(&option).unwrap_or_default();
            return Err(bad_value(&option, value, "a greatest value that is not below the least"));
        }
        Ok(rule)
    }
}

fn greatest(data_type: &DataType) -> i64 {
    match data_type {
        DataType::Int8 => i64::from(i8::MAX),
        DataType::Int16 => i64::from(i16::MAX),
        DataType::Int32 => i64::from(i32::MAX),
        DataType::UInt8 => i64::from(u8::MAX),
        DataType::UInt16 => i64::from(u16::MAX),
        DataType::UInt32 => i64::from(u32::MAX),
        _ => i64::MAX,
    }
}

impl Field {
    /// Whether values differ from one reading to the next.
    pub(super) fn depends_on_clock(&self) -> bool {
        self.rule == Rule::Now
    }

    /// Reads the options of a column. `step_micros`: the default distance of timestamps.
    pub(super) fn create(options: &Options<'_>, field: &ArrowField, seed: u64, step_micros: i64) -> Result<Self> {
        let data_type = field.data_type().clone();
        let class = class(&data_type).ok_or_else(|| {
            Error::sql(format!("datagen cannot make values of the type {}", sql_name(&data_type)))
                .with("column", field.name())
        })?;
        let of = FieldOptions { options, name: field.name(), class };
        let default = if class == Class::Time { "sequence" } else { "random" };
        let kind = of.text("kind").unwrap_or(default).to_ascii_lowercase();
        let wrong = |expected| Err(bad_value(&of.option("kind"), &kind, expected));
        let rule = match (kind.as_str(), class) {
            ("now", Class::Time) => of.only(&[]).map(|()| Rule::Now)?,
            ("now", _) => return wrong("'random' or 'sequence': the column is no timestamp"),
            ("sequence", Class::Boolean) => return wrong("'random' for a column of truth values"),
            ("sequence", _) if data_type == DataType::Date32 => of.sequence(DAY)?,
            ("sequence", _) => of.sequence(step_micros)?,
            _ => of.random(&data_type)?,
        };
        let null_rate = of.float("null-rate", 0.0)?;
        if !(0.0..=1.0).contains(&null_rate) || null_rate > 0.0 && !field.is_nullable() {
            let expected = "a number between 0 and 1, and 0 for a column that is NOT NULL";
            return Err(bad_value(&of.option("null-rate"), &null_rate.to_string(), expected));
        }
        Ok(Self { data_type, rule, seed, null_rate })
    }

    /// How many rows there are until a sequence ends.
    pub(super) fn rows(&self) -> Option<u64> {
        if let Rule::Sequence { rows, .. } = self.rule { rows } else { None }
    }

    /// The values of these rows.
    pub(super) fn values(&self, numbers: &[u64], now_ms: i64) -> Result<ArrayRef> {
        let random = |number: &u64| mix(mix(self.seed, 1), *number);
        let share = |number: &u64| (random(number) >> 11) as f64 / (1_u64 << 53) as f64;
        let values: ArrayRef = match self.rule {
            Rule::Sequence { start, step, .. } => {
                self.whole(numbers.iter().map(|n| start.wrapping_add(step.wrapping_mul(*n as i64))).collect())
            }
            Rule::Integer { min, max } => {
                let span = max.abs_diff(min) as u128 + 1;
                let value = |n| min.wrapping_add(((u128::from(random(n)) * span) >> 64) as i64);
                self.whole(numbers.iter().map(value).collect())
            }
            Rule::Float { min, max } => {
                Arc::new(Float64Array::from_iter_values(numbers.iter().map(|n| min + share(n) * (max - min))))
            }
            Rule::Boolean => Arc::new(numbers.iter().map(|n| Some(random(n) >> 63 == 1)).collect::<BooleanArray>()),
            Rule::Text { length } => texts(numbers.iter().map(random), length),
            Rule::Now => Arc::new(TimestampMicrosecondArray::from_value(now_ms * 1000, numbers.len())),
        };
        let values = if values.data_type() == &self.data_type { values } else { cast(&values, &self.data_type)? };
        if self.null_rate == 0.0 {
            return Ok(values);
        }
        let null = |n: &u64| (mix(mix(self.seed, 2), *n) >> 11) as f64 / ((1_u64 << 53) as f64) < self.null_rate;
        let valid = NullBuffer::from_iter(numbers.iter().map(|n| !null(n)));
        Ok(make_array(values.to_data().into_builder().nulls(Some(valid)).build()?))
    }

    /// Whole numbers as values of the class of the column's type; the caller casts within the class.
    fn whole(&self, values: Vec<i64>) -> ArrayRef {
        match self.data_type {
            DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::from(values)),
            DataType::Date32 => {
                let days = values.iter().map(|micros| micros.div_euclid(DAY) as i32);
                Arc::new(Int32Array::from_iter_values(days))
            }
            _ => Arc::new(Int64Array::from(values)),
        }
    }
}

fn texts(seeds: impl ExactSizeIterator<Item = u64>, length: usize) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(seeds.len());
    let mut text = String::with_capacity(length);
    for seed in seeds {
        text.clear();
        let mut bits = 0;
        for i in 0..length {
            if i % 10 == 0 {
                bits = mix(seed, i as u64);
            }
            text.push(LETTERS[(bits & 63) as usize] as char);
            bits >>= 6;
        }
        builder.append_value(&text);
    }
    Arc::new(builder.finish())
}
