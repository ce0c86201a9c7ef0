//! AdminNetworkPolicy, BaselineAdminNetworkPolicy and ClusterNetworkPolicy as strictly as their
//! definitions ask for.
//!
//! | kind | version | written as |
//! |---|---|---|
//! | AdminNetworkPolicy, BaselineAdminNetworkPolicy | `policy.networking.k8s.io/v1alpha1` | [`v1alpha1`] |
//! | ClusterNetworkPolicy | `policy.networking.k8s.io/v1alpha2` | [`v1alpha2`] |

mod peer;
mod v1alpha1;
mod v1alpha2;

use serde::de::DeserializeOwned;
use serde_json::Value;

use self::peer::{RawPeer, RawSubject};
use super::error::{FieldPath, Problem};
use super::strict::{self, RawObject};
use super::words;
use crate::model::{
    Action, Port, PortRule, Protocol, Tier, TierKind, TierPeer, TierPolicy, TierRule,
};

pub(super) use self::v1alpha1::{admin, baseline};
pub(super) use self::v1alpha2::cluster;

/// `apiVersion` of AdminNetworkPolicy and BaselineAdminNetworkPolicy.
pub(super) const V1ALPHA1: &str = "policy.networking.k8s.io/v1alpha1";
/// `apiVersion` of ClusterNetworkPolicy.
pub(super) const V1ALPHA2: &str = "policy.networking.k8s.io/v1alpha2";

/// The name that the one BaselineAdminNetworkPolicy must have.
const BASELINE_NAME: &str = "default";
/// Where the one BaselineAdminNetworkPolicy stands: after every other policy of its tier.
const BASELINE_PRIORITY: u32 = 1001;
const MAX_PRIORITY: i64 = 1000;
const MAX_RULE_NAME_CHARS: usize = 100;

/// How a version writes rules.
struct Form {
    /// Field of a rule with its ports.
    ports_field: &'static str,
    /// The word for allowing.
    allow: &'static str,
    /// Whether a rule may leave the decision to the next tier.
    has_pass: bool,
    /// Whether pods must be given with a `namespaceSelector`.
    needs_namespace_selector: bool,
    /// Most rules of a direction.
    max_rules: usize,
    /// Most peers, and most ports, of a rule.
    max_entries: usize,
}

/// A rule of either direction and version.
struct RawRule<Port> {
    name: Option<String>,
    action: String,
    peers_field: &'static str,
    peers: Vec<RawPeer>,
    ports: Option<Vec<Port>>,
}

/// What all kinds have, read from `spec`.
struct Parts {
    subject: RawSubject,
    tier: Tier,
    priority: u32,
    ingress: Vec<TierRule>,
    egress: Vec<TierRule>,
}

/// Reads a policy whose spec `read` knows.
fn policy<Spec: DeserializeOwned>(
    value: Value,
    kind: TierKind,
    form: &Form,
    read: impl Fn(Spec, &FieldPath) -> Result<Parts, Problem>,
) -> Result<TierPolicy, Problem> {
    let RawObject { mut metadata, spec, .. } = Problem::decode::<RawObject<Spec>>(value)?;
    let at = FieldPath::default().key("metadata");
    let name = metadata.name()?;
    if kind == TierKind::BaselineAdminNetworkPolicy && name != BASELINE_NAME {
        return Err(at.key("name").problem(format!(
            "is {name:?}, but there is one BaselineAdminNetworkPolicy, named {BASELINE_NAME:?}: \
             rename it"
        )));
    }
    metadata.check_cluster_wide("remove it, and choose namespaces in spec.subject")?;
    let audit = metadata.annotations.unwrap_or_default().of_policy()?;
    let at = FieldPath::default().key("spec");
    let Some(spec) = spec else {
        return Err(at.problem("is missing: add it, with at least a subject"));
    };
    let Parts { subject, tier, priority, ingress, egress } = read(spec, &at)?;
    let subject = peer::subject(subject, &at.key("subject"), form)?;
    Ok(TierPolicy { kind, name, tier, priority, subject, audit, ingress, egress })
}

fn priority(priority: i64, at: &FieldPath) -> Result<u32, Problem> {
    match u32::try_from(priority) {
        Ok(number) if priority <= MAX_PRIORITY => Ok(number),
        _ => {
            Err(at
                .problem(format!("is {priority}: priorities go from 0, first, to {MAX_PRIORITY}")))
        }
    }
}

