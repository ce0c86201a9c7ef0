//! Brings the maps from one state to another without a gap: at every moment each lookup of a pod
//! gives the old state's answer or the new one's.
//!
//! Policy entries are facts about numbers that never change their meaning, so they are added
//! before anything uses them and removed when nothing does any more. What remains is the order in
//! which pods (subjects) and addresses (identities) switch. A pod that has switched must not meet
//! an address that has not, or the old rules would be applied to new labels. So when both change,
//! each address that changes first moves to a *passage*: an identity made for this update, which
//! old subjects treat as the address's old identity and new subjects as its new one. Then the pods
//! switch, each in one step, and then the addresses move on:
//!
//! 1. policy entries, those of the passages among them; then CIDRs
//! 2. addresses: to their passages, or at once to their identities if no pod switches subjects
//! 3. pods
//! 4. addresses: to their identities; those that are gone are removed
//! 5. a pause until no packet is still being judged by what it read before
//! 6. CIDRs and policy entries that nothing uses
//!
//! What fails before 3 is complete is undone, and the old state stays in force.

use std::collections::HashMap;
use std::hash::Hash;

use rustc_hash::{FxHashMap, FxHashSet};
use weir_abi::Address;
use weir_abi::endpoint::Endpoint;
use weir_abi::policy::{IDENTITY_LOCAL_NODE, IDENTITY_WORLD, PolicyKey, PolicyValue};

use super::Kernel;
use super::state::MapState;
use crate::kernel::KernelError;

/// Passages have this bit; the compiler counts up from 16 and CIDR peers have the top bit.
pub(super) const PASSAGE: u32 = 1 << 30;

/// A value that is never written: it stands where a failed call may or may not have changed one.
trait Unsure: Copy + PartialEq {
    const UNSURE: Self;
}

impl Unsure for u32 {
    const UNSURE: Self = u32::MAX;
}

impl Unsure for PolicyValue {
    const UNSURE: Self = Self { reserved: u32::MAX, ..Self::NONE };
}

