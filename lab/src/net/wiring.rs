//! The commands that wire a lab: pure text, run by [`super::ip`].
//!
//! Each member hangs on one veth pair: its own end (`eth0`, or `uplink0` of a node) and the end of
//! the node or fabric that forwards for it. Addresses are host addresses (/32, /128); the way out
//! is a gateway that exists only as a permanent neighbour, so nothing is ever resolved
//! and a link that nobody uses is silent.

use std::net::IpAddr;

/// The way out, seen from inside.
const GATEWAY_V4: &str = "169.254.1.1";
const GATEWAY_V6: &str = "fe80::1";
/// The member, seen from the fabric.
const INSIDE_V4: &str = "169.254.1.2";
const INSIDE_V6: &str = "fe80::2";

/// A node's bridge.
pub(crate) const BRIDGE: &str = "br0";
const BRIDGE_MAC: &str = "02:77:02:00:00:01";

/// A veth pair.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// Unique in the lab, at most 2^24.
    pub(crate) id: u32,
    /// Name of the forwarding side's end.
    pub(crate) outer: String,
    /// Name of the member's own end.
    pub(crate) inner: &'static str,
    /// The member's namespace.
    pub(crate) inner_namespace: String,
    /// The member's addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// The outer end is a port of the forwarding side's bridge.
    pub(crate) bridged: bool,
}

impl Wire {
    fn outer_mac(&self) -> String {
        mac(0x00, self.id)
    }

    fn inner_mac(&self) -> String {
        mac(0x01, self.id)
    }

    /// Whether the links need IPv6.
    pub(crate) fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv6)
    }

    /// Run on the forwarding side, before anything else.
    pub(crate) fn create(&self) -> Vec<String> {
        let mut commands = vec![format!(
            "link add dev {} address {} type veth peer name {} address {} netns {}",
            self.outer,
            self.outer_mac(),
            self.inner,
            self.inner_mac(),
            self.inner_namespace,
        )];
        if !self.bridged {
            commands.push(silence(&self.outer));
        }
        commands
    }

    /// Run on the node: the link up as a port of the bridge, and the pod's addresses behind it.
    pub(crate) fn route_bridged(&self) -> Vec<String> {
        let mut commands = vec![format!("link set dev {} master {BRIDGE} up", self.outer)];
        commands.extend(self.addresses.iter().map(|address| reach(*address, BRIDGE)));
        commands
    }

    /// Run in another pod on the same bridge: this one is on its Ethernet.
    pub(crate) fn meet(&self, other: &Self) -> Vec<String> {
        self.addresses_for(other).map(|address| reach(*address, other.inner)).collect()
    }

    /// Run in another pod on the same bridge: this one is no longer there.
    pub(crate) fn part(&self, other: &Self) -> Vec<String> {
        self.addresses_for(other).map(|address| unroute(*address)).collect()
    }

    /// The addresses of families that the other has.
    fn addresses_for(&self, other: &Self) -> impl Iterator<Item = &IpAddr> {
        let ipv6 = other.has_ipv6();
        self.addresses.iter().filter(move |address| address.is_ipv4() || ipv6)
    }

    /// Run on the node: the link up, and the pod's addresses routed straight to it, as host
    /// routes are what a collector finds a pod's veth by.
    pub(crate) fn route_direct(&self) -> Vec<String> {
        let mut commands = vec![format!("link set dev {} up", self.outer)];
        for address in &self.addresses {
            let host = host_route(*address);
            commands.push(format!(
                "neigh replace {address} lladdr {} dev {} nud permanent",
                self.inner_mac(),
                self.outer
            ));
            commands.push(format!("route replace {host} dev {}", self.outer));
        }
        commands
    }

    /// Run on the fabric: the link up, with the member as a gateway for what lies behind it.
    pub(crate) fn gateway(&self) -> Vec<String> {
        let mut commands = vec![
            format!("link set dev {} up", self.outer),
            format!(
                "neigh replace {INSIDE_V4} lladdr {} dev {} nud permanent",
                self.inner_mac(),
                self.outer
            ),
        ];
        commands.push(format!(
            "neigh replace {INSIDE_V6} lladdr {} dev {} nud permanent",
            self.inner_mac(),
            self.outer
        ));
        commands.extend(self.addresses.iter().map(|address| self.route_through(*address)));
        commands
    }

    /// Run on the fabric: this address lies behind the member.
    pub(crate) fn route_through(&self, address: IpAddr) -> String {
        let gateway = if address.is_ipv4() { INSIDE_V4 } else { INSIDE_V6 };
        format!("route replace {} via {gateway} dev {} onlink", host_route(address), self.outer)
    }

    /// Run by the member itself: its addresses, and the way out. `ipv6` as in
    /// [`Wire::has_ipv6`], or because it forwards for others that have it.
    pub(crate) fn member(&self, ipv6: bool) -> Vec<String> {
        let inner = self.inner;
        let mut commands = vec!["link set dev lo up".to_owned()];
        if !self.bridged {
            commands.push(silence(inner));
        } else if ipv6 {
            // Neighbours are asked for from a link-local address.
            commands.push(format!("addr add fe80::{:x}/64 dev {inner} nodad", 0x100 + self.id));
        }
        for address in &self.addresses {
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            commands.push(format!("addr add {} dev {inner}{nodad}", host_route(*address)));
        }
        commands.push(format!("link set dev {inner} up"));
        let mac = if self.bridged { BRIDGE_MAC.to_owned() } else { self.outer_mac() };
        let mut way_out = |everything: &str, gateway: &str, source: Option<&IpAddr>| {
            let source = source.map(|address| format!(" src {address}")).unwrap_or_default();
            commands
                .push(format!("neigh replace {gateway} lladdr {mac} dev {inner} nud permanent"));
            commands
                .push(format!("route add {everything} via {gateway} dev {inner} onlink{source}"));
        };
        way_out("0.0.0.0/0", GATEWAY_V4, self.addresses.iter().find(|address| address.is_ipv4()));
        if ipv6 {
            way_out("::/0", GATEWAY_V6, self.addresses.iter().find(|address| address.is_ipv6()));
        }
        commands
    }
}

