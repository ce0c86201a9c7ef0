//! Reads verdict events.
//!
//! Reading does not give room back to the kernel: that happens by [`RingReleaser::release`], once
//! what was made of the events is safe. A reader that begins again later, even another process,
//! goes on from a position that somebody wrote down.
//!
//! The kernel wakes the reader for the first event after everything was given back, and then only
//! once for a good many, so that a flood costs it little; for fewer, the reader looks by itself every
//! [`POLL`]. That bounds the delay.

#[cfg(test)]
pub(crate) mod fake;
mod memory;
mod record;

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::event::{Timespec, epoll};
use weir_abi::event::VerdictEvent;

use super::{KernelError, table::Plain as _};
use crate::ledger::Malformed;
pub(super) use memory::Mapped;
pub(crate) use memory::RingMemory;
use record::{Record, record_at};

/// Longest time an event waits for the reader.
const POLL: Duration = Duration::from_millis(20);
/// Most events of one call.
const BATCH: usize = 4_096;

/// Up to where both rings were read: bytes since each was made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Positions {
    /// In the ring of denies.
    pub denies: u64,
    /// In the other one.
    pub verdicts: u64,
}

/// The reading end of both rings. One thread at a time.
pub struct RingReader {
    denies: Cursor,
    verdicts: Cursor,
    /// Told when the kernel wakes a reader of either; none without a kernel.
    wakeups: Option<OwnedFd>,
    malformed: Malformed,
}

struct Cursor {
    name: &'static str,
    ring: Arc<dyn RingMemory>,
    position: u64,
}

/// Gives room back to the kernel.
#[derive(Clone)]
pub struct RingReleaser {
    denies: Arc<dyn RingMemory>,
    verdicts: Arc<dyn RingMemory>,
}

impl RingReader {
    pub(super) fn open(denies: Mapped, verdicts: Mapped) -> Result<Self, KernelError> {
        let wakeups = wakeups([&denies, &verdicts]).map_err(|source| KernelError::Map {
            map: "VERDICTS",
            operation: "watch",
            source,
        })?;
        let mut reader = Self::over(Arc::new(denies), Arc::new(verdicts));
        reader.wakeups = Some(wakeups);
        Ok(reader)
    }

    /// A reader of what is not released yet.
    pub(crate) fn over(denies: Arc<dyn RingMemory>, verdicts: Arc<dyn RingMemory>) -> Self {
        Self {
            denies: Cursor::new("DENY_VERDICTS", denies),
            verdicts: Cursor::new("VERDICTS", verdicts),
            wakeups: None,
            malformed: Malformed::default(),
        }
    }

    /// Appends events to `into`, denies first; waits for some up to `timeout`. Returns how many.
    /// A call appends at most 4,096, so that the caller's batch stays bounded.
    pub fn read(
        &mut self,
        timeout: Duration,
        into: &mut Vec<VerdictEvent>,
    ) -> Result<usize, KernelError> {
        let begun = Instant::now();
        loop {
            let mut room = BATCH;
            self.malformed.denies += self.denies.drain(&mut room, into)?;
            self.malformed.allows += self.verdicts.drain(&mut room, into)?;
            if room < BATCH {
                return Ok(BATCH - room);
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(0);
            }
            self.wait(left.min(POLL))?;
        }
    }

    /// Up to where it has read.
    pub fn positions(&self) -> Positions {
        Positions { denies: self.denies.position, verdicts: self.verdicts.position }
    }

    /// Goes on from where an earlier reader was, of these very rings. What is released cannot be
    /// read again, and what is not written yet was not read: such positions are not believed.
    pub fn resume(&mut self, positions: Positions) {
        self.denies.resume(positions.denies);
        self.verdicts.resume(positions.verdicts);
    }

    /// The kernel's numbers of the rings.
    pub fn map_ids(&self) -> Result<[u32; 2], KernelError> {
        let id = |cursor: &Cursor| {
            cursor.ring.id().map_err(|source| KernelError::Map {
                map: cursor.name,
                operation: "describe",
                source,
            })
        };
        Ok([id(&self.denies)?, id(&self.verdicts)?])
    }

    /// What gives back the room of events that were read.
    pub fn releaser(&self) -> RingReleaser {
        RingReleaser { denies: self.denies.ring.clone(), verdicts: self.verdicts.ring.clone() }
    }

    /// Gives back the room of everything that was read.
    pub fn release(&self) {
        self.releaser().release(self.positions());
    }

    /// Records up to [`positions`](Self::positions) that were not of an event's size, from programs
    /// of another version; since the last call.
    pub fn malformed(&mut self) -> Malformed {
        std::mem::take(&mut self.malformed)
    }

    fn wait(&self, timeout: Duration) -> Result<(), KernelError> {
        let Some(wakeups) = &self.wakeups else { return Ok(()) };
        let timeout =
            Timespec { tv_sec: 0, tv_nsec: timeout.min(POLL).subsec_nanos().max(1_000_000).into() };
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 2];
        match epoll::wait(wakeups, &mut events, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => {
                let source = error.into();
                Err(KernelError::Map { map: "VERDICTS", operation: "poll", source })
            }
        }
    }
}

impl RingReleaser {
    /// The kernel may write over what lies before these positions, which the reader has reached.
    pub fn release(&self, positions: Positions) {
        for (ring, position) in
            [(&self.denies, positions.denies), (&self.verdicts, positions.verdicts)]
        {
            if position > ring.released() {
                ring.release(position);
            }
        }
    }
}

impl Cursor {
    fn new(name: &'static str, ring: Arc<dyn RingMemory>) -> Self {
        Self { name, position: ring.released(), ring }
    }

    fn resume(&mut self, position: u64) {
        if (self.ring.released()..=self.ring.written()).contains(&position) {
            self.position = position;
        }
    }

    /// Returns how many records were malformed.
    fn drain(
        &mut self,
        room: &mut usize,
        into: &mut Vec<VerdictEvent>,
    ) -> Result<u64, KernelError> {
        let mut malformed = 0;
        while *room > 0 {
            match record_at(&*self.ring, self.position) {
                Record::None => break,
                Record::Discarded { next } => self.position = next,
                Record::Data { len, next } => {
                    let mut bytes = [0; size_of::<VerdictEvent>()];
                    if len == bytes.len() {
                        self.ring.copy(self.position, &mut bytes);
                        into.extend(VerdictEvent::read(&bytes));
                        *room -= 1;
                    } else {
                        malformed += 1;
                    }
                    self.position = next;
                }
                Record::Damaged => {
                    return Err(KernelError::Map {
                        map: self.name,
                        operation: "read",
                        source: io::Error::new(
                            io::ErrorKind::InvalidData,
                            format!("no record can be at {}", self.position),
                        ),
                    });
                }
            }
        }
        Ok(malformed)
    }
}

/// By edge: what is read and not released leaves a ring readable all the time.
fn wakeups(rings: [&Mapped; 2]) -> io::Result<OwnedFd> {
    let wakeups = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for ring in rings {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&wakeups, ring.as_fd(), epoll::EventData::new_u64(0), flags)?;
    }
    Ok(wakeups)
}
