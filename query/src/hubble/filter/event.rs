//! Which of Hubble's events a row stands for.
//!
//! An agent sends of a denied packet a policy verdict (5) and a drop (1), of an allowed connection a
//! policy verdict and a trace (4), later only traces. A row stands for all of them and is shown as one:
//! as the verdict where that is wanted, else as the other.

use datafusion::logical_expr::{Expr, col, lit};
use weir_flow::values::Reason;

use super::{FilterError, any};
use crate::hubble::proto::flow::{EventTypeFilter, FlowFilter};

pub(super) const ANY: i32 = 0;
const DROP: i32 = 1;
const TRACE: i32 = 4;
const POLICY_VERDICT: i32 = 5;
/// Debug, capture, socket traces, application, agent: real events that no row stands for.
const OTHERS: [i32; 5] = [2, 3, 7, 129, 130];

/// The number of an observation point in events: where a packet reaches a pod, and where it leaves one.
pub(in crate::hubble) const TRACE_TO: i32 = 0;
pub(in crate::hubble) const TRACE_FROM: i32 = 5;

/// The codes of drop reasons that are rows' reasons.
const DROP_CODES: [(Reason, i32); 6] = [
    (Reason::SpoofedSource, 132),
    (Reason::DefaultDeny, 133),
    (Reason::InvalidPacket, 134),
    (Reason::Fragment, 175),
    (Reason::ExplicitDeny, 181),
    (Reason::NotReady, 203),
];
/// All that Hubble has.
const ALL_DROP_CODES: std::ops::RangeInclusive<i32> = 130..=205;
/// What a policy says; other reasons are no policy's.
const OF_POLICY: [Reason; 3] = [Reason::Policy, Reason::DefaultDeny, Reason::ExplicitDeny];

/// As which events rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hubble) struct Shown {
    /// Whether as policy verdicts, where they are.
    verdicts: bool,
}

/// What a row is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hubble) enum Event {
    Verdict,
    Drop,
    Trace,
}

impl Event {
    /// The number of its type.
    pub(in crate::hubble) const fn number(self) -> i32 {
        match self {
            Self::Verdict => POLICY_VERDICT,
            Self::Drop => DROP,
            Self::Trace => TRACE,
        }
    }
}

impl Shown {
    /// What a whitelist asks for: policy verdicts, unless it asks for other types only.
    pub(super) fn of(whitelist: &[FlowFilter]) -> Self {
        let asks = |filter: &FlowFilter| {
            let types = &filter.event_type;
            types.is_empty()
                || types.iter().any(|event| [ANY, POLICY_VERDICT].contains(&event.r#type))
        };
        Self { verdicts: whitelist.is_empty() || whitelist.iter().any(asks) }
    }

    /// What a row is shown as.
    pub(in crate::hubble) fn event(self, deny: bool, reason: &str, count: u64) -> Event {
        let verdict = count > 0 && OF_POLICY.iter().any(|known| known.as_str() == reason);
        match (self.verdicts && verdict, deny) {
            (true, _) => Event::Verdict,
            (false, true) => Event::Drop,
            (false, false) => Event::Trace,
        }
    }
}

/// The code of a denied row's reason; 0 where Hubble has none.
pub(in crate::hubble) fn drop_code(reason: &str) -> i32 {
    let known = DROP_CODES.iter().find(|(known, _)| known.as_str() == reason);
    known.map_or(0, |(_, code)| *code)
}

/// Whether a row was dropped for that reason; 0 for rows without one.
pub(super) fn drop_reason(code: i32) -> Result<Expr, FilterError> {
    if code == 0 {
        let coded = DROP_CODES.map(|(reason, _)| lit(reason.as_str())).to_vec();
        return Ok(denied().and(col("reason").in_list(coded, false)).is_not_true());
    }
    if !ALL_DROP_CODES.contains(&code) {
        return Err(FilterError::new(format!("there is no drop reason {code}")));
    }
    let known = DROP_CODES.iter().find(|(_, known)| *known == code);
    Ok(known.map_or_else(
        || lit(false),
        |(reason, _)| denied().and(col("reason").eq(lit(reason.as_str()))),
    ))
}

/// Types of one filter; `shown` if it excludes.
pub(super) fn lower(types: &[EventTypeFilter], shown: Option<Shown>) -> Result<Expr, FilterError> {
    if shown.is_none() && types.iter().all(|event| OTHERS.contains(&event.r#type)) {
        return Err(FilterError::new(
            "none of these event types is recorded: Weir has drops (1), traces (4) and policy verdicts (5), \
             and nothing of what an application sends",
        ));
    }
    let lowered = types.iter().map(|event| of_type(event, shown));
    Ok(any(lowered.collect::<Result<_, _>>()?))
}

fn of_type(event: &EventTypeFilter, shown: Option<Shown>) -> Result<Expr, FilterError> {
    let of_policy =
        col("reason").in_list(OF_POLICY.map(|reason| lit(reason.as_str())).to_vec(), false);
    let verdict = col("count").gt(lit(0_u64)).and(of_policy);
    let number = event.r#type;
    let (hidden, kind) = match (number, shown) {
        (ANY, _) => return Ok(lit(true)),
        (other, _) if OTHERS.contains(&other) => return Ok(lit(false)),
        (DROP, _) => (true, denied()),
        (TRACE, _) => (true, denied().is_not_true()),
        (POLICY_VERDICT, Some(Shown { verdicts: false })) => return Ok(lit(false)),
        (POLICY_VERDICT, _) => (false, verdict.clone()),
        _ => return Err(FilterError::new(format!("there is no event type {number}"))),
    };
    // What is shown as a verdict is no drop and no trace for a filter that excludes.
    let kind = match shown {
        Some(Shown { verdicts: true }) if hidden => kind.and(verdict.is_not_true()),
        _ => kind,
    };
    if !event.match_sub_type {
        return Ok(kind);
    }
    let sub_type = match (number, event.sub_type) {
        (DROP, code) => drop_reason(code)?,
        (TRACE, TRACE_TO) => col("direction").eq(lit("ingress")),
        (TRACE, TRACE_FROM) => col("direction").eq(lit("egress")),
        (POLICY_VERDICT, 0) => lit(true),
        _ => lit(false),
    };
    Ok(kind.and(sub_type))
}

fn denied() -> Expr {
    col("verdict").eq(lit("deny"))
}
