//! Functions that make much out of little would take memory that no pool counts: they are left out
//! where plain SQL has no need of them, and bounded where it has.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry as _, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::error::QueryError;

/// Scalar functions whose result is not bounded by their arguments' size.
const LEFT_OUT: [&str; 4] = ["range", "generate_series", "array_repeat", "array_resize"];
/// Scalar functions with a length as second argument.
const BOUNDED: [&str; 3] = ["repeat", "lpad", "rpad"];
/// Table functions that count.
const SERIES: [&str; 2] = ["generate_series", "range"];
/// Most bytes that a bounded function makes of a batch.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Most rows of a series.
const MAX_SERIES: i128 = 10_000_000;

/// Takes out and bounds.
pub(crate) fn restrict(state: &mut SessionState) -> Result<()> {
    for name in LEFT_OUT {
        state.deregister_udf(name)?;
    }
    for name in BOUNDED {
        let inner = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(Bounded { inner })))?;
    }
    for name in SERIES {
        if let Some(inner) = state.deregister_udtf(name)? {
            state.register_udtf(name, Arc::new(Series { inner }));
        }
    }
    Ok(())
}

/// A function that checks the size of its result before it makes it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<arrow::datatypes::FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.size(&args)? > MAX_BYTES {
            let name = self.name();
            return Err(QueryError::Invalid(format!(
                "{name}() would make more than {MAX_BYTES} bytes: give it a smaller length"
            ))
            .into());
        }
        self.inner.invoke_with_args(args)
    }
}

impl Bounded {
    /// An upper bound of the result's bytes.
    fn size(&self, args: &ScalarFunctionArgs) -> Result<u64> {
        let [text, length, ..] = args.args.as_slice() else { return Ok(0) };
        let arrays = ColumnarValue::values_to_arrays(&[text.clone(), length.clone()])?;
        let text = cast(&arrays[0], &DataType::LargeUtf8)?;
        let text = text.as_string::<i64>();
        let length = cast(&arrays[1], &DataType::Int64)?;
        let length: &Int64Array = length.as_primitive::<Int64Type>();
        let repeats = self.name() == "repeat";
        // Scalars are one row here, and are made once too.
        let sizes =
            (0..text.len()).filter(|row| text.is_valid(*row) && length.is_valid(*row)).map(|row| {
                let length = u64::try_from(length.value(row)).unwrap_or(0);
                // A character has at most four bytes.
                let unit = if repeats { text.value(row).len() as u64 } else { 4 };
                length.saturating_mul(unit)
            });
        Ok(sizes.fold(0, u64::saturating_add))
    }
}

/// A series that ends.
#[derive(Debug)]
struct Series {
    inner: Arc<dyn TableFunctionImpl>,
}

impl TableFunctionImpl for Series {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let numbers: Vec<Option<i128>> = args.exprs().iter().map(number).collect();
        let (start, stop, step) = match numbers.as_slice() {
            [Some(stop)] => (0, *stop, 1),
            [Some(start), Some(stop)] => (*start, *stop, 1),
            [Some(start), Some(stop), Some(step)] => (*start, *stop, *step),
            // Not numbers: times, or an error that the function itself explains.
            _ => return self.inner.call_with_args(args),
        };
        if step != 0 && ((stop - start) / step) > MAX_SERIES {
            return Err(QueryError::Invalid(format!(
                "a series has at most {MAX_SERIES} rows: use a shorter range or a larger step"
            ))
            .into());
        }
        self.inner.call_with_args(args)
    }
}

fn number(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Some(i128::from(*value)),
        Expr::Negative(inner) => number(inner).map(|value| -value),
        _ => None,
    }
}
