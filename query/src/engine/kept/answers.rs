//! What files answer, each by itself: what is kept of a file is handed out, what is not is computed and
//! kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::internal_err;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use object_store::path::Path;

use super::question::{Asked, Question};
use super::store::Kept;
use crate::engine::latest::with_bound;
use crate::engine::place::bytes_scanned;

/// A file, and what it is asked.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) file: PartitionedFile,
    question: Arc<Question>,
}

/// All files that are asked, each once; `None` if the answer depends on more than those.
pub(super) fn files(asked: &Asked<'_>, kept: &Kept) -> Option<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    let mut known: Vec<Arc<Question>> = Vec::new();
    for file in asked.config.file_groups.iter().flat_map(FileGroup::iter) {
        // A file may have been cut into ranges, which stand for it together.
        let location = &file.object_meta.location;
        if files.iter().any(|known| known.file.object_meta.location == *location) {
            continue;
        }
        let file = PartitionedFile { range: None, ..file.clone() };
        let question = asked.question(&file)?;
        // Nearly always all files are asked the same.
        let question = match known.iter().find(|known| ***known == question) {
            Some(known) => known.clone(),
            None => kept.known(question),
        };
        if !known.iter().any(|known| Arc::ptr_eq(known, &question)) {
            known.push(question.clone());
        }
        files.push(File { file, question });
    }
    Some(files)
}

/// Answers of files.
pub(super) struct Answers {
    /// What all files are asked together.
    plan: Arc<dyn ExecutionPlan>,
    kept: Arc<Kept>,
    context: Arc<TaskContext>,
    found: Count,
    scanned: Count,
    few_rows: bool,
}

impl Answers {
    /// For a partition of an operator, whose metrics are told how many files were kept, and what was read.
    pub(super) fn new(
        plan: &Arc<dyn ExecutionPlan>,
        kept: &Arc<Kept>,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
    ) -> Self {
        Self {
            plan: plan.clone(),
            kept: kept.clone(),
            context,
            found: MetricBuilder::new(metrics).counter("kept_files", partition),
            scanned: MetricBuilder::new(metrics).counter("bytes_scanned", partition),
            few_rows: false,
        }
    }

    /// Of few of a file's rows: they do not bring along the words of all others.
    pub(super) fn of_few_rows(self) -> Self {
        Self { few_rows: true, ..self }
    }

    pub(super) fn of(
        &self,
        File { file, question }: File,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let path = file.object_meta.location.clone();
        if let Some(batches) = self.kept.get(&path, &question) {
            self.found.add(1);
            // Columns may be called otherwise here.
            let schema = self.plan.schema();
            let renamed = move |batch: RecordBatch| {
                Ok(RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?)
            };
            return stream::iter(batches).map(renamed).boxed();
        }
        let started = || {
            let Some(asked) = Asked::of(&self.plan) else {
                return internal_err!("what files were asked is no question any more");
            };
            let plan = with_bound(asked.of_file(file)?, self.context.session_config().options())?;
            let mut input = plan.execute(0, self.context.clone())?;
            if self.few_rows {
                let batches = input.map(|batch| own_words(&batch?));
                let schema = plan.schema();
                input = Box::pin(RecordBatchStreamAdapter::new(schema, batches));
            }
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

/// The rows with those words alone that are in them.
fn own_words(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| {
        let data_type = column.data_type();
        match data_type {
            DataType::Dictionary(_, words) => cast(&cast(column, words)?, data_type),
            _ => Ok(column.clone()),
        }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &rows)?)
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

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, ArrayRef, AsArray as _, DictionaryArray, UInt8Array};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn few_rows_have_their_own_words() {
        let texts: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        let all = texts.iter().map(|text| Some(text.as_str())).chain([None]);
        let words = all.collect::<DictionaryArray<Int32Type>>().slice(997, 4);
        let numbers = Arc::new(UInt8Array::from(vec![1, 2, 3, 4]));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("word", Arc::new(words) as ArrayRef, true),
            ("number", numbers as ArrayRef, false),
        ]);
        let batch = batch.unwrap();
        let few = own_words(&batch).unwrap();
        assert_eq!((few.schema(), few.column(1)), (batch.schema(), batch.column(1)));
        let text = |words| cast(words, &DataType::Utf8).unwrap();
        assert_eq!(&text(few.column(0)), &text(batch.column(0)));
        assert_eq!(few.column(0).as_dictionary::<Int32Type>().values().len(), 3);
    }
}
