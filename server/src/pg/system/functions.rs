//! Functions of PostgreSQL that queries of system tables call and `datafusion-pg-catalog` leaves out.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StringViewArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, create_udf,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use super::DATABASE;
use super::relations::Catalog;
use crate::pg::session::SETTINGS;
use crate::pg::startup::SERVER_VERSION;
use crate::pg::types::KNOWN;

/// The elements of an array with their places: `information_schema._pg_expandarray`, of which `unnest` makes rows.
pub const EXPANDED: &str = "_pg_expandarray";
/// The places of an array's elements, of which `unnest` makes rows.
pub const SUBSCRIPTS: &str = "generate_subscripts";
/// The number of a relation by its name.
pub const NUMBER: &str = "to_regclass";

/// Makes the functions known.
pub fn register(context: &SessionContext, relations: &Arc<Catalog>) {
    let version = format!("PostgreSQL {SERVER_VERSION} (Frazil {})", env!("CARGO_PKG_VERSION"));
    let text = || DataType::Utf8View;
    let stable = Volatility::Stable;
    // There are no advisory locks.
    let constants = [("version", version.as_str()), ("current_database", DATABASE), ("pg_advisory_unlock_all", "")];
    for (name, value) in constants {
        let value = ScalarValue::Utf8View(Some(value.to_owned()));
        let constant = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone()));
        context.register_udf(create_udf(name, vec![], text(), stable, Arc::new(constant)));
    }
    context.register_udf(create_udf("to_regtype", vec![text()], DataType::Int32, stable, Arc::new(type_number)));
    // Nothing that can be set so changes an answer.
    let set = |arguments: &[ColumnarValue]| Ok(arguments[1].clone());
    let three = vec![text(), text(), DataType::Boolean];
    context.register_udf(create_udf("set_config", three, text(), stable, Arc::new(set)));
    context.register_udf(create_udf("current_setting", vec![text()], text(), stable, Arc::new(setting)));
    context.register_udf(create_udf("quote_literal", vec![text()], text(), stable, Arc::new(quoted)));
    let visible = |arguments: &[ColumnarValue]| {
        let numbers = ColumnarValue::values_to_arrays(arguments)?;
        let all = arrow::array::BooleanArray::from(vec![true; numbers[0].len()]);
        Ok(ColumnarValue::Array(Arc::new(all)))
    };
    for name in ["pg_type_is_visible", "pg_function_is_visible", "pg_collation_is_visible"] {
        context.register_udf(create_udf(name, vec![DataType::Int32], DataType::Boolean, stable, Arc::new(visible)));
    }
    context.register_udf(Function::named(EXPANDED, expanded_type, expanded));
    context.register_udf(Function::named(SUBSCRIPTS, |_| Ok(list(DataType::Int32)), subscripts));
    let indexes = relations.clone();
    let definition = move |arguments: &[ArrayRef]| definitions(&indexes, arguments);
    context.register_udf(Function::named("pg_get_indexdef", |_| Ok(DataType::Utf8View), definition));
    let relations = relations.clone();
    let number = move |arguments: &[ArrayRef]| relation_numbers(&relations, &arguments[0]);
    context.register_udf(Function::named(NUMBER, |_| Ok(DataType::Int32), number));
}

/// The first argument, which is text of whatever kind.
fn first_text(arguments: &[ColumnarValue]) -> Result<ArrayRef> {
    let arguments = ColumnarValue::values_to_arrays(arguments)?;
    Ok(cast(&arguments[0], &DataType::Utf8View)?)
}

fn setting(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let names = first_text(arguments)?;
    let value = |name: Option<&str>| {
        let (_, value) = SETTINGS.into_iter().find(|(known, _)| Some(*known) == name)?;
        Some(value)
    };
    Ok(ColumnarValue::Array(Arc::new(names.as_string_view().iter().map(value).collect::<StringViewArray>())))
}

fn quoted(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let texts = first_text(arguments)?;
    let quoted = |text: Option<&str>| Some(format!("'{}'", text?.replace('\'', "''")));
    Ok(ColumnarValue::Array(Arc::new(texts.as_string_view().iter().map(quoted).collect::<StringViewArray>())))
}

fn type_number(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let names = first_text(arguments)?;
    let number = |name: Option<&str>| {
        let name = name?.strip_prefix("pg_catalog.").or(name)?.to_ascii_lowercase();
        KNOWN.iter().find(|known| known.name() == name).map(|known| known.oid() as i32)
    };
    Ok(ColumnarValue::Array(Arc::new(names.as_string_view().iter().map(number).collect::<Int32Array>())))
}

