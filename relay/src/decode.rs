//! From Flight messages to checked record batches. No I/O.
//!
//! Everything here is input from the network: a message that is cut short, says something about
//! itself that is not so, or carries other columns is refused by name of what is wrong.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::ipc;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow_flight::FlightData;
use weir_flow::schema::objects::{ObjectVersion, object_schema};
use weir_flow::schema::{FIXUPS, conform, sent_schema, stored_schema};
use weir_flow::wire::{
    self, BatchId, FLOWS, LossEntry, MAX_BATCH_ROWS, MAX_LOSSES, MAX_MANIFEST_BYTES,
    MAX_MESSAGE_BYTES, MAX_NAME_BYTES, OBJECTS, ObjectsId,
};

use crate::columns;

/// Largest `app_metadata`.
const MAX_METADATA_BYTES: usize = 1 << 20;
/// Largest `data_header`: a few kilobytes tell of every column.
const MAX_HEADER_BYTES: usize = 1 << 20;
/// Longest name of a collector.
const MAX_COLLECTOR_BYTES: usize = 512;

/// Why a message is refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The first message of a stream names another one, or none.
    #[error(
        "the stream's descriptor has to be the path [\"{FLOWS}\"] or [\"{OBJECTS}\"], it is {found}"
    )]
    Descriptor {
        /// What it names.
        found: String,
    },
    /// The header is not an Arrow IPC message.
    #[error("the data header is not an Arrow message: {0}")]
    Header(String),
    /// A kind of message that this stream does not have.
    #[error("unexpected message of kind {0}")]
    Kind(String),
    /// The first message has to be the schema.
    #[error("the first message has to be the schema")]
    NoSchema,
    /// The columns are not those of the table.
    #[error("the schema differs from table {0}")]
    Schema(String),
    /// The header and the body do not fit together.
    #[error("the message is cut short or damaged: {0}")]
    Damaged(String),
    /// The values are not what the schema says.
    #[error("the batch is not valid: {0}")]
    Invalid(String),
    /// More rows than a batch may have.
    #[error("the batch has {rows} rows, at most {MAX_BATCH_ROWS} are taken: send smaller ones")]
    TooManyRows {
        /// How many.
        rows: i64,
    },
    /// More bytes than a message may have.
    #[error("{what} has {bytes} bytes, at most {limit} are taken")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// How many.
        bytes: usize,
        /// At most.
        limit: usize,
    },
    /// The metadata does not say which batch this is.
    #[error("the app_metadata is not a batch id: {0}")]
    BatchId(String),
}

/// What a message brings.
#[derive(Debug)]
pub enum Message {
    /// The schema or a dictionary: nothing to answer.
    Preparation,
    /// Only how the collector is.
    Heartbeat(BatchId),
    /// Rows.
    Batch(ReceivedBatch),
    /// Versions of the cluster's objects.
    Objects {
        /// Which batch.
        id: ObjectsId,
        /// The versions.
        versions: Vec<ObjectVersion>,
    },
}

/// A batch, and the messages that it came in.
#[derive(Debug)]
pub struct ReceivedBatch {
    /// Which batch.
    pub id: BatchId,
    /// Its rows, of [`sent_schema`].
    pub batch: RecordBatch,
    /// What it weighs in memory.
    pub bytes: usize,
    /// Its `app_metadata`.
    pub metadata: Buffer,
    /// The schema, the dictionaries in force and the rows: with [`metadata`](Self::metadata) the
    /// batch as a stream of its own. They share their memory with [`batch`](Self::batch).
    pub messages: Vec<RawMessage>,
}

/// A message of a stream as it came.
#[derive(Clone, Debug)]
pub struct RawMessage {
    /// `data_header`.
    pub header: Buffer,
    /// `data_body`.
    pub body: Buffer,
}

