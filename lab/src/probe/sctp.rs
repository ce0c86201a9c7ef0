//! SCTP probe: INIT, answered by INIT-ACK (RFC 9260), in raw packets.
//!
//! The responder's state cookie is its name. A client that has its answer aborts the association,
//! so that nothing half open is left in anybody's tables.

pub(super) mod packet;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::time::timeout;

use super::socket::{Bound, Packets};
use super::{Observed, judge_answer};
use packet::{Chunk, Packet};

const REPEAT: Duration = Duration::from_millis(300);
const PACKET_LEN_MAX: usize = 2048;

/// Does not return while nothing is answered.
pub(super) async fn init(
    bound: Bound,
    destination: SocketAddr,
    expected: &str,
) -> io::Result<Observed> {
    let socket = Packets::new(bound.fd)?;
    socket.connect(destination.ip())?;
    // Never zero, and each probe's own.
    let tag = 0x5745_0000 | u32::from(bound.port);
    let mine = |chunk| Packet {
        source_port: bound.port,
        destination_port: destination.port(),
        tag: 0,
        chunk,
    };
    let init = mine(Chunk::Init { tag }).encode();
    let mut buffer = [0; PACKET_LEN_MAX];
    loop {
        socket.send(&init).await?;
        let Ok(answer) = timeout(REPEAT, answer(&socket, &mut buffer, bound.port, tag)).await
        else {
            continue;
        };
        match answer?.chunk {
            Chunk::InitAck { tag: peer_tag, cookie } => {
                let abort = Packet { tag: peer_tag, ..mine(Chunk::Abort) };
                socket.send(&abort.encode()).await?;
                return Ok(judge_answer(&cookie, expected).unwrap_or(Observed::NoAnswer));
            }
            _ => return Ok(Observed::Refused),
        }
    }
}

/// The next packet for this port with this tag.
async fn answer(socket: &Packets, buffer: &mut [u8], port: u16, tag: u32) -> io::Result<Packet> {
    loop {
        let (len, from) = socket.receive(buffer).await?;
        let is_ipv4 = from.is_none_or(|from| from.is_ipv4());
        if let Some(packet) = packet::decode(&buffer[..len], is_ipv4)
            && packet.destination_port == port
            && packet.tag == tag
            && matches!(packet.chunk, Chunk::InitAck { .. } | Chunk::Abort)
        {
            return Ok(packet);
        }
    }
}

/// Answers INITs to these ports of one address with INIT-ACK, and those to others with ABORT.
pub(super) async fn respond(fd: OwnedFd, ports: HashSet<u16>, identity: String) -> io::Result<()> {
    let socket = Packets::new(fd)?;
    let mut buffer = [0; PACKET_LEN_MAX];
    loop {
        let (len, Some(from)) = socket.receive(&mut buffer).await? else { continue };
        let Some(packet) = packet::decode(&buffer[..len], from.is_ipv4()) else { continue };
        let Chunk::Init { tag } = packet.chunk else { continue };
        let chunk = if ports.contains(&packet.destination_port) {
            Chunk::InitAck { tag: tag.rotate_left(16), cookie: identity.clone().into_bytes() }
        } else {
            Chunk::Abort
        };
        let answer = Packet {
            source_port: packet.destination_port,
            destination_port: packet.source_port,
            tag,
            chunk,
        };
        // A network that refuses one answer must not end the responder.
        if let Err(error) = socket.send_to(&answer.encode(), from).await {
            tracing::debug!(%error, %from, "SCTP answer not sent");
        }
    }
}
