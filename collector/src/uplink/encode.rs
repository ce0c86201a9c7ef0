//! Batches as Flight messages that stand alone: each brings all of its dictionaries, so that it
//! can be sent in any stream, once or again, after any other.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::{FlightData, FlightDescriptor};
use weir_flow::schema::sent_schema;
use weir_flow::wire::{self, BatchId, FLOWS};

/// The first message of a stream.
pub(crate) fn schema() -> FlightData {
    static MESSAGE: LazyLock<FlightData> = LazyLock::new(|| beginning(FLOWS, &sent_schema()));
    MESSAGE.clone()
}

/// The first message of a stream of batches of that schema.
pub(crate) fn beginning(stream: &str, schema: &Schema) -> FlightData {
    tracker(schema).1.with_descriptor(FlightDescriptor::new_path(vec![stream.to_owned()]))
}

/// The messages of a batch: dictionaries first, the rows last.
pub(crate) fn batch(batch: &RecordBatch) -> Result<Vec<FlightData>, ArrowError> {
    let (mut tracker, _) = tracker(batch.schema_ref());
    let (dictionaries, rows) = IpcDataGenerator::default().encode(
        batch,
        &mut tracker,
        &IpcWriteOptions::default(),
        &mut IpcWriteContext::default(),
    )?;
    Ok(dictionaries.into_iter().chain([rows]).map(FlightData::from).collect())
}

/// The messages of a batch without rows.
pub(super) fn empty() -> Result<Vec<FlightData>, ArrowError> {
    batch(&RecordBatch::new_empty(sent_schema()))
}

/// A message without rows that says how the collector is.
pub(super) fn heartbeat(id: &BatchId) -> FlightData {
    FlightData::new().with_app_metadata(wire::encode(id))
}

/// Dictionary ids belong to the schema and are given when it is encoded.
fn tracker(schema: &Schema) -> (DictionaryTracker, FlightData) {
    let mut tracker = DictionaryTracker::new(false);
    let schema = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
        schema,
        &mut tracker,
        &IpcWriteOptions::default(),
    );
    (tracker, schema.into())
}
