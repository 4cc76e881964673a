//! Casts that mean something else in PostgreSQL than in Arrow.
//!
//! | from | to | here | Arrow |
//! | --- | --- | --- | --- |
//! | REAL, DOUBLE, DECIMAL | integer | rounds, half away from zero | truncates |
//! | TIMESTAMP | VARCHAR | `2024-01-31 10:00:00.5`, with zone `+00` behind it | `2024-01-31T10:00:00.500` |
//! | VARCHAR | BYTEA | `\x00ff`, or bytes with `\\` and `\ooo` | the text's bytes |
//! | BYTEA | VARCHAR | `\x00ff` | the bytes as UTF-8 |
//! | STRUCT | STRUCT | fields by their order if the names are the same or from ROW(...), else by name; all must be there | by name, what is missing is NULL |

use std::any::Any;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, ListArray, MapArray, StringViewBuilder, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, can_cast_types, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType};
use chrono::DateTime;
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::sql::types::sql_name;

/// A cast to a fixed type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExactCast {
    to: DataType,
    /// NULL instead of an error for a value that does not fit.
    safe: bool,
    signature: Signature,
}

impl ExactCast {
    /// A cast.
    ///
    /// # Errors
    /// Types that do not fit.
    pub fn new(from: &DataType, to: &DataType, safe: bool) -> Result<Self> {
        if !castable(from, to) {
            return plan_err!("a value of type {} cannot be cast to {}", sql_name(from), sql_name(to));
        }
        Ok(Self { to: to.clone(), safe, signature: Signature::user_defined(Volatility::Immutable) })
    }
}

/// Whether the cast is one of those that this module is for.
pub fn needs_exact_cast(from: &DataType, to: &DataType) -> bool {
    if from == to || from.is_null() {
        return false;
    }
    let structs = from.is_nested() && to.is_nested() && (has_struct(from) || has_struct(to));
    let numbers = (from.is_floating() || matches!(from, DataType::Decimal128(..))) && to.is_integer();
    let bytes = is_text(from) && is_binary(to) || is_binary(from) && is_text(to);
    let times = matches!(from, DataType::Timestamp(..)) && is_text(to);
    structs || numbers || bytes || times || !from.is_nested() && to.is_nested()
}

fn has_struct(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(_) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_struct(item.data_type())
        }
        DataType::Map(..) => true,
        _ => false,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Whether values of one type can be cast to another, with the rules of this module.
pub fn castable(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (from, to) if from == to || from.is_null() => true,
        (DataType::Struct(from), DataType::Struct(to)) => pairing(from, to).is_some_and(|pairs| {
            pairs.iter().zip(to).all(|(place, to)| castable(from[*place].data_type(), to.data_type()))
        }),
        (DataType::List(from) | DataType::LargeList(from) | DataType::FixedSizeList(from, _), DataType::List(to)) => {
            castable(from.data_type(), to.data_type())
        }
        (DataType::Map(from, _), DataType::Map(to, _)) => match (from.data_type(), to.data_type()) {
            (DataType::Struct(from), DataType::Struct(to)) => {
                from.len() == to.len()
                    && from.iter().zip(to).all(|(from, to)| castable(from.data_type(), to.data_type()))
            }
            _ => false,
        },
        (from, to) if from.is_nested() || to.is_nested() => is_text(to) && can_cast_types(from, to),
        (from, to) => can_cast_types(from, to),
    }
}

/// For each wanted field the place of the field that it is made of.
fn pairing(from: &Fields, to: &Fields) -> Option<Vec<usize>> {
    if from.len() != to.len() {
        return None;
    }
    let in_order = from.iter().zip(to).all(|(from, to)| from.name() == to.name());
    // What ROW(...) and struct(...) call their fields.
    let unnamed = from.iter().enumerate().all(|(place, field)| *field.name() == format!("c{place}"));
    if in_order || unnamed {
        return Some((0..to.len()).collect());
    }
    to.iter().map(|to| from.iter().position(|from| from.name() == to.name())).collect()
}

impl ScalarUDFImpl for ExactCast {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        if self.safe { "exact_try_cast" } else { "exact_cast" }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<_> = args.iter().map(ToString::to_string).collect();
        Ok(format!("{}({} AS {})", if self.safe { "TRY_CAST" } else { "CAST" }, args.join(", "), self.to))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(value) = args.args.first() else { return exec_err!("a cast has one operand") };
        Ok(match value {
            ColumnarValue::Array(array) => ColumnarValue::Array(cast_array(array, &self.to, self.safe)?),
            ColumnarValue::Scalar(scalar) => {
                let array = cast_array(&scalar.to_array()?, &self.to, self.safe)?;
                ColumnarValue::Scalar(datafusion::scalar::ScalarValue::try_from_array(&array, 0)?)
            }
        })
    }
}

