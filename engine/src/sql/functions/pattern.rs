//! Patterns of dates and times as text: PostgreSQL's (`YYYY-MM-DD HH24:MI:SS`), for writing and reading, and Java's
//! (`yyyy-MM-dd HH:mm:ss`), for reading; `date_format` writes those.
//!
//! | PostgreSQL | Java | field |
//! | --- | --- | --- |
//! | YYYY, YYY, YY, Y | yyyy, yy | year |
//! | Q, MM, Month, Mon | M, MM, MMM, MMMM | quarter, month |
//! | DDD, DD, D, Day, Dy | d, dd | day of the year, of the month, of the week (1 is Sunday) |
//! | IYYY, IW, WW | | ISO year and week, week |
//! | HH24, HH12, HH, MI, SS | H, h, m, s | hour, minute, second |
//! | MS, US, FF1 to FF6 | S | fraction |
//! | AM, PM | a | half of the day |
//!
//! Names take the case of the pattern and are filled with blanks to nine characters unless FM stands before them.

use std::fmt::Write;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike, Utc};
use datafusion::common::{Result, exec_err, plan_err};

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
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// How a name is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
    Title,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// The last digits of the year, this many.
    Year(usize),
    IsoYear,
    Quarter,
    Month,
    MonthName(Case),
    MonthShort(Case),
    IsoWeek,
    Week,
    DayOfYear,
    Day,
    DayOfWeek,
    DayName(Case),
    DayShort(Case),
    Hour24,
    Hour12,
    Minute,
    Second,
    /// This many digits of the fraction.
    Fraction(usize),
    HalfDay(Case),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Field { field: Field, fill: bool },
    Text(String),
}

/// A pattern, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Item>);

