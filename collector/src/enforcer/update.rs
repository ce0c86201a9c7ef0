//! Brings the maps from one state to another without a gap: at every moment each lookup of a pod
//! gives the old state's answer or the new one's.
//!
//! Policy entries and CIDRs are facts about numbers that never change their meaning, so they are
//! added before anything uses them and removed when nothing does any more. What remains is the
//! order in which pods (subjects) and addresses (identities) switch. A pod that has switched must
//! not meet an address that has not, or the new rules would be applied to old labels. So when both
//! change, each address that changes first moves to a *passage*: an identity made for this update,
//! which old subjects treat as the address's old identity and new subjects as its new one. A subject
//! that is both, since one pod keeps it and another gets it, is old, and has a copy that is new, for
//! the pods that get it. Then the pods switch, each in one step, and then the addresses move on:
//!
//! 1. policy entries and CIDRs, those of passages and copies among them
//! 2. addresses: to their passages, or at once to their identities if no pod switches subjects
//! 3. pods, some to a copy of their subject
//! 4. pods that are gone; addresses: to their identities; pods from copies to their subjects
//! 5. a pause until no packet is still being judged by what it read before
//! 6. CIDRs and policy entries that nothing uses
//!
//! What fails before 3 is complete is undone, and the old state stays in force. What fails later
//! the next update does first.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use weir_abi::Address;
use weir_abi::endpoint::Endpoint;
use weir_policy::compile::{CidrKey, PolicyEntry, PolicyKey, SubjectEntries};

use super::Kernel;
use super::crossing::{Crossing, Passages};
use super::state::{self, Block, Contents, MapState};
use crate::kernel::KernelError;

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
    present: Contents,
    /// Where the maps may hold something else.
    unsure: Unsure,
    passages: Passages,
}

/// Keys of entries that are not as they should be, or may not be.
#[derive(Debug, Default)]
struct Unsure {
    policies: FxHashSet<PolicyKey>,
    cidrs: FxHashSet<CidrKey>,
    identities: FxHashSet<Address>,
    endpoints: HashSet<u32>,
    /// The present is to be restored, not completed.
    undo: bool,
}

impl Applier {
    /// The writer of maps that hold this already, as another process has left it, maybe in the
    /// middle of an update. The first update changes only what differs.
    pub(crate) fn resume(state: MapState) -> Self {
        let present = Contents::from(state);
        Self { passages: Passages::after(&present), present, unsure: Unsure::default() }
    }

    /// What is in the maps.
    pub(crate) fn present(&self) -> &Contents {
        &self.present
    }

