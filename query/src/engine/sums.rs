//! What flows come to: sums by time, by the values of fields, and by who talks to whom. Each is one plan
//! over one snapshot.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, NullEquality};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::{max, min, sum};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder, cast, col, lit};

use super::request::time;
use crate::catalog::FLOWS;
use crate::catalog::computed::AllColumns;
use crate::catalog::table::Flows;
use crate::error::QueryError;
use crate::filter::Filter;
use crate::functions::convert::time_bucket;

/// The columns that are summed.
pub(crate) const SUMS: [&str; 3] = ["count", "bytes", "reply_bytes"];
/// Begin of a bucket.
pub(crate) const BUCKET: &str = "bucket";
/// Which of the fields a row is about, from 0.
pub(crate) const FIELD: &str = "field";
/// A value of it, as text.
pub(crate) const VALUE: &str = "value";
/// The earliest and the latest packet of a group.
pub(crate) const SEEN: [&str; 2] = ["first_seen", "last_seen"];
/// The other side of the join of groups.
const CHOSEN: &str = "chosen";

/// Sums of flows.
#[derive(Debug)]
pub(crate) struct SumsRequest {
    pub(crate) flows: Selection,
    pub(crate) by: By,
}

/// Which flows.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) filter: Option<Filter>,
    /// What the reader of the answer must know about the filter.
    pub(crate) warnings: Vec<String>,
    /// Not before, nanoseconds since 1970.
    pub(crate) since_ns: i64,
    /// Before, nanoseconds since 1970.
    pub(crate) until_ns: i64,
}

/// What has a sum of its own.
#[derive(Debug)]
pub(crate) enum By {
    /// Every bucket of time with every combination of these columns: rows of [`BUCKET`], the columns,
    /// [`SUMS`].
    Time { step_ns: i64, columns: Vec<&'static str> },
    /// Every value of every of these expressions: rows of [`FIELD`], [`VALUE`], [`SUMS`], in no order.
    Values(Vec<Expr>),
    /// Every bucket of the `limit` combinations of these columns that are first in that order: rows
    /// of [`BUCKET`], the columns, [`SUMS`], [`SEEN`].
    First { columns: &'static [&'static str], order: GroupOrder, limit: usize, step_ns: i64 },
    /// Every combination of these columns: rows of the columns, [`SUMS`], [`SEEN`].
    Columns(&'static [&'static str]),
}

/// By which of their sums or times groups are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupOrder {
    pub(crate) by: Measure,
    pub(crate) ascending: bool,
}

/// What every group has one of, and is named after its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Count,
    Bytes,
    ReplyBytes,
    FirstSeen,
    LastSeen,
}

impl Measure {
    pub(crate) const ALL: [Self; 5] =
        [Self::Count, Self::Bytes, Self::ReplyBytes, Self::FirstSeen, Self::LastSeen];

    pub(crate) fn name(self) -> &'static str {
        let ([count, bytes, reply_bytes], [first, last]) = (SUMS, SEEN);
        match self {
            Self::Count => count,
            Self::Bytes => bytes,
            Self::ReplyBytes => reply_bytes,
            Self::FirstSeen => first,
            Self::LastSeen => last,
        }
    }

    fn expression(self) -> Expr {
        let measured = match self {
            Self::Count | Self::Bytes | Self::ReplyBytes => sum(col(self.name())),
            Self::FirstSeen => min(col("time")),
            Self::LastSeen => max(col("end_time")),
        };
        measured.alias(self.name())
    }
}

impl SumsRequest {
    pub(super) fn plan(&self, flows: &Arc<Flows>) -> Result<LogicalPlan, QueryError> {
        let selected = || self.flows.plan(flows);
        let plan = match &self.by {
            By::Time { step_ns, columns } => {
                let keys = columns.iter().map(|name| col(*name));
                let groups = std::iter::once(bucket(*step_ns)).chain(keys);
                selected()?.aggregate(groups, sums())?
            }
            By::Values(fields) => {
                let mut of_fields = fields.iter().enumerate().map(|(index, field)| {
                    let grouped = selected()?.aggregate([field.clone().alias(VALUE)], sums())?;
                    let values = [
                        lit(index as u64).alias(FIELD),
                        cast(col(VALUE), DataType::Utf8).alias(VALUE),
                    ];
                    let sums = SUMS.into_iter().map(named);
                    Ok::<_, QueryError>(grouped.project(values.into_iter().chain(sums))?)
                });
                let first = of_fields.next().transpose()?;
                let first = first.ok_or_else(|| QueryError::Invalid("no field is named".into()))?;
                of_fields
                    .try_fold(first, |all, next| Ok::<_, QueryError>(all.union(next?.build()?)?))?
            }
            By::First { columns, order, limit, step_ns } => {
                let first = selected()?
                    .aggregate(columns.iter().map(|name| col(*name)), [order.by.expression()])?
                    .sort(in_order(*order, columns))?
                    .limit(0, Some(*limit))?
                    .project(columns.iter().map(|name| col(*name)))?
                    .alias(CHOSEN)?
                    .build()?;
                let left = columns.iter().map(|name| Column::new(Some(FLOWS), *name)).collect();
                let right = columns.iter().map(|name| Column::new(Some(CHOSEN), *name)).collect();
                // A workload that is not known is equal to another such.
                let nulls = NullEquality::NullEqualsNull;
                let rows = selected()?.join_detailed(
                    first,
                    JoinType::LeftSemi,
                    (left, right),
                    None,
                    nulls,
                )?;
                let keys = columns.iter().map(|name| col(*name));
                rows.aggregate(std::iter::once(bucket(*step_ns)).chain(keys), measures())?
            }
            By::Columns(columns) => {
                selected()?.aggregate(columns.iter().map(|name| col(*name)), measures())?
            }
        };
        Ok(plan.build()?)
    }
}

impl Selection {
    fn plan(&self, flows: &Arc<Flows>) -> Result<LogicalPlanBuilder, QueryError> {
        let mut plan =
            LogicalPlanBuilder::scan(FLOWS, provider_as_source(AllColumns::of(flows)), None)?
                .filter(col("time").gt_eq(time(self.since_ns)))?
                .filter(col("time").lt(time(self.until_ns)))?;
        if let Some(filter) = self.filter.clone() {
            plan = plan.filter(filter.into_expr())?;
        }
        Ok(plan)
    }
}

fn bucket(step_ns: i64) -> Expr {
    time_bucket().call(vec![lit(format!("{step_ns}ns")), col("time")]).alias(BUCKET)
}

fn sums() -> impl Iterator<Item = Expr> {
    SUMS.into_iter().map(|name| sum(col(name)).alias(name))
}

fn measures() -> impl Iterator<Item = Expr> {
    Measure::ALL.into_iter().map(Measure::expression)
}

/// Always the same ones first among equals.
fn in_order(
    GroupOrder { by, ascending }: GroupOrder,
    columns: &[&str],
) -> Vec<datafusion::logical_expr::SortExpr> {
    let names = columns.iter().map(|name| col(*name).sort(true, false));
    std::iter::once(named(by.name()).sort(ascending, false)).chain(names).collect()
}

/// A column of an aggregate, which has no table.
fn named(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}
