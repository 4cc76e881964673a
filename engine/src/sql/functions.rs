//! Scalar functions that the field's queries need and DataFusion does not have or means otherwise, and those behind window
//! table functions.
//!
//! | function | result |
//! | --- | --- |
//! | `frazil_tumble_start(ts, size, offset)` | start of the window of `ts`; durations in microseconds |
//! | `frazil_hop_starts(ts, slide, size, offset)` | list of the starts of all windows of `ts` |
//! | `frazil_cumulate_ends(ts, step, size, offset)` | list of the ends of all growing windows of `ts` |
//! | `date_format(ts, pattern)` | text by a Java pattern such as `yyyy-MM-dd HH:mm:ss.SSS` |
//! | `year quarter month dayofmonth hour minute second (ts)` | BIGINT |
//! | `split_index(text, separator, index)` | the part with this index, counted from 0 |
//! | `regexp_extract(text, pattern [, group])` | a group of the first match; 0, the default, is all of it |
//! | `count_char(text, character)` | how often the character occurs, BIGINT |
//!
//! The tables of the others are in `calendar`, `pattern`, `json`; `arithmetic`, `cast` and `planner` are what operators become.
//! All are immutable, and NULL if an argument is NULL (`frazil_hop_starts`, `frazil_cumulate_ends`: the empty list).

pub mod arithmetic;
mod calendar;
pub mod cast;
pub mod field;
mod interval;
mod json;
mod pattern;
pub mod planner;
mod text;
mod time;
mod window;

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::{Result, exec_datafusion_err, plan_err};
use datafusion::execution::registry::FunctionRegistry;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;

/// Registers all functions of this module, replacing DataFusion's of the same name (`date_format`, `to_char`, `to_date`,
/// `to_timestamp`), and those of JSON.
///
/// # Errors
/// A registry that takes no functions.
pub fn register(registry: &mut dyn FunctionRegistry) -> crate::Result<()> {
    json::register(registry)?;
    registry.register_function_rewrite(Arc::new(planner::SignedCounts))?;
    for function in functions() {
        registry.register_udf(function)?;
    }
    Ok(())
}

/// All functions of this module.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let all = [
        window::functions(),
        time::functions(),
        calendar::functions(),
        interval::functions(),
        text::functions(),
        json::functions(),
    ];
    all.into_iter().flatten().map(|function| Arc::new(ScalarUDF::new_from_impl(function))).collect()
}

/// What an argument accepts and what it is cast to before the function runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    /// TIMESTAMP, DATE -> Timestamp(us); a time zone is dropped, leaving its wall clock.
    Time,
    /// The same, and text that is read as a timestamp.
    TimeOrText,
    /// Integers -> Int64.
    Integer,
    /// Text -> Utf8View.
    Text,
    /// Any number -> Float64.
    Number,
    /// TRUE and FALSE -> Boolean.
    Boolean,
    /// INTERVAL -> Interval(MonthDayNano).
    Interval,
    /// DATE -> Date32.
    Date,
    /// Numbers -> Float64, text -> Utf8View, TIMESTAMP and DATE -> Timestamp(us).
    Instant,
}

impl Argument {
    fn data_type(self, given: &DataType) -> DataType {
        match self {
            Self::Instant if given.is_string() => DataType::Utf8View,
            Self::Instant if given.is_numeric() => DataType::Float64,
            Self::Time | Self::TimeOrText | Self::Instant => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Integer => DataType::Int64,
            Self::Text => DataType::Utf8View,
            Self::Number => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Date => DataType::Date32,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Time => "TIMESTAMP",
            Self::TimeOrText => "TIMESTAMP or VARCHAR",
            Self::Integer => "BIGINT",
            Self::Text => "VARCHAR",
            Self::Number => "DOUBLE",
            Self::Boolean => "BOOLEAN",
            Self::Instant => "TIMESTAMP, VARCHAR or seconds",
            Self::Interval => "INTERVAL",
            Self::Date => "DATE",
        }
    }

    fn accepts(self, data_type: &DataType) -> bool {
        let time = matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
        let text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let fits = match self {
            Self::Time => time,
            Self::TimeOrText => time || text,
            Self::Integer => data_type.is_integer(),
            Self::Text => text,
            Self::Number => data_type.is_numeric(),
            Self::Boolean => *data_type == DataType::Boolean,
            Self::Interval => matches!(data_type, DataType::Interval(_)),
            Self::Date => *data_type == DataType::Date32,
            Self::Instant => time || text || data_type.is_numeric(),
        };
        fits || data_type.is_null()
    }
}

/// One function: its signature as data, its body as a function of casted arguments.
#[derive(Debug)]
struct Function {
    name: &'static str,
    arguments: &'static [Argument],
    /// How many arguments at the end may be left out.
    optional: usize,
    returns: DataType,
    signature: Signature,
    body: fn(&ScalarFunctionArgs) -> Result<ColumnarValue>,
    /// The result grows with the first argument (the others being literals).
    monotonic: bool,
}

impl Function {
    fn new(
        name: &'static str,
        arguments: &'static [Argument],
        returns: DataType,
        body: fn(&ScalarFunctionArgs) -> Result<ColumnarValue>,
    ) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self { name, arguments, optional: 0, returns, signature, body, monotonic: false }
    }
}

/// There is one function per name.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let fits = (self.arguments.len() - self.optional..=self.arguments.len()).contains(&arg_types.len())
            && self.arguments.iter().zip(arg_types).all(|(argument, data_type)| argument.accepts(data_type));
        if !fits {
            let expected: Vec<&str> = self.arguments.iter().map(|argument| argument.name()).collect();
            let found: Vec<String> = arg_types.iter().map(super::types::sql_name).collect();
            return plan_err!("{}({}) is called with ({})", self.name, expected.join(", "), found.join(", "));
        }
        Ok(self.arguments.iter().zip(arg_types).map(|(argument, given)| argument.data_type(given)).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.body)(&args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        Ok(match inputs.first() {
            Some(first) if self.monotonic => first.sort_properties,
            _ => SortProperties::Unordered,
        })
    }
}

/// Argument `n` as an array of as many rows as there are.
fn array(args: &ScalarFunctionArgs, n: usize) -> Result<ArrayRef> {
    match args.args.get(n) {
        Some(value) => value.to_array(args.number_rows),
        None => Err(exec_datafusion_err!("argument {n} is missing")),
    }
}

/// Argument `n` if it is one value for all rows.
fn scalar(args: &ScalarFunctionArgs, n: usize) -> Option<&ScalarValue> {
    match args.args.get(n) {
        Some(ColumnarValue::Scalar(value)) => Some(value),
        _ => None,
    }
}
