//! Reads small files of the store as a whole.

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use object_store::ObjectStoreExt as _;
use object_store::path::Path as ObjectPath;
use weir_flow::manifest::DataFile;

use super::store::Store;
use crate::error::QueryError;

/// The rows of a file; `None` if it is gone. The caller has checked its size.
pub(super) async fn rows<T: Send + 'static>(
    store: &Store,
    file: &DataFile,
    read: fn(&RecordBatch) -> Result<Vec<T>, ArrowError>,
) -> Result<Option<Vec<T>>, QueryError> {
    let failed = |cause: &dyn std::fmt::Display| {
        QueryError::Unavailable(format!("{} in the store cannot be read: {cause}", file.path))
    };
    let path = ObjectPath::parse(&file.path).map_err(|error| failed(&error))?;
    let body = match store.objects().get(&path).await {
        Ok(object) => object.bytes().await.map_err(|error| failed(&error))?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let path = file.path.clone();
    let decode = move || {
        let batches = ParquetRecordBatchReaderBuilder::try_new(body)
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .map_err(|error| error.to_string())?;
        let mut rows = Vec::new();
        for batch in batches {
            let read = batch.and_then(|batch| read(&batch));
            rows.extend(read.map_err(|error| error.to_string())?);
        }
        Ok(rows)
    };
    let decoded: Result<_, String> = tokio::task::spawn_blocking(decode)
        .await
        .map_err(|error| QueryError::Internal(error.to_string()))?;
    let damaged = |cause| QueryError::Unavailable(format!("{path} is damaged: {cause}"));
    decoded.map(Some).map_err(damaged)
}
