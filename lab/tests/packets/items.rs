//! The packets, by what is odd about them.

use weir_abi::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP};

use crate::frame::{ACK, FIN, RST, SYN, V4, echo, extension, fragment_v6, icmp, sctp, v6};
use crate::shot::{Shot, checked};
use crate::stage::{B, From, OUTSIDE};

/// What must become of packets to the allowed port. Those to any other must never arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// They are legal: all arrive.
    Arrive,
    /// They are not, or nobody can tell: all, some or none.
    Whatever,
    /// No policy allows such packets.
    Never,
}

pub(crate) struct Item {
    pub(crate) name: &'static str,
    pub(crate) from: &'static [From],
    /// VLAN tags before them, outermost first.
    pub(crate) tags: &'static [u16],
    pub(crate) allowed: Allowed,
    pub(crate) packets: fn(&Shot) -> Vec<Vec<u8>>,
}

const EVERYWHERE: &[From] = &[From::Pod, From::Outside, From::Wire];
const ROUTED: &[From] = &[From::Pod, From::Outside];
const WIRE: &[From] = &[From::Wire];
const POD: &[From] = &[From::Pod];
const MORE: u16 = 0x2000;

const fn item(
    name: &'static str,
    from: &'static [From],
    allowed: Allowed,
    packets: fn(&Shot) -> Vec<Vec<u8>>,
) -> Item {
    Item { name, from, tags: &[], allowed, packets }
}

const fn tagged(name: &'static str, tags: &'static [u16], allowed: Allowed) -> Item {
    Item { name, from: WIRE, tags, allowed, packets: plain }
}

pub(crate) const ITEMS: &[Item] = &[
    item("plain TCP, UDP and SCTP, both families", EVERYWHERE, Allowed::Arrive, plain),
    item("IP options of every length", EVERYWHERE, Allowed::Arrive, options),
    item("IP options: timestamps, router alert, unknown ones", WIRE, Allowed::Arrive, odd_options),
    item("fragments in order", EVERYWHERE, Allowed::Arrive, |shot| fragments(shot, &[0, 1, 2])),
    item("fragments, each twice", EVERYWHERE, Allowed::Arrive, |shot| {
        fragments(shot, &[0, 0, 1, 1, 2, 2])
    }),
    item("fragments, middle last", EVERYWHERE, Allowed::Arrive, |shot| fragments(shot, &[0, 2, 1])),
    item("fragments, last first", EVERYWHERE, Allowed::Whatever, |shot| {
        fragments(shot, &[2, 1, 0])
    }),
    item("fragments without a first one", EVERYWHERE, Allowed::Whatever, |shot| {
        fragments(shot, &[1, 2])
    }),
    item("first fragment of eight bytes, UDP", EVERYWHERE, Allowed::Arrive, tiny_udp),
    item("first fragment of eight bytes, TCP", EVERYWHERE, Allowed::Whatever, tiny_tcp),
    item("fragment over the TCP header", EVERYWHERE, Allowed::Whatever, over_the_header),
    item("fragments that overlap", EVERYWHERE, Allowed::Arrive, overlapping),
    item("IPv6 first fragment without transport header", WIRE, Allowed::Whatever, headless),
    item("IPv6 fragment header around a whole packet", EVERYWHERE, Allowed::Arrive, atomic),
    item("IPv6 extension headers", EVERYWHERE, Allowed::Arrive, extensions),
    item("IPv6 extension headers, eight", EVERYWHERE, Allowed::Arrive, |shot| chain(shot, 8)),
    item("IPv6 extension headers, nine and more", EVERYWHERE, Allowed::Whatever, |shot| {
        [9, 12, 40].into_iter().flat_map(|count| chain(shot, count)).collect()
    }),
    item("IPv6 headers nobody knows", EVERYWHERE, Allowed::Whatever, unknown_headers),
    tagged("VLAN tag in the frame", &[5], Allowed::Arrive),
    tagged("QinQ tags in the frame", &[5, 6], Allowed::Arrive),
    tagged("three VLAN tags", &[0, 0, 0], Allowed::Whatever),
    Item {
        name: "priority tag from the pod",
        from: POD,
        tags: &[0],
        allowed: Allowed::Arrive,
        packets: plain,
    },
    item("headers cut short", WIRE, Allowed::Whatever, cut_short),
    item("wrong lengths", EVERYWHERE, Allowed::Whatever, wrong_lengths),
    item("jumbograms", EVERYWHERE, Allowed::Whatever, jumbo),
    item("spoofed sources", POD, Allowed::Never, spoofed),
    item("TCP out of nowhere", EVERYWHERE, Allowed::Whatever, out_of_nowhere),
    item("SCTP and echo replies out of nowhere", EVERYWHERE, Allowed::Whatever, replies),
    item("ICMP errors about nothing, or others'", ROUTED, Allowed::Never, errors),
];

