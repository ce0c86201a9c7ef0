//! Ports are found wherever they are, and what cannot be parsed gets past no policy.

use weir_abi::{
    DIRECTION_INGRESS, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, endpoint::ISOLATED_INGRESS,
    event::REASON_INVALID_PACKET, policy::IDENTITY_WORLD,
};
use weir_collector::kernel::{Frame, Program};

use crate::{
    fixture::{Fixture, PEER, PEER_V6, POD_V6, inward, out, rule},
    frame::{ACK, SYN, ethernet, ethernet_of, extension, sctp, tagged, tcp, udp, v6},
};

const OPEN: u16 = 80;
const SHUT: u16 = 81;

/// A pod that lets nothing in but TCP, UDP and SCTP to one port.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new(ISOLATED_INGRESS);
    for protocol in [PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_SCTP] {
        fixture.allow(rule(DIRECTION_INGRESS, IDENTITY_WORLD, protocol, OPEN), 1);
    }
    fixture
}

/// Both frames differ in the port only: one passes, the other does not, and both are reported
/// with their port.
fn check(fixture: &mut Fixture, frame: impl Fn(u16) -> Vec<u8>) {
    fixture.events();
    assert!(fixture.gets(&frame(OPEN)));
    assert!(!fixture.gets(&frame(SHUT)));
    let ports: Vec<u16> = fixture.events().iter().map(|event| event.destination_port).collect();
    // Denies come first.
    assert_eq!(ports, [SHUT, OPEN]);
    fixture.stats();
}

#[test]
fn plain_packets_of_each_protocol() {
    let mut fixture = fixture();
    check(&mut fixture, |port| ethernet(&inward(PROTOCOL_TCP).with(&tcp(9, port, SYN, b""))));
    check(&mut fixture, |port| ethernet(&inward(PROTOCOL_UDP).with(&udp(9, port, b""))));
    check(&mut fixture, |port| ethernet(&inward(PROTOCOL_SCTP).with(&sctp(9, port, 1))));
    check(&mut fixture, |port| {
        ethernet(&v6(PEER_V6, POD_V6, PROTOCOL_TCP, &tcp(9, port, SYN, b"")))
    });
    check(&mut fixture, |port| ethernet(&v6(PEER_V6, POD_V6, PROTOCOL_UDP, &udp(9, port, b"x"))));
    check(&mut fixture, |port| ethernet(&v6(PEER_V6, POD_V6, PROTOCOL_SCTP, &sctp(9, port, 1))));
}

#[test]
fn ipv4_options() {
    let mut fixture = fixture();
    for words in 1..=10_u16 {
        check(&mut fixture, |port| {
            let mut packet = inward(PROTOCOL_TCP);
            packet.options = vec![1; usize::from(words) * 4];
            ethernet(&packet.with(&tcp(100 + words, port, SYN, b"")))
        });
        // Another port of the peer, but the deny is of the same kind: forget it.
        fixture.update(|endpoint| endpoint.revision += 1);
    }
}

#[test]
fn ipv6_extension_headers() {
    let mut fixture = fixture();
    // Hop-by-hop, destination options, routing, destination options again; then TCP.
    check(&mut fixture, |port| {
        let inner = extension(PROTOCOL_TCP, 0, &tcp(9, port, SYN, b""));
        let inner = extension(60, 3, &inner);
        let inner = extension(43, 0, &inner);
        ethernet(&v6(PEER_V6, POD_V6, 0, &extension(60, 1, &inner)))
    });
    fixture.update(|endpoint| endpoint.revision += 1);
    // Authentication: its length counts words of four bytes, less two.
    check(&mut fixture, |port| {
        let mut header = vec![PROTOCOL_UDP, 4];
        header.resize(24, 0);
        header.extend(udp(9, port, b"x"));
        ethernet(&v6(PEER_V6, POD_V6, 51, &header))
    });
}

#[test]
fn vlan_tags() {
    let mut fixture = fixture();
    for tags in [&[5_u16][..], &[5, 6]] {
        check(&mut fixture, |port| {
            let packet = inward(PROTOCOL_TCP).with(&tcp(10 + tags.len() as u16, port, SYN, b""));
            tagged(&ethernet(&packet), tags)
        });
        fixture.update(|endpoint| endpoint.revision += 1);
    }
    // The kernel would strip any number of priority tags and take the packet that is inside.
    let packet = ethernet(&inward(PROTOCOL_TCP).with(&tcp(9, OPEN, SYN, b"")));
    assert!(!fixture.gets(&tagged(&packet, &[0, 0, 0])));
    assert_eq!(fixture.event().reason, REASON_INVALID_PACKET);
}

