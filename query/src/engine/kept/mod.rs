//! Aggregates of files that earlier queries left; `latest` has the same of rows.
//!
//! A file never changes, so neither does what a partial aggregate makes of it: its sums, counts and
//! sets by group. This rule splits a partial aggregate by file and looks up what is known; only the
//! rest is read. Dashboards ask the same again and again while one file after another is added.
//!
//! A condition of time that all rows of a file pass is no part of the question, so "the last hour"
//! finds what the hour before it left.

mod answers;
mod exec;
mod latest;
mod question;
mod store;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::Partitioning;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;

pub(crate) use store::{Kept, KeptCounters};

use exec::KeptAggregateExec;
pub(super) use latest::KeepLatest;
pub(super) use question::{is_dynamic, over};

use question::is_by_row;

/// The rule.
#[derive(Debug)]
pub(super) struct KeepAggregates {
    pub(super) kept: Arc<Kept>,
}

impl KeepAggregates {
    pub(super) const NAME: &str = "keep_aggregates";
}

impl PhysicalOptimizerRule for KeepAggregates {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let threads = options.execution.target_partitions;
        let plan = plan.transform_up(|node| {
            let partial = node
                .downcast_ref::<AggregateExec>()
                .filter(|aggregate| matches!(aggregate.mode(), AggregateMode::Partial));
            let Some(aggregate) = partial else { return Ok(Transformed::no(node)) };
            match self.by_file(aggregate, &node, threads)? {
                Some(split) => Ok(Transformed::yes(split)),
                None => Ok(Transformed::no(node)),
            }
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl KeepAggregates {
    /// The aggregate of each source alone, those of files by file; `None` if no source is files.
    fn by_file(
        &self,
        aggregate: &AggregateExec,
        node: &Arc<dyn ExecutionPlan>,
        threads: usize,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let mut any = false;
        let mut parts = Vec::new();
        for source in sources(aggregate.input())? {
            let alone = over(node, source)?;
            parts.push(match KeptAggregateExec::of(&alone, &self.kept, threads)? {
                Some(kept) => {
                    any = true;
                    Arc::new(kept) as Arc<dyn ExecutionPlan>
                }
                None => alone,
            });
        }
        if !any {
            return Ok(None);
        }
        Ok(Some(match parts.len() {
            1 => parts.swap_remove(0),
            _ => UnionExec::try_new(parts)?,
        }))
    }
}

/// The plans that together have the same rows, with unions taken apart.
fn sources(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
    if plan.is::<UnionExec>() {
        let mut all = Vec::new();
        for child in plan.children() {
            all.extend(sources(child)?);
        }
        return Ok(all);
    }
    if let Some(repartition) = plan.downcast_ref::<RepartitionExec>()
        && matches!(repartition.partitioning(), Partitioning::RoundRobinBatch(_))
    {
        return sources(repartition.input());
    }
    match plan.children().as_slice() {
        [child] if is_by_row(plan) => {
            let apart = sources(child)?.into_iter();
            apart.map(|child| over(plan, child)).collect()
        }
        _ => Ok(vec![plan.clone()]),
    }
}

#[cfg(test)]
mod tests;
