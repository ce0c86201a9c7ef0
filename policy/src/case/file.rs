//! A case file's text, checked and turned into clusters.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Case, CaseError, DEFAULT_NODE, End, Probe, Step, Why};
use crate::evaluate::{Attempt, NETWORK_POLICY};
use crate::manifest::{self, ManifestError, Object};
use crate::model::{Cluster, ContainerPort, Labels, Namespace, Node, Phase, Pod, Protocol};

#[derive(Deserialize)]
struct RawCase {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespaces: Vec<RawNamespace>,
    #[serde(default)]
    pods: Vec<RawPod>,
    #[serde(default)]
    nodes: Vec<RawNode>,
    steps: Vec<RawStep>,
}

#[derive(Deserialize)]
struct RawNamespace {
    name: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
}

#[derive(Deserialize)]
struct RawNode {
    name: String,
    #[serde(default)]
    labels: Labels,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPod {
    ns: String,
    name: String,
    #[serde(default)]
    labels: Labels,
    ip: Option<IpAddr>,
    #[serde(default)]
    ips: Vec<IpAddr>,
    #[serde(default)]
    ports: Vec<RawPort>,
    #[serde(default)]
    host_network: bool,
    node: Option<String>,
    phase: Option<RawPhase>,
}

#[derive(Deserialize)]
struct RawPort {
    name: Option<String>,
    port: u16,
    protocol: Option<RawProtocol>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum RawProtocol {
    Tcp,
    Udp,
    Sctp,
}

#[derive(Clone, Copy, Deserialize)]
enum RawPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

#[derive(Deserialize)]
struct RawStep {
    #[serde(default)]
    policies: Vec<Value>,
    namespaces: Option<Vec<RawNamespace>>,
    pods: Option<Vec<RawPod>>,
    nodes: Option<Vec<RawNode>>,
    #[serde(default)]
    probes: Vec<RawProbe>,
}

#[derive(Deserialize)]
struct RawProbe {
    from: String,
    to: String,
    port: u16,
    protocol: Option<RawProtocol>,
    expect: bool,
    #[serde(default)]
    loopback: bool,
    family: Option<Family>,
    why: Option<Why>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
enum Family {
    IPv4,
    IPv6,
}

impl Family {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::IPv4 } else { Self::IPv6 }
    }
}

/// Reads a file's text.
pub(super) fn parse(text: &str) -> Result<Case, CaseError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let raw: RawCase =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| CaseError {
            path: match error.path().to_string().as_str() {
                "." => String::new(),
                path => path.to_owned(),
            },
            message: error.inner().to_string(),
        })?;
    deserializer.end().map_err(|error| fault("", format!("more than one JSON value: {error}")))?;
    if raw.steps.is_empty() {
        return Err(fault("steps", "is empty: a case needs at least one step with probes"));
    }
    let mut namespaces = read_namespaces(raw.namespaces, "namespaces")?;
    let mut pods = read_pods(raw.pods, "pods")?;
    let mut node_labels = read_nodes(raw.nodes, "nodes")?;
    let mut steps = Vec::with_capacity(raw.steps.len());
    for (index, step) in raw.steps.into_iter().enumerate() {
        let at = format!("steps[{index}]");
        if let Some(raw) = step.namespaces {
            namespaces = read_namespaces(raw, &format!("{at}.namespaces"))?;
        }
        if let Some(raw) = step.pods {
            pods = read_pods(raw, &format!("{at}.pods"))?;
        }
        if let Some(raw) = step.nodes {
            node_labels = read_nodes(raw, &format!("{at}.nodes"))?;
        }
        let mut cluster = Cluster {
            nodes: nodes(&pods, &node_labels),
            namespaces: namespaces.clone(),
            pods: pods.clone(),
            ..Cluster::default()
        };
        read_policies(step.policies, &mut cluster, &at)?;
        let probes = step
            .probes
            .into_iter()
            .enumerate()
            .map(|(index, raw)| read_probe(raw, &cluster, &format!("{at}.probes[{index}]")))
            .collect::<Result<_, _>>()?;
        steps.push(Step { cluster, probes });
    }
    Ok(Case { name: raw.name, steps })
}

