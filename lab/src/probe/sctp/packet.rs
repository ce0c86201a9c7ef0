//! SCTP packets of one chunk, as far as a handshake's first half needs them (RFC 9260 §3).

const TYPE_INIT: u8 = 1;
const TYPE_INIT_ACK: u8 = 2;
const TYPE_ABORT: u8 = 6;
const PARAMETER_STATE_COOKIE: u16 = 7;
const COMMON_HEADER_LEN: usize = 12;
const CHUNK_HEADER_LEN: usize = 4;
/// Initiate tag, receiver window, streams out and in, initial sequence number.
const INIT_BODY_LEN: usize = 16;
const RECEIVER_WINDOW: u32 = 0x1_0000;
const STREAMS: u16 = 1;

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) struct Packet {
    pub(in crate::probe) source_port: u16,
    pub(in crate::probe) destination_port: u16,
    /// Verification tag.
    pub(in crate::probe) tag: u32,
    pub(in crate::probe) chunk: Chunk,
}

/// Its chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) enum Chunk {
    Init { tag: u32 },
    InitAck { tag: u32, cookie: Vec<u8> },
    Abort,
}

impl Packet {
    /// With its checksum.
    pub(in crate::probe) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend(self.source_port.to_be_bytes());
        bytes.extend(self.destination_port.to_be_bytes());
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend([0; 4]);
        let mut body = Vec::new();
        let kind = match &self.chunk {
            Chunk::Init { tag } => {
                init_body(&mut body, *tag);
                TYPE_INIT
            }
            Chunk::InitAck { tag, cookie } => {
                init_body(&mut body, *tag);
                body.extend(PARAMETER_STATE_COOKIE.to_be_bytes());
                body.extend(length(CHUNK_HEADER_LEN + cookie.len()));
                body.extend(cookie);
                TYPE_INIT_ACK
            }
            Chunk::Abort => TYPE_ABORT,
        };
        bytes.extend([kind, 0]);
        bytes.extend(length(CHUNK_HEADER_LEN + body.len()));
        bytes.extend(body);
        // The length field leaves the padding out.
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let checksum = crc32c(&bytes);
        bytes[8..COMMON_HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// Reads what a raw socket gave; `None` for everything that is not one of ours.
pub(in crate::probe) fn decode(bytes: &[u8], with_ipv4_header: bool) -> Option<Packet> {
    let bytes =
        if with_ipv4_header { bytes.get(usize::from(bytes.first()? & 0x0f) * 4..)? } else { bytes };
    let checksum = u32::from_le_bytes(array(bytes, 8)?);
    let mut zeroed = bytes.to_vec();
    zeroed[8..COMMON_HEADER_LEN].fill(0);
    if crc32c(&zeroed) != checksum {
        return None;
    }
    let kind = *bytes.get(COMMON_HEADER_LEN)?;
    let len = usize::from(u16::from_be_bytes(array(bytes, COMMON_HEADER_LEN + 2)?));
    let body = bytes.get(COMMON_HEADER_LEN + CHUNK_HEADER_LEN..COMMON_HEADER_LEN + len)?;
    let chunk = match kind {
        TYPE_INIT => Chunk::Init { tag: u32::from_be_bytes(array(body, 0)?) },
        TYPE_INIT_ACK => Chunk::InitAck {
            tag: u32::from_be_bytes(array(body, 0)?),
            cookie: cookie(body.get(INIT_BODY_LEN..)?)?,
        },
        TYPE_ABORT => Chunk::Abort,
        _ => return None,
    };
    Some(Packet {
        source_port: u16::from_be_bytes(array(bytes, 0)?),
        destination_port: u16::from_be_bytes(array(bytes, 2)?),
        tag: u32::from_be_bytes(array(bytes, 4)?),
        chunk,
    })
}

fn init_body(bytes: &mut Vec<u8>, tag: u32) {
    bytes.extend(tag.to_be_bytes());
    bytes.extend(RECEIVER_WINDOW.to_be_bytes());
    bytes.extend(STREAMS.to_be_bytes());
    bytes.extend(STREAMS.to_be_bytes());
    bytes.extend(tag.to_be_bytes());
}

/// The state cookie among an INIT-ACK's parameters.
fn cookie(mut parameters: &[u8]) -> Option<Vec<u8>> {
    loop {
        let kind = u16::from_be_bytes(array(parameters, 0)?);
        let len = usize::from(u16::from_be_bytes(array(parameters, 2)?));
        let value = parameters.get(CHUNK_HEADER_LEN..len)?;
        if kind == PARAMETER_STATE_COOKIE {
            return Some(value.to_vec());
        }
        parameters = parameters.get(len.next_multiple_of(4)..)?;
    }
}

/// Cookies are names of places, far below 64 KiB.
fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// CRC-32C (Castagnoli), reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut value = i as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[i] = value;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| {
        let [low, ..] = (crc ^ u32::from(*byte)).to_le_bytes();
        TABLE[usize::from(low)] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720 appendix B.4, and the usual check value.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn packets_survive_the_wire() {
        for chunk in [
            Chunk::Init { tag: 0xdead_beef },
            Chunk::InitAck { tag: 7, cookie: b"weir pod x/a\n".to_vec() },
            Chunk::Abort,
        ] {
            let packet = Packet { source_port: 1234, destination_port: 80, tag: 9, chunk };
            let bytes = packet.encode();
            assert_eq!(bytes.len() % 4, 0);
            assert_eq!(decode(&bytes, false), Some(packet.clone()));
            let mut ip = vec![0x46; 24];
            ip.extend(&bytes);
            assert_eq!(decode(&ip, true), Some(packet));
            let mut broken = bytes.clone();
            broken[0] ^= 1;
            assert_eq!(decode(&broken, false), None, "checksum");
            for len in 0..bytes.len() {
                assert_eq!(decode(&bytes[..len], false), None, "cut at {len}");
            }
        }
        assert_eq!(decode(&[], true), None);
    }
}
