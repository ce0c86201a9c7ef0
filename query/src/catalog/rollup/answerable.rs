//! Which expressions over stored columns have the same value for a row and for its edge.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, Operator};

use crate::catalog::edges::{MINUTE_NS, is_key};
use crate::catalog::range::{TimeRange, nanoseconds};
use crate::functions::convert::bucket_ns;

/// Whether the expression is made of keys of the roll-up, and of time by whole minutes.
pub(super) fn is_answerable(expr: &Expr) -> bool {
    let mut answerable = true;
    // The closure never fails.
    let _ = expr.apply(|expr| {
        Ok(match expr {
            _ if is_whole_minutes(expr) => TreeNodeRecursion::Jump,
            Expr::Column(column) if !is_key(&column.name) => {
                answerable = false;
                TreeNodeRecursion::Stop
            }
            _ => TreeNodeRecursion::Continue,
        })
    });
    answerable
}

/// The bounds of a plain comparison of `time` with a literal.
pub(super) fn time_range(condition: &Expr) -> Option<TimeRange> {
    let (time, bounds) = match condition {
        Expr::BinaryExpr(compared) => {
            let known = matches!(
                compared.op,
                Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
            );
            let (time, value) = match (compared.left.as_ref(), compared.right.as_ref()) {
                (time @ Expr::Column(_), value) | (value, time @ Expr::Column(_)) => (time, value),
                _ => return None,
            };
            (time, known && nanoseconds(value).is_some())
        }
        Expr::Between(between) => {
            let known = [&between.low, &between.high].map(|end| nanoseconds(end).is_some());
            (between.expr.as_ref(), !between.negated && known == [true; 2])
        }
        _ => return None,
    };
    let is_time = matches!(time, Expr::Column(column) if column.name == "time");
    (is_time && bounds).then(|| TimeRange::of(std::slice::from_ref(condition)))
}

/// Whether it is a function of `time` that is the same for all of a minute.
fn is_whole_minutes(expr: &Expr) -> bool {
    let Expr::ScalarFunction(function) = expr else { return false };
    let is_time = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == "time");
    match (function.name(), function.args.as_slice()) {
        ("date_trunc", [Expr::Literal(unit, _), time]) => {
            let units = ["minute", "hour", "day", "week", "month", "quarter", "year"];
            is_time(time) && is_one_of(unit, &units)
        }
        ("date_part", [Expr::Literal(unit, _), time]) => {
            let units = ["minute", "hour", "day", "dow", "doy", "week", "month", "quarter", "year"];
            is_time(time) && is_one_of(unit, &units)
        }
        ("time_bucket", [Expr::Literal(width, _), time]) => {
            let width = width.try_as_str().flatten().and_then(bucket_ns);
            is_time(time) && width.is_some_and(|width| width % MINUTE_NS == 0)
        }
        ("date_bin", [Expr::Literal(width, _), time]) => is_time(time) && is_minutes(width),
        ("date_bin", [Expr::Literal(width, _), time, origin]) => {
            let aligned = |origin: i64| origin % MINUTE_NS == 0;
            is_time(time) && is_minutes(width) && nanoseconds(origin).is_some_and(aligned)
        }
        _ => false,
    }
}

fn is_one_of(unit: &ScalarValue, units: &[&str]) -> bool {
    unit.try_as_str().flatten().is_some_and(|unit| units.contains(&unit.to_lowercase().as_str()))
}

/// Whether the interval is a number of whole minutes.
fn is_minutes(width: &ScalarValue) -> bool {
    match width {
        ScalarValue::IntervalMonthDayNano(Some(width)) => {
            width.months == 0 && width.nanoseconds % MINUTE_NS == 0
        }
        ScalarValue::IntervalDayTime(Some(width)) => width.milliseconds % 60_000 == 0,
        _ => false,
    }
}
