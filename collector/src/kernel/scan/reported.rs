//! What was reported of each entry of the tables, by key and time of the first packet, so that a
//! connection that takes over another one's ports starts anew.

use rustc_hash::FxHashMap;
use weir_abi::conntrack::{Connection, ConnectionKey, Deny, DenyKey, EVENT_SUBMITTED};

use super::{ConnectionDelta, ConnectionState, DenyDelta, Withheld};

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
    /// Since when there is something that this scan holds back, if there is.
    held_since_ns: Option<u64>,
    /// What of it no event has told of.
    withheld: Withheld,
}

#[derive(Clone, Copy)]
struct OfConnection {
    totals: ConnectionTotals,
    /// The connection itself is.
    counted: bool,
    /// Since when there is something that is held back; 0 if there is nothing.
    held_ns: u64,
    /// Scan that saw it last.
    seen: u64,
}

#[derive(Clone, Copy, Default)]
struct OfDeny {
    totals: DenyTotals,
    /// As for connections.
    held_ns: u64,
    seen: u64,
}

impl Reported {
    /// As if scan 0 had seen all this.
    pub(super) fn resume(&mut self, totals: Totals) {
        self.connections = totals
            .connections
            .into_iter()
            .map(|(which, totals)| {
                (which, OfConnection { totals, counted: true, held_ns: 0, seen: 0 })
            })
            .collect();
        self.denies = totals
            .denies
            .into_iter()
            .map(|(which, totals)| (which, OfDeny { totals, held_ns: 0, seen: 0 }))
            .collect();
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            // Of one that is held back and was never told of, the entry itself says so.
            connections: self
                .connections
                .iter()
                .filter(|(_, of)| of.counted)
                .map(|(key, of)| (*key, of.totals))
                .collect(),
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

    /// What is new of a connection, if anything and if it is not held back.
    pub(super) fn connection(
        &mut self,
        look: &Look,
        key: &ConnectionKey,
        value: &Connection,
        closed: bool,
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
            since_ns: look.since(of.held_ns, value.first_ns),
            state: if closed { ConnectionState::Closed } else { ConnectionState::Active },
        };
        of.seen = look.scan;
        let is_news = delta.packets + delta.reply_packets + delta.count > 0;
        if is_news && look.holds_back(delta.since_ns) {
            of.held_ns = delta.since_ns;
            self.held_since_ns = earliest(self.held_since_ns, delta.since_ns);
            self.withheld.connections += delta.count;
            return None;
        }
        (of.totals, of.counted, of.held_ns) = (ConnectionTotals::of(value), true, 0);
        is_news.then_some(delta)
    }

    /// What is new of a kind of deny, if anything and if it is not held back.
    pub(super) fn deny(&mut self, look: &Look, key: &DenyKey, value: &Deny) -> Option<DenyDelta> {
        let which = (*key, value.first_ns);
        let of = self.denies.entry(which).or_default();
        let delta = DenyDelta {
            key: *key,
            value: *value,
            count: value.count.saturating_sub(of.totals.count),
            packets: value.packets.saturating_sub(of.totals.packets),
            bytes: value.bytes.saturating_sub(of.totals.bytes),
            since_ns: look.since(of.held_ns, value.first_ns),
        };
        of.seen = look.scan;
        let is_news = delta.count > 0;
        if is_news && look.holds_back(delta.since_ns) {
            of.held_ns = delta.since_ns;
            self.held_since_ns = earliest(self.held_since_ns, delta.since_ns);
            self.withheld.attempts += delta.count;
            return None;
        }
        (of.totals, of.held_ns) = (DenyTotals::of(value), 0);
        is_news.then_some(delta)
    }

    /// A scan begins. Returns since when there is something that the last one held back, if there
    /// is: then this one has to look at every entry.
    pub(super) fn begin_scan(&mut self) -> Option<u64> {
        self.withheld = Withheld::default();
        self.held_since_ns.take()
    }

    /// What this scan holds back and no event has told of.
    pub(super) fn withheld(&self) -> Withheld {
        self.withheld
    }

    /// Since when there is something that this scan holds back, if there is.
    pub(super) fn held_since_ns(&self) -> Option<u64> {
        self.held_since_ns
    }
}

fn earliest(one: Option<u64>, other: u64) -> Option<u64> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// How a scan looks at an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Number of the scan.
    pub(super) scan: u64,
    /// As of when entries are over.
    pub(super) now_ns: u64,
    /// Begin of the last scan: what there was before is reported, unless it is held back.
    pub(super) since_ns: u64,
    /// How long news may be held back; 0: not at all.
    pub(super) hold_ns: u64,
}

impl Look {
    fn since(&self, held_ns: u64, first_ns: u64) -> u64 {
        if held_ns > 0 { held_ns } else { self.since_ns.max(first_ns) }
    }

    fn holds_back(&self, since_ns: u64) -> bool {
        self.now_ns.saturating_sub(since_ns) < self.hold_ns
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
        Self { totals, counted, held_ns: 0, seen: 0 }
    }
}
