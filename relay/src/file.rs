//! A file's encoding: Parquet with one choice of encoding for each column.

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use weir_flow::schema::SCHEMA_VERSION;

/// Metadata key of the version of the columns.
pub const SCHEMA_VERSION_KEY: &str = "weir.schema_version";

/// Rows of a row group: large, so that dictionaries are paid once, yet a unit of parallel reads.
const ROW_GROUP_ROWS: usize = 512 * 1024;
/// Rows of a page: what a point query has to decode, and as far as compression sees.
const PAGE_ROWS: usize = 64 * 1024;
/// Large enough for the rows of a page, whatever the column.
const PAGE_BYTES: usize = 4 << 20;
const ZSTD_LEVEL: i32 = 9;

/// Numbers that come again as they are, alone or in runs: a moment in the row of the first packet,
/// in that of the rest and as the end, or one reading in many rows. Compression finds them whole.
const PLAIN: &[&str] = &["time", "end_time", "source_port"];
/// Numbers of any size next to each other: byte by byte, the high ones compress to nothing.
const SPLIT: &[&str] = &["packets", "bytes", "reply_packets", "reply_bytes", "duration_ns"];

/// A sorted batch as a Parquet file.
///
/// # Errors
/// The batch holds what Parquet cannot.
pub fn encode(batch: &RecordBatch) -> Result<Bytes, ParquetError> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties()?))?;
    writer.write(batch)?;
    Ok(writer.into_inner()?.into())
}

fn properties() -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        // Pages of version 2 leave the levels of lists and maps uncompressed: 2.5 bytes a row.
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(format!("weir {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_key_value_metadata(Some(vec![KeyValue::new(
            SCHEMA_VERSION_KEY.to_owned(),
            SCHEMA_VERSION.to_string(),
        )]));
    let plain = PLAIN.iter().map(|column| (*column, Encoding::PLAIN));
    let split = SPLIT.iter().map(|column| (*column, Encoding::BYTE_STREAM_SPLIT));
    for (column, encoding) in plain.chain(split) {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, encoding);
    }
    Ok(properties.build())
}
