//! Fields of structs: those of a struct that is NULL are NULL, whatever lies there. DataFusion's `get_field` gives what lies there,
//! which is not the same for a row that comes and for the same row when it goes.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::scalar::ScalarValue;

/// `get_field`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct StructField {
    inner: Arc<ScalarUDF>,
}

impl StructField {
    /// In place of DataFusion's.
    pub fn new(inner: Arc<ScalarUDF>) -> Self {
        Self { inner }
    }

    /// Whether a function is this one already.
    pub fn is(function: &ScalarUDF) -> bool {
        function.inner().as_any().is::<Self>()
    }

    /// One step into a value.
    fn field(&self, base: &ColumnarValue, name: &ColumnarValue, args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
        if !matches!(base.data_type(), DataType::Struct(_)) {
            let args = ScalarFunctionArgs { args: vec![base.clone(), name.clone()], ..args.clone() };
            return self.inner.invoke_with_args(args);
        }
        let ColumnarValue::Scalar(name) = name else { return exec_err!("the name of a field is no constant") };
        let Some(Some(name)) = name.try_as_str() else { return exec_err!("{name} is no name of a field") };
        let of = |array: &ArrayRef| {
            let structs = array.as_struct();
            match structs.column_by_name(name) {
                Some(field) => masked(field, structs.nulls()),
                None => exec_err!("there is no field {name} in the struct"),
            }
        };
        Ok(match base {
            ColumnarValue::Array(array) => ColumnarValue::Array(of(array)?),
            ColumnarValue::Scalar(scalar) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&of(&scalar.to_array()?)?, 0)?)
            }
        })
    }
}

/// An array that is NULL in more places.
fn masked(array: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return Ok(array.clone()) };
    if *array.data_type() == DataType::Null {
        return Ok(array.clone());
    }
    let all = NullBuffer::union(Some(nulls), array.nulls());
    Ok(make_array(array.to_data().into_builder().nulls(all).build()?))
}

impl ScalarUDFImpl for StructField {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((base, names)) = args.args.split_first() else { return exec_err!("a field of nothing") };
        names.iter().try_fold(base.clone(), |value, name| self.field(&value, name, &args))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StructArray};
    use arrow::datatypes::{Field, Fields, Int64Type};
    use datafusion::config::ConfigOptions;
    use datafusion::functions::core::get_field;

    use super::*;

    #[test]
    fn what_lies_under_null_is_not_seen() {
        let fields: Fields = vec![Field::new("x", DataType::Int64, true)].into();
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
        let nulls = NullBuffer::from(vec![true, false, true]);
        let structs = StructArray::new(fields.clone(), vec![values], Some(nulls));
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::new(structs)), ColumnarValue::Scalar(ScalarValue::from("x"))],
            arg_fields: vec![],
            number_rows: 3,
            return_field: Arc::new(Field::new("x", DataType::Int64, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let ColumnarValue::Array(found) = StructField::new(get_field()).invoke_with_args(args).unwrap() else {
            panic!("one value for three rows");
        };
        assert_eq!(found.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), None, None]);
    }
}
