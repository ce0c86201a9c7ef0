//! Requests and answers of rtnetlink as bytes (rtnetlink(7)). Everything read is input: a field
//! that is not where it should be makes the answer count for nothing.

use std::io;
use std::net::IpAddr;

use super::{Link, Route};

const HEADER: usize = 16;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_MULTI: u16 = 0x2;
const NLM_F_DUMP: u16 = 0x300;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const IFINFO: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

const IFADDR: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const RTN_UNICAST: u8 = 1;
/// Answer with the route itself, not with what it resolves to.
const RTM_F_FIB_MATCH: u32 = 0x2000;

/// A request without its sequence number.
pub(super) struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    /// The request as the kernel wants it.
    pub(super) fn bytes(&self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend(length.to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | self.flags).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(&self.body);
        bytes
    }

    /// Whether the answer is a list.
    pub(super) fn is_dump(&self) -> bool {
        self.flags & NLM_F_DUMP != 0
    }
}

/// Asks for every interface.
pub(super) fn links() -> Request {
    Request { kind: RTM_GETLINK, flags: NLM_F_DUMP, body: vec![0; IFINFO] }
}

/// Asks for every address.
pub(super) fn addresses() -> Request {
    Request { kind: RTM_GETADDR, flags: NLM_F_DUMP, body: vec![0; IFADDR] }
}

/// Asks for the route to an address.
pub(super) fn route_to(address: IpAddr) -> Request {
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let mut body = vec![0; RTMSG];
    body[0] = u8::try_from(family).unwrap_or_default();
    body[1] = host_prefix(address);
    body[8..12].copy_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
    let length = u16::try_from(4 + octets.len()).unwrap_or_default();
    body.extend(length.to_ne_bytes());
    body.extend(RTA_DST.to_ne_bytes());
    body.extend(octets);
    Request { kind: RTM_GETROUTE, flags: 0, body }
}

fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// One message of an answer.
pub(super) struct Message<'a> {
    kind: u16,
    flags: u16,
    /// Of the request.
    pub(super) sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// Whether more messages follow.
    pub(super) fn is_part(&self) -> bool {
        self.flags & NLM_F_MULTI != 0
    }

    /// How the answer ended, if this is its end.
    pub(super) fn end(&self) -> Option<io::Result<()>> {
        match self.kind {
            NLMSG_DONE => Some(Ok(())),
            NLMSG_ERROR => Some(match u32_at(self.body, 0).map(u32::cast_signed) {
                Some(0) => Ok(()),
                Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                None => Err(io::ErrorKind::InvalidData.into()),
            }),
            _ => None,
        }
    }
}

/// The messages of a datagram, as far as their lengths make sense.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let body = datagram.get(HEADER..length)?;
        let message = Message {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            body,
        };
        datagram = datagram.get(align(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The interface of an answer to [`links`].
pub(super) fn link(message: &Message<'_>) -> Option<(u32, Link)> {
    let body = of_kind(message, RTM_NEWLINK)?;
    let index = u32_at(body, 4)?;
    let mut link = Link { name: String::new(), kind: String::new() };
    for (kind, value) in attributes(body.get(IFINFO..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_LINKINFO => {
                link.kind = attributes(value)
                    .find(|(kind, _)| *kind == IFLA_INFO_KIND)
                    .map_or_else(String::new, |(_, value)| text(value));
            }
            _ => {}
        }
    }
    Some((index, link))
}

/// The address of an answer to [`addresses`].
pub(super) fn address(message: &Message<'_>) -> Option<IpAddr> {
    let body = of_kind(message, RTM_NEWADDR)?;
    let mut found = None;
    for (kind, value) in attributes(body.get(IFADDR..)?) {
        match kind {
            // On a point-to-point link IFA_ADDRESS is the other end's.
            IFA_LOCAL => return ip(value),
            IFA_ADDRESS => found = ip(value),
            _ => {}
        }
    }
    found
}

/// The route of an answer to [`route_to`].
pub(super) fn route(message: &Message<'_>, address: IpAddr) -> Option<Route> {
    let body = of_kind(message, RTM_NEWROUTE)?;
    let (prefix, kind) = (*body.get(1)?, *body.get(7)?);
    let mut interface = None;
    let mut direct = prefix == host_prefix(address) && kind == RTN_UNICAST;
    for (kind, value) in attributes(body.get(RTMSG..)?) {
        match kind {
            RTA_OIF => interface = u32_at(value, 0),
            RTA_GATEWAY | RTA_VIA => direct = false,
            _ => {}
        }
    }
    Some(Route { interface: interface?, direct })
}

fn of_kind<'a>(message: &Message<'a>, kind: u16) -> Option<&'a [u8]> {
    (message.kind == kind).then_some(message.body)
}

/// Type and value of each attribute, without the flags in the type.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        16 => bytes.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}
