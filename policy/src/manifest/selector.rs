//! Label selectors, read strictly.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::{FieldPath, Problem};
use super::strict::each;
use super::words;
use crate::model::{Operator, Requirement, Selector};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSelector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<RawRequirement>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequirement {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

/// Checks a selector.
pub(super) fn selector(raw: RawSelector, at: &FieldPath) -> Result<Selector, Problem> {
    let labels = raw.match_labels.unwrap_or_default();
    for (key, value) in &labels {
        let at = at.key("matchLabels");
        words::check_label_key(key).map_err(|message| at.problem(message))?;
        words::check_label_value(value).map_err(|message| at.key(key).problem(message))?;
    }
    let at = at.key("matchExpressions");
    let expressions = each(raw.match_expressions, |index, raw| requirement(raw, &at.index(index)))?;
    Ok(Selector { labels: labels.into(), expressions })
}

fn requirement(raw: RawRequirement, at: &FieldPath) -> Result<Requirement, Problem> {
    words::check_label_key(&raw.key).map_err(|message| at.key("key").problem(message))?;
    let values = raw.values.unwrap_or_default();
    let values_at = at.key("values");
    for (index, value) in values.iter().enumerate() {
        words::check_label_value(value)
            .map_err(|message| values_at.index(index).problem(message))?;
    }
    let some = |values: Vec<String>| {
        if values.is_empty() {
            let message = format!("is empty: operator {} needs at least one value", raw.operator);
            return Err(values_at.problem(message));
        }
        Ok(values)
    };
    let none = || {
        if values.is_empty() {
            return Ok(());
        }
        Err(values_at.problem(format!("must be left out with operator {}", raw.operator)))
    };
    let operator = match raw.operator.as_str() {
        "In" => Operator::In(some(values)?),
        "NotIn" => Operator::NotIn(some(values)?),
        "Exists" => none().map(|()| Operator::Exists)?,
        "DoesNotExist" => none().map(|()| Operator::DoesNotExist)?,
        other => {
            let message = format!("is {other:?}: write In, NotIn, Exists or DoesNotExist");
            return Err(at.key("operator").problem(message));
        }
    };
    Ok(Requirement { key: raw.key, operator })
}
