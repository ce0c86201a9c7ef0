//! Where changes are tried out: a cluster and the texts of its policies, both as changed so far.

use std::borrow::Cow;

use serde_json::Value;

use super::What;
use crate::explain::Original;
use crate::explain::diff::unified;
use crate::explain::yaml::{block, edit_text, edit_value, policy_value, tier_policy_value};
use crate::manifest::{self, Object, ObjectName};
use crate::model::{Cluster, NetworkPolicy, TierPolicy};

/// The bench. The cluster is copied when the first change is tried out.
#[derive(Debug)]
pub(in crate::explain) struct Bench<'a> {
    cluster: Cow<'a, Cluster>,
    originals: &'a [Original],
    texts: Vec<Text>,
    made: Vec<Undo>,
}

/// A file that was changed.
#[derive(Debug)]
struct Text {
    path: String,
    /// The policy that it holds, where it is the printed form of one.
    printed: Option<ObjectName>,
    before: String,
    now: String,
}

/// What became of a text.
struct Edited {
    path: String,
    printed: Option<ObjectName>,
    before: String,
    now: String,
}

impl<'a> Bench<'a> {
    /// Nothing changed so far.
    pub(in crate::explain) fn new(cluster: &'a Cluster, originals: &'a [Original]) -> Self {
        let cluster = Cow::Borrowed(cluster);
        Self { cluster, originals, texts: Vec::new(), made: Vec::new() }
    }

    /// Takes all changes back.
    pub(in crate::explain) fn clear(&mut self) {
        while let Some(undo) = self.made.pop() {
            self.take_back(undo);
        }
        self.texts.clear();
    }

    /// The cluster as changed so far.
    pub(in crate::explain) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// All changes in one diff; none if there are none.
    pub(in crate::explain) fn diff(&self) -> Option<String> {
        let diffs: String =
            self.texts.iter().map(|text| unified(&text.path, &text.before, &text.now)).collect();
        (!diffs.is_empty()).then_some(diffs)
    }

    /// Makes a change if it is good, and returns its diff.
    pub(super) fn make(
        &mut self,
        object: &ObjectName,
        what: &What,
        is_good: impl Fn(&Cluster) -> bool,
    ) -> Option<String> {
        let (old, new) = match what {
            What::New(value) => (None, value.clone()),
            What::Edits(edits) => {
                let old = self.value(object)?;
                let mut new = old.clone();
                for edit in edits {
                    edit_value(&mut new, edit)?;
                }
                (Some(old), new)
            }
        };
        let changed = manifest::parse_value(new.clone()).ok()?;
        let undo = self.put(object, &changed)?;
        if !is_good(&self.cluster) {
            self.take_back(undo);
            return None;
        }
        self.made.push(undo);
        let edited = match what {
            What::Edits(edits) => self.edited(object, edits, &changed),
            What::New(_) => None,
        };
        let edited = edited.unwrap_or_else(|| Edited {
            path: printed_path(object),
            printed: Some(name_of(&changed).unwrap_or_default()),
            before: old.as_ref().map(block).unwrap_or_default(),
            now: block(&new),
        });
        let diff = unified(&edited.path, &edited.before, &edited.now);
        match self.texts.iter_mut().find(|text| text.path == edited.path) {
            Some(text) => text.now = edited.now,
            None => self.texts.push(Text {
                path: edited.path,
                printed: edited.printed,
                before: edited.before,
                now: edited.now,
            }),
        }
        Some(diff)
    }

    fn value(&self, object: &ObjectName) -> Option<Value> {
        let policies = self.cluster.policies.iter();
        let tiers = self.cluster.tier_policies.iter();
        policies
            .filter(|policy| is_named(policy, object))
            .map(policy_value)
            .chain(tiers.filter(|policy| is_tier_named(policy, object)).map(tier_policy_value))
            .next()
    }

