//! `policy.networking.k8s.io/v1alpha2`: ClusterNetworkPolicy.

use serde::Deserialize;
use serde_json::Value;

use super::peer::{RawIngressPeer, RawPeer, RawSubject};
use super::{Form, Parts, RawRule, check_one, rules};
use crate::manifest::error::{FieldPath, Problem};
use crate::manifest::strict;
use crate::model::{Port, PortRule, Protocol, Tier, TierKind, TierPolicy};

const FORM: Form = Form {
    ports_field: "protocols",
    allow: "Accept",
    has_pass: true,
    needs_namespace_selector: false,
    max_rules: 25,
    max_entries: 25,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    tier: String,
    priority: i64,
    subject: RawSubject,
    ingress: Option<Vec<RawIngress>>,
    egress: Option<Vec<RawEgress>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIngress {
    name: Option<String>,
    action: String,
    from: Vec<RawIngressPeer>,
    protocols: Option<Vec<RawProtocol>>,
}

impl From<RawIngress> for RawRule<RawProtocol> {
    fn from(raw: RawIngress) -> Self {
        let RawIngress { name, action, from, protocols } = raw;
        let peers = from.into_iter().map(RawPeer::from).collect();
        Self { name, action, peers_field: "from", peers, ports: protocols }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEgress {
    name: Option<String>,
    action: String,
    to: Vec<RawPeer>,
    protocols: Option<Vec<RawProtocol>>,
}

impl From<RawEgress> for RawRule<RawProtocol> {
    fn from(raw: RawEgress) -> Self {
        let RawEgress { name, action, to, protocols } = raw;
        Self { name, action, peers_field: "to", peers: to, ports: protocols }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawProtocol {
    tcp: Option<RawTransport>,
    udp: Option<RawTransport>,
    sctp: Option<RawTransport>,
    destination_named_port: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTransport {
    destination_port: RawPort,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPort {
    number: Option<i64>,
    range: Option<RawRange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRange {
    start: i64,
    end: i64,
}

/// Reads a ClusterNetworkPolicy.
pub(in crate::manifest) fn cluster(value: Value) -> Result<TierPolicy, Problem> {
    super::policy(value, TierKind::ClusterNetworkPolicy, &FORM, |spec: RawSpec, at| {
        let tier = match spec.tier.as_str() {
            "Admin" => Tier::Admin,
            "Baseline" => Tier::Baseline,
            other => {
                let message = format!("is {other:?}: write Admin or Baseline");
                return Err(at.key("tier").problem(message));
            }
        };
        Ok(Parts {
            priority: super::priority(spec.priority, &at.key("priority"))?,
            tier,
            subject: spec.subject,
            ingress: rules(spec.ingress, &at.key("ingress"), &FORM, RawRule::from, protocol)?,
            egress: rules(spec.egress, &at.key("egress"), &FORM, RawRule::from, protocol)?,
        })
    })
}

fn protocol(raw: RawProtocol, at: &FieldPath) -> Result<Vec<PortRule>, Problem> {
    let RawProtocol { tcp, udp, sctp, destination_named_port } = raw;
    let given = [tcp.is_some(), udp.is_some(), sctp.is_some(), destination_named_port.is_some()];
    let count = given.into_iter().filter(|given| *given).count();
    check_one(count, at, "tcp, udp, sctp and destinationNamedPort")?;
    if let Some(name) = destination_named_port {
        return super::named_port(&name, &at.key("destinationNamedPort"));
    }
    let transports = [(tcp, Protocol::Tcp), (udp, Protocol::Udp), (sctp, Protocol::Sctp)];
    let mut ports = Vec::new();
    for (transport, protocol) in transports {
        let Some(RawTransport { destination_port: raw }) = transport else { continue };
        let field = protocol.as_str().to_ascii_lowercase();
        ports.extend(port(raw, protocol, &at.key(&field).key("destinationPort"))?);
    }
    Ok(ports)
}

fn port(raw: RawPort, protocol: Protocol, at: &FieldPath) -> Result<Vec<PortRule>, Problem> {
    match (raw.number, raw.range) {
        (Some(number), None) => {
            let number = strict::port_number(number, &at.key("number"))?;
            Ok(vec![PortRule { protocol, port: Port::Range(number, number) }])
        }
        (None, Some(range)) => {
            let at = at.key("range");
            if range.start == range.end {
                let message = format!("is {} like start: write number instead", range.end);
                return Err(at.key("end").problem(message));
            }
            super::port_range(protocol, (range.start, range.end), &at)
        }
        (number, range) => {
            let count = usize::from(number.is_some()) + usize::from(range.is_some());
            check_one(count, at, "number and range").map(|()| Vec::new())
        }
    }
}
