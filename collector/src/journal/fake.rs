//! Files without a disk, which fail when and where a test wants.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::files::Files;

/// What is thrown when a process ends in the middle of what it does.
pub(crate) struct Killed;

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Happens,
    /// It fails after so many bytes.
    Fails(ErrorKind, usize),
    /// The process ends after so many bytes.
    Ends(usize),
}

/// Decides about each change of the files, given how many bytes it is.
pub(crate) type Fates = Box<dyn FnMut(usize) -> Fate + Send>;

/// The files.
#[derive(Default)]
pub(crate) struct FakeFiles {
    files: Mutex<BTreeMap<String, Content>>,
    /// None: everything happens.
    fates: Mutex<Option<Fates>>,
    /// Bytes of all files together; none: no limit.
    capacity: Mutex<Option<usize>>,
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    /// How many of them outlive the machine.
    synced: usize,
}

impl FakeFiles {
    pub(crate) fn set_fates(&self, fates: Option<Fates>) {
        *self.fates.lock().unwrap_or_else(PoisonError::into_inner) = fates;
    }

    pub(crate) fn set_capacity(&self, bytes: Option<usize>) {
        *self.capacity.lock().unwrap() = bytes;
    }

    /// The machine fails: of what is not synced, a part is there, and another part is damaged.
    pub(crate) fn fail(&self, mut dice: impl FnMut(usize) -> usize) {
        self.lock().retain(|_, content| {
            let unsynced = content.bytes.len() - content.synced;
            content.bytes.truncate(content.synced + dice(unsynced + 1));
            if content.bytes.len() > content.synced && dice(2) == 0 {
                let at = content.synced + dice(content.bytes.len() - content.synced);
                content.bytes[at] ^= 0x55;
            }
            content.synced = content.bytes.len();
            content.synced > 0
        });
    }

    /// Damages a byte, chosen by `dice` of the files with this beginning. False: there is none.
    pub(crate) fn damage(&self, prefix: &str, mut dice: impl FnMut(usize) -> usize) -> bool {
        let mut files = self.lock();
        let mut there: Vec<_> = files
            .iter_mut()
            .filter(|(name, content)| name.starts_with(prefix) && !content.bytes.is_empty())
            .collect();
        if there.is_empty() {
            return false;
        }
        let chosen = dice(there.len());
        let bytes = &mut there[chosen].1.bytes;
        let at = dice(bytes.len());
        bytes[at] ^= 0x55;
        true
    }

    /// Bytes of all files together.
    pub(crate) fn len(&self) -> usize {
        self.lock().values().map(|content| content.bytes.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Content>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides about a change of so many bytes, after which there are `more`; calls `change` with how
    /// many happen.
    fn change(&self, len: usize, more: usize, change: impl FnOnce(usize)) -> io::Result<()> {
        let mut fates = self.fates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fate = fates.as_mut().map_or(Fate::Happens, |fates| fates(len));
        drop(fates);
        let room = self.capacity.lock().unwrap().map(|bytes| bytes.saturating_sub(self.len()));
        if let Some(room) = room.filter(|room| *room < more && fate == Fate::Happens) {
            fate = Fate::Fails(ErrorKind::StorageFull, room.min(len));
        }
        match fate {
            Fate::Happens => {
                change(len);
                Ok(())
            }
            Fate::Fails(kind, part) => {
                change(part);
                Err(kind.into())
            }
            Fate::Ends(part) => {
                change(part);
                std::panic::resume_unwind(Box::new(Killed));
            }
        }
    }
}

impl Files for FakeFiles {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let files = self.lock();
        let list = files.iter().map(|(name, content)| (name.clone(), content.bytes.len() as u64));
        Ok(list.collect())
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let files = self.lock();
        let content = files.get(name).ok_or(ErrorKind::NotFound)?;
        let from = content.bytes.get(at as usize..).unwrap_or_default();
        let len = from.len().min(into.len());
        into[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn append(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.concat();
        self.change(bytes.len(), bytes.len(), |len| {
            self.lock().entry(name.to_owned()).or_default().bytes.extend(&bytes[..len]);
        })
    }

    fn cut(&self, name: &str, len: u64) -> io::Result<()> {
        self.change(1, 0, |happens| {
            if happens == 1
                && let Some(content) = self.lock().get_mut(name)
            {
                content.bytes.truncate(len as usize);
                content.synced = content.synced.min(content.bytes.len());
            }
        })
    }

    fn replace(
        &self,
        name: &str,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        write(&mut bytes)?;
        self.change(1, bytes.len(), |happens| {
            if happens == 1 {
                let synced = bytes.len();
                self.lock().insert(name.to_owned(), Content { bytes, synced });
            }
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(1, 0, |happens| {
            if happens == 1 {
                self.lock().remove(name);
            }
        })
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.change(1, 0, |happens| {
            if happens == 1
                && let Some(content) = self.lock().get_mut(name)
            {
                content.synced = content.bytes.len();
            }
        })
    }
}
