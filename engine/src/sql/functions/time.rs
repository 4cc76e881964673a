//! Functions of time: fields, and text by a Java pattern.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{AsArray, StringViewBuilder};
use arrow::compute::{DatePart, cast, date_part};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Timelike, Utc};
use datafusion::common::{Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::{Argument, Function, array};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(super) fn functions() -> Vec<Function> {
    use Argument::{Text, Time, TimeOrText};
    let field = |name, body| Function::new(name, &[Time], DataType::Int64, body);
    vec![
        Function::new("date_format", &[TimeOrText, Text], DataType::Utf8View, date_format),
        field("year", |args| part(args, DatePart::Year)),
        field("quarter", |args| part(args, DatePart::Quarter)),
        field("month", |args| part(args, DatePart::Month)),
        field("dayofmonth", |args| part(args, DatePart::Day)),
        field("hour", |args| part(args, DatePart::Hour)),
        field("minute", |args| part(args, DatePart::Minute)),
        field("second", |args| part(args, DatePart::Second)),
    ]
}

fn part(args: &ScalarFunctionArgs, part: DatePart) -> Result<ColumnarValue> {
    let fields = date_part(array(args, 0)?.as_ref(), part)?;
    Ok(ColumnarValue::Array(cast(&fields, &DataType::Int64)?))
}

/// A piece of a pattern: a field with how often its letter is repeated, or text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Field(char, usize),
    Text(String),
}

fn date_format(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (times, patterns) = (array(args, 0)?, array(args, 1)?);
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut compiled: Option<(&str, Vec<Item>)> = None;
    let mut texts = StringViewBuilder::with_capacity(args.number_rows);
    let mut text = String::new();
    for (time, pattern) in times.iter().zip(patterns.as_string_view()) {
        let (Some(time), Some(pattern)) = (time, pattern) else {
            texts.append_null();
            continue;
        };
        let items = match compiled.take() {
            Some((known, items)) if known == pattern => items,
            _ => compile(pattern)?,
        };
        let Some(time) = DateTime::from_timestamp_micros(time) else {
            return Err(exec_datafusion_err!("date_format: the time {time} us has no calendar date"));
        };
        text.clear();
        for item in &items {
            append(&mut text, item, &time).map_err(|error| exec_datafusion_err!("date_format: {error}"))?;
        }
        texts.append_value(&text);
        compiled = Some((pattern, items));
    }
    Ok(ColumnarValue::Array(Arc::new(texts.finish())))
}

/// Cuts a Java pattern into fields and text; letters that are no field are errors, as in Java.
pub(super) fn compile(pattern: &str) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(letter) = rest.next() {
        if letter == '\'' {
            let mut text = String::new();
            loop {
                match rest.next() {
                    // Two quotes are one, within quotes and without.
                    Some('\'') if rest.next_if_eq(&'\'').is_some() => text.push('\''),
                    Some('\'') => break,
                    Some(other) => text.push(other),
                    None => return plan_err!("date_format: the pattern {pattern:?} has an open quote"),
                }
            }
            items.push(Item::Text(if text.is_empty() { "'".to_owned() } else { text }));
            continue;
        }
        if !letter.is_ascii_alphabetic() {
            items.push(Item::Text(letter.to_string()));
            continue;
        }
        let mut width = 1;
        while rest.next_if_eq(&letter).is_some() {
            width += 1;
        }
        if !"yuMdHhkKmsSaED".contains(letter) {
            return plan_err!(
                "date_format: {letter:?} in the pattern {pattern:?} is not supported; use yyyy MM dd HH mm ss SSS, or quote it with '"
            );
        }
        items.push(Item::Field(letter, width));
    }
    Ok(items)
}

fn append(out: &mut String, item: &Item, time: &DateTime<Utc>) -> std::fmt::Result {
    let (letter, width) = match item {
        Item::Text(text) => return out.write_str(text),
        Item::Field(letter, width) => (*letter, *width),
    };
    let number = match letter {
        'y' | 'u' if width == 2 => return write!(out, "{:02}", time.year().rem_euclid(100)),
        'y' | 'u' => return write!(out, "{:0width$}", time.year()),
        'M' if width >= 3 => return out.write_str(name(&MONTHS, time.month0(), width)),
        'E' => return out.write_str(name(&DAYS, time.weekday().num_days_from_monday(), width)),
        'a' => return out.write_str(if time.hour() < 12 { "AM" } else { "PM" }),
        'S' => return fraction(out, time.timestamp_subsec_nanos(), width),
        'M' => time.month(),
        'd' => time.day(),
        'D' => time.ordinal(),
        'H' => time.hour(),
        'k' => (time.hour() + 23) % 24 + 1,
        'K' => time.hour() % 12,
        'h' => (time.hour() + 11) % 12 + 1,
        'm' => time.minute(),
        _ => time.second(),
    };
    write!(out, "{number:0width$}")
}

/// The first three letters of a name, or with four letters in the pattern all of it.
fn name(names: &[&'static str], index: u32, width: usize) -> &'static str {
    let name = usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default();
    if width >= 4 { name } else { name.get(..3).unwrap_or(name) }
}

/// The first `width` digits of a fraction of a second.
fn fraction(out: &mut String, nanos: u32, width: usize) -> std::fmt::Result {
    let digits = format!("{nanos:09}");
    out.write_str(digits.get(..width).unwrap_or(&digits))?;
    (digits.len()..width).try_for_each(|_| out.write_char('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(micros: i64, pattern: &str) -> String {
        let time = DateTime::from_timestamp_micros(micros).unwrap();
        let mut text = String::new();
        compile(pattern).unwrap().iter().try_for_each(|item| append(&mut text, item, &time)).unwrap();
        text
    }

    #[test]
    fn java_patterns() {
        // 2015-07-05 13:04:09.012345, a Sunday.
        let time = 1_436_101_449_012_345;
        assert_eq!(format(time, "yyyy-MM-dd HH:mm:ss.SSS"), "2015-07-05 13:04:09.012");
        assert_eq!(format(time, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'"), "2015-07-05T13:04:09.012345Z");
        assert_eq!(format(time, "d/M/yy h:m a"), "5/7/15 1:4 PM");
        assert_eq!(format(time, "EEE, dd MMM yyyy; EEEE MMMM"), "Sun, 05 Jul 2015; Sunday July");
        assert_eq!(format(time, "DDD kk KK hh ''"), "186 13 01 01 '");
        assert_eq!(format(0, "HH kk hh KK"), "00 24 12 00");
        assert_eq!(format(-1, "yyyy-MM-dd HH:mm:ss.S"), "1969-12-31 23:59:59.9");
    }

    #[test]
    fn unknown_letters_and_open_quotes_are_errors() {
        assert!(compile("yyyy-ww").is_err());
        assert!(compile("yyyy 'at").is_err());
    }
}
