//! The lab of a case, changed from step to step as its cluster changes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use weir_policy::case::{Case, Step};
use weir_policy::model::{self, Cluster};

use crate::probe::{Protocol, Responders, Service, Serving};
use crate::{HostSpec, Lab, LabError, LabSpec, Network, NodeSpec, Place, PodSpec};

/// A lab, and who answers in it.
///
/// Whatever is probed is answered, whether a pod declares the port or not: what is tested is who
/// may reach whom, and a declaration alone opens and closes nothing.
pub(super) struct Stage {
    /// By namespace and address. Dropped first: a responder's sockets keep its namespace alive.
    serving: HashMap<(String, IpAddr), Serving>,
    /// What is probed at each address, in all steps.
    services: BTreeMap<IpAddr, BTreeSet<Service>>,
    lab: Lab,
    network: Network,
    nodes: Vec<NodeSpec>,
    responders: Responders,
}

impl Stage {
    pub(super) fn new(case: &Case, network: Network) -> Result<Self, LabError> {
        let mut services: BTreeMap<IpAddr, BTreeSet<Service>> = BTreeMap::new();
        for probe in case.steps.iter().flat_map(|step| &step.probes) {
            for attempt in &probe.attempts {
                services.entry(attempt.destination).or_default().insert(Service {
                    address: attempt.destination,
                    port: attempt.destination_port,
                    protocol: protocol(probe.protocol),
                });
            }
        }
        Ok(Self {
            serving: HashMap::new(),
            services,
            lab: Lab::create(&LabSpec { network, ..LabSpec::default() })?,
            network,
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
            let (nodes_of, network) = (nodes.clone(), self.network);
            self.lab = Lab::create(&LabSpec { nodes: nodes_of, network, ..LabSpec::default() })?;
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
        self.serve()
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

    /// Starts what is not there yet, all services of an address at once.
    fn serve(&mut self) -> Result<(), LabError> {
        for (address, services) in &self.services {
            let Some(place) = self.lab.place_of(*address) else { continue };
            if let Entry::Vacant(entry) =
                self.serving.entry((place.namespace().to_owned(), *address))
            {
                let services: Vec<Service> = services.iter().copied().collect();
                entry.insert(self.responders.serve(place, &services)?);
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
