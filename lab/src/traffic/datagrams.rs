//! Many small UDP packets, of one flow or of many.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::crafted::Crafted;
use crate::{LabError, Place};

/// How soon a receiver notices that it is to end, and a sender asks again.
const STOP_POLL: Duration = Duration::from_millis(50);
/// How often a sender asks before it gives up.
const QUESTIONS: usize = 40;
const QUESTION: u8 = b'?';
const PAYLOAD: [u8; 18] = *b"................w.";
/// Packets between two looks at the clock.
const BETWEEN_LOOKS: u64 = 64;

/// What was sent, and how long that took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// From the first to the last.
    pub elapsed: Duration,
}

/// Reads all that comes to a port and answers who asks. Dropping it ends it.
#[derive(Debug)]
pub struct Receiver {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a receiver.
pub fn receive(place: &Place, address: SocketAddr) -> Result<Receiver, LabError> {
    let what = format!("cannot receive at {address} in {}", place.label());
    let socket = place
        .enter(|| {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(STOP_POLL))?;
            Ok(socket)
        })?
        .map_err(LabError::io(what))?;
    let stop = Arc::new(AtomicBool::new(false));
    let thread = {
        let stop = Arc::clone(&stop);
        thread::Builder::new()
            .name("lab-receiver".to_owned())
            .spawn(move || answer(&socket, &stop))
            .map_err(LabError::io("cannot start a thread"))?
    };
    Ok(Receiver { stop, thread: Some(thread) })
}

/// Sends packets of one flow, which the receiver has answered before, for this long.
pub fn send_answered(to: SocketAddr, period: Duration) -> io::Result<Sent> {
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(STOP_POLL))?;
    let answered = (0..QUESTIONS)
        .any(|_| socket.send(&[QUESTION]).is_ok() && socket.recv(&mut [0; 1]).is_ok());
    if !answered {
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{to} does not answer")));
    }
    let begun = Instant::now();
    let mut packets = 0;
    while begun.elapsed() < period {
        for _ in 0..BETWEEN_LOOKS {
            socket.send(&PAYLOAD)?;
        }
        packets += BETWEEN_LOOKS;
    }
    Ok(Sent { packets, elapsed: begun.elapsed() })
}

/// Sends one packet from each of these ports, without a socket for each.
pub fn send_from_each(
    from: Ipv4Addr,
    ports: RangeInclusive<u16>,
    to: SocketAddrV4,
) -> io::Result<Sent> {
    let sender = Crafted::open(from)?;
    let begun = Instant::now();
    let mut packets = 0;
    for port in ports {
        sender.send(port, to)?;
        packets += 1;
    }
    Ok(Sent { packets, elapsed: begun.elapsed() })
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn answer(socket: &UdpSocket, stop: &AtomicBool) {
    let mut packet = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        // Nothing came within the time, or an error about an answer: both are no reason to end.
        let Ok((len, from)) = socket.recv_from(&mut packet) else { continue };
        if packet[..len] == [QUESTION] {
            let _ = socket.send_to(&packet[..len], from);
        }
    }
}
