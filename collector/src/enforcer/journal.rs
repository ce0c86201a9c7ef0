//! What the numbers in the kernel's maps mean, written down before the maps learn them, so that
//! they keep their meaning when another process takes the maps over.
//!
//! A file of lines, each a digest and a record in JSON. A last line that is not whole was never
//! acted upon. The file is written anew when it is opened and when it has grown a lot.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_policy::compile::Numbers;

use super::Instance;

/// Name of the file in the node's state directory.
const FILE: &str = "numbers";
/// A file that is larger is none of ours.
const MAX_BYTES: u64 = 256 << 20;
/// The file is not written anew below this size.
const SMALL_BYTES: u64 = 1 << 20;

/// All that is written down.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    /// What the compiler gave out.
    pub(super) numbers: Numbers,
    /// Endpoints that are there.
    pub(super) endpoints: BTreeMap<u32, Instance>,
    /// Endpoints that went since the file was last written anew; events about them may still come.
    pub(super) gone: BTreeMap<u32, Instance>,
    /// The last number that an endpoint got.
    pub(super) last_endpoint: u32,
    /// The maps that these numbers are in.
    pub(super) maps: Vec<String>,
}

/// A change of what is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Record {
    /// The compiler gave these out.
    Numbers(Numbers),
    /// This pod instance is an endpoint.
    Endpoint(u32, Instance),
    /// An endpoint is no more.
    Gone(u32),
    /// So many endpoints had numbers.
    LastEndpoint(u32),
    /// From here on the numbers are in these maps, too.
    Maps(String),
}

impl Known {
    fn note(&mut self, record: Record) {
        match record {
            Record::Numbers(numbers) => self.numbers.extend(numbers),
            Record::Endpoint(id, instance) => {
                self.last_endpoint = self.last_endpoint.max(id);
                self.endpoints.insert(id, instance);
            }
            Record::Gone(id) => {
                self.gone.extend(self.endpoints.remove(&id).map(|instance| (id, instance)));
            }
            Record::LastEndpoint(id) => self.last_endpoint = self.last_endpoint.max(id),
            Record::Maps(maps) => self.maps.push(maps),
        }
    }

    /// What has to be written for another process to know the same.
    fn records(&self) -> Vec<Record> {
        let endpoints = self.endpoints.iter().map(|(id, one)| Record::Endpoint(*id, one.clone()));
        [Record::Numbers(self.numbers.clone()), Record::LastEndpoint(self.last_endpoint)]
            .into_iter()
            .chain(self.maps.iter().cloned().map(Record::Maps))
            .chain(endpoints)
            .collect()
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// After it was last written anew.
    bytes_anew: u64,
    /// Something could not be written: only all of it will do.
    incomplete: bool,
}

impl Journal {
    /// Reads the journal of a state directory; an empty one if there is none. What is behind a
    /// damaged line is not known.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Known)> {
        let path = directory.join(FILE);
        let known = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_BYTES => Known::default(),
            Ok(_) => read(&std::fs::read(&path)?),
            Err(missing) if missing.kind() == ErrorKind::NotFound => Known::default(),
            Err(error) => return Err(error),
        };
        let (file, bytes) = write_anew(&path, &known)?;
        Ok((Self { path, file, bytes, bytes_anew: bytes, incomplete: false }, known))
    }

    /// Whether the file is to be [written anew](Self::rewrite) instead of getting more records.
    pub(super) fn wants_rewrite(&self) -> bool {
        self.incomplete || self.bytes > SMALL_BYTES.max(4 * self.bytes_anew)
    }

    /// Writes records. If that fails, none of them is in the file.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let bytes = lines(records)?;
        if let Err(error) = self.file.write_all(&bytes) {
            self.incomplete = true;
            // Or else the next reader stops there, before the file is written anew.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Replaces the file in one step.
    pub(super) fn rewrite(&mut self, known: &Known) -> io::Result<()> {
        (self.file, self.bytes) = write_anew(&self.path, known)?;
        (self.bytes_anew, self.incomplete) = (self.bytes, false);
        Ok(())
    }
}

fn write_anew(path: &Path, known: &Known) -> io::Result<(File, u64)> {
    let bytes = lines(&known.records())?;
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, &bytes)?;
    std::fs::rename(&temporary, path)?;
    let file = OpenOptions::new().append(true).open(path)?;
    Ok((file, bytes.len() as u64))
}

fn read(bytes: &[u8]) -> Known {
    let mut known = Known::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(record) = record(line) else { break };
        known.note(record);
    }
    known
}

fn record(line: &[u8]) -> Option<Record> {
    let (digest, json) = line.strip_suffix(b"\n")?.split_at_checked(17)?;
    let found = u64::from_str_radix(std::str::from_utf8(digest).ok()?.trim_end(), 16).ok()?;
    (found == digest_of(json)).then(|| serde_json::from_slice(json).ok())?
}

fn lines(records: &[Record]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for record in records {
        let json = serde_json::to_vec(record)?;
        write!(bytes, "{:016x} ", digest_of(&json))?;
        bytes.extend_from_slice(&json);
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// FNV-1a, 64 bits.
fn digest_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(pod: &str) -> Instance {
        let addresses = vec!["10.0.0.1".parse().unwrap()];
        Instance { namespace: "default".into(), pod: pod.into(), addresses, interface: 7 }
    }

    #[test]
    fn what_was_written_is_known_to_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, known) = Journal::open(directory.path()).unwrap();
        assert_eq!(known, Known::default());
        let numbers = Numbers { revision: 9, next_subject: 5, ..Numbers::default() };
        let records = [
            Record::Maps("boot/1".into()),
            Record::Numbers(numbers.clone()),
            Record::Endpoint(3, instance("a")),
            Record::Endpoint(4, instance("b")),
            Record::Gone(3),
        ];
        journal.append(&records).unwrap();
        let (mut journal, known) = Journal::open(directory.path()).unwrap();
        assert_eq!(known.numbers, numbers);
        assert_eq!((known.endpoints[&4].pod.as_str(), known.gone[&3].pod.as_str()), ("b", "a"));
        assert_eq!(known.maps, ["boot/1"]);
        journal.append(&[Record::Gone(4)]).unwrap();
        journal.append(&[Record::Endpoint(5, instance("c"))]).unwrap();

        // A torn last line, as after a crash.
        let path = directory.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (_, known) = Journal::open(directory.path()).unwrap();
        assert!(known.endpoints.is_empty());
        assert_eq!(known.last_endpoint, 4);
        assert!(!known.gone.contains_key(&3), "what went long ago is forgotten");
    }
}
