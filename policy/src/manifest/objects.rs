//! Namespaces, pods, services and nodes: only what policies need of them.

mod workload;

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use self::workload::OwnerReference;
use super::annotations::RawAnnotations;
use super::error::{FieldPath, Problem};
use super::policy::raw::IntOrText;
use super::strict::protocol;
use super::words;
use crate::model::{
    ContainerPort, Labels, Namespace, Node, Phase, Pod, Service, ServicePort, TargetPort,
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawObject<Spec, Status> {
    metadata: RawMetadata,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<Labels>,
    owner_references: Option<Vec<OwnerReference>>,
    annotations: Option<RawAnnotations>,
}

impl RawMetadata {
    fn name(&mut self) -> Result<String, Problem> {
        self.name.take().filter(|name| !name.is_empty()).ok_or_else(|| {
            FieldPath::default().key("metadata").key("name").problem("is missing: add it")
        })
    }

    fn namespace(&mut self) -> String {
        self.namespace
            .take()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| "default".to_owned())
    }
}

/// Nothing of `spec` or `status` is needed.
#[derive(Deserialize)]
struct Nothing {}

/// Reads a namespace.
pub(super) fn namespace(value: Value) -> Result<Namespace, Problem> {
    let mut raw: RawObject<Nothing, Nothing> = Problem::decode(value)?;
    let name = raw.metadata.name()?;
    let annotations = raw.metadata.annotations.take().unwrap_or_default();
    let (audit, interval) = annotations.of_namespace()?;
    Ok(Namespace {
        audit,
        interval,
        log_denies: annotations.log_denies(),
        ..Namespace::new(name, raw.metadata.labels.unwrap_or_default())
    })
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPodSpec {
    node_name: Option<String>,
    host_network: Option<bool>,
    containers: Option<Vec<RawContainer>>,
    init_containers: Option<Vec<RawContainer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainer {
    restart_policy: Option<String>,
    ports: Option<Vec<RawContainerPort>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainerPort {
    name: Option<String>,
    container_port: u16,
    protocol: Option<String>,
}

#[derive(Default, Deserialize)]
struct RawPodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<RawPodIp>>,
}

#[derive(Deserialize)]
struct RawPodIp {
    ip: String,
}

/// Reads a pod.
pub(super) fn pod(value: Value) -> Result<Pod, Problem> {
    let mut raw: RawObject<RawPodSpec, RawPodStatus> = Problem::decode(value)?;
    let spec = raw.spec.unwrap_or_default();
    let status = raw.status.unwrap_or_default();
    let at = FieldPath::default().key("spec");
    // An init container that goes on running serves ports like any other.
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .enumerate()
        .filter(|(_, container)| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().flatten().enumerate();
    let mut ports = Vec::new();
    for (field, (index, container)) in
        containers.map(|c| ("containers", c)).chain(sidecars.map(|c| ("initContainers", c)))
    {
        for (port_index, port) in container.ports.iter().flatten().enumerate() {
            let at = at.key(field).index(index).key("ports").index(port_index);
            ports.push(ContainerPort {
                name: port.name.clone().filter(|name| !name.is_empty()),
                port: port.container_port,
                protocol: protocol(port.protocol.as_deref(), &at)?,
            });
        }
    }
    let labels = raw.metadata.labels.take().unwrap_or_default();
    let owners = raw.metadata.owner_references.take().unwrap_or_default();
    Ok(Pod {
        namespace: raw.metadata.namespace(),
        name: raw.metadata.name()?,
        workload: workload::workload(&owners, &labels),
        labels,
        addresses: pod_addresses(status.pod_ip, status.pod_ips)?,
        node: spec.node_name.filter(|name| !name.is_empty()),
        host_network: spec.host_network.unwrap_or_default(),
        phase: phase(status.phase.as_deref())?,
        ports,
    })
}

fn pod_addresses(
    first: Option<String>,
    all: Option<Vec<RawPodIp>>,
) -> Result<Vec<IpAddr>, Problem> {
    let at = FieldPath::default().key("status");
    let mut addresses = Vec::new();
    for (index, entry) in all.into_iter().flatten().enumerate() {
        let at = at.key("podIPs").index(index).key("ip");
        addresses.push(words::address(&entry.ip).map_err(|message| at.problem(message))?);
    }
    if let Some(first) = first.filter(|first| !first.is_empty()) {
        let first = words::address(&first).map_err(|message| at.key("podIP").problem(message))?;
        if !addresses.contains(&first) {
            addresses.insert(0, first);
        }
    }
    Ok(addresses)
}

fn phase(word: Option<&str>) -> Result<Phase, Problem> {
    match word {
        None | Some("" | "Pending") => Ok(Phase::Pending),
        Some("Running") => Ok(Phase::Running),
        Some("Succeeded") => Ok(Phase::Succeeded),
        Some("Failed") => Ok(Phase::Failed),
        Some("Unknown") => Ok(Phase::Unknown),
        Some(other) => Err(FieldPath::default().key("status").key("phase").problem(format!(
            "is {other:?}: write Pending, Running, Succeeded, Failed or Unknown"
        ))),
    }
}

#[derive(Default, Deserialize)]
struct RawServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    selector: Option<Labels>,
    ports: Option<Vec<RawServicePort>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawServicePort {
    name: Option<String>,
    port: u16,
    target_port: Option<IntOrText>,
    protocol: Option<String>,
}

/// Reads a service.
pub(super) fn service(value: Value) -> Result<Service, Problem> {
    let mut raw: RawObject<RawServiceSpec, Nothing> = Problem::decode(value)?;
    let spec = raw.spec.unwrap_or_default();
    let at = FieldPath::default().key("spec");
    let mut cluster_ips = Vec::new();
    for text in spec.cluster_ips.into_iter().flatten().chain(spec.cluster_ip) {
        if text.is_empty() || text == "None" {
            continue;
        }
        let address =
            words::address(&text).map_err(|message| at.key("clusterIPs").problem(message))?;
        if !cluster_ips.contains(&address) {
            cluster_ips.push(address);
        }
    }
    let mut ports = Vec::new();
    for (index, port) in spec.ports.into_iter().flatten().enumerate() {
        let at = at.key("ports").index(index);
        ports.push(ServicePort {
            name: port.name.filter(|name| !name.is_empty()),
            port: port.port,
            target: target(port.target_port, port.port, &at)?,
            protocol: protocol(port.protocol.as_deref(), &at)?,
        });
    }
    Ok(Service {
        namespace: raw.metadata.namespace(),
        name: raw.metadata.name()?,
        cluster_ips,
        selector: spec.selector.unwrap_or_default(),
        ports,
    })
}

fn target(raw: Option<IntOrText>, port: u16, at: &FieldPath) -> Result<TargetPort, Problem> {
    match raw {
        None => Ok(TargetPort::Number(port)),
        Some(IntOrText::Text(name)) => Ok(TargetPort::Name(name)),
        Some(IntOrText::Int(number)) => match u16::try_from(number) {
            // As the API server defaults it.
            Ok(0) => Ok(TargetPort::Number(port)),
            Ok(number) => Ok(TargetPort::Number(number)),
            Err(_) => {
                Err(at.key("targetPort").problem(format!("is {number}: ports go from 1 to 65535")))
            }
        },
    }
}

#[derive(Default, Deserialize)]
struct RawNodeStatus {
    addresses: Option<Vec<RawNodeAddress>>,
}

#[derive(Deserialize)]
struct RawNodeAddress {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

/// Reads a node.
pub(super) fn node(value: Value) -> Result<Node, Problem> {
    let mut raw: RawObject<Nothing, RawNodeStatus> = Problem::decode(value)?;
    let at = FieldPath::default().key("status").key("addresses");
    let mut addresses = Vec::new();
    let entries = raw.status.unwrap_or_default().addresses.unwrap_or_default();
    for (index, entry) in entries.into_iter().enumerate() {
        // The other types are names.
        if matches!(entry.kind.as_str(), "InternalIP" | "ExternalIP") {
            let at = at.index(index).key("address");
            addresses.push(words::address(&entry.address).map_err(|message| at.problem(message))?);
        }
    }
    let labels = raw.metadata.labels.take().unwrap_or_default();
    Ok(Node { name: raw.metadata.name()?, labels, addresses })
}