fn fault(path: impl Into<String>, message: impl Into<String>) -> CaseError {
    CaseError { path: path.into(), message: message.into() }
}

fn read_namespaces(raw: Vec<RawNamespace>, at: &str) -> Result<Vec<Namespace>, CaseError> {
    let mut seen = BTreeSet::new();
    for (index, namespace) in raw.iter().enumerate() {
        if !seen.insert(&namespace.name) {
            let message = format!("namespace {} is there twice: remove one", namespace.name);
            return Err(fault(format!("{at}[{index}].name"), message));
        }
    }
    let at = |index: usize| format!("{at}[{index}]");
    raw.into_iter()
        .enumerate()
        .map(|(index, raw)| {
            let manifest = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata":
                    {"name": raw.name, "labels": raw.labels, "annotations": raw.annotations},
            });
            match manifest::parse_value(manifest) {
                Ok(Object::Namespace(namespace)) => Ok(namespace),
                Ok(_) => Err(fault(at(index), "is not a namespace")),
                Err(error) => Err(of_manifest(&at(index), error)),
            }
        })
        .collect()
}

fn read_nodes(raw: Vec<RawNode>, at: &str) -> Result<BTreeMap<String, Labels>, CaseError> {
    let mut nodes = BTreeMap::new();
    for (index, node) in raw.into_iter().enumerate() {
        if nodes.contains_key(&node.name) {
            let message = format!("node {} is there twice: remove one", node.name);
            return Err(fault(format!("{at}[{index}].name"), message));
        }
        nodes.insert(node.name, node.labels);
    }
    Ok(nodes)
}

fn read_pods(raw: Vec<RawPod>, at: &str) -> Result<Vec<Pod>, CaseError> {
    let mut seen = BTreeSet::new();
    for (index, pod) in raw.iter().enumerate() {
        if !seen.insert((&pod.ns, &pod.name)) {
            let message = format!("pod {}/{} is there twice: rename one", pod.ns, pod.name);
            return Err(fault(format!("{at}[{index}].name"), message));
        }
    }
    Ok(raw.into_iter().map(pod).collect())
}

