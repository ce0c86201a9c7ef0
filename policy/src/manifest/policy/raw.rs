//! The `spec` of a NetworkPolicy as it is written. Unknown fields are errors: a misspelt
//! `podSelector` would select everything.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::super::selector::RawSelector;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSpec {
    pub(super) pod_selector: Option<RawSelector>,
    pub(super) policy_types: Option<Vec<String>>,
    pub(super) ingress: Option<Vec<RawIngress>>,
    pub(super) egress: Option<Vec<RawEgress>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIngress {
    from: Option<Vec<RawPeer>>,
    ports: Option<Vec<RawPort>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEgress {
    to: Option<Vec<RawPeer>>,
    ports: Option<Vec<RawPort>>,
}

/// Ingress and egress rules without the difference.
pub(super) struct RawRule {
    pub(super) peers_field: &'static str,
    pub(super) peers: Option<Vec<RawPeer>>,
    pub(super) ports: Option<Vec<RawPort>>,
}

impl RawRule {
    pub(super) fn from(raw: RawIngress) -> Self {
        Self { peers_field: "from", peers: raw.from, ports: raw.ports }
    }

    pub(super) fn to(raw: RawEgress) -> Self {
        Self { peers_field: "to", peers: raw.to, ports: raw.ports }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPeer {
    pub(super) pod_selector: Option<RawSelector>,
    pub(super) namespace_selector: Option<RawSelector>,
    pub(super) ip_block: Option<RawBlock>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBlock {
    pub(super) cidr: Option<String>,
    pub(super) except: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPort {
    pub(super) protocol: Option<String>,
    pub(super) port: Option<IntOrText>,
    pub(super) end_port: Option<i64>,
}

/// A port: number or name.
pub(in crate::manifest) enum IntOrText {
    Int(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for IntOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntOrTextVisitor;

        impl Visitor<'_> for IntOrTextVisitor {
            type Value = IntOrText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or a port name")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<IntOrText, E> {
                Ok(IntOrText::Int(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<IntOrText, E> {
                Ok(IntOrText::Int(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<IntOrText, E> {
                Ok(IntOrText::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(IntOrTextVisitor)
    }
}
