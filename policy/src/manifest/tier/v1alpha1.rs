//! `policy.networking.k8s.io/v1alpha1`: AdminNetworkPolicy and BaselineAdminNetworkPolicy.

use serde::Deserialize;
use serde_json::Value;

use super::peer::{RawIngressPeer, RawPeer, RawSubject};
use super::{BASELINE_PRIORITY, Form, Parts, RawRule, check_one, rules};
use crate::manifest::error::{FieldPath, Problem};
use crate::manifest::strict;
use crate::model::{Port, PortRule, Tier, TierKind, TierPolicy};

const ADMIN: Form = Form {
    ports_field: "ports",
    allow: "Allow",
    has_pass: true,
    needs_namespace_selector: true,
    max_rules: 100,
    max_entries: 100,
};
const BASELINE: Form = Form { has_pass: false, ..ADMIN };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdminSpec {
    priority: i64,
    subject: RawSubject,
    ingress: Option<Vec<RawIngress>>,
    egress: Option<Vec<RawEgress>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBaselineSpec {
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
    ports: Option<Vec<RawPort>>,
}

impl From<RawIngress> for RawRule<RawPort> {
    fn from(raw: RawIngress) -> Self {
        let RawIngress { name, action, from, ports } = raw;
        let peers = from.into_iter().map(RawPeer::from).collect();
        Self { name, action, peers_field: "from", peers, ports }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEgress {
    name: Option<String>,
    action: String,
    to: Vec<RawPeer>,
    ports: Option<Vec<RawPort>>,
}

impl From<RawEgress> for RawRule<RawPort> {
    fn from(raw: RawEgress) -> Self {
        let RawEgress { name, action, to, ports } = raw;
        Self { name, action, peers_field: "to", peers: to, ports }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPort {
    port_number: Option<RawNumber>,
    named_port: Option<String>,
    port_range: Option<RawRange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNumber {
    protocol: Option<String>,
    port: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRange {
    protocol: Option<String>,
    start: i64,
    end: i64,
}

/// Reads an AdminNetworkPolicy.
pub(in crate::manifest) fn admin(value: Value) -> Result<TierPolicy, Problem> {
    super::policy(value, TierKind::AdminNetworkPolicy, &ADMIN, |spec: RawAdminSpec, at| {
        Ok(Parts {
            priority: super::priority(spec.priority, &at.key("priority"))?,
            tier: Tier::Admin,
            subject: spec.subject,
            ingress: rules(spec.ingress, &at.key("ingress"), &ADMIN, RawRule::from, port)?,
            egress: rules(spec.egress, &at.key("egress"), &ADMIN, RawRule::from, port)?,
        })
    })
}

/// Reads the BaselineAdminNetworkPolicy.
pub(in crate::manifest) fn baseline(value: Value) -> Result<TierPolicy, Problem> {
    super::policy(
        value,
        TierKind::BaselineAdminNetworkPolicy,
        &BASELINE,
        |spec: RawBaselineSpec, at| {
            Ok(Parts {
                priority: BASELINE_PRIORITY,
                tier: Tier::Baseline,
                subject: spec.subject,
                ingress: rules(spec.ingress, &at.key("ingress"), &BASELINE, RawRule::from, port)?,
                egress: rules(spec.egress, &at.key("egress"), &BASELINE, RawRule::from, port)?,
            })
        },
    )
}

fn port(raw: RawPort, at: &FieldPath) -> Result<Vec<PortRule>, Problem> {
    let RawPort { port_number, named_port, port_range } = raw;
    let given = [port_number.is_some(), named_port.is_some(), port_range.is_some()];
    let count = given.into_iter().filter(|given| *given).count();
    check_one(count, at, "portNumber, namedPort and portRange")?;
    if let Some(name) = named_port {
        return super::named_port(&name, &at.key("namedPort"));
    }
    if let Some(range) = port_range {
        let at = at.key("portRange");
        let protocol = strict::protocol(range.protocol.as_deref(), &at)?;
        return super::port_range(protocol, (range.start, range.end), &at);
    }
    let at = at.key("portNumber");
    let numbers = port_number.into_iter().map(|number| {
        let protocol = strict::protocol(number.protocol.as_deref(), &at)?;
        let number = strict::port_number(number.port, &at.key("port"))?;
        Ok(PortRule { protocol, port: Port::Range(number, number) })
    });
    numbers.collect()
}
