//! The first rows by time of files, one file after another until no other can have any that are wanted.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::AsArray as _;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{TryStreamExt as _, stream};

use crate::engine::kept::answers::{Answers, File, files};
use crate::engine::kept::question::Asked;
use crate::engine::kept::store::Kept;
use crate::engine::latest::{First, Wanted};

/// The operator: of each file that may have any that are wanted, the first rows in the order of the sort. A file's
/// come sorted, those of all files do not.
#[derive(Debug)]
pub(super) struct KeptLatestExec {
    /// The sort over all files together.
    sort: Arc<dyn ExecutionPlan>,
    /// Where the sort's input has the times.
    column: usize,
    wanted: Wanted,
    files: usize,
    search: Arc<Mutex<Search>>,
    kept: Arc<Kept>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What is done and what is left, for all partitions.
#[derive(Debug)]
struct Search {
    /// With the least key that each may have, the first last.
    left: Vec<(i64, File)>,
    first: First,
    /// Partitions that have not begun.
    partitions: Vec<bool>,
}

impl Search {
    /// A file that may have rows that are wanted.
    fn next(&mut self) -> Option<File> {
        let (least, file) = self.left.pop()?;
        if least > self.first.most() {
            self.left.clear();
            return None;
        }
        Some(file)
    }
}

impl KeptLatestExec {
    /// `None` if files cannot be asked one by one.
    pub(super) fn of(
        sort: &Arc<dyn ExecutionPlan>,
        kept: &Arc<Kept>,
        (column, wanted): (usize, Wanted),
        threads: usize,
    ) -> Result<Option<Self>> {
        let Some(asked) = Asked::of(sort) else { return Ok(None) };
        let Some(files) = files(&asked, kept) else { return Ok(None) };
        let least = |file: &File| {
            asked.times(&file.file).map_or(i64::MIN, |(first_ns, last_ns)| {
                wanted.key(if wanted.is_latest() { last_ns } else { first_ns })
            })
        };
        let mut left: Vec<(i64, File)> =
            files.into_iter().map(|file| (least(&file), file)).collect();
        left.sort_by_key(|(least, _)| std::cmp::Reverse(*least));
        let partitions = threads.min(left.len()).max(1);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(sort.schema()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Some(Self {
            sort: sort.clone(),
            column,
            wanted,
            files: left.len(),
            search: Arc::new(Mutex::new(Search {
                left,
                first: First::new(wanted),
                partitions: vec![true; partitions],
            })),
            kept: kept.clone(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

impl DisplayAs for KeptLatestExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptLatestExec: rows={}, files={}", self.wanted.rows(), self.files)
    }
}

impl ExecutionPlan for KeptLatestExec {
    fn name(&self) -> &'static str {
        "KeptLatestExec"
    }

    fn schema(&self) -> SchemaRef {
        self.sort.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// None: the sort is run file by file, never as it is.
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
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
        if !children.is_empty() {
            return internal_err!("KeptLatestExec has no children");
        }
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let begins = lock(&self.search).partitions.get_mut(partition).map(std::mem::take);
        if begins != Some(true) {
            return internal_err!("KeptLatestExec has no partition {partition}, or it ran before");
        }
        let answers = Answers::new(&self.sort, &self.kept, context, &self.metrics, partition);
        let answers = answers.of_few_rows();
        let (search, column) = (self.search.clone(), self.column);
        let of_files = stream::try_unfold(answers, move |answers| {
            let search = search.clone();
            async move {
                let Some(file) = lock(&search).next() else { return Ok(None) };
                let batches: Vec<RecordBatch> = answers.of(file).try_collect().await?;
                let mut search = lock(&search);
                for batch in &batches {
                    add_times(&mut search.first, batch, column)?;
                }
                search.first.shrink();
                Ok::<_, DataFusionError>(Some((stream::iter(batches.into_iter().map(Ok)), answers)))
            }
        });
        let batches = of_files.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

fn add_times(first: &mut First, batch: &RecordBatch, column: usize) -> Result<()> {
    let Some(times) = batch.column(column).as_primitive_opt::<TimestampNanosecondType>() else {
        return internal_err!("a column of times has none");
    };
    let wanted = first.wanted();
    times.iter().flatten().for_each(|time| first.add(wanted.key(time)));
    Ok(())
}

fn lock(search: &Mutex<Search>) -> std::sync::MutexGuard<'_, Search> {
    search.lock().unwrap_or_else(PoisonError::into_inner)
}
