//! Building a lab and finding one's way in it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::name::Names;
use crate::net::ip::ip_batch;
use crate::net::settings;
use crate::net::wiring::{self, Wire};
use crate::process::Spawner;
use crate::spec::AddressBook;
use crate::{HostSpec, LabError, LabSpec, Network, NodeSpec, Place, PodSpec, sweep};

/// Nodes, pods and outside hosts that can reach each other. Dropping it removes everything,
/// child processes included.
#[derive(Debug)]
pub struct Lab {
    names: Names,
    /// Every namespace that was made, for the end.
    made: Vec<String>,
    spawner: Arc<Spawner>,
    addresses: AddressBook,
    next_wire: u32,
    fabric: Place,
    network: Network,
    nodes: BTreeMap<String, Node>,
    pods: BTreeMap<String, Pod>,
    hosts: BTreeMap<String, Host>,
}

#[derive(Debug)]
struct Node {
    place: Place,
    wire: Wire,
}

#[derive(Debug)]
struct Pod {
    spec: PodSpec,
    place: Place,
    /// `None` for pods of the host network.
    wire: Option<Wire>,
}

#[derive(Debug)]
struct Host {
    spec: HostSpec,
    place: Place,
    wire: Wire,
}

impl Lab {
    /// Builds it.
    pub fn create(spec: &LabSpec) -> Result<Self, LabError> {
        if !rustix::process::geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        let mut names = Names::new()?;
        let spawner = Arc::new(Spawner::start()?);
        let fabric = names.namespace("fabric");
        let fabric = Place::new("fabric".to_owned(), fabric, Arc::clone(&spawner));
        let mut lab = Self {
            names,
            made: Vec::new(),
            spawner,
            addresses: AddressBook::default(),
            next_wire: 1,
            fabric,
            network: spec.network,
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            hosts: BTreeMap::new(),
        };
        let fabric = lab.fabric.clone();
        lab.add_namespaces(&[&fabric])?;
        settings::prepare(&fabric, true)?;
        ip_batch(Some(fabric.namespace()), &["link set dev lo up".to_owned()])?;
        lab.add_nodes(&spec.nodes)?;
        lab.add_hosts(&spec.hosts)?;
        lab.add_pods(&spec.pods)?;
        Ok(lab)
    }

    /// Removes the namespaces (and the processes inside) of labs whose owner died. Returns the
    /// names of what was removed.
    pub fn sweep() -> Result<Vec<String>, LabError> {
        sweep::sweep()
    }

    /// Adds nodes.
    pub fn add_nodes(&mut self, nodes: &[NodeSpec]) -> Result<(), LabError> {
        let mut added = Vec::new();
        for spec in nodes {
            if self.nodes.contains_key(&spec.name)
                || nodes.iter().filter(|other| other.name == spec.name).count() > 1
            {
                return Err(LabError::Spec(format!("two nodes are named {}", spec.name)));
            }
            self.addresses.claim(&format!("node {}", spec.name), &spec.addresses)?;
            let place = self.new_place("node", &spec.name);
            let wire = self.new_wire("node", "uplink0", &place, &spec.addresses);
            added.push((spec.name.clone(), Node { place, wire }));
        }
        let members: Vec<Member<'_>> =
            added.iter().map(|(_, node)| Member::new(&node.place, &node.wire, true)).collect();
        self.join_fabric(&members)?;
        if self.network == Network::Bridge {
            for (_, node) in &added {
                ip_batch(Some(node.place.namespace()), &wiring::bridge())?;
                settings::enable_ipv6(&node.place, &[wiring::BRIDGE.to_owned()])?;
                ip_batch(Some(node.place.namespace()), &[wiring::bridge_ipv6()])?;
            }
        }
        self.nodes.extend(added);
        Ok(())
    }

