//! Values for a statement: one row, as Arrow's messages. The library that reads these trusts what they say of types,
//! lengths and places and breaks off where it is wrong, so each message is looked through before it gets it.
//!
//! Source: Arrow's columnar format, "Serialization and interprocess communication" (`Message.fbs`, `Schema.fbs`).

use arrow::array::RecordBatch;
use arrow::ipc::{
    Buffer, DateUnit, Endianness, Field, MessageHeader, Precision, RecordBatch as Header, Schema,
    TimeUnit, Type, root_as_message,
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
        let rows = check_row(&schema.data_header, &message)?;
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
    let schema = schema_of(header)?;
    let fields = schema.fields().ok_or_else(|| wrong("their schema has no fields"))?;
    if schema.endianness() != Endianness::Little {
        return Err(wrong("send them little-endian"));
    }
    if fields.len() > MAX_PARAMETERS {
        return Err(wrong(&format!("more than {MAX_PARAMETERS} values")));
    }
    match fields.iter().find(|field| units(*field).is_none()) {
        Some(field) => Err(wrong(&format!(
            "the value {:?} has a type that cannot be bound: send a boolean, number, text, bytes, date, time or \
             timestamp",
            field.name().unwrap_or_default()
        ))),
        None => Ok(()),
    }
}

fn schema_of(header: &Bytes) -> Result<Schema<'_>, Status> {
    let message = root_as_message(header).map_err(|error| wrong(&error.to_string()))?;
    message.header_as_schema().ok_or_else(|| wrong("their schema has to come first"))
}

/// What the lengths of a field's buffers are multiples of, in bytes: first that of its nulls. `None` if a value
/// is more than one array, or of a type that is not known.
fn units(field: Field<'_>) -> Option<Vec<i64>> {
    let alone = field.children().is_none_or(|children| children.is_empty());
    if !alone || field.dictionary().is_some() {
        return None;
    }
    let known = |unit: TimeUnit| unit.0 >= TimeUnit::SECOND.0 && unit.0 <= TimeUnit::NANOSECOND.0;
    let units = match field.type_type() {
        Type::Null => &[][..],
        Type::Bool => &[1, 1],
        Type::Utf8 | Type::Binary => &[1, 4, 1],
        Type::LargeUtf8 | Type::LargeBinary => &[1, 8, 1],
        // Then as many of bytes as the message says.
        Type::Utf8View | Type::BinaryView => &[1, 16],
        Type::Int => match field.type_as_int()?.bitWidth() {
            8 => &[1, 1],
            16 => &[1, 2],
            32 => &[1, 4],
            64 => &[1, 8],
            _ => return None,
        },
        Type::FloatingPoint => match field.type_as_floating_point()?.precision() {
            Precision::HALF => &[1, 2],
            Precision::SINGLE => &[1, 4],
            Precision::DOUBLE => &[1, 8],
            _ => return None,
        },
        Type::Date => match field.type_as_date()?.unit() {
            DateUnit::DAY => &[1, 4],
            DateUnit::MILLISECOND => &[1, 8],
            _ => return None,
        },
        Type::Time => {
            let time = field.type_as_time()?;
            match (time.unit(), time.bitWidth()) {
                (TimeUnit::SECOND | TimeUnit::MILLISECOND, 32) => &[1, 4],
                (TimeUnit::MICROSECOND | TimeUnit::NANOSECOND, 64) => &[1, 8],
                _ => return None,
            }
        }
        Type::Timestamp if known(field.type_as_timestamp()?.unit()) => &[1, 8],
        Type::Decimal => {
            let decimal = field.type_as_decimal()?;
            let fits =
                (1..=38).contains(&decimal.precision()) && (-38..=38).contains(&decimal.scale());
            if decimal.bitWidth() != 128 || !fits {
                return None;
            }
            &[1, 16]
        }
        _ => return None,
    };
    Some(units.to_vec())
}

/// How many rows a message has; every buffer is within it, and as long as its values can be.
fn check_row(schema: &Bytes, message: &FlightData) -> Result<i64, Status> {
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
    let counts = || batch.variadicBufferCounts().into_iter().flatten();
    if !whole || !within || !counts().all(|count| (0..=most).contains(&count)) {
        return Err(broken());
    }
    let mut lengths = buffers.iter().map(Buffer::length);
    let mut nodes = nodes.iter();
    let mut further = counts();
    for field in schema_of(schema)?.fields().into_iter().flatten() {
        let (units, node) = units(field).zip(nodes.next()).ok_or_else(broken)?;
        for (at, unit) in units.iter().enumerate() {
            let length = lengths.next().ok_or_else(broken)?;
            // One bit a row, if any of them is null.
            let nulls_short = at == 0 && node.null_count() > 0 && length.saturating_mul(8) < rows;
            if length % unit != 0 || nulls_short {
                return Err(broken());
            }
        }
        if matches!(field.type_type(), Type::Utf8View | Type::BinaryView) {
            let count =
                usize::try_from(further.next().ok_or_else(broken)?).map_err(|_| broken())?;
            lengths.by_ref().take(count).for_each(drop);
        }
    }
    if further.next().is_some() {
        return Err(broken());
    }
    Ok(rows)
}

fn wrong(cause: &str) -> Status {
    Status::invalid_argument(format!("the values of the statement cannot be read: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date64Array, Decimal128Array, Float64Array,
        Int16Array, LargeStringArray, NullArray, StringArray, StringViewArray,
        TimestampNanosecondArray,
    };

    use super::*;

    fn row() -> RecordBatch {
        let columns: [(&str, ArrayRef); 11] = [
            ("text", Arc::new(StringArray::from(vec!["some text"]))),
            ("large", Arc::new(LargeStringArray::from(vec!["some more"]))),
            (
                "view",
                Arc::new(StringViewArray::from(vec!["a text that does not fit into its view"])),
            ),
            ("bytes", Arc::new(BinaryArray::from(vec![&b"bytes"[..]]))),
            ("yes", Arc::new(BooleanArray::from(vec![true]))),
            ("short", Arc::new(Int16Array::from(vec![Some(7)]))),
            ("float", Arc::new(Float64Array::from(vec![0.5]))),
            ("date", Arc::new(Date64Array::from(vec![86_400_000]))),
            ("decimal", Arc::new(Decimal128Array::from(vec![12]))),
            ("time", Arc::new(TimestampNanosecondArray::from(vec![None]))),
            ("nothing", Arc::new(NullArray::new(1))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let mut written = Vec::new();
        write(row(), &mut written).unwrap();
        assert_eq!(read_back(&written).unwrap(), row());
    }

    /// The library would break off for many of them.
    #[test]
    fn no_lie_of_a_header_is_believed() {
        let messages = batches_to_flight_data(&row().schema(), vec![row()]).unwrap();
        let (mut refused, mut answered) = (0, 0);
        for (which, message) in messages.iter().enumerate() {
            for at in 0..message.data_header.len() {
                let old = message.data_header[at];
                for new in [0, 1, 3, 4, 9, 16, 63, 127, 255, old ^ 1, old ^ 8, old.wrapping_add(5)]
                {
                    let mut header = message.data_header.to_vec();
                    header[at] = new;
                    let mut changed = messages.clone();
                    changed[which].data_header = header.into();
                    match read(changed) {
                        Ok(_) => answered += 1,
                        Err(status) => {
                            assert_eq!(status.code(), tonic::Code::InvalidArgument);
                            refused += 1;
                        }
                    }
                }
            }
        }
        assert!(refused > 1_000 && answered > 100, "{refused} and {answered}");
    }
}
