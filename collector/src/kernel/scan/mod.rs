//! Turns the counters of the tables into differences.
//!
//! Each packet is reported once: by its event, or by exactly one difference. The table keeps
//! totals; what was reported of them is remembered here. Entries that are over are taken out in two
//! steps: a scan reports them, and [`TableScanner::remove_over`], called when that report is safe,
//! takes out those that have not counted on since. What a scan finds may be held back, by endpoint
//! ([`Hold`]): it stays in the table, and is reported with what comes until then. What is over, and
//! what has given its place to another, is not held back. So whoever keeps the reports, with the totals
//! that they name, can go on after this process was killed, see [`TableScanner::resume`].

mod entries;
mod hold;
mod reported;
#[cfg(test)]
mod tests;

use std::sync::{Arc, atomic::Ordering};

use weir_abi::conntrack::{ClosedKey, Connection, ConnectionKey, DENY_IDLE_NS, Deny, DenyKey};

use super::{KernelError, MonotonicClock, Stats, stats::Removals};
pub(crate) use entries::Entries;
use entries::{Removal, remove};
pub use hold::Hold;
pub use reported::{ConnectionTotals, DenyTotals, Totals, Which};
use reported::{Look, Reported};

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
    /// When the time covered begins: the last scan that held nothing of it back, or the first
    /// packet if that is later. No packet of the difference is older.
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
    /// When the time covered begins: as for connections.
    pub since_ns: u64,
}

/// What one scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Connections with something to report.
    pub connections: Vec<ConnectionDelta>,
    /// Denies with something to report.
    pub denies: Vec<DenyDelta>,
    /// Connections in the table that are not over.
    pub connections_present: u64,
    /// Kinds of denies in the table that are not over.
    pub denies_present: u64,
    /// Connections that have given way to others since the maps began.
    pub evicted: u64,
    /// What the tables count, no event has told of and this scan does not report yet. What is in none
    /// of both the ledger takes for lost.
    pub withheld: Withheld,
    /// How to go on after this scan.
    pub mark: ScanMark,
}

/// Reports that are to come later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// Connections whose first report is.
    pub connections: u64,
    /// Denied attempts.
    pub attempts: u64,
}

/// What a scanner has to know, besides [`Totals`], to go on where another one was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanMark {
    /// Nothing unreported was counted before: when the scan began, or since when it holds
    /// something back.
    pub begun_ns: u64,
    /// The same as of the scan before it.
    pub before_ns: u64,
    /// Connections taken out before the scan.
    pub connections_removed: u64,
    /// Kinds of denies taken out before the scan.
    pub denies_removed: u64,
    /// Connections that may be taken out once the scan's report is safe.
    pub over: Vec<Which<ConnectionKey>>,
    /// Replaced connections, likewise.
    pub closed: Vec<ClosedKey>,
    /// Kinds of denies, likewise.
    pub denies_over: Vec<Which<DenyKey>>,
}

/// Reads the tables.
pub struct TableScanner {
    conntrack: Box<dyn Entries<ConnectionKey, Connection>>,
    closed: Box<dyn Entries<ClosedKey, Connection>>,
    denies: Box<dyn Entries<DenyKey, Deny>>,
    reported: Reported,
    over: Over,
    removals: Arc<Removals>,
    connections_removed: u64,
    denies_removed: u64,
    scans: u64,
    /// When the scan before this one began.
    previous_ns: u64,
    /// When the one before that began.
    before_previous_ns: u64,
}

/// Entries that are over, as they were reported.
#[derive(Default)]
struct Over {
    connections: Vec<(ConnectionKey, Connection)>,
    closed: Vec<(ClosedKey, Connection)>,
    denies: Vec<(DenyKey, Deny)>,
    /// Gone already, and not reported yet.
    strays: Vec<(ConnectionKey, Connection)>,
    /// Likewise.
    denies_strays: Vec<(DenyKey, Deny)>,
}

impl TableScanner {
    pub(crate) fn new(
        conntrack: impl Entries<ConnectionKey, Connection> + 'static,
        closed: impl Entries<ClosedKey, Connection> + 'static,
        denies: impl Entries<DenyKey, Deny> + 'static,
        removals: Arc<Removals>,
    ) -> Self {
        Self {
            conntrack: Box::new(conntrack),
            closed: Box::new(closed),
            denies: Box::new(denies),
            reported: Reported::default(),
            over: Over::default(),
            removals,
            connections_removed: 0,
            denies_removed: 0,
            scans: 0,
            previous_ns: 0,
            before_previous_ns: 0,
        }
    }

    /// The kernel's numbers of the tables.
    pub fn map_ids(&self) -> Result<[u32; 3], KernelError> {
        Ok([self.conntrack.id()?, self.closed.id()?, self.denies.id()?])
    }

