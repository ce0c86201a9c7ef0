//! The outside of objects that are read strictly, and their lists.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::annotations::RawAnnotations;
use super::error::{FieldPath, Problem};
use super::words;
use crate::model::Protocol;

/// An object without unknown fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawObject<Spec> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(super) metadata: RawMetadata,
    pub(super) spec: Option<Spec>,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

/// Metadata may hold anything else: none of it changes what the object means.
#[derive(Deserialize)]
pub(super) struct RawMetadata {
    name: Option<String>,
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) annotations: Option<RawAnnotations>,
}

impl RawMetadata {
    /// The name that every object has.
    pub(super) fn name(&mut self) -> Result<String, Problem> {
        let at = FieldPath::default().key("metadata").key("name");
        let name = self.name.take().unwrap_or_default();
        if name.is_empty() {
            return Err(at.problem("is missing: give the policy a name"));
        }
        words::check_name(&name).map_err(|message| at.problem(message))?;
        Ok(name)
    }

    /// That the object, which belongs to the whole cluster, is in no namespace.
    pub(super) fn check_cluster_wide(&self, advice: &str) -> Result<(), Problem> {
        if self.namespace.as_deref().is_none_or(str::is_empty) {
            return Ok(());
        }
        let at = FieldPath::default().key("metadata").key("namespace");
        Err(at.problem(format!("is set, but the object belongs to the whole cluster: {advice}")))
    }
}

/// Reads each item of a list that may be left out.
pub(super) fn each<R, T>(
    raw: Option<Vec<R>>,
    read: impl Fn(usize, R) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    raw.unwrap_or_default().into_iter().enumerate().map(|(index, raw)| read(index, raw)).collect()
}

/// A protocol that policies can name; TCP if it is left out.
pub(super) fn protocol(word: Option<&str>, at: &FieldPath) -> Result<Protocol, Problem> {
    match word {
        None | Some("") => Ok(Protocol::Tcp),
        Some(word) => Protocol::from_word(word).ok_or_else(|| {
            let message = format!("is {word:?}: write TCP, UDP or SCTP, in capitals");
            at.key("protocol").problem(message)
        }),
    }
}

/// The number of a port.
pub(super) fn port_number(number: i64, at: &FieldPath) -> Result<u16, Problem> {
    u16::try_from(number)
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| at.problem(format!("is {number}: ports go from 1 to 65535")))
}
