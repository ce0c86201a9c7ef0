//! A loaded data path with one endpoint on the loopback interface, where test runs are.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use weir_abi::{
    PROTOCOL_TCP, PROTOCOL_UDP,
    endpoint::{
        ANY_EGRESS, ANY_INGRESS, CIDR_EGRESS, CIDR_INGRESS, Endpoint, ISOLATED_EGRESS,
        ISOLATED_INGRESS, READY, SubjectView, TIERS_EGRESS, TIERS_INGRESS,
    },
    event::VerdictEvent,
    policy::{PEER_ANY, PolicyKey, PolicyValue, port_bit},
};
use weir_collector::kernel::{
    Datapath, DatapathOptions, Frame, KernelMaps, Program, RingReader, Scan, Stats, TableScanner,
};

use crate::frame::{V4, address, ethernet, tcp, udp, v6};

pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const POD_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 9);
pub(crate) const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 9);
pub(crate) const ENDPOINT: u32 = 77;
pub(crate) const SUBJECT: u32 = 5;
/// Rule sets that stand for the policies that isolate.
pub(crate) const ISOLATED_BY: [u32; 2] = [901, 902];
/// The loopback interface.
const INTERFACE: u32 = 1;

/// A data path under test.
pub(crate) struct Fixture {
    pub(crate) datapath: Datapath,
    pub(crate) endpoint: Endpoint,
    pub(crate) reader: RingReader,
    pub(crate) scanner: TableScanner,
}

/// Flags that are a [`SubjectView`]'s.
const OF_VIEW: u32 =
    ISOLATED_INGRESS | ISOLATED_EGRESS | CIDR_INGRESS | CIDR_EGRESS | TIERS_INGRESS | TIERS_EGRESS;

/// An endpoint with these flags, its view's and its own, `READY` among them, and no rules.
pub(crate) fn endpoint(flags: u32) -> Endpoint {
    Endpoint {
        revision: 1,
        endpoint: ENDPOINT,
        flags: flags & !OF_VIEW | READY,
        enforced: SubjectView {
            subject: SUBJECT,
            flags: flags & OF_VIEW,
            isolated_by_ingress: ISOLATED_BY[0],
            isolated_by_egress: ISOLATED_BY[1],
            port_prefixes_ingress: 0,
            port_prefixes_egress: 0,
            ports_ingress: 0,
            ports_egress: 0,
        },
        audited: SubjectView::default(),
        address_v4: address(IpAddr::V4(POD)),
        address_v6: address(IpAddr::V6(POD_V6)),
    }
}

/// Small tables, and no adoption of older connections.
pub(crate) fn options() -> DatapathOptions {
    DatapathOptions {
        connections: 4_096,
        denies: 1_024,
        policies: 4_096,
        cidrs: 1_024,
        identities: 1_024,
        ring_bytes: 1 << 20,
        deny_ring_bytes: 1 << 20,
        adopt_for: Duration::ZERO,
        classic: false,
    }
}

impl Fixture {
    /// An endpoint with these flags.
    pub(crate) fn new(flags: u32) -> Self {
        Self::with(&options(), endpoint(flags))
    }

    pub(crate) fn with(options: &DatapathOptions, endpoint: Endpoint) -> Self {
        // SAFETY: asks, changes nothing.
        let root = unsafe { libc::geteuid() } == 0;
        assert!(root, "kernel tests load eBPF programs: run them as root");
        let mut datapath = Datapath::load(options).unwrap_or_else(|error| panic!("{error}"));
        datapath.set_endpoint(INTERFACE, &endpoint).unwrap();
        let reader = datapath.reader().unwrap();
        let scanner = datapath.scanner().unwrap();
        Self { datapath, endpoint, reader, scanner }
    }

