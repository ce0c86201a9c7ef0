//! Rules of tiers that are never asked.
//!
//! Tells only what is sure: an earlier rule whose subject, peers and ports are the same or wider as
//! they are written.

use super::{Lint, Severity, Subject};
use crate::model::{
    Cluster, Direction, Port, PortRule, Selector, TierPeer, TierPods, TierPolicy, TierRule,
};

pub(super) fn shadowed(cluster: &Cluster, policy: &TierPolicy, at: &Subject) -> Vec<Lint> {
    let mut found = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        for (index, rule) in policy.rules(direction).iter().enumerate() {
            let earlier = before(cluster, policy, direction, index);
            let mut earlier = earlier.filter(|(_, _, other)| is_wider(other, rule));
            let Some((other, other_index, _)) = earlier.next() else { continue };
            found.push(at.lint(
                "rule_shadowed",
                Severity::Warning,
                format!("spec.{direction}[{index}]"),
                format!(
                    "this rule is never asked: spec.{direction}[{other_index}] of {} {} comes \
                     before it and covers all of it",
                    other.kind.as_str(),
                    other.name
                ),
                "remove this rule, or give its policy a lower priority number",
            ));
        }
    }
    found
}

/// The rules that are asked before one, about every pod that it is about.
fn before<'a>(
    cluster: &'a Cluster,
    policy: &'a TierPolicy,
    direction: Direction,
    index: usize,
) -> impl Iterator<Item = (&'a TierPolicy, usize, &'a TierRule)> {
    let others = cluster.tier_policies.iter().filter(move |other| {
        other.tier == policy.tier
            && other.precedence() < policy.precedence()
            && (!other.audit || policy.audit)
            && pods_wider(&other.subject, &policy.subject)
    });
    let of_others = others.flat_map(move |other| {
        other.rules(direction).iter().enumerate().map(move |(at, rule)| (other, at, rule))
    });
    let own = policy.rules(direction).iter().take(index).enumerate();
    of_others.chain(own.map(move |(at, rule)| (policy, at, rule)))
}

fn is_wider(wide: &TierRule, narrow: &TierRule) -> bool {
    let peers =
        narrow.peers.iter().all(|peer| wide.peers.iter().any(|other| peer_wider(other, peer)));
    let ports = wide.ports.is_empty()
        || !narrow.ports.is_empty()
            && narrow
                .ports
                .iter()
                .all(|port| wide.ports.iter().any(|other| port_wider(other, port)));
    peers && ports
}

fn peer_wider(wide: &TierPeer, narrow: &TierPeer) -> bool {
    match (wide, narrow) {
        (TierPeer::Pods(wide), TierPeer::Pods(narrow)) => pods_wider(wide, narrow),
        (TierPeer::Network(wide), TierPeer::Network(narrow)) => wide.contains(narrow),
        (TierPeer::Nodes(wide), TierPeer::Nodes(narrow)) => selector_wider(wide, narrow),
        _ => false,
    }
}

fn pods_wider(wide: &TierPods, narrow: &TierPods) -> bool {
    selector_wider(&wide.namespaces, &narrow.namespaces)
        && match (&wide.pods, &narrow.pods) {
            (None, _) => true,
            (Some(wide), Some(narrow)) => selector_wider(wide, narrow),
            (Some(wide), None) => wide.is_empty(),
        }
}

/// Whether all that the wide one asks for, the narrow one asks for too.
fn selector_wider(wide: &Selector, narrow: &Selector) -> bool {
    wide.labels.iter().all(|(key, value)| narrow.labels.get(key) == Some(value))
        && wide.expressions.iter().all(|one| narrow.expressions.contains(one))
}

fn port_wider(wide: &PortRule, narrow: &PortRule) -> bool {
    wide.protocol == narrow.protocol
        && match (&wide.port, &narrow.port) {
            (Port::All, _) => true,
            (Port::Range(first, last), Port::Range(from, to)) => first <= from && to <= last,
            (wide, narrow) => wide == narrow,
        }
}
