//! Policies and parts of them as manifest values.

use serde_json::{Map, Value, json};

use crate::model::{
    Direction, IpBlock, Labels, NetworkPolicy, Operator, Peer, Port, PortRule, Protocol, Rule,
    Selector,
};

/// A NetworkPolicy's manifest.
pub(in crate::explain) fn policy_value(policy: &NetworkPolicy) -> Value {
    let mut metadata = json!({ "name": policy.name, "namespace": policy.namespace });
    if policy.audit {
        metadata["annotations"] = json!({ "weir.io/audit": "true" });
    }
    let mut types = Vec::new();
    let mut spec = json!({ "podSelector": selector_of(&policy.pod_selector) });
    for (direction, isolates, word) in [
        (Direction::Ingress, policy.isolates_ingress, "Ingress"),
        (Direction::Egress, policy.isolates_egress, "Egress"),
    ] {
        let rules = match direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress => &policy.egress,
        };
        if isolates {
            types.push(word);
        }
        if !rules.is_empty() {
            let rules = rules.iter().map(|one| rule(one, direction)).collect();
            spec[direction.as_str()] = Value::Array(rules);
        }
    }
    spec["policyTypes"] = json!(types);
    manifest(&metadata, &spec)
}

fn manifest(metadata: &Value, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": spec,
    })
}

/// What a new policy is made of.
pub(in crate::explain) struct NewPolicy<'a> {
    pub(in crate::explain) namespace: &'a str,
    pub(in crate::explain) name: &'a str,
    pub(in crate::explain) pods: &'a Labels,
    pub(in crate::explain) direction: Direction,
    pub(in crate::explain) rule: Value,
}

/// A NetworkPolicy of one rule.
pub(in crate::explain) fn new_policy(new: &NewPolicy<'_>) -> Value {
    let selector = Selector { labels: new.pods.clone(), expressions: Vec::new() };
    let word = match new.direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    };
    let mut spec = json!({ "podSelector": selector_of(&selector), "policyTypes": [word] });
    spec[new.direction.as_str()] = json!([new.rule]);
    manifest(&json!({ "name": new.name, "namespace": new.namespace }), &spec)
}

fn rule(rule: &Rule, direction: Direction) -> Value {
    let mut fields = Map::new();
    if !rule.peers.is_empty() {
        let field = match direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        fields.insert(field.into(), rule.peers.iter().map(peer).collect());
    }
    if !rule.ports.is_empty() {
        fields.insert("ports".into(), rule.ports.iter().map(port).collect());
    }
    Value::Object(fields)
}

fn peer(peer: &Peer) -> Value {
    match peer {
        Peer::Block(block) => block_peer(block),
        Peer::Pods { namespaces, pods } => pods_peer(namespaces.as_ref(), pods.as_ref()),
    }
}

/// A peer of addresses.
pub(in crate::explain) fn block_peer(block: &IpBlock) -> Value {
    let mut fields = json!({ "cidr": block.cidr.to_string() });
    if !block.except.is_empty() {
        fields["except"] = block.except.iter().map(|except| json!(except.to_string())).collect();
    }
    json!({ "ipBlock": fields })
}

/// A peer of pods.
pub(in crate::explain) fn pods_peer(
    namespaces: Option<&Selector>,
    pods: Option<&Selector>,
) -> Value {
    let mut fields = Map::new();
    if let Some(selector) = namespaces {
        fields.insert("namespaceSelector".into(), selector_of(selector));
    }
    if let Some(selector) = pods {
        fields.insert("podSelector".into(), selector_of(selector));
    }
    Value::Object(fields)
}

/// A selector.
pub(in crate::explain) fn selector_of(selector: &Selector) -> Value {
    let mut fields = Map::new();
    if !selector.labels.is_empty() {
        fields.insert("matchLabels".into(), json!(selector.labels));
    }
    if !selector.expressions.is_empty() {
        let expressions = selector.expressions.iter().map(|requirement| {
            let (word, values) = match &requirement.operator {
                Operator::In(values) => ("In", Some(values)),
                Operator::NotIn(values) => ("NotIn", Some(values)),
                Operator::Exists => ("Exists", None),
                Operator::DoesNotExist => ("DoesNotExist", None),
            };
            let mut fields = json!({ "key": requirement.key, "operator": word });
            if let Some(values) = values {
                fields["values"] = json!(values);
            }
            fields
        });
        fields.insert("matchExpressions".into(), expressions.collect());
    }
    Value::Object(fields)
}

fn port(port: &PortRule) -> Value {
    match &port.port {
        Port::All => json!({ "protocol": port.protocol.as_str() }),
        Port::Range(first, last) => {
            let mut entry = port_entry(port.protocol, *first);
            if first != last {
                entry["endPort"] = json!(last);
            }
            entry
        }
        Port::Named(name) => json!({ "protocol": port.protocol.as_str(), "port": name }),
    }
}

/// An entry of `ports` for one number.
pub(in crate::explain) fn port_entry(protocol: Protocol, port: u16) -> Value {
    json!({ "protocol": protocol.as_str(), "port": port })
}
