//! `in_sample(value, fraction)`: a part of all values, always the same.

use arrow::array::BooleanArray;
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::convert::texts;
use super::scalar::{constant, invalid, map_first, truths};

/// Whether a value is in a sample of that fraction, by a digest of its text. A null never is.
pub(crate) fn in_sample() -> ScalarUDF {
    ScalarUDF::new_from_impl(InSample { signature: Signature::any(2, Volatility::Immutable) })
}

/// A fraction above 0 and up to 1, or what is wrong with it.
pub(crate) fn fraction(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok();
    number
        .filter(|fraction| *fraction > 0.0 && *fraction <= 1.0)
        .ok_or_else(|| format!("{text:?} is no fraction: write a number above 0 and up to 1"))
}

/// Whether a text is in the sample.
pub(crate) fn is_in(text: &str, fraction: f64) -> bool {
    // FNV-1a, then the finaliser of SplitMix64, which spreads it over all bits.
    let seed = 0xcbf2_9ce4_8422_2325_u64;
    let hash = text
        .bytes()
        .fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mixed = mixed ^ (mixed >> 31);
    // 53 bits are what a double holds exactly.
    let position = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    position < fraction
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InSample {
    signature: Signature,
}

impl ScalarUDFImpl for InSample {
    fn name(&self) -> &'static str {
        "in_sample"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let fraction = fraction(constant(self.name(), &args, 1)?).map_err(invalid)?;
        let chosen = |text: Option<&str>| text.is_some_and(|text| is_in(text, fraction));
        map_first(&args, |array| {
            let rows: Vec<bool> = texts(array, None)?.iter().map(chosen).collect();
            Ok(truths(BooleanArray::from(rows)))
        })
    }
}