/// What a stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Flows,
    Objects,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Flows => FLOWS,
            Self::Objects => OBJECTS,
        }
    }

    /// What a stream that begins like this has to bring: lists and maps of flows may come as they are
    /// in files, too.
    fn schema(self, found: &Schema) -> SchemaRef {
        let is_plain =
            |field: &Arc<Field>| matches!(field.data_type(), DataType::List(_) | DataType::Map(..));
        match self {
            Self::Flows if found.fields().iter().any(is_plain) => stored_schema(),
            Self::Flows => sent_schema(),
            Self::Objects => object_schema(),
        }
    }
}

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    /// From the first message.
    table: Option<Table>,
    schema: Option<(SchemaRef, RawMessage)>,
    dictionaries: HashMap<i64, ArrayRef>,
    /// What the dictionaries came in.
    dictionary_messages: BTreeMap<i64, RawMessage>,
    /// Bytes of dictionaries that came since the last batch.
    dictionary_bytes: usize,
    /// Other columns than the table's are fixed up, not refused.
    fixes_up: bool,
}

impl Decoder {
    /// Reads what an earlier version may have written: its columns become those of now.
    pub(crate) fn of_log() -> Self {
        Self { fixes_up: true, ..Self::default() }
    }

    /// Reads the next message.
    ///
    /// # Errors
    /// What is wrong with it. The stream cannot be read further.
    pub fn read(&mut self, data: &FlightData) -> Result<Message, DecodeError> {
        check_size("the app_metadata", data.app_metadata.len(), MAX_METADATA_BYTES)?;
        check_size("the data_header", data.data_header.len(), MAX_HEADER_BYTES)?;
        check_size("the body", data.data_body.len(), MAX_MESSAGE_BYTES)?;
        let table = match self.table {
            Some(table) => table,
            None => *self.table.insert(read_descriptor(data)?),
        };
        if data.data_header.is_empty() {
            return if data.app_metadata.is_empty() || table == Table::Objects {
                Ok(Message::Preparation)
            } else {
                let id = read_id(&data.app_metadata)?;
                // A heartbeat is not numbered, so nobody could tell whether they were counted.
                if !id.losses.is_empty() {
                    return Err(DecodeError::BatchId("losses come with a batch".into()));
                }
                Ok(Message::Heartbeat(id))
            };
        }
        let message = ipc::root_as_message(&data.data_header)
            .map_err(|error| DecodeError::Header(error.to_string()))?;
        // What it says about its buffers is checked above all, but arrays of foreign make are
        // still assembled by code that asserts: a panic in there is a damaged message too.
        catch_unwind(AssertUnwindSafe(|| self.read_message(table, message, data)))
            .unwrap_or_else(|_| Err(DecodeError::Damaged("its parts contradict each other".into())))
    }

    fn read_message(
        &mut self,
        table: Table,
        message: ipc::Message<'_>,
        data: &FlightData,
    ) -> Result<Message, DecodeError> {
        if let Some(schema) = message.header_as_schema() {
            self.read_schema(table, schema, data)?;
            return Ok(Message::Preparation);
        }
        let (schema, schema_message) = self.schema.clone().ok_or(DecodeError::NoSchema)?;
        if let Some(dictionary) = message.header_as_dictionary_batch() {
            let values = dictionary
                .data()
                .ok_or_else(|| DecodeError::Damaged("a dictionary without values".into()))?;
            check_batch(values, data.data_body.len())?;
            if dictionary.isDelta() {
                return Err(DecodeError::Invalid("dictionaries come whole, not in parts".into()));
            }
            self.dictionary_bytes += data.data_body.len();
            check_size("all dictionaries of a batch", self.dictionary_bytes, MAX_MESSAGE_BYTES)?;
            let raw = RawMessage::copy(data);
            let version = message.version();
            read_dictionary(&raw.body, dictionary, &schema, &mut self.dictionaries, &version)
                .map_err(|error| DecodeError::Invalid(error.to_string()))?;
            self.dictionary_messages.insert(dictionary.id(), raw);
            let in_force = self.dictionary_messages.values().map(|raw| raw.body.len()).sum();
            check_size("all dictionaries in force", in_force, MAX_MESSAGE_BYTES)?;
            return Ok(Message::Preparation);
        }
        let Some(header) = message.header_as_record_batch() else {
            let kind = message.header_type().variant_name().unwrap_or("unknown");
            return Err(DecodeError::Kind(kind.to_owned()));
        };
        check_batch(header, data.data_body.len())?;
        let raw = RawMessage::copy(data);
        let dictionaries = &self.dictionaries;
        let batch =
            read_record_batch(&raw.body, header, schema, dictionaries, None, &message.version())
                .map_err(|error| DecodeError::Invalid(error.to_string()))?;
        let expected = table.schema(batch.schema_ref());
        // A column that a record lacks came later than it, whatever its version.
        let batch = match self.fixes_up {
            true => conform(&batch, &expected, 0, FIXUPS),
            false => RecordBatch::try_new(expected, batch.columns().to_vec()),
        };
        let mut batch = batch.map_err(|error| DecodeError::Invalid(error.to_string()))?;
        check_dictionaries(&batch)?;
        let bytes = data.data_body.len() + std::mem::take(&mut self.dictionary_bytes);
        if table == Table::Objects {
            let id = read_objects_id(&data.app_metadata)?;
            let versions = ObjectVersion::read(&batch)
                .map_err(|error| DecodeError::Invalid(error.to_string()))?;
            check_versions(&versions)?;
            return Ok(Message::Objects { id, versions });
        }
        if batch.schema_ref() == &stored_schema() {
            batch =
                columns::pack(&batch).map_err(|error| DecodeError::Invalid(error.to_string()))?;
        }
        let id = read_id(&data.app_metadata)?;
        if id.sequence == 0 {
            return Err(DecodeError::BatchId("sequence numbers count from 1".into()));
        }
        let dictionaries = self.dictionary_messages.values().cloned();
        let messages = [schema_message].into_iter().chain(dictionaries).chain([raw]).collect();
        let metadata = Buffer::from(data.app_metadata.as_ref());
        Ok(Message::Batch(ReceivedBatch { id, batch, bytes, metadata, messages }))
    }

