//! Turns the counters of the tables into differences.
//!
//! Each packet is reported once: by its event, or by exactly one difference. The table keeps
//! totals; what was reported of them is remembered here, by key and time of the first packet, so
//! that a connection that takes over another one's ports starts anew. Entries that are over are
//! taken out, and what they counted until that very moment is reported with them.

use std::sync::{Arc, atomic::Ordering};

use rustc_hash::FxHashMap;
use weir_abi::conntrack::{ClosedKey, Connection, ConnectionKey, Deny, DenyKey, EVENT_SUBMITTED};

use super::{KernelError, MonotonicClock, Stats, stats::Removals, table::Table};

/// Silence after which a kind of deny is taken out; its next attempt is reported at once.
const DENY_IDLE_NS: u64 = 30_000_000_000;
/// A packet's time may lie this far before its counters can be read.
const SLACK_NS: u64 = 1_000_000_000;
/// Every so many scans what is remembered of entries that gave way to others is forgotten.
const SWEEP_EVERY: u64 = 16;

/// What a connection counted since it was last reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionDelta {
    /// Which one.
    pub key: ConnectionKey,
    /// The entry as it is now, with totals.
    pub value: Connection,
    /// Packets of the initiator.
    pub packets: u64,
    /// Bytes of the initiator.
    pub bytes: u64,
    /// Packets of the responder.
    pub reply_packets: u64,
    /// Bytes of the responder.
    pub reply_bytes: u64,
    /// 1 if no event has told of the connection and this is its first report.
    pub count: u64,
    /// When the time covered begins: the scan before, or the first packet if that is later. No
    /// packet of the difference is older.
    pub since_ns: u64,
    /// How it stands.
    pub state: ConnectionState,
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// It goes on.
    Active,
    /// Both ends have closed it, one has reset it, or it was silent for too long.
    Closed,
}

/// What a kind of denied attempt counted since it was last reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenyDelta {
    /// Which kind.
    pub key: DenyKey,
    /// The entry as it is now, with totals.
    pub value: Deny,
    /// Attempts.
    pub count: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// When the time covered begins: the scan before, or the first attempt if that is later.
    pub since_ns: u64,
}

/// What one scan found. Reused, so that scans do not allocate.
#[derive(Debug, Default)]
pub struct Scan {
    /// Connections with something to report.
    pub connections: Vec<ConnectionDelta>,
    /// Denies with something to report.
    pub denies: Vec<DenyDelta>,
    /// Connections in the table.
    pub connections_present: u64,
    /// Kinds of denies in the table.
    pub denies_present: u64,
}

/// Reads the tables.
pub struct TableScanner {
    conntrack: Table<ConnectionKey, Connection>,
    closed: Table<ClosedKey, Connection>,
    denies: Table<DenyKey, Deny>,
    reported: FxHashMap<(ConnectionKey, u64), Reported>,
    denies_reported: FxHashMap<(DenyKey, u64), DenyReported>,
    removals: Arc<Removals>,
    connections_removed: u64,
    denies_removed: u64,
    scans: u64,
    /// When the scan before this one began.
    previous_ns: u64,
    /// When the one before that began.
    before_previous_ns: u64,
}

#[derive(Clone, Copy)]
struct Reported {
    packets: u64,
    bytes: u64,
    reply_packets: u64,
    reply_bytes: u64,
    /// The connection itself is.
    counted: bool,
    seen: u64,
}

#[derive(Clone, Copy)]
struct DenyReported {
    count: u64,
    packets: u64,
    bytes: u64,
    seen: u64,
}

impl TableScanner {
    pub(super) fn new(
        conntrack: Table<ConnectionKey, Connection>,
        closed: Table<ClosedKey, Connection>,
        denies: Table<DenyKey, Deny>,
        removals: Arc<Removals>,
    ) -> Self {
        Self {
            conntrack,
            closed,
            denies,
            reported: FxHashMap::default(),
            denies_reported: FxHashMap::default(),
            removals,
            connections_removed: 0,
            denies_removed: 0,
            scans: 0,
            previous_ns: 0,
            before_previous_ns: 0,
        }
    }

