//! Writes the expressions of filters as SQL.

use std::fmt::Write as _;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Case, InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr};

use crate::functions::units::time_text;

/// The expression as a condition of SQL over table `flows`.
pub(super) fn write(expr: &Expr) -> String {
    let mut text = String::new();
    put(expr, &mut text);
    text
}

/// A text as a constant of SQL.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn put(expr: &Expr, out: &mut String) {
    match expr {
        Expr::Column(column) => out.push_str(&column.name),
        Expr::Literal(value, _) => literal(value, out),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            operand(left, out);
            let _ = write!(out, " {op} ");
            operand(right, out);
        }
        Expr::Not(inner) => {
            out.push_str("NOT ");
            operand(inner, out);
        }
        Expr::IsTrue(inner) => suffixed(inner, "IS TRUE", out),
        Expr::IsNull(inner) => suffixed(inner, "IS NULL", out),
        Expr::IsNotNull(inner) => suffixed(inner, "IS NOT NULL", out),
        Expr::InList(InList { expr, list, negated }) => {
            put(expr, out);
            out.push_str(if *negated { " NOT IN (" } else { " IN (" });
            separated(list, out);
            out.push(')');
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            out.push_str(func.name());
            out.push('(');
            separated(args, out);
            out.push(')');
        }
        Expr::Case(Case { when_then_expr, else_expr, .. }) => {
            out.push_str("CASE");
            for (when, then) in when_then_expr {
                out.push_str(" WHEN ");
                put(when, out);
                out.push_str(" THEN ");
                put(then, out);
            }
            if let Some(otherwise) = else_expr {
                out.push_str(" ELSE ");
                put(otherwise, out);
            }
            out.push_str(" END");
        }
        // Filters are made of no others; the engine's own form says at least what it is.
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

fn operand(expr: &Expr, out: &mut String) {
    if matches!(expr, Expr::Column(_) | Expr::Literal(..) | Expr::ScalarFunction(_)) {
        put(expr, out);
    } else {
        out.push('(');
        put(expr, out);
        out.push(')');
    }
}

fn suffixed(inner: &Expr, suffix: &str, out: &mut String) {
    operand(inner, out);
    let _ = write!(out, " {suffix}");
}

fn separated(list: &[Expr], out: &mut String) {
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        put(item, out);
    }
}

fn literal(value: &ScalarValue, out: &mut String) {
    match value {
        ScalarValue::Utf8(Some(text)) => out.push_str(&quoted(text)),
        ScalarValue::TimestampNanosecond(Some(time), _) => {
            out.push_str(&quoted(&time_text(*time)));
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}