fn plain(shot: &Shot) -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = shot
        .transports()
        .iter()
        .flat_map(|(protocol, payload)| shot.both(*protocol, payload))
        .collect();
    let mut init = sctp(shot.source_port(), shot.port, 1);
    init.extend(shot.marks(16));
    packets.extend(shot.both(PROTOCOL_SCTP, &init));
    packets
}

fn options(shot: &Shot) -> Vec<Vec<u8>> {
    let lengths = (1..=10).flat_map(|words| {
        let options = vec![1; words * 4];
        shot.transports().map(|(protocol, payload)| shot.v4_part(protocol, &options, 0, &payload))
    });
    lengths.collect()
}

fn odd_options(shot: &Shot) -> Vec<Vec<u8>> {
    let sets: [&[u8]; 4] = [
        &[0x44, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x94, 4, 0, 0],
        &[0x9e, 8, 1, 2, 3, 4, 5, 6],
        &[0, 0xff, 0xff, 0xff],
    ];
    sets.iter()
        .flat_map(|options| {
            shot.transports()
                .map(|(protocol, payload)| shot.v4_part(protocol, options, 0, &payload))
        })
        .collect()
}

/// A UDP datagram in three pieces, in both families, sent in this order.
fn fragments(shot: &Shot, order: &[usize]) -> Vec<Vec<u8>> {
    let whole = shot.udp(8 * 30);
    let pieces = [&whole[..80], &whole[80..160], &whole[160..]];
    let v4 = order.iter().map(|&piece| {
        let more = if piece < 2 { MORE } else { 0 };
        shot.v4_part(PROTOCOL_UDP, &[], more | (piece as u16 * 10), pieces[piece])
    });
    let v6 = order.iter().map(|&piece| {
        let id = u32::from(shot.number);
        let part = fragment_v6(PROTOCOL_UDP, piece as u16 * 10, piece < 2, id, pieces[piece]);
        shot.v6(44, &part)
    });
    v4.chain(v6).collect()
}

fn tiny_udp(shot: &Shot) -> Vec<Vec<u8>> {
    // The mark does not fit in beside the UDP header.
    let mut whole = shot.udp(64);
    let rest = whole.split_off(8);
    vec![
        shot.v4_part(PROTOCOL_UDP, &pad(&shot.mark()), MORE, &whole),
        shot.v4_part(PROTOCOL_UDP, &[], 1, &rest),
    ]
}

/// An IP option that nobody knows around eight bytes.
fn pad(bytes: &[u8; 8]) -> Vec<u8> {
    let mut options = vec![0x9e, 10];
    options.extend(bytes);
    options.extend([1, 1]);
    options
}

fn tiny_tcp(shot: &Shot) -> Vec<Vec<u8>> {
    let whole = shot.tcp(SYN, 64);
    vec![
        shot.v4_part(PROTOCOL_TCP, &pad(&shot.mark()), MORE, &whole[..8]),
        shot.v4_part(PROTOCOL_TCP, &[], 1, &whole[8..]),
    ]
}

fn over_the_header(shot: &Shot) -> Vec<Vec<u8>> {
    let whole = shot.tcp(ACK, 64);
    let anew = shot.tcp(SYN, 64);
    vec![
        shot.v4_part(PROTOCOL_TCP, &[], MORE, &whole[..40]),
        shot.v4_part(PROTOCOL_TCP, &[], MORE | 1, &anew[8..48]),
        shot.v4_part(PROTOCOL_TCP, &[], MORE | 2, &anew[16..56]),
        shot.v4_part(PROTOCOL_TCP, &[], 5, &whole[40..]),
    ]
}