/// An array in another type. `safe`: what does not fit becomes NULL.
pub fn cast_array(array: &ArrayRef, to: &DataType, safe: bool) -> Result<ArrayRef> {
    let from = array.data_type();
    match (from, to) {
        (from, to) if from == to => Ok(array.clone()),
        (DataType::Null, to) => Ok(new_null_array(to, array.len())),
        (DataType::Struct(_), DataType::Struct(fields)) => cast_struct(array, fields, safe),
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = cast_array(list.values(), item.data_type(), safe)?;
            Ok(Arc::new(ListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned())?))
        }
        (DataType::LargeList(item) | DataType::FixedSizeList(item, _), DataType::List(_)) => {
            cast_array(&cast(array, &DataType::List(item.clone()))?, to, safe)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = entries.data_type() else { return exec_err!("a map without entries") };
            let pair = map.entries().columns().iter().zip(fields);
            let pair = pair.map(|(column, field)| cast_array(column, field.data_type(), safe));
            let pair = StructArray::try_new(fields.clone(), pair.collect::<Result<_>>()?, None)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, pair, nulls, *sorted)?))
        }
        (DataType::Float32, to) if to.is_integer() => {
            let whole = array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round);
            plain(&(Arc::new(whole) as ArrayRef), to, safe)
        }
        (DataType::Float64, to) if to.is_integer() => {
            let whole = array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round);
            plain(&(Arc::new(whole) as ArrayRef), to, safe)
        }
        // Arrow rounds when it takes digits from a decimal.
        (DataType::Decimal128(..), to) if to.is_integer() => {
            plain(&plain(array, &DataType::Decimal128(38, 0), safe)?, to, safe)
        }
        (DataType::Timestamp(..), to) if is_text(to) => Ok(cast(&times(array)?, to)?),
        (from, to) if is_text(from) && is_binary(to) => Ok(cast(&bytes(array, safe)?, to)?),
        (from, to) if is_binary(from) && is_text(to) => Ok(cast(&hexadecimal(array)?, to)?),
        _ => plain(array, to, safe),
    }
}

fn plain(array: &ArrayRef, to: &DataType, safe: bool) -> Result<ArrayRef> {
    Ok(cast_with_options(array, to, &CastOptions { safe, ..CastOptions::default() })?)
}

fn cast_struct(array: &ArrayRef, fields: &Fields, safe: bool) -> Result<ArrayRef> {
    let from = array.as_struct();
    let Some(pairs) = pairing(from.fields(), fields) else {
        return exec_err!("a struct with other fields than {}", sql_name(&DataType::Struct(fields.clone())));
    };
    let columns =
        pairs.iter().zip(fields).map(|(place, field)| cast_array(from.column(*place), field.data_type(), safe));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let nullable = fields.iter().map(|f| Field::new(f.name(), f.data_type().clone(), f.is_nullable())).collect();
    Ok(Arc::new(StructArray::try_new(nullable, columns, from.nulls().cloned())?))
}

fn times(array: &ArrayRef) -> Result<ArrayRef> {
    let zone = matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
    let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let mut texts = StringViewBuilder::with_capacity(array.len());
    let mut text = String::new();
    for time in micros.as_primitive::<TimestampMicrosecondType>() {
        let Some(time) = time else {
            texts.append_null();
            continue;
        };
        let Some(calendar) = DateTime::from_timestamp_micros(time) else {
            return exec_err!("the time {time} us has no calendar date");
        };
        text.clear();
        write!(text, "{}", calendar.format("%Y-%m-%d %H:%M:%S%.6f")).map_err(|e| exec_datafusion_err!("{e}"))?;
        let digits = text.trim_end_matches('0').trim_end_matches('.').len();
        // Without a fraction the seconds themselves may end in zeros.
        let end = if calendar.timestamp_subsec_micros() == 0 { text.len() - 7 } else { digits };
        text.truncate(end);
        if zone {
            text.push_str("+00");
        }
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}

fn bytes(array: &ArrayRef, safe: bool) -> Result<ArrayRef> {
    let texts = cast(array, &DataType::Utf8View)?;
    let mut values = BinaryViewBuilder::with_capacity(array.len());
    for text in texts.as_string_view() {
        match text.map(|text| (text, bytes_of(text))) {
            None => values.append_null(),
            Some((_, Some(bytes))) => values.append_value(bytes),
            Some(_) if safe => values.append_null(),
            Some((text, None)) => {
                return exec_err!("{text:?} is not the text of a BYTEA: write '\\x' and hexadecimal digits");
            }
        }
    }
    Ok(Arc::new(values.finish()))
}

/// The two input forms of PostgreSQL's bytea.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u32> = digits.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        return Some(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                out.push(b'\\');
                tail
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                tail
            }
            (b'\\', _) => return None,
            (byte, tail) => {
                out.push(*byte);
                tail
            }
        };
    }
    Some(out)
}

