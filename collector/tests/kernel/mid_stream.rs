//! TCP packets from the middle of connections that nobody saw begin.

use std::time::Duration;

use weir_abi::{
    DIRECTION_EGRESS,
    conntrack::MID_STREAM,
    endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS},
};

use crate::{
    fixture::{Fixture, POD, endpoint, options},
    frame::{ACK, SYN, address},
};

fn adopting(flags: u32) -> Fixture {
    let mut options = options();
    options.adopt_for = Duration::from_secs(3_600);
    Fixture::with(&options, endpoint(flags))
}

#[test]
fn the_replies_of_an_older_connection_pass_while_it_may_be_adopted() {
    let mut fixture = adopting(ISOLATED_INGRESS);
    assert!(fixture.gets_tcp(443, 40_000, ACK));
    let event = fixture.event();
    assert_eq!(event.direction, DIRECTION_EGRESS);
    assert_eq!(event.source, address(POD.into()));
    assert_eq!((event.source_port, event.destination_port), (40_000, 443));
    assert_eq!(event.packets, 0, "the packet is the responder's");
    assert!(fixture.sends_tcp(40_000, 443, ACK));
    let delta = fixture.scan().connections[0];
    assert_eq!((delta.packets, delta.reply_packets), (1, 1));
    assert_ne!(delta.value.flags & MID_STREAM, 0);
    // But nobody begins a connection that way, not even under that one's ports.
    assert!(!fixture.gets_tcp(443, 40_000, SYN));
    assert!(!fixture.gets_tcp(443, 40_001, SYN));
    fixture.stats();
}

#[test]
fn nothing_is_adopted_later_or_where_both_ways_are_shut() {
    assert!(!Fixture::new(ISOLATED_INGRESS).gets_tcp(443, 40_000, ACK));
    let mut both = adopting(ISOLATED_INGRESS | ISOLATED_EGRESS);
    assert!(!both.gets_tcp(443, 40_000, ACK));
    let deny = both.event();
    assert_eq!((deny.source_port, deny.destination_port), (443, 40_000));
}

#[test]
fn the_initiators_packets_are_judged_like_its_first() {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    assert!(fixture.sends_tcp(40_000, 443, ACK));
    assert!(fixture.gets_tcp(443, 40_000, ACK));
}
