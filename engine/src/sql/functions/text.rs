//! Functions of text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err, plan_datafusion_err};
use datafusion::functions::regex::compile_regex;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::{Argument, Function, array};

pub(super) fn functions() -> Vec<Function> {
    use Argument::{Boolean, Integer, Text};
    vec![
        Function::new("split_index", &[Text, Text, Integer], DataType::Utf8View, split_index),
        Function {
            optional: 1,
            ..Function::new("regexp_extract", &[Text, Text, Integer], DataType::Utf8View, regexp_extract)
        },
        Function::new("count_char", &[Text, Text], DataType::Int64, count_char),
        Function::new("frazil_uuid", &[Text, Boolean], DataType::Utf8View, uuid),
    ]
}

/// Text argument `n` by row.
struct Texts(ArrayRef);

impl Texts {
    fn of(args: &ScalarFunctionArgs, n: usize) -> Result<Self> {
        array(args, n).map(Self)
    }

    fn view(&self) -> &StringViewArray {
        self.0.as_string_view()
    }
}

fn split_index(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (texts, separators, indexes) = (Texts::of(args, 0)?, Texts::of(args, 1)?, array(args, 2)?);
    let indexes = indexes.as_primitive::<Int64Type>();
    let mut parts = StringViewBuilder::with_capacity(args.number_rows);
    for ((text, separator), index) in texts.view().iter().zip(separators.view()).zip(indexes) {
        parts.append_option(match (text, separator, index) {
            (Some(text), Some(separator), Some(index)) => part(text, separator, index),
            _ => None,
        });
    }
    Ok(ColumnarValue::Array(Arc::new(parts.finish())))
}

/// As in Flink: empty parts count, empty text has no parts, an empty separator means white space.
fn part<'a>(text: &'a str, separator: &str, index: i64) -> Option<&'a str> {
    let index = usize::try_from(index).ok()?;
    match (text, separator) {
        ("", _) => None,
        (text, "") => text.split(char::is_whitespace).nth(index),
        (text, separator) => text.split(separator).nth(index),
    }
}

fn regexp_extract(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (texts, patterns) = (Texts::of(args, 0)?, Texts::of(args, 1)?);
    let groups = if args.args.len() > 2 { Some(array(args, 2)?) } else { None };
    let groups = groups.as_ref().map(|groups| groups.as_primitive::<Int64Type>());
    let mut compiled = None;
    let mut found = StringViewBuilder::with_capacity(args.number_rows);
    for (row, (text, pattern)) in texts.view().iter().zip(patterns.view()).enumerate() {
        let group = groups.map_or(Some(0), |groups| groups.is_valid(row).then(|| groups.value(row)));
        let (Some(text), Some(pattern), Some(group)) = (text, pattern, group) else {
            found.append_null();
            continue;
        };
        let regex = match compiled.take() {
            Some((known, regex)) if known == pattern => regex,
            _ => compile_regex(pattern, None).map_err(|error| {
                plan_datafusion_err!(
                    "regexp_extract cannot read the pattern {pattern:?} (no look-around, no back-references): {error}"
                )
            })?,
        };
        let matched = regex.captures(text).and_then(|captures| captures.get(usize::try_from(group).ok()?));
        found.append_option(matched.map(|matched| matched.as_str()));
        compiled = Some((pattern, regex));
    }
    Ok(ColumnarValue::Array(Arc::new(found.finish())))
}

/// A UUID in its canonical form; with `true` behind it NULL instead of an error.
fn uuid(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (texts, tries) = (Texts::of(args, 0)?, array(args, 1)?);
    let tries = tries.as_boolean();
    let mut canonical = StringViewBuilder::with_capacity(args.number_rows);
    for (row, text) in texts.view().iter().enumerate() {
        match text.map(|text| (text, uuid::Uuid::try_parse(text.trim()))) {
            None => canonical.append_null(),
            Some((_, Ok(uuid))) => canonical.append_value(uuid.hyphenated().to_string()),
            Some(_) if tries.is_valid(row) && tries.value(row) => canonical.append_null(),
            Some((text, Err(_))) => return exec_err!("{text:?} is not a UUID"),
        }
    }
    Ok(ColumnarValue::Array(Arc::new(canonical.finish())))
}

fn count_char(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (texts, characters) = (Texts::of(args, 0)?, Texts::of(args, 1)?);
    let counts: Int64Array = texts
        .view()
        .iter()
        .zip(characters.view())
        .map(|(text, characters)| {
            let (text, characters) = (text?, characters?);
            let count = characters.chars().next().map_or(0, |character| text.matches(character).count());
            i64::try_from(count).ok()
        })
        .collect();
    Ok(ColumnarValue::Array(Arc::new(counts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_zero_and_empty_ones_count() {
        assert_eq!(part("a,b,,c", ",", 0), Some("a"));
        assert_eq!(part("a,b,,c", ",", 2), Some(""));
        assert_eq!(part("a,b,,c", ",", 4), None);
        assert_eq!(part("a,b", ",", -1), None);
        assert_eq!(part("", ",", 0), None);
        assert_eq!(part("a b", "", 1), Some("b"));
        assert_eq!(part("a--b", "--", 1), Some("b"));
    }
}
