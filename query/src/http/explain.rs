//! `POST /api/v1/policies/explain`: why a connection is or was allowed or denied, and what to change.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use weir_flow::schema::TimestampNs;
use weir_flow::values::{Direction, PolicyRule, Verdict, protocol_number};
use weir_policy::evaluate::Attempt;
use weir_policy::explain::{Explanation, Question, Side, explain, explain_attempt};
use weir_policy::model::Protocol;

use super::App;
use super::error::ApiError;
use super::flows::time;
use super::sql::json_body;
use super::who::Who;
use crate::access::Namespaces;
use crate::catalog::history::{ClusterAt, History};
use crate::engine::Caller;
use crate::error::QueryError;
use crate::metrics::Door;

/// A change seen so long before a packet may not have been in force at its node yet.
const LATE_NS: i64 = 5_000_000_000;
/// A change may be seen so long after a packet that it decided already, as clocks differ.
const EARLY_NS: i64 = 2_000_000_000;
/// Most changes around a packet that are tried.
const MAX_TRIED: usize = 8;
/// For whoever does not see every namespace.
const NO_SUCH_END: &str = "there is no such end among those that you see: write namespace/name of a pod, or an \
                           address; \"to\" may also be a Service; \"port\" is from 1 to 65535";
/// Reasons that have nothing to do with policies.
const NOT_POLICY: [&str; 5] =
    ["invalid_packet", "spoofed_source", "not_ready", "related", "fragment"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainBody {
    from: Option<String>,
    to: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
    at: Option<String>,
    cluster: Option<String>,
    flow: Option<FlowRow>,
}

/// A row of `flows` as this API gives it; columns that do not matter here are ignored.
#[derive(Clone, Debug, Deserialize)]
struct FlowRow {
    time: jiff::Timestamp,
    end_time: Option<jiff::Timestamp>,
    duration_ns: Option<u64>,
    cluster: String,
    direction: Direction,
    verdict: Verdict,
    reason: String,
    policies: Option<Vec<PolicyRule>>,
    protocol: String,
    source_ip: IpAddr,
    destination_ip: IpAddr,
    destination_port: Option<u16>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    cluster: String,
    /// The time whose state explains.
    at: TimestampNs,
    explanation: Explanation,
    /// What the row says, where one is explained.
    recorded: Option<Recorded>,
    /// Whether the explanation comes to what is recorded; null where that cannot be said.
    agrees: Option<bool>,
    /// What must be known about the answer.
    notes: Vec<String>,
}

/// What a row says.
#[derive(Debug, Serialize)]
struct Recorded {
    direction: Direction,
    verdict: Verdict,
    reason: String,
    policies: Option<Vec<PolicyRule>>,
}

pub(super) async fn explained(
    State(app): State<Arc<App>>,
    Who(principal): Who,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Explained>, ApiError> {
    let hint = "{\"from\":\"namespace/pod\",\"to\":\"namespace/pod\",\"port\":6379}, or {\"flow\":{…}} with a \
                row of flows";
    let body: ExplainBody = json_body(&app, &headers, body, hint).await?;
    let question = body.question(SystemTime::now())?;
    question.check(&principal.namespaces)?;
    let seen = principal.namespaces.clone();
    let caller = Caller::new(principal, Door::Explain, question.describe());
    let explained = app.engine.compute(caller, move |history, warnings| {
        let mut answer = question.answer(history, &seen)?;
        check(&answer.explanation, &seen)?;
        answer.notes.extend(warnings);
        Ok(answer)
    });
    Ok(Json(explained.await?))
}

/// What is asked.
#[derive(Debug)]
enum Asked {
    Question { question: Question, cluster: Option<String>, at_ns: i64 },
    Flow { row: FlowRow, attempt: Attempt, at_ns: i64 },
}

impl ExplainBody {
    fn question(self, now: SystemTime) -> Result<Asked, ApiError> {
        if let Some(row) = self.flow {
            let others = [&self.from, &self.to, &self.protocol, &self.at, &self.cluster];
            if self.port.is_some() || others.iter().any(|other| other.is_some()) {
                return Err(ApiError::invalid("a flow says all by itself: send \"flow\" alone"));
            }
            let attempt = row.attempt()?;
            let at_ns = row.judged_ns();
            return Ok(Asked::Flow { row, attempt, at_ns });
        }
        let (Some(from), Some(to), Some(port)) = (self.from, self.to, self.port) else {
            return Err(ApiError::invalid(
                "say \"from\", \"to\" and \"port\", and \"protocol\" if it is not TCP; or \"flow\"",
            ));
        };
        let protocol = match self.protocol {
            None => Protocol::Tcp,
            Some(word) => Protocol::from_word(&word.to_ascii_uppercase()).ok_or_else(|| {
                ApiError::invalid(format!("there is no protocol {word:?}: write TCP, UDP or SCTP"))
            })?,
        };
        let at_ns = match self.at {
            Some(at) => time("at", &at, now)?,
            None => now
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)),
        };
        let question = Question { from, to, port, protocol };
        Ok(Asked::Question { question, cluster: self.cluster, at_ns })
    }
}

