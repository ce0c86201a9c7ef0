//! Whether an answer is all of it, in a line.

use std::fmt;

use reqwest::header::HeaderMap;
use serde::Deserialize;

/// Header of answers over flows.
const HEADER: &str = "weir-completeness";

/// What the query service says of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Completeness {
    complete: bool,
    missing: Missing,
    losses: Vec<Loss>,
    more_losses: u64,
    removed: Vec<Removed>,
    unreachable: Vec<Unreachable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Missing {
    allow: u64,
    deny: u64,
    audit: u64,
    unknown: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Loss {
    stage: String,
    reason: String,
    verdict: String,
    unit: String,
    count: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Removed {
    verdict: String,
    unit: String,
    reason: String,
    before: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Unreachable {
    error: String,
}

impl Completeness {
    /// From an answer's headers; `None` if it is not over flows.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        serde_json::from_str(headers.get(HEADER)?.to_str().ok()?).ok()
    }

    /// Nothing is known to be missing.
    pub(crate) fn complete(&self) -> bool {
        self.complete
    }
}

impl fmt::Display for Completeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.complete {
            return f.write_str("complete");
        }
        let Missing { allow, deny, audit, unknown } = self.missing;
        write!(f, "NOT COMPLETE: {allow} allows and {deny} denies are missing")?;
        if audit > 0 {
            write!(f, ", {audit} audits")?;
        }
        if unknown > 0 {
            write!(f, ", {unknown} of unknown verdict")?;
        }
        for (index, loss) in self.losses.iter().enumerate() {
            let Loss { stage, reason, verdict, unit, count } = loss;
            let open = if index == 0 { " (" } else { ", " };
            let verdict = if verdict.is_empty() { String::new() } else { format!("{verdict} ") };
            write!(f, "{open}{stage}: {count} {verdict}{unit}, {reason}")?;
        }
        if self.more_losses > 0 {
            write!(f, ", and {} other kinds", self.more_losses)?;
        }
        if !self.losses.is_empty() {
            f.write_str(")")?;
        }
        for Removed { verdict, unit, reason, before } in &self.removed {
            let what = match (verdict.as_str(), unit.as_str()) {
                (_, "entries") => "what the ledger knew",
                ("allow", _) => "allows",
                ("deny", _) => "denies",
                _ => "flows",
            };
            write!(f, "; {what} from before {before} are removed by retention ({reason})")?;
        }
        self.unreachable.iter().try_for_each(|source| write!(f, "; {}", source.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_in_a_line() {
        let said = |json: &str| serde_json::from_str::<Completeness>(json).unwrap().to_string();
        assert_eq!(said(r#"{"complete":true}"#), "complete");
        let json = r#"{"complete":false,"missing":{"allow":12,"deny":0,"audit":0,"unknown":3},
            "losses":[{"stage":"spool","reason":"disk full","verdict":"allow","unit":"verdicts","count":12},
            {"stage":"kernel","reason":"ring full","verdict":"","unit":"verdicts","count":3}],
            "removed":[{"verdict":"allow","unit":"rows","reason":"age","before":"2026-01-01T00:00:00Z","count":7}],
            "unreachable":[{"error":"the relay at http://r does not answer: refused"}]}"#;
        assert_eq!(
            said(json),
            "NOT COMPLETE: 12 allows and 0 denies are missing, 3 of unknown verdict \
             (spool: 12 allow verdicts, disk full, kernel: 3 verdicts, ring full); \
             allows from before 2026-01-01T00:00:00Z are removed by retention (age); \
             the relay at http://r does not answer: refused"
        );
    }
}