    /// Changes the endpoint and puts it in force.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut Endpoint)) {
        change(&mut self.endpoint);
        self.datapath.set_endpoint(INTERFACE, &self.endpoint).unwrap();
    }

    /// A rule, with its prefix length made known to the endpoint.
    pub(crate) fn allow(&mut self, mut key: PolicyKey, rule_set: u32) {
        key.subject = SUBJECT;
        let bit = if key.protocol == 0 { 17 } else { u32::from(key.port_prefix) };
        self.datapath
            .insert_policies(&[(key, PolicyValue { rule_set, ..PolicyValue::NONE })])
            .unwrap();
        let port = if key.port_prefix == 16 { port_bit(key.port) } else { 0 };
        self.update(|endpoint| {
            if key.peer == PEER_ANY {
                endpoint.enforced.flags |= ANY_INGRESS | ANY_EGRESS;
            }
            if key.direction == weir_abi::DIRECTION_INGRESS {
                endpoint.enforced.port_prefixes_ingress |= 1 << bit;
                endpoint.enforced.ports_ingress |= port;
            } else {
                endpoint.enforced.port_prefixes_egress |= 1 << bit;
                endpoint.enforced.ports_egress |= port;
            }
        });
    }

    /// Whose address it is.
    pub(crate) fn identify(&mut self, ip: IpAddr, identity: u32) {
        self.datapath.insert_identities(&[(address(ip), identity)]).unwrap();
    }

    pub(crate) fn run(&mut self, program: Program, frame: Frame<'_>) -> bool {
        self.datapath.test_run(program, frame, 1).unwrap().passed
    }

    /// A frame that the pod sends. True: it may go on.
    pub(crate) fn sends(&mut self, frame: &[u8]) -> bool {
        self.run(Program::FromPod, Frame { bytes: frame, ..Frame::default() })
    }

    /// A frame that is about to reach the pod.
    pub(crate) fn gets(&mut self, frame: &[u8]) -> bool {
        self.run(Program::ToPod, Frame { bytes: frame, ..Frame::default() })
    }

    pub(crate) fn sends_tcp(&mut self, port: u16, to: u16, flags: u8) -> bool {
        self.sends(&ethernet(&out(PROTOCOL_TCP).with(&tcp(port, to, flags, b""))))
    }

    pub(crate) fn gets_tcp(&mut self, port: u16, to: u16, flags: u8) -> bool {
        self.gets(&ethernet(&inward(PROTOCOL_TCP).with(&tcp(port, to, flags, b""))))
    }

    pub(crate) fn sends_udp(&mut self, port: u16, to: u16) -> bool {
        self.sends(&ethernet(&out(PROTOCOL_UDP).with(&udp(port, to, b"weir"))))
    }

    pub(crate) fn gets_udp(&mut self, port: u16, to: u16) -> bool {
        self.gets(&ethernet(&inward(PROTOCOL_UDP).with(&udp(port, to, b"weir"))))
    }

    /// An IPv6 packet that the pod sends to the peer.
    pub(crate) fn sends_v6(&mut self, next: u8, payload: &[u8]) -> bool {
        self.sends(&ethernet(&v6(POD_V6, PEER_V6, next, payload)))
    }

    /// An IPv6 packet of the peer to the pod.
    pub(crate) fn gets_v6(&mut self, next: u8, payload: &[u8]) -> bool {
        self.gets(&ethernet(&v6(PEER_V6, POD_V6, next, payload)))
    }

    /// The events so far.
    pub(crate) fn events(&mut self) -> Vec<VerdictEvent> {
        let mut events = Vec::new();
        while self.reader.read(Duration::ZERO, &mut events).unwrap() > 0 {}
        self.reader.release();
        events
    }

    /// The only event so far.
    pub(crate) fn event(&mut self) -> VerdictEvent {
        let events = self.events();
        assert_eq!(events.len(), 1, "{events:#?}");
        events[0]
    }

    pub(crate) fn scan(&mut self) -> Scan {
        let stats = self.stats();
        let mut scan = Scan::default();
        self.scanner.scan(&stats, &mut scan).unwrap();
        self.scanner.remove_over().unwrap();
        scan
    }

    /// The counters, after proof that they add up.
    pub(crate) fn stats(&self) -> Stats {
        let stats = self.datapath.stats().unwrap();
        assert_eq!(stats.imbalance(), None, "{stats:?}");
        stats
    }
}

/// From the pod to the peer.
pub(crate) fn out(protocol: u8) -> V4 {
    V4::new(POD, PEER, protocol)
}

/// From the peer to the pod.
pub(crate) fn inward(protocol: u8) -> V4 {
    V4::new(PEER, POD, protocol)
}

/// A rule for one port.
pub(crate) fn rule(direction: u8, peer: u32, protocol: u8, port: u16) -> PolicyKey {
    PolicyKey { subject: 0, peer, port, direction, protocol, port_prefix: 16, reserved: [0; 3] }
}
