//! A ring buffer without a kernel.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{memory::RingMemory, record::HEADER_LEN};

/// Written to as the kernel programs do.
#[derive(Debug)]
pub(crate) struct FakeRing(Mutex<State>);

#[derive(Debug)]
struct State {
    data: Vec<u8>,
    released: u64,
    written: u64,
}

impl FakeRing {
    pub(crate) fn new(size: usize) -> Self {
        assert!(size.is_power_of_two());
        Self(Mutex::new(State { data: vec![0; size], released: 0, written: 0 }))
    }

    /// False: there is no room.
    pub(crate) fn write(&self, data: &[u8]) -> bool {
        let Some(position) = self.reserve(data.len()) else { return false };
        let mut state = self.lock();
        for (index, byte) in data.iter().enumerate() {
            state.put(position + (HEADER_LEN + index) as u64, *byte);
        }
        drop(state);
        self.set_header(position, data.len() as u32);
        true
    }

    /// A record that is not done.
    pub(crate) fn reserve(&self, len: usize) -> Option<u64> {
        let mut state = self.lock();
        let position = state.written;
        let next = position + ((HEADER_LEN + len) as u64).next_multiple_of(8);
        if next - state.released > state.data.len() as u64 {
            return None;
        }
        state.written = next;
        drop(state);
        self.set_header(position, len as u32 | 1 << 31);
        Some(position)
    }

    pub(crate) fn set_header(&self, position: u64, header: u32) {
        let mut state = self.lock();
        for (index, byte) in header.to_ne_bytes().into_iter().enumerate() {
            state.put(position + index as u64, byte);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, position: u64, byte: u8) {
        let index = position as usize % self.data.len();
        self.data[index] = byte;
    }

    fn get(&self, position: u64) -> u8 {
        self.data[position as usize % self.data.len()]
    }
}

impl RingMemory for FakeRing {
    fn released(&self) -> u64 {
        self.lock().released
    }

    fn release(&self, position: u64) {
        let mut state = self.lock();
        assert!((state.released..=state.written).contains(&position));
        state.released = position;
    }

    fn written(&self) -> u64 {
        self.lock().written
    }

    fn header(&self, position: u64) -> u32 {
        let state = self.lock();
        u32::from_ne_bytes(std::array::from_fn(|index| state.get(position + index as u64)))
    }

    fn copy(&self, position: u64, into: &mut [u8]) {
        let state = self.lock();
        for (index, byte) in into.iter_mut().enumerate() {
            *byte = state.get(position + (HEADER_LEN + index) as u64);
        }
    }

    fn size(&self) -> u64 {
        self.lock().data.len() as u64
    }

    fn id(&self) -> std::io::Result<u32> {
        Ok(1)
    }
}
