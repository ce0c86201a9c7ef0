//! The latest rows, or the earliest, without reading all columns of all others.
//!
//! Files are sorted by who talks to whom, so the latest rows may be anywhere in them. This rule
//! looks at their times alone first. When it knows the time of the last row that is wanted, it says
//! so to the scans, which then decode nearly nothing else.

mod exec;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::datasource::physical_plan::{
    FileScanConfigBuilder, FileSource as _, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr, lit};
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr, conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;

use super::kept::{is_dynamic, over};
use crate::catalog::barrier;
use exec::LatestExec;

/// More rows than this are looked for in one go.
const MAX_ROWS: usize = 10_000;

/// The rule.
#[derive(Debug)]
pub(super) struct LatestFirst;

impl LatestFirst {
    pub(super) const NAME: &str = "latest_first";
}

impl PhysicalOptimizerRule for LatestFirst {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            let Some(sort) = node.downcast_ref::<SortExec>() else {
                return Ok(Transformed::no(node));
            };
            let Some(rows) = sort.fetch().filter(|rows| (1..=MAX_ROWS).contains(rows)) else {
                return Ok(Transformed::no(node));
            };
            match by_time(sort.expr().first(), sort.input(), rows, options)? {
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

/// The input of a sort by time, told of the time of the last row as soon as that is known; `None` if
/// it is sorted by anything else or no files are read.
fn by_time(
    first: &PhysicalSortExpr,
    input: &Arc<dyn ExecutionPlan>,
    rows: usize,
    options: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(column) = first.expr.downcast_ref::<Column>() else { return Ok(None) };
    let mut bounds = Vec::new();
    let mut bound = |time: Arc<dyn PhysicalExpr>| {
        let filter = Arc::new(DynamicFilterPhysicalExpr::new(vec![time.clone()], lit(true)));
        bounds.push(Bound { filter: filter.clone(), time });
        Some(filter as Arc<dyn PhysicalExpr>)
    };
    let Some(bounded) = scans(input, column.index(), &mut bound)? else { return Ok(None) };
    let Some(plain) = scans(input, column.index(), &mut |_| None)? else { return Ok(None) };
    if bounds.is_empty() {
        return Ok(None);
    }
    let time = ProjectionExpr { expr: first.expr.clone(), alias: column.name().to_owned() };
    let times = Arc::new(ProjectionExec::try_new([time], plain)?);
    let times = ProjectionPushdown::new().optimize(times, options)?;
    let order = if first.options.descending { Operator::GtEq } else { Operator::LtEq };
    Ok(Some(Arc::new(LatestExec::new(bounded, times, order, rows, bounds))))
}

/// A condition for the scan's column of times.
type OfTime<'a> = dyn FnMut(Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> + 'a;

/// The plan with one condition more in each scan of files, whose column of times becomes the plan's
/// column of that place, and without those that the sort itself would make as it goes: they would
/// have all its columns read. `None` if the column is anything else somewhere.
fn scans(
    plan: &Arc<dyn ExecutionPlan>,
    column: usize,
    condition: &mut OfTime<'_>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if plan.is::<UnionExec>() {
        let mut children = Vec::new();
        for child in plan.children() {
            let Some(child) = scans(child, column, condition)? else { return Ok(None) };
            children.push(child);
        }
        return Ok(Some(UnionExec::try_new(children)?));
    }
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let Some((config, source)) = scan.downcast_to_file_source::<ParquetSource>() else {
            // Rows in memory: reading them costs nothing.
            return Ok(Some(plan.clone()));
        };
        let read = source.projection().and_then(|columns| columns.iter().nth(column));
        let Some(time) = read.and_then(|read| read.expr.downcast_ref::<Column>()) else {
            return Ok(None);
        };
        if time.name() != "time" || config.limit.is_some() {
            return Ok(None);
        }
        let filter = source.filter();
        let before = filter.iter().flat_map(split_conjunction).filter(|before| !is_dynamic(before));
        let conditions = before.cloned().chain(condition(Arc::new(time.clone())));
        let source = source.with_predicate(conjunction(conditions));
        let config =
            FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
        return Ok(Some(DataSourceExec::from_data_source(config)));
    }
    let below = if let Some(project) = plan.downcast_ref::<ProjectionExec>() {
        let of = project.expr().get(column).and_then(|of| of.expr.downcast_ref::<Column>());
        of.map(Column::index)
    } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        match filter.projection() {
            _ if filter.fetch().is_some() => None,
            Some(columns) => columns.get(column).copied(),
            None => Some(column),
        }
    } else {
        (plan.is::<CooperativeExec>() || barrier::is(plan)).then_some(column)
    };
    match (below, plan.children().as_slice()) {
        (Some(below), [child]) => match scans(child, below, condition)? {
            Some(child) => Ok(Some(over(plan, child)?)),
            None => Ok(None),
        },
        // An empty side has no times.
        (_, []) => Ok(Some(plan.clone())),
        _ => Ok(None),
    }
}

/// A bound of a scan.
#[derive(Clone, Debug)]
struct Bound {
    filter: Arc<DynamicFilterPhysicalExpr>,
    /// The scan's column.
    time: Arc<dyn PhysicalExpr>,
}

#[cfg(test)]
mod tests;
