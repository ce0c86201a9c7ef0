//! The stored rows of a time range, one file's after another's.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, TimestampNanosecondType};
use arrow::error::ArrowError;
use object_store::ObjectStore;
use parquet::arrow::ArrowWriter;
use weir_flow::manifest::{DataFile, Verdicts};
use weir_flow::schema::stored_schema;
use weir_flow::values::Verdict;

use crate::check::Progress;
use crate::encode::Shape;
use crate::error::StoreError;
use crate::parts;
use crate::store::Store;

/// Which rows.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// From this `time` on, nanoseconds since 1970.
    pub since_ns: Option<i64>,
    /// Before this one.
    pub until_ns: Option<i64>,
    /// With this verdict.
    pub verdict: Option<Verdict>,
}

/// Hands over the rows of the newest manifest that are selected; their order is that of the files.
/// At most one file is in memory. Returns how many rows there were.
///
/// # Errors
/// The store cannot be read, a file is damaged, or `take` failed.
pub async fn export<E: From<StoreError>>(
    objects: Arc<dyn ObjectStore>,
    selection: &Selection,
    mut take: impl FnMut(&RecordBatch) -> Result<(), E>,
    mut progress: impl FnMut(Progress),
) -> Result<u64, E> {
    let store = Store::new(objects);
    let manifest = store.newest().await?;
    let mut files: Vec<&DataFile> =
        manifest.files.iter().filter(|file| selection.may_be_in(file)).collect();
    files.sort_by_key(|file| file.min_time_ns);
    let mut done = Progress {
        of_files: files.len(),
        of_bytes: files.iter().map(|file| file.size_bytes).sum(),
        ..Progress::default()
    };
    progress(done);
    let mut rows = 0;
    for file in files {
        let body = store.get(&file.path).await?;
        for batch in parts::read(body, file.schema_version, &stored_schema())? {
            let batch = selection.select(&batch).map_err(StoreError::from)?;
            if batch.num_rows() > 0 {
                take(&batch)?;
                rows += batch.num_rows() as u64;
            }
        }
        done.files += 1;
        done.bytes += file.size_bytes;
        progress(done);
    }
    Ok(rows)
}

impl Selection {
    fn may_be_in(&self, file: &DataFile) -> bool {
        let allows = self.verdict.is_none_or(|verdict| verdict == Verdict::Allow);
        let denies = self.verdict.is_none_or(|verdict| verdict != Verdict::Allow);
        let class = match file.verdicts {
            Verdicts::Any => true,
            Verdicts::Allow => allows,
            Verdicts::Deny => denies,
        };
        class
            && self.since_ns.is_none_or(|since| file.max_time_ns >= since)
            && self.until_ns.is_none_or(|until| file.min_time_ns < until)
    }

    fn select(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let missing = || ArrowError::SchemaError("columns time and verdict are missing".into());
        let times = batch.column_by_name("time").ok_or_else(missing)?;
        let times = times.as_primitive::<TimestampNanosecondType>();
        let verdicts = batch.column_by_name("verdict").ok_or_else(missing)?;
        let verdicts = verdicts.as_dictionary::<Int32Type>();
        let wanted = self.verdict.map(Verdict::as_str);
        let words: Vec<bool> = verdicts
            .values()
            .as_string::<i32>()
            .iter()
            .map(|word| wanted.is_none_or(|wanted| word == Some(wanted)))
            .collect();
        let keep: BooleanArray = times
            .values()
            .iter()
            .zip(verdicts.keys_iter())
            .map(|(time, verdict)| {
                Some(
                    verdict.is_some_and(|verdict| words[verdict])
                        && self.since_ns.is_none_or(|since| *time >= since)
                        && self.until_ns.is_none_or(|until| *time < until),
                )
            })
            .collect();
        filter_record_batch(batch, &keep)
    }
}

/// Writes rows of table `flows` as one Parquet file.
#[derive(Debug)]
pub struct ParquetRows<W: Write + Send>(ArrowWriter<W>);

impl<W: Write + Send> ParquetRows<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// The writer does not take it.
    pub fn new(writer: W) -> Result<Self, StoreError> {
        let properties = Shape::MERGED.properties()?;
        Ok(Self(ArrowWriter::try_new(writer, stored_schema(), Some(properties))?))
    }

    /// Adds rows.
    ///
    /// # Errors
    /// The writer does not take them.
    pub fn rows(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        Ok(self.0.write(batch)?)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The writer does not take it.
    pub fn end(self) -> Result<(), StoreError> {
        self.0.close()?;
        Ok(())
    }
}