/// Reads the rules of one direction.
fn rules<R, P>(
    raw: Option<Vec<R>>,
    at: &FieldPath,
    form: &Form,
    parts: fn(R) -> RawRule<P>,
    read_port: fn(P, &FieldPath) -> Result<Vec<PortRule>, Problem>,
) -> Result<Vec<TierRule>, Problem> {
    let raw = raw.unwrap_or_default();
    if raw.len() > form.max_rules {
        return Err(at.problem(format!(
            "has {} rules: at most {} are allowed, so split the policy",
            raw.len(),
            form.max_rules
        )));
    }
    raw.into_iter()
        .enumerate()
        .map(|(index, raw)| rule(parts(raw), &at.index(index), form, read_port))
        .collect()
}

fn rule<P>(
    raw: RawRule<P>,
    at: &FieldPath,
    form: &Form,
    read_port: fn(P, &FieldPath) -> Result<Vec<PortRule>, Problem>,
) -> Result<TierRule, Problem> {
    let name = raw.name.filter(|name| !name.is_empty());
    if name.as_ref().is_some_and(|name| name.chars().count() > MAX_RULE_NAME_CHARS) {
        let message = format!("is longer than {MAX_RULE_NAME_CHARS} characters: shorten it");
        return Err(at.key("name").problem(message));
    }
    let action = action(&raw.action, &at.key("action"), form)?;

    let peers_at = at.key(raw.peers_field);
    if raw.peers.is_empty() {
        return Err(peers_at.problem("is empty: name at least one peer"));
    }
    check_length(raw.peers.len(), form.max_entries, &peers_at)?;
    let mut peers = Vec::with_capacity(raw.peers.len());
    for (index, raw) in raw.peers.into_iter().enumerate() {
        peer::read(raw, &peers_at.index(index), form, &mut peers)?;
    }

    let ports_at = at.key(form.ports_field);
    let mut ports = Vec::new();
    if let Some(raw) = raw.ports {
        if raw.is_empty() {
            return Err(ports_at.problem("is empty: leave it out to cover everything"));
        }
        check_length(raw.len(), form.max_entries, &ports_at)?;
        let has_other_than_pods = peers.iter().any(|peer| !matches!(peer, TierPeer::Pods(_)));
        for (index, raw) in raw.into_iter().enumerate() {
            let at = ports_at.index(index);
            let read = read_port(raw, &at)?;
            if has_other_than_pods && read.iter().any(|rule| matches!(rule.port, Port::Named(_))) {
                return Err(at.problem(
                    "is a port name beside peers that have none: \
                     make a rule of its own for networks and nodes",
                ));
            }
            ports.extend(read);
        }
    }
    Ok(TierRule { name, action, peers, ports })
}

fn action(word: &str, at: &FieldPath, form: &Form) -> Result<Action, Problem> {
    match word {
        "Deny" => Ok(Action::Deny),
        "Pass" if form.has_pass => Ok(Action::Pass),
        word if word == form.allow => Ok(Action::Allow),
        other => {
            let pass = if form.has_pass { ", Deny or Pass" } else { " or Deny" };
            Err(at.problem(format!("is {other:?}: write {}{pass}", form.allow)))
        }
    }
}

fn check_length(length: usize, most: usize, at: &FieldPath) -> Result<(), Problem> {
    if length <= most {
        return Ok(());
    }
    Err(at.problem(format!("has {length} entries: at most {most} are allowed, so split the rule")))
}

/// A port name: it means the port of that name of each protocol.
fn named_port(name: &str, at: &FieldPath) -> Result<Vec<PortRule>, Problem> {
    words::check_port_name(name).map_err(|message| at.problem(message))?;
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    Ok(protocols.map(|protocol| PortRule { protocol, port: Port::Named(name.to_owned()) }).into())
}

/// A range of ports, given by the fields `start` and `end` of `at`.
fn port_range(
    protocol: Protocol,
    (start, end): (i64, i64),
    at: &FieldPath,
) -> Result<Vec<PortRule>, Problem> {
    let first = strict::port_number(start, &at.key("start"))?;
    let last = strict::port_number(end, &at.key("end"))?;
    if last < first {
        return Err(at.key("end").problem(format!("is {last}, below start {first}: swap them")));
    }
    Ok(vec![PortRule { protocol, port: Port::Range(first, last) }])
}

/// That exactly one of the fields of `at` is there.
fn check_one(count: usize, at: &FieldPath, fields: &str) -> Result<(), Problem> {
    match count {
        1 => Ok(()),
        0 => Err(at.problem(format!("is empty: give it one of {fields}"))),
        _ => {
            Err(at
                .problem(format!("has more than one of {fields}: make them entries of their own")))
        }
    }
}
