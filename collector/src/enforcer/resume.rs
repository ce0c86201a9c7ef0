//! Going on where a process before was.

use std::sync::Arc;

use weir_abi::policy::{IDENTITY_FIRST_POD, PEER_CIDR};
use weir_flow::values::PolicyRule;
use weir_policy::compile::{Compiler, Numbers};
use weir_policy::model::Pod;

use super::crossing::PASSAGE;
use super::journal::Record;
use super::state::MapState;
use super::update::Applier;
use super::{EnforceError, Enforcer, Instance, Journal, Kernel, Known, Network};
use crate::kernel::{MapContents, MonotonicClock};

/// Most names of maps that are kept of processes that were killed before theirs were in force.
const KEPT_MAPS: usize = 8;
/// Kind of the rules in place of those that nobody remembers.
const FORGOTTEN: &str = "Unknown";

impl<K: Kernel, N: Network> Enforcer<K, N> {
    /// Takes over what a process before has left, in the maps and in the state directory.
    ///
    /// # Errors
    /// It cannot be read, or the state directory cannot be written.
    pub(super) fn resume(&mut self) -> Result<(), EnforceError> {
        let left = self.kernel.left()?;
        let name = self.kernel.name()?;
        let mut known = Known::default();
        if let Some(directory) = self.options.state.clone() {
            let (journal, read) = Journal::open(&directory)
                .map_err(|source| EnforceError::Journal { directory, source })?;
            known = read;
            self.journal = Some(journal);
        }
        let ours = name.as_ref().is_some_and(|name| known.maps.contains(name));
        if let Some(left) = &left
            && (!ours || !covers(&known, left))
        {
            self.findings.push(format!(
                "{} rules, {} addresses and {} endpoints in the kernel's maps are from a \
                     collector whose notes are missing: they stay in force until the cluster's \
                     state is known; what they decide until then is reported without names",
                left.policies.len(),
                left.identities.len(),
                left.endpoints.len()
            ));
            known = above(known, left);
        }
        self.compiler = match Compiler::resume(known.numbers.clone()) {
            Ok(compiler) => compiler,
            Err(error) => {
                self.findings.push(format!("the notes of the collector before: {error}"));
                known = above(Known::default(), left.as_ref().unwrap_or(&MapContents::default()));
                Compiler::resume(known.numbers.clone()).unwrap_or_default()
            }
        };
        self.last_endpoint = known.last_endpoint;
        self.introduce(&known);
        if let Some(left) = left {
            self.applier = Applier::resume(map_state(left));
            self.kernel.take_over()?;
            self.attached.extend(self.kernel.attached()?);
        } else {
            self.older.extend(self.kernel.attached()?);
        }
        // Until the new maps are in force, those before may be taken over by yet another process.
        known.maps.retain(|other| Some(other) != name.as_ref());
        known.maps.drain(..known.maps.len().saturating_sub(KEPT_MAPS));
        known.maps.extend(name);
        self.maps.clone_from(&known.maps);
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let written = journal.rewrite(&known);
        written.map_err(|source| self.journal_error(source))
    }

    /// Tells the directory who the endpoints were.
    fn introduce(&mut self, known: &Known) {
        let now = MonotonicClock::now_ns();
        for (endpoint, instance) in known.gone.iter().chain(&known.endpoints) {
            self.directory.set_endpoint(*endpoint, &instance.as_pod(&self.options.node), now);
        }
        for endpoint in known.gone.keys() {
            self.directory.remove_endpoint(*endpoint, now);
        }
        self.instances =
            known.endpoints.iter().map(|(id, instance)| (instance.clone(), *id)).collect();
        self.directory.set_rule_sets(self.compiler.rule_sets());
        self.directory.publish();
    }

    /// Writes down what the maps are about to be told.
    pub(super) fn write_down(&mut self, mut news: Vec<Record>) -> Result<(), EnforceError> {
        let numbers = self.compiler.take_new_numbers();
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let written = if journal.wants_rewrite() {
            let known = Known {
                numbers: self.compiler.numbers(),
                endpoints: self.instances.iter().map(|(one, id)| (*id, one.clone())).collect(),
                last_endpoint: self.last_endpoint,
                maps: self.maps.clone(),
                ..Known::default()
            };
            journal.rewrite(&known)
        } else {
            news.insert(0, Record::Numbers(numbers));
            journal.append(&news)
        };
        written.map_err(|source| self.journal_error(source))
    }

