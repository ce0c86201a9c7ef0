//! What links have counted, and switching their offloads.

use std::os::fd::AsFd;

use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use serde_json::Value;

use super::ip::ip_json;
use crate::LabError;

/// Counters of an interface, as it counts frames: link header included, checksum not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkCounters {
    /// Interface name.
    pub name: String,
    /// Interface index.
    pub index: u32,
    /// Packets received.
    pub received_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets dropped, either way.
    pub dropped: u64,
}

/// Which offloads a link has. All are on by default, so one packet that a program sees may stand
/// for many on a real wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// TCP segmentation by the (here: imaginary) card.
    pub tcp_segmentation: bool,
    /// Segmentation of other protocols as late as possible.
    pub generic_segmentation: bool,
    /// Merging of received packets.
    pub generic_receive: bool,
}

impl Offloads {
    /// Every packet is one on the wire.
    pub const NONE: Self =
        Self { tcp_segmentation: false, generic_segmentation: false, generic_receive: false };
    /// As links begin.
    pub const ALL: Self =
        Self { tcp_segmentation: true, generic_segmentation: true, generic_receive: true };
}

pub(crate) fn counters(namespace: &str) -> Result<Vec<LinkCounters>, LabError> {
    let answer = ip_json(namespace, &["-s", "link", "show"])?;
    let links = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(links.iter().filter_map(parse_link).collect())
}

fn parse_link(link: &Value) -> Option<LinkCounters> {
    let statistics = &link["stats64"];
    let number = |side: &str, key: &str| statistics[side][key].as_u64();
    Some(LinkCounters {
        name: link["ifname"].as_str()?.to_owned(),
        index: u32::try_from(link["ifindex"].as_u64()?).ok()?,
        received_packets: number("rx", "packets")?,
        received_bytes: number("rx", "bytes")?,
        sent_packets: number("tx", "packets")?,
        sent_bytes: number("tx", "bytes")?,
        dropped: number("rx", "dropped")? + number("tx", "dropped")?,
    })
}

const SIOCETHTOOL: Opcode = 0x8946;
const ETHTOOL_SET_TCP_SEGMENTATION: u32 = 0x1f;
const ETHTOOL_SET_GENERIC_SEGMENTATION: u32 = 0x24;
const ETHTOOL_SET_GENERIC_RECEIVE: u32 = 0x2c;
const INTERFACE_NAME_LEN: usize = 16;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// `struct ifreq` with its pointer member in use.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; INTERFACE_NAME_LEN],
    data: *mut EthtoolValue,
    padding: [u8; 16],
}

/// Acts on the namespace of the calling thread.
pub(crate) fn set_offloads(link: &str, offloads: Offloads) -> Result<(), LabError> {
    let mut name = [0; INTERFACE_NAME_LEN];
    if link.is_empty() || link.len() >= name.len() {
        return Err(LabError::Spec(format!("`{link}` is no interface name")));
    }
    name[..link.len()].copy_from_slice(link.as_bytes());
    let failed = || LabError::io(format!("cannot set the offloads of {link}"));
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed()(error.into()))?;
    for (command, on) in [
        (ETHTOOL_SET_TCP_SEGMENTATION, offloads.tcp_segmentation),
        (ETHTOOL_SET_GENERIC_SEGMENTATION, offloads.generic_segmentation),
        (ETHTOOL_SET_GENERIC_RECEIVE, offloads.generic_receive),
    ] {
        let mut value = EthtoolValue { command, data: u32::from(on) };
        let mut request = InterfaceRequest { name, data: &raw mut value, padding: [0; 16] };
        // SAFETY: SIOCETHTOOL takes a `struct ifreq`, which `InterfaceRequest` is laid out as; its
        // pointer is to a live `struct ethtool_value`, all that these commands read.
        unsafe {
            ioctl(socket.as_fd(), Updater::<SIOCETHTOOL, InterfaceRequest>::new(&mut request))
        }
        .map_err(|error| failed()(error.into()))?;
    }
    Ok(())
}