/// Names of fields, longest first where one starts another.
const POSTGRES: [(&str, Field); 29] = [
    ("IYYY", Field::IsoYear),
    ("YYYY", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("Y", Field::Year(1)),
    ("MONTH", Field::MonthName(Case::Upper)),
    ("MON", Field::MonthShort(Case::Upper)),
    ("MM", Field::Month),
    ("MI", Field::Minute),
    ("MS", Field::Fraction(3)),
    ("US", Field::Fraction(6)),
    ("FF1", Field::Fraction(1)),
    ("FF2", Field::Fraction(2)),
    ("FF3", Field::Fraction(3)),
    ("FF4", Field::Fraction(4)),
    ("FF5", Field::Fraction(5)),
    ("FF6", Field::Fraction(6)),
    ("DAY", Field::DayName(Case::Upper)),
    ("DDD", Field::DayOfYear),
    ("DD", Field::Day),
    ("DY", Field::DayShort(Case::Upper)),
    ("D", Field::DayOfWeek),
    ("HH24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("HH", Field::Hour12),
    ("SS", Field::Second),
    ("IW", Field::IsoWeek),
    ("WW", Field::Week),
    ("Q", Field::Quarter),
];

impl Pattern {
    /// A pattern of PostgreSQL.
    pub(super) fn postgres(pattern: &str) -> Result<Self> {
        let mut items = Vec::new();
        let mut rest = pattern;
        let mut fill = true;
        'next: while !rest.is_empty() {
            if let Some(tail) = rest.strip_prefix('"') {
                let Some((text, tail)) = tail.split_once('"') else {
                    return plan_err!("the pattern {pattern:?} has an open quote");
                };
                items.push(Item::Text(text.to_owned()));
                rest = tail;
                continue;
            }
            if let Some(tail) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
                (fill, rest) = (false, tail);
                continue;
            }
            for (name, half) in [("AM", Case::Upper), ("PM", Case::Upper), ("am", Case::Lower), ("pm", Case::Lower)] {
                if let Some(tail) = rest.strip_prefix(name) {
                    items.push(Item::Field { field: Field::HalfDay(half), fill: true });
                    rest = tail;
                    continue 'next;
                }
            }
            for (name, field) in POSTGRES {
                let Some(written) = rest.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name)) else {
                    continue;
                };
                items.push(Item::Field { field: cased(field, written), fill });
                (fill, rest) = (true, &rest[name.len()..]);
                continue 'next;
            }
            let Some(character) = rest.chars().next() else { break };
            if character.is_ascii_alphabetic() && character != 'T' && character != 'Z' {
                return plan_err!(
                    "{character:?} in the pattern {pattern:?} is not supported; use YYYY MM DD HH24 MI SS MS, or quote it with \""
                );
            }
            items.push(Item::Text(character.to_string()));
            rest = &rest[character.len_utf8()..];
        }
        Ok(Self(items))
    }

    /// A pattern for reading, of PostgreSQL or of Java: those of Java have `mm` for minutes beside hours or seconds.
    pub(super) fn reading(pattern: &str) -> Result<Self> {
        let java = ["HH:mm", "hh:mm", "mm:ss", "HHmm", "hhmm", "'", "SSS"].iter().any(|part| pattern.contains(part));
        if java { Self::java(pattern) } else { Self::postgres(pattern) }
    }

    fn java(pattern: &str) -> Result<Self> {
        let mut items = Vec::new();
        for item in super::time::compile(pattern)? {
            use super::time::Item as Java;
            items.push(match item {
                Java::Text(text) => Item::Text(text),
                Java::Field(letter, width) => {
                    let field = match (letter, width) {
                        ('y' | 'u', 2) => Field::Year(2),
                        ('y' | 'u', _) => Field::Year(4),
                        ('M', 4..) => Field::MonthName(Case::Title),
                        ('M', 3) => Field::MonthShort(Case::Title),
                        ('M', _) => Field::Month,
                        ('d', _) => Field::Day,
                        ('D', _) => Field::DayOfYear,
                        ('H', _) => Field::Hour24,
                        ('h', _) => Field::Hour12,
                        ('m', _) => Field::Minute,
                        ('s', _) => Field::Second,
                        ('S', width) => Field::Fraction(width),
                        ('a', _) => Field::HalfDay(Case::Upper),
                        _ => return plan_err!("{letter:?} in the pattern {pattern:?} cannot be read"),
                    };
                    Item::Field { field, fill: true }
                }
            });
        }
        Ok(Self(items))
    }

    /// Appends the text of a time.
    pub(super) fn write(&self, out: &mut String, time: &DateTime<Utc>) -> std::fmt::Result {
        self.0.iter().try_for_each(|item| match item {
            Item::Text(text) => out.write_str(text),
            Item::Field { field, fill } => write_field(out, *field, *fill, time),
        })
    }

    /// The time in a text; what the pattern does not name is the first of its kind.
    pub(super) fn read(&self, text: &str) -> Result<NaiveDateTime> {
        let mut parts = Parts::default();
        let mut rest = text.trim();
        for item in &self.0 {
            let read = match item {
                Item::Text(text) => skip(rest, text),
                Item::Field { field, .. } => parts.read(*field, rest),
            };
            match read {
                Some(tail) => rest = tail,
                None => return exec_err!("{text:?} does not have the form of the pattern, at {rest:?}"),
            }
        }
        if !rest.trim().is_empty() {
            return exec_err!("{text:?} goes on after the end of the pattern, at {rest:?}");
        }
        match parts.time() {
            Some(time) => Ok(time),
            None => exec_err!("{text:?} is no date or time that exists"),
        }
    }
}

/// A separator, for which any other one may stand, as in PostgreSQL; letters must be there.
fn skip<'a>(rest: &'a str, text: &str) -> Option<&'a str> {
    let mut rest = rest;
    for wanted in text.chars() {
        let found = rest.chars().next()?;
        let separator = |c: char| !c.is_alphanumeric();
        if found != wanted && !(separator(found) && separator(wanted)) {
            return None;
        }
        rest = &rest[found.len_utf8()..];
    }
    Some(rest)
}

/// Names in the case in which they are written in the pattern.
fn cased(field: Field, written: &str) -> Field {
    let mut letters = written.chars();
    let case = match (letters.next(), letters.next()) {
        (Some(first), _) if first.is_lowercase() => Case::Lower,
        (_, Some(second)) if second.is_lowercase() => Case::Title,
        _ => Case::Upper,
    };
    match field {
        Field::MonthName(_) => Field::MonthName(case),
        Field::MonthShort(_) => Field::MonthShort(case),
        Field::DayName(_) => Field::DayName(case),
        Field::DayShort(_) => Field::DayShort(case),
        other => other,
    }
}