    fn read_schema(
        &mut self,
        table: Table,
        schema: ipc::Schema<'_>,
        data: &FlightData,
    ) -> Result<(), DecodeError> {
        let schema = fb_to_schema(schema);
        if !self.fixes_up {
            check_schema(table, &schema)?;
        }
        self.schema = Some((Arc::new(schema), RawMessage::copy(data)));
        self.dictionaries.clear();
        self.dictionary_messages.clear();
        self.dictionary_bytes = 0;
        Ok(())
    }
}

impl RawMessage {
    /// A copy of its own: aligned, and free of the connection's buffer.
    fn copy(data: &FlightData) -> Self {
        Self {
            header: Buffer::from(data.data_header.as_ref()),
            body: Buffer::from(data.data_body.as_ref()),
        }
    }
}

fn check_size(what: &'static str, bytes: usize, limit: usize) -> Result<(), DecodeError> {
    if bytes > limit { Err(DecodeError::TooLarge { what, bytes, limit }) } else { Ok(()) }
}

fn read_descriptor(data: &FlightData) -> Result<Table, DecodeError> {
    let path = data.flight_descriptor.as_ref().map(|descriptor| descriptor.path.as_slice());
    match path {
        Some([name]) if name == FLOWS => Ok(Table::Flows),
        Some([name]) if name == OBJECTS => Ok(Table::Objects),
        Some(path) => Err(DecodeError::Descriptor { found: format!("{path:?}") }),
        None => Err(DecodeError::Descriptor { found: "absent".into() }),
    }
}

fn read_id(metadata: &[u8]) -> Result<BatchId, DecodeError> {
    let id: BatchId =
        wire::decode(metadata).map_err(|error| DecodeError::BatchId(error.to_string()))?;
    if id.collector.is_empty() {
        return Err(DecodeError::BatchId("the collector has no name".into()));
    }
    check_size("the collector's name", id.collector.len(), MAX_COLLECTOR_BYTES)?;
    check_losses(&id.losses)?;
    Ok(id)
}

fn check_losses(losses: &[LossEntry]) -> Result<(), DecodeError> {
    let wrong = |cause: String| Err(DecodeError::BatchId(format!("losses: {cause}")));
    if losses.len() > MAX_LOSSES {
        return wrong(format!("{} entries, at most {MAX_LOSSES} are taken", losses.len()));
    }
    for loss in losses {
        for text in [&loss.stage, &loss.verdict, &loss.unit, &loss.reason] {
            check_size("a text of an entry of the ledger", text.len(), MAX_NAME_BYTES)?;
        }
        if loss.stage.is_empty() || loss.unit.is_empty() {
            return wrong("an entry has no stage or no unit".into());
        }
        if loss.from_ns < 0 || loss.to_ns < loss.from_ns {
            return wrong(format!("{} to {} is no interval", loss.from_ns, loss.to_ns));
        }
    }
    Ok(())
}

