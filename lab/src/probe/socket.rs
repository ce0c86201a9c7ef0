//! Sockets of probes, made inside the place they begin at.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Probe, Protocol};
use crate::LabError;

/// How many busy source ports are passed over.
const BIND_ATTEMPTS: usize = 64;
const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A socket that is bound to its source, and the source port.
pub(super) struct Bound {
    pub(super) fd: OwnedFd,
    pub(super) port: u16,
}

/// One socket a probe, in the same order.
pub(super) fn open(
    probes: &[&Probe],
    source_port: &(dyn Fn() -> u16 + Sync),
) -> Result<Vec<Bound>, LabError> {
    let mut by_place: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, probe) in probes.iter().enumerate() {
        by_place.entry(probe.from.namespace()).or_default().push(i);
    }
    let mut sockets: Vec<Option<Bound>> = probes.iter().map(|_| None).collect();
    for group in by_place.into_values() {
        let place = &probes[group[0]].from;
        let opened = place.enter(|| {
            group
                .iter()
                .map(|i| bound(probes[*i].protocol, probes[*i].source, source_port))
                .collect::<Vec<_>>()
        })?;
        for (i, socket) in group.into_iter().zip(opened) {
            let what = format!("cannot send from {} in {}", probes[i].source, place.label());
            sockets[i] = Some(socket.map_err(LabError::io(what))?);
        }
    }
    Ok(sockets.into_iter().flatten().collect())
}

fn bound(
    protocol: Protocol,
    source: IpAddr,
    source_port: &(dyn Fn() -> u16 + Sync),
) -> io::Result<Bound> {
    match protocol {
        Protocol::Tcp | Protocol::Udp => {
            for _ in 1..BIND_ATTEMPTS {
                match bind_port(protocol, source, source_port()) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                    other => return other,
                }
            }
            bind_port(protocol, source, source_port())
        }
        // A raw socket has no port; the packets do.
        Protocol::Sctp => Ok(Bound { fd: raw_sctp(source)?, port: source_port() }),
        Protocol::Icmp => {
            let number = if source.is_ipv4() { ipproto::ICMP } else { ipproto::ICMPV6 };
            let fd = net::socket_with(family(source), SocketType::DGRAM, FLAGS, Some(number))?;
            net::bind(&fd, &SocketAddr::new(source, 0))?;
            Ok(Bound { fd, port: 0 })
        }
    }
}

fn bind_port(protocol: Protocol, source: IpAddr, port: u16) -> io::Result<Bound> {
    let kind = if protocol == Protocol::Tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let fd = net::socket_with(family(source), kind, FLAGS, None)?;
    net::bind(&fd, &SocketAddr::new(source, port))?;
    Ok(Bound { fd, port })
}

/// A raw socket that sees the SCTP packets sent to this address.
pub(super) fn raw_sctp(address: IpAddr) -> io::Result<OwnedFd> {
    let fd = net::socket_with(family(address), SocketType::RAW, FLAGS, Some(ipproto::SCTP))?;
    net::bind(&fd, &SocketAddr::new(address, 0))?;
    Ok(fd)
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

/// A raw or ICMP socket in the runtime.
pub(super) struct Packets(AsyncFd<OwnedFd>);

impl Packets {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` is open, is the same descriptor always, and is closed only when it
        // is dropped, which `AsyncFd` does with itself.
        Ok(Self(unsafe { AsyncFd::register(fd) }?))
    }

    /// From now on only packets of this peer are seen.
    pub(super) fn connect(&self, address: IpAddr) -> io::Result<()> {
        Ok(net::connect(self.0.as_fd(), &SocketAddr::new(address, 0))?)
    }

    pub(super) async fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.0
            .async_io(Interest::WRITABLE, |fd| Ok(net::send(fd, packet, net::SendFlags::empty())?))
            .await
            .map(drop)
    }

    pub(super) async fn send_to(&self, packet: &[u8], peer: IpAddr) -> io::Result<()> {
        self.0
            .async_io(Interest::WRITABLE, |fd| {
                let address = SocketAddr::new(peer, 0);
                Ok(net::sendto(fd, packet, net::SendFlags::empty(), &address)?)
            })
            .await
            .map(drop)
    }

    /// Length and sender of the next packet. Raw IPv4 sockets give the IP header too.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<IpAddr>)> {
        self.0
            .async_io(Interest::READABLE, |fd| {
                let (len, _, from) = net::recvfrom(fd, &mut *buffer, net::RecvFlags::empty())?;
                let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                Ok((len, from.map(|from| from.ip())))
            })
            .await
    }
}

/// Thousands of probes are thousands of sockets.
pub(super) fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        limit.current = limit.maximum;
        // Where it may not, fewer probes run side by side before one fails with a clear error.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