#[test]
fn what_cannot_be_parsed_passes_only_where_nothing_isolates() {
    let whole = ethernet(&inward(PROTOCOL_TCP).with(&tcp(9, OPEN, SYN, b"")));
    let mut wrong = vec![
        // Ends within the TCP header, within the ports, after the IP header.
        whole[..14 + 20 + 13].to_vec(),
        whole[..14 + 20 + 3].to_vec(),
        whole[..14 + 20].to_vec(),
    ];
    for (offset, value) in [
        // An IP header of four words, IP version 5, a TCP header of four words.
        (14, 0x44),
        (14, 0x55),
        (14 + 20 + 12, 4 << 4),
    ] {
        let mut frame = whole.clone();
        frame[offset] = value;
        wrong.push(frame);
    }
    // An EtherType that is not the version's.
    wrong.push(ethernet_of(0x86dd, &inward(PROTOCOL_TCP).with(&tcp(9, OPEN, SYN, b""))));
    // More extension headers than anybody needs.
    let mut chain = tcp(9, OPEN, SYN, b"");
    let mut next = PROTOCOL_TCP;
    for _ in 0..9 {
        chain = extension(next, 0, &chain);
        next = 60;
    }
    wrong.push(ethernet(&v6(PEER_V6, POD_V6, next, &chain)));

    // An IPv6 packet that would pass for an IPv4 one.
    let mapped = PEER.to_ipv6_mapped();
    wrong.push(ethernet(&v6(mapped, POD_V6, PROTOCOL_TCP, &tcp(9, OPEN, SYN, b""))));
    wrong.push(ethernet(&v6(mapped, POD_V6, PROTOCOL_SCTP, &sctp(9, OPEN, 1))));

    let mut open = Fixture::new(0);
    let mut isolated = fixture();
    for (index, frame) in wrong.iter().enumerate() {
        assert!(open.gets(frame), "frame {index}");
        assert!(!isolated.gets(frame), "frame {index}");
    }
    assert_eq!(open.stats().exempt, wrong.len() as u64);
    assert_eq!(isolated.stats().denied, wrong.len() as u64);
    assert!(isolated.events().iter().all(|event| event.reason == REASON_INVALID_PACKET));
}

#[test]
fn other_protocols_pass_unjudged_if_they_are_not_ip() {
    let mut fixture = fixture();
    assert!(fixture.gets(&ethernet_of(0x0806, &[0; 46])));
    assert!(fixture.sends(&ethernet_of(0x88cc, &[0; 46])));
    assert_eq!(fixture.stats().not_ip, 2);
    // GRE is IP, and nothing allows it.
    assert!(!fixture.gets(&ethernet(&inward(47).with(&[0; 40]))));
    assert_eq!(fixture.event().protocol, 47);
}

#[test]
fn a_gso_packet_counts_as_the_packets_on_the_wire() {
    let mut fixture = Fixture::new(0);
    fixture.sends_tcp(40_000, 443, SYN);
    fixture.scan();
    let headers = 14 + 20 + 20;
    // Three segments of 1,000 bytes and one of 500; once told, once to be worked out.
    let frame = ethernet(&out(PROTOCOL_TCP).with(&tcp(40_000, 443, ACK, &[0; 3_500])));
    for segments in [4, 0] {
        let gso = Frame { bytes: &frame, gso_segments: segments, gso_size: 1_000, mark: 0 };
        assert!(fixture.run(Program::FromPod, gso));
        let delta = fixture.scan().connections[0];
        assert_eq!((delta.packets, delta.bytes), (4, 3_500 + 4 * headers));
    }
    // A new connection may begin with one.
    let frame = ethernet(&out(PROTOCOL_UDP).with(&udp(40_000, 443, &[0; 2_500])));
    fixture.events();
    let gso = Frame { bytes: &frame, gso_segments: 3, gso_size: 1_000, mark: 0 };
    assert!(fixture.run(Program::FromPod, gso));
    let event = fixture.event();
    assert_eq!((event.packets, event.bytes), (3, 2_500 + 3 * (14 + 20 + 8)));
}