/// An update that was not made; the maps are as they were.
#[derive(Debug, thiserror::Error)]
#[error("the kernel's maps cannot be updated, the policy in force stays as it is: {0}")]
pub struct UpdateError(#[from] KernelError);

/// An update that was made.
#[derive(Debug, Default)]
pub(crate) struct Updated {
    /// Endpoints, by interface, that could not be put in force.
    pub(crate) refused: Vec<(u32, KernelError)>,
    /// What could not be removed; the next update tries again.
    pub(crate) leftovers: Option<KernelError>,
}

/// The one writer of the maps, and what it knows to be in them.
#[derive(Debug, Default)]
pub(crate) struct Applier {
    present: MapState,
    passages: u32,
}

impl Applier {
    /// The writer of maps that hold this already, as another process has left it, maybe in the
    /// middle of an update. The first update changes only what differs.
    pub(crate) fn resume(present: MapState) -> Self {
        let peers = present.policies.keys().map(|key| key.peer);
        let passages = peers
            .chain(present.identities.values().copied())
            .filter(|peer| peer & !(PASSAGE - 1) == PASSAGE)
            .map(|passage| passage & (PASSAGE - 1));
        Self { passages: passages.max().unwrap_or(0), present }
    }

    /// What is in the maps.
    pub(crate) fn present(&self) -> &MapState {
        &self.present
    }

    /// Brings the maps to `target`.
    pub(crate) fn update<K: Kernel>(
        &mut self,
        kernel: &mut K,
        target: &MapState,
    ) -> Result<Updated, UpdateError> {
        let before = self.present.clone();
        let passages = self.passages(target);
        match self.switch(kernel, target, &passages) {
            Ok(refused) => {
                let leftovers = self.clean_up(kernel, target).err();
                Ok(Updated { refused, leftovers })
            }
            Err(error) => {
                if let Err(undo) = self.undo(kernel, &before) {
                    tracing::error!(%undo, "the failed update could not be undone completely");
                }
                Err(error.into())
            }
        }
    }

    /// Puts an endpoint in force by itself.
    pub(crate) fn set_endpoint<K: Kernel>(
        &mut self,
        kernel: &mut K,
        interface: u32,
        endpoint: Endpoint,
    ) -> Result<(), KernelError> {
        kernel.set_endpoint(interface, &endpoint)?;
        self.present.endpoints.insert(interface, endpoint);
        Ok(())
    }

    /// Steps 1 to 3.
    fn switch<K: Kernel>(
        &mut self,
        kernel: &mut K,
        target: &MapState,
        passages: &Passages,
    ) -> Result<Vec<(u32, KernelError)>, KernelError> {
        let mut policies = missing(&self.present.policies, &target.policies);
        policies.extend(missing(&self.present.policies, &passages.policies));
        self.insert_policies(kernel, &policies)?;
        let cidrs = missing(&self.present.cidrs_v4, &target.cidrs_v4);
        self.insert_cidrs_v4(kernel, &cidrs)?;
        let cidrs = missing(&self.present.cidrs_v6, &target.cidrs_v6);
        self.insert_cidrs_v6(kernel, &cidrs)?;

        let first: Vec<(Address, u32)> = missing(&self.present.identities, &target.identities)
            .into_iter()
            .filter(|(address, _)| !passages.later.contains(address))
            .chain(passages.identities.iter().map(|(address, passage)| (*address, *passage)))
            .collect();
        self.insert_identities(kernel, &first)?;

        // Pods that are in force already must all switch; a new one that cannot be is reported.
        let mut refused = Vec::new();
        let mut endpoints: Vec<(u32, Endpoint)> = target
            .endpoints
            .iter()
            .filter(|(interface, endpoint)| self.present.endpoints.get(interface) != Some(endpoint))
            .map(|(interface, endpoint)| (*interface, *endpoint))
            .collect();
        endpoints.sort_by_key(|(interface, _)| {
            (!self.present.endpoints.contains_key(interface), *interface)
        });
        for (interface, endpoint) in endpoints {
            match self.set_endpoint(kernel, interface, endpoint) {
                Err(error) if self.present.endpoints.contains_key(&interface) => return Err(error),
                Err(error) => refused.push((interface, error)),
                Ok(()) => {}
            }
        }
        Ok(refused)
    }

    /// Steps 4 to 6.
    fn clean_up<K: Kernel>(
        &mut self,
        kernel: &mut K,
        target: &MapState,
    ) -> Result<(), KernelError> {
        let gone: Vec<u32> = extra(&self.present.endpoints, &target.endpoints);
        for interface in gone {
            kernel.remove_endpoint(interface)?;
            self.present.endpoints.remove(&interface);
        }
        let identities = missing(&self.present.identities, &target.identities);
        self.insert_identities(kernel, &identities)?;
        let identities = extra(&self.present.identities, &target.identities);
        kernel.remove_identities(&identities)?;
        forget(&mut self.present.identities, &identities);

        let cidrs_v4 = extra(&self.present.cidrs_v4, &target.cidrs_v4);
        let cidrs_v6 = extra(&self.present.cidrs_v6, &target.cidrs_v6);
        let policies = extra(&self.present.policies, &target.policies);
        if cidrs_v4.is_empty() && cidrs_v6.is_empty() && policies.is_empty() {
            return Ok(());
        }
        kernel.settle();
        kernel.remove_cidrs_v4(&cidrs_v4)?;
        forget(&mut self.present.cidrs_v4, &cidrs_v4);
        kernel.remove_cidrs_v6(&cidrs_v6)?;
        forget(&mut self.present.cidrs_v6, &cidrs_v6);
        kernel.remove_policies(&policies)?;
        forget(&mut self.present.policies, &policies);
        Ok(())
    }

    /// Back to what was in the maps before a failed update.
    fn undo<K: Kernel>(&mut self, kernel: &mut K, before: &MapState) -> Result<(), KernelError> {
        for (interface, endpoint) in &before.endpoints {
            if self.present.endpoints.get(interface) != Some(endpoint) {
                self.set_endpoint(kernel, *interface, *endpoint)?;
            }
        }
        let policies = missing(&self.present.policies, &before.policies);
        self.insert_policies(kernel, &policies)?;
        let cidrs = missing(&self.present.cidrs_v4, &before.cidrs_v4);
        self.insert_cidrs_v4(kernel, &cidrs)?;
        let cidrs = missing(&self.present.cidrs_v6, &before.cidrs_v6);
        self.insert_cidrs_v6(kernel, &cidrs)?;
        self.clean_up(kernel, before)
    }

    /// The passages that an update needs: none unless both pods and addresses switch.
    fn passages(&mut self, target: &MapState) -> Passages {
        let subjects = |state: &MapState| -> FxHashSet<u32> {
            let endpoints = state.endpoints.values();
            endpoints.flat_map(|endpoint| subjects_of(endpoint)).collect()
        };
        let old_subjects = subjects(&self.present);
        let switches = self.present.endpoints.iter().any(|(interface, endpoint)| {
            let next = target.endpoints.get(interface);
            next.is_none_or(|next| subjects_of(next) != subjects_of(endpoint))
        });
        let mut passages = Passages::default();
        if !switches {
            return passages;
        }
        let mut by_pair: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        let world = |identities: &FxHashMap<Address, u32>, address: &Address| {
            identities.get(address).copied().unwrap_or(IDENTITY_WORLD)
        };
        let (present, next) = (&self.present.identities, &target.identities);
        for address in next.keys().chain(present.keys().filter(|a| !next.contains_key(*a))) {
            let pair = (world(present, address), world(next, address));
            if pair.0 == pair.1 {
                continue;
            }
            // The programs know this one themselves; no entry can stand for it.
            if pair.0 == IDENTITY_LOCAL_NODE || pair.1 == IDENTITY_LOCAL_NODE {
                passages.later.insert(*address);
                continue;
            }
            let passage = *by_pair.entry(pair).or_insert_with(|| {
                self.passages = (self.passages + 1) % PASSAGE;
                PASSAGE | self.passages
            });
            passages.identities.insert(*address, passage);
            passages.later.insert(*address);
        }
        let mut into: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
        let mut out_of: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
        for ((from, to), passage) in by_pair {
            out_of.entry(from).or_default().push(passage);
            into.entry(to).or_default().push(passage);
        }
        let mut copy = |entries: &Policies, to: &FxHashMap<u32, Vec<u32>>, old| {
            for (key, value) in entries {
                if old_subjects.contains(&key.subject) == old {
                    for passage in to.get(&key.peer).into_iter().flatten() {
                        passages.policies.insert(PolicyKey { peer: *passage, ..*key }, *value);
                    }
                }
            }
        };
        copy(&self.present.policies, &out_of, true);
        copy(&target.policies, &into, false);
        passages
    }

    fn insert_policies<K: Kernel>(
        &mut self,
        kernel: &mut K,
        entries: &[(PolicyKey, PolicyValue)],
    ) -> Result<(), KernelError> {
        note(&mut self.present.policies, entries, kernel.insert_policies(entries))
    }

    fn insert_cidrs_v4<K: Kernel>(
        &mut self,
        kernel: &mut K,
        entries: &[((u32, weir_abi::policy::CidrV4), u32)],
    ) -> Result<(), KernelError> {
        let values: Vec<_> =
            entries.iter().map(|((length, block), peer)| (*length, *block, *peer)).collect();
        note(&mut self.present.cidrs_v4, entries, kernel.insert_cidrs_v4(&values))
    }

    fn insert_cidrs_v6<K: Kernel>(
        &mut self,
        kernel: &mut K,
        entries: &[((u32, weir_abi::policy::CidrV6), u32)],
    ) -> Result<(), KernelError> {
        let values: Vec<_> =
            entries.iter().map(|((length, block), peer)| (*length, *block, *peer)).collect();
        note(&mut self.present.cidrs_v6, entries, kernel.insert_cidrs_v6(&values))
    }

    fn insert_identities<K: Kernel>(
        &mut self,
        kernel: &mut K,
        entries: &[(Address, u32)],
    ) -> Result<(), KernelError> {
        note(&mut self.present.identities, entries, kernel.insert_identities(entries))
    }
}

type Policies = FxHashMap<PolicyKey, PolicyValue>;

/// The subjects by which a pod is judged.
fn subjects_of(endpoint: &Endpoint) -> [u32; 2] {
    [endpoint.enforced.subject, endpoint.audited.subject]
}

/// How addresses cross from the old state to the new one.
#[derive(Debug, Default)]
struct Passages {
    /// Passage by address.
    identities: FxHashMap<Address, u32>,
    /// What old and new subjects may do with the passages.
    policies: Policies,
    /// Addresses that get their identity only after the pods have switched.
    later: FxHashSet<Address>,
}

/// Notes what an insertion has made of the entries: after a failure some may have their value.
fn note<K: Hash + Eq + Copy, V: Unsure>(
    present: &mut FxHashMap<K, V>,
    entries: &[(K, V)],
    result: Result<(), KernelError>,
) -> Result<(), KernelError> {
    for (key, value) in entries {
        present.insert(*key, if result.is_ok() { *value } else { V::UNSURE });
    }
    result
}

/// Entries of `target` that `present` does not have with the same value.
fn missing<K: Hash + Eq + Copy, V: Unsure>(
    present: &FxHashMap<K, V>,
    target: &FxHashMap<K, V>,
) -> Vec<(K, V)> {
    target
        .iter()
        .filter(|(key, value)| present.get(key) != Some(value))
        .map(|(key, value)| (*key, *value))
        .collect()
}

/// Keys of `present` that `target` does not have.
fn extra<K: Hash + Eq + Copy, V, S: std::hash::BuildHasher>(
    present: &HashMap<K, V, S>,
    target: &HashMap<K, V, S>,
) -> Vec<K> {
    present.keys().filter(|key| !target.contains_key(key)).copied().collect()
}

fn forget<K: Hash + Eq, V, S: std::hash::BuildHasher>(map: &mut HashMap<K, V, S>, keys: &[K]) {
    for key in keys {
        map.remove(key);
    }
}