    /// The text that describes a policy with the edits made, if it then says what is wanted.
    fn edited(
        &self,
        object: &ObjectName,
        edits: &[crate::explain::yaml::Edit],
        wanted: &Object,
    ) -> Option<Edited> {
        let attempt = |path: &str, printed: Option<ObjectName>, text: &str| {
            let mut now = text.to_owned();
            for edit in edits {
                now = edit_text(&now, object, edit)?;
            }
            says(&now, wanted).then(|| Edited {
                path: path.to_owned(),
                printed,
                before: text.to_owned(),
                now,
            })
        };
        for text in &self.texts {
            let holds = match &text.printed {
                Some(printed) => printed == object,
                None => text.now.contains(&object.name),
            };
            if holds && let Some(edited) = attempt(&text.path, text.printed.clone(), &text.now) {
                return Some(edited);
            }
        }
        let is_changed = |path: &str| self.texts.iter().any(|text| text.path == path);
        self.originals
            .iter()
            .filter(|original| !is_changed(&original.path) && original.text.contains(&object.name))
            .find_map(|original| attempt(&original.path, None, &original.text))
    }

    /// Puts a policy in its place, and returns what was there.
    fn put(&mut self, object: &ObjectName, changed: &Object) -> Option<Undo> {
        let cluster = self.cluster.to_mut();
        match changed {
            Object::NetworkPolicy(policy) => {
                let policies = &mut cluster.policies;
                match policies.iter().position(|other| is_named(other, object)) {
                    Some(index) => {
                        let old = std::mem::replace(&mut policies[index], policy.clone());
                        Some(Undo::Policy(index, old))
                    }
                    None => {
                        policies.push(policy.clone());
                        Some(Undo::Added)
                    }
                }
            }
            Object::TierPolicy(policy) => {
                let policies = &mut cluster.tier_policies;
                let index = policies.iter().position(|other| is_tier_named(other, object))?;
                let old = std::mem::replace(&mut policies[index], policy.clone());
                Some(Undo::Tier(index, old))
            }
            _ => None,
        }
    }

    fn take_back(&mut self, undo: Undo) {
        let cluster = self.cluster.to_mut();
        match undo {
            Undo::Policy(index, old) => cluster.policies[index] = old,
            Undo::Tier(index, old) => cluster.tier_policies[index] = old,
            Undo::Added => {
                cluster.policies.pop();
            }
        }
    }
}

#[derive(Debug)]
enum Undo {
    Policy(usize, NetworkPolicy),
    Tier(usize, TierPolicy),
    Added,
}

fn is_named(policy: &NetworkPolicy, object: &ObjectName) -> bool {
    object.kind == crate::evaluate::NETWORK_POLICY
        && policy.namespace == object.namespace
        && policy.name == object.name
}

fn is_tier_named(policy: &TierPolicy, object: &ObjectName) -> bool {
    policy.kind.as_str() == object.kind && policy.name == object.name
}

/// Whether a text describes an object in just this way.
fn says(text: &str, wanted: &Object) -> bool {
    let mut found = manifest::parse(text).into_iter().filter_map(Result::ok);
    // Logging does not come from the model's printed form, and decides nothing.
    found.any(|object| match (&object, wanted) {
        (Object::NetworkPolicy(object), Object::NetworkPolicy(wanted)) => {
            NetworkPolicy { log_allows: wanted.log_allows, ..object.clone() } == *wanted
        }
        _ => object == *wanted,
    })
}

fn name_of(object: &Object) -> Option<ObjectName> {
    match object {
        Object::NetworkPolicy(policy) => Some(super::name_of(policy)),
        Object::TierPolicy(policy) => Some(ObjectName {
            kind: policy.kind.as_str().into(),
            namespace: String::new(),
            name: policy.name.clone(),
        }),
        _ => None,
    }
}

/// Where a policy would be, whose file is not known.
fn printed_path(object: &ObjectName) -> String {
    let folder = match object.namespace.as_str() {
        "" => object.kind.to_ascii_lowercase(),
        namespace => namespace.to_owned(),
    };
    format!("{folder}/{}.yaml", object.name)
}

/// The kind as the answer names it.
pub(super) fn kind_name(kind: &str) -> &'static str {
    use crate::model::TierKind::{
        AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy,
    };
    [ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy]
        .into_iter()
        .map(crate::model::TierKind::as_str)
        .find(|word| *word == kind)
        .unwrap_or(crate::evaluate::NETWORK_POLICY)
}
