//! Mistakes about peers.

use ipnet::IpNet;

use super::ports::capital;
use super::{Place, RuleAt, mistake};
use crate::explain::answer::Mistake;
use crate::explain::change::{MAX_TYPO, any_namespace, matches_anybody};
use crate::explain::ends::{Holder, distance, holder, host_network_pods, pod_name};
use crate::explain::service;
use crate::explain::trace::clauses::requirement_text;
use crate::model::{
    IpBlock, Labels, NAMESPACE_NAME_LABEL, NetworkPolicy, Operator, Peer, Pod, Selector,
};

/// All of them.
pub(super) fn find(place: Place<'_>) -> Vec<Mistake> {
    let rules = place.rules();
    let mut found = Vec::new();
    for rule in rules.iter().filter(|rule| !rule.trace.peer_matched) {
        for peer in &rule.rule.peers {
            match peer {
                Peer::Block(block) => found.extend(in_block(place, rule, block)),
                Peer::Pods { namespaces, pods } => {
                    found.extend(in_selectors(place, rule, peer, namespaces, pods));
                }
            }
        }
        found.extend(other_family(place, rule));
    }
    found
}

fn in_block(place: Place<'_>, rule: &RuleAt<'_>, block: &IpBlock) -> Option<Mistake> {
    let remote = place.attempt.remote(place.direction);
    let name = capital(&rule.name());
    if block.cidr.contains(&remote) {
        let except = block.except.iter().find(|except| except.contains(&remote))?;
        return Some(mistake(
            "except_hides",
            format!(
                "{name} covers {remote} by its ipBlock {}, but the except {except} leaves it out again",
                block.cidr
            ),
            "shrink or remove the except, or add a peer that covers the address: an except takes \
             away from its own ipBlock only",
        ));
    }
    let pod = place.at.remote_pod()?;
    let services = place.cluster.services.iter();
    let of_service = services
        .filter(|one| one.cluster_ips.iter().any(|address| block.cidr.contains(address)))
        .find(|one| service::selected(place.cluster, one).any(|backend| backend == pod));
    if let Some(service) = of_service {
        return Some(mistake(
            "block_of_service",
            format!(
                "{name} has the ipBlock {}, the address of Service {}/{}: when a policy is asked, \
                 it has been replaced by the address of a pod, here {remote}",
                block.cidr, service.namespace, service.name
            ),
            "select the pods behind the Service by their labels",
        ));
    }
    let is_host = block.cidr.prefix_len() == block.cidr.max_prefix_len();
    if is_host && matches!(holder(place.cluster, block.cidr.addr()), Holder::World) {
        return Some(mistake(
            "block_of_old_addresses",
            format!(
                "{name} has the ipBlock {}, an address that nothing in the cluster has; {} now has \
                 {remote}, and pods get new addresses whenever they are made again",
                block.cidr,
                pod_name(pod)
            ),
            "select the pods by their labels",
        ));
    }
    None
}

