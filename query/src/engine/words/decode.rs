//! Puts words in the place of their numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, DictionaryArray};
use arrow::datatypes::{Int32Type, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{exec_datafusion_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, Partitioning,
    PlanProperties,
};
use futures::StreamExt as _;

use super::numbers::Words;

/// The rows of its input, with words where some columns have numbers.
#[derive(Debug)]
pub(super) struct DecodeExec {
    input: Arc<dyn ExecutionPlan>,
    columns: Vec<usize>,
    words: Arc<Words>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl DecodeExec {
    /// `schema` is that of the input with words.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        columns: Vec<usize>,
        schema: SchemaRef,
        words: Arc<Words>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, columns, words, schema, properties: Arc::new(properties) }
    }
}

impl DisplayAs for DecodeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.columns.iter().map(|column| self.schema.field(*column).name().as_str());
        write!(f, "DecodeExec: {}", names.collect::<Vec<_>>().join(", "))
    }
}

impl ExecutionPlan for DecodeExec {
    fn name(&self) -> &'static str {
        "DecodeExec"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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
        let (Some(input), None) = (children.pop(), children.pop()) else {
            return internal_err!("DecodeExec has one child");
        };
        let (columns, schema) = (self.columns.clone(), self.schema.clone());
        Ok(Arc::new(Self::new(input, columns, schema, self.words.clone())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (columns, words) = (self.columns.clone(), self.words.clone());
        let schema = self.schema.clone();
        let batches = self.input.execute(partition, context)?;
        let batches = batches.map(move |batch| decode(&batch?, &columns, &words, &schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches)))
    }
}

fn decode(
    batch: &RecordBatch,
    columns: &[usize],
    words: &Words,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let mut decoded = batch.columns().to_vec();
    for column in columns {
        let numbers = batch.column(*column).as_primitive_opt::<UInt32Type>();
        let numbers =
            numbers.ok_or_else(|| exec_datafusion_err!("a column of numbers has none"))?;
        let (keys, values) = words.words(numbers);
        let values: ArrayRef = Arc::new(values);
        decoded[*column] = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?);
    }
    Ok(RecordBatch::try_new(schema.clone(), decoded)?)
}
