//! Adds columns with the numbers of words.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{exec_datafusion_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, Partitioning,
    PlanProperties,
};
use futures::StreamExt as _;

use super::numbers::Words;

/// The rows of its input, with a number for each word of some columns behind them.
#[derive(Debug)]
pub(crate) struct EncodeExec {
    input: Arc<dyn ExecutionPlan>,
    columns: Vec<usize>,
    words: Arc<Words>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl EncodeExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        columns: Vec<usize>,
        words: Arc<Words>,
    ) -> Self {
        let before = input.schema();
        let numbers = columns.iter().enumerate().map(|(index, _)| {
            Arc::new(Field::new(format!("__word_{index}"), DataType::UInt32, true))
        });
        let schema: SchemaRef = Arc::new(Schema::new(
            before.fields().iter().cloned().chain(numbers).collect::<Vec<_>>(),
        ));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, columns, words, schema, properties: Arc::new(properties) }
    }

    /// Which columns, and which numbers.
    pub(crate) fn numbered(&self) -> (&[usize], u64) {
        (&self.columns, self.words.id())
    }
}

impl DisplayAs for EncodeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.columns.iter().map(|column| self.schema.field(*column).name().as_str());
        write!(f, "EncodeExec: {}", names.collect::<Vec<_>>().join(", "))
    }
}

impl ExecutionPlan for EncodeExec {
    fn name(&self) -> &'static str {
        "EncodeExec"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        match (children.pop(), children.pop()) {
            (Some(input), None) => {
                Ok(Arc::new(Self::new(input, self.columns.clone(), self.words.clone())))
            }
            _ => internal_err!("EncodeExec has one child"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let consumer = MemoryConsumer::new(format!("words[{partition}]"));
        let mut encoder = Encoder {
            schema: self.schema.clone(),
            columns: self.columns.iter().map(|column| (*column, None)).collect(),
            words: self.words.clone(),
            memory: consumer.register(context.memory_pool()),
        };
        let batches = self.input.execute(partition, context)?;
        let batches = batches.map(move |batch| encoder.encode(&batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches)))
    }
}

/// Words, and their numbers.
type Numbered = (ArrayRef, Vec<u32>);

struct Encoder {
    schema: SchemaRef,
    /// With the words of the last batch, which often are those of the next.
    columns: Vec<(usize, Option<Numbered>)>,
    words: Arc<Words>,
    /// What words that nobody had seen before take.
    memory: MemoryReservation,
}

impl Encoder {
    fn encode(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        for (column, known) in &mut self.columns {
            let wrong = || exec_datafusion_err!("a column of words has no dictionary");
            let column =
                batch.column(*column).as_dictionary_opt::<Int32Type>().ok_or_else(wrong)?;
            let values = column.values();
            let numbers = match known {
                Some((known, numbers)) if Arc::ptr_eq(known, values) => &*numbers,
                _ => {
                    let words: &StringArray = values.as_string_opt().ok_or_else(wrong)?;
                    let (numbers, bytes) = self.words.numbers(words);
                    self.memory.try_grow(bytes)?;
                    &known.insert((values.clone(), numbers)).1
                }
            };
            let number = |key: &i32| {
                let place = usize::try_from(*key).unwrap_or(usize::MAX);
                numbers.get(place).copied().unwrap_or(0)
            };
            let of_rows: Vec<u32> = column.keys().values().iter().map(number).collect();
            columns.push(Arc::new(UInt32Array::new(of_rows.into(), column.logical_nulls())));
        }
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}
