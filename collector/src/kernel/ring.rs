//! Reads verdict events.
//!
//! The kernel wakes the reader only once for a good many events, so that a flood costs it little;
//! for fewer, the reader looks by itself every [`POLL`]. That bounds the delay.

use std::{
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use weir_abi::event::VerdictEvent;

use super::KernelError;

/// Longest time an event waits for the reader.
const POLL: Duration = Duration::from_millis(20);
/// Most events of one call.
const BATCH: usize = 16_384;

/// The reading end of both rings. One thread at a time.
pub struct RingReader {
    denies: RingBuf<MapData>,
    verdicts: RingBuf<MapData>,
    malformed: u64,
}

impl RingReader {
    pub(super) fn new(denies: RingBuf<MapData>, verdicts: RingBuf<MapData>) -> Self {
        Self { denies, verdicts, malformed: 0 }
    }

    /// Appends events to `into`, denies first; waits for some up to `timeout`. Returns how many.
    /// A call appends at most 16,384, so that the caller's batch stays bounded.
    pub fn read(
        &mut self,
        timeout: Duration,
        into: &mut Vec<VerdictEvent>,
    ) -> Result<usize, KernelError> {
        let begun = Instant::now();
        loop {
            let mut room = BATCH;
            self.malformed += drain(&mut self.denies, &mut room, into);
            self.malformed += drain(&mut self.verdicts, &mut room, into);
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

    /// Records that were not of an event's size: from programs of another version.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    fn wait(&self, timeout: Duration) -> Result<(), KernelError> {
        let wanted = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds =
            [wanted(self.denies.as_fd().as_raw_fd()), wanted(self.verdicts.as_fd().as_raw_fd())];
        let milliseconds = timeout.as_millis().max(1) as libc::c_int;
        // SAFETY: two initialised entries, and both descriptors are open.
        let result = unsafe { libc::poll(fds.as_mut_ptr(), 2, milliseconds) };
        if result < 0 {
            let source = std::io::Error::last_os_error();
            if source.kind() != std::io::ErrorKind::Interrupted {
                return Err(KernelError::Map { map: "VERDICTS", operation: "poll", source });
            }
        }
        Ok(())
    }
}

/// Returns how many records were malformed.
fn drain(ring: &mut RingBuf<MapData>, room: &mut usize, into: &mut Vec<VerdictEvent>) -> u64 {
    let mut malformed = 0;
    while *room > 0 {
        let Some(record) = ring.next() else { break };
        if record.len() != size_of::<VerdictEvent>() {
            malformed += 1;
            continue;
        }
        // SAFETY: the record has the size, and the struct has no invalid bit pattern.
        into.push(unsafe { record.as_ptr().cast::<VerdictEvent>().read_unaligned() });
        *room -= 1;
    }
    malformed
}
