//! Makes a plan ready to travel: its hot rows reduced to the columns that it reads, the whole as bytes.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, new_null_array};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{JoinType, plan_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::{DataSource as _, DataSourceExec};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};

use crate::codec::Codec;
use crate::one_part::OnePartExec;

/// A plan on its way.
pub(crate) enum Packed {
    /// The bytes.
    Ready(Vec<u8>),
    /// Why it cannot travel.
    Stays(String),
}

/// Packs a plan, with at most so many bytes of hot rows. `reader` is a session as those have who unpack it.
pub(crate) fn pack(
    plan: Arc<dyn ExecutionPlan>,
    max_hot_bytes: usize,
    reader: &TaskContext,
) -> Packed {
    let stays = |error: &DataFusionError| {
        Packed::Stays(format!("the plan cannot be sent: {}", error.strip_backtrace()))
    };
    if let Some(leaf) = unknown_leaf(&plan) {
        return Packed::Stays(format!("{leaf} cannot be shared out"));
    }
    let prepared = plan.transform_up(only_what_is_read);
    let plan = match prepared
        .and_then(|plan| plan.data.transform_up(in_one_part))
        .and_then(|plan| plan.data.transform_up(as_batches))
    {
        Ok(plan) => plan.data,
        Err(error) => return stays(&error),
    };
    let hot = hot_bytes(&plan);
    if hot > max_hot_bytes {
        return Packed::Stays(format!(
            "{hot} bytes of rows that are not in files yet would go with the plan, {max_hot_bytes} \
             may (`distributed_hot_bytes`)"
        ));
    }
    let bytes = match physical_plan_to_bytes_with_extension_codec(plan, &Codec::default()) {
        Ok(bytes) => bytes,
        Err(error) => return stays(&error),
    };
    // What cannot be read again here cannot be read there.
    match physical_plan_from_bytes_with_extension_codec(&bytes, reader, &Codec::default()) {
        Ok(_) => Packed::Ready(bytes.to_vec()),
        Err(error) => stays(&error),
    }
}

/// The scheduler puts a scan of batches in the place of a leaf that makes its rows itself, but only for
/// tasks that do not read it, and then loses their word since their plans have other operators. So it is such a
/// scan for all.
fn as_batches(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let schema = plan.schema();
    let rows = if plan.is::<EmptyExec>() {
        Vec::new()
    } else if plan.is::<PlaceholderRowExec>() {
        let nulls = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1));
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        vec![RecordBatch::try_new_with_options(schema.clone(), nulls.collect(), &options)?]
    } else {
        return Ok(Transformed::no(plan));
    };
    let parts = plan.output_partitioning().partition_count();
    let scan = MemorySourceConfig::try_new_exec(&vec![rows; parts], schema, None)?;
    Ok(Transformed::yes(scan))
}

/// A scan of batches holds all their columns and skips some; on the way only those count that are read.
fn only_what_is_read(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(memory) = memory(&plan) else { return Ok(Transformed::no(plan)) };
    let every: Vec<usize> = (0..memory.original_schema().fields().len()).collect();
    // The number of rows of batches without columns would be lost on the way.
    let projection = match memory.projection() {
        Some(projection) if projection.is_empty() && memory.fetch().is_none() => {
            return Ok(Transformed::no(plan));
        }
        Some(projection) if projection.is_empty() => {
            return plan_err!("a limit of rows without columns");
        }
        Some(projection) => projection,
        None => &every,
    };
    let project = |batch: &RecordBatch| -> Result<RecordBatch> { Ok(batch.project(projection)?) };
    let partitions = memory.partitions().iter();
    let partitions = partitions
        .map(|batches| batches.iter().map(project).collect::<Result<Vec<_>>>())
        .collect::<Result<Vec<_>>>()?;
    let scan = MemorySourceConfig::try_new_exec(&partitions, plan.schema(), None)?;
    // The scheduler forgets the limit of a scan of batches when it shares out its parts.
    Ok(Transformed::yes(match memory.fetch() {
        Some(limit) => Arc::new(LocalLimitExec::new(scan, limit)),
        None => scan,
    }))
}

/// A leaf that the scheduler does not know to share out: every task would read all of it.
fn unknown_leaf(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let children = plan.children();
    if children.is_empty() {
        let known = plan.is::<DataSourceExec>()
            || plan.is::<EmptyExec>()
            || plan.is::<PlaceholderRowExec>();
        return (!known).then(|| plan.name().to_owned());
    }
    children.into_iter().find_map(unknown_leaf)
}

/// A join that compares row by row notes which rows of its left side it has matched. Tasks do not tell each
/// other, so where that matters there is one.
fn in_one_part(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() else {
        return Ok(Transformed::no(plan));
    };
    let by_right_rows = matches!(
        join.join_type(),
        JoinType::Inner
            | JoinType::Right
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark
    );
    let right = join.right();
    if by_right_rows || right.output_partitioning().partition_count() == 1 {
        return Ok(Transformed::no(plan));
    }
    let right = Arc::new(OnePartExec::over(right.clone()));
    let children: Vec<Arc<dyn ExecutionPlan>> = vec![join.left().clone(), right];
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    plan.replace_children(children, options).map(Transformed::yes)
}

fn memory(plan: &Arc<dyn ExecutionPlan>) -> Option<&MemorySourceConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<MemorySourceConfig>()
}

fn hot_bytes(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = memory(plan).map_or(0, |memory| {
        memory.partitions().iter().flatten().flat_map(RecordBatch::columns).map(bytes_of).sum()
    });
    own + plan.children().into_iter().map(hot_bytes).sum::<usize>()
}

/// What a column has of its own: batches from the wire share one buffer among all their columns.
fn bytes_of(column: &ArrayRef) -> usize {
    let own = column.to_data().get_slice_memory_size();
    own.unwrap_or_else(|_| column.get_array_memory_size())
}
