//! The little of rtnetlink that the collector needs: which interface the host's route to a pod
//! leads to, what kind of interface that is, which addresses this node has, and when any of that
//! changes.
//!
//! A socket belongs to the network namespace of the thread that opened it and stays there,
//! whichever thread uses it later.

mod message;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use message::{Message, Request};

/// Larger than any datagram the kernel sends in answer to our requests.
const BUFFER_BYTES: usize = 64 * 1024;
/// The kernel answers at once; this only guards against waiting for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Links, IPv4 and IPv6 addresses, IPv4 and IPv6 routes.
const CHANGE_GROUPS: u32 = 0x1 | 0x10 | 0x100 | 0x40 | 0x400;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its name.
    pub(crate) name: String,
    /// `veth`, `bridge`, …; empty for hardware.
    pub(crate) kind: String,
}

/// The route the kernel would take to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Index of the interface it leads to.
    pub(crate) interface: u32,
    /// It covers this address alone and has no gateway, so the address is right behind it.
    pub(crate) direct: bool,
}

/// Asks the kernel about links, routes and addresses.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the network namespace of this thread.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = socket(0, SocketFlags::CLOEXEC)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Every interface by index.
    pub(crate) fn links(&mut self) -> io::Result<HashMap<u32, Link>> {
        let mut links = HashMap::new();
        self.ask(&message::links(), |answer| links.extend(message::link(answer)))?;
        Ok(links)
    }

    /// Every address of this node's interfaces, loopback excepted.
    pub(crate) fn addresses(&mut self) -> io::Result<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        self.ask(&message::addresses(), |answer| addresses.extend(message::address(answer)))?;
        addresses.retain(|address| !address.is_loopback());
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    /// The route to an address, or `None` if there is none.
    pub(crate) fn route(&mut self, address: IpAddr) -> io::Result<Option<Route>> {
        let mut route = None;
        let request = message::route_to(address);
        match self.ask(&request, |answer| route = message::route(answer, address).or(route)) {
            Err(error) if is_unreachable(&error) => Ok(None),
            asked => asked.map(|()| route),
        }
    }

    /// Sends a request and hands each answer to `each`.
    fn ask(&mut self, request: &Request, mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        rustix::net::send(&self.socket, &request.bytes(self.sequence), SendFlags::empty())?;
        loop {
            let (_, length) =
                rustix::net::recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC)?;
            let datagram = self.buffer.get(..length).ok_or_else(truncated)?;
            for answer in message::messages(datagram) {
                if answer.sequence != self.sequence {
                    continue;
                }
                if let Some(result) = answer.end() {
                    return result;
                }
                each(&answer);
                if !answer.is_part() && !request.is_dump() {
                    return Ok(());
                }
            }
        }
    }
}

/// Becomes readable when links, addresses or routes change.
#[derive(Debug)]
pub(crate) struct Changes(OwnedFd);

impl Changes {
    /// Listens in the network namespace of this thread.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self(socket(CHANGE_GROUPS, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?))
    }

    /// Forgets the changes so far; whether there were any. What changed does not matter, as
    /// everything is looked up anew.
    pub(crate) fn drain(&self) -> bool {
        let mut changed = false;
        let mut buffer = [0u8; 512];
        loop {
            match rustix::net::recv(&self.0, buffer.as_mut_slice(), RecvFlags::TRUNC) {
                // The queue overflowed: there were changes.
                Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => changed = true,
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl std::os::fd::AsRawFd for Changes {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

/// Protocol 0 of this family is `NETLINK_ROUTE`.
fn socket(groups: u32, flags: SocketFlags) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ESRCH | libc::EINVAL | libc::EACCES)
    )
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an rtnetlink answer larger than the buffer")
}
