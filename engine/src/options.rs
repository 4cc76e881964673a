//! Typed reading of `WITH ('name' = 'value', ...)`: every known option with its type, default and meaning stands in one
//! table ([`tables`]), from which checking, error messages and the reference page are all made.
//!
//! A name that is not in the table is an error, never ignored: a misspelt option must not silently change what a table means.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

pub mod tables;

pub use tables::CONNECTORS;

/// The option of a source that says when a part of it counts as idle.
pub const IDLE_TIMEOUT: &str = "source.idle-timeout";
/// The option of a source that names the table for its late rows.
pub const LATE_TABLE: &str = "late.table";

/// Names that start so are the engine's own notes about an object, not options of a connector.
const NOTE_PREFIX: &str = "frazil.";

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number, 0 or greater.
    Integer,
    /// A decimal number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A time span such as `500 ms`.
    Duration,
    /// A number of bytes such as `16 mb`.
    Size,
    /// One ASCII character; `\t` stands for the tabulator.
    Character,
    /// As [`OptionKind::Character`], or nothing at all to switch it off.
    CharacterOrNone,
}

impl OptionKind {
    /// What a value must look like, for error messages and the reference page.
    pub fn expected(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::OneOf(words) => words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(", "),
            Self::Integer => "a whole number".into(),
            Self::Number => "a number".into(),
            Self::Boolean => "'true' or 'false'".into(),
            Self::Duration => "a duration such as '500 ms', '1s' or '10 min'".into(),
            Self::Size => "a size such as '65536', '512 kb' or '16 mb'".into(),
            Self::Character => "one ASCII character".into(),
            Self::CharacterOrNone => "one ASCII character, or '' for none".into(),
        }
    }

    fn accepts(self, value: &str) -> bool {
        match self {
            Self::Text => true,
            Self::OneOf(words) => words.contains(&value.to_ascii_lowercase().as_str()),
            Self::Integer => value.trim().parse::<u64>().is_ok(),
            Self::Number => value.trim().parse::<f64>().is_ok_and(f64::is_finite),
            Self::Boolean => parse_boolean(value).is_some(),
            Self::Duration => parse_duration(value).is_some(),
            Self::Size => parse_size(value).is_some(),
            Self::Character => parse_character(value).is_some(),
            Self::CharacterOrNone => value.is_empty() || parse_character(value).is_some(),
        }
    }
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Name; a `*` stands for the name of a column.
    pub name: &'static str,
    /// What values it takes.
    pub kind: OptionKind,
    /// What holds if it is not given; `None`: nothing, or it must be given (the doc says which).
    pub default: Option<&'static str>,
    /// One line for the reference page.
    pub doc: &'static str,
}

impl OptionSpec {
    /// Whether `name` is this option.
    fn matches(&self, name: &str) -> bool {
        self.column_of(name).is_some() || (!self.name.contains('*') && self.name == name)
    }

    /// The part of `name` that stands for `*`.
    fn column_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (prefix, suffix) = self.name.split_once('*')?;
        let column = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        (!column.is_empty()).then_some(column)
    }
}

/// One connector and its options.
#[derive(Debug, Clone, Copy)]
pub struct ConnectorSpec {
    /// The value of the option `connector`.
    pub name: &'static str,
    /// One line for the reference page.
    pub doc: &'static str,
    /// Its options, beside `connector` itself.
    pub options: &'static [OptionSpec],
}

/// The checked options of one connector table.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    spec: &'static ConnectorSpec,
    properties: &'a BTreeMap<String, String>,
}

impl<'a> Options<'a> {
    /// Finds the connector and checks that every name is known and every value is of its type.
    pub fn parse(properties: &'a BTreeMap<String, String>) -> Result<Self> {
        let connectors = || CONNECTORS.iter().map(|c| c.name);
        let name = properties.get("connector").ok_or_else(|| {
            Error::new(ErrorKind::Option, "the option 'connector' is missing")
                .hint(format!("write WITH ('connector' = ...); there are {}", quoted(connectors())))
        })?;
        let spec = CONNECTORS.iter().find(|c| c.name == name.to_ascii_lowercase()).ok_or_else(|| {
            let error = Error::new(ErrorKind::Option, format!("there is no connector '{name}'"));
            match nearest(name, connectors()) {
                Some(near) => error.hint(format!("did you mean '{near}'? There are {}", quoted(connectors()))),
                None => error.hint(format!("there are {}", quoted(connectors()))),
            }
        })?;
        let options = Self { spec, properties };
        for (name, value) in properties {
            if name != "connector" && !name.starts_with(NOTE_PREFIX) {
                options.check(name, value)?;
            }
        }
        Ok(options)
    }