fn read_objects_id(metadata: &[u8]) -> Result<ObjectsId, DecodeError> {
    let id: ObjectsId =
        wire::decode(metadata).map_err(|error| DecodeError::BatchId(error.to_string()))?;
    check_size("the collector's name", id.cluster.len() + id.node.len(), MAX_COLLECTOR_BYTES)?;
    Ok(id)
}

/// Whether the versions can be those of a cluster.
fn check_versions(versions: &[ObjectVersion]) -> Result<(), DecodeError> {
    for version in versions {
        let names =
            [&version.cluster, &version.node, &version.kind, &version.namespace, &version.name];
        check_size(
            "a name",
            names.iter().map(|name| name.len()).max().unwrap_or(0),
            MAX_NAME_BYTES,
        )?;
        let manifest = version.manifest.as_ref().map_or(0, String::len);
        check_size("a manifest", manifest, MAX_MANIFEST_BYTES)?;
        if version.kind.is_empty() || version.name.is_empty() {
            return Err(DecodeError::Invalid("an object has no kind or no name".into()));
        }
        if version.time.0 < 0 {
            return Err(DecodeError::Invalid("an object is from before 1970".into()));
        }
    }
    Ok(())
}

/// Names the first difference from the columns of the table.
fn check_schema(table: Table, found: &Schema) -> Result<(), DecodeError> {
    let expected = table.schema(found);
    let differs = |cause: String| DecodeError::Schema(format!("{}: {cause}", table.name()));
    for (index, expected) in expected.fields().iter().enumerate() {
        let Some(found) = found.fields().get(index) else {
            return Err(differs(format!("column {} ({}) is missing", index + 1, expected.name())));
        };
        if found.name() != expected.name() {
            return Err(differs(format!(
                "column {} is {}, expected {}",
                index + 1,
                found.name(),
                expected.name()
            )));
        }
        if found.data_type() != expected.data_type() {
            return Err(differs(format!(
                "column {} is of type {}, expected {}",
                expected.name(),
                found.data_type(),
                expected.data_type()
            )));
        }
        if found.is_nullable() != expected.is_nullable() {
            let word = if expected.is_nullable() { "has to be" } else { "may not be" };
            return Err(differs(format!("column {} {word} nullable", found.name())));
        }
    }
    match found.fields().get(expected.fields().len()) {
        Some(field) => Err(differs(format!("column {} is not of this table", field.name()))),
        None => Ok(()),
    }
}

/// Whether what a batch says about its buffers can be true of a body of that size.
fn check_batch(batch: ipc::RecordBatch<'_>, body: usize) -> Result<(), DecodeError> {
    if batch.compression().is_some() {
        return Err(DecodeError::Invalid("compressed bodies are not taken".into()));
    }
    if batch.length() < 0 {
        return Err(DecodeError::Damaged("a negative number of rows".into()));
    }
    if batch.length() > MAX_BATCH_ROWS as i64 {
        return Err(DecodeError::TooManyRows { rows: batch.length() });
    }
    for (index, buffer) in batch.buffers().into_iter().flatten().enumerate() {
        let end = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok())
            .and_then(|(offset, length)| offset.checked_add(length));
        if end.is_none_or(|end| end > body) {
            return Err(DecodeError::Damaged(format!(
                "buffer {index} lies outside the body of {body} bytes"
            )));
        }
    }
    for (index, node) in batch.nodes().into_iter().flatten().enumerate() {
        if node.length() < 0 || !(0..=node.length()).contains(&node.null_count()) {
            return Err(DecodeError::Damaged(format!("node {index} has an impossible length")));
        }
    }
    Ok(())
}

/// Null has one place, the key: a dictionary that holds a null would hide it from every check.
fn check_dictionaries(batch: &RecordBatch) -> Result<(), DecodeError> {
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if matches!(field.data_type(), DataType::Dictionary(..))
            && column.as_dictionary::<Int32Type>().values().null_count() > 0
        {
            return Err(DecodeError::Invalid(format!(
                "the dictionary of column {} holds a null",
                field.name()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