fn overlapping(shot: &Shot) -> Vec<Vec<u8>> {
    let whole = shot.udp(160);
    vec![
        shot.v4_part(PROTOCOL_UDP, &[], MORE, &whole[..80]),
        shot.v4_part(PROTOCOL_UDP, &[], MORE | 1, &whole[8..88]),
        shot.v4_part(PROTOCOL_UDP, &[], 5, &whole[40..]),
    ]
}

fn headless(shot: &Shot) -> Vec<Vec<u8>> {
    let id = u32::from(shot.number);
    let mut options = extension(PROTOCOL_UDP, 1, &[]);
    options[4..12].copy_from_slice(&shot.mark());
    let transport = shot.udp(16);
    vec![
        shot.v6(44, &fragment_v6(60, 0, true, id, &options)),
        shot.v6(44, &fragment_v6(60, 2, false, id, &transport)),
    ]
}

fn atomic(shot: &Shot) -> Vec<Vec<u8>> {
    shot.transports()
        .iter()
        .map(|(protocol, payload)| {
            shot.v6(44, &fragment_v6(*protocol, 0, false, u32::from(shot.number), payload))
        })
        .collect()
}

fn extensions(shot: &Shot) -> Vec<Vec<u8>> {
    shot.transports()
        .iter()
        .flat_map(|(protocol, payload)| {
            let hop_by_hop = shot.v6(0, &extension(*protocol, 0, payload));
            let destination = shot.v6(60, &extension(*protocol, 3, payload));
            let mut routing = extension(*protocol, 0, payload);
            // A type that nobody uses, with no segments left.
            routing[2] = 253;
            let routing = shot.v6(43, &routing);
            let mut authentication = vec![*protocol, 4];
            authentication.resize(24, 0);
            authentication.extend(payload);
            let authentication = shot.v6(51, &authentication);
            let inner = extension(60, 0, &extension(*protocol, 1, payload));
            // Routers take more padding than seven bytes for an attack.
            let several = shot.v6(0, &extension(60, 0, &inner));
            [hop_by_hop, destination, routing, authentication, several]
        })
        .collect()
}

/// So many destination options.
fn chain(shot: &Shot, count: usize) -> Vec<Vec<u8>> {
    shot.transports()
        .iter()
        .map(|(protocol, payload)| {
            let (mut next, mut bytes) = (*protocol, payload.clone());
            for _ in 0..count {
                bytes = extension(next, 0, &bytes);
                next = 60;
            }
            shot.v6(next, &bytes)
        })
        .collect()
}

fn unknown_headers(shot: &Shot) -> Vec<Vec<u8>> {
    let payload = shot.udp(16);
    [139, 140, 253, 254, 59, 41, 4, 50, 99]
        .into_iter()
        .map(|next| shot.v6(next, &extension(PROTOCOL_UDP, 0, &payload)))
        .collect()
}

fn cut_short(shot: &Shot) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for end in [12, 13, 16, 19] {
        packets.push(shot.v4(PROTOCOL_TCP, &shot.tcp(SYN, 0)[..end]));
        packets.push(shot.v6(PROTOCOL_TCP, &shot.tcp(SYN, 0)[..end]));
    }
    for end in [0, 2, 4, 7] {
        packets.push(shot.v4_part(PROTOCOL_UDP, &pad(&shot.mark()), 0, &shot.udp(0)[..end]));
    }
    packets
}

