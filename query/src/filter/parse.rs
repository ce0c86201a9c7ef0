//! Builds a filter from its text, and checks each comparison against the column's type.

use arrow::datatypes::DataType;
use weir_flow::Column;
use weir_flow::schema::columns;

use super::scan::{Kind, Token, scan};
use super::{Comparison, Filter, FilterError, Operator, Value, filterable};
use crate::catalog::names;

/// Deepest nesting of parentheses and NOT.
const MAX_DEPTH: usize = 50;
/// Most comparisons.
const MAX_COMPARISONS: usize = 500;

/// Parses a filter; `None` if the text is blank.
pub(crate) fn parse(text: &str) -> Result<Option<Filter>, FilterError> {
    let tokens = scan(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), end, comparisons: 0 };
    let filter = parser.conjunction(0)?;
    match parser.tokens.next() {
        None => Ok(Some(filter)),
        Some(token) => Err(wrong(token.column, "this parenthesis was never opened: remove it")),
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    /// The column behind the last character.
    end: usize,
    comparisons: usize,
}

impl Parser {
    /// Terms joined by AND, or by nothing.
    fn conjunction(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut terms = vec![self.disjunction(depth)?];
        loop {
            match self.peek() {
                None | Some(Kind::Close) => break,
                Some(Kind::And) => {
                    self.tokens.next();
                }
                Some(_) => {}
            }
            terms.push(self.disjunction(depth)?);
        }
        Ok(one_or(terms, Filter::And))
    }

    /// Terms joined by OR, which binds tighter than AND.
    fn disjunction(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut terms = vec![self.term(depth)?];
        while let Some(Kind::Or) = self.peek() {
            self.tokens.next();
            terms.push(self.term(depth)?);
        }
        Ok(one_or(terms, Filter::Or))
    }

    fn term(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let Some(token) = self.tokens.next() else {
            return Err(wrong(self.end, "a comparison is missing here, like verdict=\"deny\""));
        };
        if depth > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} levels deep: use fewer parentheses");
            return Err(wrong(token.column, message));
        }
        match token.kind {
            Kind::Not => Ok(Filter::Not(Box::new(self.term(depth + 1)?))),
            Kind::Open => {
                let inner = self.conjunction(depth + 1)?;
                match self.tokens.next() {
                    Some(Token { kind: Kind::Close, .. }) => Ok(inner),
                    _ => Err(wrong(token.column, "this parenthesis is not closed: add a )")),
                }
            }
            Kind::Word(name) => self.comparison(&name, token.column),
            Kind::Quoted(text) => Err(wrong(
                token.column,
                format!("{text:?} stands alone: write which column, like source_pod={text:?}"),
            )),
            Kind::And | Kind::Or | Kind::Close | Kind::Operator(_) => {
                Err(wrong(token.column, "a comparison is missing here, like verdict=\"deny\""))
            }
        }
    }

    fn comparison(&mut self, name: &str, at: usize) -> Result<Filter, FilterError> {
        let Some(Kind::Operator(operator)) = self.peek().cloned() else {
            let message =
                format!("`{name}` stands alone: write which column, like source_pod:\"{name}\"");
            return Err(wrong(at, message));
        };
        self.tokens.next();
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            let message = format!("more than {MAX_COMPARISONS} comparisons: use POST /api/v1/sql");
            return Err(wrong(at, message));
        }
        let column = columns().iter().find(|column| column.name == name).ok_or_else(|| {
            let known = columns().iter().filter(|column| filterable(column));
            wrong(at, names::unknown(name, known.map(|column| column.name)))
        })?;
        let missing = |column| {
            wrong(column, format!("a value is missing after `{name}{operator}`: add one in quotes"))
        };
        let token = self.tokens.next().ok_or_else(|| missing(self.end))?;
        let text = match token.kind {
            Kind::Word(text) | Kind::Quoted(text) => text,
            Kind::Open => {
                let message =
                    format!("lists are not known here: write ({name}=\"a\" OR {name}=\"b\")");
                return Err(wrong(token.column, message));
            }
            _ => return Err(missing(token.column)),
        };
        let value =
            value(column, operator, text).map_err(|message| wrong(token.column, message))?;
        Ok(Filter::Compare(Comparison { column, operator, value }))
    }

    fn peek(&mut self) -> Option<&Kind> {
        self.tokens.peek().map(|token| &token.kind)
    }
}

/// The value as the column's type.
fn value(column: &Column, operator: Operator, text: String) -> Result<Value, String> {
    let name = column.name;
    let number = |most: u64| match text.parse() {
        Ok(number) if number <= most => Ok(Value::Number(number)),
        _ => Err(format!("{text:?} is no value of `{name}`: write a number from 0 to {most}")),
    };
    match &column.data_type {
        DataType::UInt8 => number(u8::MAX.into()),
        DataType::UInt16 => number(u16::MAX.into()),
        DataType::UInt64 => number(u64::MAX),
        DataType::Timestamp(..) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .and_then(|time| i64::try_from(time.as_nanosecond()).ok())
            .map(Value::Time)
            .ok_or_else(|| {
                format!("{text:?} is no time: write it like {name}>=\"2026-01-31T12:00:00Z\"")
            }),
        _ if filterable(column) => Ok(Value::Text(text)),
        _ => Err(format!(
            "`{name}` is a list or a map, which `{operator}` cannot compare: use POST /api/v1/sql"
        )),
    }
}

fn one_or(mut terms: Vec<Filter>, many: fn(Vec<Filter>) -> Filter) -> Filter {
    if terms.len() == 1 { terms.swap_remove(0) } else { many(terms) }
}

fn wrong(column: usize, message: impl Into<String>) -> FilterError {
    FilterError { column, message: message.into() }
}
