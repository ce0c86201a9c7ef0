//! Parquet: a file, handed out as its row groups are complete. Intervals, for which the format has no type
//! as precise as SQL's, are texts.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::csv;

/// How hard it is compressed.
const ZSTD_LEVEL: i32 = 1;
/// A row group that is so large is written.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// Writes one file.
pub(crate) struct ParquetFile {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
}

impl ParquetFile {
    pub(super) fn new(schema: &Schema) -> Result<Self, ArrowError> {
        let field = |field: &Arc<Field>| match has_interval(field.data_type()) {
            true => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
            false => field.clone(),
        };
        let fields: Vec<_> = schema.fields().iter().map(field).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        let level = ZstdLevel::try_new(ZSTD_LEVEL)?;
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
        Ok(Self { schema, writer })
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let columns = batch.columns().iter().map(as_known).collect::<Result<_, _>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows)?;
        self.writer.write(&rows)?;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), ArrowError> {
        self.writer.finish()?;
        Ok(())
    }

    /// What was written since the last call.
    pub(super) fn written(&mut self) -> Bytes {
        std::mem::take(self.writer.inner_mut()).into()
    }
}

/// The column as a type that there is.
fn as_known(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Interval(_) => cast(column, &DataType::Utf8),
        nested if has_interval(nested) => csv::as_json(column),
        _ => Ok(column.clone()),
    }
}

fn has_interval(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_interval(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_interval(field.data_type())),
        DataType::Dictionary(_, values) => has_interval(values),
        _ => false,
    }
}
