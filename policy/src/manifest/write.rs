//! The model back into manifests: only what [`super::parse`] reads, so that parsing gives the same
//! object again, and nothing else of what people keep in their pods.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::annotations::INTERVAL;
use super::flow_logging::{self, write_moment, write_term};
use crate::model::{FlowLogging, Labels, Namespace, Node, Phase, Pod, Service, TargetPort};

/// A namespace as JSON.
pub fn write_namespace(namespace: &Namespace) -> String {
    let flags = [
        ("weir.io/audit", namespace.audit),
        ("policy.network.gke.io/enable-deny-logging", namespace.log_denies),
    ];
    let mut annotations: Map<String, Value> = flags
        .iter()
        .filter(|(_, set)| *set)
        .map(|(key, _)| ((*key).into(), "true".into()))
        .collect();
    if let Some(term) = namespace.interval {
        annotations.insert(INTERVAL.into(), write_term(term).into());
    }
    let mut metadata = metadata("", &namespace.name, &namespace.labels);
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), annotations.into());
    }
    object("Namespace", metadata, &[])
}

/// A pod as JSON.
pub fn write_pod(pod: &Pod) -> String {
    let mut metadata = metadata(&pod.namespace, &pod.name, &pod.labels);
    if let Some(workload) = &pod.workload {
        let owner = json!({"kind": workload.kind, "name": workload.name, "controller": true});
        metadata.insert("ownerReferences".into(), json!([owner]));
    }
    let mut spec = Map::new();
    if let Some(node) = &pod.node {
        spec.insert("nodeName".into(), node.as_str().into());
    }
    if pod.host_network {
        spec.insert("hostNetwork".into(), true.into());
    }
    if !pod.ports.is_empty() {
        let ports: Vec<Value> = pod
            .ports
            .iter()
            .map(|port| {
                named(
                    port.name.as_deref(),
                    json!({
                        "containerPort": port.port,
                        "protocol": port.protocol.as_str(),
                    }),
                )
            })
            .collect();
        spec.insert("containers".into(), json!([{"ports": ports}]));
    }
    let mut status = Map::new();
    status.insert("phase".into(), phase(pod.phase).into());
    if !pod.addresses.is_empty() {
        let addresses: Vec<Value> =
            pod.addresses.iter().map(|address| json!({"ip": address})).collect();
        status.insert("podIPs".into(), addresses.into());
    }
    object("Pod", metadata, &[("spec", spec), ("status", status)])
}

/// How often connections are reported, as YAML, since people go on editing it.
pub fn write_flow_logging(logging: &FlowLogging) -> String {
    // JSON's texts are YAML's too, and none of them is taken for a number or a truth value.
    let quoted = |text: &str| Value::from(text).to_string();
    let mut lines = vec![
        format!("apiVersion: {}", flow_logging::VERSION),
        "kind: FlowLogging".to_owned(),
        "metadata: {name: default}".to_owned(),
        "spec:".to_owned(),
    ];
    if *logging == FlowLogging::default() {
        lines.push("  {}".to_owned());
    }
    lines.extend(logging.interval.map(|interval| format!("  interval: {interval}")));
    if !logging.namespaces.is_empty() {
        lines.push("  namespaces:".to_owned());
    }
    for (namespace, interval) in &logging.namespaces {
        lines.push(format!("    {}: {interval}", quoted(namespace)));
    }
    if !logging.overrides.is_empty() {
        lines.push("  overrides:".to_owned());
    }
    for over in &logging.overrides {
        lines.push(format!("  - interval: {}", over.interval));
        lines.push(format!("    until: {}", quoted(&write_moment(over.until_ns))));
        if !over.namespaces.is_empty() {
            let names: Vec<String> = over.namespaces.iter().map(|name| quoted(name)).collect();
            lines.push(format!("    namespaces: [{}]", names.join(", ")));
        }
    }
    lines.join("\n") + "\n"
}