fn write_name(out: &mut String, name: &str, case: Case, width: usize) -> std::fmt::Result {
    match case {
        Case::Title => write!(out, "{name:width$}"),
        Case::Upper => write!(out, "{:width$}", name.to_uppercase()),
        Case::Lower => write!(out, "{:width$}", name.to_lowercase()),
    }
}

fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

fn write_field(out: &mut String, field: Field, fill: bool, time: &DateTime<Utc>) -> std::fmt::Result {
    let month = MONTHS.get(time.month0() as usize).copied().unwrap_or_default();
    let weekday = time.weekday().num_days_from_sunday();
    let day = DAYS.get(weekday as usize).copied().unwrap_or_default();
    let blanks = if fill { 9 } else { 0 };
    let (number, width) = match field {
        Field::Year(4) => (i64::from(time.year()), 4),
        Field::Year(digits) => (i64::from(time.year()).rem_euclid(10_i64.pow(digits as u32)), digits),
        Field::IsoYear => (i64::from(time.iso_week().year()), 4),
        Field::Quarter => (i64::from(time.month0() / 3 + 1), 1),
        Field::Month => (i64::from(time.month()), 2),
        Field::MonthName(case) => return write_name(out, month, case, blanks),
        Field::MonthShort(case) => return write_name(out, short(month), case, 0),
        Field::IsoWeek => (i64::from(time.iso_week().week()), 2),
        Field::Week => (i64::from(time.ordinal0() / 7 + 1), 2),
        Field::DayOfYear => (i64::from(time.ordinal()), 3),
        Field::Day => (i64::from(time.day()), 2),
        Field::DayOfWeek => (i64::from(weekday + 1), 1),
        Field::DayName(case) => return write_name(out, day, case, blanks),
        Field::DayShort(case) => return write_name(out, short(day), case, 0),
        Field::Hour24 => (i64::from(time.hour()), 2),
        Field::Hour12 => (i64::from((time.hour() + 11) % 12 + 1), 2),
        Field::Minute => (i64::from(time.minute()), 2),
        Field::Second => (i64::from(time.second()), 2),
        Field::Fraction(digits) => {
            let all = format!("{:09}", time.timestamp_subsec_nanos());
            return out.write_str(all.get(..digits).unwrap_or(&all));
        }
        Field::HalfDay(case) => return write_name(out, if time.hour() < 12 { "Am" } else { "Pm" }, case, 0),
    };
    if fill { write!(out, "{number:0width$}") } else { write!(out, "{number}") }
}

/// What has been read.
#[derive(Debug, Default)]
struct Parts {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    ordinal: Option<u32>,
    hour: u32,
    twelve: bool,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    nanos: u32,
}

