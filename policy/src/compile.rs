//! A cluster into the entries of the kernel's maps.
//!
//! Three kinds of numbers stand for content and are never given another meaning:
//!
//! * an *identity* is a namespace, its labels, a pod's labels and its named ports;
//! * a *subject* is the policies that select a pod, with the named ports they use resolved on it;
//! * a *rule set* is a list of rules, or of policies.
//!
//! So an entry `(subject, peer, direction, protocol, port) → rule set` is a fact that no later
//! revision contradicts, and an update can add what is new, switch pods and addresses over, and
//! remove what nobody uses. A revision has the entries of its own subjects and identities only:
//! how an old subject meets a new identity during the switch is up to whoever updates the maps.

mod blocks;
mod identity;
mod intern;
mod keys;
mod ports;
mod rule_sets;
mod subject;

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use weir_flow::values::PolicyRule;

pub use keys::{
    ANY_PROTOCOL_BIT, CIDR_EGRESS, CIDR_INGRESS, CidrKey, IDENTITY_FIRST_POD, IDENTITY_LOCAL_NODE,
    IDENTITY_REMOTE_NODE, IDENTITY_WORLD, ISOLATED_EGRESS, ISOLATED_INGRESS, PEER_ANY, PEER_CIDR,
    PolicyKey,
};

use self::blocks::PodAddress;
use self::identity::{Identities, Identity, Known};
use self::intern::Interner;
use self::ports::PortTable;
use self::rule_sets::RuleSets;
use self::subject::{Subject, SubjectKey};
use crate::model::{Cluster, Direction, Namespace, NetworkPolicy, Pod, precedence};

/// Compiles one revision after the other.
#[derive(Debug)]
pub struct Compiler {
    revision: u64,
    identities: Interner<Identity>,
    subjects: FxHashMap<Arc<SubjectKey>, Arc<Subject>>,
    next_subject: u32,
    tables: Interner<PortTable>,
    rule_sets: RuleSets,
}

/// One revision: everything that has to be in the kernel's maps.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Counts up with every compile.
    pub revision: u64,
    /// The node's pods that policies apply to.
    pub endpoints: Vec<CompiledEndpoint>,
    /// Whose each address is; those that are missing are the world's.
    pub identities: FxHashMap<IpAddr, u32>,
    /// Who is allowed what, and the rule set that says so.
    pub policies: FxHashMap<PolicyKey, u32>,
    /// Blocks of addresses and the peer that stands for each.
    pub cidrs: FxHashMap<CidrKey, u32>,
    subjects: Vec<Arc<Subject>>,
    /// These two keep numbers from being forgotten while this revision is in use.
    _known: Vec<Known>,
    _tables: Vec<Arc<PortTable>>,
}

/// A pod and what the kernel has to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledEndpoint {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whose policy entries apply.
    pub subject: u32,
    /// [`ISOLATED_INGRESS`], [`ISOLATED_EGRESS`], [`CIDR_INGRESS`] and [`CIDR_EGRESS`].
    pub flags: u32,
    /// Rule set naming the policies that isolate ingress; 0 if none does.
    pub isolated_by_ingress: u32,
    /// Rule set naming the policies that isolate egress; 0 if none does.
    pub isolated_by_egress: u32,
    /// Bit *n* is set if ingress entries of port prefix length *n* may exist, bit
    /// [`ANY_PROTOCOL_BIT`] if entries for every protocol may.
    pub port_prefixes_ingress: u32,
    /// The same for egress.
    pub port_prefixes_egress: u32,
}

impl Compiled {
    /// The endpoint of a pod.
    pub fn endpoint(&self, namespace: &str, pod: &str) -> Option<&CompiledEndpoint> {
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.namespace == namespace && endpoint.pod == pod)
    }
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new()
    }
}

