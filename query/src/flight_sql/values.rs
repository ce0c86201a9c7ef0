//! Values for a statement: one row, as Arrow's messages. The library that reads these trusts what they say of types,
//! lengths and places and breaks off where it is wrong, so each message is looked through before it gets it.
//!
//! Source: Arrow's columnar format, "Serialization and interprocess communication" (`Message.fbs`, `Schema.fbs`).

use arrow::array::RecordBatch;
use arrow::ipc::{
    Endianness, Field, MessageHeader, Precision, RecordBatch as Header, Schema, TimeUnit, Type,
    root_as_message,
};
use arrow_flight::FlightData;
use arrow_flight::utils::{batches_to_flight_data, flight_data_to_batches};
use bytes::{Buf, Bytes};
use prost::Message as _;
use tonic::Status;

use crate::guard::parameters::MAX_PARAMETERS;

/// Messages of one row, at most: its schema, itself, and some without rows.
pub(super) const MAX_MESSAGES: usize = 16;

/// The only row in messages.
pub(super) fn read(messages: Vec<FlightData>) -> Result<RecordBatch, Status> {
    let mut messages = messages.into_iter().filter(|message| !message.data_header.is_empty());
    let schema = messages.next().ok_or_else(|| wrong("no values came"))?;
    check_schema(&schema.data_header)?;
    let mut found = None;
    for message in messages {
        let rows = check_row(&message)?;
        if rows == 0 {
            continue;
        }
        if found.is_some() || rows > 1 {
            return Err(wrong("send the values of one row"));
        }
        let batches = flight_data_to_batches(&[schema.clone(), message]);
        found = batches.map_err(|error| wrong(&error.to_string()))?.pop();
    }
    found.ok_or_else(|| wrong("no values came"))
}

/// The messages of a row, one behind another.
pub(super) fn write(row: RecordBatch, into: &mut Vec<u8>) -> Result<(), Status> {
    let defect = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
    let schema = row.schema();
    for message in batches_to_flight_data(&schema, vec![row]).map_err(|error| defect(&error))? {
        message.encode_length_delimited(into).map_err(|error| defect(&error))?;
    }
    Ok(())
}

/// What [`write`] wrote.
pub(super) fn read_back(mut bytes: &[u8]) -> Result<RecordBatch, Status> {
    let mut messages = Vec::new();
    while bytes.has_remaining() {
        if messages.len() == MAX_MESSAGES {
            return Err(wrong("too many messages"));
        }
        let message = FlightData::decode_length_delimited(&mut bytes);
        messages.push(message.map_err(|error| wrong(&error.to_string()))?);
    }
    read(messages)
}

fn check_schema(header: &Bytes) -> Result<(), Status> {
    let message = root_as_message(header).map_err(|error| wrong(&error.to_string()))?;
    let schema: Option<Schema<'_>> = message.header_as_schema();
    let schema = schema.ok_or_else(|| wrong("their schema has to come first"))?;
    let fields = schema.fields().ok_or_else(|| wrong("their schema has no fields"))?;
    if schema.endianness() != Endianness::Little {
        return Err(wrong("send them little-endian"));
    }
    if fields.len() > MAX_PARAMETERS {
        return Err(wrong(&format!("more than {MAX_PARAMETERS} values")));
    }
    match fields.iter().find(|field| !is_plain(*field)) {
        Some(field) => Err(wrong(&format!(
            "the value {:?} has a type that cannot be bound: send a boolean, number, text, bytes, date, time or \
             timestamp",
            field.name().unwrap_or_default()
        ))),
        None => Ok(()),
    }
}

/// Whether values of a field are one array each.
fn is_plain(field: Field<'_>) -> bool {
    let alone = field.children().is_none_or(|children| children.is_empty());
    let unit = |unit: TimeUnit| unit.0 >= TimeUnit::SECOND.0 && unit.0 <= TimeUnit::NANOSECOND.0;
    let known = match field.type_type() {
        Type::Null
        | Type::Bool
        | Type::Utf8
        | Type::LargeUtf8
        | Type::Utf8View
        | Type::Binary
        | Type::LargeBinary
        | Type::BinaryView => true,
        Type::Int => {
            field.type_as_int().is_some_and(|int| matches!(int.bitWidth(), 8 | 16 | 32 | 64))
        }
        Type::FloatingPoint => field.type_as_floating_point().is_some_and(|float| {
            matches!(float.precision(), Precision::HALF | Precision::SINGLE | Precision::DOUBLE)
        }),
        Type::Date => field.type_as_date().is_some_and(|date| matches!(date.unit().0, 0 | 1)),
        Type::Time => field.type_as_time().is_some_and(|time| {
            let short = matches!(time.unit(), TimeUnit::SECOND | TimeUnit::MILLISECOND);
            unit(time.unit()) && time.bitWidth() == if short { 32 } else { 64 }
        }),
        Type::Timestamp => field.type_as_timestamp().is_some_and(|time| unit(time.unit())),
        Type::Decimal => field.type_as_decimal().is_some_and(|decimal| {
            decimal.bitWidth() == 128
                && (1..=38).contains(&decimal.precision())
                && (-38..=38).contains(&decimal.scale())
        }),
        _ => false,
    };
    known && alone && field.dictionary().is_none()
}

/// How many rows a message has; every buffer is within it.
fn check_row(message: &FlightData) -> Result<i64, Status> {
    let broken = || wrong("a message of theirs contradicts itself");
    let header =
        root_as_message(&message.data_header).map_err(|error| wrong(&error.to_string()))?;
    if header.header_type() != MessageHeader::RecordBatch {
        return Err(wrong("send no dictionaries, and one schema"));
    }
    let batch: Header<'_> = header.header_as_record_batch().ok_or_else(broken)?;
    if batch.compression().is_some() {
        return Err(wrong("send them uncompressed"));
    }
    let rows = batch.length();
    let (nodes, buffers) = batch.nodes().zip(batch.buffers()).ok_or_else(broken)?;
    let whole = nodes
        .iter()
        .all(|node| node.length() == rows && (0..=node.length()).contains(&node.null_count()));
    let end = i64::try_from(message.data_body.len()).unwrap_or(i64::MAX);
    let within = buffers.iter().all(|buffer| {
        let reaches = buffer.offset().checked_add(buffer.length());
        buffer.offset() >= 0
            && buffer.length() >= 0
            && reaches.is_some_and(|reaches| reaches <= end)
    });
    let most = i64::try_from(buffers.len()).unwrap_or(i64::MAX);
    let mut counts = batch.variadicBufferCounts().into_iter().flatten();
    if !whole || !within || !counts.all(|count| (0..=most).contains(&count)) {
        return Err(broken());
    }
    Ok(rows)
}

fn wrong(cause: &str) -> Status {
    Status::invalid_argument(format!("the values of the statement cannot be read: {cause}"))
}
