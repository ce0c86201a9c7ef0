//! Values as they are written, and how they compare with what rows have.

use std::cmp::Ordering;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator as Binary, binary_expr, col, lit};
use weir_flow::Column;

use super::Operator;
use crate::functions::units::duration_ns;

/// Names of severities and the numbers behind them, as in the Cloud Logging API.
const SEVERITIES: [(&str, i64); 9] = [
    ("DEFAULT", 0),
    ("DEBUG", 100),
    ("INFO", 200),
    ("NOTICE", 300),
    ("WARNING", 400),
    ("ERROR", 500),
    ("CRITICAL", 600),
    ("ALERT", 700),
    ("EMERGENCY", 800),
];

/// The number of a severity by its name, or by the number itself.
pub(super) fn severity(text: &str) -> Option<i64> {
    let named = SEVERITIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    named.map(|(_, number)| *number).or_else(|| text.parse().ok())
}

/// A finite number.
pub(super) fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A number as the whole numbers next to it, downwards and upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    floor: i128,
    ceiling: i128,
}

impl Bounds {
    /// Of a number that is written; columns of nanoseconds take durations too.
    pub(super) fn parse(text: &str, column: &str) -> Option<Self> {
        let text = text.trim();
        let whole = |number: i128| Self { floor: number, ceiling: number };
        if let Ok(number) = text.parse::<i128>() {
            return Some(whole(number));
        }
        if column.ends_with("_ns")
            && let Some(duration) = duration_ns(text)
        {
            return Some(whole(i128::from(duration)));
        }
        let number = number(text)?;
        // Beyond that no column reaches.
        let bounded = |number: f64| number.clamp(-1e30, 1e30) as i128;
        Some(Self { floor: bounded(number.floor()), ceiling: bounded(number.ceil()) })
    }
}

/// A comparison of a column of whole numbers, and whether it may be null.
pub(super) fn compare_column(column: &Column, operator: Operator, bounds: Bounds) -> Expr {
    let most = match column.data_type {
        DataType::UInt8 => i128::from(u8::MAX),
        DataType::UInt16 => i128::from(u16::MAX),
        _ => i128::from(u64::MAX),
    };
    let exact = bounds.floor == bounds.ceiling;
    let (operator, number) = match operator {
        Operator::Less => (Binary::Lt, bounds.ceiling),
        Operator::LessOrEqual => (Binary::LtEq, bounds.floor),
        Operator::Greater => (Binary::Gt, bounds.floor),
        Operator::GreaterOrEqual => (Binary::GtEq, bounds.ceiling),
        Operator::NotEqual => (Binary::NotEq, bounds.floor),
        _ => (Binary::Eq, bounds.floor),
    };
    let all = || if column.nullable { col(column.name).is_not_null() } else { lit(true) };
    let equality = matches!(operator, Binary::Eq | Binary::NotEq);
    if (equality && !exact) || !(0..=most).contains(&number) {
        let passes = match operator {
            Binary::Eq => false,
            Binary::NotEq => true,
            Binary::Lt | Binary::LtEq => number > most,
            _ => number < 0,
        };
        return if passes { all() } else { lit(false) };
    }
    let value = match column.data_type {
        DataType::UInt8 => ScalarValue::UInt8(u8::try_from(number).ok()),
        DataType::UInt16 => ScalarValue::UInt16(u16::try_from(number).ok()),
        _ => ScalarValue::UInt64(u64::try_from(number).ok()),
    };
    binary_expr(col(column.name), operator, lit(value))
}

/// The engine's operator for values in order.
pub(super) fn binary(operator: Operator) -> Binary {
    match operator {
        Operator::NotEqual => Binary::NotEq,
        Operator::Less => Binary::Lt,
        Operator::LessOrEqual => Binary::LtEq,
        Operator::Greater => Binary::Gt,
        Operator::GreaterOrEqual => Binary::GtEq,
        _ => Binary::Eq,
    }
}

/// Whether two numbers pass.
pub(super) fn holds(operator: Operator, left: f64, right: f64) -> bool {
    operator.holds(left.partial_cmp(&right).unwrap_or(Ordering::Less))
}
