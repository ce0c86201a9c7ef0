//! A partial aggregate over files, file by file: what is kept of a file is handed out, what is not
//! is computed and kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use object_store::path::Path;

use super::question::{Asked, Question};
use super::store::Kept;
use crate::engine::place::bytes_scanned;

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

#[derive(Clone, Debug)]
struct File {
    file: PartitionedFile,
    question: Arc<Question>,
}

impl KeptAggregateExec {
    /// `None` if the plan is no aggregate of files, or one whose answer depends on more than those.
    pub(super) fn of(
        aggregate: &Arc<dyn ExecutionPlan>,
        kept: &Arc<Kept>,
        threads: usize,
    ) -> Result<Option<Self>> {
        let Some(asked) = Asked::of(aggregate) else { return Ok(None) };
        let mut files: Vec<PartitionedFile> = Vec::new();
        for file in asked.config.file_groups.iter().flat_map(FileGroup::iter) {
            // A file may have been cut into ranges, which stand for it together.
            if files.iter().all(|known| known.object_meta.location != file.object_meta.location) {
                files.push(PartitionedFile { range: None, ..file.clone() });
            }
        }
        // The largest first, each to the thread that has least.
        files.sort_by_key(|file| std::cmp::Reverse(file.object_meta.size));
        let threads = threads.min(files.len()).max(1);
        let mut by_thread = vec![(0, Vec::new()); threads];
        let mut known: Vec<Arc<Question>> = Vec::new();
        for file in files {
            let Some(question) = asked.question(&file) else { return Ok(None) };
            // Nearly always all files are asked the same.
            let question = match known.iter().find(|known| ***known == question) {
                Some(known) => known.clone(),
                None => kept.known(question),
            };
            if !known.iter().any(|known| Arc::ptr_eq(known, &question)) {
                known.push(question.clone());
            }
            let least = by_thread.iter_mut().min_by_key(|(bytes, _)| *bytes);
            if let Some((bytes, of_thread)) = least {
                *bytes += file.object_meta.size;
                of_thread.push(File { file, question });
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
        let answers = Answers {
            aggregate: self.aggregate.clone(),
            kept: self.kept.clone(),
            context,
            found: MetricBuilder::new(&self.metrics).counter("kept_files", partition),
            scanned: MetricBuilder::new(&self.metrics).counter("bytes_scanned", partition),
        };
        let batches = stream::iter(files).flat_map(move |file| answers.of(file));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Answers of files, one after another.
struct Answers {
    aggregate: Arc<dyn ExecutionPlan>,
    kept: Arc<Kept>,
    context: Arc<TaskContext>,
    found: Count,
    scanned: Count,
}

impl Answers {
    fn of(&self, File { file, question }: File) -> BoxStream<'static, Result<RecordBatch>> {
        let path = file.object_meta.location.clone();
        if let Some(batches) = self.kept.get(&path, &question) {
            self.found.add(1);
            // Columns may be called otherwise here.
            let schema = self.aggregate.schema();
            let renamed = move |batch: RecordBatch| {
                Ok(RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?)
            };
            return stream::iter(batches).map(renamed).boxed();
        }
        let started = || {
            let Some(asked) = Asked::of(&self.aggregate) else {
                return internal_err!("an aggregate of files is none any more");
            };
            let plan = asked.of_file(file)?;
            let input = plan.execute(0, self.context.clone())?;
            Ok(Keeping {
                plan,
                input,
                path,
                question,
                kept: self.kept.clone(),
                scanned: self.scanned.clone(),
                batches: Some((Vec::new(), 0)),
            })
        };
        match started() {
            Ok(keeping) => keeping.boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
}

/// The answer of a file on its way, kept when it is complete.
struct Keeping {
    plan: Arc<dyn ExecutionPlan>,
    input: SendableRecordBatchStream,
    path: Path,
    question: Arc<Question>,
    kept: Arc<Kept>,
    scanned: Count,
    /// What came so far, and its bytes; `None` once it is too much.
    batches: Option<(Vec<RecordBatch>, usize)>,
}

impl Stream for Keeping {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.input.poll_next_unpin(context));
        match &next {
            Some(Ok(batch)) => {
                let most_bytes = self.kept.most_bytes();
                if let Some((batches, bytes)) = &mut self.batches {
                    *bytes += batch.get_array_memory_size();
                    batches.push(batch.clone());
                    if *bytes > most_bytes {
                        self.batches = None;
                    }
                }
            }
            Some(Err(_)) => self.batches = None,
            None => {
                self.scanned.add(usize::try_from(bytes_scanned(&self.plan)).unwrap_or(usize::MAX));
                if let Some((batches, _)) = self.batches.take() {
                    self.kept.keep(&self.path, &self.question, batches);
                }
            }
        }
        Poll::Ready(next)
    }
}
