//! Rows as plain ordered values, so that oracles can be written without Arrow.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, RecordBatchOptions,
    StringArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};

/// One value. Times, dates and all integers are `Int`.
#[derive(Debug, Clone)]
pub enum Value {
    /// NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any integer, date or time.
    Int(i64),
    /// A floating point number, ordered with NaN last.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Value>),
}

/// A row.
pub type Row = Vec<Value>;

/// Rows with their weights; none is 0.
pub type ZSet = BTreeMap<Row, i64>;

impl Value {
    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) => 2,
            Self::Float(_) => 3,
            Self::Text(_) => 4,
            Self::List(_) => 5,
        }
    }

    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The integer in it, if there is one.
    pub fn int(&self) -> Option<i64> {
        if let Self::Int(value) = self { Some(*value) } else { None }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::List(a), Self::List(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Value {}

/// Adds a row to a Z-set.
pub fn add(set: &mut ZSet, row: Row, weight: i64) {
    let sum = set.get(&row).copied().unwrap_or(0) + weight;
    if sum == 0 {
        set.remove(&row);
    } else {
        set.insert(row, sum);
    }
}

/// Adds many rows to a Z-set.
pub fn add_all(set: &mut ZSet, events: &[(Row, i64)]) {
    for (row, weight) in events {
        add(set, row.clone(), *weight);
    }
}

/// The rows as a batch.
pub fn batch_of(schema: &SchemaRef, rows: &[Row]) -> RecordBatch {
    let columns = schema.fields().iter().enumerate().map(|(index, field)| {
        let values = rows.iter().map(|row| row[index].clone()).collect::<Vec<_>>();
        array_of(field.data_type(), &values)
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect(), &options).expect("columns of the schema")
}

/// The rows of a batch.
pub fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let columns = batch.columns().iter().map(values_of).collect::<Vec<_>>();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

fn array_of(data_type: &DataType, values: &[Value]) -> ArrayRef {
    let array: ArrayRef = match data_type {
        DataType::List(field) => {
            let lists = values.iter().map(|value| if let Value::List(items) = value { items.clone() } else { vec![] });
            let lists = lists.collect::<Vec<_>>();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
            let nulls = NullBuffer::from_iter(values.iter().map(|value| !value.is_null()));
            let items = array_of(field.data_type(), &lists.concat());
            return Arc::new(ListArray::new(field.clone(), offsets, items, Some(nulls)));
        }
        DataType::Boolean => Arc::new(BooleanArray::from_iter(
            values.iter().map(|value| if let Value::Bool(value) = value { Some(*value) } else { None }),
        )),
        DataType::Float32 | DataType::Float64 => Arc::new(Float64Array::from_iter(
            values.iter().map(|value| if let Value::Float(value) = value { Some(*value) } else { None }),
        )),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Arc::new(StringArray::from_iter(
            values.iter().map(|value| if let Value::Text(value) = value { Some(value.as_str()) } else { None }),
        )),
        _ => Arc::new(Int64Array::from_iter(values.iter().map(Value::int))),
    };
    cast(&array, data_type).expect("a type that the harness knows")
}

fn values_of(array: &ArrayRef) -> Vec<Value> {
    let get = |value: &dyn Fn(usize) -> Value| {
        (0..array.len()).map(|row| if array.is_null(row) { Value::Null } else { value(row) }).collect()
    };
    match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            get(&|row| Value::List(values_of(&lists.value(row))))
        }
        DataType::Boolean => get(&|row| Value::Bool(array.as_boolean().value(row))),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let floats = cast(array, &DataType::Float64).expect("a float");
            get(&|row| Value::Float(floats.as_primitive::<Float64Type>().value(row)))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let text = cast(array, &DataType::Utf8).expect("a string");
            get(&|row| Value::Text(text.as_string::<i32>().value(row).to_owned()))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let bytes = cast(array, &DataType::Binary).expect("bytes");
            get(&|row| Value::Text(format!("{:?}", bytes.as_binary::<i32>().value(row))))
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => {
            let floats = cast(array, &DataType::Float64).expect("a decimal");
            let value = |row| floats.as_primitive::<Float64Type>().value(row);
            let whole = |value: f64| if value.fract() == 0.0 { Value::Int(value as i64) } else { Value::Float(value) };
            get(&|row| whole(value(row)))
        }
        DataType::Date32 | DataType::Time32(_) => {
            let ints = cast(&cast(array, &DataType::Int32).expect("a date"), &DataType::Int64).expect("an integer");
            get(&|row| Value::Int(ints.as_primitive::<Int64Type>().value(row)))
        }
        _ => {
            let ints = cast(array, &DataType::Int64).expect("an integer, date or time");
            get(&|row| Value::Int(ints.as_primitive::<Int64Type>().value(row)))
        }
    }
}
