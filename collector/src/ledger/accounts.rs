//! The kernel's counters next to what was reported of them.

use super::{Pending, Span, stage, unit, verdict};
use crate::kernel::{Scan, Stats};

/// Sums since the maps began; part of the journal.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Connections that a report of the table told of first.
    pub connections: u64,
    /// Attempts that reports of the table told of.
    pub attempts: u64,
    /// In the ledger: connections whose entry went before any report.
    connections_lost: u64,
    /// In the ledger: attempts whose entry went before their report.
    attempts_lost: u64,
    /// In the ledger: connections whose entry gave way to another.
    evicted: u64,
    /// In the ledger: verdicts without room in ring and table.
    allow_lost: u64,
    /// Likewise, of denies.
    deny_lost: u64,
}

impl Accounts {
    /// For maps of which somebody has reported that nobody knows of: nothing of it counts as lost.
    pub(crate) fn beginning(stats: &Stats, scan: &Scan) -> Self {
        let mut accounts = Self::default();
        let mut unknown = Pending::default();
        // What this scan reports is added by `reported`.
        accounts.settle(stats, scan, Span { from_ns: 0, to_ns: 0 }, &mut unknown);
        let reported = |counted: u64, now: u64, withheld| counted.saturating_sub(now + withheld);
        let connections = scan.connections.iter().map(|delta| delta.count).sum();
        let attempts = scan.denies.iter().map(|delta| delta.count).sum();
        Self {
            connections: reported(
                stats.allow_failed + stats.allow_unannounced,
                connections,
                scan.withheld.connections,
            ),
            attempts: reported(
                stats.deny_failed + stats.deny_folded,
                attempts,
                scan.withheld.attempts,
            ),
            connections_lost: 0,
            attempts_lost: 0,
            ..accounts
        }
    }

    /// A scan is reported as a whole: enters what is missing since the last one. `stats` was read
    /// before the scan began.
    pub fn settle(&mut self, stats: &Stats, scan: &Scan, span: Span, ledger: &mut Pending) {
        let missing = |counted: u64, reported: u64, withheld: u64| {
            counted.saturating_sub(reported.saturating_add(withheld))
        };
        let table = [
            (
                &mut self.connections_lost,
                missing(
                    stats.allow_failed + stats.allow_unannounced,
                    self.connections,
                    scan.withheld.connections,
                ),
                (stage::CONNTRACK, verdict::ALLOW, unit::VERDICTS, "evicted before its report"),
            ),
            (
                &mut self.attempts_lost,
                missing(
                    stats.deny_failed + stats.deny_folded,
                    self.attempts,
                    scan.withheld.attempts,
                ),
                (stage::DENIES, verdict::DENY, unit::VERDICTS, "evicted before its report"),
            ),
            (
                &mut self.evicted,
                scan.evicted,
                (stage::CONNTRACK, verdict::ALLOW, unit::CONNECTIONS, "evicted"),
            ),
            (
                &mut self.allow_lost,
                stats.allow_lost,
                (stage::KERNEL, verdict::ALLOW, unit::VERDICTS, "no room in ring and table"),
            ),
            (
                &mut self.deny_lost,
                stats.deny_table_failed,
                (stage::KERNEL, verdict::DENY, unit::VERDICTS, "no room in ring and table"),
            ),
        ];
        for (entered, now, kind) in table {
            ledger.add(span, kind, now.saturating_sub(*entered));
            *entered = now.max(*entered);
        }
    }

    /// Verdicts in the ledger because of the kernel and its tables.
    #[cfg(test)]
    pub(crate) fn verdicts_lost(&self) -> u64 {
        self.connections_lost + self.attempts_lost + self.allow_lost + self.deny_lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { from_ns: 0, to_ns: 1 };

    fn stats(folded: u64) -> Stats {
        Stats { deny_folded: folded, ..Stats::default() }
    }

    #[test]
    fn what_is_in_flight_is_not_lost_and_what_is_lost_is_entered_once() {
        let (mut accounts, mut ledger) = (Accounts::default(), Pending::default());
        let scan = Scan::default();
        // Folds after the counters were read are in the report already.
        accounts.attempts = 12;
        accounts.settle(&stats(10), &scan, SPAN, &mut ledger);
        assert!(ledger.is_empty());
        // 20 in all, of which 15 are reported.
        accounts.attempts = 15;
        accounts.settle(&stats(20), &scan, SPAN, &mut ledger);
        accounts.settle(&stats(20), &scan, SPAN, &mut ledger);
        assert_eq!((ledger.take()[0].count, accounts.verdicts_lost()), (5, 5));
        accounts.attempts = 40;
        accounts.settle(&stats(41), &scan, SPAN, &mut ledger);
        assert!(ledger.is_empty());
        accounts.settle(&stats(46), &scan, SPAN, &mut ledger);
        assert_eq!((ledger.take()[0].count, accounts.verdicts_lost()), (1, 6));
    }

    #[test]
    fn what_waits_for_its_interval_is_not_lost() {
        let (mut accounts, mut ledger) = (Accounts::default(), Pending::default());
        let mut scan = Scan::default();
        (scan.withheld.attempts, scan.withheld.connections) = (7, 3);
        let stats = Stats { allow_failed: 1, allow_unannounced: 2, ..stats(7) };
        accounts.settle(&stats, &scan, SPAN, &mut ledger);
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_others_reported_before_is_not_lost() {
        let stats = Stats { allow_lost: 3, ..stats(100) };
        let mut ledger = Pending::default();
        let mut accounts = Accounts::beginning(&stats, &Scan::default());
        accounts.settle(&stats, &Scan::default(), SPAN, &mut ledger);
        assert!(ledger.is_empty());
    }
}
