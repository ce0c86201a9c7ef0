//! What a packet costs: each way through the programs by `BPF_PROG_TEST_RUN`, next to a program
//! that does nothing. Compare by ratio; the absolute numbers are the machine's.

pub mod network;

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use weir_abi::{
    Address, DIRECTION_EGRESS, PROTOCOL_TCP,
    endpoint::{CIDR_EGRESS, Endpoint, ISOLATED_EGRESS, READY, SubjectView, TIERS_EGRESS},
    policy::{
        ACTION_DENY, CIDR_PREFIX_BASE, CidrV4, IDENTITY_FIRST_POD, PEER_CIDR, PolicyKey,
        PolicyValue, decision, port_bit,
    },
};

use super::{Datapath, DatapathOptions, Frame, KernelError, KernelMaps, Program};

/// What one way through the program costs, in nanoseconds a packet.
#[derive(Clone, Debug)]
pub struct PacketCost {
    /// Which way.
    pub what: &'static str,
    /// The least of all rounds.
    pub least_ns: f64,
    /// Their median.
    pub median_ns: f64,
    /// The median of how much more it was than the empty program in the same round.
    pub above_empty_ns: f64,
}

/// The costs of all ways. Displays as a table.
#[derive(Clone, Debug)]
pub struct Report(pub Vec<PacketCost>);

/// The loopback interface, where test runs are.
const INTERFACE: u32 = 1;
const SUBJECT: u32 = 1;
const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const POD_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
const PEER_IDENTITY: u32 = IDENTITY_FIRST_POD + 1;
/// Whom the admin tier shuts out.
const FOE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const FOE_IDENTITY: u32 = IDENTITY_FIRST_POD + 3;
const ALLOWED_PORT: u16 = 443;
const DENIED_PORT: u16 = 22;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Where the ports lie in the frame.
const SOURCE_PORT: u32 = 34;
const DESTINATION_PORT: u32 = 36;
const SOURCE_PORT_V6: u32 = 54;

/// Entries besides those that are found, so that the maps are as full as a large cluster's.
const IDENTITIES: u32 = 20_000;
const POLICIES: u32 = 20_000;
const CIDRS: u32 = 2_000;
/// Runs of a packet that leaves the tables as they were.
const REPEAT: u32 = 200_000;
/// Runs of a packet that is the first of its kind each time.
const FRESH: u32 = 5_000;
/// Each way is measured once a round, so that what else the machine does hits all of them. Rounds
/// bring kinds of their own: together fewer than there are ports.
const ROUNDS: u32 = 11;

/// A way through the program.
struct Way {
    what: &'static str,
    program: Program,
    frame: Vec<u8>,
    /// Where the frame has the port that makes each packet the first of its kind; 0 for none.
    fresh: u32,
}

/// Measures. Takes a few seconds and needs root.
pub fn run() -> Result<Report, KernelError> {
    let mut datapath = Datapath::load(&DatapathOptions::default())?;
    fill(&mut datapath)?;
    let mut reader = datapath.reader()?;
    let mut ways = ways();
    let mut rounds = vec![Vec::new(); ways.len()];
    for round in 0..ROUNDS {
        for (way, times) in ways.iter_mut().zip(&mut rounds) {
            let repeat = if way.fresh == 0 { REPEAT } else { FRESH };
            if way.fresh != 0 {
                let at = way.fresh as usize;
                let first = 1_000 + (round * FRESH) as u16;
                way.frame[at..at + 2].copy_from_slice(&first.to_be_bytes());
            }
            let frame = Frame { bytes: &way.frame, mark: way.fresh, ..Frame::default() };
            let run = datapath.test_run(way.program, frame, repeat)?;
            times.push(run.duration.as_nanos() as f64);
            while reader.read(Duration::ZERO, &mut Vec::new())? > 0 {}
            reader.release();
        }
    }
    let empty = rounds[0].clone();
    let cost = |(way, times): (Way, Vec<f64>)| PacketCost {
        what: way.what,
        least_ns: times.iter().copied().fold(f64::INFINITY, f64::min),
        above_empty_ns: median(times.iter().zip(&empty).map(|(all, empty)| all - empty)),
        median_ns: median(times.into_iter()),
    };
    Ok(Report(ways.into_iter().zip(rounds).map(cost).collect()))
}

