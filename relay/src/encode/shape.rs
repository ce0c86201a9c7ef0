//! How files are cut and compressed.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use weir_flow::schema::SCHEMA_VERSION;

/// Metadata key of the version of the columns.
pub const SCHEMA_VERSION_KEY: &str = "weir.schema_version";

/// Numbers that come again as they are, alone or in runs: a moment in the row of the first packet,
/// in that of the rest and as the end, or one reading in many rows. Compression finds them whole. All
/// others have dictionaries: what takes less room (`BYTE_STREAM_SPLIT` for the counters, a hundredth of a
/// file) is not known to Trino nor to Spark's fast reader.
const PLAIN: &[&str] = &["time", "end_time", "source_port"];
/// Large enough for the rows of a page, whatever the column.
const PAGE_BYTES: usize = 4 << 20;

/// How a file is cut and compressed.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows of a row group: large, so that dictionaries are paid once, yet a unit of parallel reads.
    pub(super) group_rows: usize,
    /// Rows of a page: what a point query has to decode, and as far as compression sees.
    pub(super) page_rows: usize,
    pub(super) zstd_level: i32,
}

impl Shape {
    /// For files as they are flushed, which are merged soon: as little work as possible.
    pub const FLUSHED: Self = Self { group_rows: 512 * 1024, page_rows: 64 * 1024, zstd_level: 1 };
    /// For files that stay.
    pub const MERGED: Self = Self { group_rows: 1024 * 1024, page_rows: 32 * 1024, zstd_level: 9 };

    /// The same for denies: few beside the allows, and asked for most. Threads read groups side by side, those
    /// of other times are passed by, and
    /// an hour of denies is one file.
    pub(crate) fn of_denies(&self) -> Self {
        Self { group_rows: self.group_rows.min(2 * self.page_rows), ..*self }
    }

    pub(super) fn compression(&self) -> Result<Compression, ParquetError> {
        Ok(Compression::ZSTD(ZstdLevel::try_new(self.zstd_level)?))
    }

    pub(crate) fn properties(&self) -> Result<WriterProperties, ParquetError> {
        let mut properties = WriterProperties::builder()
            // Pages of version 2 leave the levels of lists and maps uncompressed: 2.5 bytes a row.
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_created_by(format!("weir {}", env!("CARGO_PKG_VERSION")))
            .set_compression(self.compression()?)
            .set_max_row_group_row_count(Some(self.group_rows))
            .set_data_page_row_count_limit(self.page_rows)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_key_value_metadata(Some(vec![KeyValue::new(
                SCHEMA_VERSION_KEY.to_owned(),
                SCHEMA_VERSION.to_string(),
            )]));
        for column in PLAIN {
            let column = ColumnPath::from(*column);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::PLAIN);
        }
        Ok(properties.build())
    }
}
