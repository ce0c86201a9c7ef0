//! A file's encoding: Parquet, with one choice of encoding for each column. No I/O.
//!
//! Text, lists and maps go through a writer of our own, which knows the keys of their dictionaries
//! already; numbers through the library's.

mod chunk;
mod hybrid;
mod leaf;
mod shape;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::compute_leaves;
use parquet::errors::ParquetError;
use weir_flow::schema::NEEDLES;

use crate::columns::{Column, Columns};
use leaf::KeyedLeaf;
pub use shape::{SCHEMA_VERSION_KEY, Shape};

/// Any batch as a Parquet file.
///
/// # Errors
/// The batch holds what Parquet cannot.
pub fn encode(batch: &RecordBatch) -> Result<Bytes, ParquetError> {
    let properties = Shape::FLUSHED.properties()?;
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(batch)?;
    Ok(writer.into_inner()?.into())
}

/// Sorted columns as a Parquet file.
///
/// # Errors
/// The columns hold what Parquet cannot.
pub(crate) fn encode_columns(columns: &Columns, shape: &Shape) -> Result<Bytes, ParquetError> {
    let schema = columns.schema.clone();
    let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(shape.properties()?))?;
    let (mut file, groups) = writer.into_serialized_writer()?;
    let descriptor = file.schema_descr().columns().to_vec();
    let mut compressor = zstd::bulk::Compressor::new(shape.zstd_level)
        .map_err(|error| ParquetError::External(Box::new(error)))?;
    let mut keyed = Vec::with_capacity(columns.columns.len());
    for (field, column) in schema.fields().iter().zip(&columns.columns) {
        keyed.push(match column {
            Column::Text { values, keys } => {
                let bloom = NEEDLES.contains(&field.name().as_str());
                vec![KeyedLeaf::text(values, keys, bloom)]
            }
            Column::Lists { values, keys } => KeyedLeaf::of_lists(values, keys)?,
            Column::Plain(_) => Vec::new(),
        });
    }
    for (number, from) in (0..columns.rows).step_by(shape.group_rows).enumerate() {
        let rows = from..columns.rows.min(from + shape.group_rows);
        let mut writers = groups.create_column_writers(number)?.into_iter();
        let mut descriptors = descriptor.iter();
        let mut group = file.next_row_group()?;
        for ((field, column), leaves) in schema.fields().iter().zip(&columns.columns).zip(&keyed) {
            if let Column::Plain(array) = column {
                let array = array.slice(rows.start, rows.len());
                for leaf in compute_leaves(field, &array)? {
                    descriptors.next();
                    let mut writer = writers.next().ok_or_else(miscounted)?;
                    writer.write(&leaf)?;
                    writer.close()?.append_to_row_group(&mut group)?;
                }
            }
            for leaf in leaves {
                writers.next();
                let descriptor = descriptors.next().ok_or_else(miscounted)?;
                let (bytes, close) =
                    chunk::encode(leaf, descriptor, rows.clone(), shape, &mut compressor)?;
                group.append_column(&bytes, close)?;
            }
        }
        group.close()?;
    }
    Ok(file.into_inner()?.into())
}

fn miscounted() -> ParquetError {
    ParquetError::General("there are other columns than the schema says".into())
}

#[cfg(test)]
mod tests;