    /// Goes on where another scanner of these very tables was, after its last safe report.
    pub fn resume(&mut self, totals: Totals, mark: &ScanMark) -> Result<(), KernelError> {
        // What it may have taken out since, and has if it is not there.
        let mut connections = 0;
        for (key, first_ns) in &mark.over {
            let there = self.conntrack.get(key)?;
            connections += u64::from(there.is_none_or(|value| value.first_ns != *first_ns));
        }
        for key in &mark.closed {
            connections += u64::from(self.closed.get(key)?.is_none());
        }
        let mut denies = 0;
        for (key, first_ns) in &mark.denies_over {
            let there = self.denies.get(key)?;
            denies += u64::from(there.is_none_or(|value| value.first_ns != *first_ns));
        }
        self.connections_removed = mark.connections_removed + connections;
        self.denies_removed = mark.denies_removed + denies;
        self.reported.resume(totals);
        // So that the next scan is not the one right after scan 0, which has seen all that.
        self.scans = 1;
        (self.previous_ns, self.before_previous_ns) = (mark.begun_ns, mark.before_ns);
        Ok(())
    }

    /// All that was reported up to and including the last scan.
    pub fn totals(&self) -> Totals {
        self.reported.totals()
    }

    /// Replaces what is in `into` by what was counted since the last scan. `stats`, read before
    /// the call, tells how many entries gave way to others.
    pub fn scan(&mut self, stats: &Stats, into: &mut Scan) -> Result<(), KernelError> {
        self.scan_at(MonotonicClock::now_ns(), stats, into)
    }

    /// [`scan`](Self::scan), but some of it may be held back.
    pub fn scan_holding(
        &mut self,
        hold: &Hold,
        stats: &Stats,
        into: &mut Scan,
    ) -> Result<(), KernelError> {
        self.scan_holding_at(MonotonicClock::now_ns(), hold, stats, into)
    }

    /// [`scan`](Self::scan) as if it were `now_ns`, by which entries are over or not.
    pub fn scan_at(
        &mut self,
        now_ns: u64,
        stats: &Stats,
        into: &mut Scan,
    ) -> Result<(), KernelError> {
        self.scan_holding_at(now_ns, &Hold::default(), stats, into)
    }

    /// [`scan_holding`](Self::scan_holding) as if it were `now_ns`.
    pub(crate) fn scan_holding_at(
        &mut self,
        now_ns: u64,
        hold: &Hold,
        stats: &Stats,
        into: &mut Scan,
    ) -> Result<(), KernelError> {
        self.scan_from(MonotonicClock::now_ns(), now_ns, hold, stats, into)
    }

    fn scan_from(
        &mut self,
        begun_ns: u64,
        now_ns: u64,
        hold: &Hold,
        stats: &Stats,
        into: &mut Scan,
    ) -> Result<(), KernelError> {
        into.connections.clear();
        into.denies.clear();
        self.scans += 1;
        // What has not moved since the last scan has nothing to report, unless that held it back;
        // its memory is refreshed only when it is about to be swept.
        let sweep = self.scans.is_multiple_of(SWEEP_EVERY);
        let held_some = self.reported.begin_scan().is_some();
        let look_at_all = sweep || held_some;
        let unmoved = if look_at_all { 0 } else { self.previous_ns.saturating_sub(SLACK_NS) };
        self.report_strays(into);
        let denies_present = self.scan_denies(now_ns, hold, unmoved, into)?;
        let closed_present = self.scan_closed(into)?;
        let connections_present = self.scan_connections(now_ns, hold, unmoved, into)?;
        if sweep {
            self.reported.forget_before(self.scans - 1);
        }
        self.before_previous_ns = std::mem::replace(&mut self.previous_ns, begun_ns);

        let connections_known = self.connections_removed + closed_present + connections_present;
        let evicted = stats.conntrack_inserted.saturating_sub(connections_known);
        self.removals.evicted(evicted);
        let evicted = stats.deny_inserted.saturating_sub(self.denies_removed + denies_present);
        self.removals.denies_evicted.fetch_max(evicted, Ordering::Relaxed);

        let over = &self.over;
        into.evicted = self.removals.evicted.load(Ordering::Relaxed);
        into.connections_present = connections_present - over.connections.len() as u64;
        into.denies_present = denies_present - over.denies.len() as u64;
        into.withheld = self.reported.withheld();
        // A scanner that goes on from here does not know what this one holds back, only since when.
        let held_ns = self.reported.held_since_ns().unwrap_or(u64::MAX);
        let which = |(key, value): &(ConnectionKey, Connection)| (*key, value.first_ns);
        into.mark = ScanMark {
            begun_ns: begun_ns.min(held_ns),
            before_ns: self.before_previous_ns.min(held_ns),
            connections_removed: self.connections_removed,
            denies_removed: self.denies_removed,
            over: over.connections.iter().map(which).collect(),
            closed: over.closed.iter().map(|(key, _)| *key).collect(),
            denies_over: over.denies.iter().map(|(key, value)| (*key, value.first_ns)).collect(),
        };
        Ok(())
    }

