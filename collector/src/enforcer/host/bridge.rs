//! Behind which port of a bridge an address is.
//!
//! Three sources, the best one first, and none of them makes a packet:
//! 1. the addresses of the other ends of the bridge's veths. They are there as soon as the pod has
//!    its address, and a pod needs more than the right to send what it likes to change them;
//! 2. the neighbour table, which has the address's MAC, and the forwarding table, which has the
//!    MAC's port. Both fill as the pod speaks and forget it when it is silent;
//! 3. where the address was found last, while that is still a port of the bridge.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::IpAddr;

use super::Links;
use crate::netlink::{Forwarding, Mac, Neighbour, Netlink};

/// A bridge, and in which of its VLANs one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Index of the bridge.
    pub(super) bridge: u32,
    /// `None`: in none, or in the one that ports are in without tags.
    pub(super) vlan: Option<u16>,
}

/// The bridge that an interface is, or is on top of for one VLAN.
pub(super) fn behind(links: &Links, interface: u32) -> Option<Way> {
    let link = links.get(&interface)?;
    if link.kind == "bridge" {
        return Some(Way { bridge: interface, vlan: None });
    }
    let (vlan, lower) = (link.vlan?, link.lower?);
    let is_bridge = link.lower_namespace.is_none() && links.get(&lower)?.kind == "bridge";
    is_bridge.then_some(Way { bridge: lower, vlan: Some(vlan) })
}

/// What the kernel knows of bridges' ports and neighbours.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Ports whose other end has the address.
    inside: HashMap<IpAddr, BTreeSet<u32>>,
    neighbours: HashMap<(u32, IpAddr), Mac>,
    forwarding: HashMap<(u32, Mac), Vec<(u16, u32)>>,
}

impl Tables {
    /// Reads them, for the ports of these bridges.
    pub(super) fn read(
        netlink: &mut Netlink,
        links: &Links,
        bridges: &HashSet<u32>,
    ) -> io::Result<Self> {
        let mut tables = Self::default();
        let mut ends: HashMap<u32, HashMap<u32, u32>> = HashMap::new();
        for (index, link) in links {
            let port = link.kind == "veth" && link.master.is_some_and(|m| bridges.contains(&m));
            if let (true, Some(end), Some(namespace)) = (port, link.lower, link.lower_namespace) {
                ends.entry(namespace).or_default().insert(end, *index);
            }
        }
        for (namespace, ends) in ends {
            // It may be gone, or closed to this process: the other tables have to do.
            let Ok(addresses) = netlink.addresses_of(namespace) else { continue };
            for (end, address) in addresses {
                if let Some(port) = ends.get(&end) {
                    tables.inside.entry(address).or_default().insert(*port);
                }
            }
        }
        for Neighbour { interface, address, mac } in netlink.neighbours()? {
            tables.neighbours.insert((interface, address), mac);
        }
        for Forwarding { bridge, mac, vlan, port } in netlink.forwarding()? {
            tables.forwarding.entry((bridge, mac)).or_default().push((vlan, port));
        }
        Ok(tables)
    }

    /// The port that an address is behind, or why it is not known. The route leads to `interface`,
    /// which is on `way`; the address was at `known` before.
    pub(super) fn port(
        &self,
        links: &Links,
        interface: u32,
        way: Way,
        address: IpAddr,
        known: Option<u32>,
    ) -> Result<u32, String> {
        let name = |index: u32| links.get(&index).map_or("?", |link| link.name.as_str());
        let is_port = |port: u32| links.get(&port).is_some_and(|l| l.master == Some(way.bridge));
        let ends: Vec<u32> = self
            .inside
            .get(&address)
            .into_iter()
            .flatten()
            .copied()
            .filter(|port| is_port(*port))
            .collect();
        if let [port] = ends[..] {
            return Ok(port);
        }
        let fits = |port: &u32| is_port(*port) && (ends.is_empty() || ends.contains(port));
        let mac = self.neighbours.get(&(interface, address));
        let spoken = mac.and_then(|mac| self.forwards(way, *mac));
        if let Some(port) = spoken.into_iter().chain(known).find(fits) {
            return Ok(port);
        }
        let bridge = name(way.bridge);
        Err(match (mac, ends.is_empty()) {
            (_, false) => {
                let ports: Vec<&str> = ends.iter().map(|port| name(*port)).collect();
                format!(
                    "{address} is behind several ports of bridge {bridge}: {}",
                    ports.join(", ")
                )
            }
            (Some(mac), true) => format!(
                "{address} has MAC {} behind bridge {bridge}, whose forwarding table does not \
                 say at which port",
                text(*mac)
            ),
            (None, true) => format!(
                "{address} is behind bridge {bridge}, and neither its ports' other ends nor the \
                 neighbour table say at which port"
            ),
        })
    }