fn wrong_lengths(shot: &Shot) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for (protocol, payload) in shot.transports() {
        let whole = shot.v4(protocol, &payload);
        // Words of the IP header, version, total length.
        for (at, value) in [(0, 0x44), (0, 0x40), (0, 0x4f), (0, 0x55), (0, 0x05)] {
            let mut packet = whole.clone();
            packet[at] = value;
            packets.push(checked(packet));
        }
        for length in [0_u16, 19, 20, 24, 28, whole.len() as u16 + 1, 0xffff] {
            let mut packet = whole.clone();
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            packets.push(checked(packet));
        }
        let whole = shot.v6(protocol, &payload);
        for length in [0_u16, 4, 8, whole.len() as u16, 0xffff] {
            let mut packet = whole.clone();
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            packets.push(packet);
        }
    }
    for length in [0_u16, 4, 7, 9, 0xffff] {
        let mut datagram = shot.udp(16);
        datagram[4..6].copy_from_slice(&length.to_be_bytes());
        packets.extend(shot.both(PROTOCOL_UDP, &datagram));
    }
    for words in [0, 4, 6, 15] {
        let mut segment = shot.tcp(SYN, 0);
        segment[12] = words << 4;
        packets.extend(shot.both(PROTOCOL_TCP, &segment));
    }
    packets
}

fn jumbo(shot: &Shot) -> Vec<Vec<u8>> {
    shot.transports()
        .iter()
        .map(|(protocol, payload)| {
            // The option says how long the packet is, and the header says 0.
            let mut options = vec![*protocol, 0, 0xc2, 4];
            options.extend(70_000_u32.to_be_bytes());
            options.extend(payload);
            let mut packet = shot.v6(0, &options);
            packet[4..6].fill(0);
            packet
        })
        .collect()
}

fn spoofed(shot: &Shot) -> Vec<Vec<u8>> {
    let other = ("10.244.1.99".parse().unwrap(), "fd00:1::99".parse().unwrap());
    let loopback = ("127.0.0.1".parse().unwrap(), "::1".parse().unwrap());
    [B, OUTSIDE, other, loopback]
        .into_iter()
        .flat_map(|source| plain(&Shot { source, ..*shot }))
        .collect()
}

fn out_of_nowhere(shot: &Shot) -> Vec<Vec<u8>> {
    [SYN | ACK, ACK, RST, RST | ACK, FIN | ACK, FIN, 0, 0x3f, SYN | FIN, SYN | RST]
        .into_iter()
        .flat_map(|flags| shot.both(PROTOCOL_TCP, &shot.tcp(flags, 16)))
        .collect()
}

fn replies(shot: &Shot) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for chunk in [2, 0, 6, 10, 11] {
        let mut bytes = sctp(shot.source_port(), shot.port, chunk);
        bytes.extend(shot.marks(16));
        packets.extend(shot.both(PROTOCOL_SCTP, &bytes));
    }
    if shot.port != crate::stage::OPEN {
        let with_mark = |mut message: Vec<u8>| {
            message.extend(shot.marks(16));
            message
        };
        packets.push(shot.v4(PROTOCOL_ICMP, &with_mark(echo(0, shot.number))));
        packets.push(shot.v4(PROTOCOL_ICMP, &with_mark(echo(8, shot.number))));
        packets.push(shot.v6(PROTOCOL_ICMPV6, &with_mark(echo(129, shot.number))));
        packets.push(shot.v6(PROTOCOL_ICMPV6, &with_mark(echo(128, shot.number))));
    }
    packets
}

fn errors(shot: &Shot) -> Vec<Vec<u8>> {
    let quoted = shot.udp(16);
    let mut packets = Vec::new();
    // What `b` never sent, what others sent, and what is not a packet at all.
    let from_b = V4::new(B.0, OUTSIDE.0, PROTOCOL_UDP).with(&quoted);
    let others = V4::new(OUTSIDE.0, B.0, PROTOCOL_UDP).with(&quoted);
    for about in [from_b, others, shot.marks(64)] {
        for (kind, code) in [(3, 3), (3, 4), (11, 0), (12, 0), (4, 0), (5, 0)] {
            packets.push(shot.v4(PROTOCOL_ICMP, &icmp(kind, code, [0; 4], &about)));
        }
    }
    let from_b = v6(B.1, OUTSIDE.1, PROTOCOL_UDP, &quoted);
    let others = v6(OUTSIDE.1, B.1, PROTOCOL_UDP, &quoted);
    for about in [from_b, others, shot.marks(64)] {
        for kind in 1..=4 {
            packets.push(shot.v6(PROTOCOL_ICMPV6, &icmp(kind, 0, [0, 0, 5, 0], &about)));
        }
    }
    packets
}