    /// Takes out what the last scan found over, unless it has counted on. Call it when that scan's
    /// report is safe; not calling it does no harm, as the next scan finds the same.
    pub fn remove_over(&mut self) -> Result<(), KernelError> {
        for (key, value) in self.over.connections.drain(..) {
            let removal = remove(&*self.conntrack, &key, &value)?;
            match removal {
                Removal::Stays => continue,
                Removal::Removed => self.reported.forget_connection(&(key, value.first_ns)),
                Removal::Stray(stray) => self.over.strays.push((key, stray)),
            }
            self.connections_removed += 1;
        }
        for (key, value) in self.over.closed.drain(..) {
            // Nothing is put back where only the programs move entries to.
            if self.closed.get(&key)? == Some(value) && self.closed.take(&key)?.is_some() {
                self.connections_removed += 1;
                self.reported.forget_connection(&(key.connection, key.first_ns));
            }
        }
        for (key, value) in self.over.denies.drain(..) {
            match remove(&*self.denies, &key, &value)? {
                Removal::Stays => continue,
                Removal::Removed => self.reported.forget_deny(&(key, value.first_ns)),
                Removal::Stray(stray) => self.over.denies_strays.push((key, stray)),
            }
            self.denies_removed += 1;
        }
        Ok(())
    }

    /// What was gone before it could be reported.
    fn report_strays(&mut self, into: &mut Scan) {
        let look = self.last_look(self.previous_ns);
        for (key, value) in self.over.strays.drain(..) {
            into.connections.extend(self.reported.connection(&look, &key, &value, true));
        }
        for (key, value) in self.over.denies_strays.drain(..) {
            into.denies.extend(self.reported.deny(&look, &key, &value));
        }
    }

    /// Connections that another one has replaced: their last report. Returns how many there are.
    fn scan_closed(&mut self, into: &mut Scan) -> Result<u64, KernelError> {
        let scans = self.scans;
        let looks = [self.previous_ns, self.before_previous_ns].map(|since| self.last_look(since));
        let (reported, over) = (&mut self.reported, &mut self.over.closed);
        over.clear();
        self.closed.for_each(&mut |key, value| {
            // Replaced while the previous scan went on, it may have been seen by neither part.
            let seen = reported.seen_since(&(key.connection, key.first_ns), scans - 1);
            let look = &looks[usize::from(!seen)];
            into.connections.extend(reported.connection(look, &key.connection, value, true));
            over.push((*key, *value));
        })?;
        Ok(over.len() as u64)
    }

    /// Returns how many there are.
    fn scan_connections(
        &mut self,
        now_ns: u64,
        hold: &Hold,
        unmoved: u64,
        into: &mut Scan,
    ) -> Result<u64, KernelError> {
        let last = self.last_look(self.previous_ns);
        let (reported, over) = (&mut self.reported, &mut self.over.connections);
        over.clear();
        let mut present = 0;
        self.conntrack.for_each(&mut |key, value| {
            present += 1;
            let is_over = now_ns.saturating_sub(value.last_ns) > value.timeout_ns(key.protocol);
            if is_over {
                over.push((*key, *value));
            }
            if is_over || value.last_ns >= unmoved {
                let closed = is_over || value.is_closed();
                let hold_ns = if is_over { 0 } else { hold.of(key.endpoint) };
                let look = Look { now_ns, hold_ns, ..last };
                into.connections.extend(reported.connection(&look, key, value, closed));
            }
        })?;
        Ok(present)
    }

    /// Returns how many there are.
    fn scan_denies(
        &mut self,
        now_ns: u64,
        hold: &Hold,
        unmoved: u64,
        into: &mut Scan,
    ) -> Result<u64, KernelError> {
        let last = self.last_look(self.previous_ns);
        let (reported, over) = (&mut self.reported, &mut self.over.denies);
        over.clear();
        let mut present = 0;
        self.denies.for_each(&mut |key, value| {
            present += 1;
            let hold_ns = hold.of(key.endpoint);
            // A kind that comes back within its interval is still the one that was told of.
            let is_over = now_ns.saturating_sub(value.last_ns) > DENY_IDLE_NS.max(hold_ns);
            if is_over {
                over.push((*key, *value));
            }
            if is_over || value.last_ns >= unmoved {
                let hold_ns = if is_over { 0 } else { hold_ns };
                let look = Look { now_ns, hold_ns, ..last };
                into.denies.extend(reported.deny(&look, key, value));
            }
        })?;
        Ok(present)
    }

    /// At what will not be seen again: nothing is held back.
    fn last_look(&self, since_ns: u64) -> Look {
        Look { scan: self.scans, now_ns: 0, since_ns, hold_ns: 0 }
    }
}
