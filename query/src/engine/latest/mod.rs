//! The latest rows, or the earliest, without reading all columns of all others.
//!
//! Files are sorted by who talks to whom, so the latest rows may be anywhere in them. This rule
//! looks at their times alone first, newest files first, and passes by what cannot hold any that is
//! wanted. When it knows the time of the last row that is wanted, it says so to the scans, which then
//! decode nearly nothing else.
//!
//! Where a pod or an address is asked for, few rows are left anyway: looking twice would cost more than it
//! spares.

mod exec;
mod first;

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::datasource::physical_plan::{
    FileScanConfigBuilder, FileSource as _, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, DynamicFilterPhysicalExpr, LikeExpr, Literal, lit,
};
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use weir_flow::schema::NEEDLES;

use super::kept::{is_dynamic, over};
use crate::catalog::barrier;
use exec::LatestExec;
pub(super) use first::{First, Wanted};

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
            let bounded = with_bound(node.clone(), options)?;
            let changed = !Arc::ptr_eq(&bounded, &node);
            Ok(Transformed::new_transformed(bounded, changed))
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

/// A search for the first rows by time, with a bound in each scan; any other plan as it is.
pub(super) fn with_bound(
    plan: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(sort) = plan.downcast_ref::<SortExec>() else { return Ok(plan) };
    let Some((column, wanted)) = wanted_by_column(sort) else { return Ok(plan) };
    match by_time(sort.input(), column, wanted, options)? {
        Some(input) => over(&plan, input),
        None => Ok(plan),
    }
}

/// A sort for few first rows by a column, its place and what is wanted of it.
pub(super) fn wanted_by_column(sort: &SortExec) -> Option<(usize, Wanted)> {
    let rows = sort.fetch().filter(|rows| (1..=MAX_ROWS).contains(rows))?;
    let first = sort.expr().first();
    let column = first.expr.downcast_ref::<Column>()?.index();
    let order = if first.options.descending { Operator::GtEq } else { Operator::LtEq };
    Some((column, Wanted { order, rows }))
}

/// The input of a sort by time, told of the time of the last row as soon as that is known; `None` if
/// it is sorted by anything else or no files are read.
fn by_time(
    input: &Arc<dyn ExecutionPlan>,
    column: usize,
    wanted: Wanted,
    options: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some((input, bounds)) = bounded(input, column)? else { return Ok(None) };
    // Of its own: what is looked at is bounded before all is known.
    let Some((looked_at, looking)) = bounded(&input, column)? else { return Ok(None) };
    if bounds.0.is_empty() {
        return Ok(None);
    }
    let schema = looked_at.schema();
    let name = schema.field(column).name();
    let time = ProjectionExpr { expr: Arc::new(Column::new(name, column)), alias: name.clone() };
    let times = Arc::new(ProjectionExec::try_new([time], looked_at)?);
    let times = ProjectionPushdown::new().optimize(times, options)?;
    Ok(Some(Arc::new(LatestExec::new(input, bounds, times, looking, wanted))))
}

/// The plan with a bound in each scan, or `None`.
fn bounded(
    plan: &Arc<dyn ExecutionPlan>,
    column: usize,
) -> Result<Option<(Arc<dyn ExecutionPlan>, Bounds)>> {
    let mut bounds = Vec::new();
    let plan = scans(plan, column, &mut bounds)?;
    Ok(plan.map(|plan| (plan, Bounds(bounds))))
}

/// The plan with one condition more in each scan of files, whose column of times becomes the plan's
/// column of that place, and without those that the sort itself would make as it goes: they would
/// have all its columns read. `None` if the column is anything else somewhere.
fn scans(
    plan: &Arc<dyn ExecutionPlan>,
    column: usize,
    bounds: &mut Vec<Bound>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if plan.is::<UnionExec>() {
        let mut children = Vec::new();
        for child in plan.children() {
            let Some(child) = scans(child, column, bounds)? else { return Ok(None) };
            children.push(child);
        }
        return Ok(Some(UnionExec::try_new(children)?));
    }
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let Some((config, source)) = scan.downcast_to_file_source::<ParquetSource>() else {
            // Rows in memory: reading them costs nothing.
            return Ok(Some(plan.clone()));
        };
        let Some(time) = time_of(source, column).filter(|_| config.limit.is_none()) else {
            return Ok(None);
        };
        let filter = source.filter();
        let before = filter.iter().flat_map(split_conjunction).filter(|before| !is_dynamic(before));
        if before.clone().any(is_needle) {
            return Ok(None);
        }
        let bound = Bound::new(Arc::new(time.clone()));
        let conditions = before.cloned().chain([bound.filter.clone() as Arc<dyn PhysicalExpr>]);
        let source = source.with_predicate(conjunction(conditions));
        let config =
            FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
        bounds.push(bound);
        return Ok(Some(DataSourceExec::from_data_source(config)));
    }
    let below = below(plan, column);
    match (below, plan.children().as_slice()) {
        (Some(below), [child]) => match scans(child, below, bounds)? {
            Some(child) => Ok(Some(over(plan, child)?)),
            None => Ok(None),
        },
        // An empty side has no times.
        (_, []) => Ok(Some(plan.clone())),
        _ => Ok(None),
    }
}

