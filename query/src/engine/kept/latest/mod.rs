//! The first rows by time of each file, that earlier queries left.
//!
//! Whoever watches asks for the latest rows again and again, while one file after another is added. This
//! rule asks one file after another, those first that may have what is wanted first, and ends where no
//! further file can have any: what finished files answer is kept.

mod exec;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};

use super::question::over;
use super::sources;
use super::store::Kept;
use crate::engine::latest::{Wanted, is_time, reads_files, wanted_by_column};
use exec::KeptLatestExec;

/// The rule. It runs before [`LatestFirst`](crate::engine::latest::LatestFirst), which does what is left.
#[derive(Debug)]
pub(in crate::engine) struct KeepLatest {
    pub(in crate::engine) kept: Arc<Kept>,
}

impl KeepLatest {
    pub(in crate::engine) const NAME: &str = "keep_latest";
}

impl PhysicalOptimizerRule for KeepLatest {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let threads = options.execution.target_partitions;
        let plan = plan.transform_up(|node| {
            let Some(sort) = node.downcast_ref::<SortExec>() else {
                return Ok(Transformed::no(node));
            };
            let Some((column, wanted)) = wanted_by_column(sort) else {
                return Ok(Transformed::no(node));
            };
            let threads = if sort.preserve_partitioning() { threads } else { 1 };
            match self.by_file(&node, sort, (column, wanted), threads)? {
                Some(input) => Ok(Transformed::yes(over(&node, input)?)),
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

impl KeepLatest {
    /// The input of a sort, of which files give the first rows only; `None` if any of its files have to be asked
    /// together, or there are none.
    fn by_file(
        &self,
        node: &Arc<dyn ExecutionPlan>,
        sort: &SortExec,
        (column, wanted): (usize, Wanted),
        threads: usize,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let mut any = false;
        let mut parts = Vec::new();
        for source in sources(sort.input())? {
            if !reads_files(&source) {
                parts.push(source);
                continue;
            }
            if !is_time(&source, column) {
                return Ok(None);
            }
            let alone = over(node, source)?;
            match KeptLatestExec::of(&alone, &self.kept, (column, wanted), threads)? {
                Some(kept) => parts.push(Arc::new(kept)),
                None => return Ok(None),
            }
            any = true;
        }
        let input = match parts.len() {
            _ if !any => return Ok(None),
            1 => parts.swap_remove(0),
            _ => UnionExec::try_new(parts)?,
        };
        let fits =
            sort.preserve_partitioning() || input.output_partitioning().partition_count() == 1;
        Ok(fits.then_some(input))
    }
}

#[cfg(test)]
mod tests;