/// Run on a node: its bridge.
pub(crate) fn bridge() -> Vec<String> {
    vec![
        format!("link add dev {BRIDGE} address {BRIDGE_MAC} type bridge mcast_snooping 0"),
        format!("link set dev {BRIDGE} up"),
    ]
}

/// Run on a node once its bridge has IPv6.
pub(crate) fn bridge_ipv6() -> String {
    format!("addr add fe80::2/64 dev {BRIDGE} nodad")
}

/// Run on the bridge's node, or in a pod on it: this address is on that link.
fn reach(address: IpAddr, link: &str) -> String {
    format!("route replace {} dev {link}", host_route(address))
}

/// Run on the fabric, or wherever else an address was routed to, when a pod has gone.
pub(crate) fn unroute(address: IpAddr) -> String {
    format!("route del {}", host_route(address))
}

/// Before IPv6 comes to the link: without these flags it reports its multicast groups.
fn silence(link: &str) -> String {
    format!("link set dev {link} arp off multicast off")
}

fn host_route(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => format!("{address}/128"),
    }
}

/// Locally administered, unicast.
fn mac(side: u8, id: u32) -> String {
    let [_, a, b, c] = id.to_be_bytes();
    format!("02:77:{side:02x}:{a:02x}:{b:02x}:{c:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_wired_by_host_routes() {
        let wire = Wire {
            id: 258,
            outer: "veth258".into(),
            inner: "eth0",
            inner_namespace: "ns".into(),
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            bridged: false,
        };
        assert_eq!(
            wire.create()[0],
            "link add dev veth258 address 02:77:00:00:01:02 type veth \
             peer name eth0 address 02:77:01:00:01:02 netns ns"
        );
        let node = wire.route_direct();
        assert!(node.contains(&"route replace 10.0.0.1/32 dev veth258".to_owned()), "{node:?}");
        assert!(node.contains(&"route replace fd00::1/128 dev veth258".to_owned()), "{node:?}");
        let pod = wire.member(true);
        assert!(
            pod.contains(
                &"route add 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink src 10.0.0.1".to_owned()
            ),
            "{pod:?}"
        );
        assert_eq!(
            wire.route_through("fd00::2".parse().unwrap()),
            "route replace fd00::2/128 via fe80::2 dev veth258 onlink"
        );
    }

    #[test]
    fn a_pod_on_a_bridge_is_found_by_its_neighbours() {
        let wire = Wire {
            id: 3,
            outer: "veth3".into(),
            inner: "eth0",
            inner_namespace: "ns".into(),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            bridged: true,
        };
        assert_eq!(
            wire.route_bridged(),
            ["link set dev veth3 master br0 up", "route replace 10.0.0.1/32 dev br0"]
        );
        let other = Wire { addresses: vec!["fd00::1".parse().unwrap()], ..wire.clone() };
        assert_eq!(other.meet(&wire), [""; 0]);
        assert_eq!(wire.part(&other), ["route del 10.0.0.1/32"]);
        assert_eq!(wire.meet(&other), ["route replace 10.0.0.1/32 dev eth0"]);
        assert!(wire.create().iter().chain(&wire.member(false)).all(|line| !line.contains("arp")));
    }
}
