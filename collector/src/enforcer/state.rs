//! What the kernel's maps hold, and what they should hold for a compiled revision.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustc_hash::FxHashMap;
use weir_abi::endpoint::{
    AUDIT, CUT_ESTABLISHED, DENY_NOT_READY, Endpoint, NO_ALLOW_EVENTS, READY, SubjectView,
};
use weir_abi::policy::{CIDR_PREFIX_BASE, CidrV4, CidrV6, PolicyKey, PolicyValue};
use weir_abi::{Address, DIRECTION_EGRESS, DIRECTION_INGRESS};
use weir_flow::values::Direction;
use weir_policy::compile::{
    self, CidrKey, Compiled, CompiledEndpoint, CompiledView, PolicyEntry, SubjectEntries,
};

use super::{Established, Options, Startup};
use crate::directory::{is_v4, to_kernel};

/// Contents of the maps as they are in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MapState {
    /// What rules say, by key.
    pub(crate) policies: FxHashMap<PolicyKey, PolicyValue>,
    /// Peer by prefix length and block.
    pub(crate) cidrs_v4: FxHashMap<(u32, CidrV4), u32>,
    /// Peer by prefix length and block.
    pub(crate) cidrs_v6: FxHashMap<(u32, CidrV6), u32>,
    /// Identity by address.
    pub(crate) identities: FxHashMap<Address, u32>,
    /// Endpoint by interface index.
    pub(crate) endpoints: HashMap<u32, Endpoint>,
}

/// Contents of the maps in the compiler's terms, so that what two revisions share is known to be
/// the same without a look at it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    /// Rules and blocks by subject.
    pub(crate) subjects: FxHashMap<u32, Arc<SubjectEntries>>,
    /// Identity by address.
    pub(crate) identities: FxHashMap<Address, u32>,
    /// Endpoint by interface index.
    pub(crate) endpoints: HashMap<u32, Endpoint>,
}

impl Contents {
    /// What a revision needs, but for the endpoints.
    pub(super) fn of(compiled: &Compiled) -> Self {
        let identities = compiled.identities.iter();
        Self {
            subjects: compiled.subjects.clone(),
            identities: identities.map(|(address, id)| (to_kernel(*address), *id)).collect(),
            endpoints: HashMap::new(),
        }
    }

    /// The rules of all subjects.
    pub(crate) fn policies(&self) -> usize {
        self.subjects.values().map(|entries| entries.policies.len()).sum()
    }

    /// The blocks of all subjects, of IPv4 and of IPv6.
    pub(crate) fn cidrs(&self) -> (usize, usize) {
        let blocks = || self.subjects.values().flat_map(|entries| entries.cidrs.keys());
        let v4 = blocks().filter(|key| matches!(key.net, IpNet::V4(_))).count();
        (v4, blocks().count() - v4)
    }
}

impl From<MapState> for Contents {
    /// Entries that no version of this writes are left out.
    fn from(state: MapState) -> Self {
        let mut subjects: FxHashMap<u32, SubjectEntries> = FxHashMap::default();
        for (key, value) in &state.policies {
            let Some(direction) = direction_of(u32::from(key.direction)) else { continue };
            let entry = PolicyEntry {
                rule_set: value.rule_set,
                admin: value.admin,
                admin_rule_set: value.admin_rule_set,
                baseline: value.baseline,
                baseline_rule_set: value.baseline_rule_set,
            };
            let key = compile::PolicyKey {
                subject: key.subject,
                peer: key.peer,
                direction,
                protocol: key.protocol,
                port: key.port,
                port_prefix: key.port_prefix,
            };
            subjects.entry(key.subject).or_default().policies.insert(key, entry);
        }
        let v4 = state.cidrs_v4.iter().map(|((length, block), peer)| {
            let net = Ipv4Net::new(Ipv4Addr::from(block.address), prefix_length(*length));
            (net.map(IpNet::V4), block.subject, block.direction, *peer)
        });
        let v6 = state.cidrs_v6.iter().map(|((length, block), peer)| {
            let net = Ipv6Net::new(Ipv6Addr::from(block.address), prefix_length(*length));
            (net.map(IpNet::V6), block.subject, block.direction, *peer)
        });
        for (net, subject, direction, peer) in v4.chain(v6) {
            if let (Ok(net), Some(direction)) = (net, direction_of(direction)) {
                let key = CidrKey { net, subject, direction };
                subjects.entry(subject).or_default().cidrs.insert(key, peer);
            }
        }
        Self {
            subjects: subjects.into_iter().map(|(id, entries)| (id, entries.into())).collect(),
            identities: state.identities,
            endpoints: state.endpoints,
        }
    }
}

