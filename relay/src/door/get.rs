//! `DoGet`: what is hot, as Flight messages.
//!
//! In: a view of the state, taken in one step. Out: the schema with the header, then for each
//! batch its dictionaries, as far as they differ from those sent before, and its rows with their
//! position; a large batch in several messages, all at its position. A message is made when the one
//! before was taken.

use std::collections::VecDeque;

use arrow::array::{Array as _, ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::{
    DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions,
};
use arrow_flight::FlightData;
use tonic::Status;
use weir_flow::wire::{self, HotHeader, HotPosition};

use crate::decode::RawMessage;
use crate::hot::HotView;

/// A batch of more bytes is cut, so that every part fits into a message.
const MAX_PART_BYTES: usize = 16 << 20;

/// The messages that carry a view of batches of that schema.
pub(super) fn messages(
    schema: &Schema,
    view: HotView,
) -> impl Iterator<Item = Result<FlightData, Status>> + Send + use<> {
    let mut encoder = Encoder::new(schema, &view.header);
    let mut batches = view.batches.into_iter();
    std::iter::from_fn(move || {
        loop {
            if let Some(ready) = encoder.ready.pop_front() {
                return Some(Ok(ready));
            }
            let (position, batch) = batches.next()?;
            if let Err(status) = encoder.push(position, &batch) {
                return Some(Err(status));
            }
        }
    })
}

/// A batch as messages of its own: the schema, dictionaries, the rows.
pub(super) fn whole(batch: &RecordBatch) -> Result<Vec<RawMessage>, ArrowError> {
    let (tracker, schema) = begin(batch.schema_ref());
    let mut encoder = Encoder { tracker, context: IpcWriteContext::default(), ready: [].into() };
    encoder.encode(0, batch)?;
    let messages = [schema].into_iter().chain(encoder.ready);
    let raw = |data: FlightData| RawMessage {
        header: Buffer::from(data.data_header),
        body: Buffer::from(data.data_body),
    };
    Ok(messages.map(raw).collect())
}

/// Makes the messages of one stream.
pub(super) struct Encoder {
    tracker: DictionaryTracker,
    context: IpcWriteContext,
    /// Messages to send.
    pub(super) ready: VecDeque<FlightData>,
}

impl Encoder {
    /// The first message is ready.
    pub(super) fn new(schema: &Schema, header: &HotHeader) -> Self {
        let (tracker, schema) = begin(schema);
        let first = FlightData { app_metadata: wire::encode(header), ..schema };
        Self { tracker, context: IpcWriteContext::default(), ready: VecDeque::from([first]) }
    }

    /// The messages of a batch become ready.
    pub(super) fn push(&mut self, position: u64, batch: &RecordBatch) -> Result<(), Status> {
        let rows = batch.num_rows();
        let parts = weight(batch).div_ceil(MAX_PART_BYTES).clamp(1, rows.max(1));
        let step = rows.div_ceil(parts).max(1);
        for from in (0..rows.max(1)).step_by(step) {
            let part = batch.slice(from, step.min(rows - from));
            self.encode(position, &part)
                .map_err(|error| Status::internal(format!("cannot encode a batch: {error}")))?;
        }
        Ok(())
    }

    fn encode(&mut self, position: u64, batch: &RecordBatch) -> Result<(), ArrowError> {
        let (dictionaries, rows) = IpcDataGenerator::default().encode(
            batch,
            &mut self.tracker,
            &IpcWriteOptions::default(),
            &mut self.context,
        )?;
        self.ready.extend(dictionaries.into_iter().map(message));
        let app_metadata = wire::encode(&HotPosition { position });
        self.ready.push_back(FlightData { app_metadata, ..message(rows) });
        Ok(())
    }
}

/// Bytes of its values. Its columns may share one buffer, which counts once.
fn weight(batch: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(0);
    batch.columns().iter().map(bytes).sum()
}

fn begin(schema: &Schema) -> (DictionaryTracker, FlightData) {
    let mut tracker = DictionaryTracker::new(false);
    let schema = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
        schema,
        &mut tracker,
        &IpcWriteOptions::default(),
    );
    (tracker, message(schema))
}

fn message(data: EncodedData) -> FlightData {
    data.into()
}
