//! The structs that the eBPF programs and the collector share.
//!
//! Everything here is `repr(C)`, has no implicit padding and no invalid bit pattern, so that both
//! sides may read it as plain bytes. Addresses are 16 bytes in network order, IPv4 as IPv4-mapped
//! IPv6 (RFC 4291 §2.5.5.2). Ports and everything else are in host order. Times are nanoseconds of
//! `CLOCK_MONOTONIC`, as `bpf_ktime_get_ns` returns them.
//!
//! | module | what it describes |
//! |---|---|
//! | [`endpoint`] | which interface is which pod, and what isolates it |
//! | [`policy`] | identities, CIDRs and the rules of a subject |
//! | [`conntrack`] | live connections and folded denies |
//! | [`event`] | what the ring buffers carry |
//! | [`stats`] | per-CPU accounting |

#![no_std]

pub mod conntrack;
pub mod endpoint;
pub mod event;
pub mod policy;
pub mod stats;
mod version;

pub use version::{LAYOUT, LAYOUT_VERSION};

/// Direction of a connection or packet as the enforced pod sees it: into the pod.
pub const DIRECTION_INGRESS: u8 = 0;
/// Direction of a connection or packet as the enforced pod sees it: out of the pod.
pub const DIRECTION_EGRESS: u8 = 1;

/// IANA protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// IANA protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IANA protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// IANA protocol number of ICMPv6.
pub const PROTOCOL_ICMPV6: u8 = 58;
/// IANA protocol number of SCTP.
pub const PROTOCOL_SCTP: u8 = 132;

/// An address as the kernel programs hold it.
pub type Address = [u8; 16];

/// Pins a struct's size, alignment and field offsets at compile time: a change that would break
/// the kernel side does not build. What it pins is part of [`LAYOUT`].
macro_rules! layout {
    ($name:ty, size = $size:expr, align = $align:expr, { $($field:ident @ $offset:expr),+ $(,)? }) => {
        const _: () = {
            assert!(core::mem::size_of::<$name>() == $size);
            assert!(core::mem::align_of::<$name>() == $align);
            $(assert!(core::mem::offset_of!($name, $field) == $offset);)+
        };
        impl crate::version::Described for $name {
            const TEXT: &'static str = stringify!($name $size, $align $(, $field $offset)+);
        }
    };
}
pub(crate) use layout;