fn hexadecimal(array: &ArrayRef) -> Result<ArrayRef> {
    let values = cast(array, &DataType::BinaryView)?;
    let mut texts = StringViewBuilder::with_capacity(array.len());
    let mut text = String::new();
    for value in values.as_binary_view() {
        let Some(value) = value else {
            texts.append_null();
            continue;
        };
        text.clear();
        text.push_str("\\x");
        for byte in value {
            write!(text, "{byte:02x}").map_err(|e| exec_datafusion_err!("{e}"))?;
        }
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Decimal128Array, Float64Array, Int32Array, Int64Array, StringViewArray, TimestampMicrosecondArray,
    };

    use super::*;

    fn text(array: &ArrayRef) -> Vec<Option<String>> {
        let texts = cast_array(array, &DataType::Utf8View, false).unwrap();
        texts.as_string_view().iter().map(|text| text.map(str::to_owned)).collect()
    }

    #[test]
    fn fractions_are_rounded_away_from_zero() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![2.5, -2.5, 2.4, -0.4]));
        let got = cast_array(&floats, &DataType::Int32, false).unwrap();
        assert_eq!(got.as_ref(), &Int32Array::from(vec![3, -3, 2, 0]) as &dyn Array);
        let decimals = Decimal128Array::from(vec![250, -250, 249]).with_precision_and_scale(10, 2).unwrap();
        let got = cast_array(&(Arc::new(decimals) as ArrayRef), &DataType::Int64, false).unwrap();
        assert_eq!(got.as_ref(), &Int64Array::from(vec![3, -3, 2]) as &dyn Array);
        let huge: ArrayRef = Arc::new(Float64Array::from(vec![1e20]));
        assert!(cast_array(&huge, &DataType::Int64, false).is_err());
        assert_eq!(cast_array(&huge, &DataType::Int64, true).unwrap().null_count(), 1);
    }

    #[test]
    fn times_are_written_as_postgresql_writes_them() {
        let times =
            TimestampMicrosecondArray::from(vec![Some(0), Some(500_000), Some(-1), Some(1_436_101_440_000_000), None]);
        let zoned: ArrayRef = Arc::new(times.clone().with_timezone("+00:00"));
        let plain = text(&(Arc::new(times) as ArrayRef));
        let plain: Vec<_> = plain.iter().map(Option::as_deref).collect();
        assert_eq!(
            plain,
            [
                Some("1970-01-01 00:00:00"),
                Some("1970-01-01 00:00:00.5"),
                Some("1969-12-31 23:59:59.999999"),
                Some("2015-07-05 13:04:00"),
                None
            ]
        );
        assert_eq!(text(&zoned)[0].as_deref(), Some("1970-01-01 00:00:00+00"));
    }

    #[test]
    fn bytes_have_two_forms() {
        assert_eq!(bytes_of("\\x00fF").unwrap(), [0, 255]);
        assert_eq!(bytes_of("a\\\\b\\001").unwrap(), b"a\\b\x01");
        assert_eq!(bytes_of("\\x0"), None);
        assert_eq!(bytes_of("a\\b"), None);
        let values: ArrayRef = Arc::new(StringViewArray::from(vec!["\\x0102"]));
        let values = cast_array(&values, &DataType::BinaryView, false).unwrap();
        assert_eq!(text(&values), [Some("\\x0102".to_owned())]);
    }

    #[test]
    fn structs_are_matched_by_order_or_by_name_but_never_by_half() {
        let fields =
            |names: [&str; 2]| -> Fields { names.map(|name| Field::new(name, DataType::Int64, true)).to_vec().into() };
        let wanted = fields(["a", "b"]);
        assert_eq!(pairing(&fields(["a", "b"]), &wanted), Some(vec![0, 1]));
        assert_eq!(pairing(&fields(["c0", "c1"]), &wanted), Some(vec![0, 1]));
        assert_eq!(pairing(&fields(["b", "a"]), &wanted), Some(vec![1, 0]));
        assert_eq!(pairing(&fields(["a", "x"]), &wanted), None);
    }
}
