//! Changes that make a rule's peers cover the other end.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Part, Place, below};
use crate::explain::ends::{Holder, distance, holder, telling_labels};
use crate::explain::sentences::peer_text;
use crate::explain::yaml::{Edit, Step, block_peer, pods_peer, selector_of, way};
use crate::model::{
    Cluster, IpBlock, Labels, NAMESPACE_NAME_LABEL, NetworkPolicy, Peer, Pod, Rule, Selector,
};

/// Letters in which a label may differ to be a misspelling.
pub(in crate::explain) const MAX_TYPO: usize = 2;

/// The ways to make the rule at a field cover the other end.
pub(super) fn parts(
    place: Place<'_>,
    policy: &NetworkPolicy,
    rule: &Rule,
    field: &[Step],
) -> Vec<Part> {
    let word = match place.direction {
        crate::model::Direction::Ingress => "from",
        crate::model::Direction::Egress => "to",
    };
    let list = below(field, way![word]);
    let remote = place.attempt.remote(place.direction);
    let mut parts = Vec::new();
    for (index, peer) in rule.peers.iter().enumerate() {
        let field = below(&list, way![index]);
        match (peer, place.at.remote_pod()) {
            (Peer::Block(block), pod) => parts.extend(in_block(place, block, remote, pod, &field)),
            (Peer::Pods { namespaces, pods }, Some(pod)) => {
                // A peer that matches somebody is meant as it is; one that matches nobody is not.
                if !matches_anybody(place.cluster, &policy.namespace, peer) {
                    let wrong = Wrong { policy, namespaces, pods, pod, list: &list, index };
                    parts.extend(in_selectors(place, &wrong));
                }
            }
            (Peer::Pods { .. }, None) => {}
        }
    }
    parts.push(Part {
        cost: 4,
        edits: vec![Edit::Insert { list, before: None, value: new_peer(place) }],
        text: format!(
            "add {} to the peers",
            peer_text(place.cluster, place.attempt, place.direction)
        ),
        adds: true,
    });
    parts
}

/// The peer that covers the other end and little else.
pub(super) fn new_peer(place: Place<'_>) -> Value {
    let remote = place.attempt.remote(place.direction);
    let Holder::Pod(pod) = holder(place.cluster, remote) else {
        return block_peer(&IpBlock { cidr: IpNet::from(remote), except: Vec::new() });
    };
    peer_for(pod, &place.pod.namespace)
}

/// A peer for pods like this one, as a policy of that namespace writes it.
fn peer_for(pod: &Pod, namespace: &str) -> Value {
    let pods = labels_selector(telling_labels(&pod.labels));
    if pod.namespace == namespace {
        return pods_peer(None, Some(&pods));
    }
    let namespaces = namespace_by_name(&pod.namespace);
    pods_peer(Some(&namespaces), (!pods.is_empty()).then_some(&pods))
}

fn labels_selector(labels: Labels) -> Selector {
    Selector { labels, expressions: Vec::new() }
}

fn namespace_by_name(namespace: &str) -> Selector {
    labels_selector([(NAMESPACE_NAME_LABEL.to_owned(), namespace.to_owned())].into())
}

/// Whether a peer of a policy in that namespace matches any pod.
pub(in crate::explain) fn matches_anybody(cluster: &Cluster, namespace: &str, peer: &Peer) -> bool {
    let Peer::Pods { namespaces, pods } = peer else { return true };
    cluster.pods.iter().filter(|pod| pod.is_networked()).any(|pod| {
        let in_namespace = match namespaces {
            Some(selector) => selector.matches(&cluster.namespace(&pod.namespace).labels),
            None => pod.namespace == namespace,
        };
        in_namespace && pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
    })
}

/// Whether any namespace of the cluster has such labels.
pub(in crate::explain) fn any_namespace(cluster: &Cluster, is: impl Fn(&Labels) -> bool) -> bool {
    cluster.namespaces.iter().any(|namespace| is(&namespace.labels))
        || cluster.pods.iter().any(|pod| is(&cluster.namespace(&pod.namespace).labels))
}

fn in_block(
    place: Place<'_>,
    block: &IpBlock,
    remote: IpAddr,
    pod: Option<&Pod>,
    field: &[Step],
) -> Vec<Part> {
    let mut parts = Vec::new();
    let host = IpNet::from(remote);
    if block.cidr.contains(&remote) {
        if let Some(index) = block.except.iter().position(|except| *except == host) {
            parts.push(Part {
                cost: 2,
                edits: vec![Edit::Remove { at: below(field, way!["ipBlock", "except", index]) }],
                text: format!("remove {host} from except"),
                adds: false,
            });
        }
        return parts;
    }
    let is_host = block.cidr.prefix_len() == block.cidr.max_prefix_len();
    let stale = is_host
        && matches!(holder(place.cluster, block.cidr.addr()), Holder::World | Holder::Service(_));
    if let (true, Some(pod)) = (stale, pod) {
        parts.push(Part {
            cost: 3,
            edits: vec![Edit::Set {
                at: field.to_vec(),
                value: peer_for(pod, &place.pod.namespace),
            }],
            text: format!(
                "replace ipBlock {} by a selector of {}",
                block.cidr,
                peer_text(place.cluster, place.attempt, place.direction)
            ),
            adds: false,
        });
    }
    parts
}

