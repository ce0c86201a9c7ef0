//! What is suspicious about a set of policies, without asking about a connection.
//!
//! | id | severity | what |
//! |---|---|---|
//! | `rules_ignored` | error | rules of a direction that `policyTypes` does not list |
//! | `selects_nothing` | warning | no pod is selected |
//! | `peer_matches_nothing` | warning | a peer matches no pod |
//! | `egress_without_dns` | warning | pods are isolated for egress and may not ask for names |
//! | `dns_without_tcp` | info | pods are isolated for egress and may ask for names over UDP only |
//! | `types_left_out` | warning | `policyTypes` is left out although there is an `egress` |
//! | `port_nobody_has` | warning | no selected pod declares the port |
//! | `rule_shadowed` | warning | an earlier rule of the tier decides all that this one covers |
//! | `except_leaves_nothing` | warning | the exceptions cover the whole block |
//! | `audited` | info | denies are only reported |
//!
//! What depends on pods is not looked at where none are known, so that a directory of nothing but
//! policies can be checked.

mod dns;
mod peers;
mod ports;
mod subjects;
mod tiers;
mod written;

use serde::Serialize;

pub use written::lint_text;

use crate::evaluate::NETWORK_POLICY;
use crate::model::{Cluster, Direction, NetworkPolicy, TierPolicy};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// Stable name, such as `selects_nothing`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// `NetworkPolicy` or one of its siblings.
    pub kind: &'static str,
    /// Empty for policies without a namespace.
    pub namespace: String,
    /// The policy's name.
    pub name: String,
    /// The field, such as `spec.ingress[0].from[1]`.
    pub field: String,
    /// What is suspicious, in one sentence.
    pub sentence: String,
    /// What to do.
    pub fix: String,
}

/// How bad a [`Lint`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It does not do what it says.
    Error,
    /// It probably does not do what is meant.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Looks at all policies of a cluster. What their texts tell beyond that, [`lint_text`] does.
pub fn lint(cluster: &Cluster) -> Vec<Lint> {
    let mut found = Vec::new();
    for policy in &cluster.policies {
        let at = Subject::network(policy);
        found.extend(subjects::network(cluster, policy, &at));
        for direction in [Direction::Ingress, Direction::Egress] {
            found.extend(peers::network(cluster, policy, direction, &at));
            found.extend(ports::network(cluster, policy, direction, &at));
        }
        found.extend(dns::network(cluster, policy, &at));
        found.extend(audited(policy.audit, &at));
    }
    for policy in &cluster.tier_policies {
        let at = Subject::tier(policy);
        found.extend(subjects::tier(cluster, policy, &at));
        found.extend(tiers::shadowed(cluster, policy, &at));
        found.extend(audited(policy.audit, &at));
    }
    found
}

fn audited(audit: bool, at: &Subject) -> Option<Lint> {
    audit.then(|| {
        at.lint(
            "audited",
            Severity::Info,
            "metadata.annotations".into(),
            "its denies are only reported, nothing is dropped because of it".into(),
            "remove the annotation weir.io/audit once its reports are as expected",
        )
    })
}

/// The policy that a finding is about.
struct Subject {
    kind: &'static str,
    namespace: String,
    name: String,
}

impl Subject {
    fn network(policy: &NetworkPolicy) -> Self {
        Self {
            kind: NETWORK_POLICY,
            namespace: policy.namespace.clone(),
            name: policy.name.clone(),
        }
    }

    fn tier(policy: &TierPolicy) -> Self {
        Self { kind: policy.kind.as_str(), namespace: String::new(), name: policy.name.clone() }
    }

    fn lint(
        &self,
        id: &'static str,
        severity: Severity,
        field: String,
        sentence: String,
        fix: impl Into<String>,
    ) -> Lint {
        Lint {
            id,
            severity,
            kind: self.kind,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            field,
            sentence,
            fix: fix.into(),
        }
    }
}

/// "from" or "to".
fn peers_field(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    }
}

#[cfg(test)]
mod tests;