    /// The port for a MAC, if the VLANs that it is known in agree.
    fn forwards(&self, way: Way, mac: Mac) -> Option<u32> {
        let entries = self.forwarding.get(&(way.bridge, mac))?;
        let wanted = |vlan: u16| way.vlan.is_none_or(|own| vlan == own || vlan == 0);
        let mut ports = entries.iter().filter(|(vlan, _)| wanted(*vlan)).map(|(_, port)| *port);
        let first = ports.next()?;
        ports.all(|port| port == first).then_some(first)
    }
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Link;

    const BRIDGE: u32 = 1;
    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    fn links() -> Links {
        let link = |name: &str, kind: &str, master, lower, vlan| Link {
            name: name.into(),
            kind: kind.into(),
            master,
            lower,
            vlan,
            lower_namespace: None,
        };
        HashMap::from([
            (BRIDGE, link("br0", "bridge", None, None, None)),
            (2, link("veth2", "veth", Some(BRIDGE), None, None)),
            (3, link("veth3", "veth", Some(BRIDGE), None, None)),
            (4, link("other", "veth", Some(9), None, None)),
            (5, link("br0.10", "vlan", None, Some(BRIDGE), Some(10))),
            (6, link("eth0.10", "vlan", None, Some(7), Some(10))),
            (7, link("eth0", "", None, None, None)),
        ])
    }

    fn tables(inside: &[u32], neighbour: Option<u32>, forwarding: &[(u16, u32)]) -> Tables {
        Tables {
            inside: HashMap::from([(ADDRESS, inside.iter().copied().collect())]),
            neighbours: neighbour
                .map(|interface| ((interface, ADDRESS), MAC))
                .into_iter()
                .collect(),
            forwarding: HashMap::from([((BRIDGE, MAC), forwarding.to_vec())]),
        }
    }

    fn port(tables: &Tables, interface: u32, known: Option<u32>) -> Result<u32, String> {
        let links = links();
        let way = behind(&links, interface).unwrap();
        tables.port(&links, interface, way, ADDRESS, known)
    }

    #[test]
    fn a_bridge_is_found_also_below_one_of_its_vlans() {
        assert_eq!(behind(&links(), BRIDGE), Some(Way { bridge: BRIDGE, vlan: None }));
        assert_eq!(behind(&links(), 5), Some(Way { bridge: BRIDGE, vlan: Some(10) }));
        for no_bridge in [2, 6, 7, 99] {
            assert_eq!(behind(&links(), no_bridge), None);
        }
    }

    #[test]
    fn the_other_end_counts_more_than_who_answered_and_that_more_than_the_past() {
        let spoken = [(0, 3)];
        assert_eq!(port(&tables(&[2], Some(BRIDGE), &spoken), BRIDGE, Some(3)), Ok(2));
        assert_eq!(port(&tables(&[], Some(BRIDGE), &spoken), BRIDGE, Some(2)), Ok(3));
        assert_eq!(port(&tables(&[], None, &[]), BRIDGE, Some(2)), Ok(2));
        // Of two other ends with the address, the one that answered.
        assert_eq!(port(&tables(&[2, 3], Some(BRIDGE), &spoken), BRIDGE, None), Ok(3));
    }

    #[test]
    fn ports_of_another_bridge_and_the_past_of_links_that_went_do_not_count() {
        for gone in [4, 99] {
            let error = port(&tables(&[gone], Some(BRIDGE), &[(0, gone)]), BRIDGE, Some(gone));
            assert!(error.unwrap_err().contains("02:00:00:00:00:07"));
        }
    }

    #[test]
    fn a_vlan_is_looked_up_in_its_own_entries() {
        let entries = [(10, 2), (20, 3)];
        assert_eq!(port(&tables(&[], Some(5), &entries), 5, None), Ok(2));
        // Where nobody says which VLAN, they have to agree.
        assert!(port(&tables(&[], Some(BRIDGE), &entries), BRIDGE, None).is_err());
        assert_eq!(port(&tables(&[], Some(BRIDGE), &[(1, 2), (0, 2)]), BRIDGE, None), Ok(2));
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = |tables| port(&tables, BRIDGE, None).unwrap_err();
        assert_eq!(
            error(tables(&[], None, &[])),
            "10.0.0.7 is behind bridge br0, and neither its ports' other ends nor the neighbour \
             table say at which port"
        );
        assert_eq!(
            error(tables(&[2, 3], None, &[])),
            "10.0.0.7 is behind several ports of bridge br0: veth2, veth3"
        );
        assert_eq!(
            error(tables(&[], Some(BRIDGE), &[])),
            "10.0.0.7 has MAC 02:00:00:00:00:07 behind bridge br0, whose forwarding table does \
             not say at which port"
        );
    }
}
