//! Subjects and peers, which both versions write alike.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Form, check_one};
use crate::manifest::error::{FieldPath, Problem};
use crate::manifest::selector::{RawSelector, selector};
use crate::manifest::words;
use crate::model::{TierPeer, TierPods};

/// Most blocks of one peer.
const MAX_NETWORKS: usize = 25;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSubject {
    namespaces: Option<RawSelector>,
    pods: Option<RawPods>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPods {
    namespace_selector: Option<RawSelector>,
    pod_selector: RawSelector,
}

/// A peer of an ingress rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIngressPeer {
    namespaces: Option<RawSelector>,
    pods: Option<RawPods>,
}

/// A peer of an egress rule, or one of either direction.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPeer {
    namespaces: Option<RawSelector>,
    pods: Option<RawPods>,
    nodes: Option<RawSelector>,
    networks: Option<Vec<String>>,
    domain_names: Option<IgnoredAny>,
}

impl From<RawIngressPeer> for RawPeer {
    fn from(raw: RawIngressPeer) -> Self {
        let RawIngressPeer { namespaces, pods } = raw;
        Self { namespaces, pods, nodes: None, networks: None, domain_names: None }
    }
}

/// Reads the pods that a policy applies to.
pub(super) fn subject(raw: RawSubject, at: &FieldPath, form: &Form) -> Result<TierPods, Problem> {
    let RawSubject { namespaces, pods: of } = raw;
    let count = usize::from(namespaces.is_some()) + usize::from(of.is_some());
    check_one(count, at, "namespaces and pods")?;
    match of {
        Some(raw) => pods(raw, &at.key("pods"), form),
        None => in_namespaces(namespaces.unwrap_or_default(), at),
    }
}

/// Reads a peer, which may stand for several of the model's.
pub(super) fn read(
    raw: RawPeer,
    at: &FieldPath,
    form: &Form,
    peers: &mut Vec<TierPeer>,
) -> Result<(), Problem> {
    let RawPeer { namespaces, pods: of, nodes, networks, domain_names } = raw;
    if domain_names.is_some() {
        return Err(at.key("domainNames").problem(
            "is not supported, because packets carry addresses and not names: \
             write the addresses in networks, or remove it",
        ));
    }
    let given = [namespaces.is_some(), of.is_some(), nodes.is_some(), networks.is_some()];
    let count = given.into_iter().filter(|given| *given).count();
    check_one(count, at, "namespaces, pods and, in egress, nodes and networks")?;
    if let Some(raw) = namespaces {
        peers.push(TierPeer::Pods(in_namespaces(raw, at)?));
    }
    if let Some(raw) = of {
        peers.push(TierPeer::Pods(pods(raw, &at.key("pods"), form)?));
    }
    if let Some(raw) = nodes {
        peers.push(TierPeer::Nodes(selector(raw, &at.key("nodes"))?));
    }
    if let Some(blocks) = networks {
        let at = at.key("networks");
        if blocks.is_empty() {
            return Err(at.problem("is empty: write at least one block such as 10.0.0.0/8"));
        }
        super::check_length(blocks.len(), MAX_NETWORKS, &at)?;
        for (index, text) in blocks.into_iter().enumerate() {
            let block = words::block(&text).map_err(|message| at.index(index).problem(message))?;
            peers.push(TierPeer::Network(block));
        }
    }
    Ok(())
}

fn in_namespaces(raw: RawSelector, at: &FieldPath) -> Result<TierPods, Problem> {
    Ok(TierPods { namespaces: selector(raw, &at.key("namespaces"))?, pods: None })
}

/// Where it may be left out, no `namespaceSelector` means every namespace.
fn pods(raw: RawPods, at: &FieldPath, form: &Form) -> Result<TierPods, Problem> {
    let namespaces_at = at.key("namespaceSelector");
    if raw.namespace_selector.is_none() && form.needs_namespace_selector {
        return Err(namespaces_at.problem("is missing: add it, {} for pods of every namespace"));
    }
    Ok(TierPods {
        namespaces: selector(raw.namespace_selector.unwrap_or_default(), &namespaces_at)?,
        pods: Some(selector(raw.pod_selector, &at.key("podSelector"))?),
    })
}
