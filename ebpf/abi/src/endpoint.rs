//! Which interface belongs to which pod, and what isolates it.

use crate::{Address, layout};

/// Of a [`SubjectView`]: NetworkPolicies select the pod for ingress.
pub const ISOLATED_INGRESS: u32 = 1 << 0;
/// Of a [`SubjectView`]: NetworkPolicies select the pod for egress.
pub const ISOLATED_EGRESS: u32 = 1 << 1;
/// The pod's policy is compiled and in the maps. Without it packets are judged by
/// [`DENY_NOT_READY`] and say `not_ready`.
pub const READY: u32 = 1 << 2;
/// What happens to packets of a pod that is not [`READY`]: denied if set, allowed if not.
pub const DENY_NOT_READY: u32 = 1 << 3;
/// Would-be denies pass and are reported as `audit`.
pub const AUDIT: u32 = 1 << 4;
/// Of a [`SubjectView`]: it has ingress CIDR entries, so the CIDR trie is worth a lookup.
pub const CIDR_INGRESS: u32 = 1 << 5;
/// Of a [`SubjectView`]: it has egress CIDR entries.
pub const CIDR_EGRESS: u32 = 1 << 6;
/// Established connections are judged again when the endpoint's revision changes.
pub const CUT_ESTABLISHED: u32 = 1 << 7;
/// Of a [`SubjectView`]: rules of the admin or baseline tier apply to ingress, so that entries have
/// to be looked up whether NetworkPolicies isolate the pod or not.
pub const TIERS_INGRESS: u32 = 1 << 8;
/// Of a [`SubjectView`]: rules of the admin or baseline tier apply to egress.
pub const TIERS_EGRESS: u32 = 1 << 9;

/// Of a [`SubjectView`]: it has ingress entries for [`crate::policy::PEER_ANY`].
pub const ANY_INGRESS: u32 = 1 << 10;
/// Of a [`SubjectView`]: it has egress entries for [`crate::policy::PEER_ANY`].
pub const ANY_EGRESS: u32 = 1 << 11;
/// Allowed connections make no event: their rows come from the table alone, so that one that begins
/// and ends between two reports is one row.
pub const NO_ALLOW_EVENTS: u32 = 1 << 12;

/// What a set of policies says about a pod, but for the entries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectView {
    /// Whose policy entries apply; 0 if there is none.
    pub subject: u32,
    /// `ISOLATED_…`, `CIDR_…`, `TIERS_…` and `ANY_…`.
    pub flags: u32,
    /// Rule set naming the policies that isolate ingress; 0 if none does.
    pub isolated_by_ingress: u32,
    /// Rule set naming the policies that isolate egress; 0 if none does.
    pub isolated_by_egress: u32,
    /// Bit *n* is set if the subject has entries of port prefix length *n* (0 to 16), bit
    /// [`crate::policy::ANY_PROTOCOL_BIT`] if it has entries for every protocol. Ingress.
    pub port_prefixes_ingress: u32,
    /// The same for egress.
    pub port_prefixes_egress: u32,
    /// [`port_bit`](crate::policy::port_bit) of each single port for which the subject has ingress entries: what it has
    /// none for need not be looked up.
    pub ports_ingress: u64,
    /// The same for egress.
    pub ports_egress: u64,
}

layout!(SubjectView, size = 40, align = 8, {
    subject @ 0, flags @ 4, isolated_by_ingress @ 8, isolated_by_egress @ 12,
    port_prefixes_ingress @ 16, port_prefixes_egress @ 20, ports_ingress @ 24, ports_egress @ 32,
});

/// Who a pod is and what isolates it.
///
/// Replaced as a whole (see [`EndpointSlot`]), so one packet sees one subject, one revision and one set of flags.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Compiled policy set in force.
    pub revision: u64,
    /// Never reused while the maps live, unlike interface indexes.
    pub endpoint: u32,
    /// [`READY`], [`DENY_NOT_READY`], [`AUDIT`], [`CUT_ESTABLISHED`] and [`NO_ALLOW_EVENTS`].
    pub flags: u32,
    /// The policies in force.
    pub enforced: SubjectView,
    /// The same and those that are audited: what they deny beyond `enforced` passes and is reported
    /// as `audit`. Subject 0 if no policy that selects the pod is audited.
    pub audited: SubjectView,
    /// The pod's IPv4 address, IPv4-mapped; all zero if it has none.
    pub address_v4: Address,
    /// The pod's IPv6 address; all zero if it has none.
    pub address_v6: Address,
}

layout!(Endpoint, size = 128, align = 8, {
    revision @ 0, endpoint @ 8, flags @ 12, enforced @ 16, audited @ 56, address_v4 @ 96,
    address_v6 @ 112,
});

/// An endpoint as it is in the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointEntry {
    /// Who it is.
    pub endpoint: Endpoint,
    /// Until then, a TCP packet that opens nothing and belongs to no tracked connection may also
    /// pass as the reply of one that its policy would have allowed: connections older than the
    /// endpoint's enforcement go on.
    pub adopt_until_ns: u64,
}

layout!(EndpointEntry, size = 136, align = 8, { endpoint @ 0, adopt_until_ns @ 128 });

/// Element of map `EPOCH`, in memory that the kernel and user space share: what holds for all
/// endpoints.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// As [`EndpointEntry::adopt_until_ns`]: entries of connections have given way to others, and
    /// those that lost theirs go on.
    pub adopt_until_ns: u64,
    /// One more after each change to endpoints, identities, CIDRs or policy entries.
    pub number: u32,
    /// Reserved, zero.
    pub reserved: u32,
}

layout!(Epoch, size = 16, align = 8, { adopt_until_ns @ 0, number @ 8, reserved @ 12 });

/// Element of map `ENDPOINTS`, an array in memory that the kernel and user space share: every
/// packet needs it, and this is the cheapest there is.
///
/// An interface has the first slot from [`slot_index`] on that was free. User space writes the
/// copy after the current one and then moves `current` on; a packet that is being judged keeps
/// its copy for as many updates as there are copies.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointSlot {
    /// The host-side interface; 0 in a free slot.
    pub ifindex: u32,
    /// Which copy is in force.
    pub current: u32,
    /// The endpoint, now and before.
    pub copies: [EndpointEntry; SLOT_COPIES as usize],
}

layout!(EndpointSlot, size = 552, align = 8, { ifindex @ 0, current @ 4, copies @ 8 });

/// Slots of `ENDPOINTS`; a power of two.
pub const SLOTS: u32 = 4_096;
/// Slots in which an interface may be.
pub const SLOT_PROBES: u32 = 8;
/// Copies in a slot; a power of two.
pub const SLOT_COPIES: u32 = 4;

/// Where to look for an interface, at the `probe`th try.
#[inline(always)]
pub const fn slot_index(ifindex: u32, probe: u32) -> u32 {
    ifindex.wrapping_add(probe) & (SLOTS - 1)
}
