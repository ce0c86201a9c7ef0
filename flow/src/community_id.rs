//! Community ID v1 flow hashing, with seed 0.
//!
//! Source: the Community ID specification, <https://github.com/corelight/community-id-spec>.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// The ports of the specification for a protocol: the real ones, or ICMP type and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Source and destination port of TCP, UDP or SCTP.
    Transport(u16, u16),
    /// ICMP or ICMPv6 type and code.
    Icmp(u8, u8),
    /// The protocol has none.
    None,
}

/// The identifier of a connection, the same from both ends: `1:` and 28 characters of base64.
pub fn community_id(protocol: u8, source: IpAddr, destination: IpAddr, ports: Ports) -> String {
    let (source_port, destination_port, one_way) = match ports {
        Ports::Transport(source, destination) => (Some(source), Some(destination), false),
        Ports::Icmp(kind, code) => {
            let counterpart = icmp_counterpart(protocol, kind);
            let second = counterpart.map_or(u16::from(code), u16::from);
            (Some(u16::from(kind)), Some(second), counterpart.is_none())
        }
        Ports::None => (None, None, false),
    };
    let swap = !one_way && (destination, destination_port) < (source, source_port);
    let (first, second) = if swap {
        ((destination, destination_port), (source, source_port))
    } else {
        ((source, source_port), (destination, destination_port))
    };
    let mut hash = Sha1::new();
    hash.update(0u16.to_be_bytes());
    update_address(&mut hash, first.0);
    update_address(&mut hash, second.0);
    hash.update([protocol, 0]);
    for port in [first.1, second.1].into_iter().flatten() {
        hash.update(port.to_be_bytes());
    }
    format!("1:{}", STANDARD.encode(hash.finalize()))
}

fn update_address(hash: &mut Sha1, address: IpAddr) {
    match address {
        IpAddr::V4(address) => hash.update(address.octets()),
        IpAddr::V6(address) => hash.update(address.octets()),
    }
}

/// The type that answers an ICMP type, for the types that come in pairs.
fn icmp_counterpart(protocol: u8, kind: u8) -> Option<u8> {
    match (protocol, kind) {
        (ICMP, 0) => Some(8),
        (ICMP, 8) => Some(0),
        (ICMP, 9) => Some(10),
        (ICMP, 10) => Some(9),
        (ICMP, 13) => Some(14),
        (ICMP, 14) => Some(13),
        (ICMP, 15) => Some(16),
        (ICMP, 16) => Some(15),
        (ICMP, 17) => Some(18),
        (ICMP, 18) => Some(17),
        (ICMPV6, 128) => Some(129),
        (ICMPV6, 129) => Some(128),
        (ICMPV6, 130) => Some(131),
        (ICMPV6, 131) => Some(130),
        (ICMPV6, 133) => Some(134),
        (ICMPV6, 134) => Some(133),
        (ICMPV6, 135) => Some(136),
        (ICMPV6, 136) => Some(135),
        (ICMPV6, 139) => Some(140),
        (ICMPV6, 140) => Some(139),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(protocol: u8, source: &str, destination: &str, ports: Ports, expected: &str) {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        assert_eq!(community_id(protocol, source, destination, ports), expected);
    }

    /// The baseline of the specification's reference implementation.
    #[test]
    fn matches_the_reference() {
        let tcp = "1:LQU9qZlK+B5F3KDmev6m5PMibrg=";
        check(6, "128.232.110.120", "66.35.250.204", Ports::Transport(34855, 80), tcp);
        check(6, "66.35.250.204", "128.232.110.120", Ports::Transport(80, 34855), tcp);
        let udp = "1:d/FP5EW3wiY1vCndhwleRRKHowQ=";
        check(17, "192.168.1.52", "8.8.8.8", Ports::Transport(54585, 53), udp);
        let echo = "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=";
        check(1, "192.168.0.89", "192.168.0.1", Ports::Icmp(8, 0), echo);
        check(1, "192.168.0.1", "192.168.0.89", Ports::Icmp(0, 0), echo);
    }
}
