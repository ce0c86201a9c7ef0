//! Policies of the tiers before and after NetworkPolicies.

use super::Source;
use super::objects::{PORT_NAMES, PROTOCOLS, selector};
use super::policies::{block, numbers};
use crate::model::{
    Action, Direction, Port, PortRule, Selector, Tier, TierKind, TierPeer, TierPods, TierPolicy,
    TierRule,
};

pub(super) fn tier_policy(source: &mut Source<'_>) -> TierPolicy {
    let (kind, tier) = source.pick(&[
        (TierKind::AdminNetworkPolicy, Tier::Admin),
        (TierKind::ClusterNetworkPolicy, Tier::Admin),
        (TierKind::ClusterNetworkPolicy, Tier::Baseline),
        (TierKind::BaselineAdminNetworkPolicy, Tier::Baseline),
    ]);
    let (name, priority) = match kind {
        TierKind::BaselineAdminNetworkPolicy => ("default".to_owned(), 1001),
        _ => (format!("t{}", source.below(4)), source.pick(&[0, 1, 1, 2, 1000])),
    };
    let has_pass = kind != TierKind::BaselineAdminNetworkPolicy;
    TierPolicy {
        kind,
        name,
        tier,
        priority,
        subject: if source.one_in(2) { TierPods::default() } else { pods(source) },
        audit: source.one_in(5),
        ingress: source.several(4, |source| rule(source, Direction::Ingress, has_pass)),
        egress: source.several(4, |source| rule(source, Direction::Egress, has_pass)),
    }
}

fn rule(source: &mut Source<'_>, direction: Direction, has_pass: bool) -> TierRule {
    let actions = [Action::Deny, Action::Allow, Action::Pass];
    let actions = if has_pass { &actions[..] } else { &actions[..2] };
    let peers: Vec<TierPeer> = (0..1 + source.below(3)).map(|_| peer(source, direction)).collect();
    // Networks and nodes have no names of ports.
    let can_name = peers.iter().all(|peer| matches!(peer, TierPeer::Pods(_)));
    TierRule {
        name: None,
        action: source.pick(actions),
        peers,
        ports: source.several(3, |source| ports(source, can_name)).concat(),
    }
}

fn peer(source: &mut Source<'_>, direction: Direction) -> TierPeer {
    let kinds = if direction == Direction::Egress { 6 } else { 2 };
    match source.below(kinds) {
        0 | 1 => TierPeer::Pods(pods(source)),
        2 => TierPeer::Nodes(selector(source)),
        _ => TierPeer::Network(block(source)),
    }
}

fn pods(source: &mut Source<'_>) -> TierPods {
    let namespaces = if source.one_in(2) { Selector::default() } else { selector(source) };
    TierPods { namespaces, pods: (!source.one_in(3)).then(|| selector(source)) }
}

/// One entry, which for a name is one of each protocol.
fn ports(source: &mut Source<'_>, can_name: bool) -> Vec<PortRule> {
    if can_name && source.one_in(3) {
        let name = source.pick(&PORT_NAMES);
        let named = |protocol| PortRule { protocol, port: Port::Named(name.to_owned()) };
        return PROTOCOLS.map(named).into();
    }
    vec![PortRule { protocol: source.pick(&PROTOCOLS), port: numbers(source) }]
}