impl Compiler {
    /// A compiler that has given out no numbers yet.
    pub fn new() -> Self {
        Self {
            revision: 0,
            identities: Interner::starting_at(IDENTITY_FIRST_POD),
            subjects: FxHashMap::default(),
            next_subject: 1,
            tables: Interner::starting_at(1),
            rule_sets: RuleSets::default(),
        }
    }

    /// Compiles what a node needs to enforce: its own pods against the whole cluster. Without a
    /// node, every pod, and all node addresses are other nodes'.
    pub fn compile(&mut self, cluster: &Cluster, node: Option<&str>) -> Compiled {
        self.revision += 1;
        let mut pods = self.identify(cluster);
        let addresses = address_identities(cluster, node, &pods);
        let live: FxHashSet<u32> = addresses.values().copied().collect();
        let identities = Identities::new(
            pods.iter().map(|(_, known)| known).filter(|known| live.contains(&known.id)),
        );

        pods.retain(|(pod, _)| node.is_none() || pod.node.as_deref() == node);
        let policies = by_namespace(&cluster.policies);
        let mut subject_of: FxHashMap<u32, Arc<Subject>> = FxHashMap::default();
        let mut endpoints = Vec::with_capacity(pods.len());
        for (pod, known) in &pods {
            let subject = match subject_of.get(&known.id) {
                Some(subject) => subject.clone(),
                None => {
                    let subject = self.subject(&policies, pod);
                    subject_of.insert(known.id, subject.clone());
                    subject
                }
            };
            endpoints.push(endpoint(pod, &subject));
        }

        let mut subjects: Vec<Arc<Subject>> = subject_of.into_values().collect();
        subjects.sort_by_key(|subject| subject.id);
        subjects.dedup_by_key(|subject| subject.id);
        let mut compiled = Compiled {
            revision: self.revision,
            endpoints,
            identities: addresses,
            policies: FxHashMap::default(),
            cidrs: FxHashMap::default(),
            subjects,
            _known: identities.known().to_vec(),
            _tables: Vec::new(),
        };
        self.fill(&mut compiled, &identities);
        self.forget_unused();
        compiled
    }

    /// The rules behind a number; none if it was never given out. Number 0 is the empty set.
    pub fn rule_set(&self, id: u32) -> Option<&Arc<[PolicyRule]>> {
        self.rule_sets.all().get(id as usize)
    }

    /// All rule sets, by number. The list only ever grows.
    pub fn rule_sets(&self) -> &[Arc<[PolicyRule]>] {
        self.rule_sets.all()
    }

