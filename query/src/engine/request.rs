//! What can be asked for, besides SQL: the latest or earliest flows that pass a filter, and the objects
//! of the clusters at a time.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};

use super::sums::SumsRequest;
use crate::catalog::computed::AllColumns;
use crate::catalog::loss::Loss;
use crate::catalog::state::{Kind, State};
use crate::catalog::table::Flows;
use crate::catalog::{FLOWS, LOSS};
use crate::error::QueryError;
use crate::filter::Filter;
use crate::guard::parameters::Parameter;

/// A query.
#[derive(Debug)]
pub(crate) enum Request {
    /// Any read-only SQL.
    Sql(SqlRequest),
    /// Rows of `flows`.
    Flows(FlowsRequest),
    /// Objects of the clusters.
    State(StateRequest),
    /// Entries of the loss ledger.
    Loss(LossRequest),
    /// Sums of flows.
    Sums(SumsRequest),
}

/// One statement.
#[derive(Clone, Debug, Default)]
pub(crate) struct SqlRequest {
    pub(crate) sql: String,
    /// What stands for `$1`, `$2` and so on.
    pub(crate) parameters: Vec<Parameter>,
    /// Whether roll-ups may be used, if it is said.
    pub(crate) roll_ups: Option<bool>,
    /// Whether aggregates of files that earlier queries left may be used, if it is said.
    pub(crate) kept: Option<bool>,
    /// Whether times may be looked at before other columns, if it is said.
    pub(crate) latest: Option<bool>,
    /// Whether words may be grouped by numbers, if it is said.
    pub(crate) words: Option<bool>,
    pub(crate) dialect: Dialect,
}

impl SqlRequest {
    pub(crate) fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), ..Self::default() }
    }
}

/// Whose clients sent a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Anybody's.
    #[default]
    Own,
    /// Those of Postgres: its catalogs are there too, and questions about them are understood.
    Postgres,
}

/// Entries of the ledger, the latest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LossRequest {
    /// What was lost since then, nanoseconds since 1970.
    pub(crate) since: Option<i64>,
    /// What was lost before, nanoseconds since 1970.
    pub(crate) until: Option<i64>,
    /// How many.
    pub(crate) limit: usize,
}

impl LossRequest {
    pub(super) fn plan(self, loss: &Arc<Loss>) -> Result<LogicalPlan, QueryError> {
        let mut plan = LogicalPlanBuilder::scan(LOSS, provider_as_source(loss.clone()), None)?;
        let since = self.since.map(|since| col("end_time").gt_eq(time(since)));
        let until = self.until.map(|until| col("time").lt(time(until)));
        for condition in [since, until].into_iter().flatten() {
            plan = plan.filter(condition)?;
        }
        let plan = plan.sort([col("time").sort(false, false)])?;
        Ok(plan.limit(0, Some(self.limit))?.build()?)
    }
}

/// The objects of one kind at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateRequest {
    /// Which table.
    pub(crate) kind: Kind,
    /// When, nanoseconds since 1970.
    pub(crate) at: i64,
    /// How many.
    pub(crate) limit: usize,
}

impl StateRequest {
    pub(super) fn plan(self, state: &Arc<State>) -> Result<LogicalPlan, QueryError> {
        let table = provider_as_source(Arc::new(state.table(self.kind, Some(self.at))));
        let plan = LogicalPlanBuilder::scan(self.kind.name(), table, None)?;
        Ok(plan.limit(0, Some(self.limit))?.build()?)
    }
}

/// By `time`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// Earliest first.
    Ascending,
    /// Latest first.
    #[default]
    Descending,
}

/// Rows of `flows` in order of time.
#[derive(Debug, Default)]
pub(crate) struct FlowsRequest {
    /// Which rows.
    pub(crate) filter: Option<Filter>,
    /// What the reader of the answer must know about the filter.
    pub(crate) warnings: Vec<String>,
    /// Leaves out rows of connections that go on, which have no verdict of their own.
    pub(crate) verdicts: bool,
    /// Not before, nanoseconds since 1970.
    pub(crate) since: Option<i64>,
    /// Before, nanoseconds since 1970.
    pub(crate) until: Option<i64>,
    /// Which end first.
    pub(crate) order: Order,
    /// How many.
    pub(crate) limit: usize,
    /// Hands them out earliest first, also those chosen from the latest.
    pub(crate) earliest_first: bool,
}

impl FlowsRequest {
    pub(super) fn plan(self, flows: &Arc<Flows>) -> Result<LogicalPlan, QueryError> {
        let since = self.since.map(|since| col("time").gt_eq(time(since)));
        let until = self.until.map(|until| col("time").lt(time(until)));
        let filter = self.filter.map(Filter::into_expr);
        let verdicts = self.verdicts.then(|| col("count").gt(lit(0_u64)));
        let ascending = self.order == Order::Ascending;
        let mut plan =
            LogicalPlanBuilder::scan(FLOWS, provider_as_source(AllColumns::of(flows)), None)?;
        for condition in [since, until, verdicts, filter].into_iter().flatten() {
            plan = plan.filter(condition)?;
        }
        let plan = plan.sort([col("time").sort(ascending, false)])?;
        let mut plan = plan.limit(0, Some(self.limit))?;
        if self.earliest_first && !ascending {
            plan = plan.sort([col("time").sort(true, false)])?;
        }
        Ok(plan.build()?)
    }
}

/// A literal of the type of column `time`.
pub(crate) fn time(nanoseconds: i64) -> Expr {
    lit(ScalarValue::TimestampNanosecond(Some(nanoseconds), Some("UTC".into())))
}