impl Parts {
    /// Reads one field; gives what is left of the text.
    fn read<'a>(&mut self, field: Field, text: &'a str) -> Option<&'a str> {
        let number = |digits: usize| {
            let end = text.char_indices().take(digits).take_while(|(_, c)| c.is_ascii_digit()).count();
            Some((text.get(..end)?.parse::<u32>().ok()?, &text[end..], end))
        };
        let name = |names: &[&str], length: Option<usize>| {
            let wanted = |name: &str| length.map_or(name.len(), |length| length.min(name.len()));
            let same =
                |name: &&str| text.get(..wanted(name)).is_some_and(|t| t.eq_ignore_ascii_case(&name[..wanted(name)]));
            let place = names.iter().position(same)?;
            Some((place as u32, &text[wanted(names[place])..]))
        };
        let rest;
        match field {
            Field::Year(digits) => {
                let (year, tail, _) = number(digits)?;
                // Two digits are of the years 1970 to 2069, as in PostgreSQL.
                let century = match (digits, year) {
                    (4, _) => 0,
                    (_, 0..70) => 2000,
                    _ => 1900,
                };
                self.year = i32::try_from(year + century).ok();
                rest = tail;
            }
            Field::Month => (self.month, rest) = number(2).map(|(month, tail, _)| (Some(month), tail))?,
            Field::MonthName(_) => (self.month, rest) = name(&MONTHS, None).map(|(m, tail)| (Some(m + 1), tail))?,
            Field::MonthShort(_) => (self.month, rest) = name(&MONTHS, Some(3)).map(|(m, tail)| (Some(m + 1), tail))?,
            Field::DayName(_) => (_, rest) = name(&DAYS, None)?,
            Field::DayShort(_) => (_, rest) = name(&DAYS, Some(3))?,
            Field::Day => (self.day, rest) = number(2).map(|(day, tail, _)| (Some(day), tail))?,
            Field::DayOfYear => (self.ordinal, rest) = number(3).map(|(day, tail, _)| (Some(day), tail))?,
            Field::Hour24 => (self.hour, rest) = number(2).map(|(hour, tail, _)| (hour, tail))?,
            Field::Hour12 => {
                (self.hour, rest) = number(2).map(|(hour, tail, _)| (hour, tail))?;
                self.twelve = true;
            }
            Field::Minute => (self.minute, rest) = number(2).map(|(minute, tail, _)| (minute, tail))?,
            Field::Second => (self.second, rest) = number(2).map(|(second, tail, _)| (second, tail))?,
            Field::Fraction(digits) => {
                let (fraction, tail, read) = number(digits.min(9))?;
                self.nanos = fraction * 10_u32.pow(9_u32.saturating_sub(read as u32));
                rest = tail;
            }
            Field::HalfDay(_) => {
                let half = text.get(..2)?.to_ascii_lowercase();
                self.afternoon = Some(match half.as_str() {
                    "am" => false,
                    "pm" => true,
                    _ => return None,
                });
                rest = &text[2..];
            }
            // These do not say which day it is without others.
            Field::IsoYear | Field::Quarter | Field::IsoWeek | Field::Week | Field::DayOfWeek => return None,
        }
        Some(rest)
    }

    fn time(&self) -> Option<NaiveDateTime> {
        let year = self.year.unwrap_or(1970);
        let date = match self.ordinal {
            Some(ordinal) => NaiveDate::from_yo_opt(year, ordinal)?,
            None => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let hour = match (self.twelve, self.afternoon) {
            (_, None) => self.hour,
            (_, Some(_)) if self.hour > 12 => return None,
            (_, Some(afternoon)) => self.hour % 12 + if afternoon { 12 } else { 0 },
        };
        date.and_hms_nano_opt(hour, self.minute, self.second, self.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-07-05 13:04:09.012345, a Sunday.
    const TIME: i64 = 1_436_101_449_012_345;

    fn written(pattern: &str) -> String {
        let mut text = String::new();
        let time = DateTime::from_timestamp_micros(TIME).unwrap();
        Pattern::postgres(pattern).unwrap().write(&mut text, &time).unwrap();
        text
    }

    #[test]
    fn patterns_of_postgresql() {
        assert_eq!(written("YYYY-MM-DD HH24:MI:SS.US"), "2015-07-05 13:04:09.012345");
        assert_eq!(written("yyyy-mm-dd hh24:mi:ss.ms"), "2015-07-05 13:04:09.012");
        assert_eq!(written("DD Mon YY, HH12:MI AM"), "05 Jul 15, 01:04 PM");
        assert_eq!(written("FMDay, FMDD FMMonth; MONTH|dy"), "Sunday, 5 July; JULY     |sun");
        assert_eq!(written("DDD D Q IYYY-IW WW"), "186 1 3 2015-27 27");
        assert_eq!(written("\"day \"DD\"T\""), "day 05T");
        assert!(Pattern::postgres("YYYY xyz").is_err());
        assert!(Pattern::postgres("\"open").is_err());
    }

    #[test]
    fn what_is_written_can_be_read() {
        for pattern in [
            "YYYY-MM-DD HH24:MI:SS.US",
            "YYYYMMDD HH12:MI:SS.US AM",
            "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
            "DDD YYYY HH24:MI:SS.US",
        ] {
            let pattern = Pattern::reading(pattern).unwrap();
            let mut text = String::new();
            pattern.write(&mut text, &DateTime::from_timestamp_micros(TIME).unwrap()).unwrap();
            assert_eq!(pattern.read(&text).unwrap().and_utc().timestamp_micros(), TIME, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let day = Pattern::reading("YYYY-MM-DD").unwrap();
        for text in ["2015-02-30", "2015-07", "2015-07-05 13:00", "x"] {
            assert!(day.read(text).is_err(), "{text}");
        }
        assert!(day.read("2015/07/05").is_ok(), "separators stand for each other");
    }
}
