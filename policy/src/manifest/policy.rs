//! NetworkPolicy as strictly as the API server reads it, with its defaults.

pub(super) mod raw;

use ipnet::IpNet;
use serde_json::Value;

use self::raw::{IntOrText, RawPeer, RawPort, RawRule, RawSpec};
use super::error::{FieldPath, Problem};
use super::selector::{RawSelector, selector};
use super::strict::{self, RawObject, each};
use super::words;
use crate::model::{IpBlock, NetworkPolicy, Peer, Port, PortRule, Rule};

/// Reads a policy.
pub(super) fn policy(value: Value) -> Result<NetworkPolicy, Problem> {
    let RawObject { mut metadata, spec, .. } = Problem::decode::<RawObject<RawSpec>>(value)?;
    let root = FieldPath::default();
    let at = root.key("metadata");
    let name = metadata.name()?;
    let annotations = metadata.annotations.unwrap_or_default();
    let namespace = match metadata.namespace {
        Some(namespace) if !namespace.is_empty() => namespace,
        _ => "default".to_owned(),
    };
    words::check_namespace(&namespace).map_err(|message| at.key("namespace").problem(message))?;

    let spec = spec.unwrap_or_default();
    let at = root.key("spec");
    let ingress = rules(spec.ingress, &at.key("ingress"), RawRule::from)?;
    let egress = rules(spec.egress, &at.key("egress"), RawRule::to)?;
    let types = spec.policy_types.unwrap_or_default();
    let (isolates_ingress, isolates_egress) = if types.is_empty() {
        (true, !egress.is_empty())
    } else {
        policy_types(&types, &at.key("policyTypes"))?
    };
    Ok(NetworkPolicy {
        namespace,
        name,
        pod_selector: selector(spec.pod_selector.unwrap_or_default(), &at.key("podSelector"))?,
        isolates_ingress,
        isolates_egress,
        ingress,
        egress,
        audit: annotations.of_policy()?,
        log_allows: annotations.log_allows(),
    })
}

fn policy_types(types: &[String], at: &FieldPath) -> Result<(bool, bool), Problem> {
    if types.len() > 2 {
        return Err(at.problem("has more than two entries: list Ingress, Egress or both"));
    }
    for (index, word) in types.iter().enumerate() {
        if word != "Ingress" && word != "Egress" {
            let message = format!("is {word:?}: write Ingress or Egress");
            return Err(at.index(index).problem(message));
        }
    }
    let has = |word: &str| types.iter().any(|other| other == word);
    Ok((has("Ingress"), has("Egress")))
}

fn rules<R>(
    raw: Option<Vec<R>>,
    at: &FieldPath,
    parts: fn(R) -> RawRule,
) -> Result<Vec<Rule>, Problem> {
    raw.unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(index, raw)| {
            let at = at.index(index);
            let RawRule { peers_field, peers, ports } = parts(raw);
            let peers_at = at.key(peers_field);
            let ports_at = at.key("ports");
            Ok(Rule {
                peers: each(peers, |index, raw| peer(raw, &peers_at.index(index)))?,
                ports: each(ports, |index, raw| port(raw, &ports_at.index(index)))?,
            })
        })
        .collect()
}

fn peer(raw: RawPeer, at: &FieldPath) -> Result<Peer, Problem> {
    let has_selector = raw.pod_selector.is_some() || raw.namespace_selector.is_some();
    match raw.ip_block {
        Some(_) if has_selector => Err(at.problem(
            "has ipBlock together with a selector: make them two peers, each with its own '-'",
        )),
        Some(block) => {
            let at = at.key("ipBlock");
            let Some(cidr) = block.cidr else {
                return Err(at.key("cidr").problem("is missing: write a block such as 10.0.0.0/8"));
            };
            let cidr = words::block(&cidr).map_err(|message| at.key("cidr").problem(message))?;
            let at = at.key("except");
            let except = each(block.except, |index, text| except(&text, cidr, &at.index(index)))?;
            Ok(Peer::Block(IpBlock { cidr, except }))
        }
        None if has_selector => {
            let read = |raw: Option<RawSelector>, field: &str| {
                raw.map(|raw| selector(raw, &at.key(field))).transpose()
            };
            Ok(Peer::Pods {
                namespaces: read(raw.namespace_selector, "namespaceSelector")?,
                pods: read(raw.pod_selector, "podSelector")?,
            })
        }
        None => Err(at.problem(
            "is empty: give it a podSelector, a namespaceSelector or an ipBlock; \
             to allow everybody leave out the list",
        )),
    }
}

fn except(text: &str, cidr: IpNet, at: &FieldPath) -> Result<IpNet, Problem> {
    let block = words::block(text).map_err(|message| at.problem(message))?;
    let inside = match (cidr, block) {
        (IpNet::V4(cidr), IpNet::V4(block)) => cidr.contains(&block) && cidr != block,
        (IpNet::V6(cidr), IpNet::V6(block)) => cidr.contains(&block) && cidr != block,
        _ => false,
    };
    if inside {
        return Ok(block);
    }
    Err(at.problem(format!(
        "{text} is not a part of {cidr}: an exception must lie inside the cidr and be smaller"
    )))
}

fn port(raw: RawPort, at: &FieldPath) -> Result<PortRule, Problem> {
    let protocol = strict::protocol(raw.protocol.as_deref(), at)?;
    let number = |number, field: &str| strict::port_number(number, &at.key(field));
    let port = match (raw.port, raw.end_port) {
        (None, None) => Port::All,
        (Some(IntOrText::Int(first)), None) => {
            let first = number(first, "port")?;
            Port::Range(first, first)
        }
        (Some(IntOrText::Int(first)), Some(last)) => {
            let (first, last) = (number(first, "port")?, number(last, "endPort")?);
            if last < first {
                let message = format!("is {last}, below port {first}: swap them");
                return Err(at.key("endPort").problem(message));
            }
            Port::Range(first, last)
        }
        (Some(IntOrText::Text(name)), None) => {
            words::check_port_name(&name).map_err(|message| at.key("port").problem(message))?;
            Port::Named(name)
        }
        (Some(IntOrText::Text(_)), Some(_)) => {
            return Err(at.key("endPort").problem(
                "stands beside a port name: ranges need a number in port, or leave out endPort",
            ));
        }
        (None, Some(_)) => {
            return Err(at.key("endPort").problem("has no port to begin from: add port"));
        }
    };
    Ok(PortRule { protocol, port })
}
