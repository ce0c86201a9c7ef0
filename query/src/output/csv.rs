//! CSV as in RFC 4180. Lists and maps are written as JSON, nulls as nothing.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::LineDelimited;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;

use super::json::{TIME, UTC_TIME, write};

/// A header line, then the rows.
pub(crate) struct Csv {
    schema: SchemaRef,
}

impl Csv {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| match field.data_type().is_nested() {
                true => Field::new(field.name(), DataType::Utf8, true),
                false => Field::clone(field),
            })
            .collect();
        Self { schema: Arc::new(Schema::new(fields)) }
    }

    pub(super) fn begin(&self) -> Result<Bytes, ArrowError> {
        self.write(&RecordBatch::new_empty(self.schema.clone()), true)
    }

    pub(super) fn rows(&self, batch: &RecordBatch) -> Result<Bytes, ArrowError> {
        let columns = batch
            .columns()
            .iter()
            .map(|column| match column.data_type().is_nested() {
                true => as_json(column),
                false => Ok(column.clone()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        // Rows are there also without columns.
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows)?;
        self.write(&rows, false)
    }

    fn write(&self, batch: &RecordBatch, header: bool) -> Result<Bytes, ArrowError> {
        let mut writer = WriterBuilder::new()
            .with_header(header)
            .with_timestamp_tz_format(UTC_TIME.into())
            .with_timestamp_format(TIME.into())
            .build(Vec::new());
        writer.write(batch)?;
        Ok(writer.into_inner().into())
    }
}

/// Each value as JSON text.
pub(super) fn as_json(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let alone = RecordBatch::try_from_iter_with_nullable([("", column.clone(), true)])?;
    let lines = write::<LineDelimited>(&alone)?;
    let values: StringArray = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let value = line.strip_prefix(b"{\"\":").and_then(|line| line.strip_suffix(b"}"));
            let value = std::str::from_utf8(value.unwrap_or(line)).ok();
            value.filter(|value| *value != "null")
        })
        .collect();
    Ok(Arc::new(values))
}