impl FlowRow {
    fn attempt(&self) -> Result<Attempt, ApiError> {
        let protocol = protocol_number(&self.protocol).ok_or_else(|| {
            ApiError::invalid(format!("flow.protocol {:?} is not a protocol", self.protocol))
        })?;
        Ok(Attempt {
            source: self.source_ip.to_canonical(),
            destination: self.destination_ip.to_canonical(),
            protocol,
            destination_port: self.destination_port.unwrap_or(0),
        })
    }

    /// When the connection was judged: at its first packet, which may be long before the row's.
    fn judged_ns(&self) -> i64 {
        let begin = nanoseconds(self.time);
        let Some(duration) = self.duration_ns.and_then(|ns| i64::try_from(ns).ok()) else {
            return begin;
        };
        let end = self.end_time.map_or(begin, nanoseconds);
        begin.min(end.saturating_sub(duration))
    }

    /// Whether the explanation of the row's direction comes to what it says.
    fn agrees(&self, explanation: &Explanation) -> bool {
        let Some(side) = self.side(explanation) else { return false };
        let verdict = side.verdict == self.verdict
            || (side.verdict == Verdict::Deny && self.verdict == Verdict::Audit);
        let sorted = |rules: &[PolicyRule]| {
            let mut rules = rules.to_vec();
            rules.sort();
            rules
        };
        let same_rules =
            || self.policies.as_ref().is_none_or(|own| sorted(own) == sorted(&side.rules));
        verdict && side.reason.as_str() == self.reason && same_rules()
    }

    fn side<'a>(&self, explanation: &'a Explanation) -> Option<&'a Side> {
        let answer = explanation.answers.first()?;
        match self.direction {
            Direction::Egress => answer.egress.as_ref(),
            Direction::Ingress => answer.ingress.as_ref(),
        }
    }
}

impl Asked {
    /// Whoever sees some namespaces only has to see those that are named.
    fn check(&self, seen: &Namespaces) -> Result<(), QueryError> {
        let Self::Question { question, .. } = self else { return Ok(()) };
        // A kind may stand before: `pod/shop/web`.
        let mut named =
            [&question.from, &question.to].into_iter().filter_map(|end| end.rsplit('/').nth(1));
        if named.all(|namespace| seen.has(namespace)) { Ok(()) } else { Err(hidden()) }
    }

    /// For the list of running queries.
    fn describe(&self) -> String {
        match self {
            Self::Question { question, .. } => {
                let Question { from, to, port, protocol } = question;
                format!("{from} to {to}, {protocol:?} {port}")
            }
            Self::Flow { row, .. } => {
                format!("a flow from {} to {}", row.source_ip, row.destination_ip)
            }
        }
    }

    fn answer(self, history: &History, seen: &Namespaces) -> Result<Explained, QueryError> {
        match self {
            Self::Question { question, cluster, at_ns } => {
                let cluster = the_cluster(history, cluster)?;
                let mut notes = Vec::new();
                let at_ns = known_time(history, &cluster, at_ns, &mut notes);
                let at = history.at(&cluster, at_ns);
                notes.extend(at.problems.iter().cloned());
                let explanation =
                    explain(&at.cluster, &question, &at.originals).map_err(|error| {
                        // Which names there are, and which comes nearest, is not for everybody.
                        let told =
                            if seen.is_all() { error.to_string() } else { NO_SUCH_END.into() };
                        QueryError::Invalid(told)
                    })?;
                let at = TimestampNs(at_ns);
                Ok(Explained { cluster, at, explanation, recorded: None, agrees: None, notes })
            }
            Self::Flow { row, attempt, at_ns } => {
                let cluster = the_cluster(history, Some(row.cluster.clone()))?;
                Ok(of_flow(history, cluster, row, &attempt, at_ns))
            }
        }
    }
}

/// An explanation shows the policies of both pods: both have to be seen, and so has a Service between them.
fn check(explanation: &Explanation, seen: &Namespaces) -> Result<(), QueryError> {
    if seen.is_all() {
        return Ok(());
    }
    let attempts = explanation.answers.iter().flat_map(|answer| &answer.attempts);
    let mut ends = attempts.flat_map(|attempt| [&attempt.source, &attempt.destination]);
    // What has no namespace is an address or a node.
    let is_seen = |end: &String| {
        let name = end.rsplit(' ').next().unwrap_or_default();
        name.split_once('/').is_none_or(|(namespace, _)| seen.has(namespace))
    };
    // Where there is nothing to judge, notes say why, of whatever has the address.
    let by_address = explanation.question.as_ref().is_some_and(|question| {
        [&question.from, &question.to].iter().any(|end| !end.contains('/'))
    });
    if ends.all(is_seen) && !(explanation.answers.is_empty() && by_address) {
        return Ok(());
    }
    Err(hidden())
}

