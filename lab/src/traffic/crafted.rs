//! Datagrams with chosen ports, without a socket for each.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};

const HEADER_LEN: usize = 8;
const LEN: usize = HEADER_LEN + 18;

/// Sends UDP from one address.
#[derive(Debug)]
pub struct Crafted {
    socket: OwnedFd,
}

impl Crafted {
    /// From an address of the calling thread's namespace.
    ///
    /// # Errors
    /// Missing privileges, or not an address there.
    pub fn open(from: Ipv4Addr) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::UDP))?;
        rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
        Ok(Self { socket })
    }

    /// Sends a datagram of 46 bytes.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub fn send(&self, source_port: u16, to: SocketAddrV4) -> io::Result<()> {
        let mut packet = *b"........................w.";
        packet[..2].copy_from_slice(&source_port.to_be_bytes());
        packet[2..4].copy_from_slice(&to.port().to_be_bytes());
        packet[4..6].copy_from_slice(&(LEN as u16).to_be_bytes());
        // No checksum, which IPv4 permits.
        packet[6..8].copy_from_slice(&[0; 2]);
        let to = SocketAddrV4::new(*to.ip(), 0);
        sendto(&self.socket, &packet, SendFlags::empty(), &to)?;
        Ok(())
    }
}
