//! Clauses of selectors, peers and ports: what each wants and what it met.

use ipnet::IpNet;

use super::super::answer::{Clause, protocol_text};
use super::super::ends::{Holder, holder, host_network_pods, labels_text, name, pod_name};
use crate::evaluate::Attempt;
use crate::model::{
    Cluster, Direction, Labels, Operator, Peer, Pod, Port, PortRule, Requirement, Selector,
};

/// Where a rule is asked.
#[derive(Clone, Copy, Debug)]
pub(in crate::explain) struct At<'a> {
    pub(in crate::explain) cluster: &'a Cluster,
    pub(in crate::explain) direction: Direction,
    pub(in crate::explain) attempt: &'a Attempt,
}

impl<'a> At<'a> {
    /// The other end, if it is a pod that selectors can match.
    pub(in crate::explain) fn remote_pod(&self) -> Option<&'a Pod> {
        self.cluster.pod_at(self.attempt.remote(self.direction))
    }
}

/// Whether a clause holds.
pub(in crate::explain) fn matched(clause: &Clause) -> bool {
    clause.matched
}

fn clause(field: impl Into<String>, matched: bool, text: impl Into<String>) -> Clause {
    Clause { field: field.into(), matched, text: text.into() }
}

/// A selector of pods against one.
pub(in crate::explain) fn pod_selector(selector: &Selector, pod: &Pod, field: &str) -> Vec<Clause> {
    self::selector(selector, &pod.labels, field, &pod_name(pod), "pods")
}

fn namespace_selector(cluster: &Cluster, selector: &Selector, pod: &Pod) -> Vec<Clause> {
    let labels = &cluster.namespace(&pod.namespace).labels;
    let whose = format!("namespace {}", pod.namespace);
    self::selector(selector, labels, "namespaceSelector", &whose, "namespaces")
}

/// A selector against an object's labels, one clause a requirement.
pub(super) fn selector(
    selector: &Selector,
    labels: &Labels,
    field: &str,
    whose: &str,
    plural: &str,
) -> Vec<Clause> {
    if selector.is_empty() {
        return vec![clause(field, true, format!("empty: all {plural}"))];
    }
    let wanted = selector.labels.iter().map(|(key, value)| {
        let field = format!("{field}.matchLabels.{key}");
        let has = has_text(labels, key, whose);
        clause(field, labels.get(key) == Some(value), format!("wants {key}={value}; {has}"))
    });
    let required = selector.expressions.iter().enumerate().map(|(index, requirement)| {
        let field = format!("{field}.matchExpressions[{index}]");
        let mut text = format!(
            "wants {}; {}",
            requirement_text(requirement),
            has_text(labels, &requirement.key, whose)
        );
        if matches!(requirement.operator, Operator::NotIn(_))
            && !labels.contains_key(&requirement.key)
        {
            text.push_str(", which NotIn accepts");
        }
        clause(field, requirement.holds(labels), text)
    });
    wanted.chain(required).collect()
}

fn has_text(labels: &Labels, key: &str, whose: &str) -> String {
    match labels.get(key) {
        Some(value) => format!("{whose} has {key}={value}"),
        None => format!("{whose} has no label {key}"),
    }
}

/// `tier NotIn (db, cache)`.
pub(in crate::explain) fn requirement_text(requirement: &Requirement) -> String {
    let key = &requirement.key;
    match &requirement.operator {
        Operator::In(values) => format!("{key} In ({})", values.join(", ")),
        Operator::NotIn(values) => format!("{key} NotIn ({})", values.join(", ")),
        Operator::Exists => format!("{key} Exists"),
        Operator::DoesNotExist => format!("{key} DoesNotExist"),
    }
}

/// `app=web,tier NotIn (db)`; empty for everything.
pub(in crate::explain) fn selector_text(selector: &Selector) -> String {
    let mut parts = Vec::new();
    if !selector.labels.is_empty() {
        parts.push(labels_text(&selector.labels));
    }
    parts.extend(selector.expressions.iter().map(requirement_text));
    parts.join(",")
}