    /// Adds hosts outside the cluster.
    pub fn add_hosts(&mut self, hosts: &[HostSpec]) -> Result<(), LabError> {
        let mut added = Vec::new();
        for spec in hosts {
            if self.hosts.contains_key(&spec.name)
                || hosts.iter().filter(|other| other.name == spec.name).count() > 1
            {
                return Err(LabError::Spec(format!("two hosts are named {}", spec.name)));
            }
            self.addresses.claim(&format!("host {}", spec.name), &spec.addresses)?;
            let place = self.new_place("host", &spec.name);
            let wire = self.new_wire("host", "eth0", &place, &spec.addresses);
            added.push((spec.name.clone(), Host { spec: spec.clone(), place, wire }));
        }
        let members: Vec<Member<'_>> =
            added.iter().map(|(_, host)| Member::new(&host.place, &host.wire, false)).collect();
        self.join_fabric(&members)?;
        self.hosts.extend(added);
        Ok(())
    }

    /// Adds pods.
    pub fn add_pods(&mut self, pods: &[PodSpec]) -> Result<(), LabError> {
        let mut added: Vec<(String, Pod)> = Vec::new();
        for spec in pods {
            let key = spec.key();
            if self.pods.contains_key(&key) || added.iter().any(|(other, _)| *other == key) {
                return Err(LabError::Spec(format!("two pods are named {key}")));
            }
            let node = self.find_node(&spec.node)?.place.clone();
            let pod = if spec.host_network {
                Pod { spec: spec.clone(), place: node, wire: None }
            } else {
                self.addresses.claim(&format!("pod {key}"), &spec.addresses)?;
                let place = self.new_place("pod", &key);
                let mut wire = self.new_wire("veth", "eth0", &place, &spec.addresses);
                wire.bridged = self.network == Network::Bridge;
                Pod { spec: spec.clone(), place, wire: Some(wire) }
            };
            added.push((key, pod));
        }
        self.wire_pods(&added)?;
        self.pods.extend(added);
        Ok(())
    }

    /// Removes a pod, and what runs in it.
    pub fn remove_pod(&mut self, name: &str) -> Result<(), LabError> {
        let Some(pod) = self.pods.remove(name) else {
            return Err(unknown("pod", name, self.pods.keys()));
        };
        let Some(wire) = pod.wire else { return Ok(()) };
        let unroute: Vec<String> = wire.addresses.iter().map(|a| wiring::unroute(*a)).collect();
        ip_batch(Some(self.fabric.namespace()), &unroute)?;
        let node = self.find_node(&pod.spec.node)?.place.clone();
        if wire.bridged {
            // These would outlive the link, which is but a port.
            ip_batch(Some(node.namespace()), &unroute)?;
            for (place, other) in self.bridged(&pod.spec.node) {
                ip_batch(Some(place.namespace()), &wire.part(other))?;
            }
        }
        self.unplug(&node, &wire, &pod.place)
    }

    /// Removes a host outside, and what runs in it.
    pub fn remove_host(&mut self, name: &str) -> Result<(), LabError> {
        let Some(host) = self.hosts.remove(name) else {
            return Err(unknown("host", name, self.hosts.keys()));
        };
        let fabric = self.fabric.clone();
        self.unplug(&fabric, &host.wire, &host.place)
    }

    /// A node.
    pub fn node(&self, name: &str) -> Result<&Place, LabError> {
        self.find_node(name).map(|node| &node.place)
    }

    /// A pod, by `namespace/name`; one of the host network is its node.
    pub fn pod(&self, name: &str) -> Result<&Place, LabError> {
        self.find_pod(name).map(|pod| &pod.place)
    }

    /// A host outside.
    pub fn host(&self, name: &str) -> Result<&Place, LabError> {
        self.hosts
            .get(name)
            .map(|host| &host.place)
            .ok_or_else(|| unknown("host", name, self.hosts.keys()))
    }

    /// The network between the nodes.
    pub fn fabric(&self) -> &Place {
        &self.fabric
    }

    /// Name of the node's end of the pod's veth pair. The pod's own end is `eth0`.
    pub fn pod_link(&self, name: &str) -> Result<&str, LabError> {
        let pod = self.find_pod(name)?;
        pod.wire.as_ref().map(|wire| wire.outer.as_str()).ok_or_else(|| {
            LabError::Spec(format!("pod {name} is of the host network and has no link"))
        })
    }

