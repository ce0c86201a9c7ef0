//! A partial aggregate over files, file by file.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::StreamExt as _;
use futures::stream;

use super::answers::{Answers, File, files};
use super::question::Asked;
use super::store::Kept;

/// The aggregate.
#[derive(Debug)]
pub(super) struct KeptAggregateExec {
    /// Over all files together.
    aggregate: Arc<dyn ExecutionPlan>,
    /// By thread.
    files: Vec<Vec<File>>,
    kept: Arc<Kept>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl KeptAggregateExec {
    /// `None` if the plan is no aggregate of files, or one whose answer depends on more than those.
    pub(super) fn of(
        aggregate: &Arc<dyn ExecutionPlan>,
        kept: &Arc<Kept>,
        threads: usize,
    ) -> Result<Option<Self>> {
        let Some(asked) = Asked::of(aggregate) else { return Ok(None) };
        let Some(mut files) = files(&asked, kept) else { return Ok(None) };
        // The largest first, each to the thread that has least.
        files.sort_by_key(|file| std::cmp::Reverse(file.file.object_meta.size));
        let threads = threads.min(files.len()).max(1);
        let mut by_thread = vec![(0, Vec::new()); threads];
        for file in files {
            let least = by_thread.iter_mut().min_by_key(|(bytes, _)| *bytes);
            if let Some((bytes, of_thread)) = least {
                *bytes += file.file.object_meta.size;
                of_thread.push(file);
            }
        }
        let files: Vec<Vec<File>> = by_thread.into_iter().map(|(_, files)| files).collect();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(aggregate.schema()),
            Partitioning::UnknownPartitioning(files.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Some(Self {
            aggregate: aggregate.clone(),
            files,
            kept: kept.clone(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

impl DisplayAs for KeptAggregateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files: usize = self.files.iter().map(Vec::len).sum();
        write!(f, "KeptAggregateExec: files={files}")
    }
}

impl ExecutionPlan for KeptAggregateExec {
    fn name(&self) -> &'static str {
        "KeptAggregateExec"
    }

    fn schema(&self) -> SchemaRef {
        self.aggregate.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.aggregate]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(aggregate), None) = (children.pop(), children.pop()) else {
            return internal_err!("KeptAggregateExec has one child");
        };
        match Self::of(&aggregate, &self.kept, self.files.len())? {
            Some(kept) => Ok(Arc::new(kept)),
            None => Ok(aggregate),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(files) = self.files.get(partition).cloned() else {
            return internal_err!("KeptAggregateExec has no partition {partition}");
        };
        let answers = Answers::new(&self.aggregate, &self.kept, context, &self.metrics, partition);
        let batches = stream::iter(files).flat_map(move |file| answers.of(file));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