fn other_family(place: Place<'_>, rule: &RuleAt<'_>) -> Option<Mistake> {
    let remote = place.attempt.remote(place.direction);
    let blocks: Vec<IpNet> = rule
        .rule
        .peers
        .iter()
        .filter_map(|peer| match peer {
            Peer::Block(block) => Some(block.cidr),
            Peer::Pods { .. } => None,
        })
        .collect();
    let other = |block: &IpNet| block.addr().is_ipv4() != remote.is_ipv4();
    if blocks.is_empty() || !blocks.iter().all(other) {
        return None;
    }
    let (has, asked) = if remote.is_ipv4() { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
    Some(mistake(
        "block_of_other_family",
        format!(
            "{} has {has} blocks only, such as {}, and the attempt is {asked}: no block covers the \
             other family",
            capital(&rule.name()),
            blocks[0]
        ),
        format!(
            "add an {asked} block, such as {}",
            if remote.is_ipv4() { "0.0.0.0/0" } else { "::/0" }
        ),
    ))
}

fn in_selectors(
    place: Place<'_>,
    rule: &RuleAt<'_>,
    peer: &Peer,
    namespaces: &Option<Selector>,
    pods: &Option<Selector>,
) -> Vec<Mistake> {
    let name = capital(&rule.name());
    let Some(pod) = place.at.remote_pod() else {
        return host_network(place, rule, namespaces, pods).into_iter().collect();
    };
    let namespace = place.cluster.namespace(&pod.namespace);
    let pods_match = pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels));
    let mut found = Vec::new();
    match namespaces {
        None if pod.namespace != rule.policy.namespace && pods_match => found.push(mistake(
            "pod_selector_other_namespace",
            format!(
                "{name} has a podSelector without a namespaceSelector, which means pods of \
                 namespace {} only; {} is in {}",
                rule.policy.namespace,
                pod_name(pod),
                pod.namespace
            ),
            format!(
                "add a namespaceSelector to the same peer, for example {NAMESPACE_NAME_LABEL}={}",
                pod.namespace
            ),
        )),
        // One that matches other namespaces is meant as it is.
        Some(selector) if !matches_any_namespace(place, selector) => {
            found.extend(namespace_label(&name, selector, &namespace.labels, pod));
        }
        _ => {}
    }
    let namespace_matches = match namespaces {
        Some(selector) => selector.matches(&namespace.labels),
        None => pod.namespace == rule.policy.namespace,
    };
    if let Some(selector) = pods
        && namespace_matches
        && !matches_anybody(place.cluster, &rule.policy.namespace, peer)
    {
        found.extend(typo(&name, selector, &pod.labels, &pod_name(pod)));
    }
    if let (Some(of_namespaces), Some(of_pods)) = (namespaces, pods)
        && namespace_matches != pods_match
        && !of_pods.is_empty()
        && matches_any_namespace(place, of_namespaces)
        && !matches_anybody(place.cluster, &rule.policy.namespace, peer)
    {
        let (does, not) = if namespace_matches {
            ("namespaceSelector", "podSelector")
        } else {
            ("podSelector", "namespaceSelector")
        };
        found.push(mistake(
            "and_meant_or",
            format!(
                "{name} has namespaceSelector and podSelector in one peer, which means both at \
                 once: {} matches the {does} but not the {not}",
                pod_name(pod)
            ),
            "if either was meant to be enough, make two peers of them, each with its own '-'",
        ));
    }
    found
}

fn matches_any_namespace(place: Place<'_>, selector: &Selector) -> bool {
    any_namespace(place.cluster, |labels| selector.matches(labels))
}

fn host_network(
    place: Place<'_>,
    rule: &RuleAt<'_>,
    namespaces: &Option<Selector>,
    pods: &Option<Selector>,
) -> Option<Mistake> {
    let remote = place.attempt.remote(place.direction);
    let pod = host_network_pods(place.cluster, remote).find(|pod| {
        let in_namespace = match namespaces {
            Some(selector) => selector.matches(&place.cluster.namespace(&pod.namespace).labels),
            None => pod.namespace == rule.policy.namespace,
        };
        in_namespace && pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
    })?;
    Some(mistake(
        "host_network_peer",
        format!(
            "{} selects {} by its labels, but that pod is on its node's network: others see the \
             node's address {remote}, which no selector matches",
            capital(&rule.name()),
            pod_name(pod)
        ),
        "allow the node's address by an ipBlock",
    ))
}

fn namespace_label(rule: &str, selector: &Selector, labels: &Labels, pod: &Pod) -> Option<Mistake> {
    let (key, value) =
        selector.labels.iter().find(|(key, value)| labels.get(*key) != Some(value))?;
    let has = match labels.get(key) {
        Some(has) if distance(has, value) <= MAX_TYPO => {
            return typo(rule, selector, labels, &format!("namespace {}", pod.namespace));
        }
        Some(has) => format!("has {key}={has}"),
        None => "has no such label".to_owned(),
    };
    Some(mistake(
        "namespace_label_missing",
        format!(
            "{rule} wants namespaces labelled {key}={value}, and namespace {} {has}",
            pod.namespace
        ),
        format!(
            "label the namespace, or select it by {NAMESPACE_NAME_LABEL}={}, which it always has",
            pod.namespace
        ),
    ))
}