fn ways() -> Vec<Way> {
    let way = |what, program, frame, fresh| Way { what, program, frame, fresh };
    let (from_pod, fresh) = (Program::FromPod, Program::Fresh);
    let mut fragment = frame(PEER, 11_000, ALLOWED_PORT, ACK);
    fragment[20..22].copy_from_slice(&0x2000_u16.to_be_bytes());
    vec![
        way("empty program", Program::Empty, frame(PEER, 10_000, ALLOWED_PORT, ACK), 0),
        way("established", from_pod, frame(PEER, 10_000, ALLOWED_PORT, ACK), 0),
        way("established, IPv6", from_pod, frame_v6(10_000, ALLOWED_PORT, ACK), 0),
        way("established, first of several fragments", from_pod, fragment, 0),
        way("new, allowed, with event", fresh, frame(PEER, 0, ALLOWED_PORT, SYN), SOURCE_PORT),
        way(
            "new, allowed, with event, IPv6",
            fresh,
            frame_v6(0, ALLOWED_PORT, SYN),
            SOURCE_PORT_V6,
        ),
        way(
            "denied, first of its kind, with event",
            fresh,
            frame(PEER, 10_000, 0, SYN),
            DESTINATION_PORT,
        ),
        way(
            "denied, second of its kind, into the table",
            fresh,
            frame(PEER, 10_001, 0, SYN),
            DESTINATION_PORT,
        ),
        way(
            "denied by the admin tier, first of its kind, with event",
            fresh,
            frame(FOE, 10_000, 0, SYN),
            DESTINATION_PORT,
        ),
        way("denied, folded", from_pod, frame(PEER, 10_000, DENIED_PORT, SYN), 0),
        way("denied by the admin tier, folded", from_pod, frame(FOE, 10_000, DENIED_PORT, SYN), 0),
    ]
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// An endpoint whose policy lets it reach one port of some pods, among many other rules.
fn fill(datapath: &mut Datapath) -> Result<(), KernelError> {
    let rule = |subject, peer, port| {
        let key = PolicyKey {
            subject,
            peer,
            port,
            direction: DIRECTION_EGRESS,
            protocol: PROTOCOL_TCP,
            port_prefix: 16,
            reserved: [0; 3],
        };
        (key, PolicyValue { rule_set: 1, ..PolicyValue::NONE })
    };
    let mut policies: Vec<_> =
        (0..POLICIES).map(|index| rule(2 + index / 200, index % 200, 80)).collect();
    policies.push(rule(SUBJECT, PEER_IDENTITY, ALLOWED_PORT));
    let (every_port, _) = rule(SUBJECT, FOE_IDENTITY, 0);
    policies.push((
        PolicyKey { port_prefix: 0, ..every_port },
        PolicyValue { admin: decision(0, ACTION_DENY), admin_rule_set: 2, ..PolicyValue::NONE },
    ));
    datapath.insert_policies(&policies)?;

    let mut identities: Vec<_> = (0..IDENTITIES)
        .map(|index| (address(Ipv4Addr::from(0x0a80_0000 + index)), IDENTITY_FIRST_POD + 2))
        .collect();
    identities.extend([
        (address(PEER), PEER_IDENTITY),
        (PEER_V6.octets(), PEER_IDENTITY),
        (address(FOE), FOE_IDENTITY),
    ]);
    datapath.insert_identities(&identities)?;

    let direction = u32::from(DIRECTION_EGRESS);
    let cidrs: Vec<_> = (0..CIDRS)
        .map(|index| {
            let address = (0xc0a8_0000 + (index << 4)).to_be_bytes();
            let cidr = CidrV4 { subject: SUBJECT, direction, address };
            (CIDR_PREFIX_BASE + 28, cidr, PEER_CIDR | index)
        })
        .collect();
    datapath.insert_cidrs_v4(&cidrs)?;

    let endpoint = Endpoint {
        revision: 1,
        endpoint: 1,
        flags: READY,
        enforced: SubjectView {
            subject: SUBJECT,
            flags: ISOLATED_EGRESS | CIDR_EGRESS | TIERS_EGRESS,
            isolated_by_egress: 9,
            port_prefixes_egress: 1 << 16 | 1,
            ports_egress: port_bit(80) | port_bit(ALLOWED_PORT),
            ..SubjectView::default()
        },
        audited: SubjectView::default(),
        address_v4: address(POD),
        address_v6: POD_V6.octets(),
    };
    datapath.set_endpoint(INTERFACE, &endpoint)
}

fn address(address: Ipv4Addr) -> Address {
    address.to_ipv6_mapped().octets()
}

/// 74 bytes, as a SYN of Linux has.
fn frame(to: Ipv4Addr, source_port: u16, destination_port: u16, flags: u8) -> Vec<u8> {
    let mut frame = vec![0; 74];
    frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    frame[16..18].copy_from_slice(&60_u16.to_be_bytes());
    frame[22..24].copy_from_slice(&[64, PROTOCOL_TCP]);
    frame[26..30].copy_from_slice(&POD.octets());
    frame[30..34].copy_from_slice(&to.octets());
    frame[34..36].copy_from_slice(&source_port.to_be_bytes());
    frame[36..38].copy_from_slice(&destination_port.to_be_bytes());
    frame[46..48].copy_from_slice(&[10 << 4, flags]);
    frame
}

/// The same over IPv6: 94 bytes.
fn frame_v6(source_port: u16, destination_port: u16, flags: u8) -> Vec<u8> {
    let mut frame = vec![0; 94];
    frame[12..16].copy_from_slice(&[0x86, 0xdd, 0x60, 0x00]);
    frame[18..22].copy_from_slice(&[0, 40, PROTOCOL_TCP, 64]);
    frame[22..38].copy_from_slice(&POD_V6.octets());
    frame[38..54].copy_from_slice(&PEER_V6.octets());
    frame[54..56].copy_from_slice(&source_port.to_be_bytes());
    frame[56..58].copy_from_slice(&destination_port.to_be_bytes());
    frame[66..68].copy_from_slice(&[10 << 4, flags]);
    frame
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| way through the program | least ns a packet | median | above empty |")?;
        writeln!(f, "|---|--:|--:|--:|")?;
        for cost in &self.0 {
            let PacketCost { what, least_ns, median_ns, above_empty_ns } = cost;
            writeln!(f, "| {what} | {least_ns:.0} | {median_ns:.0} | {above_empty_ns:.0} |")?;
        }
        Ok(())
    }
}