/// Numbers of relations by their names; numbers stay what they are.
fn relation_numbers(relations: &Catalog, values: &ArrayRef) -> Result<ArrayRef> {
    if values.data_type().is_integer() {
        return Ok(cast(values, &DataType::Int32)?);
    }
    let names = cast(values, &DataType::Utf8View)?;
    let number = |name: Option<&str>| {
        let name = name?.trim_start_matches("public.").trim_matches('"');
        relations.number(name)
    };
    Ok(Arc::new(names.as_string_view().iter().map(number).collect::<Int32Array>()))
}

/// How indexes are defined, or with a second argument that is not 0, which column stands at that place.
fn definitions(relations: &Catalog, arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let numbers = cast(&arguments[0], &DataType::Int32)?;
    let places = arguments.get(1).map(|places| cast(places, &DataType::Int32)).transpose()?;
    let definition = |(row, number): (usize, Option<i32>)| {
        let place = places.as_ref().map_or(0, |places| places.as_primitive::<Int32Type>().value(row));
        let index = relations.index(number?)?;
        match usize::try_from(place).ok()? {
            0 => Some(format!(
                "CREATE UNIQUE INDEX {} ON public.{} USING btree ({})",
                index.name,
                index.table,
                index.columns.join(", ")
            )),
            place => index.columns.get(place - 1).cloned(),
        }
    };
    let definitions = numbers.as_primitive::<Int32Type>().iter().enumerate().map(definition);
    Ok(Arc::new(definitions.collect::<StringViewArray>()))
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// `x`: an element, `n`: its place.
fn pair(item: &DataType) -> Fields {
    vec![Field::new("x", item.clone(), true), Field::new("n", DataType::Int32, true)].into()
}

fn expanded_type(argument: &DataType) -> Result<DataType> {
    let item = match argument {
        DataType::List(item) => item.data_type(),
        _ => &DataType::Int16,
    };
    Ok(list(DataType::Struct(pair(item))))
}

fn expanded(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let values = &arguments[0];
    let Some((offsets, items, nulls)) = parts(values) else { return empty(values, expanded_type(values.data_type())?) };
    let fields = pair(items.data_type());
    let places: ArrayRef = Arc::new(places(&offsets));
    let pairs = StructArray::try_new(fields.clone(), vec![items, places], None)?;
    let field = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(pairs), nulls)?))
}

fn subscripts(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let values = &arguments[0];
    let Some((offsets, _, nulls)) = parts(values) else { return empty(values, list(DataType::Int32)) };
    let field = Arc::new(Field::new_list_field(DataType::Int32, true));
    let places = Arc::new(places(&offsets));
    Ok(Arc::new(ListArray::try_new(field, offsets, places, nulls)?))
}

/// What is no array has no elements.
fn empty(values: &ArrayRef, data_type: DataType) -> Result<ArrayRef> {
    Ok(arrow::array::new_null_array(&data_type, values.len()))
}

/// The elements of arrays, those of the first first, with offsets from 0.
fn parts(values: &ArrayRef) -> Option<(OffsetBuffer<i32>, ArrayRef, Option<NullBuffer>)> {
    let lists = values.as_list_opt::<i32>()?;
    let (from, to) = (lists.value_offsets()[0], lists.value_offsets()[lists.len()]);
    let items = lists.values().slice(from as usize, (to - from) as usize);
    let offsets = OffsetBuffer::from_lengths((0..lists.len()).map(|list| lists.value_length(list) as usize));
    Some((offsets, items, lists.nulls().cloned()))
}

fn places(offsets: &OffsetBuffer<i32>) -> Int32Array {
    offsets.windows(2).flat_map(|ends| 1..=ends[1] - ends[0]).collect()
}

type Compute = dyn Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync;

/// A function whose first argument decides about its type; there is at least that one.
struct Function {
    name: &'static str,
    signature: Signature,
    returns: fn(&DataType) -> Result<DataType>,
    compute: Arc<Compute>,
}

impl Function {
    fn named(
        name: &'static str,
        returns: fn(&DataType) -> Result<DataType>,
        compute: impl Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> ScalarUDF {
        let signature = Signature::variadic_any(Volatility::Stable);
        ScalarUDF::from(Self { name, signature, returns, compute: Arc::new(compute) })
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

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

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let missing = || DataFusionError::Plan(format!("{} needs an argument", self.name));
        (self.returns)(arguments.first().ok_or_else(missing)?)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to_array = |argument: &ColumnarValue| argument.to_array(arguments.number_rows);
        let values = arguments.args.iter().map(to_array).collect::<Result<Vec<_>>>()?;
        Ok(ColumnarValue::Array((self.compute)(&values)?))
    }
}
