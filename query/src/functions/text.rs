//! `text_equal(text, 'word')` and its siblings, `text_search`, `regexp_extract`: comparisons of texts
//! as the Cloud Logging language has them. The text may be a list: then one member is enough. A
//! null never passes, not even as "not equal".

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::{Regex, RegexBuilder};

use super::fold::{fold, has_token, tokens};
use super::scalar::{any_text, constant, invalid, map_first, truths};

/// Largest compiled regular expression, bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// How texts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Contains.
    Has,
    /// Has a part that a regular expression matches; case counts.
    Matches,
    /// Has none.
    NotMatches,
}

impl Comparison {
    pub(crate) const ALL: [Self; 9] = [
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessOrEqual,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Has,
        Self::Matches,
        Self::NotMatches,
    ];

    const fn function_name(self) -> &'static str {
        match self {
            Self::Equal => "text_equal",
            Self::NotEqual => "text_not_equal",
            Self::Less => "text_less",
            Self::LessOrEqual => "text_less_or_equal",
            Self::Greater => "text_greater",
            Self::GreaterOrEqual => "text_greater_or_equal",
            Self::Has => "text_has",
            Self::Matches => "text_matches",
            Self::NotMatches => "text_not_matches",
        }
    }

    /// Whether two values in that order pass; `Has` is equality, of what has no parts.
    pub(crate) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal | Self::Has => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Matches | Self::NotMatches => false,
        }
    }

    /// Whether texts pass the comparison with this one.
    ///
    /// # Errors
    /// The regular expression is none.
    pub(crate) fn with(self, word: &str) -> Result<Passes, String> {
        if matches!(self, Self::Matches | Self::NotMatches) {
            let (regex, wanted) = (regex(word)?, self == Self::Matches);
            return Ok(Box::new(move |text| regex.is_match(text) == wanted));
        }
        let word = fold(word).into_owned();
        Ok(Box::new(move |text| {
            let text = fold(text);
            match self {
                Self::Has => text.contains(&word),
                _ => self.holds(text.as_ref().cmp(word.as_str())),
            }
        }))
    }
}

/// Whether a text passes.
pub(crate) type Passes = Box<dyn Fn(&str) -> bool>;

/// A regular expression, or what is wrong with it.
pub(crate) fn regex(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(MAX_REGEX_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            "the regular expression is too large: repeat less, or write it shorter".to_owned()
        }
        error => {
            // The last line says what, those before draw where.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let cause = last.trim_start_matches("error: ");
            format!("the regular expression cannot be read: {cause}")
        }
    })
}

/// A comparison as a function of a text and a word.
pub(crate) fn function(comparison: Comparison) -> ScalarUDF {
    let signature = Signature::any(2, Volatility::Immutable);
    ScalarUDF::new_from_impl(TextFunction { comparison, signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextFunction {
    comparison: Comparison,
    signature: Signature,
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        self.comparison.function_name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let word = constant(self.name(), &args, 1)?;
        let passes = self.comparison.with(word).map_err(invalid)?;
        map_first(&args, |array| any_text(array, &passes).map(truths))
    }
}

/// `text_search(text, 'words')`: whether it has all the words, in any order.
pub(crate) fn text_search() -> ScalarUDF {
    let signature = Signature::any(2, Volatility::Immutable);
    ScalarUDF::new_from_impl(TextSearch { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextSearch {
    signature: Signature,
}

impl ScalarUDFImpl for TextSearch {
    fn name(&self) -> &'static str {
        "text_search"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let tokens = tokens(constant(self.name(), &args, 1)?);
        let passes = |text: &str| tokens.iter().all(|token| has_token(text, token));
        map_first(&args, |array| any_text(array, &passes).map(truths))
    }
}

/// `regexp_extract(text, 'a(b)c')`: what the one group of the first match has; null without one.
pub(crate) fn regexp_extract() -> ScalarUDF {
    let signature = Signature::any(2, Volatility::Immutable);
    ScalarUDF::new_from_impl(RegexpExtract { signature })
}

/// A regular expression with one group, or what is wrong with it.
pub(crate) fn extracting_regex(text: &str) -> Result<Regex, String> {
    let regex = regex(text)?;
    match regex.captures_len() {
        2 => Ok(regex),
        groups => Err(format!(
            "the regular expression has {} groups: put exactly one part of it into parentheses, \
             like \"^([a-z]+)-\"",
            groups - 1
        )),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RegexpExtract {
    signature: Signature,
}

impl ScalarUDFImpl for RegexpExtract {
    fn name(&self) -> &'static str {
        "regexp_extract"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let regex = extracting_regex(constant(self.name(), &args, 1)?).map_err(invalid)?;
        map_first(&args, |array| {
            let texts = cast(array, &DataType::Utf8)?;
            let group = |text: Option<&str>| -> Option<String> {
                Some(regex.captures(text?)?.get(1)?.as_str().to_owned())
            };
            let groups: StringArray = texts.as_string::<i32>().iter().map(group).collect();
            Ok(Arc::new(groups) as ArrayRef)
        })
    }
}