    fn check(&self, name: &str, value: &str) -> Result<()> {
        let Some(option) = self.spec.options.iter().find(|o| o.matches(name)) else {
            let error =
                Error::new(ErrorKind::Option, format!("the connector '{}' has no option '{name}'", self.spec.name));
            let names = || self.spec.options.iter().map(|o| o.name);
            return Err(match nearest(name, names()) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error.hint(format!("its options are {}", quoted(names()))),
            });
        };
        if option.kind.accepts(value) { Ok(()) } else { Err(bad_value(name, value, &option.kind.expected())) }
    }

    /// The connector's name.
    pub fn connector(&self) -> &'static str {
        self.spec.name
    }

    /// The names of the options that the user gave.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.properties.keys().map(String::as_str).filter(|name| !name.starts_with(NOTE_PREFIX))
    }

    /// Whether the user gave the option.
    pub fn given(&self, name: &str) -> bool {
        self.properties.contains_key(name)
    }

    /// The value as the user gave it, or the default.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        debug_assert!(self.spec.options.iter().any(|o| o.matches(name)), "option {name} is in no table");
        self.properties
            .get(name)
            .map(String::as_str)
            .or_else(|| self.spec.options.iter().find(|o| o.matches(name)).and_then(|o| o.default))
    }

    /// The value of an option that must be given.
    pub fn required(&self, name: &'static str) -> Result<&'a str> {
        self.text(name).ok_or_else(|| {
            let doc = self.spec.options.iter().find(|o| o.matches(name)).map_or("", |o| o.doc);
            Error::new(ErrorKind::Option, format!("the connector '{}' needs the option '{name}'", self.spec.name))
                .hint(format!("'{name}' = ...: {doc}"))
        })
    }

    /// A word in lower case.
    pub fn word(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_ascii_lowercase)
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(|v| v.trim().parse().ok())
    }

    /// A whole number greater than 0.
    pub fn positive(&self, name: &str) -> Result<Option<u64>> {
        match self.integer(name) {
            Some(0) => Err(bad_value(name, "0", "a whole number greater than 0")),
            other => Ok(other),
        }
    }

    /// A decimal number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.text(name).and_then(|v| v.trim().parse().ok())
    }

    /// True only if given (or defaulted) as true.
    pub fn boolean(&self, name: &str) -> bool {
        self.text(name).and_then(parse_boolean).unwrap_or(false)
    }

    /// A time span.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        self.text(name).and_then(parse_duration)
    }

    /// A number of bytes.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(parse_size)
    }

    /// One ASCII character.
    pub fn character(&self, name: &str) -> Option<u8> {
        self.text(name).and_then(parse_character)
    }

    /// The columns named in options of the form `pattern` (which holds a `*`), with the names of these options.
    pub fn columns(&self, pattern: &'static str) -> Vec<(&'a str, &'a str)> {
        let spec = self.spec.options.iter().find(|o| o.name == pattern);
        let columns = |name: &'a String| Some((spec?.column_of(name)?, name.as_str()));
        self.properties.keys().filter_map(columns).collect()
    }
}

/// The error for a value that does not fit its option.
pub fn bad_value(name: &str, value: &str, expected: &str) -> Error {
    Error::new(ErrorKind::Option, format!("'{value}' is not a value for the option '{name}'"))
        .hint(format!("expected {expected}"))
}

/// The known name that `name` was probably meant to be.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_lowercase();
    known
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn quoted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ")
}

fn parse_boolean(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn parse_character(value: &str) -> Option<u8> {
    match value.as_bytes() {
        b"\\t" => Some(b'\t'),
        [one] if one.is_ascii() => Some(*one),
        _ => None,
    }
}

/// A number and the unit after it.
fn number_and_unit(value: &str) -> Option<(u64, String)> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let number = value[..digits].parse().ok()?;
    Some((number, value[digits..].trim().to_ascii_lowercase()))
}