    /// Brings the maps to `target`.
    pub(crate) fn update<K: Kernel>(
        &mut self,
        kernel: &mut K,
        target: Contents,
    ) -> Result<Updated, UpdateError> {
        self.settle_unsure(kernel)?;
        let crossing = Crossing::between(&self.present, &target, &mut self.passages);
        match self.switch(kernel, &target, &crossing) {
            Ok(refused) => {
                self.commit(target, &crossing, &refused);
                let leftovers = self.settle_unsure(kernel).err();
                Ok(Updated { refused, leftovers })
            }
            Err(error) => {
                self.unsure.undo = true;
                if let Err(undo) = self.settle_unsure(kernel) {
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

    /// Steps 1 to 3. Returns the pods that could not be put in force and were not before.
    fn switch<K: Kernel>(
        &mut self,
        kernel: &mut K,
        target: &Contents,
        crossing: &Crossing,
    ) -> Result<Vec<(u32, KernelError)>, KernelError> {
        let (mut policies, mut cidrs) = (crossing.policies.clone(), crossing.cidrs.clone());
        for (old, new) in changed(&self.present, target) {
            policies.extend(missing(&old.policies, &new.policies));
            cidrs.extend(missing(&old.cidrs, &new.cidrs));
        }
        self.unsure.policies.extend(policies.iter().map(|(key, _)| *key));
        insert_policies(kernel, &policies)?;
        self.unsure.cidrs.extend(cidrs.iter().map(|(key, _)| *key));
        insert_cidrs(kernel, &cidrs)?;

        let identities: Vec<(Address, u32)> = missing(&self.present.identities, &target.identities)
            .filter(|(address, _)| !crossing.later.contains(address))
            .chain(crossing.addresses.iter().map(|(address, passage)| (*address, *passage)))
            .collect();
        self.unsure.identities.extend(identities.iter().map(|(address, _)| *address));
        kernel.insert_identities(&identities)?;
        let gone: Vec<Address> = extra(&self.present.identities, &target.identities)
            .filter(|address| !crossing.later.contains(address))
            .collect();
        self.unsure.identities.extend(&gone);
        kernel.remove_identities(&gone)?;

        // Pods that are in force already must all switch; a new one that cannot be is reported.
        let mut refused = Vec::new();
        let mut endpoints: Vec<(Option<&Endpoint>, u32, &Endpoint)> = target
            .endpoints
            .iter()
            .map(|(interface, next)| (self.present.endpoints.get(interface), *interface, next))
            .filter(|(before, _, next)| *before != Some(*next))
            .collect();
        endpoints.sort_by_key(|(before, interface, _)| (before.is_none(), *interface));
        for (before, interface, next) in endpoints {
            self.unsure.endpoints.insert(interface);
            match kernel.set_endpoint(interface, &crossing.endpoint(before, next)) {
                Err(error) if before.is_some() => return Err(error),
                Err(error) => refused.push((interface, error)),
                Ok(()) => {}
            }
        }
        Ok(refused)
    }

    /// After step 3: from here on the target is what should be in the maps. What differs is noted.
    fn commit(&mut self, target: Contents, crossing: &Crossing, refused: &[(u32, KernelError)]) {
        let old = std::mem::replace(&mut self.present, target);
        for (interface, _) in refused {
            self.present.endpoints.remove(interface);
        }
        let mut unsure = Unsure {
            policies: crossing.policies.iter().map(|(key, _)| *key).collect(),
            cidrs: crossing.cidrs.iter().map(|(key, _)| *key).collect(),
            identities: crossing.later.clone(),
            endpoints: refused.iter().map(|(interface, _)| *interface).collect(),
            undo: false,
        };
        for (new, old) in changed(&self.present, &old) {
            unsure.policies.extend(extra(&old.policies, &new.policies));
            unsure.cidrs.extend(extra(&old.cidrs, &new.cidrs));
        }
        for (interface, next) in &self.present.endpoints {
            if crossing.endpoint(old.endpoints.get(interface), next) != *next {
                unsure.endpoints.insert(*interface);
            }
        }
        let gone = old.endpoints.keys().filter(|id| !self.present.endpoints.contains_key(id));
        unsure.endpoints.extend(gone);
        self.unsure = unsure;
    }

    /// Steps 4 to 6, or the way back: makes the maps what they should be.
    fn settle_unsure<K: Kernel>(&mut self, kernel: &mut K) -> Result<(), KernelError> {
        if self.unsure.undo {
            self.settle_endpoints(kernel, |_| true)?;
            self.restore_entries(kernel)?;
            self.settle_identities(kernel)?;
        } else {
            let present: HashSet<u32> = self.present.endpoints.keys().copied().collect();
            self.settle_endpoints(kernel, |interface| !present.contains(&interface))?;
            self.settle_identities(kernel)?;
            self.settle_endpoints(kernel, |_| true)?;
        }
        self.remove_entries(kernel)?;
        self.unsure.undo = false;
        Ok(())
    }

    fn settle_endpoints<K: Kernel>(
        &mut self,
        kernel: &mut K,
        which: impl Fn(u32) -> bool,
    ) -> Result<(), KernelError> {
        let mut interfaces: Vec<u32> =
            self.unsure.endpoints.iter().copied().filter(|interface| which(*interface)).collect();
        interfaces.sort_unstable();
        for interface in interfaces {
            match self.present.endpoints.get(&interface) {
                Some(endpoint) => kernel.set_endpoint(interface, endpoint)?,
                None => kernel.remove_endpoint(interface)?,
            }
            self.unsure.endpoints.remove(&interface);
        }
        Ok(())
    }

    fn settle_identities<K: Kernel>(&mut self, kernel: &mut K) -> Result<(), KernelError> {
        let (mut known, mut gone) = (Vec::new(), Vec::new());
        for address in &self.unsure.identities {
            match self.present.identities.get(address) {
                Some(identity) => known.push((*address, *identity)),
                None => gone.push(*address),
            }
        }
        kernel.insert_identities(&known)?;
        kernel.remove_identities(&gone)?;
        self.unsure.identities.clear();
        Ok(())
    }

    /// Entries that should be there, after an update that failed half-way through them.
    fn restore_entries<K: Kernel>(&mut self, kernel: &mut K) -> Result<(), KernelError> {
        let subject = |id| self.present.subjects.get(&id);
        let policies: Vec<(PolicyKey, PolicyEntry)> = self
            .unsure
            .policies
            .iter()
            .filter_map(|key| Some((*key, *subject(key.subject)?.policies.get(key)?)))
            .collect();
        insert_policies(kernel, &policies)?;
        let cidrs: Vec<(CidrKey, u32)> = self
            .unsure
            .cidrs
            .iter()
            .filter_map(|key| Some((*key, *subject(key.subject)?.cidrs.get(key)?)))
            .collect();
        insert_cidrs(kernel, &cidrs)
    }

    /// Entries that should not be there.
    fn remove_entries<K: Kernel>(&mut self, kernel: &mut K) -> Result<(), KernelError> {
        let Self { present, unsure, .. } = self;
        let subject = |id: u32| present.subjects.get(&id);
        unsure.policies.retain(|key| {
            subject(key.subject).is_none_or(|entries| !entries.policies.contains_key(key))
        });
        unsure.cidrs.retain(|key| subject(key.subject).is_none_or(|e| !e.cidrs.contains_key(key)));
        if unsure.policies.is_empty() && unsure.cidrs.is_empty() {
            return Ok(());
        }
        kernel.settle();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for key in &unsure.cidrs {
            match state::block(key) {
                Block::V4(length, block) => v4.push((length, block)),
                Block::V6(length, block) => v6.push((length, block)),
            }
        }
        kernel.remove_cidrs_v4(&v4)?;
        kernel.remove_cidrs_v6(&v6)?;
        unsure.cidrs.clear();
        let policies: Vec<_> = unsure.policies.iter().map(state::policy_key).collect();
        kernel.remove_policies(&policies)?;
        unsure.policies.clear();
        Ok(())
    }
}

fn insert_policies<K: Kernel>(
    kernel: &mut K,
    entries: &[(PolicyKey, PolicyEntry)],
) -> Result<(), KernelError> {
    let entries: Vec<_> = entries
        .iter()
        .map(|(key, entry)| (state::policy_key(key), state::policy_value(entry)))
        .collect();
    kernel.insert_policies(&entries)
}

fn insert_cidrs<K: Kernel>(kernel: &mut K, entries: &[(CidrKey, u32)]) -> Result<(), KernelError> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (key, peer) in entries {
        match state::block(key) {
            Block::V4(length, block) => v4.push((length, block, *peer)),
            Block::V6(length, block) => v6.push((length, block, *peer)),
        }
    }
    kernel.insert_cidrs_v4(&v4)?;
    kernel.insert_cidrs_v6(&v6)
}

/// Each subject of `there` with its entries here and there, unless they are the same.
fn changed<'a>(
    here: &'a Contents,
    there: &'a Contents,
) -> impl Iterator<Item = (Arc<SubjectEntries>, &'a Arc<SubjectEntries>)> {
    there.subjects.iter().filter_map(|(subject, there)| match here.subjects.get(subject) {
        Some(here) if Arc::ptr_eq(here, there) => None,
        Some(here) => Some((here.clone(), there)),
        None => Some((Arc::default(), there)),
    })
}

/// Entries of `target` that `present` does not have with the same value.
fn missing<'a, K: Hash + Eq + Copy, V: Copy + PartialEq>(
    present: &'a FxHashMap<K, V>,
    target: &'a FxHashMap<K, V>,
) -> impl Iterator<Item = (K, V)> + 'a {
    let entries = target.iter().filter(|(key, value)| present.get(key) != Some(*value));
    entries.map(|(key, value)| (*key, *value))
}

/// Keys of `present` that `target` does not have.
fn extra<'a, K: Hash + Eq + Copy, V>(
    present: &'a FxHashMap<K, V>,
    target: &'a FxHashMap<K, V>,
) -> impl Iterator<Item = K> + 'a {
    present.keys().filter(|key| !target.contains_key(*key)).copied()
}
