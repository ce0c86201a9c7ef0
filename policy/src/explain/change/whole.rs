//! New rules and new policies.

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::peers::new_peer;
use super::ports::protocol;
use super::{Candidate, OPENING_COST, Place, What, name_of};
use crate::explain::answer::{Outcome, Side};
use crate::explain::ends::{Holder, holder, labels_text, telling_labels};
use crate::explain::sentences::{ordinal, peer_text, port_text};
use crate::explain::yaml::{self, Edit, NewPolicy, port_entry, tier_rule_value, way};
use crate::manifest::ObjectName;
use crate::model::{
    Action, Direction, Labels, NAMESPACE_NAME_LABEL, NetworkPolicy, Port, PortRule, Protocol,
    Selector, TierKind, TierPeer, TierPods, TierRule,
};

/// A further rule of a policy that selects the pod.
pub(super) fn new_rule(place: Place<'_>, policy: &NetworkPolicy) -> Option<Candidate> {
    let all = policy.pod_selector.is_empty();
    Some(Candidate {
        cost: 6 + if all { OPENING_COST } else { 0 },
        object: name_of(policy),
        rule: None,
        what: What::Edits(vec![Edit::Insert {
            list: way!["spec", place.direction.as_str()],
            before: None,
            value: rule(place),
        }]),
        sentence: format!(
            "Add a rule to {}/{} that allows {}",
            policy.namespace,
            policy.name,
            what(place)
        ),
    })
}

/// A policy for pods like this one.
pub(super) fn new_policy(place: Place<'_>) -> Option<Candidate> {
    let pods = telling_labels(&place.pod.labels);
    // Without labels it would open every pod of the namespace.
    if pods.is_empty() {
        return None;
    }
    let name = name(place, &pods);
    let value = yaml::new_policy(&NewPolicy {
        namespace: &place.pod.namespace,
        name: &name,
        pods: &pods,
        direction: place.direction,
        rule: rule(place),
    });
    Some(Candidate {
        cost: 8,
        sentence: format!(
            "Add a policy {}/{name} that lets pods labelled {} {} {}",
            place.pod.namespace,
            labels_text(&pods),
            match place.direction {
                Direction::Ingress => "take",
                Direction::Egress => "open",
            },
            what(place)
        ),
        object: ObjectName {
            kind: crate::evaluate::NETWORK_POLICY.into(),
            namespace: place.pod.namespace.clone(),
            name,
        },
        rule: None,
        what: What::New(value),
    })
}

/// "TCP 80 from pods labelled app=web".
fn what(place: Place<'_>) -> String {
    let word = match place.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let peer = peer_text(place.cluster, place.attempt, place.direction);
    let ports = match protocols(place).len() {
        2 => format!("UDP and TCP {}", place.attempt.destination_port),
        _ => port_text(place.attempt),
    };
    format!("{ports} {word} {peer}")
}

/// A name that no policy of the namespace has.
fn name(place: Place<'_>, pods: &Labels) -> String {
    let own = pods.values().next().map_or("pods", String::as_str);
    let other = match holder(place.cluster, place.attempt.remote(place.direction)) {
        Holder::Pod(pod) => telling_labels(&pod.labels)
            .into_iter()
            .next()
            .map(|(_, value)| value)
            .unwrap_or_else(|| pod.name.clone()),
        Holder::Node(node) => node.to_owned(),
        _ => "outside".to_owned(),
    };
    let word = match place.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let name: String = format!("{own}-allow-{word}-{other}")
        .to_ascii_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .take(60)
        .collect();
    let name = name.trim_matches('-').to_owned();
    let is_taken = |name: &str| {
        let mut policies = place.cluster.policies.iter();
        policies.any(|policy| policy.namespace == place.pod.namespace && policy.name == name)
    };
    let mut number = 2;
    let mut free = name.clone();
    while is_taken(&free) {
        free = format!("{name}-{number}");
        number += 1;
    }
    free
}

fn rule(place: Place<'_>) -> Value {
    let peers = match place.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let mut fields = Map::new();
    fields.insert(peers.into(), json!([new_peer(place)]));
    let number = place.attempt.destination_port;
    let entries: Vec<Value> =
        protocols(place).into_iter().map(|protocol| port_entry(protocol, number)).collect();
    // Only a rule without ports covers protocols without ports.
    if !entries.is_empty() {
        fields.insert("ports".into(), entries.into());
    }
    Value::Object(fields)
}

/// The protocols that a new rule names: names are asked for over both.
fn protocols(place: Place<'_>) -> Vec<Protocol> {
    match (place.attempt.destination_port, protocol(place.attempt.protocol)) {
        (53, Some(Protocol::Udp | Protocol::Tcp)) => vec![Protocol::Udp, Protocol::Tcp],
        (_, one) => one.into_iter().collect(),
    }
}

/// A rule that allows, before the one of a tier that denies.
pub(super) fn tier_rules(place: Place<'_>, side: &Side) -> Vec<Candidate> {
    let denying = side.policies.iter().filter(|policy| policy.outcome == Outcome::Denies);
    let mut found = Vec::new();
    for trace in denying {
        let Some(policy) = place
            .cluster
            .tier_policies
            .iter()
            .find(|policy| policy.name == trace.name && policy.kind.as_str() == trace.kind)
        else {
            continue;
        };
        let Some(denies) = trace.rules.iter().find(|rule| rule.matched) else { continue };
        let Some(rule) = tier_rule(place, policy.kind) else { continue };
        found.push(Candidate {
            cost: 6,
            object: ObjectName {
                kind: trace.kind.into(),
                namespace: String::new(),
                name: trace.name.clone(),
            },
            rule: Some(denies.index),
            what: What::Edits(vec![Edit::Insert {
                list: way!["spec", place.direction.as_str()],
                before: Some(denies.index),
                value: rule,
            }]),
            sentence: format!(
                "Add a rule to {} {} before its {} {} rule that allows {}",
                trace.kind,
                trace.name,
                ordinal(denies.index),
                place.direction,
                what(place)
            ),
        });
    }
    found
}

fn tier_rule(place: Place<'_>, kind: TierKind) -> Option<Value> {
    let remote = place.attempt.remote(place.direction);
    let peer = match (place.at.remote_pod(), place.direction) {
        (Some(pod), _) => {
            let labels = [(NAMESPACE_NAME_LABEL.to_owned(), pod.namespace.clone())].into();
            let pods = telling_labels(&pod.labels);
            TierPeer::Pods(TierPods {
                namespaces: Selector { labels, expressions: Vec::new() },
                pods: (!pods.is_empty())
                    .then(|| Selector { labels: pods, expressions: Vec::new() }),
            })
        }
        (None, Direction::Egress) => TierPeer::Network(IpNet::from(remote)),
        (None, Direction::Ingress) => return None,
    };
    let number = place.attempt.destination_port;
    let ports = protocol(place.attempt.protocol)
        .map(|protocol| PortRule { protocol, port: Port::Range(number, number) });
    let rule = TierRule {
        name: None,
        action: Action::Allow,
        peers: vec![peer],
        ports: ports.into_iter().collect(),
    };
    Some(tier_rule_value(kind, &rule, place.direction))
}
