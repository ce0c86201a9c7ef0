//! `DoGet`: what is hot, as Flight messages.
//!
//! In: a view of the state, taken in one step. Out: the schema with the header, then for each
//! batch its dictionaries, as far as they differ from those sent before, and its rows with their
//! position. A message is made when the one before was taken.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::{
    DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions,
};
use arrow_flight::FlightData;
use tonic::Status;
use weir_flow::wire::{self, HotPosition};

use crate::hot::HotView;

/// The messages that carry a view of batches of that schema.
pub(super) fn messages(
    schema: &Schema,
    view: HotView,
) -> impl Iterator<Item = Result<FlightData, Status>> + Send + use<> {
    let mut tracker = DictionaryTracker::new(false);
    let schema = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
        schema,
        &mut tracker,
        &IpcWriteOptions::default(),
    );
    let first = FlightData { app_metadata: wire::encode(&view.header), ..message(schema) };
    Messages {
        tracker,
        context: IpcWriteContext::default(),
        ready: VecDeque::from([first]),
        batches: view.batches.into_iter(),
    }
}

struct Messages {
    tracker: DictionaryTracker,
    context: IpcWriteContext,
    ready: VecDeque<FlightData>,
    batches: std::vec::IntoIter<(u64, RecordBatch)>,
}

impl Iterator for Messages {
    type Item = Result<FlightData, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(Ok(ready));
        }
        let (position, batch) = self.batches.next()?;
        match self.encode(position, &batch) {
            Ok(()) => self.ready.pop_front().map(Ok),
            Err(error) => Some(Err(Status::internal(format!("cannot encode a batch: {error}")))),
        }
    }
}

impl Messages {
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

fn message(data: EncodedData) -> FlightData {
    data.into()
}
