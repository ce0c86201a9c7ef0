//! Which time the conditions of a query leave.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use weir_flow::schema::TimestampNs;

use crate::functions::convert::bucket_ns;

/// From and until, both included, nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) from_ns: i64,
    pub(crate) until_ns: i64,
}

impl TimeRange {
    /// All of time.
    pub(crate) const ALL: Self = Self { from_ns: i64::MIN, until_ns: i64::MAX };

    /// Rows outside of it pass no conjunction of these conditions: of `time` and `end_time`, as a
    /// row does not end before it begins. Conditions that are not understood exclude nothing.
    pub(crate) fn of(conditions: &[Expr]) -> Self {
        conditions.iter().map(of_condition).fold(Self::ALL, Self::and)
    }

    /// Whether something that lasted is in it, at least in part.
    pub(crate) fn meets(self, from_ns: i64, until_ns: i64) -> bool {
        from_ns <= self.until_ns && until_ns >= self.from_ns
    }

    /// The begin, unless it is open.
    pub(crate) fn from(self) -> Option<TimestampNs> {
        (self.from_ns != i64::MIN).then_some(TimestampNs(self.from_ns))
    }

    /// The end, unless it is open.
    pub(crate) fn until(self) -> Option<TimestampNs> {
        (self.until_ns != i64::MAX).then_some(TimestampNs(self.until_ns))
    }

    /// The least range that has both.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            from_ns: self.from_ns.min(other.from_ns),
            until_ns: self.until_ns.max(other.until_ns),
        }
    }

    /// What is in both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            from_ns: self.from_ns.max(other.from_ns),
            until_ns: self.until_ns.min(other.until_ns),
        }
    }
}

fn of_condition(condition: &Expr) -> TimeRange {
    match condition {
        Expr::Alias(alias) => of_condition(&alias.expr),
        Expr::IsTrue(inner) => of_condition(inner),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            of_condition(left).and(of_condition(right))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            of_condition(left).or(of_condition(right))
        }
        Expr::Between(between) if !between.negated => {
            let low = of_comparison(&between.expr, Operator::GtEq, &between.low);
            low.and(of_comparison(&between.expr, Operator::LtEq, &between.high))
        }
        Expr::InList(list) if !list.negated => {
            let ranges =
                list.list.iter().map(|value| of_comparison(&list.expr, Operator::Eq, value));
            ranges.reduce(TimeRange::or).unwrap_or(TimeRange::ALL)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op.swap() {
            Some(swapped) => {
                of_comparison(left, *op, right).and(of_comparison(right, swapped, left))
            }
            None => TimeRange::ALL,
        },
        _ => TimeRange::ALL,
    }
}

fn of_comparison(column: &Expr, operator: Operator, value: &Expr) -> TimeRange {
    let all = TimeRange::ALL;
    let Some(later_ns) = truncated(column) else { return all };
    let Some(value) = nanoseconds(value) else { return all };
    let until = |value: i64| value.saturating_add(later_ns);
    match operator {
        Operator::Eq => TimeRange { from_ns: value, until_ns: until(value) },
        Operator::Gt => TimeRange { from_ns: value.saturating_add(1), ..all },
        Operator::GtEq => TimeRange { from_ns: value, ..all },
        Operator::Lt => TimeRange { until_ns: until(value.saturating_sub(1)), ..all },
        Operator::LtEq => TimeRange { until_ns: until(value), ..all },
        _ => all,
    }
}

/// By how much a time of a row may be later than this expression of it, at most; it is never earlier.
fn truncated(expr: &Expr) -> Option<i64> {
    if is_time(expr) {
        return Some(0);
    }
    let Expr::ScalarFunction(function) = expr else { return None };
    let [Expr::Literal(unit, _), time] = function.args.as_slice() else { return None };
    if function.name() == "time_bucket" && is_time(time) {
        return bucket_ns(unit.try_as_str()??);
    }
    if function.name() != "date_trunc" || !is_time(time) {
        return None;
    }
    let seconds = match unit.try_as_str()?? {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "week" => 7 * 86_400,
        // A year is longer than each of these.
        "month" | "quarter" | "year" => 366 * 86_400,
        _ => return None,
    };
    Some(seconds * 1_000_000_000)
}

/// Whether it is one of the two times of a row, perhaps with another time zone.
fn is_time(expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) => matches!(column.name.as_str(), "time" | "end_time"),
        Expr::Cast(cast) => {
            let kept = DataType::Timestamp(TimeUnit::Nanosecond, None);
            let to = cast.field.data_type();
            let to = match to {
                DataType::Timestamp(unit, _) => &DataType::Timestamp(*unit, None),
                other => other,
            };
            *to == kept && is_time(&cast.expr)
        }
        _ => false,
    }
}

/// The value of a literal time.
pub(super) fn nanoseconds(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::TimestampSecond(value, _) => value.and_then(|v| v.checked_mul(1_000_000_000)),
        ScalarValue::TimestampMillisecond(value, _) => value.and_then(|v| v.checked_mul(1_000_000)),
        ScalarValue::TimestampMicrosecond(value, _) => value.and_then(|v| v.checked_mul(1_000)),
        ScalarValue::TimestampNanosecond(value, _) => *value,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::functions::datetime::expr_fn::date_trunc;
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::engine::time;

    #[test]
    fn conditions_bound_the_time_and_others_do_not() {
        let range = |conditions: &[Expr]| {
            let range = TimeRange::of(conditions);
            (range.from().map(|time| time.0), range.until().map(|time| time.0))
        };
        let at = time;
        assert_eq!(range(&[]), (None, None));
        assert_eq!(range(&[col("verdict").eq(lit("deny"))]), (None, None));
        assert_eq!(range(&[col("time").gt_eq(at(5)), col("time").lt(at(9))]), (Some(5), Some(8)));
        assert_eq!(
            range(&[at(5).lt(col("end_time")).and(col("node").eq(lit("x")))]),
            (Some(6), None)
        );
        assert_eq!(range(&[col("time").between(at(5), at(9))]), (Some(5), Some(9)));
        assert_eq!(range(&[col("time").not_between(at(5), at(9))]), (None, None));
        let either = col("time").eq(at(5)).or(col("time").eq(at(9)));
        assert_eq!(range(std::slice::from_ref(&either)), (Some(5), Some(9)));
        assert_eq!(range(&[either.clone().or(col("node").eq(lit("x")))]), (None, None));
        assert_eq!(range(&[Expr::Not(Box::new(either))]), (None, None));
        let listed = col("time").in_list(vec![at(7), at(3)], false);
        assert_eq!(range(&[listed]), (Some(3), Some(7)));
        assert_eq!(range(&[col("time").lt(col("end_time"))]), (None, None));
        let minute = || date_trunc(lit("minute"), col("time"));
        let minutes = [minute().gt_eq(at(5)), minute().lt(at(9))];
        assert_eq!(range(&minutes), (Some(5), Some(60_000_000_008)));
        assert_eq!(range(&[date_trunc(col("node"), col("time")).lt(at(9))]), (None, None));
        let bucket = crate::functions::convert::time_bucket();
        let bucket = || bucket.call(vec![lit("1m"), col("time")]);
        assert_eq!(range(&[bucket().lt(at(9))]), (None, Some(60_000_000_008)));
    }
}
