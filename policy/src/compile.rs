//! A cluster into the entries of the kernel's maps.
//!
//! Three kinds of numbers stand for content and are never given another meaning:
//!
//! * an *identity* is which of the peers in the rules in use mean a pod, and its named ports that
//!   they use;
//! * a *subject* is the policies that select a pod, with all of the cluster that they depend on
//!   besides identities: the pod's named ports, the nodes they mean, who is in blocks by name;
//! * a *rule set* is a list of rules, or of policies.
//!
//! So an entry `(subject, peer, direction, protocol, port) → rules` and a block `(subject, direction,
//! addresses) → peer` are facts that no later revision contradicts, and an update can add what is
//! new, switch pods and addresses over, and remove what nobody uses. A revision has the entries of
//! its own subjects and identities only: how an old subject meets a new identity during the switch
//! is up to whoever updates the maps.
//!
//! Each compile walks over all pods and policies once. What takes longer, the entries of a subject,
//! is kept as long as the subject meets the same identities.

mod blocks;
mod content;
mod identity;
mod keys;
mod numbers;
mod ports;
mod rule_sets;
mod rules;
mod selecting;
mod subject;

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use weir_flow::values::PolicyRule;

pub use content::Digest;
pub use keys::{
    ANY_EGRESS, ANY_INGRESS, ANY_PROTOCOL_BIT, AUDIT, CIDR_EGRESS, CIDR_INGRESS, CidrKey,
    IDENTITY_FIRST_POD, IDENTITY_LOCAL_NODE, IDENTITY_REMOTE_NODE, IDENTITY_WORLD, ISOLATED_EGRESS,
    ISOLATED_INGRESS, NO_DECISION, PEER_ANY, PEER_CIDR, PolicyEntry, PolicyKey, TIERS_EGRESS,
    TIERS_INGRESS, action, decision, port_bit,
};
pub use numbers::{Numbers, NumbersError};

use self::content::{Digests, Interner, Numbered};
use self::identity::{Distinctions, Identities, Identity};
use self::ports::PortTable;
use self::rule_sets::RuleSets;
use self::selecting::{Policies, Selecting, with_nodes};
use self::subject::Subject;
use crate::model::{Cluster, NetworkPolicy, Pod, TierPolicy, precedence};

/// Compiles one revision after the other.
#[derive(Debug)]
pub struct Compiler {
    revision: u64,
    identities: Interner<Identity>,
    subjects: Interner<Subject>,
    tables: Interner<PortTable>,
    rule_sets: RuleSets,
    network_policies: Digests<NetworkPolicy>,
    tier_policies: Digests<TierPolicy>,
    /// The entries of each subject of the last compile, and the identities for which they are.
    entries: FxHashMap<u32, Arc<SubjectEntries>>,
    entries_for: Identities,
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
    /// The entries of each subject. One that has the same as in another revision shares them with
    /// it.
    pub subjects: FxHashMap<u32, Arc<SubjectEntries>>,
    /// These two keep numbers from being forgotten while this revision is in use.
    _identities: Vec<Arc<Numbered<Identity>>>,
    _subjects: Vec<Arc<Numbered<Subject>>>,
}

/// The entries of one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectEntries {
    /// What its rules say to whom.
    pub policies: FxHashMap<PolicyKey, PolicyEntry>,
    /// Blocks of addresses and the peer that stands for each.
    pub cidrs: FxHashMap<CidrKey, u32>,
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
    /// [`AUDIT`] if denies of its namespace are only reported.
    pub flags: u32,
    /// The policies in force.
    pub enforced: CompiledView,
    /// The same and those that are audited; subject 0 if no policy that selects the pod is.
    pub audited: CompiledView,
}

/// What a set of policies says about a pod, but for the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompiledView {
    /// Whose policy entries apply; 0 if there is none.
    pub subject: u32,
    /// `ISOLATED_…`, `CIDR_…`, `TIERS_…` and `ANY_…`.
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
    /// [`port_bit`] of each single port for which ingress entries may exist.
    pub ports_ingress: u64,
    /// The same for egress.
    pub ports_egress: u64,
}

