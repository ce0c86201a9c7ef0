//! Mistakes about whole policies: whom they select, what they isolate.

use weir_flow::values::{Direction, Verdict};

use super::peers::{subject_not_in, typo};
use super::ports::capital;
use super::{Place, mistake};
use crate::evaluate::{rule_allows, rule_has_port, selects};
use crate::explain::answer::{Mistake, Side};
use crate::explain::ends::{labels_text, pod_name};
use crate::explain::sentences::{listed, port_text};
use crate::explain::service;
use crate::explain::trace::clauses::selector_text;
use crate::model::{NetworkPolicy, Peer, Pod, Port, Protocol};

/// Where names are asked for.
const DNS_PORT: u16 = 53;

/// All about one end.
pub(super) fn find(place: Place<'_>) -> Vec<Mistake> {
    let mut found = Vec::new();
    let (direction, pod) = (place.direction, place.pod);
    let name = |policy: &NetworkPolicy| format!("{}/{}", policy.namespace, policy.name);
    for policy in place.cluster.policies.iter().filter(|policy| policy.isolates(direction)) {
        let allows = || {
            let mut rules = policy.rules(direction).iter();
            rules.any(|rule| rule_allows(place.cluster, policy, rule, direction, place.attempt))
        };
        if selects(policy, pod) {
            found.extend(subject_not_in(policy, pod));
            if direction == Direction::Egress && policy.egress.is_empty() {
                found.push(mistake(
                    "egress_without_rules",
                    format!(
                        "{} lists Egress in policyTypes and has no egress rules, which denies \
                         everything that its pods begin",
                        name(policy)
                    ),
                    "leave Egress out of policyTypes, or add egress rules",
                ));
            }
        } else if policy.namespace != pod.namespace {
            found.extend(wrong_namespace(place, policy));
        } else if allows() {
            found.extend(partial_backends(place, policy));
            let nobody = !place.cluster.pods.iter().any(|pod| selects(policy, pod));
            if nobody {
                let of = format!("The podSelector of {}", name(policy));
                found.extend(typo(&of, &policy.pod_selector, &pod.labels, &pod_name(pod)));
            }
        }
        found.extend(selects_client(place, policy));
    }
    if direction == Direction::Egress {
        found.extend(without_dns(place));
    }
    found
}

/// The policy would allow it, selects other pods behind the Service, and not this one.
fn partial_backends(place: Place<'_>, policy: &NetworkPolicy) -> Option<Mistake> {
    if place.direction != Direction::Ingress {
        return None;
    }
    let (service, cut_off, left) = place.cluster.services.iter().find_map(|one| {
        let backends: Vec<&Pod> = service::selected(place.cluster, one).collect();
        if !backends.contains(&place.pod) {
            return None;
        }
        let (inside, outside): (Vec<&Pod>, Vec<&Pod>) =
            backends.into_iter().partition(|backend| selects(policy, backend));
        (!inside.is_empty()).then_some((one, outside, inside.len()))
    })?;
    let total = cut_off.len() + left;
    let names = cut_off.into_iter().map(pod_name).collect();
    Some(mistake(
        "partial_backends",
        format!(
            "Service {}/{} sends to pods labelled {}, and {}/{} allows it only at those selected \
             by {}: {left} of {total}; cut off are {}",
            service.namespace,
            service.name,
            labels_text(&service.selector),
            policy.namespace,
            policy.name,
            selector_text(&policy.pod_selector),
            listed(names, 10)
        ),
        format!("give the policy the Service's selector, {}", labels_text(&service.selector)),
    ))
}

/// The policy selects pods like this one, in another namespace, and has the port.
fn wrong_namespace(place: Place<'_>, policy: &NetworkPolicy) -> Option<Mistake> {
    let fits = !policy.pod_selector.is_empty() && policy.pod_selector.matches(&place.pod.labels);
    let selects_nobody = !place.cluster.pods.iter().any(|pod| selects(policy, pod));
    let rules = policy.rules(place.direction);
    if !fits
        || !selects_nobody
        || !rules.iter().any(|rule| rule_has_port(place.cluster, rule, place.attempt))
    {
        return None;
    }
    Some(mistake(
        "wrong_namespace",
        format!(
            "{}/{} selects pods labelled {}, but is in namespace {}, where there are none; {} is \
             in {}, and policies select pods of their own namespace only",
            policy.namespace,
            policy.name,
            selector_text(&policy.pod_selector),
            policy.namespace,
            pod_name(place.pod),
            place.pod.namespace
        ),
        format!("move the policy to namespace {}", place.pod.namespace),
    ))
}

/// An ingress policy of the client that has the server's port, and names the client as its peer.
fn selects_client(place: Place<'_>, policy: &NetworkPolicy) -> Option<Mistake> {
    let client = place.at.remote_pod()?;
    if place.direction != Direction::Ingress
        || !selects(policy, client)
        || selects(policy, place.pod)
        || policy.pod_selector.is_empty()
    {
        return None;
    }
    let rule = policy.ingress.iter().find(|rule| {
        !rule.ports.is_empty()
            && rule_has_port(place.cluster, rule, place.attempt)
            && rule.peers.iter().any(|peer| {
                matches!(peer, Peer::Pods { pods: Some(pods), .. }
                if pods.matches(&place.pod.labels) || pods.matches(&client.labels))
            })
    });
    rule.map(|_| {
        mistake(
            "selects_client",
            format!(
                "{}/{} has an ingress rule with {}, but its podSelector {} selects the client {}: \
                 ingress is about what the selected pods receive",
                policy.namespace,
                policy.name,
                port_text(place.attempt),
                selector_text(&policy.pod_selector),
                pod_name(client)
            ),
            format!("select the server, {}, and name the client in from", pod_name(place.pod)),
        )
    })
}

/// Names cannot be resolved, whatever else is allowed.
fn without_dns(place: Place<'_>) -> Option<Mistake> {
    let is_dns_question = place.attempt.destination_port == DNS_PORT;
    let covers = |entry: &crate::model::PortRule| {
        entry.protocol == Protocol::Udp
            && match entry.port {
                Port::All => true,
                Port::Range(first, last) => (first..=last).contains(&DNS_PORT),
                Port::Named(_) => true,
            }
    };
    let rules = place.rules();
    let has_dns =
        rules.iter().any(|rule| rule.rule.ports.is_empty() || rule.rule.ports.iter().any(covers));
    if has_dns {
        return None;
    }
    let what = if is_dns_question { "" } else { ", whatever else is allowed" };
    Some(mistake(
        "egress_without_dns",
        format!(
            "{} cannot resolve names{what}: its egress is isolated and no rule covers UDP 53",
            pod_name(place.pod)
        ),
        "allow UDP 53 and TCP 53 to the pods of the DNS service, usually k8s-app=kube-dns in \
         kube-system",
    ))
}

/// One end allows it by a rule and the other denies.
pub(super) fn between(sides: &[&Side]) -> Option<Mistake> {
    let [egress, ingress] = sides else { return None };
    let (denies, allows) = match (egress.verdict, ingress.verdict) {
        (Verdict::Deny, Verdict::Allow) => (egress, ingress),
        (Verdict::Allow, Verdict::Deny) => (ingress, egress),
        _ => return None,
    };
    let by_rule = allows.reason == weir_flow::values::Reason::Policy;
    by_rule.then(|| {
        mistake(
            "other_end_denies",
            format!(
                "{} of {} is allowed, but {} of {} is not: a connection needs both",
                capital(allows.direction.as_str()),
                allows.pod,
                denies.direction,
                denies.pod
            ),
            format!("allow it in a policy that selects {} too", denies.pod),
        )
    })
}
