//! What was reported of each entry of the tables, by key and time of the first packet, so that a
//! connection that takes over another one's ports starts anew.

use rustc_hash::FxHashMap;
use weir_abi::conntrack::{Connection, ConnectionKey, Deny, DenyKey, EVENT_SUBMITTED};

use super::{ConnectionDelta, ConnectionState, DenyDelta};

/// All that a connection counted, as far as it was reported.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTotals {
    /// Packets of the initiator.
    pub packets: u64,
    /// Bytes of the initiator.
    pub bytes: u64,
    /// Packets of the responder.
    pub reply_packets: u64,
    /// Bytes of the responder.
    pub reply_bytes: u64,
}

/// All that a kind of denied attempt counted, as far as it was reported.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DenyTotals {
    /// Attempts.
    pub count: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// An entry of a table: its key, and when its first packet came.
pub type Which<K> = (K, u64);

/// What was reported, in a form to keep elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Of connections.
    pub connections: Vec<(Which<ConnectionKey>, ConnectionTotals)>,
    /// Of kinds of denies.
    pub denies: Vec<(Which<DenyKey>, DenyTotals)>,
}

#[derive(Default)]
pub(super) struct Reported {
    connections: FxHashMap<Which<ConnectionKey>, OfConnection>,
    denies: FxHashMap<Which<DenyKey>, OfDeny>,
}

#[derive(Clone, Copy)]
struct OfConnection {
    totals: ConnectionTotals,
    /// The connection itself is.
    counted: bool,
    /// Scan that saw it last.
    seen: u64,
}

#[derive(Clone, Copy, Default)]
struct OfDeny {
    totals: DenyTotals,
    seen: u64,
}

impl Reported {
    /// As if scan 0 had seen all this.
    pub(super) fn resume(&mut self, totals: Totals) {
        self.connections = totals
            .connections
            .into_iter()
            .map(|(which, totals)| (which, OfConnection { totals, counted: true, seen: 0 }))
            .collect();
        self.denies = totals
            .denies
            .into_iter()
            .map(|(which, totals)| (which, OfDeny { totals, seen: 0 }))
            .collect();
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            connections: self.connections.iter().map(|(key, of)| (*key, of.totals)).collect(),
            denies: self.denies.iter().map(|(key, of)| (*key, of.totals)).collect(),
        }
    }

    /// Whether that scan or a later one has seen the connection.
    pub(super) fn seen_since(&self, which: &Which<ConnectionKey>, scan: u64) -> bool {
        self.connections.get(which).is_some_and(|of| of.seen >= scan)
    }

    pub(super) fn forget_connection(&mut self, which: &Which<ConnectionKey>) {
        self.connections.remove(which);
    }

    pub(super) fn forget_deny(&mut self, which: &Which<DenyKey>) {
        self.denies.remove(which);
    }

    /// Forgets what no scan has seen since that one.
    pub(super) fn forget_before(&mut self, scan: u64) {
        self.connections.retain(|_, of| of.seen >= scan);
        self.denies.retain(|_, of| of.seen >= scan);
    }

    /// What is new of a connection, if anything.
    pub(super) fn connection(
        &mut self,
        scan: u64,
        key: &ConnectionKey,
        value: &Connection,
        closed: bool,
        since_ns: u64,
    ) -> Option<ConnectionDelta> {
        let which = (*key, value.first_ns);
        let of = self.connections.entry(which).or_insert_with(|| OfConnection::by_event(value));
        let delta = ConnectionDelta {
            key: *key,
            value: *value,
            packets: value.packets.saturating_sub(of.totals.packets),
            bytes: value.bytes.saturating_sub(of.totals.bytes),
            reply_packets: value.reply_packets.saturating_sub(of.totals.reply_packets),
            reply_bytes: value.reply_bytes.saturating_sub(of.totals.reply_bytes),
            count: u64::from(!of.counted),
            since_ns: since_ns.max(value.first_ns),
            state: if closed { ConnectionState::Closed } else { ConnectionState::Active },
        };
        *of = OfConnection { totals: ConnectionTotals::of(value), counted: true, seen: scan };
        (delta.packets + delta.reply_packets + delta.count > 0).then_some(delta)
    }

    /// What is new of a kind of deny, if anything.
    pub(super) fn deny(
        &mut self,
        scan: u64,
        key: &DenyKey,
        value: &Deny,
        since_ns: u64,
    ) -> Option<DenyDelta> {
        let which = (*key, value.first_ns);
        let of = self.denies.entry(which).or_default();
        let delta = DenyDelta {
            key: *key,
            value: *value,
            count: value.count.saturating_sub(of.totals.count),
            packets: value.packets.saturating_sub(of.totals.packets),
            bytes: value.bytes.saturating_sub(of.totals.bytes),
            since_ns: since_ns.max(value.first_ns),
        };
        *of = OfDeny { totals: DenyTotals::of(value), seen: scan };
        (delta.count > 0).then_some(delta)
    }
}

impl ConnectionTotals {
    /// Everything that the entry has counted.
    pub fn of(value: &Connection) -> Self {
        Self {
            packets: value.packets,
            bytes: value.bytes,
            reply_packets: value.reply_packets,
            reply_bytes: value.reply_bytes,
        }
    }
}

impl DenyTotals {
    /// Everything that the entry has counted.
    pub fn of(value: &Deny) -> Self {
        Self { count: value.count, packets: value.packets, bytes: value.bytes }
    }
}

impl OfConnection {
    fn by_event(value: &Connection) -> Self {
        let counted = value.flags & EVENT_SUBMITTED != 0;
        let mut totals = ConnectionTotals::default();
        if counted {
            totals.packets = value.event_packets.into();
            totals.bytes = value.event_bytes.into();
        }
        Self { totals, counted, seen: 0 }
    }
}
