//! What a pod is to others' rules: which of their peers it is, and which ports they call by name.
//!
//! What no rule in use asks about makes no difference, so that pods of many labels are few
//! identities. Another rule may tell pods apart that were one identity: those that it means then
//! are another one, and the others are, as before, the one that it does not mean.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::content::{Digest, Interner, Numbered};
use super::ports::NamedPort;
use crate::model::{Cluster, Namespace, Pod, Protocol, Selector};

/// Everything about a pod that rules in use can depend on, but for its addresses. Whether another
/// rule's peer means it is known as well: a peer that is not among these does not.
#[derive(Debug)]
pub(super) struct Identity {
    /// Peers that mean the pod.
    peers: Vec<Digest>,
    /// Sorted.
    pub(super) named_ports: Vec<NamedPort>,
}

/// The ports of a pod that have a name, sorted.
pub(super) fn named_ports(pod: &Pod) -> Vec<NamedPort> {
    named_ports_that(pod, |_, _| true)
}

fn named_ports_that(pod: &Pod, is_used: impl Fn(&str, Protocol) -> bool) -> Vec<NamedPort> {
    let named = pod.ports.iter().filter_map(|port| Some((port.name.as_ref()?, port)));
    let mut ports: Vec<NamedPort> = named
        .filter(|(name, port)| is_used(name, port.protocol))
        .map(|(name, port)| (name.clone(), port.protocol, port.port))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Pods by labels, as a rule means them.
#[derive(Debug)]
pub(super) struct PodPeer {
    digest: Digest,
    namespaces: Namespaces,
    pods: Option<Selector>,
}

impl PodPeer {
    pub(super) fn new(namespaces: Namespaces, pods: Option<Selector>) -> Self {
        Self { digest: Digest::of("peer", &(&namespaces, &pods)), namespaces, pods }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Namespaces {
    Named(String),
    Selected(Selector),
}

/// By what the rules in use tell pods apart.
#[derive(Default)]
pub(super) struct Distinctions<'a> {
    /// Ascending by digest.
    peers: Vec<&'a PodPeer>,
    named: FxHashMap<&'a str, Vec<u32>>,
    selected: FxHashMap<&'a Selector, Vec<u32>>,
    port_names: FxHashSet<(&'a str, Protocol)>,
}

/// The peers that may mean pods of one namespace.
#[derive(Default)]
struct Scope<'a> {
    /// By a label that the pod must have.
    by_label: FxHashMap<(&'a str, &'a str), Vec<u32>>,
    others: Vec<u32>,
}

impl<'a> Distinctions<'a> {
    pub(super) fn new(
        peers: impl Iterator<Item = &'a PodPeer>,
        port_names: FxHashSet<(&'a str, Protocol)>,
    ) -> Self {
        let mut peers: Vec<&PodPeer> = peers.collect();
        peers.sort_unstable_by_key(|peer| peer.digest);
        peers.dedup_by_key(|peer| peer.digest);
        let mut distinctions = Self { port_names, ..Self::default() };
        for (index, peer) in (0_u32..).zip(&peers) {
            match &peer.namespaces {
                Namespaces::Named(name) => distinctions.named.entry(name).or_default(),
                Namespaces::Selected(all) => distinctions.selected.entry(all).or_default(),
            }
            .push(index);
        }
        distinctions.peers = peers;
        distinctions
    }

    fn scope(&self, namespace: &Namespace) -> Scope<'a> {
        let named = self.named.get(namespace.name.as_str()).into_iter();
        let selected = self.selected.iter();
        let selected = selected.filter(|(selector, _)| selector.matches(&namespace.labels));
        let mut scope = Scope::default();
        for &peer in named.chain(selected.map(|(_, peers)| peers)).flatten() {
            let pods = self.peers[peer as usize].pods.as_ref();
            match pods.and_then(|selector| selector.labels.first_key_value()) {
                Some((key, value)) => scope.by_label.entry((key, value)).or_default().push(peer),
                None => scope.others.push(peer),
            }
        }
        scope
    }

    /// Positions of the peers that mean a pod, ascending.
    fn peers_of(&self, scope: &Scope, pod: &Pod) -> Vec<u32> {
        let labelled = pod
            .labels
            .iter()
            .filter_map(|(key, value)| scope.by_label.get(&(key.as_str(), value.as_str())));
        let candidates = labelled.flatten().chain(&scope.others).copied();
        let mut peers: Vec<u32> = candidates
            .filter(|&peer| {
                let pods = &self.peers[peer as usize].pods;
                pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
            })
            .collect();
        peers.sort_unstable();
        peers
    }

    fn ports_of(&self, pod: &Pod) -> Vec<NamedPort> {
        if self.port_names.is_empty() {
            return Vec::new();
        }
        let used = |name: &str, protocol| self.port_names.contains(&(name, protocol));
        named_ports_that(pod, used)
    }
}

/// The identities of all pods, indexed for rules. Lists of numbers are ascending.
#[derive(Debug, Default)]
pub(super) struct Identities {
    known: FxHashMap<u32, Arc<Numbered<Identity>>>,
    by_peer: FxHashMap<Digest, Vec<u32>>,
    by_port: FxHashMap<(String, Protocol), Vec<u32>>,
}

/// Which peers mean a pod, by position, and its ports with names that rules use.
type Content = (Vec<u32>, Vec<NamedPort>);

impl Identities {
    /// Sorts the owners of addresses into identities; notes each address's.
    pub(super) fn sort(
        distinctions: &Distinctions,
        cluster: &Cluster,
        owners: &FxHashMap<IpAddr, &Pod>,
        interner: &mut Interner<Identity>,
        addresses: &mut FxHashMap<IpAddr, u32>,
    ) -> Self {
        let mut namespaces: FxHashMap<&str, &Namespace> = FxHashMap::default();
        for namespace in cluster.namespaces.iter().rev() {
            namespaces.insert(&namespace.name, namespace);
        }
        let mut scopes: FxHashMap<&str, Scope> = FxHashMap::default();
        let mut found: FxHashMap<Content, Arc<Numbered<Identity>>> = FxHashMap::default();
        for (&address, pod) in owners {
            let scope = scopes.entry(&pod.namespace).or_insert_with(|| {
                match namespaces.get(pod.namespace.as_str()) {
                    Some(namespace) => distinctions.scope(namespace),
                    None => distinctions.scope(&cluster.namespace(&pod.namespace)),
                }
            });
            let content = (distinctions.peers_of(scope, pod), distinctions.ports_of(pod));
            let identity = found.entry(content).or_insert_with_key(|(peers, named_ports)| {
                let peers: Vec<Digest> =
                    peers.iter().map(|&peer| distinctions.peers[peer as usize].digest).collect();
                interner.intern(Digest::of("identity", &(&peers, named_ports)), || Identity {
                    peers,
                    named_ports: named_ports.clone(),
                })
            });
            addresses.insert(address, identity.id);
        }
        Self::indexed(found.into_values().collect())
    }

    fn indexed(mut known: Vec<Arc<Numbered<Identity>>>) -> Self {
        known.sort_unstable_by_key(|identity| identity.id);
        let mut by_peer: FxHashMap<Digest, Vec<u32>> = FxHashMap::default();
        let mut by_port: FxHashMap<(String, Protocol), Vec<u32>> = FxHashMap::default();
        for identity in &known {
            for peer in &identity.content.peers {
                by_peer.entry(*peer).or_default().push(identity.id);
            }
            let ports: BTreeSet<_> =
                identity.content.named_ports.iter().map(|port| (&port.0, port.1)).collect();
            for (name, protocol) in ports {
                by_port.entry((name.clone(), protocol)).or_default().push(identity.id);
            }
        }
        let known = known.into_iter().map(|identity| (identity.id, identity)).collect();
        Self { known, by_peer, by_port }
    }

    /// All of them.
    pub(super) fn known(&self) -> impl Iterator<Item = &Arc<Numbered<Identity>>> {
        self.known.values()
    }

    /// The named ports of one of them.
    pub(super) fn named_ports(&self, id: u32) -> &[NamedPort] {
        self.known.get(&id).map_or(&[], |identity| &identity.content.named_ports)
    }

    /// Those that a peer means.
    pub(super) fn selected(&self, peer: &PodPeer) -> &[u32] {
        self.by_peer.get(&peer.digest).map_or(&[], Vec::as_slice)
    }

    /// Those that have a port of that name.
    pub(super) fn with_port(&self, name: &str, protocol: Protocol) -> &[u32] {
        self.by_port.get(&(name.to_owned(), protocol)).map_or(&[], Vec::as_slice)
    }
}
