//! What a pod is to others' rules, and which identities a selector means.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::ports::NamedPort;
use crate::model::{Labels, Namespace, Pod, Protocol, Selector};

/// Everything about a pod that others' rules can depend on, but for its addresses.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    namespace: Arc<Namespace>,
    labels: Labels,
    /// Sorted.
    pub(super) named_ports: Vec<NamedPort>,
}

impl Identity {
    pub(super) fn of(pod: &Pod, namespace: &Arc<Namespace>) -> Self {
        Self {
            namespace: namespace.clone(),
            labels: pod.labels.clone(),
            named_ports: named_ports(pod),
        }
    }
}

/// The ports of a pod that have a name, sorted.
pub(super) fn named_ports(pod: &Pod) -> Vec<NamedPort> {
    let mut ports: Vec<NamedPort> = pod
        .ports
        .iter()
        .filter_map(|port| Some((port.name.clone()?, port.protocol, port.port)))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// An identity and its number.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: u32,
    pub(super) identity: Arc<Identity>,
}

/// Pods by labels, as a rule of some namespace's policy means them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PodPeer {
    pub(super) namespaces: Namespaces,
    pub(super) pods: Option<Selector>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Namespaces {
    Named(String),
    Selected(Selector),
}

/// A set of identities, indexed for selectors. Positions in it are ascending and small.
pub(super) struct Identities {
    known: Vec<Known>,
    namespaces: Vec<(Arc<Namespace>, Vec<u32>)>,
    by_port: FxHashMap<(String, Protocol), Vec<u32>>,
    selected: RefCell<FxHashMap<PodPeer, Rc<[u32]>>>,
}

impl Identities {
    pub(super) fn new<'a>(known: impl Iterator<Item = &'a Known>) -> Self {
        let mut unique: Vec<Known> = known.cloned().collect();
        unique.sort_unstable_by_key(|known| known.id);
        unique.dedup_by_key(|known| known.id);
        let mut namespaces: Vec<(Arc<Namespace>, Vec<u32>)> = Vec::new();
        let mut positions: FxHashMap<Arc<Namespace>, usize> = FxHashMap::default();
        let mut by_port: FxHashMap<(String, Protocol), Vec<u32>> = FxHashMap::default();
        for (index, Known { identity, .. }) in (0_u32..).zip(&unique) {
            let position = match positions.entry(identity.namespace.clone()) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    namespaces.push((identity.namespace.clone(), Vec::new()));
                    *entry.insert(namespaces.len() - 1)
                }
            };
            namespaces[position].1.push(index);
            for (name, protocol, _) in &identity.named_ports {
                by_port.entry((name.clone(), *protocol)).or_default().push(index);
            }
        }
        Self { known: unique, namespaces, by_port, selected: RefCell::default() }
    }

    /// All of them, ascending by number.
    pub(super) fn known(&self) -> &[Known] {
        &self.known
    }

    /// Positions of those that a peer means.
    pub(super) fn selected(&self, peer: &PodPeer) -> Rc<[u32]> {
        if let Some(known) = self.selected.borrow().get(peer) {
            return known.clone();
        }
        let selected: Rc<[u32]> = self
            .namespaces
            .iter()
            .filter(|(namespace, _)| match &peer.namespaces {
                Namespaces::Named(name) => namespace.name == *name,
                Namespaces::Selected(selector) => selector.matches(&namespace.labels),
            })
            .flat_map(|(_, members)| members.iter().copied())
            .filter(|&index| {
                let labels = &self.known[index as usize].identity.labels;
                peer.pods.as_ref().is_none_or(|selector| selector.matches(labels))
            })
            .collect();
        self.selected.borrow_mut().insert(peer.clone(), selected.clone());
        selected
    }

    /// Positions of those that have a port of that name.
    pub(super) fn with_port(&self, name: &str, protocol: Protocol) -> &[u32] {
        self.by_port.get(&(name.to_owned(), protocol)).map_or(&[], Vec::as_slice)
    }
}
