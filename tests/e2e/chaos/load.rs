//! A load whose every packet is known: each datagram begins a connection or is a denied attempt.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_lab::Place;
use weir_lab::traffic::crafted::Crafted;

/// Source ports of connections: after so many the next destination port is dialled.
const SOURCES: u64 = 60_000;
const FIRST_SOURCE: u16 = 1_024;
/// First of the open ports.
const OPEN: u16 = 9_000;
/// Open ports: together with the sources, the connections that there can be.
const OPEN_PORTS: u16 = 8;
/// First of the ports that are shut.
const SHUT: u16 = 20_000;
/// Kinds of denied attempts. A prime, so that each attempt is from another port.
const SHUT_PORTS: u64 = 97;
/// Packets are sent in groups, that often.
const EVERY: Duration = Duration::from_millis(10);

/// Where packets go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Each begins a connection that is allowed.
    Open,
    /// Each is denied.
    Shut,
    /// Each is denied and the first of its kind; at most 65,535.
    ShutAndNew,
}

impl Aim {
    /// Source and destination port of a packet.
    fn ports(self, number: u64) -> (u16, u16) {
        let source = FIRST_SOURCE + (number % SOURCES) as u16;
        match self {
            Self::Open => {
                let round = (number / SOURCES) as u16;
                assert!(round < OPEN_PORTS, "there are no more connections to begin");
                (source, OPEN + round)
            }
            Self::Shut => (source, SHUT + (number % SHUT_PORTS) as u16),
            Self::ShutAndNew => {
                (source, u16::try_from(number + 1).expect("there are no more kinds"))
            }
        }
    }
}

/// Keeps the open ports open.
pub(crate) fn open_ports(place: &Place, address: Ipv4Addr) -> Vec<UdpSocket> {
    let bind = |port| UdpSocket::bind((address, port)).unwrap();
    place.enter(|| (OPEN..OPEN + OPEN_PORTS).map(bind).collect()).unwrap()
}

/// Sends from one pod to another.
pub(crate) struct Sender {
    crafted: Crafted,
    to: Ipv4Addr,
    aim: Aim,
    sent: u64,
}

impl Sender {
    pub(crate) fn new(from: &Place, address: Ipv4Addr, to: Ipv4Addr, aim: Aim) -> Self {
        let crafted = from.enter(|| Crafted::open(address)).unwrap().unwrap();
        Self { crafted, to, aim, sent: 0 }
    }

    /// The next packets, back to back.
    pub(crate) fn send(&mut self, count: u64) {
        for _ in 0..count {
            let (source, destination) = self.aim.ports(self.sent);
            self.crafted.send(source, SocketAddrV4::new(self.to, destination)).unwrap();
            self.sent += 1;
        }
    }

    /// Sends at a steady rate, on a thread of its own, until told to end; how much it has sent.
    pub(crate) fn steadily(mut self, a_second: u64, over: Arc<AtomicBool>) -> JoinHandle<u64> {
        std::thread::spawn(move || {
            let begun = Instant::now();
            while !over.load(Ordering::Relaxed) {
                let due = begun.elapsed().as_millis() as u64 * a_second / 1_000;
                self.send(due.saturating_sub(self.sent));
                std::thread::sleep(EVERY);
            }
            self.sent
        })
    }
}
