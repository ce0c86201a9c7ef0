//! `current_setting(name)` and `current_setting(name, missing_ok)`: what `SHOW` says of what is the same for all.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray, BooleanArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::postgres::settings;

/// The function.
pub(super) fn function() -> ScalarUDF {
    let named = TypeSignature::Exact(vec![DataType::Utf8]);
    let or_null = TypeSignature::Exact(vec![DataType::Utf8, DataType::Boolean]);
    let signature = Signature::one_of(vec![named, or_null], Volatility::Immutable);
    ScalarUDF::new_from_impl(CurrentSetting { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentSetting {
    signature: Signature,
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &'static str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let names = arrays[0].as_string::<i32>();
        let missing_ok: Option<&BooleanArray> = arrays.get(1).map(AsArray::as_boolean);
        let values = names.iter().enumerate().map(|(at, name)| {
            let Some(name) = name else { return Ok(None) };
            let value = settings::fixed(name);
            let may_miss = missing_ok.is_some_and(|may| may.is_valid(at) && may.value(at));
            if value.is_none() && !may_miss {
                return exec_err!("there is no setting {name:?}");
            }
            Ok(value)
        });
        Ok(ColumnarValue::Array(Arc::new(values.collect::<Result<StringArray>>()?)))
    }
}