    /// What the pod was made from.
    pub fn pod_spec(&self, name: &str) -> Result<&PodSpec, LabError> {
        self.find_pod(name).map(|pod| &pod.spec)
    }

    /// Where an address is.
    pub fn place_of(&self, address: IpAddr) -> Option<&Place> {
        let (kind, name) = self.addresses.owner(address)?.split_once(' ')?;
        match kind {
            "node" => self.nodes.get(name).map(|node| &node.place),
            "pod" => self.pods.get(name).map(|pod| &pod.place),
            _ => self.hosts.get(name).map(|host| &host.place),
        }
    }

    /// Names of the nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// Names of the pods, `namespace/name`.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.pods.keys().map(String::as_str)
    }

    /// What the host was made from.
    pub fn host_spec(&self, name: &str) -> Result<&HostSpec, LabError> {
        self.hosts
            .get(name)
            .map(|host| &host.spec)
            .ok_or_else(|| unknown("host", name, self.hosts.keys()))
    }

    /// Names of the hosts outside.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str)
    }

    fn find_node(&self, name: &str) -> Result<&Node, LabError> {
        self.nodes.get(name).ok_or_else(|| unknown("node", name, self.nodes.keys()))
    }

    fn find_pod(&self, name: &str) -> Result<&Pod, LabError> {
        self.pods.get(name).ok_or_else(|| unknown("pod", name, self.pods.keys()))
    }

    fn new_place(&mut self, kind: &str, name: &str) -> Place {
        let namespace = self.names.namespace(name);
        Place::new(format!("{kind} {name}"), namespace, Arc::clone(&self.spawner))
    }

    fn new_wire(
        &mut self,
        outer: &str,
        inner: &'static str,
        place: &Place,
        addresses: &[IpAddr],
    ) -> Wire {
        let id = self.next_wire;
        self.next_wire += 1;
        Wire {
            id,
            outer: format!("{outer}{id}"),
            inner,
            inner_namespace: place.namespace().to_owned(),
            addresses: addresses.to_vec(),
            bridged: false,
        }
    }

    /// Removes a member. Its link goes at once, and with it the routes to it; the namespace alone
    /// would keep the link until the kernel comes to it.
    fn unplug(&mut self, outer: &Place, wire: &Wire, member: &Place) -> Result<(), LabError> {
        ip_batch(Some(outer.namespace()), &[format!("link del dev {}", wire.outer)])?;
        self.addresses.release(&wire.addresses);
        sweep::remove(&[member.namespace().to_owned()])?;
        self.made.retain(|name| name != member.namespace());
        Ok(())
    }

    fn add_namespaces(&mut self, places: &[&Place]) -> Result<(), LabError> {
        let names: Vec<String> = places.iter().map(|place| place.namespace().to_owned()).collect();
        let commands: Vec<String> = names.iter().map(|name| format!("netns add {name}")).collect();
        // Remembered first, so that a failure half way leaves nothing behind.
        self.made.extend(names);
        ip_batch(None, &commands)
    }

    fn join_fabric(&mut self, members: &[Member<'_>]) -> Result<(), LabError> {
        let places: Vec<&Place> = members.iter().map(|member| member.place).collect();
        self.add_namespaces(&places)?;
        let fabric = self.fabric.clone();
        let create: Vec<String> = members.iter().flat_map(|member| member.wire.create()).collect();
        for member in members {
            settings::prepare(member.place, member.router)?;
        }
        ip_batch(Some(fabric.namespace()), &create)?;
        let outer: Vec<String> = members.iter().map(|member| member.wire.outer.clone()).collect();
        settings::enable_ipv6(&fabric, &outer)?;
        let gateways: Vec<String> =
            members.iter().flat_map(|member| member.wire.gateway()).collect();
        ip_batch(Some(fabric.namespace()), &gateways)?;
        for member in members {
            settings::enable_ipv6(member.place, &[member.wire.inner.to_owned()])?;
            ip_batch(Some(member.place.namespace()), &member.wire.member(true))?;
        }
        Ok(())
    }

    fn wire_pods(&mut self, added: &[(String, Pod)]) -> Result<(), LabError> {
        let wired: Vec<(&Pod, &Wire)> =
            added.iter().filter_map(|(_, pod)| Some((pod, pod.wire.as_ref()?))).collect();
        let places: Vec<&Place> = wired.iter().map(|(pod, _)| &pod.place).collect();
        self.add_namespaces(&places)?;
        for place in &places {
            settings::prepare(place, false)?;
        }
        let mut through_fabric = Vec::new();
        for node in self.nodes.keys() {
            let on_node: Vec<&Wire> = wired
                .iter()
                .filter(|(pod, _)| pod.spec.node == *node)
                .map(|(_, wire)| *wire)
                .collect();
            if on_node.is_empty() {
                continue;
            }
            let Node { place, wire: uplink } = self.find_node(node)?;
            let create: Vec<String> = on_node.iter().flat_map(|wire| wire.create()).collect();
            ip_batch(Some(place.namespace()), &create)?;
            let ipv6: Vec<String> = on_node
                .iter()
                .filter(|wire| wire.has_ipv6())
                .map(|wire| wire.outer.clone())
                .collect();
            settings::enable_ipv6(place, &ipv6)?;
            let routes: Vec<String> = on_node
                .iter()
                .flat_map(
                    |wire| if wire.bridged { wire.route_bridged() } else { wire.route_direct() },
                )
                .collect();
            ip_batch(Some(place.namespace()), &routes)?;
            through_fabric.extend(
                on_node
                    .iter()
                    .flat_map(|wire| &wire.addresses)
                    .map(|address| uplink.route_through(*address)),
            );
        }
        ip_batch(Some(self.fabric.namespace()), &through_fabric)?;
        for (pod, wire) in wired {
            if wire.has_ipv6() {
                settings::enable_ipv6(&pod.place, &[wire.inner.to_owned()])?;
            }
            ip_batch(Some(pod.place.namespace()), &wire.member(wire.has_ipv6()))?;
        }
        if self.network == Network::Bridge { self.introduce(added) } else { Ok(()) }
    }

    /// Tells pods on one bridge of each other.
    fn introduce(&self, added: &[(String, Pod)]) -> Result<(), LabError> {
        for (index, (_, pod)) in added.iter().enumerate() {
            let Some(wire) = &pod.wire else { continue };
            let node = pod.spec.node.as_str();
            let before = added[..index]
                .iter()
                .filter(|(_, other)| other.spec.node == node)
                .filter_map(|(_, other)| Some((&other.place, other.wire.as_ref()?)));
            let mut meets = Vec::new();
            for (place, other) in self.bridged(node).chain(before) {
                ip_batch(Some(place.namespace()), &wire.meet(other))?;
                meets.extend(other.meet(wire));
            }
            ip_batch(Some(pod.place.namespace()), &meets)?;
        }
        Ok(())
    }

    /// The pods on a node's bridge.
    fn bridged(&self, node: &str) -> impl Iterator<Item = (&Place, &Wire)> {
        let pods = self.pods.values().filter(move |pod| pod.spec.node == node);
        pods.filter_map(|pod| Some((&pod.place, pod.wire.as_ref()?)))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = sweep::remove(&self.made) {
            tracing::warn!(%error, "a lab was not removed completely");
        }
    }
}

/// Something that hangs on the fabric.
struct Member<'a> {
    place: &'a Place,
    wire: &'a Wire,
    router: bool,
}

impl<'a> Member<'a> {
    fn new(place: &'a Place, wire: &'a Wire, router: bool) -> Self {
        Self { place, wire, router }
    }
}

fn unknown<'a>(
    kind: &'static str,
    name: &str,
    known: impl Iterator<Item = &'a String>,
) -> LabError {
    let known = known.map(String::as_str).collect::<Vec<_>>().join(", ");
    LabError::Unknown { kind, name: name.to_owned(), known }
}
