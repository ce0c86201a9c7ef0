//! How addresses and pods cross from one state of the maps to the next, see [`super::update`].

use rustc_hash::{FxHashMap, FxHashSet};
use weir_abi::Address;
use weir_abi::endpoint::Endpoint;
use weir_abi::policy::{IDENTITY_LOCAL_NODE, IDENTITY_WORLD};
use weir_policy::compile::{CidrKey, PolicyEntry, PolicyKey};

use super::state::Contents;

/// Passages have this bit, among identities and among subjects; the compiler counts up from below
/// and CIDR peers have the top bit.
pub(super) const PASSAGE: u32 = 1 << 30;

/// Gives out passages.
#[derive(Debug, Default)]
pub(super) struct Passages(u32);

impl Passages {
    /// Those that are in the maps are not given out again.
    pub(super) fn after(contents: &Contents) -> Self {
        let keys = contents.subjects.values().flat_map(|entries| entries.policies.keys());
        let numbers = keys.flat_map(|key| [key.subject, key.peer]);
        let numbers = numbers.chain(contents.subjects.keys().copied());
        let last = numbers
            .chain(contents.identities.values().copied())
            .filter(|number| number & !(PASSAGE - 1) == PASSAGE)
            .map(|passage| passage & (PASSAGE - 1));
        Self(last.max().unwrap_or(0))
    }

    fn next(&mut self) -> u32 {
        self.0 = (self.0 + 1) % PASSAGE;
        PASSAGE | self.0
    }
}

/// What an update needs besides the two states: nothing unless both pods and addresses switch.
#[derive(Debug, Default)]
pub(super) struct Crossing {
    /// Passage by address.
    pub(super) addresses: FxHashMap<Address, u32>,
    /// Addresses that get their identity only after the pods have switched.
    pub(super) later: FxHashSet<Address>,
    /// By subject that is old and new: what pods have in its place that switch to it.
    subjects: FxHashMap<u32, u32>,
    /// What subjects may do with passages, and what those in place of others may do.
    pub(super) policies: Vec<(PolicyKey, PolicyEntry)>,
    /// The blocks of those in place of others.
    pub(super) cidrs: Vec<(CidrKey, u32)>,
}

impl Crossing {
    pub(super) fn between(old: &Contents, new: &Contents, passages: &mut Passages) -> Self {
        let mut crossing = Self::default();
        let switches = |(interface, endpoint): (&u32, &Endpoint)| {
            let next = new.endpoints.get(interface);
            next.is_none_or(|next| judged_by(next) != judged_by(endpoint))
        };
        if !old.endpoints.iter().any(switches) {
            return crossing;
        }
        let by_pair = crossing.cross_addresses(old, new, passages);
        if by_pair.is_empty() {
            return crossing;
        }
        let old_subjects: FxHashSet<u32> = old.endpoints.values().flat_map(subjects_of).collect();
        for (interface, endpoint) in &new.endpoints {
            let before = old.endpoints.get(interface);
            for subject in subjects_of(endpoint) {
                if subject != 0
                    && old_subjects.contains(&subject)
                    && before.is_none_or(|before| judged_by(before) != judged_by(endpoint))
                {
                    crossing.subjects.entry(subject).or_insert_with(|| passages.next());
                }
            }
        }

        let (mut into, mut out_of) = (Routes::default(), Routes::default());
        for ((from, to), passage) in by_pair {
            out_of.entry(from).or_default().push(passage);
            into.entry(to).or_default().push(passage);
        }
        for subject in &old_subjects {
            crossing.open(old, *subject, *subject, &out_of);
        }
        for subject in new.subjects.keys().filter(|subject| !old_subjects.contains(subject)) {
            crossing.open(new, *subject, *subject, &into);
        }
        for (subject, in_place) in crossing.subjects.clone() {
            crossing.copy(new, subject, in_place);
            crossing.open(new, subject, in_place, &into);
        }
        crossing
    }

    /// An endpoint as it is while addresses cross.
    pub(super) fn endpoint(&self, before: Option<&Endpoint>, next: &Endpoint) -> Endpoint {
        let mut endpoint = *next;
        if before.is_none_or(|before| judged_by(before) != judged_by(next)) {
            for view in [&mut endpoint.enforced, &mut endpoint.audited] {
                view.subject = self.subjects.get(&view.subject).copied().unwrap_or(view.subject);
            }
        }
        endpoint
    }

    /// A passage for each pair of identities between which addresses change.
    fn cross_addresses(
        &mut self,
        old: &Contents,
        new: &Contents,
        passages: &mut Passages,
    ) -> FxHashMap<(u32, u32), u32> {
        let mut by_pair: FxHashMap<(u32, u32), u32> = FxHashMap::default();
        let identity = |identities: &FxHashMap<Address, u32>, address: &Address| {
            identities.get(address).copied().unwrap_or(IDENTITY_WORLD)
        };
        let (old, new) = (&old.identities, &new.identities);
        for address in new.keys().chain(old.keys().filter(|a| !new.contains_key(*a))) {
            let pair = (identity(old, address), identity(new, address));
            if pair.0 == pair.1 {
                continue;
            }
            self.later.insert(*address);
            // The programs know this one themselves; no entry can stand for it.
            if pair.0 == IDENTITY_LOCAL_NODE || pair.1 == IDENTITY_LOCAL_NODE {
                continue;
            }
            let passage = *by_pair.entry(pair).or_insert_with(|| passages.next());
            self.addresses.insert(*address, passage);
        }
        by_pair
    }

    /// Lets a subject treat passages as it treats, in these contents, what they stand for.
    fn open(&mut self, contents: &Contents, subject: u32, named: u32, routes: &Routes) {
        let Some(entries) = contents.subjects.get(&subject) else { return };
        for (key, entry) in &entries.policies {
            for passage in routes.get(&key.peer).into_iter().flatten() {
                let key = PolicyKey { subject: named, peer: *passage, ..*key };
                self.policies.push((key, *entry));
            }
        }
    }

    fn copy(&mut self, contents: &Contents, subject: u32, named: u32) {
        let Some(entries) = contents.subjects.get(&subject) else { return };
        let policies = entries.policies.iter();
        self.policies
            .extend(policies.map(|(key, entry)| (PolicyKey { subject: named, ..*key }, *entry)));
        let cidrs = entries.cidrs.iter();
        self.cidrs.extend(cidrs.map(|(key, peer)| (CidrKey { subject: named, ..*key }, *peer)));
    }
}

/// Passages by an identity for which they stand.
type Routes = FxHashMap<u32, Vec<u32>>;

/// The subjects by which a pod is judged; 0 for none.
fn subjects_of(endpoint: &Endpoint) -> [u32; 2] {
    [endpoint.enforced.subject, endpoint.audited.subject]
}

/// What decides about a pod's packets besides entries: a pod switches if it changes.
fn judged_by(endpoint: &Endpoint) -> ([u32; 2], u32) {
    (subjects_of(endpoint), endpoint.flags)
}
