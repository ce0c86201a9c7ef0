//! What the functions' arguments have in common: constants, and texts in many forms.

use std::sync::Arc;

use arrow::array::{AnyDictionaryArray, Array, ArrayRef, AsArray as _, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use crate::error::QueryError;

/// An error of whoever wrote the query.
pub(super) fn invalid(message: impl Into<String>) -> datafusion::error::DataFusionError {
    QueryError::Invalid(message.into()).into()
}

/// The argument at that place, which must be a constant text.
pub(super) fn constant<'a>(
    function: &str,
    args: &'a ScalarFunctionArgs,
    index: usize,
) -> Result<&'a str> {
    match args.args.get(index) {
        Some(ColumnarValue::Scalar(value)) => value.try_as_str().flatten(),
        _ => None,
    }
    .ok_or_else(|| {
        let place = index + 1;
        invalid(format!("argument {place} of {function}() must be a text in single quotes"))
    })
}

/// Maps the first argument; a constant stays one.
pub(super) fn map_first(
    args: &ScalarFunctionArgs,
    map: impl FnOnce(&ArrayRef) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    match args.args.first() {
        Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(map(array)?)),
        Some(ColumnarValue::Scalar(value)) => {
            let mapped = map(&value.to_array()?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&mapped, 0)?))
        }
        None => Err(invalid("an argument is missing")),
    }
}

/// For each row whether a text of it passes: the row's own, or any of its list. Nulls never do. A
/// dictionary's distinct values are looked at once, so the cost does not grow with rows of equal
/// text.
pub(super) fn any_text(array: &ArrayRef, passes: &dyn Fn(&str) -> bool) -> Result<BooleanArray> {
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        return over_dictionary(dictionary, passes);
    }
    match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let members = any_text(lists.values(), passes)?;
            let any = |row: usize| {
                let [from, to] = [row, row + 1]
                    .map(|at| usize::try_from(lists.value_offsets()[at]).unwrap_or_default());
                lists.is_valid(row) && (from..to).any(|member| members.value(member))
            };
            Ok((0..lists.len()).map(any).collect::<Vec<bool>>().into())
        }
        DataType::Null => Ok(vec![false; array.len()].into()),
        _ => {
            let texts = cast(array, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>();
            Ok(texts.iter().map(|text| text.is_some_and(passes)).collect::<Vec<bool>>().into())
        }
    }
}

fn over_dictionary(
    dictionary: &dyn AnyDictionaryArray,
    passes: &dyn Fn(&str) -> bool,
) -> Result<BooleanArray> {
    // An empty dictionary has no key that `normalized_keys` could clamp to.
    if dictionary.values().is_empty() {
        return Ok(vec![false; dictionary.len()].into());
    }
    let values = any_text(dictionary.values(), passes)?;
    let keys = dictionary.normalized_keys();
    let row = |row: usize| dictionary.is_valid(row) && values.value(keys[row]);
    Ok((0..dictionary.len()).map(row).collect::<Vec<bool>>().into())
}

/// Booleans as a function's result.
pub(super) fn truths(values: BooleanArray) -> ArrayRef {
    Arc::new(values)
}
