//! Readers of files that keep what they learn of a file with its first reading: the library asks for
//! the index of pages apart from the footer, only when it needs it, and then keeps nothing of it
//! (DataFusion 55); each query would read and parse it again.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::BoxFuture;

use super::store::Store;

/// Bytes at the end of a file that are read at first: footer and index of most files, in one request.
pub(super) const END_BYTES: usize = 64 * 1024;

/// Makes the readers.
#[derive(Debug)]
pub(super) struct Readers(CachedParquetFileReaderFactory);

impl Readers {
    /// What is learnt is kept in the environment.
    ///
    /// # Errors
    /// The environment has no store.
    pub(super) fn new(environment: &RuntimeEnv) -> Result<Self> {
        let kept = environment.cache_manager.get_file_metadata_cache();
        let objects = environment.object_store(Store::url())?;
        Ok(Self(CachedParquetFileReaderFactory::new(objects, kept)))
    }
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        end_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        Ok(Box::new(Reader(self.0.create_reader(partition, file, end_bytes, metrics)?)))
    }
}

struct Reader(Box<dyn AsyncFileReader + Send>);

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.0.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.0.get_byte_ranges(ranges)
    }

    /// All of it, whatever is asked for.
    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        self.0.get_metadata(None)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::file::metadata::PageIndexPolicy;
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_file_is_asked_for_its_index_once() {
        let numbers = Arc::new(Int64Array::from_iter_values(0..1000));
        let batch = RecordBatch::try_from_iter([("number", numbers as _)]).unwrap();
        let mut body = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut body, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (objects, environment) = (Arc::new(InMemory::new()), RuntimeEnv::default());
        environment.register_object_store(Store::url().as_ref(), objects.clone());
        let file = PartitionedFile::new("a.parquet", body.len() as u64);
        let path = file.object_meta.location.clone();
        objects.put(&path, body.into()).await.unwrap();

        let readers = Readers::new(&environment).unwrap();
        let metrics = ExecutionPlanMetricsSet::new();
        let footer = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        for _ in 0..2 {
            let mut reader =
                readers.create_reader(0, file.clone(), Some(END_BYTES), &metrics).unwrap();
            let metadata = reader.get_metadata(Some(&footer)).await.unwrap();
            assert!(metadata.column_index().is_some() && metadata.offset_index().is_some());
            // From now on nobody can read it again.
            let _ = objects.delete(&path).await;
            assert!(objects.get(&path).await.is_err());
        }
    }
}