impl Compiled {
    /// The endpoint of a pod.
    pub fn endpoint(&self, namespace: &str, pod: &str) -> Option<&CompiledEndpoint> {
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.namespace == namespace && endpoint.pod == pod)
    }

    /// The entries of all subjects.
    pub fn policies(&self) -> impl Iterator<Item = (&PolicyKey, &PolicyEntry)> {
        self.subjects.values().flat_map(|entries| &entries.policies)
    }

    /// The blocks of all subjects.
    pub fn cidrs(&self) -> impl Iterator<Item = (&CidrKey, u32)> {
        self.subjects.values().flat_map(|entries| &entries.cidrs).map(|(key, peer)| (key, *peer))
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
        Self::with(Numbers::default())
    }

    /// A compiler that goes on where another one was when it had given out these numbers: the same
    /// content has the same numbers, other content has new ones.
    ///
    /// # Errors
    /// No compiler has given out these.
    pub fn resume(numbers: Numbers) -> Result<Self, NumbersError> {
        numbers.check()?;
        Ok(Self::with(numbers))
    }

    fn with(numbers: Numbers) -> Self {
        Self {
            revision: numbers.revision,
            identities: Interner::resume(numbers.next_identity, &numbers.identities),
            subjects: Interner::resume(numbers.next_subject, &numbers.subjects),
            tables: Interner::resume(numbers.next_table, &numbers.tables),
            rule_sets: RuleSets::resume(numbers.rule_sets.into_iter().map(|(_, set)| set)),
            network_policies: Digests::of_kind("NetworkPolicy"),
            tier_policies: Digests::of_kind("TierPolicy"),
            entries: FxHashMap::default(),
            entries_for: Identities::default(),
        }
    }

    /// The numbers that were given out since the last call, to be written down before any of them
    /// is used.
    pub fn take_new_numbers(&mut self) -> Numbers {
        Numbers {
            identities: self.identities.take_new(),
            subjects: self.subjects.take_new(),
            tables: self.tables.take_new(),
            rule_sets: self.rule_sets.take_new(),
            ..self.next_numbers()
        }
    }

    /// All numbers that it remembers, in place of all that was written down so far.
    pub fn numbers(&self) -> Numbers {
        Numbers {
            identities: self.identities.known().collect(),
            subjects: self.subjects.known().collect(),
            tables: self.tables.known().collect(),
            rule_sets: (0..).zip(self.rule_sets.all().iter().cloned()).skip(1).collect(),
            ..self.next_numbers()
        }
    }

    fn next_numbers(&self) -> Numbers {
        Numbers {
            revision: self.revision,
            next_identity: self.identities.next(),
            next_subject: self.subjects.next(),
            next_table: self.tables.next(),
            ..Numbers::default()
        }
    }

    /// Compiles what a node needs to enforce: its own pods against the whole cluster. Without a
    /// node, every pod, and all node addresses are other nodes'.
    pub fn compile(&mut self, cluster: &Cluster, node: Option<&str>) -> Compiled {
        self.compile_with(cluster, node, &[])
    }

    /// The same for a node that has these addresses besides those that the cluster knows.
    pub fn compile_with(
        &mut self,
        cluster: &Cluster,
        node: Option<&str>,
        own_addresses: &[IpAddr],
    ) -> Compiled {
        self.revision += 1;
        let owners = owners(cluster);
        let tiers = with_nodes(cluster, &owners);
        let policies = Policies::new(cluster, &tiers, &mut self.tier_policies);
        let local = cluster
            .pods
            .iter()
            .filter(|pod| pod.is_networked() && (node.is_none() || pod.node.as_deref() == node));
        let mut subjects: FxHashMap<u32, Arc<Numbered<Subject>>> = FxHashMap::default();
        let mut endpoints = Vec::new();
        for pod in local {
            let mut view = |by: &mut Selecting| {
                by.complete(pod, &owners);
                let subject = self.subjects.intern(by.digest(), || {
                    Subject::new(by, &mut self.rule_sets, &mut self.tables)
                });
                let view = subject.content.view(subject.id);
                subjects.insert(subject.id, subject);
                view
            };
            let mut all = policies.selecting(pod, &mut self.network_policies);
            let (enforced, audited) = match all.without_audited() {
                Some(mut enforced) => (view(&mut enforced), view(&mut all)),
                None => (view(&mut all), CompiledView::default()),
            };
            endpoints.push(CompiledEndpoint {
                namespace: pod.namespace.clone(),
                pod: pod.name.clone(),
                addresses: pod.addresses.clone(),
                flags: if policies.audits(&pod.namespace) { AUDIT } else { 0 },
                enforced,
                audited,
            });
        }

        let mut addresses = node_addresses(cluster, node);
        addresses.extend(own_addresses.iter().map(|address| (*address, IDENTITY_LOCAL_NODE)));
        let rules = || subjects.values().flat_map(|subject| subject.content.rules());
        let distinctions = Distinctions::new(
            rules().flat_map(|rule| &rule.pods),
            rules().flat_map(rules::SubjectRule::names).collect(),
        );
        let identities =
            Identities::sort(&distinctions, cluster, &owners, &mut self.identities, &mut addresses);
        self.entries = subjects
            .values()
            .map(|subject| (subject.id, self.entries_of(subject, &identities)))
            .collect();
        let compiled = Compiled {
            revision: self.revision,
            endpoints,
            identities: addresses,
            subjects: self.entries.clone(),
            _identities: identities.known().cloned().collect(),
            _subjects: subjects.into_values().collect(),
        };
        self.entries_for = identities;
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

    /// A subject's entries: those of the last compile if it meets the same identities as then.
    fn entries_of(
        &mut self,
        subject: &Numbered<Subject>,
        identities: &Identities,
    ) -> Arc<SubjectEntries> {
        let before = self.entries.get(&subject.id);
        let before =
            before.filter(|_| subject.content.meets_the_same(&self.entries_for, identities));
        before.cloned().unwrap_or_else(|| {
            subject.content.entries(subject.id, identities, &mut self.rule_sets).into()
        })
    }

    /// Drops content that no revision in use refers to. Its numbers are not used again.
    fn forget_unused(&mut self) {
        self.subjects.forget_unused();
        self.tables.forget_unused();
        self.identities.forget_unused();
        self.network_policies.forget_unused();
        self.tier_policies.forget_unused();
    }
}

/// The pod that has each address.
fn owners(cluster: &Cluster) -> FxHashMap<IpAddr, &Pod> {
    let mut owners: FxHashMap<IpAddr, &Pod> = FxHashMap::default();
    owners.reserve(cluster.pods.len());
    for pod in cluster.pods.iter().filter(|pod| pod.is_networked()) {
        for &address in &pod.addresses {
            let owner = owners.insert(address, pod);
            if let Some(owner) = owner.filter(|owner| precedence(owner) < precedence(pod)) {
                owners.insert(address, owner);
            }
        }
    }
    owners
}

/// The addresses of nodes and of pods on their network.
fn node_addresses(cluster: &Cluster, node: Option<&str>) -> FxHashMap<IpAddr, u32> {
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
    identities
}

#[cfg(test)]
mod tests;
