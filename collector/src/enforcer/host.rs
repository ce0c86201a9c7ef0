//! Which interface a pod is behind, and which addresses this node has.
//!
//! The host's route to a pod's address leads to the pod's veth itself, or to a bridge; then the
//! bridge's port is looked for, see [`bridge`].

mod bridge;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;

use crate::netlink::{Link, Netlink, Route};
use bridge::Tables;

/// What the enforcer asks of the node's network; the seam for tests without one.
pub trait Network {
    /// This node's own addresses.
    ///
    /// # Errors
    /// The kernel does not say.
    fn addresses(&mut self) -> io::Result<Vec<IpAddr>>;

    /// For each pod, given by its addresses, the index of the host-side interface that leads to
    /// it, or why there is none.
    ///
    /// # Errors
    /// The kernel does not say.
    fn interfaces(&mut self, pods: &[&[IpAddr]]) -> io::Result<Vec<Result<u32, String>>>;
}

/// The network namespace in which this was made.
#[derive(Debug)]
pub struct Host {
    netlink: Netlink,
    /// Ports of bridges that pods' addresses were found at.
    known: HashMap<IpAddr, u32>,
}

/// Interfaces by index.
type Links = HashMap<u32, Link>;

impl Host {
    /// The network of this thread.
    ///
    /// # Errors
    /// No netlink socket can be opened.
    pub fn new() -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open()?, known: HashMap::new() })
    }
}

impl Network for Host {
    fn addresses(&mut self) -> io::Result<Vec<IpAddr>> {
        self.netlink.addresses()
    }

    fn interfaces(&mut self, pods: &[&[IpAddr]]) -> io::Result<Vec<Result<u32, String>>> {
        let links = self.netlink.links()?;
        let mut routes = HashMap::new();
        for address in pods.iter().copied().flatten() {
            routes.insert(*address, self.netlink.route(*address)?);
        }
        let bridges: HashSet<u32> = routes
            .values()
            .flatten()
            .filter_map(|route| bridge::behind(&links, route.interface))
            .map(|way| way.bridge)
            .collect();
        let tables = match bridges.is_empty() {
            true => Tables::default(),
            false => Tables::read(&mut self.netlink, &links, &bridges)?,
        };
        let known = std::mem::take(&mut self.known);
        let mut interface = |address: &IpAddr| {
            let route = routes.get(address).copied().flatten();
            let found = interface(&links, &tables, &known, *address, route)?;
            if found.behind_bridge {
                self.known.insert(*address, found.interface);
            }
            Ok(found.interface)
        };
        Ok(pods
            .iter()
            .map(|pod| agree(&links, pod, pod.iter().map(&mut interface).collect()))
            .collect())
    }
}

/// Where an address was found.
struct Found {
    interface: u32,
    behind_bridge: bool,
}

/// The veth that leads to one address.
fn interface(
    links: &Links,
    tables: &Tables,
    known: &HashMap<IpAddr, u32>,
    address: IpAddr,
    route: Option<Route>,
) -> Result<Found, String> {
    let Some(route) = route else {
        return Err(format!("there is no route to {address}"));
    };
    let Some(link) = links.get(&route.interface) else {
        return Err(format!("interface {} to {address} is gone", route.interface));
    };
    let way = bridge::behind(links, route.interface);
    if !route.on_link || !(route.host || way.is_some()) {
        let name = &link.name;
        return Err(format!("{address} is not right behind an interface (it is behind {name})"));
    }
    let (interface, behind_bridge) = match way {
        Some(way) => {
            let known = known.get(&address).copied();
            (tables.port(links, route.interface, way, address, known)?, true)
        }
        None => (route.interface, false),
    };
    match links.get(&interface) {
        Some(link) if link.kind == "veth" => Ok(Found { interface, behind_bridge }),
        Some(link) => Err(format!("{address} is behind {}, which is no veth", link.name)),
        None => Err(format!("interface {interface} to {address} is gone")),
    }
}

/// The one interface that all of a pod's addresses are behind, as far as they are found.
fn agree(
    links: &Links,
    addresses: &[IpAddr],
    found: Vec<Result<u32, String>>,
) -> Result<u32, String> {
    let mut first: Option<(IpAddr, u32)> = None;
    let mut why = "it has no address".to_owned();
    let name = |index: u32| links.get(&index).map_or("?", |link| link.name.as_str());
    for (address, found) in addresses.iter().zip(found) {
        match (found, first) {
            (Ok(interface), None) => first = Some((*address, interface)),
            (Ok(interface), Some((other, place))) if interface != place => {
                return Err(format!(
                    "its addresses are behind different interfaces: {other} behind {}, \
                     {address} behind {}",
                    name(place),
                    name(interface)
                ));
            }
            (Ok(_), Some(_)) => {}
            (Err(error), _) => why = error,
        }
    }
    first.map(|(_, interface)| interface).ok_or(why)
}
