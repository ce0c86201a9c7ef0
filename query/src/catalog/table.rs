//! Table `flows`: the hot batches and the Parquet files of one snapshot.
//!
//! Every query has a table of its own, which takes its snapshot when it is first scanned and keeps
//! it: a query that reads the table twice sees the same rows twice. Columns and filters are pushed
//! into the Parquet reader by the physical optimizer; files are left out by time before that.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::{TableType, ViewTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableProviderFilterPushDown, col};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use object_store::path::Path as ObjectPath;
use tokio::sync::OnceCell;
use weir_flow::manifest::DataFile;
use weir_flow::schema::stored_schema;

use super::snapshot::{Snapshot, Snapshots};
use super::store::Store;
use super::{FLOWS, connection_id, prune};

/// Hot rows that are worth a thread of their own.
const ROWS_A_PARTITION: usize = 32 * 1024;

/// The stored columns of `flows`, for one query.
#[derive(Debug)]
pub(crate) struct Flows {
    snapshots: Arc<Snapshots>,
    snapshot: OnceCell<Snapshot>,
}

impl Flows {
    pub(crate) fn new(snapshots: Arc<Snapshots>) -> Arc<Self> {
        Arc::new(Self { snapshots, snapshot: OnceCell::new() })
    }

    /// The rows of a snapshot that is there already.
    pub(crate) fn over(snapshots: Arc<Snapshots>, snapshot: Snapshot) -> Arc<Self> {
        Arc::new(Self { snapshots, snapshot: OnceCell::new_with(Some(snapshot)) })
    }

    /// All columns, the computed ones too, as a table.
    pub(crate) fn view(self: Arc<Self>) -> Result<ViewTable> {
        let columns = stored_schema();
        let stored = columns.fields().iter().map(|field| col(field.name()));
        let plan = LogicalPlanBuilder::scan(FLOWS, provider_as_source(self), None)?
            .project(stored.chain([connection_id::expression()]))?
            .build()?;
        Ok(ViewTable::new(plan, None))
    }

    /// What the answer must say about itself; known once the query is planned.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.snapshot.get().map(|snapshot| snapshot.warnings.clone()).unwrap_or_default()
    }
}

#[async_trait]
impl TableProvider for Flows {
    fn schema(&self) -> SchemaRef {
        stored_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let snapshot = self.snapshot.get_or_try_init(|| self.snapshots.take()).await?;
        let threads = session.config().target_partitions();
        let mut plans = Vec::new();
        let files = prune::prune(session, filters, &snapshot.stored.files)?;
        if !files.is_empty() {
            plans.push(scan_files(session, &files, projection, limit, threads)?);
        }
        if !snapshot.hot.is_empty() {
            plans.push(scan_hot(snapshot, projection, threads)?);
        }
        match plans.len() {
            0 => {
                let schema = match projection {
                    Some(columns) => Arc::new(stored_schema().project(columns)?),
                    None => stored_schema(),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(plans.swap_remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

fn scan_hot(
    snapshot: &Snapshot,
    projection: Option<&Vec<usize>>,
    threads: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let rows: usize = snapshot.hot.iter().map(RecordBatch::num_rows).sum();
    let partitions = rows.div_ceil(ROWS_A_PARTITION).clamp(1, threads);
    let mut parts = vec![Vec::new(); partitions];
    for (index, batch) in snapshot.hot.iter().enumerate() {
        parts[index % partitions].push(batch.clone());
    }
    let plan = MemorySourceConfig::try_new_exec(&parts, stored_schema(), projection.cloned())?;
    Ok(plan)
}

fn scan_files(
    session: &dyn Session,
    files: &[&DataFile],
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
    threads: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let runtime = session.runtime_env();
    let readers = CachedParquetFileReaderFactory::new(
        runtime.object_store(Store::url())?,
        runtime.cache_manager.get_file_metadata_cache(),
    );
    let source =
        ParquetSource::new(stored_schema()).with_parquet_file_reader_factory(Arc::new(readers));
    let groups = files
        .chunks(files.len().div_ceil(threads))
        .map(|part| {
            let group = part.iter().map(|file| partitioned(file)).collect::<Result<Vec<_>>>()?;
            Ok(FileGroup::new(group).with_statistics(Arc::new(statistics(part))))
        })
        .collect::<Result<Vec<_>>>()?;
    let scan = FileScanConfigBuilder::new(Store::url(), Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(statistics(files))
        .with_projection_indices(projection.cloned())?
        .with_limit(limit)
        .build();
    Ok(DataSourceExec::from_data_source(scan))
}

fn partitioned(file: &DataFile) -> Result<PartitionedFile> {
    let mut partitioned =
        PartitionedFile::new("", file.size_bytes).with_statistics(Arc::new(statistics(&[file])));
    partitioned.object_meta.location = ObjectPath::parse(&file.path)
        .map_err(|error| datafusion::error::DataFusionError::Plan(error.to_string()))?;
    Ok(partitioned)
}

/// What the manifest says of the files together: rows, and the bounds of both times.
fn statistics(files: &[&DataFile]) -> Statistics {
    let sum = |of: fn(&DataFile) -> u64| {
        let sum: u64 = files.iter().map(|file| of(file)).sum();
        usize::try_from(sum).map_or(Precision::Absent, Precision::Exact)
    };
    let time = |nanoseconds: Option<i64>| {
        ScalarValue::TimestampNanosecond(nanoseconds, Some("UTC".into()))
    };
    let first = time(files.iter().map(|file| file.min_time_ns).min());
    let last = time(files.iter().map(|file| file.max_time_ns).max());
    let column_statistics = stored_schema()
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
