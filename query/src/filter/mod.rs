//! The filter of `GET /api/v1/flows`: comparisons of columns joined by AND, OR and NOT.
//!
//! The rules are those of the Cloud Logging language, of which this is a part: OR binds tighter
//! than AND, AND may be left out, a leading `-` is NOT, text is compared without regard to case,
//! and a comparison with a null is false, `!=` too.

mod lower;
mod parse;
mod scan;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;

use datafusion::logical_expr::Expr;
use weir_flow::Column;

pub(crate) use lower::filterable;
pub(crate) use parse::parse;

/// Longest filter, in characters.
pub(crate) const MAX_CHARACTERS: usize = 20_000;

/// A parsed filter.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    /// All are true.
    And(Vec<Filter>),
    /// At least one is true.
    Or(Vec<Filter>),
    /// It is not true.
    Not(Box<Filter>),
    /// A column against a value.
    Compare(Comparison),
}

/// A column against a value.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) column: &'static Column,
    pub(crate) operator: Operator,
    pub(crate) value: Value,
}

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Contains, of text; equal, of anything else.
    Has,
}

/// What a column is compared with, of the column's type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    /// Nanoseconds since 1970.
    Time(i64),
}

/// What is wrong with a filter, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter, column {column}: {message}")]
pub(crate) struct FilterError {
    /// The character, from 1.
    pub(crate) column: usize,
    /// What is wrong and how to mend it.
    pub(crate) message: String,
}

impl Filter {
    /// The same as an expression over table `flows`; it is never null.
    pub(crate) fn into_expr(self) -> Expr {
        lower::lower(self)
    }
}

impl Operator {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Has => ":",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