    fn journal_error(&self, source: std::io::Error) -> EnforceError {
        let directory = self.options.state.clone().unwrap_or_default();
        EnforceError::Journal { directory, source }
    }
}

impl Instance {
    /// As much of the pod as is known.
    fn as_pod(&self, node: &str) -> Pod {
        Pod {
            namespace: self.namespace.clone(),
            name: self.pod.clone(),
            addresses: self.addresses.clone(),
            node: Some(node.to_owned()),
            ..Pod::default()
        }
    }
}

fn map_state(left: MapContents) -> MapState {
    MapState {
        policies: left.policies.into_iter().collect(),
        cidrs_v4: left
            .cidrs_v4
            .into_iter()
            .map(|(len, block, peer)| ((len, block), peer))
            .collect(),
        cidrs_v6: left
            .cidrs_v6
            .into_iter()
            .map(|(len, block, peer)| ((len, block), peer))
            .collect(),
        identities: left.identities.into_iter().collect(),
        endpoints: left.endpoints.into_iter().collect(),
    }
}

/// The first number of each kind that is in no map.
struct Free {
    identity: u32,
    subject: u32,
    table: u32,
    rule_set: u32,
    endpoint: u32,
    revision: u64,
}

impl Free {
    fn of(left: &MapContents) -> Self {
        let mut free = Self {
            identity: IDENTITY_FIRST_POD,
            subject: 1,
            table: 1,
            rule_set: 1,
            endpoint: 1,
            revision: 0,
        };
        for (key, value) in &left.policies {
            free.subject(key.subject);
            free.peer(key.peer);
            for set in [value.rule_set, value.admin_rule_set, value.baseline_rule_set] {
                free.rule_set = free.rule_set.max(set.saturating_add(1));
            }
        }
        for (_, block, peer) in &left.cidrs_v4 {
            free.subject(block.subject);
            free.peer(*peer);
        }
        for (_, block, peer) in &left.cidrs_v6 {
            free.subject(block.subject);
            free.peer(*peer);
        }
        for (_, identity) in &left.identities {
            free.peer(*identity);
        }
        for (_, endpoint) in &left.endpoints {
            free.endpoint = free.endpoint.max(endpoint.endpoint.saturating_add(1));
            free.revision = free.revision.max(endpoint.revision);
            for view in [&endpoint.enforced, &endpoint.audited] {
                free.subject(view.subject);
                for set in [view.isolated_by_ingress, view.isolated_by_egress] {
                    free.rule_set = free.rule_set.max(set.saturating_add(1));
                }
            }
        }
        free
    }

    fn subject(&mut self, subject: u32) {
        if subject & PASSAGE == 0 {
            self.subject = self.subject.max(subject.saturating_add(1));
        }
    }

    fn peer(&mut self, peer: u32) {
        if peer & PEER_CIDR != 0 {
            self.table = self.table.max((peer & !PEER_CIDR).saturating_add(1));
        } else if peer & PASSAGE == 0 {
            self.identity = self.identity.max(peer.saturating_add(1));
        }
    }
}

/// Whether every number in the maps was given out as far as is known.
fn covers(known: &Known, left: &MapContents) -> bool {
    let free = Free::of(left);
    let numbers = &known.numbers;
    free.identity <= numbers.next_identity
        && free.subject <= numbers.next_subject
        && free.table <= numbers.next_table
        && free.rule_set as usize <= numbers.rule_sets.len() + 1
        && free.endpoint <= known.last_endpoint + 1
        && free.revision <= numbers.revision
}

/// Nothing is known but that these numbers, and those in the maps, have a meaning already.
fn above(known: Known, left: &MapContents) -> Known {
    let free = Free::of(left);
    let forgotten = |id: u32| -> (u32, Arc<[PolicyRule]>) {
        let rule = PolicyRule {
            kind: FORGOTTEN.into(),
            namespace: String::new(),
            name: format!("rule-set-{id}"),
            rule: None,
        };
        (id, Arc::new([rule]))
    };
    let numbers = known.numbers;
    let sets = free.rule_set.max(u32::try_from(numbers.rule_sets.len() + 1).unwrap_or(u32::MAX));
    Known {
        numbers: Numbers {
            revision: free.revision.max(numbers.revision),
            next_identity: free.identity.max(numbers.next_identity),
            next_subject: free.subject.max(numbers.next_subject),
            next_table: free.table.max(numbers.next_table),
            rule_sets: (1..sets).map(forgotten).collect(),
            ..Numbers::default()
        },
        last_endpoint: known.last_endpoint.max(free.endpoint - 1),
        ..Known::default()
    }
}
