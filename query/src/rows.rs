//! Rows in the formats of answers, for those who have rows and no query.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;

use crate::output::{Encoder, Format};

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// One object a row and line.
    NdJson,
    /// A header line, then one line a row.
    Csv,
    /// The Arrow IPC stream format.
    Arrow,
}

/// Writes rows.
pub struct RowWriter(Encoder);

impl RowWriter {
    /// For rows of a schema.
    ///
    /// # Errors
    /// The format cannot hold it.
    pub fn new(format: RowFormat, schema: &SchemaRef) -> Result<Self, ArrowError> {
        let format = match format {
            RowFormat::NdJson => Format::NdJson,
            RowFormat::Csv => Format::Csv,
            RowFormat::Arrow => Format::Arrow,
        };
        Encoder::new(format, schema, None).map(Self)
    }

    /// What stands before the first row.
    ///
    /// # Errors
    /// The format cannot hold the columns.
    pub fn begin(&mut self) -> Result<Bytes, ArrowError> {
        self.0.begin()
    }

    /// Rows.
    ///
    /// # Errors
    /// The format cannot hold them.
    pub fn rows(&mut self, batch: &RecordBatch) -> Result<Bytes, ArrowError> {
        self.0.rows(batch)
    }

    /// What stands behind the last row.
    ///
    /// # Errors
    /// The format cannot be ended.
    pub fn end(&mut self) -> Result<Bytes, ArrowError> {
        if let Encoder::Arrow(writer) = &mut self.0 {
            writer.finish()?;
            return Ok(std::mem::take(writer.get_mut()).into());
        }
        Ok(Bytes::new())
    }
}

impl std::fmt::Debug for RowWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowWriter").finish_non_exhaustive()
    }
}