    /// Each networked pod with its identity.
    fn identify<'a>(&mut self, cluster: &'a Cluster) -> Vec<(&'a Pod, Known)> {
        let mut namespaces: FxHashMap<&str, Arc<Namespace>> = FxHashMap::default();
        for namespace in cluster.namespaces.iter().rev() {
            namespaces.insert(&namespace.name, Arc::new(namespace.clone()));
        }
        let mut pods = Vec::with_capacity(cluster.pods.len());
        for pod in cluster.pods.iter().filter(|pod| pod.is_networked()) {
            let namespace = namespaces
                .entry(&pod.namespace)
                .or_insert_with(|| Arc::new(cluster.namespace(&pod.namespace).into_owned()));
            let (id, identity) = self.identities.intern(Identity::of(pod, namespace));
            pods.push((pod, Known { id, identity }));
        }
        pods
    }

    fn subject(
        &mut self,
        policies: &FxHashMap<&str, Vec<Arc<NetworkPolicy>>>,
        pod: &Pod,
    ) -> Arc<Subject> {
        let selecting = policies
            .get(pod.namespace.as_str())
            .into_iter()
            .flatten()
            .filter(|policy| policy.pod_selector.matches(&pod.labels));
        let key = SubjectKey::new(selecting.cloned().collect(), pod);
        if let Some(subject) = self.subjects.get(&key) {
            return subject.clone();
        }
        let key = Arc::new(key);
        let id = self.next_subject;
        self.next_subject += 1;
        let subject = Arc::new(Subject::new(id, &key, &mut self.rule_sets, &mut self.tables));
        self.subjects.insert(key, subject.clone());
        subject
    }

    /// Writes the entries of all subjects.
    fn fill(&mut self, compiled: &mut Compiled, identities: &Identities) {
        let known: FxHashMap<u32, &Known> =
            identities.known().iter().map(|known| (known.id, known)).collect();
        let with_names: Vec<PodAddress> = compiled
            .identities
            .iter()
            .filter_map(|(&address, id)| Some((address, known.get(id)?)))
            .filter(|(_, known)| !known.identity.named_ports.is_empty())
            .map(|(address, known)| PodAddress { address, identity: known.identity.clone() })
            .collect();
        for subject in &compiled.subjects {
            subject.any_entries(&mut compiled.policies);
            subject.identity_entries(identities, &mut self.rule_sets, &mut compiled.policies);
            for direction in [Direction::Ingress, Direction::Egress] {
                let blocks =
                    subject.blocks(direction, &with_names, &mut self.rule_sets, &mut self.tables);
                for (net, peer, table) in blocks.iter() {
                    let key = CidrKey { net: *net, subject: subject.id, direction };
                    compiled.cidrs.insert(key, *peer);
                    table.insert_entries(subject.id, *peer, direction, &mut compiled.policies);
                    compiled._tables.push(table.clone());
                }
            }
        }
    }

    /// Drops content that no revision in use refers to. Its numbers are not used again.
    fn forget_unused(&mut self) {
        self.subjects.retain(|_, subject| Arc::strong_count(subject) > 1);
        self.tables.forget_unused();
        self.identities.forget_unused();
    }
}

fn endpoint(pod: &Pod, subject: &Subject) -> CompiledEndpoint {
    CompiledEndpoint {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        addresses: pod.addresses.clone(),
        subject: subject.id,
        flags: subject.flags(),
        isolated_by_ingress: subject.ingress.isolated_by,
        isolated_by_egress: subject.egress.isolated_by,
        port_prefixes_ingress: subject.ingress.port_prefixes,
        port_prefixes_egress: subject.egress.port_prefixes,
    }
}

fn address_identities(
    cluster: &Cluster,
    node: Option<&str>,
    pods: &[(&Pod, Known)],
) -> FxHashMap<IpAddr, u32> {
    let of_nodes =
        cluster.nodes.iter().map(|other| (Some(other.name.as_str()), &other.addresses)).chain(
            cluster
                .pods
                .iter()
                .filter(|pod| pod.host_network && !pod.phase.is_terminal())
                .map(|pod| (pod.node.as_deref(), &pod.addresses)),
        );
    let mut identities = FxHashMap::default();
    for (name, addresses) in of_nodes {
        let local = node.is_some() && name == node;
        for &address in addresses {
            let identity = identities.entry(address).or_insert(IDENTITY_REMOTE_NODE);
            if local {
                *identity = IDENTITY_LOCAL_NODE;
            }
        }
    }
    let mut owners: FxHashMap<IpAddr, (&Pod, u32)> = FxHashMap::default();
    for (pod, known) in pods {
        for &address in &pod.addresses {
            let owner = owners.entry(address).or_insert((pod, known.id));
            if precedence(pod) < precedence(owner.0) {
                *owner = (pod, known.id);
            }
        }
    }
    identities.extend(owners.into_iter().map(|(address, (_, id))| (address, id)));
    identities
}

fn by_namespace(policies: &[NetworkPolicy]) -> FxHashMap<&str, Vec<Arc<NetworkPolicy>>> {
    let mut index: FxHashMap<&str, Vec<Arc<NetworkPolicy>>> = FxHashMap::default();
    for policy in policies {
        index.entry(&policy.namespace).or_default().push(Arc::new(policy.clone()));
    }
    index
}

#[cfg(test)]
mod tests;