/// A peer of a NetworkPolicy in `namespace` against the other end.
pub(super) fn peer(at: At<'_>, namespace: &str, peer: &Peer) -> Vec<Clause> {
    match peer {
        Peer::Block(block) => {
            let mut clauses = vec![in_block(at, "ipBlock.cidr", block.cidr)];
            if clauses[0].matched {
                let remote = at.attempt.remote(at.direction);
                clauses.extend(block.except.iter().enumerate().map(|(index, except)| {
                    let field = format!("ipBlock.except[{index}]");
                    let inside = except.contains(&remote);
                    let word = if inside { "leaves out" } else { "does not leave out" };
                    clause(field, !inside, format!("{except} {word} {remote}"))
                }));
            }
            clauses
        }
        Peer::Pods { namespaces, pods } => {
            let Some(pod) = at.remote_pod() else {
                let field = if namespaces.is_some() { "namespaceSelector" } else { "podSelector" };
                return vec![no_pod(at, field)];
            };
            let mut clauses = match namespaces {
                Some(selector) => namespace_selector(at.cluster, selector, pod),
                None => {
                    let text = format!(
                        "without a namespaceSelector only pods of the policy's own namespace \
                         {namespace}; {} is in {}",
                        pod_name(pod),
                        pod.namespace
                    );
                    vec![clause("namespaceSelector", pod.namespace == namespace, text)]
                }
            };
            if let Some(selector) = pods {
                clauses.extend(pod_selector(selector, pod, "podSelector"));
            }
            clauses
        }
    }
}

/// A block of addresses against the other end.
pub(super) fn in_block(at: At<'_>, field: &str, block: IpNet) -> Clause {
    let remote = at.attempt.remote(at.direction);
    let inside = block.contains(&remote);
    let word = if inside { "contains" } else { "does not contain" };
    let families = if block.addr().is_ipv4() != remote.is_ipv4() {
        ", an address of the other family"
    } else {
        ""
    };
    clause(field, inside, format!("{block} {word} {}{families}", whom(at)))
}

/// Why selectors do not match an end that is no pod.
pub(super) fn no_pod(at: At<'_>, field: &str) -> Clause {
    let remote = at.attempt.remote(at.direction);
    let why = match holder(at.cluster, remote) {
        Holder::Node(node) => match host_network_pods(at.cluster, remote).next() {
            Some(pod) => format!(
                "{remote} is the address of node {node}, whose network {} uses",
                pod_name(pod)
            ),
            None => format!("{remote} is the address of node {node}"),
        },
        Holder::Service(service) => format!(
            "{remote} is the address of Service {}/{}, and policies see the pods behind it",
            service.namespace, service.name
        ),
        _ => format!("{remote} is no pod's address"),
    };
    clause(field, false, format!("selectors match pods' own addresses only; {why}"))
}

/// The other end with its address.
fn whom(at: At<'_>) -> String {
    let remote = at.attempt.remote(at.direction);
    match holder(at.cluster, remote) {
        Holder::World => remote.to_string(),
        Holder::Node(_) => name(at.cluster, remote),
        _ => format!("{remote} ({})", name(at.cluster, remote)),
    }
}

/// An entry of `ports` against the attempt.
pub(super) fn ports(at: At<'_>, rule: &PortRule) -> Vec<Clause> {
    let attempt = at.attempt;
    let same_protocol = rule.protocol.number() == attempt.protocol;
    let protocol = clause(
        "protocol",
        same_protocol,
        format!("wants {}; the attempt is {}", rule.protocol, protocol_text(attempt.protocol)),
    );
    let number = attempt.destination_port;
    let port = match &rule.port {
        Port::All => clause("port", true, "left out: all ports"),
        Port::Range(first, last) => {
            let inside = (*first..=*last).contains(&number);
            let (field, range) = if first == last {
                ("port", first.to_string())
            } else if number > *last {
                ("endPort", format!("{first} to {last}"))
            } else {
                ("port", format!("{first} to {last}"))
            };
            clause(field, inside, format!("wants {range}; the attempt is to {number}"))
        }
        Port::Named(port) => named_port(at, rule, port),
    };
    vec![protocol, port]
}

fn named_port(at: At<'_>, rule: &PortRule, port: &str) -> Clause {
    let number = at.attempt.destination_port;
    let Some(pod) = at.cluster.pod_at(at.attempt.destination) else {
        let whom = name(at.cluster, at.attempt.destination);
        return clause("port", false, format!("{port} is a name, and {whom} is no pod with ports"));
    };
    let numbers: Vec<u16> = pod.named_ports(port, rule.protocol).collect();
    let text = match numbers[..] {
        [] => format!("{} declares no {} port named {port}", pod_name(pod), rule.protocol),
        _ => {
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            format!(
                "{port} stands for {} {} on {}; the attempt is to {number}",
                rule.protocol,
                numbers.join(" and "),
                pod_name(pod)
            )
        }
    };
    clause("port", numbers.contains(&number), text)
}
