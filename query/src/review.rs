//! A review of the policies of one cluster: what each selects, how often each rule decided, what looks wrong,
//! and which pods no policy is about.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_flow::schema::TimestampNs;
use weir_flow::values::PolicyRule;
use weir_policy::evaluate::{NETWORK_POLICY, selects, tier_policies_of};
use weir_policy::lint::{Lint, lint, lint_text};
use weir_policy::model::{Cluster, Direction, NetworkPolicy, Pod, Tier, TierPolicy};

use crate::access::Namespaces;
use crate::catalog::history::History;

/// Most policies of a review.
const MAX_POLICIES: usize = 5_000;
/// Most pods that are named for a policy.
const MAX_SELECTED: usize = 20;
/// Most pods that are named for having no policy.
const MAX_WITHOUT: usize = 500;
/// What is told of policies to those who do not see every namespace: nothing that pods elsewhere decide.
const LINTS_OF_ONE_NAMESPACE: [&str; 4] =
    ["rules_ignored", "types_left_out", "except_leaves_nothing", "audited"];

/// Of one cluster.
#[derive(Debug, Serialize)]
pub(crate) struct Review {
    cluster: String,
    /// The time of the policies and pods.
    at: TimestampNs,
    policies: Vec<Reviewed>,
    /// Further policies that are not listed.
    more_policies: usize,
    /// Pods that no policy applies to.
    pods_without_policy: Pods,
    /// What must be known about it.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Reviewed {
    kind: &'static str,
    /// Empty for policies without a namespace.
    namespace: String,
    name: String,
    /// Since when it is as it is: hits of before are those of an older version.
    valid_from: Option<TimestampNs>,
    /// Its denies are only reported.
    only_reports: bool,
    selects: Pods,
    /// Of the policy as a whole: what it denied by isolating.
    #[serde(flatten)]
    hits: Hits,
    rules: Vec<OfRule>,
    /// Rules that decided nothing in that time.
    never_hit: usize,
    lints: Vec<Lint>,
}

#[derive(Debug, Serialize)]
struct OfRule {
    direction: Direction,
    /// Its place in the list of that direction, from 0.
    rule: u32,
    #[serde(flatten)]
    hits: Hits,
}

/// How many there are, and some of their names.
#[derive(Debug, Default, Serialize)]
struct Pods {
    count: usize,
    pods: Vec<String>,
}

/// Verdicts that somebody decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Hits {
    pub(crate) allow: u64,
    pub(crate) deny: u64,
    pub(crate) audit: u64,
    pub(crate) last_hit: Option<TimestampNs>,
}

/// Verdicts by cluster, direction and who decided.
#[derive(Debug, Default)]
pub(crate) struct AllHits(BTreeMap<(String, Direction, PolicyRule), Hits>);

impl AllHits {
    pub(crate) fn add(&mut self, cluster: &str, direction: Direction, by: PolicyRule, more: Hits) {
        let hits = self.0.entry((cluster.to_owned(), direction, by)).or_default();
        hits.add(more);
    }

    fn of(&self, cluster: &str, direction: Direction, by: &PolicyRule) -> Hits {
        let key = (cluster.to_owned(), direction, by.clone());
        self.0.get(&key).copied().unwrap_or_default()
    }
}

impl Hits {
    fn add(&mut self, more: Self) {
        self.allow = self.allow.saturating_add(more.allow);
        self.deny = self.deny.saturating_add(more.deny);
        self.audit = self.audit.saturating_add(more.audit);
        self.last_hit = self.last_hit.max(more.last_hit);
    }

    fn is_none(self) -> bool {
        self.allow == 0 && self.deny == 0 && self.audit == 0
    }
}

impl Pods {
    fn add(&mut self, pod: &Pod, most: usize) {
        self.count += 1;
        if self.pods.len() < most {
            self.pods.push(format!("{}/{}", pod.namespace, pod.name));
        }
    }
}

/// Reviews one cluster at a time, as somebody sees it.
pub(crate) fn review(
    history: &History,
    name: &str,
    at_ns: i64,
    hits: &AllHits,
    seen: &Namespaces,
) -> Review {
    let at = history.at(name, at_ns);
    let cluster = &at.cluster;
    let pods: Vec<&Pod> =
        cluster.pods.iter().filter(|pod| pod.is_networked() && seen.has(&pod.namespace)).collect();
    let (of_tiers, pods_without_policy) = by_tier_policies(cluster, &pods);
    let lints = lints(cluster, at.originals.iter().map(|original| original.text.as_str()), seen);
    let since = since(history, name, at_ns);
    let about = About { name, hits, lints, since };
    let network = cluster.policies.iter().filter(|policy| seen.has(&policy.namespace));
    let network = network.map(|policy| about.network(policy, &pods));
    let tiers = cluster.tier_policies.iter().map(|policy| {
        let key = (policy.kind.as_str(), policy.name.as_str());
        about.tier(policy, of_tiers.get(&key))
    });
    let all = network.chain(tiers);
    let mut policies: Vec<Reviewed> = all.collect();
    let more_policies = policies.len().saturating_sub(MAX_POLICIES);
    policies.truncate(MAX_POLICIES);
    let mut notes = at.problems.clone();
    if !seen.is_all() {
        notes = vec![
            "pods, verdicts and what looks wrong are those of the namespaces that you see: \
             whether peers match anybody is not looked at"
                .into(),
        ];
    }
    Review {
        cluster: name.to_owned(),
        at: TimestampNs(at_ns),
        policies,
        more_policies,
        pods_without_policy,
        notes,
    }
}

