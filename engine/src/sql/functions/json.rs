//! JSON held in VARCHAR: PostgreSQL's names for the functions of `datafusion-functions-json`, and the SQL standard's by path.
//!
//! | function | result |
//! | --- | --- |
//! | `json_typeof(j)` | `object`, `array`, `string`, `number`, `boolean` or `null` |
//! | `json_value(j, '$.a[0]')` | the scalar there as text; NULL if there is none |
//! | `json_query(j, '$.a')` | the object or array there as JSON; NULL if there is none |
//! | `json_exists(j, '$.a')` | whether there is anything |
//!
//! What is no JSON at all gives NULL (`json_exists`: false), as in the functions of the crate.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, StringViewArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::execution::registry::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use datafusion_functions_json::udfs;
use serde_json::Value;

use super::{Argument, Function, array};

pub(super) fn functions() -> Vec<Function> {
    use Argument::Text;
    vec![
        Function::new("json_typeof", &[Text], DataType::Utf8View, json_typeof),
        Function::new("jsonb_typeof", &[Text], DataType::Utf8View, json_typeof),
        Function::new("json_value", &[Text, Text], DataType::Utf8View, json_value),
        Function::new("json_query", &[Text, Text], DataType::Utf8View, json_query),
        Function::new("json_exists", &[Text, Text], DataType::Boolean, json_exists),
    ]
}

/// Registers the crate's functions with PostgreSQL's names beside its own.
pub(super) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    datafusion_functions_json::register_all(registry)?;
    let named: [(Arc<ScalarUDF>, &[&'static str]); 3] = [
        (udfs::json_length_udf(), &["json_array_length", "jsonb_array_length"]),
        (udfs::json_get_json_udf(), &["json_extract_path", "jsonb_extract_path"]),
        (udfs::json_as_text_udf(), &["json_extract_path_text", "jsonb_extract_path_text"]),
    ];
    for (function, names) in named {
        registry.register_udf(Arc::new(function.as_ref().clone().with_aliases(names.iter().copied())))?;
    }
    Ok(())
}

fn json_typeof(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let texts = array(args, 0)?;
    let names: StringViewArray = texts
        .as_string_view()
        .iter()
        .map(|text| {
            Some(match serde_json::from_str(text?).ok()? {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            })
        })
        .collect();
    Ok(ColumnarValue::Array(Arc::new(names)))
}

fn json_value(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values: StringViewArray = at_paths(args, |value| match value? {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })?
    .into_iter()
    .collect();
    Ok(ColumnarValue::Array(Arc::new(values)))
}

fn json_query(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values: StringViewArray =
        at_paths(args, |value| value.filter(|v| v.is_array() || v.is_object()).map(|v| v.to_string()))?
            .into_iter()
            .collect();
    Ok(ColumnarValue::Array(Arc::new(values)))
}

fn json_exists(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let found: BooleanArray = at_paths(args, |value| Some(value.is_some()))?.into_iter().collect();
    Ok(ColumnarValue::Array(Arc::new(found)))
}

/// By row what `body` makes of the value at the path; NULL if text or path is NULL.
fn at_paths<T>(args: &ScalarFunctionArgs, body: impl Fn(Option<Value>) -> Option<T>) -> Result<Vec<Option<T>>> {
    let (texts, paths) = (array(args, 0)?, array(args, 1)?);
    let mut known: Option<(&str, Vec<Step>)> = None;
    let mut values = Vec::with_capacity(args.number_rows);
    for (text, path) in texts.as_string_view().iter().zip(paths.as_string_view()) {
        let (Some(text), Some(path)) = (text, path) else {
            values.push(None);
            continue;
        };
        let steps = match known.take() {
            Some((same, steps)) if same == path => steps,
            _ => steps(path)?,
        };
        let found = serde_json::from_str::<Value>(text).ok().and_then(|value| walk(value, &steps));
        values.push(body(found));
        known = Some((path, steps));
    }
    Ok(values)
}

/// One step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

fn walk(mut value: Value, steps: &[Step]) -> Option<Value> {
    for step in steps {
        value = match (value, step) {
            (Value::Object(mut fields), Step::Key(key)) => fields.remove(key)?,
            (Value::Array(mut items), Step::Index(index)) if *index < items.len() => items.swap_remove(*index),
            _ => return None,
        };
    }
    Some(value)
}

/// The steps of `$.a.b[0]['c d']`, optionally with the word `lax` or `strict` before it.
fn steps(path: &str) -> Result<Vec<Step>> {
    let wrong = || exec_datafusion_err!("the JSON path {path:?} is not supported: write $.name[0].other");
    let trimmed = path.trim();
    let trimmed = trimmed.strip_prefix("lax ").or_else(|| trimmed.strip_prefix("strict ")).unwrap_or(trimmed);
    let mut rest = trimmed.trim_start().strip_prefix('$').ok_or_else(wrong)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('.') {
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            let (key, tail) = tail.split_at(end);
            let key = key.trim_matches('"');
            if key.is_empty() || key.contains(['*', '?', '(']) {
                return Err(wrong());
            }
            steps.push(Step::Key(key.to_owned()));
            rest = tail;
        } else {
            let (inside, tail) = rest.strip_prefix('[').and_then(|tail| tail.split_once(']')).ok_or_else(wrong)?;
            let quoted = inside.strip_prefix(['\'', '"']).and_then(|key| key.strip_suffix(['\'', '"']));
            steps.push(match quoted {
                Some(key) => Step::Key(key.to_owned()),
                None => Step::Index(inside.trim().parse().map_err(|_| wrong())?),
            });
            rest = tail;
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let key = |key: &str| Step::Key(key.to_owned());
        assert_eq!(steps("$").unwrap(), []);
        assert_eq!(steps("$.a.b[2]").unwrap(), [key("a"), key("b"), Step::Index(2)]);
        assert_eq!(steps("lax $['a b'].\"c\"").unwrap(), [key("a b"), key("c")]);
        for wrong in ["a", "$.a[*]", "$..a", "$[x", "$.a ? (@ > 1)"] {
            assert!(steps(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_at_paths() {
        let json = r#"{"a": [1, {"b": "x"}], "n": null}"#;
        let at = |path: &str| walk(serde_json::from_str(json).unwrap(), &steps(path).unwrap());
        assert_eq!(at("$.a[1].b"), Some(Value::String("x".to_owned())));
        assert_eq!(at("$.n"), Some(Value::Null));
        assert_eq!(at("$.a[5]"), None);
        assert_eq!(at("$.a.b"), None);
    }
}
