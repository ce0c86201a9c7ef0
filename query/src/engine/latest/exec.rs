//! Finds the time of the last row that is wanted, then reads.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::AsArray as _;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, PlanProperties,
};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::Bounds;
use super::first::{First, Wanted};

/// The operator: the rows of its input, of which those beyond the bound may be missing.
#[derive(Debug)]
pub(super) struct LatestExec {
    input: Arc<dyn ExecutionPlan>,
    bounds: Bounds,
    /// The times of the input's rows.
    times: Arc<dyn ExecutionPlan>,
    /// Bounds of its scans.
    looking: Bounds,
    wanted: Wanted,
    /// Done by the first partition that is read.
    found: Arc<OnceCell<()>>,
}

impl LatestExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        bounds: Bounds,
        times: Arc<dyn ExecutionPlan>,
        looking: Bounds,
        wanted: Wanted,
    ) -> Self {
        Self { input, bounds, times, looking, wanted, found: Arc::default() }
    }
}

impl DisplayAs for LatestExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LatestExec: rows={}", self.wanted.rows)
    }
}

impl ExecutionPlan for LatestExec {
    fn name(&self) -> &'static str {
        "LatestExec"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true, false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false, false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input, &self.times]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input, times] = children.as_slice() else {
            return internal_err!("LatestExec has two children");
        };
        Ok(Arc::new(Self {
            input: input.clone(),
            times: times.clone(),
            bounds: self.bounds.clone(),
            looking: self.looking.clone(),
            wanted: self.wanted,
            found: Arc::default(),
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (times, looking) = (self.times.clone(), Looking::new(&self.looking));
        let (input, bounds) = (self.input.clone(), self.bounds.clone());
        let (wanted, found) = (self.wanted, self.found.clone());
        let batches = async move {
            let find = || async {
                match last(&times, &looking, wanted, &context).await? {
                    Some(last_ns) => bounds.set(wanted.order, last_ns),
                    None => Ok(()),
                }
            };
            found.get_or_try_init(find).await?;
            input.execute(partition, context)
        };
        let batches = futures::stream::once(batches).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// What is known before all times are.
#[derive(Clone, Debug)]
struct Looking {
    bounds: Bounds,
    /// The least that any partition says.
    most: Arc<Mutex<i64>>,
}

impl Looking {
    fn new(bounds: &Bounds) -> Self {
        Self { bounds: bounds.clone(), most: Arc::new(Mutex::new(i64::MAX)) }
    }

    /// A partition alone has as many rows up to that key as are wanted. Rows of files that are not yet read
    /// are passed by if all are beyond it.
    fn tell(&self, first: &First) -> Result<()> {
        let mut most = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        if first.most() >= *most {
            return Ok(());
        }
        *most = first.most();
        self.bounds.set(first.wanted().order, first.wanted().key(first.most()))
    }
}

/// The time of the last row that is wanted, in nanoseconds; `None` if all are.
async fn last(
    times: &Arc<dyn ExecutionPlan>,
    looking: &Looking,
    wanted: Wanted,
    context: &Arc<TaskContext>,
) -> Result<Option<i64>> {
    let mut tasks = JoinSet::new();
    for partition in 0..times.output_partitioning().partition_count() {
        let (times, looking, context) = (times.clone(), looking.clone(), context.clone());
        tasks.spawn(async move { first(&times, partition, &looking, wanted, context).await });
    }
    let mut all = First::new(wanted);
    while let Some(task) = tasks.join_next().await {
        let of_partition = task.map_err(|error| DataFusionError::External(Box::new(error)))??;
        all.join(of_partition);
    }
    Ok(all.last())
}

/// The first times of a partition.
async fn first(
    times: &Arc<dyn ExecutionPlan>,
    partition: usize,
    looking: &Looking,
    wanted: Wanted,
    context: Arc<TaskContext>,
) -> Result<First> {
    let memory = MemoryConsumer::new(format!("times[{partition}]")).register(context.memory_pool());
    memory.try_grow(2 * wanted.rows * size_of::<i64>())?;
    let mut first = First::new(wanted);
    let mut batches = times.execute(partition, context)?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let Some(times) = batch.column(0).as_primitive_opt::<TimestampNanosecondType>() else {
            return internal_err!("a column of times has none");
        };
        for time in times.iter().flatten() {
            first.add(wanted.key(time));
        }
        first.shrink();
        looking.tell(&first)?;
    }
    Ok(first)
}