/// Pods by the tier policies that cover them, and those that no policy of any kind is about.
fn by_tier_policies<'a>(
    cluster: &'a Cluster,
    pods: &[&Pod],
) -> (BTreeMap<(&'static str, &'a str), Pods>, Pods) {
    let mut covered: BTreeMap<(&'static str, &str), Pods> = BTreeMap::new();
    let mut without = Pods::default();
    for pod in pods {
        let tiers = [Tier::Admin, Tier::Baseline].into_iter();
        let policies: Vec<&TierPolicy> =
            tiers.flat_map(|tier| tier_policies_of(cluster, pod, tier)).collect();
        for policy in &policies {
            let key = (policy.kind.as_str(), policy.name.as_str());
            covered.entry(key).or_default().add(pod, MAX_SELECTED);
        }
        if policies.is_empty() && !cluster.policies.iter().any(|policy| selects(policy, pod)) {
            without.add(pod, MAX_WITHOUT);
        }
    }
    (covered, without)
}

/// What looks wrong, as far as somebody may know.
fn lints<'a>(
    cluster: &Cluster,
    texts: impl Iterator<Item = &'a str>,
    seen: &Namespaces,
) -> BTreeMap<(String, String, String), Vec<Lint>> {
    let mut by_policy: BTreeMap<_, Vec<Lint>> = BTreeMap::new();
    let told = |lint: &Lint| {
        seen.is_all()
            || LINTS_OF_ONE_NAMESPACE.contains(&lint.id)
            || (lint.id == "selects_nothing" && lint.kind == NETWORK_POLICY)
    };
    for lint in lint(cluster).into_iter().chain(texts.flat_map(lint_text)).filter(told) {
        let key = (lint.kind.to_owned(), lint.namespace.clone(), lint.name.clone());
        by_policy.entry(key).or_default().push(lint);
    }
    by_policy
}

/// Since when each policy is as it is.
fn since(
    history: &History,
    cluster: &str,
    at_ns: i64,
) -> BTreeMap<(String, String, String), TimestampNs> {
    let rows = history.policies(Some(at_ns)).filter(|row| row.cluster == cluster);
    rows.map(|row| ((row.kind, row.namespace, row.name), row.valid_from)).collect()
}

/// What is known of all policies of a cluster.
struct About<'a> {
    name: &'a str,
    hits: &'a AllHits,
    lints: BTreeMap<(String, String, String), Vec<Lint>>,
    since: BTreeMap<(String, String, String), TimestampNs>,
}

impl About<'_> {
    fn network(&self, policy: &NetworkPolicy, pods: &[&Pod]) -> Reviewed {
        let mut selected = Pods::default();
        let own = pods.iter().filter(|pod| selects(policy, pod));
        own.for_each(|pod| selected.add(pod, MAX_SELECTED));
        let rules = |direction| policy.rules(direction).len();
        let of = (NETWORK_POLICY, policy.namespace.as_str(), policy.name.as_str());
        self.reviewed(of, policy.audit, selected, rules)
    }

    fn tier(&self, policy: &TierPolicy, pods: Option<&Pods>) -> Reviewed {
        let selected = pods
            .map_or_else(Pods::default, |pods| Pods { count: pods.count, pods: pods.pods.clone() });
        let rules = |direction| policy.rules(direction).len();
        self.reviewed((policy.kind.as_str(), "", &policy.name), policy.audit, selected, rules)
    }

    fn reviewed(
        &self,
        (kind, namespace, name): (&'static str, &str, &str),
        only_reports: bool,
        selects: Pods,
        rules: impl Fn(Direction) -> usize,
    ) -> Reviewed {
        let by = |rule| PolicyRule {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            rule,
        };
        let mut hits = Hits::default();
        let mut of_rules = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            hits.add(self.hits.of(self.name, direction, &by(None)));
            for rule in 0..u32::try_from(rules(direction)).unwrap_or(u32::MAX) {
                let hits = self.hits.of(self.name, direction, &by(Some(rule)));
                of_rules.push(OfRule { direction, rule, hits });
            }
        }
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        Reviewed {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            valid_from: self.since.get(&key).copied(),
            only_reports,
            selects,
            hits,
            never_hit: of_rules.iter().filter(|rule| rule.hits.is_none()).count(),
            rules: of_rules,
            lints: self.lints.get(&key).cloned().unwrap_or_default(),
        }
    }
}