/// Reads `500 ms`, `1s`, `10 min`, `2 hours`, `1 d`. A unit is needed, except for 0.
pub fn parse_duration(value: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(value)?;
    let micros: u64 = match unit.as_str() {
        "us" | "micro" | "micros" | "microsecond" | "microseconds" => 1,
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        "" if number == 0 => 0,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

/// Reads `65536`, `512 kb`, `16mb`, `1 GiB`; units are powers of 1024.
pub fn parse_size(value: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(value)?;
    let shift = match unit.as_str() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// The reference of all connectors and their options, in Markdown.
pub fn reference() -> String {
    let mut page = String::new();
    for connector in CONNECTORS {
        page.push_str(&format!("## {}\n\n{}\n\n", connector.name, connector.doc));
        if connector.options.is_empty() {
            page.push_str("It has no options.\n\n");
            continue;
        }
        page.push_str("| option | values | default | meaning |\n| --- | --- | --- | --- |\n");
        for option in connector.options {
            let default = option.default.map_or(String::new(), |d| format!("`{d}`"));
            page.push_str(&format!(
                "| `{}` | {} | {default} | {} |\n",
                option.name,
                option.kind.expected(),
                option.doc
            ));
        }
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect()
    }

    fn error(pairs: &[(&str, &str)]) -> String {
        let error = Options::parse(&properties(pairs)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Option);
        error.to_string()
    }

    #[test]
    fn durations_and_sizes() {
        for (text, millis) in
            [("1s", 1000), ("500ms", 500), ("10 min", 600_000), ("2 Hours", 7_200_000), ("0", 0), (" 1 d ", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "1.5s", "-1s", "1 fortnight", "99999999999999999999 d", "9999999999999999 d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for (text, bytes) in [("10", 10), ("16 mb", 16 << 20), ("1KiB", 1024), ("2g", 2 << 30)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["mb", "1 xb", "-1", "99999999999999999 t"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn misspelt_names_get_the_nearest_known_one() {
        assert!(error(&[("connector", "filesytem")]).contains("did you mean 'filesystem'?"));
        assert!(error(&[("connector", "zzz")]).contains("'nexmark'"));
        assert!(error(&[("path", "x")]).contains("'connector' is missing"));
        let text = error(&[("connector", "filesystem"), ("csv.field-delimeter", ";")]);
        assert!(text.contains("no option 'csv.field-delimeter'") && text.contains("'csv.field-delimiter'"), "{text}");
        assert!(error(&[("connector", "print"), ("scan.parallelism", "3")]).contains("'print-identifier'"));
    }

    #[test]
    fn bad_values_say_what_is_expected() {
        for (name, value, expected) in [
            ("csv.header", "yes", "'true' or 'false'"),
            ("source.monitor-interval", "5", "a duration"),
            ("source.split-size", "big", "a size"),
            ("csv.field-delimiter", "||", "one ASCII character"),
            ("format", "xml", "'csv', 'json', 'parquet'"),
        ] {
            let text = error(&[("connector", "filesystem"), (name, value)]);
            assert!(text.contains(name) && text.contains(value) && text.contains(expected), "{text}");
        }
    }

    #[test]
    fn patterns_defaults_and_notes() {
        let map = properties(&[("connector", "datagen"), ("fields.a.b.kind", "sequence"), ("frazil.watermark", "x")]);
        let options = Options::parse(&map).unwrap();
        assert_eq!(options.columns("fields.*.kind"), vec![("a.b", "fields.a.b.kind")]);
        assert_eq!(options.integer("rows-per-second"), Some(10_000));
        assert_eq!(options.integer("number-of-rows"), None);
        assert!(error(&[("connector", "datagen"), ("fields..kind", "random")]).contains("fields..kind"));
    }

    #[test]
    fn every_default_is_a_value_and_every_name_is_in_the_reference() {
        let page = reference();
        for connector in CONNECTORS {
            for option in connector.options {
                assert!(option.default.is_none_or(|d| option.kind.accepts(d)), "{}", option.name);
                assert!(page.contains(&format!("| `{}` |", option.name)));
            }
        }
    }
}
