//! Records of a kernel ring buffer: a header of eight bytes, of which the first four hold the
//! length and two bits, then the data, up to a multiple of eight.

use super::memory::RingMemory;

/// Bytes before the data of a record.
pub(super) const HEADER_LEN: usize = 8;
/// The writer is not done with it.
const BUSY: u32 = 1 << 31;
/// The writer changed its mind.
const DISCARDED: u32 = 1 << 30;

/// The next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// There is none, or it is being written.
    None,
    /// One to skip; the one after it begins at `next`.
    Discarded { next: u64 },
    /// One of so many bytes.
    Data { len: usize, next: u64 },
    /// No record can be like this.
    Damaged,
}

/// What stands at a position, which is a record's beginning or the end of what is written.
pub(super) fn record_at(ring: &dyn RingMemory, position: u64) -> Record {
    let written = ring.written();
    if position >= written {
        return Record::None;
    }
    let header = ring.header(position);
    if header & BUSY != 0 {
        return Record::None;
    }
    let len = u64::from(header & !DISCARDED);
    let next = position + (HEADER_LEN as u64 + len).next_multiple_of(8);
    if next > written || next - position > ring.size() {
        Record::Damaged
    } else if header & DISCARDED != 0 {
        Record::Discarded { next }
    } else {
        Record::Data { len: len as usize, next }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeRing;
    use super::*;

    #[test]
    fn records_are_read_in_order_and_not_before_they_are_written() {
        let ring = FakeRing::new(64);
        assert_eq!(record_at(&ring, 0), Record::None);
        ring.write(&[1, 2, 3]);
        ring.reserve(9);
        ring.write(&[4]);
        assert_eq!(record_at(&ring, 0), Record::Data { len: 3, next: 16 });
        assert_eq!(record_at(&ring, 16), Record::None);
        ring.set_header(16, 9 | DISCARDED);
        assert_eq!(record_at(&ring, 16), Record::Discarded { next: 40 });
        assert_eq!(record_at(&ring, 40), Record::Data { len: 1, next: 56 });
        assert_eq!(record_at(&ring, 56), Record::None);
    }

    #[test]
    fn a_record_that_wraps_around_is_whole() {
        let ring = FakeRing::new(64);
        ring.write(&[0; 40]);
        ring.release(48);
        ring.write(&[5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        let Record::Data { len: 10, next: 72 } = record_at(&ring, 48) else { panic!() };
        let mut data = [0; 10];
        ring.copy(48, &mut data);
        assert_eq!(data, [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        assert!(!ring.write(&[0; 40]), "48 bytes do not fit beside 24 of 64");
    }

    #[test]
    fn lengths_beyond_what_is_written_are_damage() {
        let ring = FakeRing::new(64);
        ring.write(&[1; 8]);
        ring.set_header(0, 9);
        assert_eq!(record_at(&ring, 0), Record::Damaged);
        ring.set_header(0, !BUSY & !DISCARDED);
        assert_eq!(record_at(&ring, 0), Record::Damaged);
    }
}
