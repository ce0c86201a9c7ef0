//! Records: what one position of the log holds.
//!
//! A batch is written as it came, in the very memory that it was received into: a list of lengths,
//! then its `app_metadata` and the header and body of each of its messages. Reading gives the
//! messages back, for the same decoder that read them first.

use arrow::buffer::Buffer;
use arrow_flight::{FlightData, FlightDescriptor};
use serde::{Deserialize, Serialize};
use weir_flow::wire::{FLOWS, LossEntry, OBJECTS};

use super::frame::{HEADER_LEN, Kind};
use crate::decode::RawMessage;

/// Most parts of a record: messages of two parts each, and there are fewer columns than that.
const MAX_PARTS: usize = 4096;

/// The reason of batches that the log lost.
pub(super) const DAMAGED: &str = "write-ahead log damaged";

/// A record on its way to disk.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) position: u64,
    pub(super) kind: Kind,
    pub(super) parts: Vec<Buffer>,
}

/// How a batch arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// When, nanoseconds since 1970.
    pub(crate) at_ns: u64,
    /// So many batches before it never did.
    pub(crate) missing: u64,
    /// When its collector was last heard before.
    pub(crate) heard_ns: u64,
}

/// A record as it is read.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The messages of a stream that brings one batch.
    Stream { arrived: Arrived, messages: Vec<FlightData> },
    /// What the relay lost.
    Notes(Notes),
}

/// What the relay itself lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notes {
    /// For the ledger.
    pub(crate) losses: Vec<LossEntry>,
    /// First and last of the positions that these are about.
    pub(crate) positions: Vec<(u64, u64)>,
}

impl Notes {
    /// How many batches the log lost, as they say.
    pub(super) fn damaged(&self) -> u64 {
        let damaged = self.losses.iter().filter(|loss| loss.reason == DAMAGED);
        damaged.map(|loss| loss.count).fold(0, u64::saturating_add)
    }
}

impl Record {
    /// A batch of flows.
    pub(crate) fn flows(
        position: u64,
        arrived: Arrived,
        metadata: &Buffer,
        messages: &[RawMessage],
    ) -> Self {
        Self { position, kind: Kind::Flows, parts: stream(arrived, metadata, messages) }
    }

    /// Versions of objects.
    pub(crate) fn objects(
        position: u64,
        arrived: Arrived,
        metadata: &Buffer,
        messages: &[RawMessage],
    ) -> Self {
        Self { position, kind: Kind::Objects, parts: stream(arrived, metadata, messages) }
    }

    /// What the relay lost.
    pub(crate) fn notes(position: u64, notes: &Notes) -> Self {
        let text = serde_json::to_vec(notes).expect("plain structs always serialise");
        Self { position, kind: Kind::Notes, parts: vec![Buffer::from_vec(text)] }
    }

    /// Bytes on disk.
    pub(super) fn len(&self) -> usize {
        HEADER_LEN + self.parts.iter().map(Buffer::len).sum::<usize>()
    }
}

impl Entry {
    /// Reads a payload.
    ///
    /// # Errors
    /// It is not of that kind, or of another version.
    pub(super) fn read(kind: Kind, payload: &[u8]) -> Result<Self, String> {
        let (path, payload) = match kind {
            Kind::Flows => (FLOWS, payload),
            Kind::Objects => (OBJECTS, payload),
            Kind::Notes => {
                let notes = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
                return Ok(Self::Notes(notes));
            }
            Kind::Begin => return Err("a begin in the place of a record".into()),
        };
        read_stream(path, payload).ok_or_else(|| "its parts do not fit together".to_owned())
    }
}

fn stream(arrived: Arrived, metadata: &Buffer, messages: &[RawMessage]) -> Vec<Buffer> {
    let messages = messages.iter().flat_map(|message| [&message.header, &message.body]);
    let mut parts = vec![Buffer::default(), metadata.clone()];
    parts.extend(messages.cloned());
    let mut prefix = Vec::with_capacity(28 + 4 * parts.len());
    for number in [arrived.at_ns, arrived.missing, arrived.heard_ns] {
        prefix.extend(number.to_le_bytes());
    }
    let lens = parts[1..].iter().map(|part| part.len() as u32);
    for number in [(parts.len() - 1) as u32].into_iter().chain(lens) {
        prefix.extend(number.to_le_bytes());
    }
    parts[0] = Buffer::from_vec(prefix);
    parts
}

fn read_stream(path: &str, mut payload: &[u8]) -> Option<Entry> {
    let [at_ns, missing, heard_ns] =
        [read_u64(&mut payload)?, read_u64(&mut payload)?, read_u64(&mut payload)?];
    let count = read_u32(&mut payload)? as usize;
    if !(3..=MAX_PARTS).contains(&count) || count.is_multiple_of(2) {
        return None;
    }
    let lens = (0..count).map(|_| read_u32(&mut payload)).collect::<Option<Vec<u32>>>()?;
    let mut parts = Vec::with_capacity(count);
    for len in lens {
        let (part, rest) = payload.split_at_checked(len as usize)?;
        parts.push(bytes::Bytes::copy_from_slice(part));
        payload = rest;
    }
    let (metadata, rest) = parts.split_first()?;
    let mut messages: Vec<FlightData> = rest
        .chunks_exact(2)
        .map(|parts| FlightData {
            data_header: parts[0].clone(),
            data_body: parts[1].clone(),
            ..FlightData::default()
        })
        .collect();
    messages.first_mut()?.flight_descriptor =
        Some(FlightDescriptor::new_path(vec![path.to_owned()]));
    messages.last_mut()?.app_metadata = metadata.clone();
    let arrived = Arrived { at_ns, missing, heard_ns };
    payload.is_empty().then_some(Entry::Stream { arrived, messages })
}

fn read_u64(from: &mut &[u8]) -> Option<u64> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u64::from_le_bytes(*number))
}

fn read_u32(from: &mut &[u8]) -> Option<u32> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u32::from_le_bytes(*number))
}
