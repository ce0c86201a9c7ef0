//! What a packet costs: each way through the programs by `BPF_PROG_TEST_RUN`, next to a program
//! that does nothing. Compare by ratio; the absolute numbers are the machine's.

use std::{fmt, net::Ipv4Addr, time::Duration};

use weir_abi::{
    Address, DIRECTION_EGRESS, PROTOCOL_TCP,
    endpoint::{CIDR_EGRESS, Endpoint, ISOLATED_EGRESS, READY, SubjectView},
    policy::{CIDR_PREFIX_BASE, CidrV4, IDENTITY_FIRST_POD, PEER_CIDR, PolicyKey, PolicyValue},
};

use super::{Datapath, DatapathOptions, Frame, KernelError, KernelMaps, Program};

/// What one way through the program costs.
#[derive(Clone, Debug)]
pub struct PacketCost {
    /// Which way.
    pub what: &'static str,
    /// Nanoseconds a packet.
    pub ns: f64,
    /// How many of them are more than the empty program's.
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
const PEER_IDENTITY: u32 = IDENTITY_FIRST_POD + 1;
const ALLOWED_PORT: u16 = 443;
const DENIED_PORT: u16 = 22;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Where the ports lie in the frame.
const SOURCE_PORT: u32 = 34;
const DESTINATION_PORT: u32 = 36;

/// Entries besides those that are found, so that the maps are as full as a large cluster's.
const IDENTITIES: u32 = 20_000;
const POLICIES: u32 = 20_000;
const CIDRS: u32 = 2_000;
/// Runs of a packet that leaves the tables as they were.
const REPEAT: u32 = 500_000;
/// Runs of a packet that is the first of a connection each time; fewer than there are ports.
const FRESH: u32 = 10_000;
/// The fastest of so many measurements is taken, to leave out what else the machine does.
const ROUNDS: u32 = 5;

/// Measures. Takes a second or two and needs root.
pub fn run() -> Result<Report, KernelError> {
    let mut datapath = Datapath::load(&DatapathOptions::default())?;
    fill(&mut datapath)?;
    let mut reader = datapath.reader()?;
    let mut measure = |program, port, flags, mark, repeat| {
        let mut best = Duration::MAX;
        for round in 0..ROUNDS {
            // Each round brings connections, or kinds of denies, of its own.
            let shift = round as u16 * FRESH as u16;
            let port = if mark == DESTINATION_PORT { port + shift } else { port };
            let bytes = frame(10_000 + shift, port, flags);
            let frame = Frame { bytes: &bytes, mark, ..Frame::default() };
            best = best.min(datapath.test_run(program, frame, repeat)?.duration);
            while reader.read(Duration::ZERO, &mut Vec::new())? > 0 {}
            reader.release();
        }
        Ok::<f64, KernelError>(best.as_nanos() as f64)
    };
    let empty = measure(Program::Empty, ALLOWED_PORT, ACK, 0, REPEAT)?;
    let costs = [
        ("empty program", empty),
        ("established", measure(Program::FromPod, ALLOWED_PORT, ACK, 0, REPEAT)?),
        (
            "new, allowed, with event",
            measure(Program::Fresh, ALLOWED_PORT, SYN, SOURCE_PORT, FRESH)?,
        ),
        (
            "denied, first of its kind, with event",
            measure(Program::Fresh, 1_000, SYN, DESTINATION_PORT, FRESH)?,
        ),
        ("denied, folded", measure(Program::FromPod, DENIED_PORT, SYN, 0, REPEAT)?),
    ];
    let cost = |(what, ns)| PacketCost { what, ns, above_empty_ns: ns - empty };
    Ok(Report(costs.into_iter().map(cost).collect()))
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
    datapath.insert_policies(&policies)?;

    let mut identities: Vec<_> = (0..IDENTITIES)
        .map(|index| (address(Ipv4Addr::from(0x0a80_0000 + index)), IDENTITY_FIRST_POD + 2))
        .collect();
    identities.push((address(PEER), PEER_IDENTITY));
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
            flags: ISOLATED_EGRESS | CIDR_EGRESS,
            isolated_by_egress: 9,
            port_prefixes_egress: 1 << 16,
            ..SubjectView::default()
        },
        audited: SubjectView::default(),
        address_v4: address(POD),
        address_v6: [0; 16],
    };
    datapath.set_endpoint(INTERFACE, &endpoint)
}

fn address(address: Ipv4Addr) -> Address {
    address.to_ipv6_mapped().octets()
}

/// 74 bytes, as a SYN of Linux has.
fn frame(source_port: u16, destination_port: u16, flags: u8) -> Vec<u8> {
    let mut frame = vec![0; 74];
    frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    frame[16..18].copy_from_slice(&60_u16.to_be_bytes());
    frame[22..24].copy_from_slice(&[64, PROTOCOL_TCP]);
    frame[26..30].copy_from_slice(&POD.octets());
    frame[30..34].copy_from_slice(&PEER.octets());
    frame[34..36].copy_from_slice(&source_port.to_be_bytes());
    frame[36..38].copy_from_slice(&destination_port.to_be_bytes());
    frame[46..48].copy_from_slice(&[10 << 4, flags]);
    frame
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| way through the program | ns a packet | above an empty program |")?;
        writeln!(f, "|---|---|---|")?;
        for cost in &self.0 {
            writeln!(f, "| {} | {:.0} | {:.0} |", cost.what, cost.ns, cost.above_empty_ns)?;
        }
        Ok(())
    }
}