/// A service as JSON.
pub fn write_service(service: &Service) -> String {
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|port| {
            let target: Value = match &port.target {
                TargetPort::Number(number) => (*number).into(),
                TargetPort::Name(name) => name.as_str().into(),
            };
            named(
                port.name.as_deref(),
                json!({
                    "port": port.port,
                    "targetPort": target,
                    "protocol": port.protocol.as_str(),
                }),
            )
        })
        .collect();
    let spec = Map::from_iter([
        ("clusterIPs".to_owned(), json!(service.cluster_ips)),
        ("selector".to_owned(), json!(service.selector)),
        ("ports".to_owned(), ports.into()),
    ]);
    let metadata = metadata(&service.namespace, &service.name, &Labels::new());
    object("Service", metadata, &[("spec", spec)])
}

/// A node as JSON.
pub fn write_node(node: &Node) -> String {
    let address = |address: &IpAddr| json!({"type": "InternalIP", "address": address});
    let addresses: Vec<Value> = node.addresses.iter().map(address).collect();
    let status = Map::from_iter([("addresses".to_owned(), addresses.into())]);
    object("Node", metadata("", &node.name, &node.labels), &[("status", status)])
}

fn object(
    kind: &str,
    metadata: Map<String, Value>,
    parts: &[(&str, Map<String, Value>)],
) -> String {
    let mut object = Map::from_iter([
        ("apiVersion".to_owned(), "v1".into()),
        ("kind".to_owned(), kind.into()),
        ("metadata".to_owned(), metadata.into()),
    ]);
    for (name, part) in parts {
        object.insert((*name).to_owned(), part.clone().into());
    }
    Value::from(object).to_string()
}

fn metadata(namespace: &str, name: &str, labels: &Labels) -> Map<String, Value> {
    let mut metadata = Map::from_iter([("name".to_owned(), name.into())]);
    if !namespace.is_empty() {
        metadata.insert("namespace".into(), namespace.into());
    }
    if !labels.is_empty() {
        metadata.insert("labels".into(), json!(labels));
    }
    metadata
}

fn named(name: Option<&str>, mut value: Value) -> Value {
    if let Some(name) = name {
        value["name"] = name.into();
    }
    value
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "Running",
        Phase::Pending => "Pending",
        Phase::Unknown => "Unknown",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Object, parse};

    fn round_trip(text: &str, write: impl Fn(&Object) -> String) {
        for object in parse(text) {
            let object = object.unwrap();
            let written = write(&object);
            let again: Vec<Object> = parse(&written).into_iter().map(Result::unwrap).collect();
            assert_eq!(again, [object], "{written}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        round_trip(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  {name: a, namespace: x, labels: {app: a, pod-template-hash: h},\n\
             ownerReferences: [{kind: ReplicaSet, name: web-h, controller: true}]}\nspec:\n  nodeName: n1\n  \
             containers: [{name: c, env: [{name: SECRET, value: s}], ports: [{containerPort: 80, name: http}, \
             {containerPort: 53, protocol: UDP}]}]\nstatus: {phase: Pending, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, \
             {ip: 'fd00::1'}]}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: bare}\nspec: {hostNetwork: true}\n\
             status: {phase: Failed}\n",
            |object| match object {
                Object::Pod(pod) => {
                    let text = write_pod(pod);
                    assert!(!text.contains("SECRET"), "{text}");
                    text
                }
                other => panic!("{other:?}"),
            },
        );
        round_trip(
            "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: x}\nspec:\n  clusterIP: 10.9.0.1\n  \
             clusterIPs: [10.9.0.1]\n  selector: {app: a}\n  ports: [{port: 80, targetPort: http, name: web}, \
             {port: 53, protocol: UDP, targetPort: 5353}, {port: 443}]\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {name: headless}\nspec: {clusterIP: None}\n",
            |object| match object {
                Object::Service(service) => write_service(service),
                other => panic!("{other:?}"),
            },
        );
        round_trip(
            "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {zone: a}}\nstatus:\n  addresses: \
             [{type: Hostname, address: n1}, {type: InternalIP, address: 192.168.0.1}, \
             {type: ExternalIP, address: 'fd00::2'}]\n",
            |object| match object {
                Object::Node(node) => write_node(node),
                other => panic!("{other:?}"),
            },
        );
        let annotated = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n  labels: {team: a}\n  annotations: \
                         {weir.io/audit: 'true', policy.network.gke.io/enable-deny-logging: 'true'}\n";
        for text in [annotated, "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n"] {
            round_trip(text, |object| match object {
                Object::Namespace(namespace) => write_namespace(namespace),
                other => panic!("{other:?}"),
            });
        }
    }
}
