//! Tier policies and rules of them as manifest values.

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::value::selector_of;
use crate::model::{
    Action, Direction, Port, PortRule, Protocol, Selector, Tier, TierKind, TierPeer, TierPods,
    TierPolicy, TierRule,
};

/// A tier policy's manifest.
pub(in crate::explain) fn tier_policy_value(policy: &TierPolicy) -> Value {
    let kind = policy.kind;
    let version = match kind {
        TierKind::ClusterNetworkPolicy => "policy.networking.k8s.io/v1alpha2",
        _ => "policy.networking.k8s.io/v1alpha1",
    };
    let mut metadata = json!({ "name": policy.name });
    if policy.audit {
        metadata["annotations"] = json!({ "weir.io/audit": "true" });
    }
    let mut spec = json!({ "subject": pods(&policy.subject) });
    if kind != TierKind::BaselineAdminNetworkPolicy {
        spec["priority"] = json!(policy.priority);
    }
    if kind == TierKind::ClusterNetworkPolicy {
        spec["tier"] = json!(match policy.tier {
            Tier::Admin => "Admin",
            Tier::Baseline => "Baseline",
        });
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        let rules = policy.rules(direction);
        if !rules.is_empty() {
            spec[direction.as_str()] =
                rules.iter().map(|rule| tier_rule_value(kind, rule, direction)).collect();
        }
    }
    json!({ "apiVersion": version, "kind": kind.as_str(), "metadata": metadata, "spec": spec })
}

/// A rule of a tier policy.
pub(in crate::explain) fn tier_rule_value(
    kind: TierKind,
    rule: &TierRule,
    direction: Direction,
) -> Value {
    let is_newer = kind == TierKind::ClusterNetworkPolicy;
    let mut fields = Map::new();
    if let Some(name) = &rule.name {
        fields.insert("name".into(), json!(name));
    }
    let action = match rule.action {
        Action::Allow if is_newer => "Accept",
        Action::Allow => "Allow",
        Action::Deny => "Deny",
        Action::Pass => "Pass",
    };
    fields.insert("action".into(), json!(action));
    let peers_field = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    fields.insert(peers_field.into(), rule.peers.iter().map(peer).collect());
    // A name stands for the port of every protocol, once.
    let mut seen: Vec<&str> = Vec::new();
    let ports: Vec<Value> = rule
        .ports
        .iter()
        .filter(|rule| match &rule.port {
            Port::Named(name) if seen.contains(&name.as_str()) => false,
            Port::Named(name) => {
                seen.push(name);
                true
            }
            _ => true,
        })
        .map(|port| if is_newer { newer_port(port) } else { older_port(port) })
        .collect();
    if !ports.is_empty() {
        fields.insert(if is_newer { "protocols" } else { "ports" }.into(), ports.into());
    }
    Value::Object(fields)
}

fn peer(peer: &TierPeer) -> Value {
    let network = |block: &IpNet| json!({ "networks": [block.to_string()] });
    match peer {
        TierPeer::Pods(wanted) => pods(wanted),
        TierPeer::Network(block) => network(block),
        TierPeer::Nodes(wanted) => json!({ "nodes": selector_of(wanted) }),
    }
}

fn pods(wanted: &TierPods) -> Value {
    let namespaces: &Selector = &wanted.namespaces;
    match &wanted.pods {
        None => json!({ "namespaces": selector_of(namespaces) }),
        Some(pods) => json!({ "pods": {
            "namespaceSelector": selector_of(namespaces),
            "podSelector": selector_of(pods),
        } }),
    }
}

fn older_port(port: &PortRule) -> Value {
    let protocol = port.protocol.as_str();
    match &port.port {
        Port::Range(first, last) if first == last => {
            json!({ "portNumber": { "protocol": protocol, "port": first } })
        }
        Port::Range(first, last) => {
            json!({ "portRange": { "protocol": protocol, "start": first, "end": last } })
        }
        Port::All => json!({ "portRange": { "protocol": protocol, "start": 1, "end": 65535 } }),
        Port::Named(name) => json!({ "namedPort": name }),
    }
}

fn newer_port(port: &PortRule) -> Value {
    let field = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let number = match &port.port {
        Port::Range(first, last) if first == last => json!({ "number": first }),
        Port::Range(first, last) => json!({ "range": { "start": first, "end": last } }),
        Port::All => json!({ "range": { "start": 1, "end": 65535 } }),
        Port::Named(name) => return json!({ "destinationNamedPort": name }),
    };
    let mut fields = Map::new();
    fields.insert(field.into(), json!({ "destinationPort": number }));
    Value::Object(fields)
}