/// A peer that matches nobody.
struct Wrong<'a> {
    policy: &'a NetworkPolicy,
    namespaces: &'a Option<Selector>,
    pods: &'a Option<Selector>,
    pod: &'a Pod,
    list: &'a [Step],
    index: usize,
}

fn in_selectors(place: Place<'_>, wrong: &Wrong<'_>) -> Vec<Part> {
    let Wrong { policy, namespaces, pods, pod, list, index } = wrong;
    let field = below(list, way![*index]);
    let namespace = place.cluster.namespace(&pod.namespace);
    let pods_match = pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels));
    let namespace_matches = match namespaces {
        Some(selector) => selector.matches(&namespace.labels),
        None => pod.namespace == policy.namespace,
    };
    let part = |cost, edits, text: String| Part { cost, edits, text, adds: false };
    let mut parts = Vec::new();
    if let Some(selector) = pods
        && namespace_matches
    {
        parts.extend(labels(selector, &pod.labels, &below(&field, way!["podSelector"])));
    }
    match namespaces {
        None if pods_match && pod.namespace != policy.namespace => {
            let at = below(&field, way!["namespaceSelector"]);
            let value = selector_of(&namespace_by_name(&pod.namespace));
            let text = format!("add a namespaceSelector for namespace {}", pod.namespace);
            parts.push(part(2, vec![Edit::Set { at, value }], text));
        }
        Some(selector)
            if pods_match && !any_namespace(place.cluster, |labels| selector.matches(labels)) =>
        {
            let at = below(&field, way!["namespaceSelector"]);
            parts.extend(labels(selector, &namespace.labels, &at));
            let value = selector_of(&namespace_by_name(&pod.namespace));
            let text = format!(
                "select namespace {} by {NAMESPACE_NAME_LABEL}, which every namespace has",
                pod.namespace
            );
            parts.push(part(2, vec![Edit::Set { at, value }], text));
        }
        _ => {}
    }
    // The peer asks for both; one of them was meant to be enough.
    if let (Some(of_namespaces), Some(of_pods)) = (namespaces, pods)
        && (namespace_matches != pods_match || pod.namespace == policy.namespace)
    {
        let first = pods_peer(Some(of_namespaces), None);
        let second = pods_peer(None, Some(of_pods));
        parts.push(part(
            3,
            vec![
                Edit::Set { at: field.clone(), value: first },
                Edit::Insert { list: list.to_vec(), before: Some(index + 1), value: second },
            ],
            "make two peers of namespaceSelector and podSelector, so that either is enough".into(),
        ));
    }
    parts
}

/// Corrections of the one label that keeps a selector from an object.
pub(super) fn labels(selector: &Selector, labels: &Labels, field: &[Step]) -> Vec<Part> {
    let wrong: Vec<(&String, &String)> =
        selector.labels.iter().filter(|(key, value)| labels.get(*key) != Some(*value)).collect();
    let [(key, value)] = wrong[..] else { return Vec::new() };
    let map = below(field, way!["matchLabels"]);
    let mut parts = Vec::new();
    match labels.get(key) {
        Some(has) => parts.push(Part {
            cost: if distance(value, has) <= MAX_TYPO { 1 } else { 2 },
            edits: vec![Edit::Set { at: below(&map, way![key.as_str()]), value: json!(has) }],
            text: format!("change label {key}={value} to {key}={has}"),
            adds: false,
        }),
        // The key may be the one that is misspelt.
        None => {
            let close = labels.iter().find(|(other, has)| {
                distance(other, key) <= MAX_TYPO && *has == value
                    || others_name(key, other, value, has)
            });
            if let Some((other, has)) = close {
                let rest = selector.labels.iter().filter(|(one, _)| *one != key);
                let mut labels: Labels = rest.map(|(k, v)| (k.clone(), v.clone())).collect();
                labels.insert(other.clone(), has.clone());
                parts.push(Part {
                    cost: 1,
                    edits: vec![Edit::Set { at: map, value: json!(labels) }],
                    text: format!("change label {key}={value} to {other}={has}"),
                    adds: false,
                });
            }
        }
    }
    parts
}

/// Whether a label is the same one under another of its usual names, such as `app` and
/// `app.kubernetes.io/name`.
fn others_name(key: &str, other: &str, value: &str, has: &str) -> bool {
    const NAMES: [&str; 4] = ["app", "app.kubernetes.io/name", "k8s-app", "name"];
    value == has && NAMES.contains(&key) && NAMES.contains(&other)
}
