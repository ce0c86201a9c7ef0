//! Plans that read hot batches and files of the store.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use object_store::path::Path as ObjectPath;
use weir_flow::manifest::DataFile;

use super::readers::{END_BYTES, Readers};
use super::store::Store;

/// Hot rows that are worth a thread of their own.
const ROWS_A_PARTITION: usize = 32 * 1024;

/// A table's columns and which of them a plan wants.
#[derive(Clone, Debug)]
pub(super) struct Columns<'a> {
    pub(super) schema: SchemaRef,
    pub(super) projection: Option<&'a Vec<usize>>,
}

/// All of the plans' rows.
pub(super) fn all(
    columns: &Columns<'_>,
    mut plans: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    match plans.len() {
        0 => {
            let schema = match columns.projection {
                Some(wanted) => Arc::new(columns.schema.project(wanted)?),
                None => columns.schema.clone(),
            };
            Ok(Arc::new(EmptyExec::new(schema)))
        }
        1 => Ok(plans.swap_remove(0)),
        _ => UnionExec::try_new(plans),
    }
}

/// Reads batches; `None` if there are none.
pub(super) fn batches(
    session: &dyn Session,
    columns: &Columns<'_>,
    batches: &[RecordBatch],
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if batches.is_empty() {
        return Ok(None);
    }
    let threads = session.config().target_partitions();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let partitions = rows.div_ceil(ROWS_A_PARTITION).clamp(1, threads);
    let mut parts = vec![Vec::new(); partitions];
    for (index, batch) in batches.iter().enumerate() {
        parts[index % partitions].push(batch.clone());
    }
    let projection = columns.projection.cloned();
    let plan = MemorySourceConfig::try_new_exec(&parts, columns.schema.clone(), projection)?;
    Ok(Some(plan))
}

/// Reads files, those with the latest rows first; `None` if there are none.
pub(super) fn files(
    session: &dyn Session,
    columns: &Columns<'_>,
    mut files: Vec<&DataFile>,
    limit: Option<usize>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if files.is_empty() {
        return Ok(None);
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.max_time_ns));
    let schema = &columns.schema;
    let readers = Readers::new(session.runtime_env())?;
    let source = ParquetSource::new(schema.clone())
        .with_parquet_file_reader_factory(Arc::new(readers))
        .with_metadata_size_hint(END_BYTES);
    let threads = session.config().target_partitions().min(files.len()).max(1);
    let groups = (0..threads)
        .map(|thread| {
            let part: Vec<&DataFile> =
                files.iter().skip(thread).step_by(threads).copied().collect();
            let group =
                part.iter().map(|file| partitioned(schema, file)).collect::<Result<Vec<_>>>()?;
            Ok(FileGroup::new(group).with_statistics(Arc::new(statistics(schema, &part))))
        })
        .collect::<Result<Vec<_>>>()?;
    let scan = FileScanConfigBuilder::new(Store::url(), Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(statistics(schema, &files))
        .with_projection_indices(columns.projection.cloned())?
        .with_limit(limit)
        .build();
    Ok(Some(DataSourceExec::from_data_source(scan)))
}

fn partitioned(schema: &SchemaRef, file: &DataFile) -> Result<PartitionedFile> {
    let statistics = Arc::new(statistics(schema, &[file]));
    let mut partitioned = PartitionedFile::new("", file.size_bytes).with_statistics(statistics);
    partitioned.object_meta.location =
        ObjectPath::parse(&file.path).map_err(|error| DataFusionError::Plan(error.to_string()))?;
    Ok(partitioned)
}

/// What the manifest says of the files together: rows, and the bounds of both times.
fn statistics(schema: &SchemaRef, files: &[&DataFile]) -> Statistics {
    let sum = |of: fn(&DataFile) -> u64| {
        let sum: u64 = files.iter().map(|file| of(file)).sum();
        usize::try_from(sum).map_or(Precision::Absent, Precision::Exact)
    };
    let time = |nanoseconds: Option<i64>| {
        ScalarValue::TimestampNanosecond(nanoseconds, Some("UTC".into()))
    };
    let first = time(files.iter().map(|file| file.min_time_ns).min());
    let last = time(files.iter().map(|file| file.max_time_ns).max());
    let column_statistics = schema
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "time" => ColumnStatistics {
                null_count: Precision::Exact(0),
                min_value: Precision::Exact(first.clone()),
                max_value: Precision::Inexact(last.clone()),
                ..ColumnStatistics::new_unknown()
            },
            "end_time" => ColumnStatistics {
                null_count: Precision::Exact(0),
                min_value: Precision::Inexact(first.clone()),
                max_value: Precision::Exact(last.clone()),
                ..ColumnStatistics::new_unknown()
            },
            _ => ColumnStatistics::new_unknown(),
        })
        .collect();
    Statistics {
        num_rows: sum(|file| file.rows),
        total_byte_size: match sum(|file| file.size_bytes) {
            Precision::Exact(bytes) => Precision::Inexact(bytes),
            other => other,
        },
        column_statistics,
    }
}
