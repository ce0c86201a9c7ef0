//! Compares a text column with a word, without regard to case. Works on the dictionary's distinct
//! values, so its cost does not grow with rows of equal text. A null never matches.

use arrow::array::{AnyDictionaryArray, Array, AsArray as _, BooleanArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::Operator;

/// The comparison as a function of one column.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TextMatch {
    /// Operator and word, so that two comparisons never have the same name.
    name: String,
    operator: Operator,
    /// In lower case.
    word: String,
    signature: Signature,
}

impl TextMatch {
    pub(super) fn new(operator: Operator, word: &str) -> Self {
        let word = word.to_lowercase();
        Self {
            name: format!("text {operator} {word:?}"),
            operator,
            word,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }

    fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let order = text.as_str().cmp(self.word.as_str());
        match self.operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Has => text.contains(&self.word),
        }
    }

    fn over_values(&self, values: &StringArray) -> Vec<bool> {
        values.iter().map(|value| value.is_some_and(|value| self.matches(value))).collect()
    }

    fn over_dictionary(&self, dictionary: &dyn AnyDictionaryArray) -> Result<BooleanArray> {
        let values = cast(dictionary.values(), &DataType::Utf8)?;
        let matching = self.over_values(values.as_string::<i32>());
        let keys = dictionary.normalized_keys();
        let rows = (0..dictionary.len())
            .map(|row| dictionary.is_valid(row) && matching.get(keys[row]).is_some_and(|m| *m));
        Ok(rows.collect::<Vec<bool>>().into())
    }
}

impl ScalarUDFImpl for TextMatch {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let [column] = columns.as_slice() else {
            return internal_err!("{} takes one column", self.name);
        };
        let rows = match column.as_any_dictionary_opt() {
            // An empty dictionary has no key that `normalized_keys` could clamp to.
            Some(dictionary) if !dictionary.values().is_empty() => {
                self.over_dictionary(dictionary)?
            }
            Some(dictionary) => vec![false; dictionary.len()].into(),
            None => {
                let text = cast(column, &DataType::Utf8)?;
                self.over_values(text.as_string::<i32>()).into()
            }
        };
        Ok(ColumnarValue::Array(std::sync::Arc::new(rows)))
    }
}
