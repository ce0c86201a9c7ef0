//! Where a query's plan runs: on the threads here, or elsewhere if the service was told of a place.
//!
//! Only what reads files of the store goes elsewhere: everything else is here already.

use std::sync::{Arc, OnceLock};

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};

use super::answer::Place;
use super::kept::{KeepAggregates, KeepLatest};
use super::latest::{LatestFirst, reads_files};
use super::passes;
use super::words::GroupByWords;
use crate::error::QueryError;
use crate::remote::{Ran, Remote, Rows};

/// Rules whose operators only this process can run.
const OF_THIS_PROCESS: [&str; 4] =
    [KeepAggregates::NAME, KeepLatest::NAME, GroupByWords::NAME, LatestFirst::NAME];

/// A plan that runs.
pub(super) struct Started {
    pub(super) batches: SendableRecordBatchStream,
    pub(super) place: Option<Place>,
    measure: Measure,
}

/// Where it is counted what was read of files.
enum Measure {
    Here(Arc<dyn ExecutionPlan>),
    There(Arc<OnceLock<u64>>),
}

impl Started {
    /// Starts a plan. With a `remote` it runs there if it can.
    pub(super) async fn new(
        state: &mut SessionState,
        remote: Option<&dyn Remote>,
        plan: &LogicalPlan,
    ) -> Result<Self, QueryError> {
        let Some(remote) = remote else { return Self::here(state, plan, None).await };
        if explains(plan) {
            return Self::here(state, plan, Some(Place::Here(None))).await;
        }
        if compares_with_many(plan)? {
            let why = "it compares with a subquery that may have several rows".to_owned();
            return Self::here(state, plan, Some(Place::Here(Some(why)))).await;
        }
        let session = remote.session(without_memory(state.clone()));
        let physical = session.create_physical_plan(plan).await.map_err(QueryError::planning)?;
        if !reads_files(&physical) {
            return Self::here(state, plan, Some(Place::Here(None))).await;
        }
        match remote.run(physical).await? {
            Ran::There(Rows { batches, bytes_scanned }) => {
                let measure = Measure::There(bytes_scanned);
                Ok(Self { batches, place: Some(Place::Elsewhere), measure })
            }
            Ran::NotThere(why) => Self::here(state, plan, Some(Place::Here(Some(why)))).await,
        }
    }

    async fn here(
        state: &mut SessionState,
        plan: &LogicalPlan,
        place: Option<Place>,
    ) -> Result<Self, QueryError> {
        let plan = passes::optimize(state, plan).map_err(QueryError::planning)?;
        let planner = state.query_planner();
        let physical = planner.create_physical_plan(&plan, state).await;
        let physical = physical.map_err(QueryError::planning)?;
        let batches = execute_stream(physical.clone(), state.task_ctx())?;
        Ok(Self { batches, place, measure: Measure::Here(physical) })
    }

    /// What was read of files, once the last row was read; `None` if nobody knows.
    pub(super) fn bytes_scanned(&self) -> Option<u64> {
        match &self.measure {
            Measure::Here(plan) => Some(bytes_scanned(plan)),
            Measure::There(bytes) => bytes.get().copied(),
        }
    }
}

/// Whether a plan is about another plan and not about rows.
pub(super) fn explains(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
    )
}

/// Whether a subquery stands for one value and may have several rows. Where it does, the query fails;
/// elsewhere it is a join, which would not.
fn compares_with_many(plan: &LogicalPlan) -> Result<bool, QueryError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let Expr::ScalarSubquery(inner) = expr else {
                    return Ok(TreeNodeRecursion::Continue);
                };
                found |= inner.subquery.max_rows().is_none_or(|rows| rows > 1);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// A session without the rules whose operators share what this process remembers of other queries.
fn without_memory(state: SessionState) -> SessionState {
    let mut rules = state.physical_optimizers().to_vec();
    rules.retain(|rule| !OF_THIS_PROCESS.contains(&rule.name()));
    SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rules(rules).build()
}

/// What was read of files by a plan that ran here.
pub(super) fn bytes_scanned(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
    let own = own.map_or(0, |value| value.as_usize() as u64);
    own + plan.children().into_iter().map(bytes_scanned).sum::<u64>()
}
