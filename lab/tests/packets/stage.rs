//! Two pods on a node and a host outside. Pod `b` lets in TCP, UDP and SCTP to one port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use weir_abi::endpoint::{ANY_INGRESS, Endpoint, ISOLATED_INGRESS, READY, SubjectView};
use weir_abi::policy::{PEER_ANY, PolicyKey, PolicyValue, port_bit};
use weir_abi::{Address, DIRECTION_INGRESS, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP};
use weir_collector::kernel::{Datapath, DatapathOptions, KernelMaps, Scan, TableScanner};
use weir_lab::{Lab, LabSpec, Place};

use crate::frame;
use crate::raw::Raw;

pub(crate) const A: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 244, 1, 11), Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x11));
pub(crate) const B: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 244, 1, 12), Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x12));
pub(crate) const OUTSIDE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(203, 0, 113, 10), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10));
pub(crate) const OPEN: u16 = 8_080;
pub(crate) const SHUT: u16 = 8_081;
/// How long the wires are silent before everything has come.
const QUIET: Duration = Duration::from_millis(60);

/// Where a frame is sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Pod `a`, through both pods' programs and the node's routing.
    Pod,
    /// The host outside, through the fabric and the node's routing.
    Outside,
    /// The node's end of pod `b`'s link: what no router would forward.
    Wire,
    /// Pod `b` itself.
    Receiver,
}

pub(crate) struct Stage {
    pub(crate) datapath: Datapath,
    scanner: TableScanner,
    ways: Vec<(From, Raw, [u8; 6])>,
    receiver: Raw,
    pub(crate) lab: Lab,
}

impl Stage {
    pub(crate) fn new(connections: u32) -> Self {
        let both = |(v4, v6): (Ipv4Addr, Ipv6Addr)| [IpAddr::V4(v4), IpAddr::V6(v6)];
        let node = ["192.168.77.1", "fd77::1"].map(|address| address.parse().unwrap());
        let spec = LabSpec::default()
            .node("n1", &node)
            .pod("n1", "x/a", &both(A))
            .pod("n1", "x/b", &both(B))
            .host("internet", &both(OUTSIDE));
        let lab = Lab::create(&spec).expect("these tests make network namespaces and need root");
        let options = DatapathOptions {
            connections,
            denies: 4_096,
            policies: 1_024,
            cidrs: 64,
            identities: 64,
            adopt_for: Duration::ZERO,
            ..DatapathOptions::default()
        };
        let links = ["x/a", "x/b"].map(|pod| lab.pod_link(pod).unwrap().to_owned());
        let mut datapath = lab.node("n1").unwrap().enter(|| attach(&options, &links)).unwrap();
        let scanner = datapath.scanner().unwrap();
        let (a, b) = (lab.pod("x/a").unwrap(), lab.pod("x/b").unwrap());
        let outside = lab.host("internet").unwrap();
        let node = lab.node("n1").unwrap();
        let ways = vec![
            way(From::Pod, a, "eth0"),
            way(From::Outside, outside, "eth0"),
            way(From::Wire, node, &links[1]),
            way(From::Receiver, b, "eth0"),
        ];
        let receiver = b.enter(|| Raw::open("eth0")).unwrap();
        let stage = Self { datapath, scanner, ways, receiver, lab };
        // What the links said when they came up.
        stage.arrivals(|_| {});
        stage
    }

    /// Sends a network packet, with VLAN tags before it. False: the sender's kernel refuses.
    pub(crate) fn send(&self, from: From, tags: &[u16], packet: &[u8]) -> bool {
        let (_, raw, to) = self.way(from);
        let mut frame = frame::ethernet(packet);
        frame[..6].copy_from_slice(to);
        raw.send(&frame::tagged(&frame, tags))
    }

    /// Sends a TCP/IPv4 packet as one that is to be cut into segments.
    pub(crate) fn send_segments(&self, from: From, packet: &[u8], segment: u16) {
        let (_, raw, to) = self.way(from);
        let mut frame = frame::ethernet(packet);
        frame[..6].copy_from_slice(to);
        raw.send_segments(&frame, segment);
    }

    /// Every frame that has come to pod `b`.
    pub(crate) fn arrivals(&self, frame: impl FnMut(&[u8])) {
        self.receiver.receive(QUIET, frame);
    }

    /// Looks through the tables, as a collector does all the time.
    pub(crate) fn scan(&mut self) -> weir_collector::kernel::Stats {
        let stats = self.datapath.stats().unwrap();
        self.scanner.scan(&stats, &mut Scan::default()).unwrap();
        let stats = self.datapath.stats().unwrap();
        assert_eq!(stats.imbalance(), None, "{stats:?}");
        stats
    }

    fn way(&self, from: From) -> &(From, Raw, [u8; 6]) {
        self.ways.iter().find(|(way, ..)| *way == from).unwrap()
    }
}

/// A packet socket, and the link address behind the interface.
fn way(from: From, place: &Place, interface: &str) -> (From, Raw, [u8; 6]) {
    let (raw, neighbours) = place
        .enter(|| {
            let output = Command::new("ip").args(["neigh", "show", "dev", interface]).output();
            (Raw::open(interface), String::from_utf8(output.unwrap().stdout).unwrap())
        })
        .unwrap();
    let address = neighbours.split("lladdr ").nth(1).expect("a neighbour").split(' ').next();
    let mut link = [0; 6];
    for (byte, text) in link.iter_mut().zip(address.unwrap().split(':')) {
        *byte = u8::from_str_radix(text, 16).unwrap();
    }
    (from, raw, link)
}

fn attach(options: &DatapathOptions, links: &[String; 2]) -> Datapath {
    let mut datapath = Datapath::load(options).unwrap();
    let address = |ip: IpAddr| -> Address {
        match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        }
    };
    for (number, (link, (v4, v6))) in (1..).zip(links.iter().zip([A, B])) {
        let isolated = (v4, v6) == B;
        let endpoint = Endpoint {
            revision: 1,
            endpoint: number,
            flags: READY,
            enforced: SubjectView {
                subject: number,
                flags: if isolated { ISOLATED_INGRESS | ANY_INGRESS } else { 0 },
                isolated_by_ingress: 9,
                port_prefixes_ingress: 1 << 16,
                ports_ingress: port_bit(OPEN),
                ..SubjectView::default()
            },
            audited: SubjectView::default(),
            address_v4: address(v4.into()),
            address_v6: address(v6.into()),
        };
        for protocol in [PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_SCTP] {
            let key = PolicyKey {
                subject: number,
                peer: PEER_ANY,
                port: OPEN,
                direction: DIRECTION_INGRESS,
                protocol,
                port_prefix: 16,
                reserved: [0; 3],
            };
            let value = PolicyValue { rule_set: 1, ..PolicyValue::NONE };
            datapath.insert_policies(&[(key, value)]).unwrap();
        }
        let name = std::ffi::CString::new(link.as_str()).unwrap();
        // SAFETY: ends with a zero.
        let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
        datapath.set_endpoint(ifindex, &endpoint).unwrap();
        datapath.attach(ifindex).unwrap();
    }
    datapath
}
