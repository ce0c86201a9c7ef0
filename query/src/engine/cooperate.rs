//! Makes joins give way. A join can make millions of rows of one that it reads, or compare it with
//! as many, without ever pausing: nobody could end it. This rule lets every join pause after some
//! batches, and feeds those that compare rows one by one in handfuls.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};

use super::morsel::MorselExec;

/// The rule.
#[derive(Debug)]
pub(super) struct Cooperate;

impl PhysicalOptimizerRule for Cooperate {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            if node.name() != "UnnestExec" && !node.name().ends_with("JoinExec") {
                return Ok(Transformed::no(node));
            }
            let node = if compares_one_by_one(&node) { in_handfuls(node)? } else { node };
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as _))
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        "cooperate"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether a join evaluates a condition for pairs of rows.
fn compares_one_by_one(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.downcast_ref::<HashJoinExec>().is_some_and(|join| join.filter().is_some())
        || node.is::<NestedLoopJoinExec>()
}

/// The join with its right side, which it reads batch by batch, in handfuls.
fn in_handfuls(join: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut children: Vec<_> = join.children().into_iter().cloned().collect();
    if let Some(right) = children.pop() {
        children.push(Arc::new(MorselExec::new(right)));
    }
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    join.replace_children(children, options)
}