fn pod(raw: RawPod) -> Pod {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in raw.ip.into_iter().chain(raw.ips).map(|address| address.to_canonical()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Pod {
        namespace: raw.ns,
        name: raw.name,
        labels: raw.labels,
        addresses,
        node: Some(raw.node.unwrap_or_else(|| DEFAULT_NODE.to_owned())),
        host_network: raw.host_network,
        phase: match raw.phase {
            None | Some(RawPhase::Running) => Phase::Running,
            Some(RawPhase::Pending) => Phase::Pending,
            Some(RawPhase::Succeeded) => Phase::Succeeded,
            Some(RawPhase::Failed) => Phase::Failed,
            Some(RawPhase::Unknown) => Phase::Unknown,
        },
        workload: None,
        ports: raw
            .ports
            .into_iter()
            .map(|raw| ContainerPort {
                name: raw.name.filter(|name| !name.is_empty()),
                port: raw.port,
                protocol: protocol(raw.protocol),
            })
            .collect(),
    }
}

fn protocol(raw: Option<RawProtocol>) -> Protocol {
    match raw {
        None | Some(RawProtocol::Tcp) => Protocol::Tcp,
        Some(RawProtocol::Udp) => Protocol::Udp,
        Some(RawProtocol::Sctp) => Protocol::Sctp,
    }
}

/// The nodes that pods are on, with the labels that the case gives them.
fn nodes(pods: &[Pod], labels: &BTreeMap<String, Labels>) -> Vec<Node> {
    let mut nodes: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    for pod in pods {
        let Some(name) = pod.node.as_deref() else { continue };
        let addresses = nodes.entry(name).or_default();
        if pod.host_network && !pod.phase.is_terminal() {
            for address in &pod.addresses {
                if !addresses.contains(address) {
                    addresses.push(*address);
                }
            }
        }
    }
    nodes
        .into_iter()
        .map(|(name, addresses)| Node {
            name: name.to_owned(),
            labels: labels.get(name).cloned().unwrap_or_default(),
            addresses,
        })
        .collect()
}

/// Puts a step's policies into its cluster.
fn read_policies(raw: Vec<Value>, cluster: &mut Cluster, at: &str) -> Result<(), CaseError> {
    let mut seen = BTreeSet::new();
    for (index, value) in raw.into_iter().enumerate() {
        let at = format!("{at}.policies[{index}]");
        let object = manifest::parse_value(value).map_err(|error| of_manifest(&at, error))?;
        let name = match &object {
            Object::NetworkPolicy(policy) => {
                (NETWORK_POLICY, format!("{}/{}", policy.namespace, policy.name))
            }
            Object::TierPolicy(policy) => (policy.kind.as_str(), policy.name.clone()),
            Object::NetworkLogging(_) => ("NetworkLogging", "default".to_owned()),
            _ => return Err(fault(at, "is not a policy: only policies belong here")),
        };
        if let Some((kind, name)) = seen.replace(name) {
            return Err(fault(at, format!("{kind} {name} is there twice: rename one")));
        }
        match object {
            Object::NetworkPolicy(policy) => cluster.policies.push(policy),
            Object::TierPolicy(policy) => cluster.tier_policies.push(policy),
            Object::NetworkLogging(logging) => cluster.logging = Some(logging),
            _ => {}
        }
    }
    Ok(())
}

/// A problem with a manifest inside a case.
fn of_manifest(at: &str, error: ManifestError) -> CaseError {
    let dot = if error.path.0.is_empty() { "" } else { "." };
    fault(format!("{at}{dot}{}", error.path), error.message)
}

fn read_probe(raw: RawProbe, cluster: &Cluster, at: &str) -> Result<Probe, CaseError> {
    let (from, sources) = read_end(&raw.from, cluster, &format!("{at}.from"))?;
    let (to, destinations) = read_end(&raw.to, cluster, &format!("{at}.to"))?;
    if matches!((&from, &to), (End::Outside(_), End::Outside(_))) {
        return Err(fault(at, "goes from outside to outside: one end must be a pod"));
    }
    let protocol = protocol(raw.protocol);
    let attempts: Vec<Attempt> = [Family::IPv4, Family::IPv6]
        .into_iter()
        .filter(|family| raw.family.is_none_or(|wanted| wanted == *family))
        .filter_map(|family| {
            let of_family = |addresses: &[IpAddr]| {
                addresses.iter().copied().find(|&address| Family::of(address) == family)
            };
            Some(Attempt {
                source: of_family(&sources)?,
                destination: of_family(&destinations)?,
                protocol: protocol.number(),
                destination_port: raw.port,
            })
        })
        .collect();
    if attempts.is_empty() {
        return Err(fault(
            at,
            format!("{from} and {to} have no address of one family: give both an ip of it"),
        ));
    }
    Ok(Probe {
        loopback: raw.loopback || from == to,
        from,
        to,
        port: raw.port,
        protocol,
        expect: raw.expect,
        why: raw.why,
        attempts,
    })
}

fn read_end(text: &str, cluster: &Cluster, at: &str) -> Result<(End, Vec<IpAddr>), CaseError> {
    if let Some(address) = text.strip_prefix("ip:") {
        let address: IpAddr = address.parse().map_err(|_| {
            fault(at, format!("{address:?} is not an IP address: write ip:192.0.2.1"))
        })?;
        let address = address.to_canonical();
        return Ok((End::Outside(address), vec![address]));
    }
    let Some((namespace, name)) = text.split_once('/') else {
        return Err(fault(at, format!("{text:?} is no end: write namespace/pod or ip:ADDRESS")));
    };
    let Some(pod) = cluster.pod(namespace, name) else {
        let known: Vec<String> =
            cluster.pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
        let message = format!(
            "pod {text} is not in this case: add it to pods; known are {}",
            known.join(", ")
        );
        return Err(fault(at, message));
    };
    if pod.addresses.is_empty() {
        return Err(fault(at, format!("pod {text} has no address: give it an ip")));
    }
    let end = End::Pod { namespace: namespace.to_owned(), name: name.to_owned() };
    Ok((end, pod.addresses.clone()))
}