#[cfg(test)]
impl From<&Contents> for MapState {
    fn from(contents: &Contents) -> Self {
        let mut state = Self {
            identities: contents.identities.clone(),
            endpoints: contents.endpoints.clone(),
            ..Self::default()
        };
        for entries in contents.subjects.values() {
            for (key, entry) in &entries.policies {
                state.policies.insert(policy_key(key), policy_value(entry));
            }
            for (key, peer) in &entries.cidrs {
                match block(key) {
                    Block::V4(length, block) => state.cidrs_v4.insert((length, block), *peer),
                    Block::V6(length, block) => state.cidrs_v6.insert((length, block), *peer),
                };
            }
        }
        state
    }
}

/// A block as the kernel's tries have it, with its prefix length.
pub(super) enum Block {
    V4(u32, CidrV4),
    V6(u32, CidrV6),
}

pub(super) fn block(key: &CidrKey) -> Block {
    let (subject, direction) = (key.subject, u32::from(direction(key.direction)));
    let length = CIDR_PREFIX_BASE + u32::from(key.net.prefix_len());
    match key.net {
        IpNet::V4(net) => {
            Block::V4(length, CidrV4 { subject, direction, address: net.network().octets() })
        }
        IpNet::V6(net) => {
            Block::V6(length, CidrV6 { subject, direction, address: net.network().octets() })
        }
    }
}

/// 255, which no address has, if it is not the length of a block.
fn prefix_length(length: u32) -> u8 {
    length.checked_sub(CIDR_PREFIX_BASE).and_then(|own| own.try_into().ok()).unwrap_or(u8::MAX)
}

/// An endpoint under its compiled policy. `quiet`: its connections make no row of their beginning.
pub(super) fn endpoint(
    id: u32,
    revision: u64,
    compiled: &CompiledEndpoint,
    options: &Options,
    quiet: bool,
) -> Endpoint {
    let mut flags = READY | compiled.flags;
    if options.audit {
        flags |= AUDIT;
    }
    if options.established == Established::Cut {
        flags |= CUT_ESTABLISHED;
    }
    if quiet {
        flags |= NO_ALLOW_EVENTS;
    }
    let (address_v4, address_v6) = addresses(&compiled.addresses);
    Endpoint {
        revision,
        endpoint: id,
        flags,
        enforced: view(&compiled.enforced),
        audited: view(&compiled.audited),
        address_v4,
        address_v6,
    }
}

/// An endpoint whose policy cannot be put in force yet.
pub(super) fn unready_endpoint(
    id: u32,
    revision: u64,
    addresses_of: &[IpAddr],
    startup: Startup,
) -> Endpoint {
    let (address_v4, address_v6) = addresses(addresses_of);
    Endpoint {
        revision,
        endpoint: id,
        flags: if startup == Startup::Closed { DENY_NOT_READY } else { 0 },
        enforced: SubjectView::default(),
        audited: SubjectView::default(),
        address_v4,
        address_v6,
    }
}

fn view(view: &CompiledView) -> SubjectView {
    SubjectView {
        subject: view.subject,
        flags: view.flags,
        isolated_by_ingress: view.isolated_by_ingress,
        isolated_by_egress: view.isolated_by_egress,
        port_prefixes_ingress: view.port_prefixes_ingress,
        port_prefixes_egress: view.port_prefixes_egress,
        ports_ingress: view.ports_ingress,
        ports_egress: view.ports_egress,
    }
}

/// The first address of each family; zero where there is none.
fn addresses(addresses: &[IpAddr]) -> (Address, Address) {
    let first = |v4| {
        let mut all = addresses.iter().map(|address| to_kernel(*address));
        all.find(|address| is_v4(address) == v4).unwrap_or_default()
    };
    (first(true), first(false))
}