fn hidden() -> QueryError {
    QueryError::Forbidden(
        "one end is in a namespace that you do not see, and an explanation shows the policies of both: \
         ask somebody who sees both"
            .into(),
    )
}

fn of_flow(
    history: &History,
    cluster: String,
    row: FlowRow,
    attempt: &Attempt,
    at_ns: i64,
) -> Explained {
    let mut notes = Vec::new();
    let mut at_ns = known_time(history, &cluster, at_ns, &mut notes);
    let with = |at: &ClusterAt| explain_attempt(&at.cluster, attempt, &at.originals);
    let then = history.at(&cluster, at_ns);
    let mut explanation = with(&then);
    notes.extend(then.problems.iter().cloned());
    let agrees = if NOT_POLICY.contains(&row.reason.as_str()) {
        notes.push(format!(
            "the row's reason is {}: no policy decided it, so the explanation says what policies would",
            row.reason
        ));
        None
    } else if row.agrees(&explanation) {
        Some(true)
    } else {
        // Nodes take over a change one after another, and clocks differ.
        let before = history.changes(&cluster, at_ns.saturating_sub(LATE_NS), at_ns);
        let before = before.into_iter().take(MAX_TRIED).map(|change| change.saturating_sub(1));
        let mut after = history.changes(&cluster, at_ns + 1, at_ns.saturating_add(EARLY_NS));
        after.reverse();
        let tried = before.chain(after.into_iter().take(MAX_TRIED));
        let found = tried
            .map(|time| (time, with(&history.at(&cluster, time))))
            .find(|(_, explanation)| row.agrees(explanation));
        match found {
            Some((time, found)) => {
                notes.push(format!(
                    "the cluster changed about that time: explained with its state of {}, which agrees \
                     with what was recorded",
                    TimestampNs(time)
                ));
                (at_ns, explanation) = (time, found);
                Some(true)
            }
            None => {
                notes.push(difference(&row, &explanation));
                Some(false)
            }
        }
    };
    if agrees == Some(true)
        && row.verdict == Verdict::Audit
        && row.side(&explanation).is_some_and(|side| side.verdict == Verdict::Deny)
    {
        notes.push("its collector or namespace was set to report denies only (audit)".into());
    }
    let recorded = Recorded {
        direction: row.direction,
        verdict: row.verdict,
        reason: row.reason,
        policies: row.policies,
    };
    let (at, recorded) = (TimestampNs(at_ns), Some(recorded));
    Explained { cluster, at, explanation, recorded, agrees, notes }
}

/// What is recorded and what the state gives, where they differ.
fn difference(row: &FlowRow, explanation: &Explanation) -> String {
    let recorded = format!("recorded is {} ({})", row.verdict, row.reason);
    let direction = row.direction;
    match row.side(explanation) {
        None => format!(
            "{recorded} at {direction}, but the state known of that time has no such pod: what collectors told \
             may be incomplete"
        ),
        Some(side) => {
            let policies = |rules: &[PolicyRule]| {
                let names: Vec<String> = rules.iter().map(PolicyRule::qualified_name).collect();
                if names.is_empty() { "no policy".to_owned() } else { names.join(", ") }
            };
            let own =
                row.policies.as_ref().map_or(String::new(), |own| format!(" by {}", policies(own)));
            format!(
                "{recorded}{own} at {direction}, but the state known of that time gives {} ({}) by {}: what \
                 collectors told may be incomplete, or a connection that was judged earlier went on",
                side.verdict.as_str(),
                side.reason.as_str(),
                policies(&side.rules)
            )
        }
    }
}

/// The cluster of that name, or the only one.
fn the_cluster(history: &History, name: Option<String>) -> Result<String, QueryError> {
    let known: Vec<&str> = history.clusters().collect();
    let list = known.join(", ");
    match (name, known.as_slice()) {
        (_, []) => Err(QueryError::Unavailable(
            "nothing is known of any cluster: is a collector running, and connected to the relay?"
                .into(),
        )),
        (Some(name), _) if known.contains(&name.as_str()) => Ok(name),
        (Some(name), _) => {
            Err(QueryError::Invalid(format!("there is no cluster {name:?}: known are {list}")))
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => Err(QueryError::Invalid(format!("say which \"cluster\": known are {list}"))),
    }
}

/// The time, or when something was known first.
fn known_time(history: &History, cluster: &str, at_ns: i64, notes: &mut Vec<String>) -> i64 {
    match history.begin_ns(cluster) {
        Some(begin) if at_ns < begin => {
            notes.push(format!(
                "nothing is known of the cluster before {}: explained with its state of then",
                TimestampNs(begin)
            ));
            begin
        }
        _ => at_ns,
    }
}

fn nanoseconds(time: jiff::Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}
