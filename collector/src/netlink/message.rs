//! Requests and answers of rtnetlink as bytes (rtnetlink(7)). Everything read is input: a field
//! that is not where it should be makes the answer count for nothing.

use std::io;
use std::net::IpAddr;

use super::{Forwarding, Link, Mac, Neighbour, Route};

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
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;

const IFINFO: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;

const IFADDR: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_TARGET_NETNSID: u16 = 10;

const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const RTN_UNICAST: u8 = 1;
const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_VLAN: u16 = 5;
const NDA_MASTER: u16 = 9;
const NUD_INCOMPLETE: u16 = 0x01;
const NUD_FAILED: u16 = 0x20;
const NUD_PERMANENT: u16 = 0x80;
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

/// Asks for every address of another network namespace, by the number that this one has for it.
pub(super) fn addresses_of(namespace: u32) -> Request {
    let mut body = vec![0; IFADDR];
    body.extend(8u16.to_ne_bytes());
    body.extend(IFA_TARGET_NETNSID.to_ne_bytes());
    body.extend(namespace.to_ne_bytes());
    Request { kind: RTM_GETADDR, flags: NLM_F_DUMP, body }
}

/// Asks for every neighbour, IPv4 and IPv6.
pub(super) fn neighbours() -> Request {
    Request { kind: RTM_GETNEIGH, flags: NLM_F_DUMP, body: vec![0; NDMSG] }
}

/// Asks for the forwarding tables of every bridge.
pub(super) fn forwarding() -> Request {
    let mut body = vec![0; NDMSG];
    body[0] = u8::try_from(libc::AF_BRIDGE).unwrap_or_default();
    Request { kind: RTM_GETNEIGH, flags: NLM_F_DUMP, body }
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
    /// Whether it is a notice of a neighbour or of a bridge's forwarding table.
    pub(super) fn is_neighbour(&self) -> bool {
        matches!(self.kind, RTM_NEWNEIGH | RTM_DELNEIGH)
    }

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
    let mut link = Link::default();
    for (kind, value) in attributes(body.get(IFINFO..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_LINK => link.lower = u32_at(value, 0),
            IFLA_MASTER => link.master = u32_at(value, 0),
            IFLA_LINK_NETNSID => link.lower_namespace = u32_at(value, 0),
            IFLA_LINKINFO => (link.kind, link.vlan) = link_info(value),
            _ => {}
        }
    }
    Some((index, link))
}

/// What kind of interface it is, and its VLAN if it is one of a VLAN.
fn link_info(bytes: &[u8]) -> (String, Option<u16>) {
    let find = |wanted| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|found| found.1);
    let name = find(IFLA_INFO_KIND).map_or_else(String::new, text);
    let data = find(IFLA_INFO_DATA).filter(|_| name == "vlan").unwrap_or_default();
    let vlan = attributes(data)
        .find(|(kind, _)| *kind == IFLA_VLAN_ID)
        .and_then(|(_, value)| u16_at(value, 0));
    (name, vlan)
}

/// The address of an answer to [`addresses`], and the interface that has it.
pub(super) fn address(message: &Message<'_>) -> Option<(u32, IpAddr)> {
    let body = of_kind(message, RTM_NEWADDR)?;
    let interface = u32_at(body, 4)?;
    let mut found = None;
    for (kind, value) in attributes(body.get(IFADDR..)?) {
        match kind {
            // On a point-to-point link IFA_ADDRESS is the other end's.
            IFA_LOCAL => return Some((interface, ip(value)?)),
            IFA_ADDRESS => found = ip(value),
            _ => {}
        }
    }
    Some((interface, found?))
}

/// The neighbour of an answer to [`neighbours`], if its MAC is known.
pub(super) fn neighbour(message: &Message<'_>) -> Option<Neighbour> {
    let body = of_kind(message, RTM_NEWNEIGH)?;
    let family = i32::from(*body.first()?);
    if !matches!(family, libc::AF_INET | libc::AF_INET6)
        || u16_at(body, 8)? & (NUD_INCOMPLETE | NUD_FAILED) != 0
    {
        return None;
    }
    let interface = u32_at(body, 4)?;
    let (mut address, mut mac) = (None, None);
    for (kind, value) in attributes(body.get(NDMSG..)?) {
        match kind {
            NDA_DST => address = ip(value),
            NDA_LLADDR => mac = Mac::try_from(value).ok(),
            _ => {}
        }
    }
    Some(Neighbour { interface, address: address?, mac: mac? })
}

/// The entry of an answer to [`forwarding`], if it leads out of a port of a bridge.
pub(super) fn forwarding_entry(message: &Message<'_>) -> Option<Forwarding> {
    let body = of_kind(message, RTM_NEWNEIGH)?;
    // Permanent ones are the ports' own.
    if i32::from(*body.first()?) != libc::AF_BRIDGE || u16_at(body, 8)? & NUD_PERMANENT != 0 {
        return None;
    }
    let port = u32_at(body, 4)?;
    let (mut bridge, mut mac, mut vlan) = (None, None, 0);
    for (kind, value) in attributes(body.get(NDMSG..)?) {
        match kind {
            NDA_MASTER => bridge = u32_at(value, 0),
            NDA_LLADDR => mac = Mac::try_from(value).ok(),
            NDA_VLAN => vlan = u16_at(value, 0)?,
            _ => {}
        }
    }
    Some(Forwarding { bridge: bridge?, mac: mac?, vlan, port })
}

/// The route of an answer to [`route_to`].
pub(super) fn route(message: &Message<'_>, address: IpAddr) -> Option<Route> {
    let body = of_kind(message, RTM_NEWROUTE)?;
    let (prefix, kind) = (*body.get(1)?, *body.get(7)?);
    let mut interface = None;
    let mut on_link = kind == RTN_UNICAST;
    for (kind, value) in attributes(body.get(RTMSG..)?) {
        match kind {
            RTA_OIF => interface = u32_at(value, 0),
            RTA_GATEWAY | RTA_VIA => on_link = false,
            _ => {}
        }
    }
    Some(Route { interface: interface?, on_link, host: prefix == host_prefix(address) })
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
