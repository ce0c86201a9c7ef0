//! The little of rtnetlink that the collector needs: which interface the host's route to a pod
//! leads to, what kind of interface that is, what bridges and neighbours are behind it, which
//! addresses this node has, and when any of that changes.
//!
//! A socket belongs to the network namespace of the thread that opened it and stays there,
//! whichever thread uses it later.

mod message;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use message::{Message, Request};

/// Larger than any datagram the kernel sends in answer to our requests.
const BUFFER_BYTES: usize = 64 * 1024;
/// The kernel answers at once; this only guards against waiting for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Links, neighbours with bridges' forwarding entries, IPv4 and IPv6 addresses and routes.
const CHANGE_GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x100 | 0x40 | 0x400;
/// Requests are checked as a whole, without which the kernel does not look into other namespaces.
const NETLINK_GET_STRICT_CHK: libc::c_int = 12;

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its name.
    pub(crate) name: String,
    /// `veth`, `bridge`, …; empty for hardware.
    pub(crate) kind: String,
    /// The bridge it is a port of.
    pub(crate) master: Option<u32>,
    /// Of a veth the other end, of a VLAN's interface the one below.
    pub(crate) lower: Option<u32>,
    /// This namespace's number for the one that `lower` is in; none if it is this one.
    pub(crate) lower_namespace: Option<u32>,
    /// The VLAN of a VLAN's interface.
    pub(crate) vlan: Option<u16>,
}

/// The route the kernel would take to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Index of the interface it leads to.
    pub(crate) interface: u32,
    /// It has no gateway.
    pub(crate) on_link: bool,
    /// It covers this address alone.
    pub(crate) host: bool,
}

/// A neighbour whose hardware address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    /// Index of the interface it is behind.
    pub(crate) interface: u32,
    /// Its address.
    pub(crate) address: IpAddr,
    /// Its hardware address.
    pub(crate) mac: Mac,
}

/// Where a bridge sends a hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarding {
    /// Index of the bridge.
    pub(crate) bridge: u32,
    /// The hardware address.
    pub(crate) mac: Mac,
    /// The VLAN; 0 where there is none.
    pub(crate) vlan: u16,
    /// Index of the port.
    pub(crate) port: u32,
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
        set_strict(&socket)?;
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
        self.ask(&message::addresses(), |answer| {
            addresses.extend(message::address(answer).map(|(_, address)| address));
        })?;
        addresses.retain(|address| !address.is_loopback());
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    /// Every address of another network namespace, each with its interface there.
    pub(crate) fn addresses_of(&mut self, namespace: u32) -> io::Result<Vec<(u32, IpAddr)>> {
        let mut addresses = Vec::new();
        let request = message::addresses_of(namespace);
        self.ask(&request, |answer| addresses.extend(message::address(answer)))?;
        Ok(addresses)
    }

    /// Every neighbour.
    pub(crate) fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        let mut neighbours = Vec::new();
        self.ask(&message::neighbours(), |answer| neighbours.extend(message::neighbour(answer)))?;
        Ok(neighbours)
    }

    /// The forwarding tables of all bridges.
    pub(crate) fn forwarding(&mut self) -> io::Result<Vec<Forwarding>> {
        let mut entries = Vec::new();
        let request = message::forwarding();
        self.ask(&request, |answer| entries.extend(message::forwarding_entry(answer)))?;
        Ok(entries)
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

/// What kind of change there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// None.
    Nothing,
    /// Of neighbours or bridges' forwarding entries only: on a busy node there are many of them.
    Neighbours,
    /// Of links, addresses or routes.
    Network,
}

/// Becomes readable when links, addresses, routes or neighbours change.
#[derive(Debug)]
pub(crate) struct Changes(OwnedFd);

impl Changes {
    /// Listens in the network namespace of this thread.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self(socket(CHANGE_GROUPS, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?))
    }

    /// Forgets the changes so far; what kind they were of. What changed exactly does not matter,
    /// as everything is looked up anew.
    pub(crate) fn drain(&self) -> Change {
        let mut change = Change::Nothing;
        let mut buffer = [0u8; 512];
        loop {
            match rustix::net::recv(&self.0, buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((length, _)) => {
                    let notice = message::messages(buffer.get(..length).unwrap_or_default()).next();
                    let kind = match notice {
                        Some(notice) if notice.is_neighbour() => Change::Neighbours,
                        _ => Change::Network,
                    };
                    change = change.max(kind);
                }
                // The queue overflowed: there were changes.
                Err(rustix::io::Errno::NOBUFS) => change = Change::Network,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return change,
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

fn set_strict(socket: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is a live int, of the size that is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            NETLINK_GET_STRICT_CHK,
            (&raw const on).cast(),
            libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
