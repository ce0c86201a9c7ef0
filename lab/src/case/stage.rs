//! The lab of a case, changed from step to step as its cluster changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use weir_policy::case::Step;
use weir_policy::model::{self, Cluster};

use crate::probe::{Protocol, Responders, Service, Serving};
use crate::{HostSpec, Lab, LabError, LabSpec, NodeSpec, Place, PodSpec};

/// A lab, and who answers in it.
///
/// Whatever is probed is answered, whether a pod declares the port or not: what is tested is who
/// may reach whom, and a declaration alone opens and closes nothing.
pub(super) struct Stage {
    /// Dropped first: a responder's sockets keep its namespace alive.
    serving: HashMap<(String, Service), Serving>,
    lab: Lab,
    nodes: Vec<NodeSpec>,
    responders: Responders,
}

impl Stage {
    pub(super) fn new() -> Result<Self, LabError> {
        Ok(Self {
            serving: HashMap::new(),
            lab: Lab::create(&LabSpec::default())?,
            nodes: Vec::new(),
            responders: Responders::start()?,
        })
    }

    /// Whether the step's nodes are not those that are there.
    pub(super) fn needs_new_nodes(&self, step: &Step) -> bool {
        self.nodes != nodes(&step.cluster)
    }

    /// Changes the lab to what the step needs. Pods and hosts that stay as they are keep their
    /// namespaces.
    pub(super) fn set(&mut self, step: &Step) -> Result<(), LabError> {
        if self.needs_new_nodes(step) {
            let nodes = nodes(&step.cluster);
            self.serving.clear();
            self.lab = Lab::create(&LabSpec { nodes: nodes.clone(), ..LabSpec::default() })?;
            self.nodes = nodes;
        }
        let pods = pods(&step.cluster);
        let hosts = hosts(step, &self.nodes, &pods);
        self.remove_others(&pods, &hosts)?;
        let lab = &self.lab;
        let hosts: Vec<HostSpec> =
            hosts.into_values().filter(|host| lab.host(&host.name).is_err()).collect();
        let pods: Vec<PodSpec> =
            pods.into_values().filter(|pod| lab.pod(&pod.key()).is_err()).collect();
        self.lab.add_hosts(&hosts)?;
        self.lab.add_pods(&pods)?;
        self.serve(step)
    }

    /// Nodes by name.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.nodes
            .iter()
            .filter_map(|node| Some((node.name.as_str(), self.lab.node(&node.name).ok()?)))
    }

    /// Whether there are pods on this node.
    pub(super) fn has_pods(&self, node: &str) -> bool {
        self.lab.pods().any(|pod| self.lab.pod_spec(pod).is_ok_and(|pod| pod.node == node))
    }

    /// Whether the lab made this pod.
    pub(super) fn has_pod(&self, name: &str) -> bool {
        self.lab.pod(name).is_ok()
    }

    pub(super) fn place_of(&self, address: IpAddr) -> Option<&Place> {
        self.lab.place_of(address)
    }

    fn remove_others(
        &mut self,
        pods: &BTreeMap<String, PodSpec>,
        hosts: &BTreeMap<String, HostSpec>,
    ) -> Result<(), LabError> {
        let lab = &self.lab;
        let other_pods: Vec<String> = lab
            .pods()
            .filter(|name| lab.pod_spec(name).ok() != pods.get(*name))
            .map(str::to_owned)
            .collect();
        let other_hosts: Vec<String> = lab
            .hosts()
            .filter(|name| lab.host_spec(name).ok() != hosts.get(*name))
            .map(str::to_owned)
            .collect();
        for name in other_pods {
            let namespace = self.lab.pod(&name)?.namespace().to_owned();
            self.serving.retain(|(place, _), _| *place != namespace);
            self.lab.remove_pod(&name)?;
        }
        for name in other_hosts {
            let namespace = self.lab.host(&name)?.namespace().to_owned();
            self.serving.retain(|(place, _), _| *place != namespace);
            self.lab.remove_host(&name)?;
        }
        Ok(())
    }

    fn serve(&mut self, step: &Step) -> Result<(), LabError> {
        let mut wanted: BTreeMap<IpAddr, BTreeSet<(Protocol, u16)>> = BTreeMap::new();
        for probe in &step.probes {
            for attempt in &probe.attempts {
                let services = wanted.entry(attempt.destination).or_default();
                services.insert((protocol(probe.protocol), attempt.destination_port));
            }
        }
        for (address, ports) in wanted {
            let Some(place) = self.lab.place_of(address) else { continue };
            for (protocol, port) in ports {
                let service = Service { address, port, protocol };
                let key = (place.namespace().to_owned(), service);
                if !self.serving.contains_key(&key) {
                    let serving = self.responders.serve(place, &[service])?;
                    self.serving.insert(key, serving);
                }
            }
        }
        Ok(())
    }
}

/// A probe's protocol.
pub(super) fn protocol(protocol: model::Protocol) -> Protocol {
    match protocol {
        model::Protocol::Tcp => Protocol::Tcp,
        model::Protocol::Udp => Protocol::Udp,
        model::Protocol::Sctp => Protocol::Sctp,
    }
}

fn nodes(cluster: &Cluster) -> Vec<NodeSpec> {
    let mut nodes: Vec<NodeSpec> = cluster
        .nodes
        .iter()
        .map(|node| NodeSpec { name: node.name.clone(), addresses: node.addresses.clone() })
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    nodes
}

/// The pods that have a network of their own, with the addresses that are theirs.
fn pods(cluster: &Cluster) -> BTreeMap<String, PodSpec> {
    let on_node =
        |address: &IpAddr| cluster.nodes.iter().any(|node| node.addresses.contains(address));
    cluster
        .pods
        .iter()
        .filter(|pod| pod.is_networked())
        .filter_map(|pod| {
            let addresses: Vec<IpAddr> = pod
                .addresses
                .iter()
                .filter(|address| {
                    cluster.pod_at(**address).is_some_and(|owner| std::ptr::eq(owner, pod))
                        && !on_node(address)
                })
                .copied()
                .collect();
            if addresses.is_empty() {
                return None;
            }
            let spec = PodSpec {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                node: pod.node.clone()?,
                addresses,
                host_network: false,
            };
            Some((spec.key(), spec))
        })
        .collect()
}

/// A host for each address of the step's probes that no node or pod has.
fn hosts(
    step: &Step,
    nodes: &[NodeSpec],
    pods: &BTreeMap<String, PodSpec>,
) -> BTreeMap<String, HostSpec> {
    let inside: BTreeSet<IpAddr> = nodes
        .iter()
        .flat_map(|node| &node.addresses)
        .chain(pods.values().flat_map(|pod| &pod.addresses))
        .copied()
        .collect();
    step.probes
        .iter()
        .flat_map(|probe| &probe.attempts)
        .flat_map(|attempt| [attempt.source, attempt.destination])
        .filter(|address| !inside.contains(address))
        .map(|address| {
            let name = address.to_string();
            (name.clone(), HostSpec { name, addresses: vec![address] })
        })
        .collect()
}
