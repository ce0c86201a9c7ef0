//! `weir.io/v1alpha1` FlowLogging, and the annotation of namespaces that goes with it: how often it
//! is reported what connections did.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::error::{FieldPath, Problem};
use super::strict::{RawObject, each};
use super::words;
use crate::model::{FlowLogging, Interval, IntervalOverride, Term};

/// Its `apiVersion`.
pub(super) const VERSION: &str = "weir.io/v1alpha1";
/// The one name that is honoured.
const NAME: &str = "default";
/// Most overrides of the object.
const MAX_OVERRIDES: usize = 1_000;
/// Between interval and end in the annotation.
const UNTIL: &str = " until ";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    interval: Option<String>,
    namespaces: Option<BTreeMap<String, String>>,
    overrides: Option<Vec<RawOverride>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOverride {
    interval: String,
    until: String,
    namespaces: Option<Vec<String>>,
}

/// Reads the object.
pub(super) fn flow_logging(value: Value) -> Result<FlowLogging, Problem> {
    let RawObject { mut metadata, spec, .. } = Problem::decode::<RawObject<RawSpec>>(value)?;
    let name = metadata.name()?;
    if name != NAME {
        let at = FieldPath::default().key("metadata").key("name");
        return Err(at.problem(format!(
            "is {name:?}, but only the FlowLogging named {NAME:?} is honoured: rename it"
        )));
    }
    metadata.check_cluster_wide("remove it")?;
    let spec = spec.unwrap_or_default();
    let at = FieldPath::default().key("spec");
    let of_cluster = spec.interval.map(|word| interval(&word, &at.key("interval"))).transpose()?;
    let mut namespaces = BTreeMap::new();
    for (namespace, word) in spec.namespaces.unwrap_or_default() {
        let at = at.key("namespaces").key(&namespace);
        words::check_namespace(&namespace).map_err(|message| at.problem(message))?;
        namespaces.insert(namespace, interval(&word, &at)?);
    }
    let at = at.key("overrides");
    if spec.overrides.as_ref().is_some_and(|overrides| overrides.len() > MAX_OVERRIDES) {
        return Err(at.problem(format!("has more than {MAX_OVERRIDES} items: remove old ones")));
    }
    let overrides = each(spec.overrides, |index, raw| read_override(raw, &at.index(index)))?;
    Ok(FlowLogging { interval: of_cluster, namespaces, overrides })
}

fn read_override(raw: RawOverride, at: &FieldPath) -> Result<IntervalOverride, Problem> {
    let at_namespaces = at.key("namespaces");
    if raw.namespaces.as_ref().is_some_and(Vec::is_empty) {
        return Err(at_namespaces
            .problem("is empty: name namespaces, or leave it out to cover the whole cluster"));
    }
    let mut namespaces = BTreeSet::new();
    for (index, namespace) in raw.namespaces.unwrap_or_default().into_iter().enumerate() {
        words::check_namespace(&namespace)
            .map_err(|message| at_namespaces.index(index).problem(message))?;
        namespaces.insert(namespace);
    }
    Ok(IntervalOverride {
        interval: interval(&raw.interval, &at.key("interval"))?,
        until_ns: moment(&raw.until, &at.key("until"))?,
        namespaces,
    })
}

/// Reads the annotation: `1m`, or `5s until 2026-11-28T18:00:00Z`.
pub(super) fn term(text: &str, at: &FieldPath) -> Result<Term, Problem> {
    let (word, until) = match text.split_once(UNTIL) {
        Some((word, until)) => (word, Some(until)),
        None => (text, None),
    };
    Ok(Term {
        interval: interval(word, at)?,
        until_ns: until.map(|until| moment(until, at)).transpose()?,
    })
}

/// The annotation of a term, as [`term`] reads it.
pub(super) fn write_term(term: Term) -> String {
    match term.until_ns {
        Some(until_ns) => format!("{}{UNTIL}{}", term.interval, write_moment(until_ns)),
        None => term.interval.to_string(),
    }
}

/// A moment as manifests have it; what is beyond all calendars is their last moment.
pub(super) fn write_moment(ns: u64) -> String {
    Timestamp::from_nanosecond(ns.into()).unwrap_or(Timestamp::MAX).to_string()
}

fn interval(word: &str, at: &FieldPath) -> Result<Interval, Problem> {
    Interval::from_word(word)
        .ok_or_else(|| at.problem(format!("is {word:?}: write {}", Interval::WORDS)))
}

/// Nanoseconds since 1970; what was before is long over.
fn moment(text: &str, at: &FieldPath) -> Result<u64, Problem> {
    let moment: Timestamp = text.parse().map_err(|_| {
        at.problem(format!("is {text:?}: write a time with its zone, as 2026-01-31T12:00:00Z"))
    })?;
    Ok(u64::try_from(moment.as_nanosecond().max(0)).unwrap_or(u64::MAX))
}
