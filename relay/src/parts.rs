//! From hot batches to files of flows, each with its roll-up. No I/O.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_flow::manifest::{DataFile, RollUp, Verdicts, data_path, edges_path};
use weir_flow::schema::{FIXUPS, SCHEMA_VERSION, conform, stored_schema};

use crate::encode::{Shape, encode_columns};
use crate::error::StoreError;
use crate::sort::Part;
use crate::{rollup, sort};

/// Rows read at a time: each time dictionaries are merged anew.
const READ_ROWS: usize = 64 * 1024;

/// A file that is ready to be stored.
#[derive(Clone, Debug)]
pub struct EncodedFile {
    /// What the manifest will say.
    pub file: DataFile,
    /// The rows.
    pub body: Bytes,
    /// Their roll-up.
    pub edges: Bytes,
}

/// The rows of batches of flows as files. Names are `name` and a number from `first_number` on.
///
/// # Errors
/// The batches are not of the stored schema, or hold what Parquet cannot.
pub fn encode_flows(
    batches: &[RecordBatch],
    name: &str,
    first_number: u64,
) -> Result<Vec<EncodedFile>, StoreError> {
    let parts = sort::partitions(batches)?;
    let numbered = (first_number..).zip(&parts);
    let encoded = numbered
        .map(|(number, part)| encode(part, &Shape::FLUSHED, &format!("{name}-{number}"), 0));
    encoded.collect()
}

/// Files of flows as fewer: their rows by hour, each hour's allows and denies in one file, sorted and
/// encoded as small as they get.
///
/// # Errors
/// A file is damaged, of an unknown version, or its rows are too many for one.
pub fn merge_files(
    files: &[(Bytes, u32)],
    name: &str,
    level: u32,
) -> Result<Vec<EncodedFile>, StoreError> {
    let mut batches = Vec::new();
    for (body, version) in files {
        batches.extend(read(body.clone(), *version, &stored_schema())?);
    }
    encode_merged(&batches, name, level)
}

/// The rows of merged files, with the encoding of files that stay.
pub(crate) fn encode_merged(
    batches: &[RecordBatch],
    name: &str,
    level: u32,
) -> Result<Vec<EncodedFile>, StoreError> {
    let parts = sort::partitions(batches)?;
    let numbered = parts.iter().enumerate();
    numbered.map(|(n, part)| encode(part, &Shape::MERGED, &format!("{name}-{n}"), level)).collect()
}

/// The rows of a file, with the columns of today.
///
/// # Errors
/// The file is damaged or of an unknown version.
pub(crate) fn read(
    body: Bytes,
    version: u32,
    schema: &SchemaRef,
) -> Result<Vec<RecordBatch>, StoreError> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(body)?.with_batch_size(READ_ROWS).build()?;
    reader.map(|batch| Ok(conform(&batch?, schema, version, FIXUPS)?)).collect()
}

/// One file of rows that were merged so often.
pub(crate) fn encode(
    part: &Part,
    shape: &Shape,
    name: &str,
    level: u32,
) -> Result<EncodedFile, StoreError> {
    let edges = rollup::edges(&part.columns)?;
    let edges_body = encode_columns(&edges, shape)?;
    let body = match part.verdicts {
        Verdicts::Deny => encode_columns(&part.columns, &shape.of_denies())?,
        _ => encode_columns(&part.columns, shape)?,
    };
    let (min_time_ns, max_time_ns) = sort::time_range(&part.columns)?;
    let file = DataFile {
        path: data_path(min_time_ns, name),
        rows: part.columns.rows as u64,
        size_bytes: body.len() as u64,
        min_time_ns,
        max_time_ns,
        schema_version: SCHEMA_VERSION,
        verdicts: part.verdicts,
        level,
        edges: Some(RollUp {
            path: edges_path(min_time_ns, name),
            rows: edges.rows as u64,
            size_bytes: edges_body.len() as u64,
        }),
    };
    Ok(EncodedFile { file, body, edges: edges_body })
}