pub(super) fn policy_key(key: &compile::PolicyKey) -> PolicyKey {
    PolicyKey {
        subject: key.subject,
        peer: key.peer,
        port: key.port,
        direction: direction(key.direction),
        protocol: key.protocol,
        port_prefix: key.port_prefix,
        reserved: [0; 3],
    }
}

pub(super) fn policy_value(entry: &PolicyEntry) -> PolicyValue {
    PolicyValue {
        rule_set: entry.rule_set,
        admin: entry.admin,
        admin_rule_set: entry.admin_rule_set,
        baseline: entry.baseline,
        baseline_rule_set: entry.baseline_rule_set,
        reserved: 0,
    }
}

fn direction(direction: Direction) -> u8 {
    match direction {
        Direction::Ingress => DIRECTION_INGRESS,
        Direction::Egress => DIRECTION_EGRESS,
    }
}

fn direction_of(number: u32) -> Option<Direction> {
    [Direction::Ingress, Direction::Egress]
        .into_iter()
        .find(|known| u32::from(direction(*known)) == number)
}

#[cfg(test)]
mod tests {
    use weir_abi::{endpoint, policy};
    use weir_policy::compile;
    use weir_policy::model::{Action, Protocol};

    /// policy is pure and does not know the ABI, so the numbers are written twice.
    #[test]
    fn compiler_and_kernel_mean_the_same_numbers() {
        assert_eq!(compile::PEER_ANY, policy::PEER_ANY);
        assert_eq!(compile::PEER_CIDR, policy::PEER_CIDR);
        assert_eq!(compile::IDENTITY_WORLD, policy::IDENTITY_WORLD);
        assert_eq!(compile::IDENTITY_LOCAL_NODE, policy::IDENTITY_LOCAL_NODE);
        assert_eq!(compile::IDENTITY_REMOTE_NODE, policy::IDENTITY_REMOTE_NODE);
        assert_eq!(compile::IDENTITY_FIRST_POD, policy::IDENTITY_FIRST_POD);
        assert_eq!(compile::ANY_PROTOCOL_BIT, policy::ANY_PROTOCOL_BIT);
        assert_eq!(compile::ISOLATED_INGRESS, endpoint::ISOLATED_INGRESS);
        assert_eq!(compile::ISOLATED_EGRESS, endpoint::ISOLATED_EGRESS);
        assert_eq!(compile::CIDR_INGRESS, endpoint::CIDR_INGRESS);
        assert_eq!(compile::CIDR_EGRESS, endpoint::CIDR_EGRESS);
        assert_eq!(compile::TIERS_INGRESS, endpoint::TIERS_INGRESS);
        assert_eq!(compile::TIERS_EGRESS, endpoint::TIERS_EGRESS);
        assert_eq!(compile::ANY_INGRESS, endpoint::ANY_INGRESS);
        assert_eq!(compile::ANY_EGRESS, endpoint::ANY_EGRESS);
        assert_eq!(compile::AUDIT, endpoint::AUDIT);
        for port in 0..=u16::MAX {
            assert_eq!(compile::port_bit(port), policy::port_bit(port));
        }
        assert_eq!(compile::NO_DECISION, policy::NO_DECISION);
        for (action, number) in [
            (Action::Allow, policy::ACTION_ALLOW),
            (Action::Deny, policy::ACTION_DENY),
            (Action::Pass, policy::ACTION_PASS),
        ] {
            assert_eq!(compile::decision(5, action), policy::decision(5, number));
            assert_eq!(compile::action(policy::decision(5, number)), Some(action));
        }
        assert_eq!(compile::action(policy::NO_DECISION), None);
        let none = super::policy_value(&compile::PolicyEntry::NONE);
        assert_eq!(none, policy::PolicyValue::NONE);
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            let number = match protocol {
                Protocol::Tcp => weir_abi::PROTOCOL_TCP,
                Protocol::Udp => weir_abi::PROTOCOL_UDP,
                Protocol::Sctp => weir_abi::PROTOCOL_SCTP,
            };
            assert_eq!(protocol.number(), number);
        }
    }
}