    /// Replaces what is in `into` by what was counted since the last scan. `stats`, read before
    /// the call, tells how many entries gave way to others.
    pub fn scan(&mut self, stats: &Stats, into: &mut Scan) -> Result<(), KernelError> {
        self.scan_at(MonotonicClock::now_ns(), stats, into)
    }

    /// [`scan`](Self::scan) as if it were `now_ns`, by which entries are over or not.
    pub fn scan_at(
        &mut self,
        now_ns: u64,
        stats: &Stats,
        into: &mut Scan,
    ) -> Result<(), KernelError> {
        let begun_ns = MonotonicClock::now_ns();
        into.connections.clear();
        into.denies.clear();
        self.scans += 1;
        // What has not moved since the last scan has nothing to report; its memory is refreshed
        // only when it is about to be swept.
        let sweep = self.scans.is_multiple_of(SWEEP_EVERY);
        let unmoved = if sweep { 0 } else { self.previous_ns.saturating_sub(SLACK_NS) };
        self.scan_denies(now_ns, unmoved, into)?;
        self.scan_closed(into)?;
        self.scan_connections(now_ns, unmoved, into)?;
        if sweep {
            let oldest = self.scans - 1;
            self.reported.retain(|_, reported| reported.seen >= oldest);
            self.denies_reported.retain(|_, reported| reported.seen >= oldest);
        }
        self.before_previous_ns = std::mem::replace(&mut self.previous_ns, begun_ns);

        let evicted = stats
            .conntrack_inserted
            .saturating_sub(self.connections_removed + into.connections_present);
        self.removals.evicted.fetch_max(evicted, Ordering::Relaxed);
        let evicted = stats.deny_inserted.saturating_sub(self.denies_removed + into.denies_present);
        self.removals.denies_evicted.fetch_max(evicted, Ordering::Relaxed);
        Ok(())
    }

    /// Connections that another one has replaced: their last report.
    fn scan_closed(&mut self, into: &mut Scan) -> Result<(), KernelError> {
        let (reported, scans) = (&mut self.reported, self.scans);
        let removed = &mut self.connections_removed;
        let (previous_ns, before_ns) = (self.previous_ns, self.before_previous_ns);
        self.closed.drain(|key, value| {
            *removed += 1;
            // Replaced while the previous scan went on, it may have been seen by neither part.
            let read = reported.get(&(key.connection, key.first_ns));
            let seen = read.is_some_and(|read| read.seen + 1 == scans);
            let since = if seen { previous_ns } else { before_ns };
            let delta = connection_delta(reported, scans, &key.connection, value, true, since);
            into.connections.extend(delta);
            reported.remove(&(key.connection, key.first_ns));
        })
    }

    fn scan_connections(
        &mut self,
        now_ns: u64,
        unmoved: u64,
        into: &mut Scan,
    ) -> Result<(), KernelError> {
        let (reported, scans, since) = (&mut self.reported, self.scans, self.previous_ns);
        let mut over = Vec::new();
        let mut present = 0;
        self.conntrack.for_each(|key, value| {
            present += 1;
            if now_ns.saturating_sub(value.last_ns) > value.timeout_ns(key.protocol) {
                over.push((*key, value.last_ns));
            } else if value.last_ns >= unmoved {
                let delta = connection_delta(reported, scans, key, value, value.is_closed(), since);
                into.connections.extend(delta);
            }
        })?;
        for (key, last_ns) in over {
            let Some(value) = self.conntrack.take(&key)? else { continue };
            // A packet has come just now: back with it, unless the one after it was quicker.
            if value.last_ns != last_ns && self.conntrack.insert_new(&key, &value)? {
                continue;
            }
            self.connections_removed += 1;
            present -= 1;
            let delta = connection_delta(&mut self.reported, self.scans, &key, &value, true, since);
            into.connections.extend(delta);
            self.reported.remove(&(key, value.first_ns));
        }
        into.connections_present = present;
        Ok(())
    }

