//! The Cloud Logging query language over table `flows`: the filter of `GET /api/v1/flows`, of the live
//! tail and of the Cloud Logging API.
//!
//! Text becomes tokens ([`scan`]), tokens a tree ([`parse`]), names in it the columns and the fields of
//! log entries that they mean ([`field`]), comparisons tests of a row ([`bind`], [`call`]), and
//! tests one expression of the engine ([`lower`]), which has a form in SQL too ([`sql`]).
//!
//! OR binds tighter than AND. A comparison with what a row does not have is false, `!=` too. Text is
//! compared without regard to case, but by regular expressions.

mod bind;
mod call;
pub(crate) mod entry;
mod error;
mod field;
mod literal;
mod lower;
mod parse;
mod payload;
mod scan;
mod sql;
mod syntax;
#[cfg(test)]
mod tests;

use datafusion::logical_expr::Expr;

pub(crate) use error::{FilterError, Warning};
pub(crate) use field::{Facet, filterable, names};

use crate::functions::text::Comparison as Operator;
use syntax::Tree;

/// Longest filter, in characters.
pub(crate) const MAX_CHARACTERS: usize = 20_000;

/// Which rows.
#[derive(Clone, Debug)]
pub(crate) struct Filter(Tree<Test>);

/// Something a row passes or not.
#[derive(Clone, Debug)]
struct Test {
    expr: Expr,
    /// Whether it may be null, which does not pass.
    nullable: bool,
}

/// What a text says.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    /// Which rows; `None` for all.
    pub(crate) filter: Option<Filter>,
    /// What probably is not meant so.
    pub(crate) warnings: Vec<Warning>,
    /// What the entries' resource says.
    pub(crate) names: Names,
}

/// What no row says of itself. Whoever asks may call the project and the location as they like: what
/// a filter demands of them is what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// The project, if one was named.
    pub(crate) project: Option<String>,
    /// The location, if one was named.
    pub(crate) location: Option<String>,
}

/// Parses a filter.
pub(crate) fn parse(text: &str) -> Result<Parsed, FilterError> {
    parse_for(text, Names::default())
}

/// Parses a filter of who has named the project already.
pub(crate) fn parse_for(text: &str, names: Names) -> Result<Parsed, FilterError> {
    let located = |error: error::Spanned| error.locate(text);
    let (tree, mut warnings) = parse::parse(text).map_err(located)?;
    let Some(tree) = tree else {
        return Ok(Parsed { filter: None, warnings: vec![], names });
    };
    let names = bind::name(&tree, names).map_err(located)?;
    let tests = bind::bind(tree, &names, &mut warnings).map_err(located)?;
    let warnings = warnings.into_iter().map(|warning| Warning(warning.locate(text))).collect();
    Ok(Parsed { filter: Some(Filter(tests)), warnings, names })
}

impl Filter {
    /// The rows for which an expression over table `flows` is true.
    pub(crate) fn of(expr: Expr) -> Self {
        Self(Tree::Leaf(Test { expr, nullable: true }))
    }

    /// The same as an expression over table `flows`: true for the rows that pass, else false or null.
    pub(crate) fn into_expr(self) -> Expr {
        lower::lower(self.0, false)
    }

    /// The same as a condition of SQL.
    pub(crate) fn to_sql(&self) -> String {
        sql::write(&self.clone().into_expr())
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
            Self::Matches => "=~",
            Self::NotMatches => "!~",
        }
    }
}

impl std::fmt::Display for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
