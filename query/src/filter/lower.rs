//! Turns a filter into an expression of the query engine.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator as Binary, ScalarUDF, binary_expr, col, lit};
use weir_flow::Column;

use super::text::TextMatch;
use super::{Comparison, Filter, Operator, Value};
use crate::engine::time;

/// Whether a filter may compare the column: it is text, a number or a time.
pub(crate) fn filterable(column: &Column) -> bool {
    matches!(
        column.data_type,
        DataType::Dictionary(..)
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt64
            | DataType::Timestamp(..)
    )
}

pub(super) fn lower(filter: Filter) -> Expr {
    match filter {
        Filter::And(terms) => balanced(terms, Binary::And),
        Filter::Or(terms) => balanced(terms, Binary::Or),
        Filter::Not(inner) => Expr::Not(Box::new(lower(*inner))),
        Filter::Compare(comparison) => compare(comparison),
    }
}

/// A tree of least depth, so that many terms need little stack.
fn balanced(mut terms: Vec<Filter>, operator: Binary) -> Expr {
    if terms.len() == 1 {
        return lower(terms.swap_remove(0));
    }
    let right = terms.split_off(terms.len() / 2);
    binary_expr(balanced(terms, operator), operator, balanced(right, operator))
}

fn compare(comparison: Comparison) -> Expr {
    let Comparison { column, operator, value } = comparison;
    let literal = match value {
        Value::Text(text) => {
            let function = ScalarUDF::new_from_impl(TextMatch::new(operator, &text));
            return function.call(vec![col(column.name)]);
        }
        Value::Time(nanoseconds) => time(nanoseconds),
        Value::Number(number) => lit(literal(&column.data_type, number)),
    };
    let compared = binary_expr(col(column.name), binary(operator), literal);
    if column.nullable { compared.is_true() } else { compared }
}

/// The number in the column's own type; the parser has checked that it fits.
fn literal(data_type: &DataType, number: u64) -> ScalarValue {
    match data_type {
        DataType::UInt8 => ScalarValue::UInt8(u8::try_from(number).ok()),
        DataType::UInt16 => ScalarValue::UInt16(u16::try_from(number).ok()),
        _ => ScalarValue::UInt64(Some(number)),
    }
}

fn binary(operator: Operator) -> Binary {
    match operator {
        Operator::Equal | Operator::Has => Binary::Eq,
        Operator::NotEqual => Binary::NotEq,
        Operator::Less => Binary::Lt,
        Operator::LessOrEqual => Binary::LtEq,
        Operator::Greater => Binary::Gt,
        Operator::GreaterOrEqual => Binary::GtEq,
    }
}