    fn scan_denies(
        &mut self,
        now_ns: u64,
        unmoved: u64,
        into: &mut Scan,
    ) -> Result<(), KernelError> {
        let (reported, scans, since) = (&mut self.denies_reported, self.scans, self.previous_ns);
        let mut over = Vec::new();
        let mut present = 0;
        self.denies.for_each(|key, value| {
            present += 1;
            if now_ns.saturating_sub(value.last_ns) > DENY_IDLE_NS {
                over.push(*key);
            } else if value.last_ns >= unmoved {
                into.denies.extend(deny_delta(reported, scans, key, value, since));
            }
        })?;
        for key in over {
            let Some(value) = self.denies.take(&key)? else { continue };
            self.denies_removed += 1;
            present -= 1;
            let delta = deny_delta(&mut self.denies_reported, self.scans, &key, &value, since);
            into.denies.extend(delta);
            self.denies_reported.remove(&(key, value.first_ns));
        }
        into.denies_present = present;
        Ok(())
    }
}

/// What is new of a connection, if anything.
fn connection_delta(
    all: &mut FxHashMap<(ConnectionKey, u64), Reported>,
    scan: u64,
    key: &ConnectionKey,
    value: &Connection,
    closed: bool,
    since_ns: u64,
) -> Option<ConnectionDelta> {
    let reported = all.entry((*key, value.first_ns)).or_insert_with(|| Reported::by_event(value));
    let delta = ConnectionDelta {
        key: *key,
        value: *value,
        packets: value.packets.saturating_sub(reported.packets),
        bytes: value.bytes.saturating_sub(reported.bytes),
        reply_packets: value.reply_packets.saturating_sub(reported.reply_packets),
        reply_bytes: value.reply_bytes.saturating_sub(reported.reply_bytes),
        count: u64::from(!reported.counted),
        since_ns: since_ns.max(value.first_ns),
        state: if closed { ConnectionState::Closed } else { ConnectionState::Active },
    };
    *reported = Reported {
        packets: value.packets,
        bytes: value.bytes,
        reply_packets: value.reply_packets,
        reply_bytes: value.reply_bytes,
        counted: true,
        seen: scan,
    };
    (delta.packets + delta.reply_packets + delta.count > 0).then_some(delta)
}

fn deny_delta(
    all: &mut FxHashMap<(DenyKey, u64), DenyReported>,
    scan: u64,
    key: &DenyKey,
    value: &Deny,
    since_ns: u64,
) -> Option<DenyDelta> {
    let reported =
        all.entry((*key, value.first_ns)).or_insert_with(|| DenyReported::by_event(value));
    let delta = DenyDelta {
        key: *key,
        value: *value,
        count: value.count.saturating_sub(reported.count),
        packets: value.packets.saturating_sub(reported.packets),
        bytes: value.bytes.saturating_sub(reported.bytes),
        since_ns: since_ns.max(value.first_ns),
    };
    *reported =
        DenyReported { count: value.count, packets: value.packets, bytes: value.bytes, seen: scan };
    (delta.count > 0).then_some(delta)
}

impl Reported {
    fn by_event(value: &Connection) -> Self {
        let submitted = value.flags & EVENT_SUBMITTED != 0;
        let (packets, bytes) =
            if submitted { (value.event_packets, value.event_bytes) } else { (0, 0) };
        Self {
            packets: u64::from(packets),
            bytes: u64::from(bytes),
            reply_packets: 0,
            reply_bytes: 0,
            counted: submitted,
            seen: 0,
        }
    }
}

impl DenyReported {
    fn by_event(value: &Deny) -> Self {
        let submitted = value.flags & EVENT_SUBMITTED != 0;
        let (count, packets, bytes) =
            if submitted { (1, value.event_packets, value.event_bytes) } else { (0, 0, 0) };
        Self { count, packets: u64::from(packets), bytes: u64::from(bytes), seen: 0 }
    }
}