/// A label of the selector that is nearly one of the object's.
pub(super) fn typo(
    rule: &str,
    selector: &Selector,
    labels: &Labels,
    whose: &str,
) -> Option<Mistake> {
    let (key, value) =
        selector.labels.iter().find(|(key, value)| labels.get(*key) != Some(value))?;
    let near = |(other, has): &(&String, &String)| {
        let keys = distance(key, other);
        let values = distance(value, has);
        keys + values <= MAX_TYPO && (keys == 0 || values == 0)
    };
    let (other, has) = labels.iter().find(near)?;
    Some(mistake(
        "label_typo",
        format!(
            "{rule} wants the label {key}={value}, and {whose} has {other}={has}, which is nearly the same"
        ),
        format!("write {other}={has}, or change the label of the object"),
    ))
}

/// What is odd about a rule that allows.
pub(super) fn allowed(place: Place<'_>) -> Vec<Mistake> {
    let mut found = Vec::new();
    for rule in place.rules().iter().filter(|rule| rule.trace.matched) {
        found.extend(or_meant_and(place, rule));
        found.extend(not_in(place, rule));
    }
    found
}

/// A namespaceSelector alone allows a pod that the podSelector next to it does not match.
fn or_meant_and(place: Place<'_>, rule: &RuleAt<'_>) -> Option<Mistake> {
    let pod = place.at.remote_pod()?;
    let matched: Vec<&Peer> = rule
        .trace
        .peers
        .iter()
        .zip(&rule.rule.peers)
        .filter(|(trace, _)| trace.matched)
        .map(|(_, peer)| peer)
        .collect();
    let [Peer::Pods { namespaces: Some(_), pods: None }] = matched[..] else { return None };
    let other = rule.rule.peers.iter().find_map(|peer| match peer {
        Peer::Pods { namespaces: None, pods: Some(pods) } if !pods.is_empty() => Some(pods),
        _ => None,
    })?;
    (!other.matches(&pod.labels)).then(|| {
        mistake(
            "or_meant_and",
            format!(
                "{} has namespaceSelector and podSelector as two peers, which means either: {} is \
                 allowed by its namespace alone",
                capital(&rule.name()),
                pod_name(pod)
            ),
            "if both were meant at once, put them into one peer, under one '-'",
        )
    })
}

fn not_in(place: Place<'_>, rule: &RuleAt<'_>) -> Option<Mistake> {
    let pod = place.at.remote_pod()?;
    let selectors = rule.rule.peers.iter().filter_map(|peer| match peer {
        Peer::Pods { pods: Some(pods), .. } => Some(pods),
        _ => None,
    });
    let missing = selectors
        .filter(|selector| selector.matches(&pod.labels))
        .find_map(|selector| without_label(selector, &pod.labels))?;
    Some(mistake(
        "not_in_without_label",
        format!(
            "{} allows {} by {missing}, because NotIn matches pods without that label too",
            capital(&rule.name()),
            pod_name(pod)
        ),
        "add an expression with operator Exists for the same key",
    ))
}

/// A `NotIn` of a policy's podSelector that selects a pod without the label.
pub(super) fn subject_not_in(policy: &NetworkPolicy, pod: &Pod) -> Option<Mistake> {
    let missing = without_label(&policy.pod_selector, &pod.labels)?;
    Some(mistake(
        "not_in_without_label",
        format!(
            "{}/{} selects {} by {missing}, because NotIn matches pods without that label too",
            policy.namespace,
            policy.name,
            pod_name(pod)
        ),
        "add an expression with operator Exists for the same key, or label the pod",
    ))
}

fn without_label(selector: &Selector, labels: &Labels) -> Option<String> {
    let requirement = selector.expressions.iter().find(|requirement| {
        matches!(requirement.operator, Operator::NotIn(_)) && !labels.contains_key(&requirement.key)
    })?;
    Some(requirement_text(requirement))
}