/// The place in its input of a column that a plan hands on as it is.
fn below(plan: &Arc<dyn ExecutionPlan>, column: usize) -> Option<usize> {
    if let Some(project) = plan.downcast_ref::<ProjectionExec>() {
        let of = project.expr().get(column)?;
        return of.expr.downcast_ref::<Column>().map(Column::index);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return match filter.projection() {
            _ if filter.fetch().is_some() => None,
            Some(columns) => columns.get(column).copied(),
            None => Some(column),
        };
    }
    (plan.is::<CooperativeExec>() || barrier::is(plan)).then_some(column)
}

/// The column that a scan hands on at that place, if it is that of times.
fn time_of(source: &ParquetSource, column: usize) -> Option<&Column> {
    let read = source.projection()?.iter().nth(column)?;
    read.expr.downcast_ref::<Column>().filter(|column| column.name() == "time")
}

/// Whether a plan reads files of the store.
pub(super) fn reads_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let scan = plan.downcast_ref::<DataSourceExec>();
    scan.is_some_and(|scan| scan.downcast_to_file_source::<ParquetSource>().is_some())
        || plan.children().into_iter().any(reads_files)
}

/// Whether a column of a plan over one scan of files is that of times.
pub(super) fn is_time(plan: &Arc<dyn ExecutionPlan>, column: usize) -> bool {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let files = scan.downcast_to_file_source::<ParquetSource>();
        return files.is_some_and(|(_, source)| time_of(source, column).is_some());
    }
    match (below(plan, column), plan.children().as_slice()) {
        (Some(below), [child]) => is_time(child, below),
        _ => false,
    }
}

/// Whether a condition leaves the rows of one value of a needle, or of those that begin alike.
fn is_needle(condition: &Arc<dyn PhysicalExpr>) -> bool {
    let names = |expr: &Arc<dyn PhysicalExpr>| {
        expr.downcast_ref::<Column>().is_some_and(|column| NEEDLES.contains(&column.name()))
    };
    if let Some(equals) = condition.downcast_ref::<BinaryExpr>() {
        let (left, right) = (equals.left(), equals.right());
        return *equals.op() == Operator::Eq
            && (names(left) && right.is::<Literal>() || left.is::<Literal>() && names(right));
    }
    condition.downcast_ref::<LikeExpr>().is_some_and(|like| {
        let pattern = like.pattern().downcast_ref::<Literal>();
        let pattern = pattern.and_then(|pattern| pattern.value().try_as_str()).flatten();
        let begins = pattern.is_some_and(|pattern| !pattern.starts_with(['%', '_']));
        names(like.expr()) && !like.negated() && begins
    })
}

/// Those of all scans of a plan.
#[derive(Clone, Debug)]
struct Bounds(Vec<Bound>);

impl Bounds {
    /// No row beyond that time is wanted, nanoseconds since 1970.
    fn set(&self, order: Operator, last_ns: i64) -> Result<()> {
        for Bound { filter, time } in &self.0 {
            let last = lit(ScalarValue::TimestampNanosecond(Some(last_ns), Some("UTC".into())));
            filter.update(Arc::new(BinaryExpr::new(time.clone(), order, last)))?;
        }
        Ok(())
    }
}

/// A bound of a scan.
#[derive(Clone, Debug)]
struct Bound {
    filter: Arc<DynamicFilterPhysicalExpr>,
    /// The scan's column.
    time: Arc<dyn PhysicalExpr>,
}

impl Bound {
    /// None yet.
    fn new(time: Arc<dyn PhysicalExpr>) -> Self {
        Self {
            filter: Arc::new(DynamicFilterPhysicalExpr::new(vec![time.clone()], lit(true))),
            time,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
