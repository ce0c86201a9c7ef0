//! Rows and ledger are what was judged, however small the rings and tables are.

use weir_abi::endpoint::ISOLATED_INGRESS;
use weir_collector::kernel::{DatapathOptions, Scan};
use weir_collector::ledger::{Accounts, Pending, Span};

use crate::fixture::{Fixture, endpoint, options};

/// Rings of one page: 42 events. Tables of a few entries.
fn tiny() -> DatapathOptions {
    let mut options = options();
    (options.ring_bytes, options.deny_ring_bytes) = (4_096, 4_096);
    (options.connections, options.denies) = (256, 128);
    options
}

/// What a collector does with it all.
#[derive(Default)]
struct Books {
    accounts: Accounts,
    ledger: Pending,
    rows: u64,
}

impl Books {
    fn events(&mut self, fixture: &mut Fixture) {
        self.rows += fixture.events().len() as u64;
    }

    fn scan(&mut self, fixture: &mut Fixture) {
        let stats = fixture.stats();
        let scan: Scan = fixture.scan();
        let connections: u64 = scan.connections.iter().map(|delta| delta.count).sum();
        let attempts: u64 = scan.denies.iter().map(|delta| delta.count).sum();
        self.rows += connections + attempts;
        self.accounts.connections += connections;
        self.accounts.attempts += attempts;
        let span = Span { from_ns: 1, to_ns: 2 };
        self.accounts.settle(&stats, &scan, span, &mut self.ledger);
    }

    fn lost(&self, stage: &str, unit: &str) -> u64 {
        let entries = self.ledger.entries().iter();
        let of = entries.filter(|entry| (&*entry.stage, &*entry.unit) == (stage, unit));
        of.map(|entry| entry.count).sum()
    }

    fn check(&self, fixture: &Fixture) {
        let stats = fixture.stats();
        let lost: u64 = ["kernel", "conntrack", "denies"]
            .map(|stage| self.lost(stage, "verdicts"))
            .iter()
            .sum();
        assert_eq!(self.rows + lost, stats.allowed + stats.denied, "{:?}", self.ledger.entries());
    }
}

#[test]
fn denies_that_give_way_are_in_the_ledger_to_the_attempt() {
    let mut fixture = Fixture::with(&tiny(), endpoint(ISOLATED_INGRESS));
    let mut books = Books::default();
    for round in 0..4 {
        // More kinds than there is room for, again and again.
        for attempt in 0..3_000u16 {
            assert!(!fixture.gets_udp(9, 1_000 + attempt.wrapping_mul(7) % 900 + round));
        }
        if round % 2 == 0 {
            books.events(&mut fixture);
        }
        books.scan(&mut fixture);
        // Nothing is in flight between two packets, so the books balance after each scan but for
        // what is in the ring.
        if round % 2 == 0 {
            books.check(&fixture);
        }
    }
    books.events(&mut fixture);
    books.scan(&mut fixture);
    books.check(&fixture);
    assert_eq!(fixture.stats().denied, 12_000);
    assert!(books.lost("denies", "verdicts") > 1_000, "{:?}", books.ledger.entries());
}

#[test]
fn connections_that_give_way_before_their_report_are_in_the_ledger() {
    let mut fixture = Fixture::with(&tiny(), endpoint(0));
    let mut books = Books::default();
    for round in 0..3 {
        for port in 0..2_000 {
            assert!(fixture.sends_udp(1_000 + round * 2_000 + port, 53));
        }
        books.scan(&mut fixture);
        books.events(&mut fixture);
        books.check(&fixture);
    }
    assert_eq!(fixture.stats().allowed, 6_000);
    assert!(books.lost("conntrack", "verdicts") > 3_000, "{:?}", books.ledger.entries());
    assert_eq!(books.lost("conntrack", "connections"), fixture.stats().evicted);
}

#[test]
fn counters_that_are_read_while_packets_come_never_claim_too_much() {
    let mut fixture = Fixture::with(&tiny(), endpoint(ISOLATED_INGRESS));
    let mut books = Books::default();
    let early = fixture.stats();
    for port in 0..50 {
        for _ in 0..3 {
            assert!(!fixture.gets_udp(9, 1_000 + port));
        }
    }
    // As if all packets came between the counters and the tables.
    let mut scan = Scan::default();
    fixture.scanner.scan(&early, &mut scan).unwrap();
    let attempts: u64 = scan.denies.iter().map(|delta| delta.count).sum();
    books.rows += attempts;
    books.accounts.attempts += attempts;
    books.accounts.settle(&early, &scan, Span { from_ns: 1, to_ns: 2 }, &mut books.ledger);
    assert!(attempts > 100 && books.ledger.entries().is_empty());
    books.events(&mut fixture);
    books.scan(&mut fixture);
    books.check(&fixture);
    assert!(books.ledger.entries().is_empty());
}
