//! The bytes of batches: files of frames, those of each class apart, so that a whole file goes when
//! room is needed. A frame says which batch it is and what it counts, and counts itself only if a
//! step of the journal names it.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use arrow_flight::FlightData;
use bytes::Bytes;

use super::bytes::{Reader, put, put_list};
use super::files::Files;
use super::frame::{self, HEADER_LEN};
use super::packed;
use super::step::{BatchNumber, Head, Place};
use crate::ledger::{Class, Tally};

/// Bytes that a batch takes at least of the spool's limit, so that batches are bounded in number, too.
pub(crate) const LEAST_BYTES: u64 = 16 << 10;

/// Which file.
pub(crate) type Segment = (Class, u64);

/// The file of a segment.
pub(super) fn name((class, number): Segment) -> String {
    match class {
        Class::Denies => format!("denies-{number:016x}"),
        Class::Allows => format!("allows-{number:016x}"),
    }
}

/// Which segment a file is, if it is one.
pub(super) fn segment(name: &str) -> Option<Segment> {
    let (class, number) = name.split_once('-')?;
    let class = match class {
        "denies" => Class::Denies,
        "allows" => Class::Allows,
        _ => return None,
    };
    Some((class, u64::from_str_radix(number, 16).ok()?))
}

/// The segments that grow, at most one of a class.
#[derive(Debug)]
pub(super) struct Segments {
    /// Bytes of the limit after which another one is begun.
    longest: u64,
    next: u64,
    growing: [Option<Growing>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Growing {
    number: u64,
    len: u64,
    /// Bytes that its batches take of the spool's limit.
    weight: u64,
}

impl Segments {
    /// Segments from number `next` on.
    pub(super) fn new(longest: u64, next: u64) -> Self {
        Self { longest, next, growing: [None; 2] }
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// It is not written.
    pub(super) fn store(
        &mut self,
        files: &dyn Files,
        (class, tally): (Class, Tally),
        number: BatchNumber,
        messages: &[FlightData],
    ) -> io::Result<Place> {
        let mut head = Vec::with_capacity(128 + 16 * messages.len());
        number.write(&mut head);
        Head { class, tally }.write(&mut head);
        put_list(messages, &mut head, |message, into| {
            put(message.data_header.len() as u64, into);
            put(message.data_body.len() as u64, into);
        });
        let packed = packed::pack(messages)?;
        let header = frame::header(&[&head, &packed])?;
        let parts: [&[u8]; 3] = [&header, &head, &packed];
        let len = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let growing = &mut self.growing[class as usize];
        let Growing { number, len: at, weight } = match *growing {
            Some(growing) if growing.weight < self.longest => growing,
            _ => {
                self.next += 1;
                Growing { number: self.next - 1, len: 0, weight: 0 }
            }
        };
        let file = name((class, number));
        if let Err(error) = files.append(&file, &parts) {
            // What is there of it must not have others behind it.
            *growing = files.cut(&file, at).is_ok().then_some(Growing { number, len: at, weight });
            return Err(error);
        }
        let weight = weight + len.max(LEAST_BYTES);
        *growing = Some(Growing { number, len: at + len, weight });
        Ok(Place { segment: number, at, len })
    }

    /// Whether it grows and is worth keeping although none of its batches is needed.
    pub(super) fn keeps(&self, (class, number): Segment) -> bool {
        self.growing[class as usize]
            .is_some_and(|growing| growing.number == number && growing.weight < self.longest / 4)
    }

    /// It does not grow any more.
    pub(super) fn close(&mut self, (class, number): Segment) {
        let growing = &mut self.growing[class as usize];
        if growing.is_some_and(|growing| growing.number == number) {
            *growing = None;
        }
    }
}

/// Reads batches back.
#[derive(Clone)]
pub(crate) struct SpoolReader(pub(super) Arc<dyn Files>);

impl std::fmt::Debug for SpoolReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpoolReader")
    }
}

impl SpoolReader {
    /// The messages of a batch; none if they are damaged or gone.
    ///
    /// # Errors
    /// It cannot be read at present.
    pub(crate) fn read(
        &self,
        class: Class,
        place: Place,
        number: BatchNumber,
    ) -> io::Result<Option<Vec<FlightData>>> {
        let longest = (frame::LONGEST + HEADER_LEN) as u64;
        let Some(len) = usize::try_from(place.len).ok().filter(|_| place.len <= longest) else {
            return Ok(None);
        };
        let mut frame = vec![0; len];
        match self.0.read(&name((class, place.segment)), place.at, &mut frame) {
            Ok(read) if read == frame.len() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound || is_damage(&error) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        if frame::record(&frame).is_none() {
            return Ok(None);
        }
        let read = messages(&Bytes::from(frame).slice(HEADER_LEN..));
        Ok(read.filter(|(found, _)| *found == number).map(|(_, messages)| messages))
    }
}

/// The device cannot read back what it was given.
fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

/// What a frame says of its batch.
pub(super) fn head(record: &[u8]) -> Option<(BatchNumber, Head)> {
    let mut from = Reader(record);
    Some((BatchNumber::read(&mut from)?, Head::read(&mut from)?))
}

fn messages(record: &Bytes) -> Option<(BatchNumber, Vec<FlightData>)> {
    let mut from = Reader(record);
    let number = BatchNumber::read(&mut from)?;
    Head::read(&mut from)?;
    let lengths = from.list(|from| {
        let mut len = || usize::try_from(from.get::<u64>()?).ok();
        Some((len()?, len()?))
    })?;
    let len = lengths.iter().try_fold(0_usize, |sum, (header, body)| {
        sum.checked_add(header.checked_add(*body)?).filter(|sum| *sum <= frame::LONGEST)
    })?;
    let mut rest = packed::unpack(record.slice(record.len() - from.0.len()..), len)?;
    let mut part = |len: usize| (len <= rest.len()).then(|| rest.split_to(len));
    let messages = lengths.into_iter().map(|(header, body)| {
        Some(FlightData::new().with_data_header(part(header)?).with_data_body(part(body)?))
    });
    let messages = messages.collect::<Option<Vec<_>>>()?;
    rest.is_empty().then_some((number, messages))
}
