//! What an explanation consists of. The JSON form is an interface: `weir policy explain --output
//! json` and `POST /api/v1/policies/explain` answer with an [`Explanation`].

use std::net::IpAddr;

use serde::Serialize;
use weir_flow::values::{Direction, PolicyRule, Reason, Verdict};

use super::Question;
use crate::model::Protocol;

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The answer in one plain sentence.
    pub sentence: String,
    /// The verdict on all of it.
    pub verdict: Overall,
    /// What was asked; none where an attempt was explained instead.
    pub question: Option<Question>,
    /// One for each different answer: the addresses of dual-stack pods and the pods behind a
    /// Service are judged one by one, and those that are judged alike share an answer.
    pub answers: Vec<Answer>,
    /// What must be known about the question itself: a Service without such a port, a pod without
    /// an address.
    pub notes: Vec<String>,
    /// Known mistakes that were found, each once, those that matter most first.
    pub mistakes: Vec<Mistake>,
    /// One unified diff that makes everything asked for allowed; none if it is, or if no change of
    /// policies can.
    pub diff: Option<String>,
}

/// Verdict on a question that may have several answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Every attempt passes.
    Allow,
    /// Every attempt is dropped.
    Deny,
    /// Every attempt passes, some only because denies are just reported.
    Audit,
    /// Some attempts pass, some are dropped.
    Mixed,
    /// There is nothing to judge; `notes` say why.
    Unknown,
}

/// The answer for one or more attempts that are judged alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Why, in one sentence.
    pub sentence: String,
    /// Deny if either end denies, else audit if either end would, else allow.
    pub verdict: Verdict,
    /// What was judged. The details below are those of the first.
    pub attempts: Vec<AttemptView>,
    /// At the source; none if it is no pod that policies apply to.
    pub egress: Option<Side>,
    /// At the destination; likewise. Nobody sees it if the source denies.
    pub ingress: Option<Side>,
    /// The smallest changes that would allow it: one for each end that denies, to be made in order.
    pub changes: Vec<Change>,
    /// Known mistakes that explain it, those that matter most first.
    pub mistakes: Vec<Mistake>,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AttemptView {
    /// `namespace/pod`, `node name`, `Service namespace/name` or the address.
    pub source: String,
    /// Its address.
    pub source_address: IpAddr,
    /// Like `source`.
    pub destination: String,
    /// Its address.
    pub destination_address: IpAddr,
    /// The port that the destination's own interface sees: behind a Service, the `targetPort`.
    pub port: u16,
    /// `TCP`, `UDP`, `SCTP`, or what flows call others.
    pub protocol: String,
}

/// What one end's policies say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// Egress at the source, ingress at the destination.
    pub direction: Direction,
    /// The enforced pod, `namespace/name`.
    pub pod: String,
    /// The other end, as in [`AttemptView`].
    pub peer: String,
    /// What is decided.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Allow: every rule that allowed. Deny: the rule that denied, or the policies that isolate.
    pub rules: Vec<PolicyRule>,
    /// The NetworkPolicies that isolate the pod in this direction, whatever the verdict.
    pub isolated_by: Vec<PolicyRule>,
    /// Each policy considered, in the order in which they are asked: admin tier, NetworkPolicies,
    /// baseline tier. NetworkPolicies of the pod's namespace that leave it alone come with the
    /// clause that says so; tier policies that do not cover the pod are left out.
    pub policies: Vec<PolicyTrace>,
    /// Policies that were considered and are not listed, for the list would be too long.
    pub policies_left_out: usize,
}

/// How one policy was considered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyTrace {
    /// `NetworkPolicy` or one of its siblings.
    pub kind: &'static str,
    /// Empty for policies without a namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `admin`, `network_policy` or `baseline`.
    pub tier: &'static str,
    /// Its denies are only reported.
    pub audit: bool,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether it applies to the pod, clause by clause.
    pub subject: Vec<Clause>,
    /// Its rules of this direction, if it applies.
    pub rules: Vec<RuleTrace>,
}

/// What came of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// One of its rules allows the attempt.
    Allows,
    /// One of its rules denies it; only in tiers.
    Denies,
    /// One of its rules leaves it to the next tier; only in tiers.
    Passes,
    /// It isolates the pod and none of its rules covers the attempt.
    Isolates,
    /// It applies to the pod and none of its rules covers the attempt; only in tiers.
    NoRule,
    /// It applies to the pod, in the other direction only.
    OtherDirection,
    /// It does not select the pod.
    NotSelected,
    /// An earlier policy or tier has decided; what it would have said is in its rules.
    NotAsked,
}

/// How one rule was considered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleTrace {
    /// Its index in the policy's list of this direction, from 0.
    pub index: usize,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// `Allow`, `Deny` or `Pass`; NetworkPolicies only allow.
    pub action: &'static str,
    /// It covers the attempt: a peer matched and a port matched.
    pub matched: bool,
    /// One of its peers covers the other end, or it has no peers and so covers everybody.
    pub peer_matched: bool,
    /// One of its ports covers the attempt's, or it has no ports and so covers all.
    pub port_matched: bool,
    /// Its peers.
    pub peers: Vec<EntryTrace>,
    /// Its ports.
    pub ports: Vec<EntryTrace>,
}

/// How one of a rule's peers or ports was considered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntryTrace {
    /// Its index in the rule's list, from 0.
    pub index: usize,
    /// All of its clauses matched.
    pub matched: bool,
    /// Clause by clause.
    pub clauses: Vec<Clause>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// The field, as in the manifest, such as `podSelector.matchLabels.app`.
    pub field: String,
    /// Whether it holds.
    pub matched: bool,
    /// What it wants and what it met.
    pub text: String,
}

/// A change of one policy, or a new policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The end that it opens.
    pub direction: Direction,
    /// What it does, in one sentence.
    pub sentence: String,
    /// `NetworkPolicy` or one of its siblings.
    pub kind: &'static str,
    /// Empty for policies without a namespace.
    pub namespace: String,
    /// The policy's name.
    pub name: String,
    /// Index of the rule that needs the change, in the policy's list of that direction; none for a
    /// new rule or policy and for what is not in a rule.
    pub rule: Option<usize>,
    /// It is a new policy.
    pub new: bool,
    /// How far the rule was from allowing it; the least of all candidates.
    pub cost: u32,
    /// Unified diff, to be applied with `patch -p1` or `git apply` after those of the changes
    /// before it. Against the file that the policy came from if that was given, else against the
    /// policy as [`policy_yaml` prints it.
    pub diff: String,
}

/// A mistake that people make, found here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Stable name, such as `service_port`.
    pub id: &'static str,
    /// What is wrong, in one sentence.
    pub sentence: String,
    /// What to do.
    pub fix: String,
}

/// The protocol of a question or an attempt as text.
pub(super) fn protocol_text(protocol: u8) -> String {
    weir_flow::values::protocol_name(protocol).into_owned()
}

impl Serialize for Protocol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
