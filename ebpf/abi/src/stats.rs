//! Per-CPU accounting: what the programs did, so that user space can prove nothing is missing.
//!
//! Each packet is in exactly one class, and each verdict has exactly one way to user space:
//!
//! * `PACKETS = NOT_IP + NO_ENDPOINT + EXEMPT + ESTABLISHED + ALLOWED + DENIED`
//! * `ALLOWED = ALLOW_SUBMITTED + ALLOW_UNANNOUNCED + ALLOW_FAILED + ALLOW_LOST`
//! * `DENIED = DENY_SUBMITTED + DENY_FAILED + DENY_FOLDED + DENY_TABLE_FAILED`
//!
//! What is UNANNOUNCED or FAILED is reported from the table instead; only `ALLOW_LOST` and `DENY_TABLE_FAILED` are
//! reported nowhere but here.

/// Packets seen by any program, a GSO packet once.
pub const PACKETS: u32 = 0;
/// Packets of no IP protocol (ARP and the like), passed unjudged.
pub const NOT_IP: u32 = 1;
/// Packets on an interface without an endpoint, passed unjudged.
pub const NO_ENDPOINT: u32 = 2;
/// Packets of a tracked connection.
pub const ESTABLISHED: u32 = 3;
/// New connections allowed (or audited).
pub const ALLOWED: u32 = 4;
/// Packets dropped.
pub const DENIED: u32 = 5;
/// Allow events put into the ring.
pub const ALLOW_SUBMITTED: u32 = 6;
/// Allow events for which the ring had no room; the connection's row comes from the table.
pub const ALLOW_FAILED: u32 = 7;
/// Deny events put into the ring.
pub const DENY_SUBMITTED: u32 = 8;
/// Deny events for which the ring had no room; the count comes from the table.
pub const DENY_FAILED: u32 = 9;
/// Denied packets folded into an entry that was there.
pub const DENY_FOLDED: u32 = 10;
/// Connections that could not be inserted: judged, and reported as new, again at their next packet.
pub const CONNTRACK_FAILED: u32 = 11;
/// Entries inserted into `CONNTRACK`; with user space's removals and the present size, this
/// tells how many were evicted.
pub const CONNTRACK_INSERTED: u32 = 12;
/// Denies that could not be folded or inserted: dropped and counted only here.
pub const DENY_TABLE_FAILED: u32 = 13;
/// Entries inserted into `DENIES`.
pub const DENY_INSERTED: u32 = 14;
/// Packets passed as ICMP errors about a tracked connection; also in ALLOWED or ESTABLISHED.
pub const RELATED: u32 = 15;
/// Later fragments whose first one was not seen.
pub const FRAGMENT_UNKNOWN: u32 = 16;

/// Packets passed without a verdict: IPv6 neighbour discovery and multicast listener reports, and
/// packets that cannot be parsed where no policy isolates the pod.
pub const EXEMPT: u32 = 17;
/// New connections for which neither the ring nor `CONNTRACK` had room.
pub const ALLOW_LOST: u32 = 18;
/// Connections that took over the entry of one that was closed, expired or given up.
pub const REOPENED: u32 = 19;
/// New connections of endpoints that want no events of them; their rows come from the table.
pub const ALLOW_UNANNOUNCED: u32 = 20;

/// How many counters there are. Map `STATS` is a per-CPU array of one element, `[u64; STATS_LEN]`,
/// so that a packet finds all of them by one lookup.
pub const STATS_LEN: u32 = 21;
