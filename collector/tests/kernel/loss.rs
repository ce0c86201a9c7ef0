//! Nothing is lost when there is no room, and what gives way is counted.

use weir_abi::{
    PROTOCOL_UDP,
    conntrack::{EVENT_SUBMITTED, TIMEOUT_TCP_CLOSED_NS, TIMEOUT_UNREPLIED_NS},
    endpoint::{ISOLATED_INGRESS, NO_ALLOW_EVENTS},
};
use weir_collector::kernel::{ConnectionState, MonotonicClock, Scan};

use crate::{
    fixture::{Fixture, endpoint, options},
    frame::{RST, SYN},
};

/// Rings of one page: 42 events.
fn tight(flags: u32) -> Fixture {
    let mut options = options();
    options.ring_bytes = 4_096;
    options.deny_ring_bytes = 4_096;
    Fixture::with(&options, endpoint(flags))
}

#[test]
fn connections_without_room_in_the_ring_are_reported_from_the_table() {
    let mut fixture = tight(0);
    for port in 0..500 {
        assert!(fixture.sends_udp(1_000 + port, 53));
    }
    let stats = fixture.stats();
    assert_eq!(stats.allowed, 500);
    assert!(stats.allow_failed > 400, "{stats:?}");
    let events = fixture.events().len() as u64;
    assert_eq!(events, stats.allow_submitted);
    let scan = fixture.scan();
    let counted: u64 = scan.connections.iter().map(|delta| delta.count).sum();
    let packets: u64 = scan.connections.iter().map(|delta| delta.packets).sum();
    assert_eq!(events + counted, 500);
    assert_eq!(events + packets, 500);
    assert!(scan.connections.iter().all(|delta| delta.value.flags & EVENT_SUBMITTED == 0));
    assert!(fixture.scan().connections.is_empty());
}

#[test]
fn denies_without_room_in_the_ring_are_reported_from_the_table() {
    let mut fixture = tight(ISOLATED_INGRESS);
    for port in 0..300 {
        for _ in 0..2 {
            assert!(!fixture.gets_udp(9, 1_000 + port));
        }
    }
    let stats = fixture.stats();
    assert!(stats.deny_failed > 200, "{stats:?}");
    let events = fixture.events().len() as u64;
    let counted: u64 = fixture.scan().denies.iter().map(|delta| delta.count).sum();
    assert_eq!(events + counted, 600);
    // A flood of denies leaves the other ring alone.
    assert!(fixture.sends_udp(9, 53));
    assert_eq!(fixture.event().destination_port, 53);
}

#[test]
fn a_flood_of_denies_evicts_no_connection() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    assert!(fixture.sends_udp(40_000, 53));
    for port in 0..5_000 {
        assert!(!fixture.gets_udp(9, 1_000 + port));
        assert!(!fixture.gets_udp(9, 1_000 + port));
    }
    assert!(fixture.gets_udp(53, 40_000));
    fixture.scan();
    let stats = fixture.stats();
    assert_eq!(stats.evicted, 0);
    assert!(stats.denies_evicted > 3_000, "{stats:?}");
    assert_eq!(stats.denied, 10_000);
}

#[test]
fn connections_that_give_way_are_counted() {
    let mut fixture = Fixture::new(0);
    for port in 0..10_000 {
        assert!(fixture.sends_udp(1_000 + port, 53));
    }
    let present = fixture.scan().connections_present;
    let stats = fixture.stats();
    assert_eq!(stats.conntrack_inserted, 10_000);
    assert_eq!(stats.evicted, 10_000 - present);
}

#[test]
fn what_is_over_is_taken_out_with_its_last_word() {
    let mut fixture = Fixture::new(0);
    fixture.sends_udp(40_000, 53);
    fixture.sends_udp(40_000, 53);
    fixture.sends_tcp(40_000, 80, SYN);
    fixture.gets_tcp(80, 40_000, RST);
    let stats = fixture.stats();
    let now = MonotonicClock::now_ns();
    let mut scan = Scan::default();
    // After the reset one's time, and before the silent one's.
    fixture.scanner.scan_at(now + TIMEOUT_TCP_CLOSED_NS + 1, &stats, &mut scan).unwrap();
    fixture.scanner.remove_over().unwrap();
    assert_eq!((scan.connections.len(), scan.connections_present), (2, 1));
    for delta in &scan.connections {
        let closed = delta.key.protocol != PROTOCOL_UDP;
        assert_eq!(delta.state == ConnectionState::Closed, closed);
    }
    fixture.sends_udp(40_000, 53);
    let now = MonotonicClock::now_ns();
    fixture.scanner.scan_at(now + TIMEOUT_UNREPLIED_NS + 1, &stats, &mut scan).unwrap();
    fixture.scanner.remove_over().unwrap();
    assert_eq!((scan.connections.len(), scan.connections_present), (1, 0));
    assert_eq!(scan.connections[0].packets, 1);
    assert_eq!(scan.connections[0].state, ConnectionState::Closed);
    // Neither counts as having given way.
    fixture.scan();
    assert_eq!(fixture.stats().evicted, 0);
    fixture.events();
    fixture.sends_udp(40_000, 53);
    assert_eq!(fixture.event().packets, 1);
}

#[test]
fn a_deny_that_was_silent_is_reported_at_once_again() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    for _ in 0..3 {
        assert!(!fixture.gets_udp(9, 53));
    }
    fixture.events();
    let stats = fixture.stats();
    let mut scan = Scan::default();
    let later = MonotonicClock::now_ns() + 31_000_000_000;
    fixture.scanner.scan_at(later, &stats, &mut scan).unwrap();
    fixture.scanner.remove_over().unwrap();
    assert_eq!((scan.denies[0].count, scan.denies_present), (2, 0));
    assert!(!fixture.gets_udp(9, 53));
    assert_eq!(fixture.event().packets, 1);
}

/// Their rows come from the table alone, also of those that were begun before and after.
#[test]
fn connections_that_are_not_announced_are_reported_from_the_table() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    fixture.sends_udp(1_000, 53);
    fixture.update(|endpoint| endpoint.flags |= NO_ALLOW_EVENTS);
    fixture.sends_udp(1_000, 53);
    for port in 1..10 {
        assert!(fixture.sends_udp(1_000 + port, 53));
    }
    // A deny is told of at once all the same.
    assert!(!fixture.gets_udp(9, 53));
    fixture.update(|endpoint| endpoint.flags &= !NO_ALLOW_EVENTS);
    assert!(fixture.sends_udp(1_010, 53));
    let stats = fixture.stats();
    let ways = (stats.allow_submitted, stats.allow_unannounced, stats.deny_submitted);
    assert_eq!((ways, stats.allow_lost), ((2, 9, 1), 0));
    assert_eq!(fixture.events().len(), 3);
    let scan = fixture.scan();
    let counted: u64 = scan.connections.iter().map(|delta| delta.count).sum();
    let packets: u64 = scan.connections.iter().map(|delta| delta.packets).sum();
    assert_eq!((counted, packets), (9, 10));
}
